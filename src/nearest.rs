//! The known name that somebody probably meant.

/// The nearest of `known`, if it is near enough to be a slip of the pen.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let (distance, best) = known.into_iter().map(|known| (distance(name, known), known)).min_by_key(|(d, _)| *d)?;
    (distance <= limit).then_some(best)
}

/// ` — did you mean …?`, or nothing.
pub(crate) fn hint<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(name, known).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default()
}

/// Insertions, deletions, replacements and swaps of neighbours, letter case ignored.
fn distance(a: &str, b: &str) -> usize {
    // Names are short; what is long is no slip, and the effort is bounded.
    let (a, b): (Vec<char>, Vec<char>) = (folded(a), folded(b));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], n: usize| row.get(n).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

fn folded(text: &str) -> Vec<char> {
    text.chars().take(64).flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_name() {
        let known = ["upstream", "hosts", "issuers", "strip_prefix"];
        assert_eq!(nearest("upstrem", known), Some("upstream"));
        assert_eq!(nearest("host", known), Some("hosts"));
        assert_eq!(nearest("isseurs", known), Some("issuers"));
        assert_eq!(nearest("Strip-Prefix", known), Some("strip_prefix"));
        assert_eq!(nearest("completely_other", known), None);
        assert_eq!(nearest("x", []), None);
    }

    proptest! {
        #[test]
        fn the_distance_is_zero_to_itself_and_symmetric(a in "\\PC{0,80}", b in "\\PC{0,80}") {
            prop_assert_eq!(distance(&a, &a), 0);
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
        }
    }
}
