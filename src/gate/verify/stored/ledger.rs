//! What has changed since something was read. Never evicts: where it would grow too long, everything that was read before
//! is read again.

use crate::clock::UnixMillis;
use crate::store::Change;

/// What this node knows of the feed. Written by the one task that follows it, read by every request.
#[derive(Debug, Default)]
pub struct Ledger {}

impl Ledger {
    /// Begins at `position` and forgets everything: what was read before is read again. For the start, and whenever rows
    /// of the feed may have been missed (they ran out, or the store was put back to an older state).
    pub fn restart(&self, position: i64) {
        let _ = position;
        unimplemented!()
    }

    /// Takes in rows, oldest first.
    pub fn apply(&self, changes: &[Change]) {
        let _ = changes;
        unimplemented!()
    }

    /// Everything written before `at` is known here.
    pub fn confirm(&self, at: UnixMillis) {
        let _ = at;
        unimplemented!()
    }

    /// Number of the last row that was taken in.
    pub fn position(&self) -> i64 {
        unimplemented!()
    }

    /// Since when it has not been confirmed; none before the first time.
    pub fn confirmed_at(&self) -> Option<UnixMillis> {
        unimplemented!()
    }
}
