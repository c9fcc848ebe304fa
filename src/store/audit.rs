//! The audit trail: append-only, one hash chain a node.

use super::backend::Transaction;
use super::{AuditEntry, AuditEvent, AuditOutcome, Store, StoreError, Write};
use crate::clock::UnixMillis;

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of these realms (events of no realm are left out then); none = all.
    pub realms: Option<Vec<String>>,
    /// Id of who did it.
    pub actor_id: Option<String>,
    /// Id of what it was done to.
    pub target_id: Option<String>,
    /// What was done: exact, or everything that starts with it when it ends with a dot (`key.`).
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<AuditOutcome>,
    /// From then on.
    pub since: Option<UnixMillis>,
    /// Before then.
    pub until: Option<UnixMillis>,
    /// Only events with a greater `seq` (to follow), oldest first; none = newest first.
    pub after: Option<i64>,
    /// Only events with a smaller `seq` (the next part of a list, newest first).
    pub before: Option<i64>,
}

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

impl Store {
    /// Events, see [`AuditFilter::after`] for their order.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn audit_events(&self, filter: &AuditFilter, limit: usize) -> Result<Vec<AuditEvent>, StoreError> {
        let _ = (filter, limit);
        unimplemented!()
    }

    /// Walks every chain from its checkpoint on: a row that was changed, taken out, put in or cut off at the end is named.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn verify_audit(&self) -> Result<Verdict, StoreError> {
        unimplemented!()
    }
}

impl Write {
    /// Removes events older than `before` from the beginning of every chain and leaves a checkpoint there, so that the
    /// rest can still be verified. Returns how many.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn prune_audit(&mut self, before: UnixMillis) -> Result<u64, StoreError> {
        let _ = before;
        unimplemented!()
    }
}

/// Appends to the chain of `node`.
pub(super) async fn append(
    transaction: &mut dyn Transaction,
    node: &str,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    let _ = (transaction, node, entries);
    unimplemented!()
}
