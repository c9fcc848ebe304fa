//! The feed: every change that nodes must learn of is a row, numbered in the order of commits without gaps.

use std::time::Duration;

use super::backend::{Row, Transaction};
use super::statement::{Statement, TOGETHER};
use super::{Change, ChangeKind, Page, Store, StoreError};
use crate::clock::UnixMillis;

/// What of the feed there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the oldest row that is still there; `newest + 1` when there is none.
    pub oldest: i64,
    /// Number of the newest row ever written; 0 before the first.
    pub newest: i64,
}

/// So long a node may be away and still learn of everything from the rows.
const KEPT: Duration = Duration::from_secs(3600);

impl Store {
    /// What of the feed there is. One small read.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn feed_span(&self) -> Result<Span, StoreError> {
        Ok(self.feed_end().await?.0)
    }

    /// The same, and the newest row if it is still there: a store that was put back to an older state may have another
    /// row of that number by now. One small read, of one moment.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn feed_end(&self) -> Result<(Span, Option<Change>), StoreError> {
        let rows = Statement::new(
            "SELECT p.seq, (SELECT MIN(seq) FROM revocations), r.seq, r.realm, r.kind, r.value, r.at \
             FROM feed_position p LEFT JOIN revocations r ON r.seq = p.seq WHERE p.one = 1",
        )
        .read(&*self.inner.database)
        .await?;
        let mut row = rows.into_iter().next().ok_or_else(no_position)?;
        let newest = row.int()?;
        let Some(oldest) = row.opt_int()? else {
            return Ok((Span { oldest: newest.saturating_add(1), newest }, None));
        };
        let end = row.opt_int()?.map(|seq| read(seq, &mut row)).transpose()?;
        Ok((Span { oldest, newest }, end))
    }

    /// Rows after `seq`, oldest first, without gaps: what is missing at the beginning has run out.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn changes_after(&self, seq: i64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let rows = Statement::new("SELECT seq, realm, kind, value, at FROM revocations")
            .bind(" WHERE seq > ", seq)
            .bind(" ORDER BY seq LIMIT ", Page { after: None, limit }.rows())
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().map(|mut row| read(row.int()?, &mut row)).collect()
    }

    /// Removes rows that have run out, always from the beginning: where nodes disagree about the time, a row waits for
    /// those before it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn prune_feed(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let mut transaction = self.inner.database.begin().await?;
        let removed = Statement::new("DELETE FROM revocations WHERE seq < COALESCE((SELECT MIN(seq) FROM revocations")
            .bind(" WHERE expires_at > ", now)
            .push("), (SELECT seq + 1 FROM feed_position WHERE one = 1))")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(removed)
    }
}

/// Takes the feed's row until the end of the transaction: from here on, transactions come one after the other, and what
/// they number is numbered in the order of their commits.
pub(super) async fn in_turn(transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    match Statement::new("UPDATE feed_position SET seq = seq WHERE one = 1").execute(transaction).await? {
        0 => Err(no_position()),
        _ => Ok(()),
    }
}

/// Appends rows; returns the number of the last.
pub(super) async fn append(
    transaction: &mut dyn Transaction,
    changes: &[(String, ChangeKind, String, UnixMillis)],
) -> Result<Option<i64>, StoreError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    let rows = Statement::new("UPDATE feed_position SET")
        .bind(" seq = seq + ", count)
        .push(" WHERE one = 1 RETURNING seq")
        .fetch(transaction)
        .await?;
    let last = rows.into_iter().next().ok_or_else(no_position)?.int()?;
    let mut seq = last - count;
    for some in changes.chunks(TOGETHER) {
        let rows = some.iter().map(|(realm, kind, value, at)| {
            seq += 1;
            vec![
                seq.into(),
                realm.as_str().into(),
                kind.as_str().into(),
                value.as_str().into(),
                (*at).into(),
                at.plus(KEPT).into(),
            ]
        });
        Statement::new("INSERT INTO revocations (seq, realm, kind, value, at, expires_at)")
            .bind_rows(" VALUES ", rows)
            .execute(transaction)
            .await?;
    }
    Ok(Some(last))
}

fn read(seq: i64, row: &mut Row) -> Result<Change, StoreError> {
    Ok(Change {
        seq,
        realm: row.text()?,
        // A node one version further may tell of what is not known here: then anything may have changed.
        kind: ChangeKind::by_name(&row.text()?).unwrap_or(ChangeKind::Realm),
        value: row.text()?,
        at: row.time()?,
    })
}

fn no_position() -> StoreError {
    StoreError::corrupt("the feed has no position")
}
