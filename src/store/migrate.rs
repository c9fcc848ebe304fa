//! Bringing a schema up to date, under a lock: expand and contract, so that a node one version back keeps running.

/// The schema that this version writes.
pub(super) const SCHEMA: i64 = 1;
