//! The store, each case on SQLite and on PostgreSQL: both give the same guarantees. One file a subject.

mod addresses;
mod admin_tokens;
mod attempts;
mod audit;
mod clients;
mod expiry;
mod feed;
mod idempotency;
mod import;
mod issued;
mod keys;
mod logins;
mod maintenance;
mod opening;
mod outages;
mod overlaps;
mod records;
mod refresh;
mod sessions;
mod signing_keys;
mod upgrade;
mod usage;

use std::future::Future;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use portcullis::secret::Secret;
use portcullis::store::{Location, OpenError, Opening, Store, StoreSettings};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use crate::support::postgres::Postgres;
use crate::support::{DEADLINE, NOW};

/// Makes two tests of each case, `CASE::on_sqlite` and `CASE::on_postgres`. A case is an `async fn(Ground)`.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => { $(
        mod $case {
            #[test]
            fn on_sqlite() {
                crate::store::run(super::$case(crate::store::Ground::sqlite()));
            }

            #[test]
            fn on_postgres() {
                crate::store::run(super::$case(crate::store::Ground::postgres()));
            }
        }
    )* };
}
pub(crate) use on_both;

/// Where a store can be opened, more than once too; empty at first.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) settings: StoreSettings,
    /// The file of the database and what lies beside it.
    pub(crate) directory: TempDir,
}

impl Ground {
    pub(crate) fn sqlite() -> Self {
        let directory = TempDir::new().expect("a directory");
        let location = Location::Sqlite(directory.path().join("portcullis.db"));
        Self { settings: settings(location), directory }
    }

    /// A database of the shared server.
    pub(crate) fn postgres() -> Self {
        Self::at(&Postgres::shared().new_database())
    }

    /// This database of PostgreSQL.
    pub(crate) fn at(url: &str) -> Self {
        let location = Location::Postgres(Secret::new(url.as_bytes().to_vec()));
        let secrets = |byte| Some(Secret::new(vec![byte; 32]));
        let settings = StoreSettings { pepper: secrets(1), seal_key: secrets(2), ..settings(location) };
        Self { settings, directory: TempDir::new().expect("a directory") }
    }

    /// Opens it as the server does.
    pub(crate) async fn open(&self) -> Store {
        self.try_open(Opening::Create).await.unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) async fn try_open(&self, opening: Opening) -> Result<Store, OpenError> {
        Store::open(&self.settings, opening, NOW).await
    }

    /// As another node, whose chain in the audit trail has this name.
    pub(crate) async fn open_as(&self, node: &str) -> Store {
        let settings = StoreSettings { node: node.to_owned(), ..self.settings.clone() };
        Store::open(&settings, Opening::Create, NOW).await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Does something to the database behind the store's back.
    pub(crate) async fn sql(&self, sql: &str) {
        self.try_sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The same, which the database may refuse.
    pub(crate) async fn try_sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        match &self.settings.location {
            Location::Sqlite(path) => {
                let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("SQLite");
                let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map(|_| ());
                connection.close().await.expect("SQLite");
                done
            }
            Location::Postgres(url) => {
                let url = std::str::from_utf8(url.expose()).expect("text");
                let mut connection = sqlx::PgConnection::connect(url).await.expect("PostgreSQL");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map(|_| ())
            }
        }
    }

    /// The one number that a statement answers with.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let number = match &self.settings.location {
            Location::Sqlite(path) => {
                let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("SQLite");
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await
            }
            Location::Postgres(url) => {
                let url = std::str::from_utf8(url.expose()).expect("text");
                let mut connection = sqlx::PgConnection::connect(url).await.expect("PostgreSQL");
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await
            }
        };
        number.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Puts a principal there, whose identifier is `name`.
    pub(crate) async fn principal(&self, name: &str, realm: &str) {
        self.sql(&principal(name, realm)).await;
    }

    /// Puts a key there with all that belongs to it: an owner, a text, an entry of an address list. All or nothing.
    pub(crate) async fn key(&self, name: &str, realm: &str) {
        let digest = Sha256::digest(format!("{realm}/{name}")).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let digest = if self.is_sqlite() { format!("x'{digest}'") } else { format!("'\\x{digest}'") };
        let (owner, key) = (format!("own_{realm}_{name}"), format!("key_{realm}_{name}"));
        self.sql(&format!(
            "BEGIN; {}; \
             INSERT INTO api_keys (id, realm, owner_id, name, prefix, attributes, status, created_by, created_at, updated_at, version) \
             VALUES ('{key}', '{realm}', '{owner}', '{name}', 'pk_', '{{}}', 'active', 'test', 0, 0, 1); \
             INSERT INTO api_key_secrets (realm, digest, key_id, hint, state, created_at) \
             VALUES ('{realm}', {digest}, '{key}', 'abcd', 'current', 0); \
             INSERT INTO ip_entries (id, realm, owner_kind, owner_id, cidr, created_by, created_at) \
             VALUES ('ip_{realm}_{name}', '{realm}', 'key', '{key}', '10.0.0.0/8', 'test', 0); COMMIT",
            principal(name, realm)
        ))
        .await;
    }

    /// Puts an admin token there; `realms` as SQL.
    pub(crate) async fn admin_token(&self, name: &str, realms: &str) {
        let digest = Sha256::digest(name).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let digest = if self.is_sqlite() { format!("x'{digest}'") } else { format!("'\\x{digest}'") };
        self.sql(&format!(
            "INSERT INTO admin_tokens (id, name, digest, hint, scopes, realms, created_by, created_at) \
             VALUES ('adm_{name}', '{name}', {digest}, 'abcd', '[]', {realms}, 'test', 0)"
        ))
        .await;
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.settings.location, Location::Sqlite(_))
    }
}

fn principal(name: &str, realm: &str) -> String {
    format!(
        "INSERT INTO principals (id, realm, kind, identifier, identifier_norm, status, roles, attributes, created_by, \
         created_at, updated_at, version) \
         VALUES ('own_{realm}_{name}', '{realm}', 'owner', '{name}', '{name}', 'active', '[]', '{{}}', 'test', 0, 0, 1)"
    )
}

fn settings(location: Location) -> StoreSettings {
    StoreSettings {
        location,
        pepper: None,
        seal_key: None,
        max_staleness: Duration::from_secs(30),
        node: String::from("node-a"),
        audit_retention: None,
    }
}

/// Runs a case on a runtime of its own.
pub(crate) fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(case);
}

/// Asks `probe` again and again until it answers, and fails with `what` at the deadline.
pub(crate) async fn at_last<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(watch.elapsed() < DEADLINE, "did not happen in {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
