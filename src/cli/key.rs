//! `key generate` and `key hash`: keys for people who declare them in the configuration.

use std::io::{Read, Write};

use zeroize::Zeroizing;

use super::{FAILED, FINE, WRONG};
use crate::gate::verify::api_key::PlainKey;
use crate::secret::CredentialDigest;

/// Longest text that `key hash` reads: no key is longer.
const MAX_INPUT: u64 = 4096;

/// Prints a new key, its digest and the line for the configuration. The key is shown here and nowhere again.
pub(super) fn generate(prefix: &str, json: bool, out: &mut dyn Write) -> u8 {
    if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        eprintln!("portcullis: --prefix takes 1 to 32 characters of 0-9 A-Z a-z _, for example acme_live_");
        return WRONG;
    }
    let key = match PlainKey::generate(prefix) {
        Ok(key) => key,
        Err(error) => {
            eprintln!("portcullis: the system gives no randomness: {error}");
            return FAILED;
        }
    };
    let sha256 = key.digest().to_hex();
    let written = if json {
        writeln!(out, "{}", serde_json::json!({ "key": key.expose(), "sha256": sha256 }))
    } else {
        writeln!(
            out,
            "key     {}\nsha256  {sha256}\n\nFor the configuration, under [clients.NAME] (the key itself is shown only here):\n\
             keys = [{{ id = \"key-1\", sha256 = \"{sha256}\" }}]",
            key.expose()
        )
    };
    if written.is_ok() { FINE } else { FAILED }
}

/// Prints the digest of the key on standard input; one trailing newline is cut.
pub(super) fn hash(input: &mut dyn Read, out: &mut dyn Write) -> u8 {
    let mut key = Zeroizing::new(Vec::new());
    if let Err(error) = input.take(MAX_INPUT + 1).read_to_end(&mut key) {
        eprintln!("portcullis: standard input: {error}");
        return FAILED;
    }
    let text = key.strip_suffix(b"\n").unwrap_or(&key);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() || key.len() as u64 > MAX_INPUT {
        eprintln!("portcullis: give one key on standard input, at most {MAX_INPUT} bytes");
        return WRONG;
    }
    if writeln!(out, "{}", CredentialDigest::of(text).to_hex()).is_ok() { FINE } else { FAILED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_digest_is_that_of_the_printed_key() {
        let mut out = Vec::new();
        assert_eq!(generate("pk_test_", true, &mut out), FINE);
        let printed: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let mut again = Vec::new();
        let key = format!("{}\n", printed["key"].as_str().unwrap());
        assert_eq!(hash(&mut key.as_bytes(), &mut again), FINE);
        assert_eq!(String::from_utf8(again).unwrap().trim(), printed["sha256"].as_str().unwrap());
    }

    #[test]
    fn a_prefix_that_would_not_survive_a_header_is_refused() {
        for bad in ["", "a b", "ä_", "x-y", &"a".repeat(33)] {
            assert_eq!(generate(bad, false, &mut Vec::new()), WRONG, "{bad:?}");
        }
        assert_eq!(hash(&mut b"\n".as_slice(), &mut Vec::new()), WRONG);
    }
}
