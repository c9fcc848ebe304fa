//! Bringing a schema up to date, under a lock: expand and contract, so that a node one version back keeps running.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::backend::{Database, Row, Step, Transaction, Value};
use super::{OpenError, StoreError};
use crate::clock::UnixMillis;

/// The schema that this version writes.
pub(super) const SCHEMA: i64 = 2;

/// Where the steps that were taken are noted. A name of its own: the application may keep its tables beside ours.
const TAKEN: &str = "portcullis_schema";

/// Every table but the one above.
pub(super) const TABLES: &[&str] = &[
    "meta",
    "principals",
    "api_keys",
    "api_key_secrets",
    "ip_entries",
    "feed_position",
    "revocations",
    "audit_chains",
    "audit_events",
    "admin_tokens",
    "idempotency",
    "sessions",
    "refresh_tokens",
    "revoked_tokens",
    "issued_tokens",
    "attempts",
    "known_addresses",
    "signing_keys",
];

/// Which of them the first version did not have.
const SINCE_2: std::ops::RangeFrom<usize> = 11..;

/// What a database holds before anything is done to it.
#[derive(Debug)]
pub(super) struct Found {
    /// Version of its schema; 0: it is empty.
    pub(super) version: i64,
    /// Fingerprints of the secrets it was made with.
    pub(super) pepper: Option<String>,
    pub(super) seal_key: Option<String>,
}

/// Reads outside or inside of a transaction.
pub(super) enum Reader<'a> {
    Database(&'a dyn Database),
    Transaction(&'a mut dyn Transaction),
}

impl Reader<'_> {
    async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Database(database) => database.fetch(sql, values).await,
            Self::Transaction(transaction) => transaction.fetch(sql, values).await,
        }
    }
}

/// Looks at a database. One that this version cannot work with, or that is somebody else's, is refused.
pub(super) async fn look(database: &dyn Database, place: &str, mut reader: Reader<'_>) -> Result<Found, OpenError> {
    let mut tables = Vec::new();
    for mut row in reader.fetch(database.tables(), Vec::new()).await? {
        tables.push(row.text()?);
    }
    if !tables.iter().any(|name| name == TAKEN) {
        let ours = tables.iter().find(|name| TABLES.contains(&name.as_str()));
        return match ours.or(tables.first().filter(|_| database.is_ours_alone())) {
            Some(name) => Err(OpenError::Wrong(format!("{place} is used by another program: it has a table `{name}`"))),
            None => Ok(Found { version: 0, pepper: None, seal_key: None }),
        };
    }
    let version = version(database.migrations(), place, &mut reader).await?;
    // The application may keep its tables beside ours, but not one that is to be made now.
    let to_make = if version < 2 { TABLES.get(SINCE_2).unwrap_or_default() } else { &[] };
    if let Some(name) = tables.iter().find(|name| to_make.contains(&name.as_str())) {
        return Err(OpenError::Wrong(format!(
            "{place} has a table `{name}` of another program, where this version wants its own: give the store a \
             database or a schema for itself"
        )));
    }
    let fingerprint = |name: &'static str| vec![Value::from(name)];
    let read = "SELECT value FROM meta WHERE name = $1";
    let pepper = reader.fetch(read, fingerprint(PEPPER)).await?.pop().map(|mut row| row.text()).transpose()?;
    let seal_key = reader.fetch(read, fingerprint(SEAL_KEY)).await?.pop().map(|mut row| row.text()).transpose()?;
    Ok(Found { version, pepper, seal_key })
}

/// Names of the fingerprints in `meta`.
const PEPPER: &str = "pepper_fingerprint";
const SEAL_KEY: &str = "seal_key_fingerprint";

async fn version(steps: &[Step], place: &str, reader: &mut Reader<'_>) -> Result<i64, OpenError> {
    let known = migrator(steps);
    let mut version = 0;
    for mut row in reader.fetch("SELECT version, checksum FROM portcullis_schema ORDER BY version", Vec::new()).await? {
        version = row.int()?;
        let checksum = row.bytes()?;
        if known.iter().any(|step| step.version == version && *step.checksum != *checksum) {
            return Err(OpenError::Wrong(format!(
                "{place} was made by another build of this program: step {version} of its schema is not the same"
            )));
        }
    }
    // Every step leaves a schema that the version before can still work with, and that version alone.
    if version > SCHEMA + 1 {
        return Err(OpenError::Wrong(format!(
            "{place} was made by a newer version of this program: its schema is {version}, this version knows {SCHEMA}"
        )));
    }
    Ok(version)
}

/// Why a database that is behind is not opened as it is.
pub(super) fn behind(found: &Found, place: &str) -> OpenError {
    let what = match found.version {
        0 => String::from("is empty"),
        version => format!("has schema {version}, and this version of the program wants {SCHEMA}"),
    };
    OpenError::Wrong(format!("{place} {what}: run `portcullis store migrate`"))
}

/// Does what is missing, and notes the fingerprints of the secrets that a new database is used with from now on.
pub(super) async fn bring_up(
    database: &dyn Database,
    transaction: &mut dyn Transaction,
    found: &Found,
    (pepper, seal_key): (&str, &str),
    now: UnixMillis,
) -> Result<(), StoreError> {
    if found.version < SCHEMA {
        transaction.migrate(&migrator(database.migrations())).await?;
    }
    let made_at = now.0.to_string();
    for (name, value) in [(PEPPER, pepper), (SEAL_KEY, seal_key), ("made_at", &made_at)] {
        // What was noted before has been compared, or tells of the first time.
        let sql = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        transaction.execute(sql, vec![name.into(), value.into()]).await?;
    }
    Ok(())
}

fn migrator(steps: &[Step]) -> Migrator {
    // Without a transaction of their own: they run in ours, all of them or none.
    let migration = |step: &Step| {
        Migration::new(step.version, step.name.into(), MigrationType::Simple, step.sql.into_sql_str(), true)
    };
    let mut migrator = Migrator::with_migrations(steps.iter().map(migration).collect());
    migrator.dangerous_set_table_name(TAKEN);
    migrator.set_locking(false);
    migrator.set_ignore_missing(true);
    migrator
}
