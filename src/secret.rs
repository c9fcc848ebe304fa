//! Secrets: types that cannot be printed, are compared in constant time and are wiped when dropped.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that must not be seen: an HMAC key, a private key, a shared secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who needs them. The name makes each use easy to find.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

/// Digits and letters, in the order of their values as digits of a number.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Random digits and letters, each alike, from the randomness of the operating system: 5.95 bits a character.
///
/// # Errors
/// The system has no randomness to give.
pub fn random_base62(chars: usize) -> Result<Zeroizing<String>, getrandom::Error> {
    // With room for all of it: a text that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(chars));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while text.len() < chars {
        getrandom::fill(bytes.as_mut_slice())?;
        // 248 = 4 * 62: larger bytes would make the first characters of the alphabet more likely.
        for byte in bytes.iter().filter(|byte| **byte < 248) {
            if text.len() < chars {
                text.push(char::from(BASE62.get(usize::from(byte % 62)).copied().unwrap_or(b'0')));
            }
        }
    }
    Ok(text)
}

/// SHA-256 of a whole credential: what is stored, indexed and compared instead of the credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialDigest([u8; 32]);

impl Hash for CredentialDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// Makes the hashes of tables that are kept by digest: the beginning of a digest is as good as a hash, as long as only
/// those enter digests who cannot choose them.
pub type ByDigest = BuildHasherDefault<TakeAsItIs>;

/// See [`ByDigest`].
#[derive(Clone, Copy, Debug, Default)]
pub struct TakeAsItIs(u64);

impl Hasher for TakeAsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl CredentialDigest {
    /// The digest of `credential`.
    pub fn of(credential: &[u8]) -> Self {
        Self(Sha256::digest(credential).into())
    }

    /// Reads 64 hexadecimal digits, either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (mut bytes, encoding) = ([0; 32], data_encoding::HEXLOWER_PERMISSIVE);
        // Whether the length fits comes first: the decoder takes room of exactly the right size.
        let fits = text.len() == 2 * bytes.len() && encoding.decode_mut(text.as_bytes(), &mut bytes).is_ok();
        fits.then_some(Self(bytes))
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CredentialDigest {
    /// A digest of a key with little entropy could be searched for: it is no more for logs than the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialDigest(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_secret_nor_a_digest_is_printed() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        assert_eq!(format!("{:?}", CredentialDigest::of(b"hunter2")), "CredentialDigest(redacted)");
    }

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = CredentialDigest::of(b"abc");
        assert_eq!(digest.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(CredentialDigest::from_hex(&digest.to_hex().to_uppercase()), Some(digest));
        assert_eq!(CredentialDigest::from_hex("ba78"), None);
    }
}
