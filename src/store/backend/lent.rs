//! A connection on loan from a pool, and the transaction on it: what both databases have in common. Every call has its
//! time, and a connection about which something is unknown (a call ran out of time, or its caller went away) is closed
//! instead of going back.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Pool;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;

use super::{Row, Transaction, Value};
use crate::store::{Fault, StoreError};

/// How a statement is run and understood.
pub(super) trait Dialect: sqlx::Database<Connection: sqlx::migrate::Migrate> {
    /// Begins a transaction that may write.
    const BEGIN: &'static str;
    /// First statements of a transaction that changes the schema: nobody else shall do that meanwhile.
    const ALONE: &'static [&'static str];
    /// Tells listening nodes that the feed has grown, if the database can.
    const NOTIFY: Option<&'static str>;
    /// How long a statement may take.
    const STATEMENT: Duration;
    /// What it means that every connection is in use for too long.
    const BUSY: Fault;

    fn fetch(
        connection: &mut Self::Connection,
        sql: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    fn execute(
        connection: &mut Self::Connection,
        sql: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// What an error means. The text holds no value of a row and no secret.
    fn understand(error: sqlx::Error) -> StoreError;
}

/// Gives `call` so much time.
pub(super) async fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(time, call).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::new(Fault::Unreachable, format!("no answer within {time:?}"))),
    }
}

/// See the module.
pub(super) struct Lent<D: Dialect> {
    /// None: it went back.
    connection: Option<PoolConnection<D>>,
    /// Nothing is under way on it.
    settled: bool,
    time: Duration,
}

impl<D: Dialect> Lent<D> {
    /// `time`: for each statement.
    pub(super) async fn from(pool: &Pool<D>, time: Duration) -> Result<Self, StoreError> {
        let connection = pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => StoreError::new(D::BUSY, "no connection to be had in time"),
            error => D::understand(error),
        })?;
        Ok(Self { connection: Some(connection), settled: true, time })
    }

    pub(super) async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let time = self.time;
        let result = within(time, D::fetch(self.unsettled()?, sql, values)).await;
        self.settle(result)
    }

    pub(super) async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let time = self.time;
        let result = within(time, D::execute(self.unsettled()?, sql, values)).await;
        self.settle(result)
    }

    /// Begins a transaction.
    pub(super) async fn begin(mut self) -> Result<Begun<D>, StoreError> {
        self.execute(D::BEGIN, Vec::new()).await?;
        Ok(Begun { lent: Some(self), failed: None })
    }

    /// Begins a transaction that changes the schema.
    pub(super) async fn begin_alone(self) -> Result<Begun<D>, StoreError> {
        let mut begun = self.begin().await?;
        for sql in D::ALONE {
            begun.execute(sql, Vec::new()).await?;
        }
        Ok(begun)
    }

    async fn migrate(&mut self, migrator: &Migrator) -> Result<(), StoreError> {
        let time = self.time;
        let connection = self.unsettled()?;
        let work =
            async { migrator.run_direct(None, connection, false).await.map_err(|error| D::understand(error.into())) };
        let result = within(time, work).await;
        self.settle(result)
    }

    /// For a call: until it has ended, nothing is known about the connection.
    fn unsettled(&mut self) -> Result<&mut D::Connection, StoreError> {
        self.settled = false;
        self.connection.as_deref_mut().ok_or_else(|| StoreError::new(Fault::Unreachable, "the connection is gone"))
    }

    fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.settled = !matches!(result, Err(StoreError { fault: Fault::Unreachable, .. }));
        result
    }
}

impl<D: Dialect> Drop for Lent<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            // The pool would panic: going back takes a task. Dropped, it is closed.
            drop(connection.detach());
        } else if !self.settled {
            connection.close_on_drop();
        }
    }
}

/// A transaction. After a failure nothing more can be done in it, and it cannot be committed: PostgreSQL would answer
/// such a commit with success and roll back, SQLite would commit half of it.
pub(super) struct Begun<D: Dialect> {
    /// None: it is over.
    lent: Option<Lent<D>>,
    failed: Option<StoreError>,
}

impl<D: Dialect> Begun<D> {
    fn lent(&mut self) -> Result<&mut Lent<D>, StoreError> {
        match (&self.failed, &mut self.lent) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(lent)) => Ok(lent),
            (None, None) => Err(StoreError::new(Fault::Unreachable, "the transaction is over")),
        }
    }

    fn noted<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }
}

#[async_trait]
impl<D: Dialect> Transaction for Begun<D> {
    async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let result = self.lent()?.execute(sql, values).await;
        self.noted(result)
    }

    async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let result = self.lent()?.fetch(sql, values).await;
        self.noted(result)
    }

    async fn migrate(&mut self, migrator: &Migrator) -> Result<(), StoreError> {
        let result = self.lent()?.migrate(migrator).await;
        self.noted(result)
    }

    async fn notify(&mut self) -> Result<(), StoreError> {
        if let Some(sql) = D::NOTIFY {
            self.execute(sql, Vec::new()).await?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.lent()?.execute("COMMIT", Vec::new()).await?;
        self.lent = None;
        Ok(())
    }
}

impl<D: Dialect> Drop for Begun<D> {
    fn drop(&mut self) {
        let Some(mut lent) = self.lent.take().filter(|lent| lent.settled) else { return };
        // Until it is rolled back it must not go back to the pool.
        lent.settled = false;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { lent.execute("ROLLBACK", Vec::new()).await });
        }
    }
}

impl<D: Dialect> fmt::Debug for Begun<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("database", &D::NAME).finish_non_exhaustive()
    }
}
