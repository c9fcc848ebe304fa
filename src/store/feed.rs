//! The feed: every change that nodes must learn of is a row, numbered in the order of commits without gaps.

use super::backend::Transaction;
use super::{Change, ChangeKind, Store, StoreError};
use crate::clock::UnixMillis;

/// What of the feed there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the oldest row that is still there; `newest + 1` when there is none.
    pub oldest: i64,
    /// Number of the newest row ever written; 0 before the first.
    pub newest: i64,
}

impl Store {
    /// What of the feed there is. One small read.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn feed_span(&self) -> Result<Span, StoreError> {
        unimplemented!()
    }

    /// Rows after `seq`, oldest first.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn changes_after(&self, seq: i64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let _ = (seq, limit);
        unimplemented!()
    }

    /// Removes rows that have run out.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn prune_feed(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let _ = now;
        unimplemented!()
    }
}

/// Appends rows; returns the number of the last.
pub(super) async fn append(
    transaction: &mut dyn Transaction,
    changes: &[(String, ChangeKind, String, UnixMillis)],
) -> Result<Option<i64>, StoreError> {
    let _ = (transaction, changes);
    unimplemented!()
}
