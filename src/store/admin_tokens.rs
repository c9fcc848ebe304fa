//! Tokens for administration.

use super::{AdminToken, Store, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

/// A token in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAdminToken {
    /// From [`super::IdKind::generate`].
    pub id: String,
    /// For people.
    pub name: String,
    /// Last four characters.
    pub hint: String,
    /// SHA-256 of its text.
    pub digest: CredentialDigest,
    /// What it may do.
    pub scopes: Vec<String>,
    /// In which realms; none = in all.
    pub realms: Option<Vec<String>>,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
    /// Who makes it.
    pub created_by: String,
    /// When.
    pub at: UnixMillis,
}

impl Store {
    /// The token whose text has this SHA-256, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn admin_token(&self, digest: &CredentialDigest) -> Result<Option<AdminToken>, StoreError> {
        let _ = digest;
        unimplemented!()
    }

    /// All tokens, in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn admin_tokens(&self) -> Result<Vec<AdminToken>, StoreError> {
        unimplemented!()
    }

    /// Notes that a token was used, if the last note is older than a minute.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn note_admin_token(&self, id: &str, at: UnixMillis) -> Result<(), StoreError> {
        let _ = (id, at);
        unimplemented!()
    }
}

impl Write {
    /// Makes a token.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn create_admin_token(&mut self, token: &NewAdminToken) -> Result<(), StoreError> {
        let _ = token;
        unimplemented!()
    }

    /// Ends a token. False: it is not there or was revoked already.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_admin_token(&mut self, id: &str, at: UnixMillis) -> Result<bool, StoreError> {
        let _ = (id, at);
        unimplemented!()
    }
}
