//! Walking over the chains.

use super::chain::{COLUMNS, Chained};
use crate::store::statement::Statement;
use crate::store::{Store, StoreError};

/// Rows of one read.
const PAGE: i64 = 500;

/// What a walk over the chains found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Events looked at.
    pub events: u64,
    /// Chains (nodes).
    pub chains: u64,
    /// The first row that does not fit, for people: chain, position, seq, and what is wrong with it.
    pub broken: Option<String>,
}

/// A chain, as its own row has it.
#[derive(Debug)]
struct Head {
    position: i64,
    hash: Vec<u8>,
    pruned_position: i64,
    pruned_hash: Vec<u8>,
    /// First and last position that there are rows of.
    rows: Option<(i64, i64)>,
}

impl Store {
    /// Walks every chain from its checkpoint on: a row that was changed, taken out, put in or cut off at the end is named.
    /// What is written or pruned in the meantime does no harm.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn verify_audit(&self) -> Result<Verdict, StoreError> {
        let mut verdict = Verdict { events: 0, chains: 0, broken: None };
        let mut chain = None;
        while let Some(next) = self.chain_after(chain.as_deref()).await? {
            verdict.chains += 1;
            let broken = self.walk(&next, &mut verdict.events).await?;
            verdict.broken = broken.map(|what| format!("chain {next}: {what}"));
            if verdict.broken.is_some() {
                break;
            }
            chain = Some(next);
        }
        Ok(verdict)
    }

    /// The next chain by name, whether it has a head or only rows.
    async fn chain_after(&self, chain: Option<&str>) -> Result<Option<String>, StoreError> {
        let rows = Statement::new("SELECT MIN(chain) FROM (SELECT MIN(chain) AS chain FROM audit_chains")
            .bind_some(" WHERE chain > ", chain)
            .push(" UNION ALL SELECT MIN(chain) FROM audit_events")
            .bind_some(" WHERE chain > ", chain)
            .push(") AS both_of_them")
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().next().map_or(Ok(None), |mut row| row.opt_text())
    }

    async fn head(&self, chain: &str) -> Result<Option<Head>, StoreError> {
        let rows = Statement::new(
            "SELECT c.position, c.hash, c.pruned_position, c.pruned_hash, \
             (SELECT MIN(position) FROM audit_events e WHERE e.chain = c.chain), \
             (SELECT MAX(position) FROM audit_events e WHERE e.chain = c.chain) FROM audit_chains c",
        )
        .bind(" WHERE c.chain = ", chain)
        .read(&*self.inner.database)
        .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        Ok(Some(Head {
            position: row.int()?,
            hash: row.bytes()?,
            pruned_position: row.int()?,
            pruned_hash: row.bytes()?,
            rows: row.opt_int()?.zip(row.opt_int()?),
        }))
    }

    /// Walks over one chain as it is now. Returns what is wrong with it.
    async fn walk(&self, chain: &str, events: &mut u64) -> Result<Option<String>, StoreError> {
        loop {
            let Some(head) = self.head(chain).await? else {
                return Ok(Some("there are events, but the row with its end was taken out".to_owned()));
            };
            let mut seen = 0;
            let broken = match beyond(&head) {
                Some(broken) => Some(broken),
                None => self.walk_to(chain, &head, &mut seen).await?,
            };
            // Pruned while it was walked over: what is missing then is missing rightly.
            let pruned_since = broken.is_some()
                && self.head(chain).await?.is_some_and(|now| now.pruned_position > head.pruned_position);
            if !pruned_since {
                *events += seen;
                return Ok(broken);
            }
        }
    }

    async fn walk_to(&self, chain: &str, head: &Head, seen: &mut u64) -> Result<Option<String>, StoreError> {
        let mut position = head.pruned_position;
        let mut hash = head.pruned_hash.clone();
        let mut seq = i64::MIN;
        while position < head.position {
            let rows = Statement::new("SELECT ")
                .push(COLUMNS)
                .bind(" FROM audit_events WHERE chain = ", chain)
                .bind(" AND position > ", position)
                .bind(" AND position <= ", head.position)
                .bind(" ORDER BY position LIMIT ", PAGE)
                .read(&*self.inner.database)
                .await?;
            if rows.is_empty() {
                return Ok(Some(format!(
                    "position {}: missing, and so is everything up to the end at {}",
                    position + 1,
                    head.position
                )));
            }
            for mut row in rows {
                let row = Chained::read(&mut row)?;
                if let Some(what) = unfit(&row, position, &hash, seq) {
                    return Ok(Some(what));
                }
                (position, hash, seq) = (row.link.position, row.hash, row.seq);
                *seen += 1;
            }
        }
        if hash != head.hash {
            return Ok(Some(format!("position {position}: its last event is not the one that was written last")));
        }
        Ok(None)
    }
}

/// Rows where there can be none.
fn beyond(head: &Head) -> Option<String> {
    let (first, last) = head.rows?;
    if first <= head.pruned_position {
        let pruned = head.pruned_position;
        return Some(format!("position {first}: put in, for everything up to {pruned} has been pruned"));
    }
    (last > head.position).then(|| format!("position {last}: put in behind the end at {}", head.position))
}

/// What is wrong with a row that stands behind one with this position, hash and `seq`.
fn unfit(row: &Chained, position: i64, hash: &[u8], seq: i64) -> Option<String> {
    let what = if row.link.position != position + 1 {
        return Some(format!(
            "position {}: missing; the next event there is is position {}, seq {}",
            position + 1,
            row.link.position,
            row.seq
        ));
    } else if row.prev_hash != hash {
        "does not continue the event before it"
    } else if row.hash != row.link.hash(hash) {
        "was changed: it does not fit its hash"
    } else if row.seq <= seq {
        "stands before the event that it continues"
    } else {
        return None;
    };
    Some(format!("position {}, seq {}: {what}", row.link.position, row.seq))
}
