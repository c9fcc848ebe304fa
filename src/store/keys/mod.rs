//! API keys: their records and texts. Which of them a request may use is the gate's to say.

mod in_force;
mod rotation;

use serde_json::{Map, Value};

use super::backend::{self, Row};
use super::statement::Statement;
use super::{ChangeKind, Fault, Key, KeyStatus, Overlap, Page, Store, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

pub use rotation::Rotation;

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
    /// Only those of which two texts work at this time.
    pub in_overlap_at: Option<UnixMillis>,
}

/// What [`read`] takes, in its order, from a key `k` with [`BESIDE`].
const COLUMNS: &str = "k.id, k.realm, k.owner_id, p.identifier, k.name, k.prefix, COALESCE(c.hint, ''), k.scopes, \
     k.attributes, k.status, k.expires_at, k.revoked_at, k.revoke_reason, o.hint, o.not_after, o.last_used_at, \
     k.last_used_at, k.last_used_ip, k.use_count, k.created_by, k.created_at, k.updated_at, k.version";

/// How many they are.
const WIDTH: usize = 23;

/// Beside a key `k`: its owner `p`, its text `c`, its old text `o`.
const BESIDE: &str = " JOIN principals p ON p.id = k.owner_id \
     LEFT JOIN api_key_secrets c ON c.key_id = k.id AND c.state = 'current' \
     LEFT JOIN api_key_secrets o ON o.key_id = k.id AND o.state = 'overlap'";

impl Store {
    /// The key with this id.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn key(&self, id: &str) -> Result<Option<Key>, StoreError> {
        let rows = select().bind(" WHERE k.id = ", id).read(&*self.inner.database).await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// Keys in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn keys(&self, filter: &KeyFilter, page: &Page) -> Result<Vec<Key>, StoreError> {
        // The page first, and only then what stands beside its keys.
        let mut statement = Statement::new("SELECT ").push(COLUMNS).push(" FROM (SELECT * FROM api_keys k WHERE 1 = 1");
        if let Some(realms) = &filter.realms {
            statement = statement.bind_list(" AND k.realm IN ", realms.iter().map(String::as_str));
        }
        if let Some(hint) = &filter.hint {
            statement = statement
                .bind(" AND k.id IN (SELECT key_id FROM api_key_secrets WHERE hint = ", hint.as_str())
                .push(" AND state <> 'ended')");
        }
        if let Some(since) = filter.unused_since {
            statement = statement
                .bind(" AND (k.last_used_at < ", since)
                .bind(" OR (k.last_used_at IS NULL AND k.created_at < ", since)
                .push("))");
        }
        if let Some(before) = filter.expiring_before {
            statement = statement
                .bind(" AND k.id IN (SELECT id FROM api_keys WHERE status = 'active' AND expires_at < ", before)
                .push(")");
        }
        if let Some(at) = filter.in_overlap_at {
            statement = statement
                .bind(" AND k.id IN (SELECT key_id FROM api_key_secrets WHERE state = 'overlap' AND not_after > ", at)
                .bind(") AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > ", at)
                .push(")");
        }
        // Said in the words of the index of the few that are not active.
        if filter.owner_id.is_none() && filter.status.is_some_and(|status| status != KeyStatus::Active) {
            statement = statement.push(" AND k.status <> 'active'");
        }
        let rows = statement
            .bind_some(" AND k.owner_id = ", filter.owner_id.as_deref())
            .bind_some(" AND k.status = ", filter.status.map(KeyStatus::as_str))
            .bind_some(" AND k.id > ", page.after.as_deref())
            .bind(" ORDER BY k.id LIMIT ", page.rows())
            .push(") k")
            .push(BESIDE)
            .push(" ORDER BY k.id")
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }
}

impl Write {
    /// The key with this id, as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn key(&mut self, id: &str) -> Result<Option<Key>, StoreError> {
        let rows = select().bind(" WHERE k.id = ", id).fetch(&mut *self.transaction).await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// Makes a key, and tells nodes that there are new ones.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: a key of the realm has this text already, or the owner is gone.
    pub async fn create_key(&mut self, key: &NewKey) -> Result<(), StoreError> {
        // The owner's realm is asked for in the same breath: keys of one realm never belong to somebody of another.
        let made = Statement::new("INSERT INTO api_keys (")
            .push(INSERTED)
            .bind(") SELECT ", key.id.as_str())
            .bind(", realm, id, ", key.name.as_str())
            .bind(", ", key.prefix.as_str())
            .bind(", ", key.scopes.as_deref())
            .bind(", ", &key.attributes)
            .bind(", 'active', ", key.expires_at)
            .bind(", ", key.created_by.as_str())
            .bind(", ", key.at)
            .bind(", ", key.at)
            .bind(", 1 FROM principals WHERE id = ", key.owner_id.as_str())
            .bind(" AND realm = ", key.realm.as_str())
            .execute(&mut *self.transaction)
            .await?;
        if made == 0 {
            return Err(StoreError::new(Fault::Conflict, "the owner is gone"));
        }
        let secret = secret(&key.realm, &self.store.at_rest(&key.digest), &key.id, &key.hint, key.at);
        Statement::new("INSERT INTO api_key_secrets (")
            .push(SECRET)
            .bind_rows(") VALUES ", [secret])
            .execute(&mut *self.transaction)
            .await?;
        self.change(&key.realm, ChangeKind::KeysAdded, "", key.at);
        Ok(())
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
        let rows = Statement::new("UPDATE api_keys SET version = version + 1")
            .bind(", updated_at = ", at)
            .bind_some(", name = ", change.name.as_deref())
            .bind_some(", scopes = ", change.scopes.as_ref().map(Option::as_deref))
            .bind_some(", attributes = ", change.attributes.as_ref())
            .bind_some(", expires_at = ", change.expires_at)
            .bind_some(", status = ", change.status.map(KeyStatus::as_str))
            .bind_some(", revoked_at = ", change.status.filter(|status| *status == KeyStatus::Revoked).map(|_| at))
            .bind(" WHERE status <> 'revoked' AND id = ", id)
            .bind_some(" AND version = ", version)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        self.changed(rows, id, at)
    }

    /// Ends a key for good. False: it is not there or was revoked already.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_key(&mut self, id: &str, reason: Option<&str>, at: UnixMillis) -> Result<bool, StoreError> {
        let rows = Statement::new("UPDATE api_keys SET version = version + 1, status = 'revoked'")
            .bind(", updated_at = ", at)
            .bind(", revoked_at = ", at)
            .bind(", revoke_reason = ", reason)
            .bind(" WHERE status <> 'revoked' AND id = ", id)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        self.changed(rows, id, at)
    }

    /// Whether a row was changed, of which its realm was returned; then nodes are told of it.
    fn changed(&mut self, rows: Vec<Row>, id: &str, at: UnixMillis) -> Result<bool, StoreError> {
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        self.change(&row.text()?, ChangeKind::Key, id, at);
        Ok(true)
    }
}

/// What a new key is made of. See also [`super::import`].
pub(super) const INSERTED: &str = "id, realm, owner_id, name, prefix, scopes, attributes, status, expires_at, created_by, \
     created_at, updated_at, version";

/// What [`secret`] makes.
pub(super) const SECRET: &str = "realm, digest, key_id, hint, state, created_at";

/// The text of a key, from now on.
pub(super) fn secret(realm: &str, at_rest: &[u8; 32], key_id: &str, hint: &str, at: UnixMillis) -> Vec<backend::Value> {
    vec![realm.into(), at_rest.as_slice().into(), key_id.into(), hint.into(), "current".into(), at.into()]
}

fn select() -> Statement {
    Statement::new("SELECT ").push(COLUMNS).push(" FROM api_keys k").push(BESIDE)
}

/// A key from [`COLUMNS`].
fn read(row: &mut Row) -> Result<Key, StoreError> {
    Ok(Key {
        id: row.text()?,
        realm: row.text()?,
        owner_id: row.text()?,
        owner: row.text()?,
        name: row.text()?,
        prefix: row.text()?,
        hint: row.text()?,
        scopes: row.opt_texts()?,
        attributes: row.object()?,
        status: row.word(KeyStatus::by_name)?,
        expires_at: row.opt_time()?,
        revoked_at: row.opt_time()?,
        revoke_reason: row.opt_text()?,
        overlap: overlap(row)?,
        last_used_at: row.opt_time()?,
        last_used_ip: row.opt_text()?,
        use_count: row.int()?,
        created_by: row.text()?,
        created_at: row.time()?,
        updated_at: row.time()?,
        version: row.int()?,
    })
}

fn overlap(row: &mut Row) -> Result<Option<Overlap>, StoreError> {
    let (hint, until, last_used_at) = (row.opt_text()?, row.opt_time()?, row.opt_time()?);
    Ok(hint.zip(until).map(|(hint, until)| Overlap { hint, until, last_used_at }))
}
