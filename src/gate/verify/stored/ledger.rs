//! What has changed since something was read. Never evicts: where it would grow too long, everything that was read
//! before is read again.
//!
//! It counts in ticks of its own, because positions of the feed can go back (a store that was put back to an older
//! state). Whoever reads the store notes the tick before the read begins. A change that was written after that, and
//! which the read may have missed, gets a later tick when it arrives here: then what was read counts no longer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::store::{Change, ChangeKind};

/// Ids and realms that are remembered as changed.
const MOST: usize = 100_000;

/// A moment in the life of a ledger: grows with every batch of changes and every restart, never goes back.
pub(super) type Tick = u64;

/// What this node knows of the feed. Written by the one task that follows it, read by every request.
#[derive(Debug)]
pub struct Ledger {
    born: Stopwatch,
    /// Nanoseconds from `born` to the last confirmation, and one more; 0 = never confirmed.
    confirmed: AtomicU64,
    position: AtomicI64,
    /// Written under the lock of `changes` only, after what belongs to the tick is in there.
    tick: AtomicU64,
    changes: RwLock<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    /// What was read before this tick counts no longer.
    floor: Tick,
    /// Keys, principals, sessions and tokens: their ids differ in the prefix. A slot of tokens that reads like an id
    /// has something read again, no more.
    ids: HashMap<Box<str>, Tick>,
    realms: HashMap<Box<str>, RealmChanges>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RealmChanges {
    /// When everything about it may have changed.
    whole: Tick,
    /// When keys were added.
    added: Tick,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            born: Stopwatch::start(),
            confirmed: AtomicU64::default(),
            position: AtomicI64::default(),
            tick: AtomicU64::default(),
            changes: RwLock::default(),
        }
    }
}

impl Ledger {
    /// Begins at `position` and forgets everything: what was read before is read again. For the start, and whenever
    /// rows of the feed may have been missed (they ran out, or the store was put back to an older state).
    pub fn restart(&self, position: i64) {
        let mut changes = self.write();
        let tick = self.now() + 1;
        *changes = Changes { floor: tick, ..Changes::default() };
        self.position.store(position, Ordering::Release);
        self.tick.store(tick, Ordering::Release);
    }

    /// Takes in rows, oldest first.
    pub fn apply(&self, rows: &[Change]) {
        let Some(last) = rows.last() else { return };
        let mut changes = self.write();
        let tick = self.now() + 1;
        for Change { realm, kind, value, .. } in rows {
            changes.note(realm, *kind, value, tick);
        }
        self.position.store(last.seq, Ordering::Release);
        self.tick.store(tick, Ordering::Release);
    }

    /// Something that is no row of the feed has changed: what was read of `id` counts no longer.
    pub(super) fn distrust(&self, id: &str) {
        let mut changes = self.write();
        let tick = self.now() + 1;
        changes.ids.insert(id.into(), tick);
        self.tick.store(tick, Ordering::Release);
    }

    /// Everything written before `begun` was started is known here. A stopwatch, because the wall clock can be set: put
    /// back, it would make a node that has lost its store believe for longer what it remembers.
    pub fn confirm(&self, begun: Stopwatch) {
        let nanos = u64::try_from(begun.since(self.born).as_nanos()).unwrap_or(u64::MAX);
        self.confirmed.fetch_max(nanos.saturating_add(1), Ordering::AcqRel);
    }

    /// Number of the last row that was taken in.
    pub fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    /// How long ago, seen from `now`, it was confirmed; none before the first time. A request is judged by the
    /// stopwatch of its decision, which runs anyhow.
    pub fn staleness(&self, now: Stopwatch) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.since(self.born).saturating_sub(Duration::from_nanos(confirmed)))
    }

    /// To be noted before a read begins.
    pub(super) fn now(&self) -> Tick {
        self.tick.load(Ordering::Acquire)
    }

    /// Whether what was read at `read` of what has these ids is still so. Moves `read` forward, so that nothing is looked at twice.
    ///
    /// Who also asks for [`Ledger::staleness`] asks for it first: else the confirmation could be younger than the rows
    /// that were looked at here.
    pub(super) fn holds(&self, read: &AtomicU64, realm: &str, ids: &[&str]) -> bool {
        let at = read.load(Ordering::Acquire);
        if at == self.now() {
            return true;
        }
        let changes = self.read();
        let changed = changes.floor > at
            || ids.iter().any(|id| changes.ids.get(*id).is_some_and(|tick| *tick > at))
            || changes.realms.get(realm).is_some_and(|realm| realm.whole > at);
        if !changed {
            // Under the lock: no change came between the look and this tick.
            read.fetch_max(self.now(), Ordering::AcqRel);
        }
        !changed
    }

    /// Whether what was no key of `realm` at `read` is none still.
    pub(super) fn holds_nothing(&self, read: Tick, realm: &str) -> bool {
        if read == self.now() {
            return true;
        }
        let changes = self.read();
        changes.floor <= read
            && changes.realms.get(realm).is_none_or(|realm| realm.whole <= read && realm.added <= read)
    }

    fn read(&self) -> RwLockReadGuard<'_, Changes> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Changes> {
        self.changes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    fn note(&mut self, realm: &str, kind: ChangeKind, value: &str, tick: Tick) {
        match kind {
            ChangeKind::Key | ChangeKind::Client | ChangeKind::Session | ChangeKind::Token => {
                self.ids.insert(value.into(), tick);
            }
            ChangeKind::KeysAdded => self.realms.entry(realm.into()).or_default().added = tick,
            ChangeKind::Realm => self.realms.entry(realm.into()).or_default().whole = tick,
            // Nothing is kept of them here.
            ChangeKind::SigningKeys => {}
        }
        if self.ids.len() + self.realms.len() > MOST {
            *self = Self { floor: tick, ..Self::default() };
        }
    }
}
