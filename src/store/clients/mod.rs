//! Principals.

mod removal;

use serde_json::{Map, Value};

use super::backend::{self, Row};
use super::statement::Statement;
use super::{ChangeKind, Client, ClientKind, ClientSource, ClientStatus, Page, Store, StoreError, Write};
use crate::clock::UnixMillis;
use crate::password::Phc;

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
    /// Its password, if it has one.
    pub password_phc: Option<Phc>,
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
    /// Password.
    pub password_phc: Option<Option<Phc>>,
    /// Whether failed logins are forgiven.
    pub unlock: bool,
}

/// Which principals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Only of these realms; none = of all.
    pub realms: Option<Vec<String>>,
    /// Only those with these ids, a few.
    pub ids: Option<Vec<String>>,
    /// Identifier, as [`Store::client_called`] understands it.
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

/// What [`read`] takes, in its order. `p` is the principal.
pub(super) const COLUMNS: &str = "p.id, p.realm, p.kind, p.identifier, p.subject, p.source, p.status, p.roles, p.plan, p.tenant, p.scopes, \
     p.attributes, CAST(CASE WHEN p.password_phc IS NULL THEN 0 ELSE 1 END AS BIGINT), p.locked_until, \
     p.last_login_at, p.created_by, p.created_at, p.updated_at, p.version";

/// How many they are.
pub(super) const WIDTH: usize = 19;

/// Owners that are looked at at a time.
const READ_TOGETHER: i64 = 1000;

impl Store {
    /// The principal with this id.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let rows = select().bind(" WHERE p.id = ", id).read(&*self.inner.database).await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// The principal called `identifier` in a realm: one of the store whatever its case (ASCII), else one of the
    /// application letter by letter.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn client_called(&self, realm: &str, identifier: &str) -> Result<Option<Client>, StoreError> {
        let rows = called(select().bind(" WHERE p.realm = ", realm), identifier)
            .push(" ORDER BY CASE p.source WHEN 'local' THEN 0 ELSE 1 END")
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// Principals in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn clients(&self, filter: &ClientFilter, page: &Page) -> Result<Vec<Client>, StoreError> {
        let mut statement = select().push(" WHERE 1 = 1");
        if let Some(realms) = &filter.realms {
            statement = statement.bind_list(" AND p.realm IN ", realms.iter().map(String::as_str));
        }
        if let Some(ids) = &filter.ids {
            statement = statement.bind_list(" AND p.id IN ", ids.iter().map(String::as_str));
        }
        if let Some(role) = &filter.role {
            // Roles are a JSON list. Its text loses the quoted name only if it holds it: names have no quotes in them.
            let quoted = Value::from(role.as_str()).to_string();
            statement = statement.bind(" AND p.roles <> REPLACE(p.roles, ", quoted).push(", '')");
        }
        let (mut behind, mut ordered) = (" AND p.id > ", " ORDER BY p.id LIMIT ");
        if let Some(identifier) = &filter.identifier {
            statement = called(statement, identifier);
            // Else SQLite walks through all ids of the realm, which are in the order that is asked for.
            (behind, ordered) = (" AND p.id || '' > ", " ORDER BY p.id || '' LIMIT ");
        }
        let rows = statement
            .bind_some(" AND p.kind = ", filter.kind.map(ClientKind::as_str))
            .bind_some(" AND p.status = ", filter.status.map(ClientStatus::as_str))
            .bind_some(" AND p.tenant = ", filter.tenant.as_deref())
            .bind_some(behind, page.after.as_deref())
            .bind(ordered, page.rows())
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }

    /// Active owners of a realm that have this attribute as a text: their ids, and the texts.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn owners_with_attribute(
        &self,
        realm: &str,
        attribute: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            // Only those whose attributes hold the quoted name at all, as with roles.
            let rows = Statement::new("SELECT p.id, p.attributes FROM principals p")
                .bind(" WHERE p.realm = ", realm)
                .bind(" AND p.attributes <> REPLACE(p.attributes, ", Value::from(attribute).to_string())
                .push(", '') AND p.kind = 'owner' AND p.status = 'active'")
                .bind_some(" AND p.id > ", after.as_deref())
                .bind(" ORDER BY p.id LIMIT ", READ_TOGETHER)
                .read(&*self.inner.database)
                .await?;
            if rows.is_empty() {
                return Ok(found);
            }
            for mut row in rows {
                let (id, attributes) = (row.text()?, row.object()?);
                if let Some(Value::String(text)) = attributes.get(attribute) {
                    found.push((id.clone(), text.clone()));
                }
                after = Some(id);
            }
        }
    }
}

impl Write {
    /// The principal with this id, as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn client(&mut self, id: &str) -> Result<Option<Client>, StoreError> {
        let rows = select().bind(" WHERE p.id = ", id).fetch(&mut *self.transaction).await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// Makes a principal. A row in the feed only if it has attributes, of which a host may be one: of itself no node can know
    /// anything yet.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the identifier is taken.
    pub async fn create_client(&mut self, client: &NewClient) -> Result<(), StoreError> {
        let values: Vec<backend::Value> = vec![
            client.id.as_str().into(),
            client.realm.as_str().into(),
            client.kind.as_str().into(),
            client.identifier.as_str().into(),
            norm(&client.identifier).into(),
            ClientStatus::Active.as_str().into(),
            client.roles.as_slice().into(),
            client.plan.as_deref().into(),
            client.tenant.as_deref().into(),
            client.scopes.as_deref().into(),
            (&client.attributes).into(),
            client.password_phc.as_ref().map(Phc::expose).into(),
            client.created_by.as_str().into(),
            client.at.into(),
            client.at.into(),
            1.into(),
        ];
        Statement::new(
            "INSERT INTO principals (id, realm, kind, identifier, identifier_norm, status, roles, plan, tenant, \
             scopes, attributes, password_phc, created_by, created_at, updated_at, version) VALUES ",
        )
        .bind_list("", values)
        .execute(&mut *self.transaction)
        .await?;
        if !client.attributes.is_empty() {
            self.change(&client.realm, ChangeKind::Client, &client.id, client.at);
        }
        Ok(())
    }

    /// Changes a principal if it has still this version (none = whatever it has). False: it has not, or is not there.
    /// One that is disabled or gets another password has its sessions ended, and what its keys were given. The identifier
    /// of one that lives in the application is the application's: it stays.
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
        let mut statement = Statement::new("UPDATE principals SET version = version + 1").bind(", updated_at = ", at);
        if let Some(identifier) = &change.identifier {
            statement = statement
                .bind(", identifier = CASE source WHEN 'local' THEN ", identifier.as_str())
                .bind(" ELSE identifier END, identifier_norm = CASE source WHEN 'local' THEN ", norm(identifier))
                .push(" ELSE identifier_norm END");
        }
        if change.unlock {
            statement = statement.push(", failed_count = 0, first_failed_at = NULL, locked_until = NULL");
        }
        let rows = statement
            .bind_some(", roles = ", change.roles.as_deref())
            .bind_some(", plan = ", change.plan.clone())
            .bind_some(", tenant = ", change.tenant.clone())
            .bind_some(", scopes = ", change.scopes.as_ref().map(Option::as_deref))
            .bind_some(", attributes = ", change.attributes.as_ref())
            .bind_some(", status = ", change.status.map(ClientStatus::as_str))
            .bind_some(", password_phc = ", change.password_phc.clone().map(|phc| phc.map(Phc::into_text)))
            .bind(" WHERE id = ", id)
            .bind_some(" AND version = ", version)
            .push(" RETURNING realm, identifier_norm, identifier")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        let realm = row.text()?;
        let reason = match (change.status, &change.password_phc) {
            (Some(ClientStatus::Disabled), _) => Some("disabled"),
            (_, Some(_)) => Some("password_changed"),
            (Some(ClientStatus::Active) | None, None) => None,
        };
        if let Some(reason) = reason {
            self.end_sessions_of(id, reason, None, at).await?;
            self.end_tokens_for(id, at).await?;
        }
        if change.unlock {
            let (compared, identifier) = (row.text()?, norm(&row.text()?));
            self.forget_failures_of(&realm, &compared).await?;
            if identifier != compared {
                // It lives in the application, and may sign in with what it is called there.
                self.forget_failures_of(&realm, &identifier).await?;
            }
        }
        self.change(&realm, ChangeKind::Client, id, at);
        Ok(true)
    }
}

/// An identifier as it is compared.
fn norm(identifier: &str) -> String {
    identifier.to_ascii_lowercase()
}

/// The same of a principal that lives in the application: letter by letter, and apart from those of the store.
pub(super) fn directory_norm(subject: &str) -> String {
    format!("={subject}")
}

/// Adds that principals are called so: in words by which both databases look the two names up.
fn called(statement: Statement, identifier: &str) -> Statement {
    let (local, directory) = (norm(identifier), directory_norm(identifier));
    statement
        .bind_list(" AND p.identifier_norm IN ", [local.as_str(), directory.as_str()])
        .bind(" AND (p.source = 'local') = (p.identifier_norm = ", local.as_str())
        .push(")")
}

pub(super) fn select() -> Statement {
    Statement::new("SELECT ").push(COLUMNS).push(" FROM principals p")
}

/// A principal from [`COLUMNS`].
pub(super) fn read(row: &mut Row) -> Result<Client, StoreError> {
    Ok(Client {
        id: row.text()?,
        realm: row.text()?,
        kind: row.word(ClientKind::by_name)?,
        identifier: row.text()?,
        subject: row.opt_text()?,
        source: row.word(ClientSource::by_name)?,
        status: row.word(ClientStatus::by_name)?,
        roles: row.texts()?,
        plan: row.opt_text()?,
        tenant: row.opt_text()?,
        scopes: row.opt_texts()?,
        attributes: row.object()?,
        has_password: row.int()? != 0,
        locked_until: row.opt_time()?,
        last_login_at: row.opt_time()?,
        created_by: row.text()?,
        created_at: row.time()?,
        updated_at: row.time()?,
        version: row.int()?,
    })
}
