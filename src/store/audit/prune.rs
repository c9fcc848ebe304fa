//! Taking old events out, from the beginning of the chains only.

use crate::clock::UnixMillis;
use crate::store::statement::Statement;
use crate::store::{StoreError, Write, feed};

/// So many positions of a chain at once: a transaction that took all of them would keep every writer waiting.
const AT_ONCE: i64 = 10_000;

impl Write {
    /// Removes events older than `before` from the beginning of every chain and leaves a checkpoint there, so that the
    /// rest can still be verified. Returns how many; at most 10,000 of each chain: call it again until there are none.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn prune_audit(&mut self, before: UnixMillis) -> Result<u64, StoreError> {
        feed::in_turn(&mut *self.transaction).await?;
        let chains = Statement::new("SELECT chain, position, pruned_position FROM audit_chains ORDER BY chain")
            .fetch(&mut *self.transaction)
            .await?;
        let mut removed = 0;
        for mut chain in chains {
            let (name, end, pruned) = (chain.text()?, chain.int()?, chain.int()?);
            removed += self.prune_chain(&name, pruned, end, before).await?;
        }
        Ok(removed)
    }

    async fn prune_chain(&mut self, chain: &str, pruned: i64, end: i64, before: UnixMillis) -> Result<u64, StoreError> {
        let bound = end.min(pruned.saturating_add(AT_ONCE));
        let rows = Statement::new("SELECT position FROM audit_events")
            .bind(" WHERE chain = ", chain)
            .bind(" AND position > ", pruned)
            .bind(" AND position <= ", bound)
            .bind(" AND at >= ", before)
            .push(" ORDER BY position LIMIT 1")
            .fetch(&mut *self.transaction)
            .await?;
        let last = match rows.into_iter().next() {
            Some(mut kept) => kept.int()? - 1,
            None => bound,
        };
        // Not there: somebody took it out. Then the chain stays as it is, for `verify` to find that.
        let rows = Statement::new("SELECT hash FROM audit_events")
            .bind(" WHERE chain = ", chain)
            .bind(" AND position > ", pruned)
            .bind(" AND position = ", last)
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(0) };
        let hash = row.bytes()?;
        Statement::new("UPDATE audit_chains SET")
            .bind(" pruned_position = ", last)
            .bind(", pruned_hash = ", hash.as_slice())
            .bind(" WHERE chain = ", chain)
            .execute(&mut *self.transaction)
            .await?;
        Statement::new("DELETE FROM audit_events")
            .bind(" WHERE chain = ", chain)
            .bind(" AND position <= ", last)
            .execute(&mut *self.transaction)
            .await
    }
}
