//! Keys that exist elsewhere already, in batches.

use serde_json::{Map, Value};

use super::{StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

/// A key that exists already.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedKey {
    /// SHA-256 of its text.
    pub digest: CredentialDigest,
    /// Last four characters of its text; empty when only the digest is known.
    pub hint: String,
    /// Prefix; empty when only the digest is known.
    pub prefix: String,
    /// Id of the principal it belongs to.
    pub owner_id: String,
    /// For people.
    pub name: String,
    /// Scopes; none = as its owner's.
    pub scopes: Option<Vec<String>>,
    /// Free attributes.
    pub attributes: Map<String, Value>,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New keys.
    pub added: u64,
    /// Keys whose text the realm knew already: left as they were.
    pub known: u64,
}

impl Write {
    /// Makes all of these keys that the realm does not know yet; one row in the feed for the whole batch.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: an owner is gone. Then nothing of the batch is written.
    pub async fn import_keys(
        &mut self,
        realm: &str,
        keys: &[ImportedKey],
        created_by: &str,
        at: UnixMillis,
    ) -> Result<Imported, StoreError> {
        let _ = (realm, keys, created_by, at);
        unimplemented!()
    }
}
