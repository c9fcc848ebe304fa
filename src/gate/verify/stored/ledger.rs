//! What has changed since something was read. Never evicts: where it would grow too long, everything that was read before
//! is read again.

use std::time::Duration;

use crate::clock::Stopwatch;
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

    /// Everything written before `begun` was started is known here. A stopwatch, because the wall clock can be set: put
    /// back, it would make a node that has lost its store believe for longer what it remembers.
    pub fn confirm(&self, begun: Stopwatch) {
        let _ = begun;
        unimplemented!()
    }

    /// Number of the last row that was taken in.
    pub fn position(&self) -> i64 {
        unimplemented!()
    }

    /// How long ago, seen from `now`, it was confirmed; none before the first time. A request is judged by the stopwatch
    /// of its decision, which runs anyhow.
    pub fn staleness(&self, now: Stopwatch) -> Option<Duration> {
        let _ = now;
        unimplemented!()
    }
}
