//! API keys: prefix, random text, checksum; known by the digest of the whole key.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Verification, Verified};
use crate::clock::UnixMillis;
use crate::gate::credential::Place;
use crate::gate::outcome::{Reason, Why};
use crate::secret::{BASE62, ByDigest, CredentialDigest, random_base62};

/// Random characters of a new key: 178 bits.
const RANDOM_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
/// Longest text after the prefix.
const MAX_CHARS: usize = 256;

/// What keys of one kind look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyForm {
    /// What they start with.
    pub prefix: Box<str>,
    /// Whether they end with a checksum.
    pub checksum: bool,
    /// Where they may stand.
    pub from: Vec<Place>,
}

impl ApiKeyForm {
    /// Whether `text`, which starts with the prefix, can be a key at all: rejects typing errors and garbage without a
    /// look-up.
    ///
    /// # Errors
    /// [`Why::Format`] or [`Why::Checksum`].
    pub fn check(&self, text: &str) -> Result<(), Why> {
        let rest = text.strip_prefix(&*self.prefix).ok_or(Why::Prefix)?;
        if !self.checksum {
            let fits = (8..=MAX_CHARS).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_graphic());
            return if fits { Ok(()) } else { Err(Why::Format) };
        }
        let fits = (RANDOM_CHARS + CHECKSUM_CHARS..=MAX_CHARS).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric());
        if !fits {
            return Err(Why::Format);
        }
        let (body, checksum) = text.split_at(text.len() - CHECKSUM_CHARS);
        if checksum.as_bytes() == checksum_of(body) { Ok(()) } else { Err(Why::Checksum) }
    }
}

/// CRC-32/ISO-HDLC of prefix and random text as one number in base 62, padded with `0`. No secret: it only tells a key
/// from a typing error.
fn checksum_of(body: &str) -> [u8; CHECKSUM_CHARS] {
    let mut number = crc32fast::hash(body.as_bytes());
    let mut text = [b'0'; CHECKSUM_CHARS];
    for place in text.iter_mut().rev() {
        *place = BASE62.get((number % 62) as usize).copied().unwrap_or(b'0');
        number /= 62;
    }
    text
}

/// A key in the clear: shown once, to the one who asked for it.
pub struct PlainKey(Zeroizing<String>);

impl PlainKey {
    /// A new key with a checksum, from the randomness of the operating system.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new(String::with_capacity(prefix.len() + RANDOM_CHARS + CHECKSUM_CHARS));
        key.push_str(prefix);
        key.push_str(&random_base62(RANDOM_CHARS)?);
        let checksum = checksum_of(&key);
        key.extend(checksum.map(char::from));
        Ok(Self(key))
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> CredentialDigest {
        CredentialDigest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(redacted)")
    }
}

/// A key of the configuration.
#[derive(Debug)]
pub struct DeclaredKey {
    /// What it proves.
    pub verified: Arc<Verified>,
    /// Whether the key or its client is switched off.
    pub disabled: bool,
}

impl DeclaredKey {
    /// What it proves at `now`, if anything.
    pub(super) fn judge(&self, now: UnixMillis) -> Verification {
        if self.disabled {
            return Verification::Rejected(Reason::KeyDisabled, Why::Disabled);
        }
        match self.verified.expires {
            Some(expires) if now >= expires => Verification::Rejected(Reason::KeyExpired, Why::Expired),
            Some(_) | None => Verification::Verified(Arc::clone(&self.verified)),
        }
    }
}

/// Keys declared in the configuration, by digest.
#[derive(Debug, Default)]
pub struct DeclaredKeys(pub HashMap<CredentialDigest, DeclaredKey, ByDigest>);

impl FromIterator<(CredentialDigest, DeclaredKey)> for DeclaredKeys {
    fn from_iter<I: IntoIterator<Item = (CredentialDigest, DeclaredKey)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl DeclaredKeys {
    /// The key with this text.
    pub fn find(&self, text: &str) -> Option<&DeclaredKey> {
        self.get(&CredentialDigest::of(text.as_bytes()))
    }

    /// The key whose text has this digest. Looking it up tells nothing by its time: whoever could use that would have
    /// to find texts whose digests share a beginning with a key's.
    pub fn get(&self, digest: &CredentialDigest) -> Option<&DeclaredKey> {
        self.0.get(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(checksum: bool) -> ApiKeyForm {
        ApiKeyForm { prefix: "pk_test_".into(), checksum, from: Vec::new() }
    }

    #[test]
    fn a_new_key_passes_its_own_check_and_no_two_are_alike() {
        let (a, b) = (PlainKey::generate("pk_test_").unwrap(), PlainKey::generate("pk_test_").unwrap());
        assert_eq!(form(true).check(a.expose()), Ok(()));
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), "pk_test_".len() + 36);
        assert_eq!(format!("{a:?}"), "PlainKey(redacted)");
    }

    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        // CRC-32/ISO-HDLC of "123456789" is 0xCBF43926 = 3421780262.
        assert_eq!(&checksum_of("123456789"), b"3jZRME");
        let number = b"3jZRME".iter().fold(0_u64, |n, c| n * 62 + BASE62.iter().position(|b| b == c).unwrap() as u64);
        assert_eq!(number, 0xCBF4_3926);
    }

    #[test]
    fn a_typing_error_is_found_without_a_look_up() {
        let key = PlainKey::generate("pk_test_").unwrap();
        let text = key.expose();
        for at in "pk_test_".len()..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(bytes).unwrap();
            assert_eq!(form(true).check(&wrong), Err(Why::Checksum), "at {at}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_by_its_form() {
        let good = PlainKey::generate("pk_test_").unwrap();
        for bad in [
            "pk_test_".to_owned(),
            format!("{} ", good.expose()),
            format!("{}\0", good.expose()),
            good.expose().replace("pk_test_", "pk_test_pk_test_"),
            format!("pk_test_{}", "a".repeat(10_000)),
            "pk_test_äääääääääääääääääääääääääääääääääääääääää".to_owned(),
        ] {
            assert_eq!(form(true).check(&bad), Err(Why::Format), "{bad:?}");
        }
        assert_eq!(form(true).check(&good.expose().to_uppercase()), Err(Why::Prefix));
    }

    #[test]
    fn an_imported_key_needs_no_checksum() {
        assert_eq!(form(false).check("pk_test_abcd-efgh"), Ok(()));
        assert_eq!(form(false).check("pk_test_abcdefg"), Err(Why::Format));
        assert_eq!(form(false).check("pk_test_abcd efgh"), Err(Why::Format));
    }
}
