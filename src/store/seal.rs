//! What must be read again lies encrypted in the database: AES-256-GCM, under a key that is made from the seal key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Fault, StoreError};
use crate::secret::Secret;

/// Names the form of what is sealed. Another form gets another text, and so another key.
const PURPOSE: &[u8] = b"portcullis: sealed at rest, v1";

/// Whose a sealed secret is: it opens in no other row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) realm: &'a str,
    pub(super) kid: &'a str,
    pub(super) alg: &'a str,
}

impl Place<'_> {
    /// Each part with its length before it, so that no two places read alike.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [self.realm, self.kid, self.alg] {
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

/// Encrypts: a nonce from the randomness of the system, the ciphertext, its tag.
pub(super) fn seal(seal_key: &Secret, place: Place<'_>, secret: &Secret) -> Result<Vec<u8>, StoreError> {
    let mut nonce = [0_u8; NONCE_LEN];
    getrandom::fill(&mut nonce)
        .map_err(|_| StoreError::new(Fault::Unreachable, "the system has no randomness to give"))?;
    let mut text = Zeroizing::new(Vec::with_capacity(secret.expose().len() + AES_256_GCM.tag_len()));
    text.extend_from_slice(secret.expose());
    key(seal_key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.bytes()), &mut *text)
        .map_err(|_| StoreError::corrupt("a secret cannot be sealed"))?;
    Ok([nonce.as_slice(), &text].concat())
}

/// Decrypts. An error: it was sealed with another key, for another place, or was changed.
pub(super) fn unseal(seal_key: &Secret, place: Place<'_>, sealed: &[u8]) -> Result<Secret, StoreError> {
    let foreign = || StoreError::corrupt("a sealed secret does not open: it was changed, or sealed with another key");
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(foreign)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| foreign())?;
    let mut text = Zeroizing::new(text.to_vec());
    let opened = key(seal_key)?.open_in_place(nonce, Aad::from(place.bytes()), &mut text).map_err(|_| foreign())?;
    Ok(Secret::new(opened.to_vec()))
}

fn key(seal_key: &Secret) -> Result<LessSafeKey, StoreError> {
    let unfit = || StoreError::corrupt("the seal key cannot be used as a key");
    let mut mac = Hmac::<Sha256>::new_from_slice(seal_key.expose()).map_err(|_| unfit())?;
    mac.update(PURPOSE);
    let bytes = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*bytes).map_err(|_| unfit())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { realm: "shop", kid: "sig_1", alg: "HS256" };

    fn secret(byte: u8) -> Secret {
        Secret::new(vec![byte; 32])
    }

    #[test]
    fn what_is_sealed_opens_again_and_never_looks_the_same() {
        let (one, two) = (seal(&secret(1), PLACE, &secret(7)).unwrap(), seal(&secret(1), PLACE, &secret(7)).unwrap());
        assert_ne!(one, two);
        assert!(!one.windows(32).any(|part| part == [7; 32]));
        for sealed in [one, two] {
            assert_eq!(unseal(&secret(1), PLACE, &sealed).unwrap(), secret(7));
        }
        let nothing = Secret::new(Vec::new());
        assert_eq!(unseal(&secret(1), PLACE, &seal(&secret(1), PLACE, &nothing).unwrap()).unwrap(), nothing);
    }

    #[test]
    fn it_opens_with_no_other_key_in_no_other_place_and_not_when_it_was_changed() {
        let sealed = seal(&secret(1), PLACE, &secret(7)).unwrap();
        let refused = |key: u8, place, sealed: &[u8]| {
            let error = unseal(&secret(key), place, sealed).unwrap_err();
            assert_eq!(error.fault, Fault::Corrupt, "{error}");
        };
        refused(2, PLACE, &sealed);
        refused(1, Place { realm: "blog", ..PLACE }, &sealed);
        refused(1, Place { kid: "sig_2", ..PLACE }, &sealed);
        refused(1, Place { alg: "HS512", ..PLACE }, &sealed);
        refused(1, Place { realm: "shopsig_1", kid: "", ..PLACE }, &sealed);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            refused(1, PLACE, &changed);
            refused(1, PLACE, &sealed[..at]);
        }
    }
}
