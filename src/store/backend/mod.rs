//! The one trait behind the store, and its two back ends. Statements are the same text for both (`$1`, `$2`, … in the
//! order of the values); what differs between the databases stands in `sqlite` and `postgres` and nowhere else.

pub(super) mod postgres;
pub(super) mod sqlite;
mod value;

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
pub(super) use value::{Row, Value};

/// A database, as the store uses it. Every call ends within a bounded time.
#[async_trait]
pub(super) trait Database: Send + Sync + fmt::Debug {
    /// Reads outside of any transaction.
    async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError>;

    /// Begins a transaction that may write. SQLite: takes the one place of a writer (`BEGIN IMMEDIATE`); PostgreSQL:
    /// READ COMMITTED.
    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError>;

    /// Waits until another process may have changed something (a notification), or for ever where the database has no
    /// such thing. Loses nothing that a poll would not find.
    async fn woken(&self);

    /// Copies the whole database into a new file while it is in use.
    async fn copy_to(&self, path: &std::path::Path) -> Result<(), StoreError>;

    /// Closes every connection.
    async fn close(&self);
}

/// A transaction that is rolled back unless it is committed.
#[async_trait]
pub(super) trait Transaction: Send + fmt::Debug {
    /// Runs a statement; returns how many rows it changed.
    async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError>;

    /// Runs a statement that returns rows.
    async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError>;

    /// Tells listening nodes, once this is committed, that the feed has grown (nothing to do for SQLite).
    async fn notify(&mut self) -> Result<(), StoreError>;

    /// Makes it last.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
