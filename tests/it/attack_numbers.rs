//! No attack on the HTTP side is forgotten (the list's section 3): every number has a test whose name begins with it, or a
//! row in `docs/security.md` that says why it is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The numbers of the list. It has gaps.
const NUMBERS: &[u32] = &[
    1, 2, 4, 5, 7, 8, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35, 37, 38, 40, 41, 43, 44, 46,
    47, 49, 50, 52, 53, 55, 56, 58, 59, 61, 62, 64, 65,
];

/// HTTP/2 towards clients does not exist yet: what is tried against it comes with it.
const WITH_HTTP_2: &[u32] = &[19, 20, 22, 23];

fn tested(directory: &Path, numbers: &mut BTreeSet<u32>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tested(&path, numbers);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            for name in text.split("fn h").skip(1) {
                let digits = name.split('_').next().unwrap_or_default();
                numbers.extend(digits.parse::<u32>().ok().filter(|_| digits.len() == 2));
            }
        }
    }
}

/// Numbers in rows of the table of deviations that say that they are left out.
fn left_out() -> BTreeSet<u32> {
    let page = fs::read_to_string("docs/security.md").expect("the page");
    let rows = page.lines().filter(|line| line.split('|').nth(2).is_some_and(|cell| cell.contains("left out")));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let numbers = cells.flat_map(|cell| cell.split(',')).filter_map(|number| number.trim().strip_prefix("H-"));
    numbers.filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn every_attack_of_the_list_is_tried_or_said_to_be_left_out() {
    let mut done = left_out();
    done.extend(WITH_HTTP_2);
    tested(Path::new("tests/it"), &mut done);
    let missing: Vec<_> = NUMBERS.iter().filter(|number| !done.contains(number)).collect();
    assert!(missing.is_empty(), "no test, and no row in docs/security.md: H-{missing:?}");
}
