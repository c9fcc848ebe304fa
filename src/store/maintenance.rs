//! What operators do with a store as a whole.

use std::collections::BTreeMap;
use std::path::Path;

use super::migrate::TABLES;
use super::{ChangeKind, Fault, Store, StoreError, Write};
use crate::clock::UnixMillis;

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Version of its schema.
    pub schema: i64,
    /// What is wrong, for people; empty = nothing.
    pub problems: Vec<String>,
    /// Rows a table.
    pub rows: BTreeMap<String, u64>,
}

/// What there should be none of, and the statement that finds it, without its `SELECT count(*)`.
const NONE_OF: &[(&str, &str)] = &[
    (
        "keys without an owner in their realm",
        "FROM api_keys k WHERE NOT EXISTS (SELECT 1 FROM principals p WHERE p.id = k.owner_id AND p.realm = k.realm)",
    ),
    (
        "texts of keys without a key in their realm",
        "FROM api_key_secrets s WHERE NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.id = s.key_id AND k.realm = s.realm)",
    ),
    (
        "keys in force without a text",
        "FROM api_keys k WHERE k.status <> 'revoked' AND NOT EXISTS \
         (SELECT 1 FROM api_key_secrets s WHERE s.key_id = k.id AND s.state = 'current')",
    ),
    (
        "address entries without a principal",
        "FROM ip_entries e WHERE e.owner_kind = 'client' AND NOT EXISTS \
         (SELECT 1 FROM principals p WHERE p.id = e.owner_id AND p.realm = e.realm)",
    ),
    (
        "address entries without a key",
        "FROM ip_entries e WHERE e.owner_kind = 'key' AND NOT EXISTS \
         (SELECT 1 FROM api_keys k WHERE k.id = e.owner_id AND k.realm = e.realm)",
    ),
    ("digests of keys that are not 32 bytes long", "FROM api_key_secrets WHERE length(digest) <> 32"),
    ("digests of admin tokens that are not 32 bytes long", "FROM admin_tokens WHERE length(digest) <> 32"),
    (
        "sessions without a principal in their realm",
        "FROM sessions s WHERE NOT EXISTS \
         (SELECT 1 FROM principals p WHERE p.id = s.subject_id AND p.realm = s.realm)",
    ),
    (
        "refresh tokens without a session",
        "FROM refresh_tokens r WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = r.sid)",
    ),
    (
        "refresh tokens in force of a session that was ended",
        "FROM refresh_tokens r JOIN sessions s ON s.id = r.sid WHERE r.state = 'active' AND s.revoked_at IS NOT NULL",
    ),
    (
        "issued tokens without their session in their realm",
        "FROM issued_tokens t WHERE t.sid IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM sessions s WHERE s.id = t.sid AND s.realm = t.realm)",
    ),
    ("digests of refresh tokens that are not 32 bytes long", "FROM refresh_tokens WHERE length(digest) <> 32"),
    ("digests of issued tokens that are not 32 bytes long", "FROM issued_tokens WHERE length(digest) <> 32"),
    ("hashes of audit events that are not 32 bytes long", "FROM audit_events WHERE length(hash) <> 32"),
    ("rows of the feed beyond its position", "FROM revocations WHERE seq > (SELECT max(seq) FROM feed_position)"),
    (
        "audit events beyond the end of their chain",
        "FROM audit_events e WHERE NOT EXISTS \
         (SELECT 1 FROM audit_chains c WHERE c.chain = e.chain AND c.position >= e.position)",
    ),
];

/// Rows that go over to another realm at a time: no statement may take long, however many keys there are.
const RENAMED_TOGETHER: i64 = 20_000;

/// Gives `$3` rows of the realm `$1` to `$2`: principals, keys, and then everything else but the signing keys.
const RENAME_SOME: [&str; 9] = [
    "UPDATE principals SET realm = $2 WHERE id IN (SELECT id FROM principals WHERE realm = $1 ORDER BY id LIMIT $3)",
    "UPDATE api_keys SET realm = $2 WHERE id IN (SELECT id FROM api_keys WHERE realm = $1 ORDER BY id LIMIT $3)",
    "UPDATE api_key_secrets SET realm = $2 WHERE realm = $1 \
     AND digest IN (SELECT digest FROM api_key_secrets WHERE realm = $1 ORDER BY digest LIMIT $3)",
    "UPDATE ip_entries SET realm = $2 WHERE id IN (SELECT id FROM ip_entries WHERE realm = $1 ORDER BY id LIMIT $3)",
    "UPDATE sessions SET realm = $2 WHERE id IN (SELECT id FROM sessions WHERE realm = $1 ORDER BY id LIMIT $3)",
    "UPDATE revoked_tokens SET realm = $2 WHERE jti IN (SELECT jti FROM revoked_tokens WHERE realm = $1 LIMIT $3)",
    "UPDATE issued_tokens SET realm = $2 WHERE id IN (SELECT id FROM issued_tokens WHERE realm = $1 LIMIT $3)",
    "UPDATE attempts SET realm = $2 WHERE realm = $1 \
     AND key IN (SELECT key FROM attempts WHERE realm = $1 ORDER BY key LIMIT $3)",
    "UPDATE known_addresses SET realm = $2 WHERE realm = $1 \
     AND key IN (SELECT key FROM known_addresses WHERE realm = $1 ORDER BY key LIMIT $3)",
];

/// What is counted under both names goes on from what was counted under the old one.
const MAKE_ROOM: [&str; 2] = [
    "DELETE FROM attempts WHERE realm = $2 AND key IN (SELECT key FROM attempts WHERE realm = $1)",
    "DELETE FROM known_addresses WHERE realm = $2 AND EXISTS (SELECT 1 FROM known_addresses o WHERE o.realm = $1 \
     AND o.key = known_addresses.key AND o.network = known_addresses.network)",
];

impl Store {
    /// Looks for damage: the database's own check, rows without what they refer to, digests of a wrong length.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn check(&self) -> Result<Health, StoreError> {
        let database = &self.inner.database;
        let mut problems = Vec::new();
        if let Some(sql) = database.damage() {
            match database.survey(sql).await {
                Ok(rows) => {
                    for mut row in rows {
                        problems.extend(Some(row.text()?).filter(|text| text != "ok"));
                    }
                }
                Err(error) if error.fault == Fault::Corrupt => problems.push(error.text),
                Err(error) => return Err(error),
            }
        }
        let counts = NONE_OF.iter().map(|(what, from)| format!("SELECT '{what}', count(*) {from}"));
        for mut row in database.survey(&all(counts)).await? {
            match (row.text()?, row.int()?) {
                (_, 0) => {}
                (what, count) => problems.push(format!("{what}: {count}")),
            }
        }
        match self.sealed_for_ever().await? {
            0 => {}
            count => problems.push(format!("signing keys that do not open: {count}")),
        }
        let counts = TABLES.iter().map(|table| format!("SELECT '{table}', count(*) FROM {table}"));
        let mut rows = BTreeMap::new();
        for mut row in database.survey(&all(counts)).await? {
            rows.insert(row.text()?, count(row.int()?));
        }
        let mut newest = database.fetch("SELECT max(version) FROM portcullis_schema", Vec::new()).await?;
        let schema = newest.pop().ok_or_else(|| StoreError::corrupt("it has no schema"))?.int()?;
        Ok(Health { schema, problems, rows })
    }

    /// Copies the store into a new file (SQLite only), mode 0600, while it is in use. The two secrets beside it are not
    /// copied: a copy that lies elsewhere shall not hold both.
    ///
    /// # Errors
    /// The file exists, cannot be written, or the store is PostgreSQL's (whose own tools do this).
    pub async fn backup(&self, path: &Path) -> Result<(), StoreError> {
        self.inner.database.copy_to(path).await
    }

    /// Realms that have rows, with their numbers of principals and keys.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn realms(&self) -> Result<BTreeMap<String, (u64, u64)>, StoreError> {
        let mut realms = BTreeMap::<_, (u64, u64)>::new();
        let sql = "SELECT realm, count(*), 0 FROM principals GROUP BY realm \
                   UNION ALL SELECT realm, 0, count(*) FROM api_keys GROUP BY realm";
        for mut row in self.inner.database.fetch(sql, Vec::new()).await? {
            let entry = realms.entry(row.text()?).or_default();
            entry.0 += count(row.int()?);
            entry.1 += count(row.int()?);
        }
        Ok(realms)
    }
}

impl Write {
    /// Gives all rows of a realm to another name. Returns how many principals and keys went over. The audit trail keeps
    /// the name that was true at its time.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the other realm has rows already that collide.
    pub async fn rename_realm(&mut self, from: &str, to: &str, at: UnixMillis) -> Result<(u64, u64), StoreError> {
        if from == to {
            return Ok((0, 0));
        }
        let [principals, keys, others @ ..] = RENAME_SOME;
        let principals = self.rename_in(principals, from, to).await?;
        let keys = self.rename_in(keys, from, to).await?;
        for sql in MAKE_ROOM {
            self.transaction.execute(sql, vec![from.into(), to.into()]).await?;
        }
        for sql in others {
            self.rename_in(sql, from, to).await?;
        }
        self.rename_in_signing_keys(from, to).await?;
        self.rename_in_admin_tokens(from, to).await?;
        for realm in [from, to] {
            self.change(realm, ChangeKind::Realm, "", at);
        }
        Ok((principals, keys))
    }

    /// Runs one of [`RENAME_SOME`] until there is nothing left for it to do.
    async fn rename_in(&mut self, sql: &'static str, from: &str, to: &str) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            match self.transaction.execute(sql, vec![from.into(), to.into(), RENAMED_TOGETHER.into()]).await? {
                0 => return Ok(all),
                some => all += some,
            }
        }
    }

    /// Whoever may administer the realm may so under its new name.
    async fn rename_in_admin_tokens(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let sql = "SELECT id, realms FROM admin_tokens WHERE realms IS NOT NULL";
        for mut row in self.transaction.fetch(sql, Vec::new()).await? {
            let (id, mut realms) = (row.text()?, row.texts()?);
            if realms.iter().any(|realm| realm == from) {
                realms.retain(|realm| realm != from && realm != to);
                realms.push(to.to_owned());
                let text = serde_json::Value::from(realms).to_string();
                let sql = "UPDATE admin_tokens SET realms = $2 WHERE id = $1";
                self.transaction.execute(sql, vec![id.into(), text.into()]).await?;
            }
        }
        Ok(())
    }
}

/// One statement of many, so that they see the same moment.
fn all(statements: impl Iterator<Item = String>) -> String {
    statements.collect::<Vec<_>>().join(" UNION ALL ")
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
