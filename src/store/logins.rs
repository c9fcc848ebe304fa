//! What a login needs of a principal, and what it leaves with it.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::statement::Statement;
use super::{
    AddressEntry, ChangeKind, Client, ClientKind, ClientSource, ClientStatus, Fault, IdKind, Store, StoreError, Write,
    addresses, clients,
};
use crate::clock::UnixMillis;

/// The stored hash of a password (a PHC string): not for logs, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword(Zeroizing<String>);

impl StoredPassword {
    /// The text, for the one who compares.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(redacted)")
    }
}

/// A principal that may sign in with a password.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginRecord {
    /// The principal, whatever its state.
    pub client: Client,
    /// Its password; none: it cannot sign in.
    pub password_phc: Option<StoredPassword>,
    /// Its list; empty = every address.
    pub addresses: Vec<AddressEntry>,
}

/// A principal of the application, as the application tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectorySubject {
    /// What the application calls it, letter by letter.
    pub subject: String,
    /// Role names.
    pub roles: Vec<String>,
    /// Plan.
    pub plan: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// Free attributes.
    pub attributes: Map<String, Value>,
}

/// Columns before the address entry: the name of the part, the password, the principal.
const BEFORE_THE_LIST: usize = 1 + 1 + clients::WIDTH;

impl Store {
    /// The user or client of the store called `identifier`, whatever its case (ASCII), with what its login is judged by.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn login_record(&self, realm: &str, identifier: &str) -> Result<Option<LoginRecord>, StoreError> {
        // One statement, so that all of it is of one moment; see also `keys::in_force`.
        let rows =
            Statement::new("WITH found AS (SELECT 'principal' AS part, p.password_phc, p.id AS this_principal, ")
                .push(clients::COLUMNS)
                .bind(" FROM principals p WHERE p.realm = ", realm)
                .bind(" AND p.identifier_norm = ", identifier.to_ascii_lowercase())
                .push(" AND p.source = 'local' AND p.kind IN ('user', 'client')) SELECT found.*, ")
                .nulls(addresses::WIDTH)
                .push(" FROM found UNION ALL SELECT 'address', ")
                .nulls(BEFORE_THE_LIST)
                .push(", ")
                .push(addresses::COLUMNS)
                .push(" FROM found CROSS JOIN ip_entries e")
                .push(" WHERE e.owner_kind = 'client' AND e.owner_id = found.this_principal")
                .read(&*self.inner.database)
                .await?;
        let mut found = None;
        let mut addresses = Vec::new();
        for mut row in rows {
            if row.text()? == "principal" {
                let password_phc = row.opt_text()?.map(|text| StoredPassword(Zeroizing::new(text)));
                row.skip(1);
                found = Some((clients::read(&mut row)?, password_phc));
            } else {
                row.skip(BEFORE_THE_LIST);
                addresses.push(addresses::read(&mut row)?);
            }
        }
        addresses.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(found.map(|(client, password_phc)| LoginRecord { client, password_phc, addresses }))
    }
}

impl Write {
    /// Shows for how long logins of a principal are refused, and after how many failures: for people, it decides
    /// nothing.
    ///
    /// In a transaction of its own, or before failures are counted: whoever signs in takes the principal's row first and
    /// the counters after.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn mirror_lock(
        &mut self,
        principal_id: &str,
        locked_until: Option<UnixMillis>,
        failed: u32,
        at: UnixMillis,
    ) -> Result<(), StoreError> {
        let statement = match failed {
            0 => Statement::new("UPDATE principals SET first_failed_at = NULL"),
            _ => Statement::new("UPDATE principals SET")
                .bind(" first_failed_at = COALESCE(first_failed_at, ", at)
                .push(")"),
        };
        statement
            .bind(", locked_until = ", locked_until)
            .bind(", failed_count = ", i64::from(failed))
            .bind(" WHERE id = ", principal_id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Puts another hash of the same password in the place of `old`. False: another one is there by now. No session
    /// ends.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn set_password_phc(
        &mut self,
        id: &str,
        old: Option<&str>,
        new: &str,
        _at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let statement = Statement::new("UPDATE principals SET").bind(" password_phc = ", new).bind(" WHERE id = ", id);
        let statement = match old {
            Some(old) => statement.bind(" AND password_phc = ", old),
            None => statement.push(" AND password_phc IS NULL"),
        };
        Ok(statement.execute(&mut *self.transaction).await? > 0)
    }

    /// The row of a principal that lives in the application: made if there is none, else with what the application tells
    /// now. Its status, its address list and its version stay; nodes are told if something is new.
    ///
    /// # Errors
    /// [`Fault::Conflict`]: a principal of the store has the same name.
    pub async fn directory_principal(
        &mut self,
        realm: &str,
        subject: &DirectorySubject,
        created_by: &str,
        at: UnixMillis,
    ) -> Result<Client, StoreError> {
        if self.find_subject(realm, &subject.subject).await?.is_none() {
            self.insert_subject(realm, subject, created_by, at).await?;
        }
        let taken = || StoreError::new(Fault::Conflict, "a principal of the store has the name of the subject");
        let found = self.find_subject(realm, &subject.subject).await?.ok_or_else(taken)?;
        let told = (&subject.roles, &subject.plan, &subject.tenant, &subject.attributes);
        if (&found.roles, &found.plan, &found.tenant, &found.attributes) == told {
            return Ok(found);
        }
        Statement::new("UPDATE principals SET")
            .bind(" roles = ", subject.roles.as_slice())
            .bind(", plan = ", subject.plan.as_deref())
            .bind(", tenant = ", subject.tenant.as_deref())
            .bind(", attributes = ", &subject.attributes)
            .bind(", updated_at = ", at)
            .bind(" WHERE id = ", found.id.as_str())
            .execute(&mut *self.transaction)
            .await?;
        self.change(realm, ChangeKind::Client, &found.id, at);
        self.client(&found.id).await?.ok_or_else(|| StoreError::new(Fault::Conflict, "the principal was removed"))
    }

    async fn find_subject(&mut self, realm: &str, subject: &str) -> Result<Option<Client>, StoreError> {
        let rows = clients::select()
            .bind(" WHERE p.source = 'directory' AND p.realm = ", realm)
            .bind(" AND p.subject = ", subject)
            .fetch(&mut *self.transaction)
            .await?;
        rows.into_iter().next().as_mut().map(clients::read).transpose()
    }

    /// Unless there is one by now.
    async fn insert_subject(
        &mut self,
        realm: &str,
        subject: &DirectorySubject,
        created_by: &str,
        at: UnixMillis,
    ) -> Result<(), StoreError> {
        let id = IdKind::User
            .generate(at)
            .map_err(|_| StoreError::new(Fault::Unreachable, "the system has no randomness to give"))?;
        let values = vec![
            id.into(),
            realm.into(),
            ClientKind::User.as_str().into(),
            subject.subject.as_str().into(),
            clients::directory_norm(&subject.subject).into(),
            subject.subject.as_str().into(),
            ClientSource::Directory.as_str().into(),
            ClientStatus::Active.as_str().into(),
            subject.roles.as_slice().into(),
            subject.plan.as_deref().into(),
            subject.tenant.as_deref().into(),
            (&subject.attributes).into(),
            created_by.into(),
            at.into(),
            at.into(),
            1.into(),
        ];
        // No index is named: PostgreSQL would take a conflict in the other for an error, where two come at once.
        Statement::new(
            "INSERT INTO principals (id, realm, kind, identifier, identifier_norm, subject, source, status, roles, plan, \
             tenant, attributes, created_by, created_at, updated_at, version)",
        )
        .bind_rows(" VALUES ", [values])
        .push(" ON CONFLICT DO NOTHING")
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Makes a principal of the application one of the store, which signs in with this password from now on. Its id, what
    /// tokens call it, and its sessions stay. False: it is none of the application's.
    ///
    /// # Errors
    /// [`Fault::Conflict`]: the identifier is taken.
    pub async fn adopt_principal(
        &mut self,
        id: &str,
        identifier: &str,
        password_phc: &str,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = Statement::new("UPDATE principals SET source = 'local', version = version + 1")
            .bind(", identifier = ", identifier)
            .bind(", identifier_norm = ", identifier.to_ascii_lowercase())
            .bind(", password_phc = ", password_phc)
            .bind(", updated_at = ", at)
            .bind(" WHERE source = 'directory' AND id = ", id)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        self.change(&row.text()?, ChangeKind::Client, id, at);
        Ok(true)
    }
}
