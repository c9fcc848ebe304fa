//! The one trait behind the store, and its two back ends. Statements are the same text for both (`$1`, `$2`, … in the
//! order of the values); what differs between the databases stands in `sqlite` and `postgres` and nowhere else.

mod lent;
pub(super) mod postgres;
pub(super) mod sqlite;
mod value;

use std::fmt;

use async_trait::async_trait;
use sqlx::migrate::Migrator;

use super::{Fault, StoreError};
pub(super) use value::{Row, Value};

/// A database, as the store uses it. Every call ends within a bounded time.
#[async_trait]
pub(super) trait Database: Send + Sync + fmt::Debug {
    /// Reads outside of any transaction.
    async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError>;

    /// Begins a transaction that may write. SQLite: takes the one place of a writer (`BEGIN IMMEDIATE`); PostgreSQL:
    /// READ COMMITTED.
    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// Begins a transaction that may change the schema: one at a time, however many processes begin one.
    async fn begin_alone(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// Reads something that may take long, beside what is going on.
    async fn survey(&self, sql: &str) -> Result<Vec<Row>, StoreError>;

    /// The migrations that lead to the schema of this version.
    fn migrations(&self) -> &'static [Step];

    /// Lists the names of the tables that a statement sees.
    fn tables(&self) -> &'static str;

    /// Whether nobody else may keep tables in it: it is a file of ours.
    fn is_ours_alone(&self) -> bool;

    /// The database's own search for damage: one text a row, `ok` when there is none. None: it has no such thing.
    fn damage(&self) -> Option<&'static str>;

    /// Waits until another process may have changed something (a notification), or for ever where the database has no
    /// such thing. Loses nothing that a poll would not find.
    async fn woken(&self);

    /// Copies the whole database into a new file while it is in use.
    async fn copy_to(&self, path: &std::path::Path) -> Result<(), StoreError>;

    /// Closes every connection.
    async fn close(&self);
}

/// A step from one version of the schema to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The version that it leads to.
    pub(super) version: i64,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

/// A transaction that is rolled back unless it is committed. After a failed statement it can do nothing more.
#[async_trait]
pub(super) trait Transaction: Send + fmt::Debug {
    /// Runs a statement; returns how many rows it changed.
    async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError>;

    /// Runs a statement that returns rows.
    async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError>;

    /// Brings the schema up to date, as part of this transaction.
    async fn migrate(&mut self, migrator: &Migrator) -> Result<(), StoreError>;

    /// Tells listening nodes, once this is committed, that the feed has grown (nothing to do for SQLite).
    async fn notify(&mut self) -> Result<(), StoreError>;

    /// Makes it last.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// What errors mean that did not come from the database itself.
fn understand(error: &sqlx::Error) -> StoreError {
    use sqlx::Error;
    match error {
        Error::PoolClosed => StoreError::new(Fault::Unreachable, "it was closed"),
        Error::WorkerCrashed => StoreError::new(Fault::Unreachable, "the connection's thread is gone"),
        Error::Io(error) => StoreError::new(Fault::Unreachable, error.to_string()),
        Error::Tls(error) => StoreError::new(Fault::Unreachable, format!("TLS: {error}")),
        Error::Protocol(_) => StoreError::new(Fault::Unreachable, "the answer is no part of the protocol"),
        // Configuration may quote the URL, and what does not decode is a value of a row.
        Error::Configuration(_) => {
            StoreError::new(Fault::Unreachable, "the URL or a file that it names is not understood")
        }
        Error::Migrate(error) => StoreError::corrupt(format!("migration: {error}")),
        _ => StoreError::corrupt("an answer is not of the kind that was expected"),
    }
}
