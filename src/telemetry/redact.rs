//! Takes out of a text what looks like a credential, so that a key pasted into a path does not end in a log.
//!
//! It errs on the side of taking out too much: from the first character that fits up to the next `/` or blank.

use std::borrow::Cow;

/// What stands where something was taken out.
const REDACTED: &str = "[redacted]";

/// Base64url of `{"`: how the header of every JWT begins.
const JWT_START: &str = "eyJ";

/// How tokens for administration begin.
const ADMIN_TOKEN_START: &str = "pca_";

/// So many characters after a known beginning make it a credential.
const MIN_TOKEN: usize = 8;

/// Knows how credentials begin.
#[derive(Debug)]
pub(super) struct Redactor {
    beginnings: Box<[Box<str>]>,
    /// Which bytes can be the first of a credential, as they stand or percent-encoded.
    first: [bool; 256],
}

impl Redactor {
    /// Knows JWTs, tokens for administration, and keys with these prefixes.
    pub(super) fn new<'p>(prefixes: impl IntoIterator<Item = &'p str>) -> Self {
        let mut beginnings: Vec<Box<str>> = vec![JWT_START.into(), ADMIN_TOKEN_START.into()];
        beginnings.extend(prefixes.into_iter().filter(|prefix| !prefix.is_empty()).map(Into::into));
        beginnings.sort_unstable();
        beginnings.dedup();
        let mut first = [false; 256];
        first[usize::from(b'%')] = true;
        for beginning in &beginnings {
            if let Some(byte) = beginning.bytes().next() {
                first[usize::from(byte)] = true;
            }
        }
        Self { beginnings: beginnings.into(), first }
    }

    /// `text` without credentials; borrowed when there are none.
    pub(super) fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let bytes = text.as_bytes();
        let mut cleaned = String::new();
        let (mut at, mut kept) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            match if self.first[usize::from(byte)] { self.credential_at(bytes, at) } else { None } {
                Some(end) => {
                    cleaned.push_str(text.get(kept..at).unwrap_or_default());
                    cleaned.push_str(REDACTED);
                    (at, kept) = (end, end);
                }
                None => at += 1,
            }
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        cleaned.push_str(text.get(kept..).unwrap_or_default());
        Cow::Owned(cleaned)
    }

    /// Whether there is a credential in `text`.
    pub(super) fn finds(&self, text: &str) -> bool {
        matches!(self.clean(text), Cow::Owned(_))
    }

    /// Where the credential that begins at `at` ends, if one does.
    fn credential_at(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let inside_word = at.checked_sub(1).and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric);
        let begins = |beginning: &str| {
            if beginning.len() < 3 && inside_word {
                return false; // a short prefix would be found inside ordinary words
            }
            let mut next = at;
            let begun = beginning.bytes().all(|wanted| {
                let (byte, width) = decoded(bytes, next);
                next += width;
                byte == Some(wanted)
            });
            begun
                && (0..MIN_TOKEN).all(|_| {
                    let (byte, width) = decoded(bytes, next);
                    next += width;
                    byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"-._~+=".contains(&b))
                })
        };
        self.beginnings.iter().any(|beginning| begins(beginning)).then(|| {
            let rest = bytes.get(at..).unwrap_or_default();
            at + rest.iter().position(|b| matches!(b, b'/' | b' ')).unwrap_or(rest.len())
        })
    }
}

/// The byte at `at`, percent-decoded, and how many bytes it takes up.
fn decoded(bytes: &[u8], at: usize) -> (Option<u8>, usize) {
    let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    match (bytes.get(at), hex(at + 1), hex(at + 2)) {
        (Some(b'%'), Some(high), Some(low)) => (Some(high << 4 | low), 3),
        (byte, _, _) => (byte.copied(), 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(["sk_live_", "k"])
    }

    #[test]
    fn tokens_and_keys_are_taken_out_wherever_they_stand() {
        let cases = [
            ("/v1/sk_live_0123456789abcdef/orders", "/v1/[redacted]/orders"),
            ("/v1/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "/v1/[redacted]"),
            ("/v1/eyJhbGciOiJIUzI1NiJ9%2EeyJzdWIiOiIxIn0%2Ec2ln/x", "/v1/[redacted]/x"),
            ("/v1/%73k_live_01234567%38", "/v1/[redacted]"),
            ("/a=sk_live_0123456789/b=sk_live_0123456789", "/a=[redacted]/b=[redacted]"),
            ("agent/1 (sk_live_0123456789) x", "agent/1 ([redacted] x"),
            ("/k12345678", "/[redacted]"),
            ("/x/pca_0123456789", "/x/[redacted]"),
        ];
        for (text, cleaned) in cases {
            assert_eq!(redactor().clean(text), cleaned);
        }
    }

    #[test]
    fn ordinary_paths_stay_as_they_are() {
        for text in ["/v1/orders/17", "/sk_live_", "/sk_live_short", "/eyJ", "/books/bookkeeping123", "/ä/%E4%", "%"] {
            assert!(matches!(redactor().clean(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_never_left_in_a_text(before in ".{0,20}", key in "[0-9A-Za-z]{30,40}", after in "(/.{0,20})?") {
            let text = format!("{before}sk_live_{key}{after}");
            let cleaned = redactor().clean(&text).into_owned();
            prop_assert!(!cleaned.contains(&key), "{cleaned}");
        }
    }
}
