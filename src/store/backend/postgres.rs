//! PostgreSQL 13 or newer.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Row as _, TypeInfo, ValueRef};
use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinHandle;

use super::lent::{Dialect, Lent, within};
use super::{Database, Row, Step, Transaction, Value};
use crate::secret::Secret;
use crate::store::{Fault, OpenError, StoreError};

/// How long a connection is waited for.
const CONNECT: Duration = Duration::from_secs(2);
/// Checks and migrations of everything.
const LONG: Duration = Duration::from_secs(3600);
const CONNECTIONS: u32 = 8;
const CHANNEL: &str = "portcullis";
/// A listener that has heard nothing for so long asks whether its connection is still there.
const SILENCE: Duration = Duration::from_secs(30);

/// The server ends what takes too long, so that nothing of ours stands in anybody's way when this process does not.
const SESSION: &str = "SET statement_timeout = '4s'; SET lock_timeout = '2s'; \
     SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed'";

const STEPS: &[Step] = &[
    Step { version: 1, name: "initial", sql: include_str!("../migrations/postgres/0001_initial.sql") },
    Step { version: 2, name: "tokens", sql: include_str!("../migrations/postgres/0002_tokens.sql") },
];

/// A database of a server.
#[derive(Debug)]
pub(in crate::store) struct Server {
    options: PgConnectOptions,
    pool: PgPool,
    heard: Arc<Notify>,
    listener: OnceCell<Listener>,
}

impl Server {
    /// Connects once, so that what is wrong shows here; the pool connects when it is asked to.
    pub(in crate::store) async fn open(url: &Secret) -> Result<Self, OpenError> {
        let options = understood(url)?.application_name("portcullis").disable_statement_logging();
        let first = async {
            let connection =
                options.connect().await.map_err(|error| (is_lasting(&error), Postgres::understand(error)))?;
            connection.close().await.map_err(|error| (false, Postgres::understand(error)))
        };
        match tokio::time::timeout(CONNECT, first).await {
            Ok(Ok(())) => {}
            Ok(Err((true, error))) => return Err(OpenError::Wrong(format!("{}: {}", place(&options), error.text))),
            Ok(Err((false, error))) => return Err(error.into()),
            Err(_) => return Err(StoreError::new(Fault::Unreachable, format!("no answer within {CONNECT:?}")).into()),
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(SESSION).execute(&mut *connection).await?;
                    is_primary(connection).await
                })
            })
            .connect_lazy_with(options.clone());
        Ok(Self { options, pool, heard: Arc::new(Notify::new()), listener: OnceCell::new() })
    }

    /// Where it is, for people.
    pub(in crate::store) fn place(&self) -> String {
        place(&self.options)
    }
}

#[async_trait]
impl Database for Server {
    async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Lent::from(&self.pool, Postgres::STATEMENT).await?.fetch(sql, values).await
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(Lent::from(&self.pool, Postgres::STATEMENT).await?.begin().await?))
    }

    async fn begin_alone(&self) -> Result<Box<dyn Transaction>, StoreError> {
        Ok(Box::new(Lent::from(&self.pool, LONG).await?.begin_alone().await?))
    }

    async fn survey(&self, sql: &str) -> Result<Vec<Row>, StoreError> {
        // Its own connection: without the session's limits, and not missing in the pool.
        let mut connection =
            within(CONNECT, async { self.options.connect().await.map_err(Postgres::understand) }).await?;
        within(LONG, Postgres::fetch(&mut connection, sql, Vec::new())).await
    }

    fn migrations(&self) -> &'static [Step] {
        STEPS
    }

    fn tables(&self) -> &'static str {
        "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = ANY (current_schemas(false))"
    }

    fn is_ours_alone(&self) -> bool {
        false
    }

    fn damage(&self) -> Option<&'static str> {
        None
    }

    async fn woken(&self) {
        self.listener.get_or_init(|| async { Listener::start(self.options.clone(), self.heard.clone()) }).await;
        self.heard.notified().await;
    }

    async fn copy_to(&self, _: &Path) -> Result<(), StoreError> {
        Err(StoreError::new(
            Fault::Unreachable,
            "PostgreSQL copies itself: use pg_dump, and keep pepper and seal key with it",
        ))
    }

    async fn close(&self) {
        if let Some(listener) = self.listener.get() {
            listener.task.abort();
        }
        // Whoever still works on a connection may finish, but is not waited for without end.
        drop(tokio::time::timeout(CONNECT, self.pool.close()).await);
    }
}

/// A standby answers with what was true some time ago: a key that was revoked since, it calls good. It becomes one by a
/// restart of the server only, so that asking every new connection is enough.
async fn is_primary(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await? {
        true => Err(sqlx::Error::Io(io::Error::other("the server is a standby, and the store wants the primary"))),
        false => Ok(()),
    }
}

/// Listens on a connection of its own, for as long as it lives.
#[derive(Debug)]
struct Listener {
    task: JoinHandle<()>,
}

impl Listener {
    fn start(options: PgConnectOptions, heard: Arc<Notify>) -> Self {
        Self { task: tokio::spawn(listen(options, heard)) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is said while nobody listens is lost: so every new connection counts as a notification.
async fn listen(options: PgConnectOptions, heard: Arc<Notify>) {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);
    let mut pause = SHORTEST;
    loop {
        if let Ok(mut listener) = within(CONNECT + CONNECT, subscribe(&options)).await {
            pause = SHORTEST;
            heard.notify_one();
            while let Ok(()) = next(&mut listener).await {
                heard.notify_one();
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// A pool of its own each time: a connection that hangs would keep the only place in an old one.
async fn subscribe(options: &PgConnectOptions) -> Result<PgListener, StoreError> {
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).acquire_timeout(CONNECT);
    let pool = pool.connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await.map_err(Postgres::understand)?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await.map_err(Postgres::understand)?;
    Ok(listener)
}

/// Waits for a notification. An error: the connection is lost.
async fn next(listener: &mut PgListener) -> Result<(), StoreError> {
    let lost = || StoreError::new(Fault::Unreachable, "the connection is lost");
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(_))) => return Ok(()),
            Ok(Ok(None)) => return Err(lost()),
            Ok(Err(error)) => return Err(Postgres::understand(error)),
            Err(_) => {
                let there =
                    async { sqlx::query("SELECT 1").execute(&mut *listener).await.map_err(Postgres::understand) };
                within(CONNECT, there).await?;
            }
        }
    }
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const ALONE: &'static [&'static str] = &[
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL lock_timeout = '30s'",
        "SET LOCAL idle_in_transaction_session_timeout = '60s'",
        // Any number will do, as long as it stays the same in every version.
        "SELECT pg_advisory_xact_lock(8100253211760437601)",
    ];
    const NOTIFY: Option<&'static str> = Some("SELECT pg_notify('portcullis', '')");
    /// A little longer than the server's own limit, which leaves the connection usable.
    const STATEMENT: Duration = Duration::from_secs(5);
    const BUSY: Fault = Fault::Unreachable;

    async fn fetch(connection: &mut PgConnection, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let rows = bound(sql, values).fetch_all(connection).await.map_err(Self::understand)?;
        rows.iter().map(columns).collect()
    }

    async fn execute(connection: &mut PgConnection, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        bound(sql, values).execute(connection).await.map(|done| done.rows_affected()).map_err(Self::understand)
    }

    /// Only the primary message is told: rows stand in the detail. See the appendix on error codes in its manual.
    fn understand(error: sqlx::Error) -> StoreError {
        let sqlx::Error::Database(error) = error else { return super::understand(&error) };
        let code = error.code().unwrap_or_default();
        let fault = match &*code {
            "23503" | "23505" | "23P01" => Fault::Conflict,
            "55P03" | "40001" | "40P01" => Fault::Locked,
            "53100" => Fault::Full,
            "25006" | "42501" => Fault::ReadOnly,
            "XX001" | "XX002" => Fault::Corrupt,
            "25P02" | "25P03" | "3D000" => Fault::Unreachable,
            code => match code.get(..2) {
                Some("08" | "28" | "53" | "57" | "58" | "XX") => Fault::Unreachable,
                _ => Fault::Corrupt,
            },
        };
        // A value that does not fit its type stands in the message itself.
        let text = if code.starts_with("22") { "a value does not fit" } else { error.message() };
        StoreError::new(fault, format!("{text} ({code})"))
    }
}

fn bound(sql: &str, values: Vec<Value>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    // Texts of statements are put together from pieces that stand in this program; values come as parameters.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        };
    }
    query
}

fn columns(row: &PgRow) -> Result<Row, StoreError> {
    let mut columns = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let raw = row.try_get_raw(index).map_err(Postgres::understand)?;
        let value = match raw.type_info().name() {
            "INT8" => row.try_get(index).map(Value::Int),
            "INT4" => row.try_get::<Option<i32>, _>(index).map(|value| Value::Int(value.map(i64::from))),
            "BOOL" => row.try_get::<Option<bool>, _>(index).map(|value| Value::Int(value.map(i64::from))),
            "TEXT" | "VARCHAR" | "NAME" => row.try_get(index).map(Value::Text),
            "BYTEA" => row.try_get(index).map(Value::Bytes),
            _ => return Err(StoreError::corrupt("a column is of an unknown kind")),
        };
        columns.push(value.map_err(Postgres::understand)?);
    }
    Ok(Row::new(columns))
}

/// What is wrong with the URL is not said: it could be a part of the password.
fn understood(url: &Secret) -> Result<PgConnectOptions, OpenError> {
    let wrong = || {
        let text =
            "store.url is not understood: postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full is expected";
        OpenError::Wrong(String::from(text))
    };
    let url = std::str::from_utf8(url.expose()).map_err(|_| wrong())?;
    let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
    let named = url.starts_with("postgres://") || url.starts_with("postgresql://");
    // A password with one of `/ # ? @` in it, not written as %2F and so on, would be taken for host and database.
    let authority_ends = place.split_once("://").is_some_and(|(_, rest)| match rest.split_once('/') {
        Some((authority, database)) => !database.contains('@') && authority.matches('@').count() <= 1,
        None => rest.matches('@').count() <= 1,
    });
    if !named || !authority_ends || url.contains('#') {
        return Err(wrong());
    }
    // The library logs what it does not know, and goes on: a misspelt `sslmode` would be no TLS.
    for one in parameters.split('&').filter(|one| !one.is_empty()) {
        let name = one.split_once('=').map_or("", |(name, _)| name);
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") && !name.starts_with("options%5B") {
            return Err(OpenError::Wrong(format!(
                "store.url has an unknown parameter behind `?`; known are {}",
                PARAMETERS.join(", ")
            )));
        }
    }
    PgConnectOptions::from_str(url).map_err(|_| wrong())
}

/// Parameters of the URL that mean something.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("postgres {}:{}/{database}", socket.display(), options.get_port()),
        None => format!("postgres {}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// Whether only a person can help: user, password, or database are wrong.
fn is_lasting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "28000" | "28P01" | "3D000" | "42501"))
}
