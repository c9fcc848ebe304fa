//! API keys.

use serde_json::{Map, Value};

use super::{Key, KeyInForce, KeyStatus, Page, Store, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

/// A key in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// From [`super::IdKind::generate`].
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// Id of the principal it belongs to, of the same realm.
    pub owner_id: String,
    /// For people.
    pub name: String,
    /// What its text starts with.
    pub prefix: String,
    /// Last four characters of its text; empty when they are not known.
    pub hint: String,
    /// SHA-256 of its text.
    pub digest: CredentialDigest,
    /// Scopes; none = as its owner's.
    pub scopes: Option<Vec<String>>,
    /// Free attributes.
    pub attributes: Map<String, Value>,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
    /// Who makes it.
    pub created_by: String,
    /// When.
    pub at: UnixMillis,
}

/// What of a key is to be changed; none = stays. The inner option: none = taken away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyChange {
    /// For people.
    pub name: Option<String>,
    /// Scopes.
    pub scopes: Option<Option<Vec<String>>>,
    /// Free attributes, all of them.
    pub attributes: Option<Map<String, Value>>,
    /// Expiry.
    pub expires_at: Option<Option<UnixMillis>>,
    /// Active or disabled: a revoked key stays revoked, see [`Write::revoke_key`].
    pub status: Option<KeyStatus>,
}

/// A new text for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Its last four characters.
    pub hint: String,
    /// SHA-256 of it.
    pub digest: CredentialDigest,
    /// The text so far works until then; now or earlier = it ends at once.
    pub old_until: UnixMillis,
}

/// Which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only of these realms; none = of all.
    pub realms: Option<Vec<String>>,
    /// Id of their owner.
    pub owner_id: Option<String>,
    /// Last four characters of the current or the old text.
    pub hint: Option<String>,
    /// State.
    pub status: Option<KeyStatus>,
    /// Not used since then (nor made since).
    pub unused_since: Option<UnixMillis>,
    /// Active, and expiring before then.
    pub expiring_before: Option<UnixMillis>,
    /// Whether an old text still works at this time.
    pub in_overlap_at: Option<UnixMillis>,
}

impl Store {
    /// Everything about the key whose text has this SHA-256, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn key_in_force(&self, realm: &str, digest: &CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        let _ = (realm, self.at_rest(digest));
        unimplemented!()
    }

    /// The key with this id.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn key(&self, id: &str) -> Result<Option<Key>, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// Keys in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn keys(&self, filter: &KeyFilter, page: &Page) -> Result<Vec<Key>, StoreError> {
        let _ = (filter, page);
        unimplemented!()
    }
}

impl Write {
    /// The key with this id, as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn key(&mut self, id: &str) -> Result<Option<Key>, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// Makes a key, and tells nodes that there are new ones.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: a key of the realm has this text already, or the owner is gone.
    pub async fn create_key(&mut self, key: &NewKey) -> Result<(), StoreError> {
        let _ = key;
        unimplemented!()
    }

    /// Changes a key that is not revoked, if it has still this version (none = whatever it has). False: it has not.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn update_key(
        &mut self,
        id: &str,
        version: Option<i64>,
        change: &KeyChange,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let _ = (id, version, change, at);
        unimplemented!()
    }

    /// Gives an active key, not expired, a new text; its id and all else stay. A text that was still in its overlap
    /// ends at once: two work at most. False: the key is not active, has expired, or has another version.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: a key of the realm has this text already.
    pub async fn rotate_key(
        &mut self,
        id: &str,
        version: Option<i64>,
        rotation: &Rotation,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let _ = (id, version, rotation, at);
        unimplemented!()
    }

    /// Ends a key for good. False: it is not there or was revoked already.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_key(&mut self, id: &str, reason: Option<&str>, at: UnixMillis) -> Result<bool, StoreError> {
        let _ = (id, reason, at);
        unimplemented!()
    }
}
