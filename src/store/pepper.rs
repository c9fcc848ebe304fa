//! Pepper and seal key: read or made on first start, and known again by their fingerprints.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::{CredentialDigest, Secret};

/// HMAC-SHA-256 of a SHA-256, so that keys can be imported by digest.
pub(super) fn at_rest(pepper: &Secret, digest: &CredentialDigest) -> [u8; 32] {
    // HMAC takes keys of every length; the type says otherwise.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(pepper.expose()) else { return [0; 32] };
    mac.update(digest.as_bytes());
    mac.finalize().into_bytes().into()
}
