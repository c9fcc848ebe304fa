//! What people sign in with: which texts are the same to us, and which look like e-mail addresses.

use unicode_normalization::UnicodeNormalization;

/// Most octets of an address (RFC 5321 section 4.5.3.1.3, without the angle brackets).
const MAX_EMAIL: usize = 254;
/// Most octets before the `@` (section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Most octets of a part of a domain (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;
/// Octets of the longest identifier: it becomes a key of tables.
const MAX_IDENTIFIER: usize = 256;

/// The one key of all spellings that are the same identifier: blanks at both ends do not count, nor does the case of
/// ASCII letters, nor how an accent is composed. Nothing else is folded: `K` for kelvin does not become a `k`, and those
/// who own the one do not own the other.
///
/// None: it is empty, has more than 256 octets, or holds what cannot be seen or passes for something else — controls, marks of direction, what
/// has no width, another `@`, another way to write an ASCII character.
pub fn canonical_identifier(text: &str) -> Option<String> {
    let text = text.trim();
    let odd = |c: char| c.is_control() || is_hidden(c) || matches!(c, '\u{ff20}' | '\u{fe6b}') || composes_ascii(c);
    if text.is_empty() || text.len() > MAX_IDENTIFIER || text.chars().any(odd) {
        return None;
    }
    // Composed first, so that an accent keeps its letter's case either way; and again, for some letters take an accent
    // in lower case only.
    let composed: String = text.nfc().collect();
    Some(composed.to_ascii_lowercase().nfc().collect())
}

/// Whether `text` can be an e-mail address: one `@`, something before it, a domain of two names or more behind it, no
/// character that cannot be seen or is another way to write an ASCII character. Letters of every script may stand there;
/// quoted local parts and addresses in brackets may not.
pub fn is_email(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || is_hidden(c) || passes_for_ascii(c);
    if text.len() > MAX_EMAIL || text.chars().any(odd) {
        return false;
    }
    let Some((local, domain)) = text.split_once('@') else { return false };
    let may_stand = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '-')
    };
    (1..=MAX_LOCAL).contains(&local.len())
        && local.chars().all(may_stand)
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

/// Characters of no width, line separators, marks that change the direction of text, and blanks that look like another.
pub fn is_hidden(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether normalisation would make an ASCII character of it: the sign for kelvin, the Greek question mark.
fn composes_ascii(c: char) -> bool {
    !c.is_ascii() && std::iter::once(c).nfc().any(|c| c.is_ascii())
}

/// Whether it holds an ASCII character in another form: full width, small, raised, in a circle, joined.
fn passes_for_ascii(c: char) -> bool {
    !c.is_ascii() && std::iter::once(c).nfkc().any(|c| c.is_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_identifier_have_one_key() {
        for (spellings, key) in [
            (&["ann@example.org", " Ann@EXAMPLE.org\t", "\u{a0}ANN@example.ORG\u{3000}"][..], "ann@example.org"),
            (&["Jos\u{e9}", "jose\u{301}", "JOSe\u{301}"][..], "jos\u{e9}"),
            (&["J\u{30c}", "j\u{30c}", "\u{1f0}"][..], "\u{1f0}"),
            (&["k\u{301}", "\u{1e31}"][..], "\u{1e31}"),
            (&["team 42"][..], "team 42"),
        ] {
            for spelling in spellings {
                assert_eq!(canonical_identifier(spelling).as_deref(), Some(key), "{spelling:?}");
            }
        }
    }

    #[test]
    fn what_is_not_the_same_identifier_has_another_key_or_none() {
        let key = |text: &str| canonical_identifier(text);
        for (one, other) in [
            ("quac\u{212a}", "quack"),
            ("m\u{131}ke", "mike"),
            ("M\u{130}KE", "mike"),
            ("stra\u{df}e", "strasse"),
            ("\u{17f}am", "sam"),
            ("\u{430}nn", "ann"),
            ("\u{ff41}nn", "ann"),
            ("\u{c9}", "\u{e9}"),
            ("ann@example.org.", "ann@example.org"),
            ("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
            ("\u{2126}", "\u{3c9}"),
        ] {
            assert_ne!(key(one), key(other), "{one:?} {other:?}");
        }
        for nothing in [
            "",
            "   ",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{200d}b",
            "\u{feff}ann",
            "ann\u{200b}",
            "\u{202e}ann",
            "ann\u{2069}",
            "ann\u{200f}",
            "ann\u{a0}b",
            "ann\u{ff20}example.org",
            "ann\u{fe6b}example.org",
            "quac\u{212a}",
            "a\u{37e}b",
            "a\u{1fef}b",
            "a\u{ad}b",
            "a\u{e0041}b",
            "ann\u{fe0f}",
        ] {
            assert_eq!(key(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn addresses_are_told_from_what_is_none() {
        let long = |local: usize, label: usize| format!("{}@{}.example", "a".repeat(local), "b".repeat(label));
        let longest = format!("{}@{}.{}.{}.abc", "a".repeat(64), "b".repeat(61), "c".repeat(61), "d".repeat(61));
        assert_eq!(longest.len(), 254);
        for good in [
            "ann@example.org",
            "Ann.O'Neill+tag@sub.example.co.uk",
            "a@b.c",
            "1@2.3",
            "_@example.org",
            "a..b@example.org",
            "jos\u{e9}@example.org",
            "jose\u{301}@example.org",
            "ann@b\u{fc}cher.example",
            "ann@xn--bcher-kva.example",
            "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.\u{6d4b}\u{8bd5}",
            &long(64, 63),
            &longest,
        ] {
            assert!(is_email(good), "{good:?}");
        }
        for bad in [
            "",
            "@",
            "x",
            "nope",
            "ann@",
            "@example.org",
            "ann@example",
            "ann@@example.org",
            "a@b@example.org",
            "ann@example.org.",
            "ann@.example.org",
            "ann@example..org",
            "ann@-example.org",
            "ann@example-.org",
            "ann@exa_mple.org",
            "ann@[192.0.2.1]",
            "\"ann\"@example.org",
            "\"a b\"@example.org",
            "ann @example.org",
            " ann@example.org",
            "ann@example.org ",
            "ann@exam ple.org",
            "Ann <ann@example.org>",
            "ann,bob@example.org",
            "ann(x)@example.org",
            "a\\b@example.org",
            "ann\0@example.org",
            "ann@example.org\n",
            "ann@exa\u{200d}mple.org",
            "\u{202e}ann@example.org",
            "ann\u{200f}@example.org",
            "ann\u{ff20}example.org",
            "ann\u{fe6b}example.org",
            "ann@example.org\u{ff20}evil.example",
            "ann@evil.example\u{2100}.org",
            "ann@\u{ff45}xample.org",
            "quac\u{212a}@example.org",
            "ann@example\u{2024}org",
            "ann@exa\u{ff0e}mple.org",
            &long(65, 63),
            &long(64, 64),
            &format!("{longest}d"),
            "ann@example.org/x",
            "mailto:ann@example.org",
            "ann@example.org:25",
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(text in "\\PC{0,12}|[a-zA-Z\u{300}-\u{345}\u{c0}-\u{24f}\u{1e00}-\u{1eff}\u{2100}-\u{214f} ]{0,8}") {
            if let Some(key) = canonical_identifier(&text) {
                prop_assert_eq!(canonical_identifier(&key), Some(key.clone()));
                prop_assert_eq!(&key.to_ascii_lowercase(), &key);
                // Nothing becomes ASCII that was not.
                let ascii = |text: &str| text.chars().filter(char::is_ascii).count();
                prop_assert!(ascii(&key) <= ascii(&text));
            }
        }

        #[test]
        fn composed_or_not_is_the_same(text in "[a-zA-Z\u{300}-\u{345}\u{c0}-\u{24f}\u{1e00}-\u{1eff}]{0,8}") {
            let (composed, decomposed): (String, String) = (text.nfc().collect(), text.nfd().collect());
            prop_assert_eq!(canonical_identifier(&composed), canonical_identifier(&decomposed));
        }

        #[test]
        fn every_address_has_a_key(text in "[a-zA-Z0-9.+\u{e0}-\u{ff}]{1,12}@[a-z0-9\u{e0}-\u{ff}]{1,9}\\.[a-z]{2,5}|\\PC{0,20}") {
            prop_assert!(!is_email(&text) || canonical_identifier(&text).is_some());
        }
    }
}
