//! Principals.

use serde_json::{Map, Value};

use super::{Client, ClientKind, ClientStatus, Page, Store, StoreError, Write};
use crate::clock::UnixMillis;

/// A principal in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct NewClient {
    /// From [`super::IdKind::generate`].
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// What it is.
    pub kind: ClientKind,
    /// Unique in the realm, whatever its case (ASCII).
    pub identifier: String,
    /// Role names.
    pub roles: Vec<String>,
    /// Plan.
    pub plan: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// See [`Client::scopes`].
    pub scopes: Option<Vec<String>>,
    /// Free attributes.
    pub attributes: Map<String, Value>,
    /// Who makes it.
    pub created_by: String,
    /// When.
    pub at: UnixMillis,
}

/// What of a principal is to be changed; none = stays. The inner option of what can be absent: none = taken away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientChange {
    /// Identifier.
    pub identifier: Option<String>,
    /// Role names.
    pub roles: Option<Vec<String>>,
    /// Plan.
    pub plan: Option<Option<String>>,
    /// Tenant.
    pub tenant: Option<Option<String>>,
    /// Scopes.
    pub scopes: Option<Option<Vec<String>>>,
    /// Free attributes, all of them.
    pub attributes: Option<Map<String, Value>>,
    /// Status.
    pub status: Option<ClientStatus>,
    /// Password as a PHC string.
    pub password_phc: Option<Option<String>>,
    /// Whether failed logins are forgiven.
    pub unlock: bool,
}

/// Which principals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Only of these realms; none = of all.
    pub realms: Option<Vec<String>>,
    /// Identifier, whatever its case (ASCII).
    pub identifier: Option<String>,
    /// What they are.
    pub kind: Option<ClientKind>,
    /// Status.
    pub status: Option<ClientStatus>,
    /// Tenant.
    pub tenant: Option<String>,
    /// A role that they have.
    pub role: Option<String>,
}

impl Store {
    /// The principal with this id.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// The principal called `identifier` in a realm, whatever its case (ASCII).
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn client_called(&self, realm: &str, identifier: &str) -> Result<Option<Client>, StoreError> {
        let _ = (realm, identifier);
        unimplemented!()
    }

    /// Principals in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn clients(&self, filter: &ClientFilter, page: &Page) -> Result<Vec<Client>, StoreError> {
        let _ = (filter, page);
        unimplemented!()
    }
}

impl Write {
    /// The principal with this id, as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn client(&mut self, id: &str) -> Result<Option<Client>, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// Makes a principal.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the identifier is taken.
    pub async fn create_client(&mut self, client: &NewClient) -> Result<(), StoreError> {
        let _ = client;
        unimplemented!()
    }

    /// Changes a principal if it has still this version (none = whatever it has). False: it has not, or is not there.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the identifier is taken.
    pub async fn update_client(
        &mut self,
        id: &str,
        version: Option<i64>,
        change: &ClientChange,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let _ = (id, version, change, at);
        unimplemented!()
    }

    /// Removes a principal with its keys and address lists, if it has still this version. None: it has not, or is not
    /// there; else the ids of the keys that ended with it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn delete_client(
        &mut self,
        id: &str,
        version: Option<i64>,
        at: UnixMillis,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let _ = (id, version, at);
        unimplemented!()
    }
}
