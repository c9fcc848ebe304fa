//! When and from where keys were used: counted as requests pass, given out now and then to be written. Numbers are
//! about right, not exact: what was not written when the process ends is lost.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::store::{KeyInForce, KeyUse};

/// Between two writings of one key.
const PAUSE: Duration = Duration::from_secs(60);

/// Texts that wait to be written; beyond that, uses of further ones wait for room.
const MOST: usize = 200_000;

/// Uses of one text of a key.
#[derive(Debug)]
pub struct Uses {
    key_id: Arc<str>,
    overlap: bool,
    count: AtomicI64,
    last_at: AtomicI64,
    last_ip: Mutex<Option<IpAddr>>,
    /// When they were last given out to be written, on this node or another.
    written: AtomicI64,
    /// Whether they are in the list of those that wait.
    waiting: AtomicBool,
}

impl Uses {
    pub(super) fn of(record: &KeyInForce) -> Self {
        let overlap = record.not_after.is_some();
        let written = if overlap {
            record.key.overlap.as_ref().and_then(|overlap| overlap.last_used_at)
        } else {
            record.key.last_used_at
        };
        Self {
            key_id: record.key.id.as_str().into(),
            overlap,
            count: AtomicI64::default(),
            last_at: AtomicI64::new(i64::MIN),
            last_ip: Mutex::default(),
            written: AtomicI64::new(written.map_or(i64::MIN, |at| at.0)),
            waiting: AtomicBool::default(),
        }
    }

    pub(super) fn key_id(&self) -> &Arc<str> {
        &self.key_id
    }

    /// Whether these count the uses of the text that `record` is about.
    pub(super) fn are_of(&self, record: &KeyInForce) -> bool {
        *self.key_id == *record.key.id && self.overlap == record.not_after.is_some()
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        let written = UnixMillis(self.written.load(Ordering::Relaxed));
        // Either way round: a clock that was put back must not stop the writing.
        now.since(written).max(written.since(now)) >= PAUSE
    }
}

/// What waits to be written. Belongs to no cache: nothing that is evicted is lost here.
#[derive(Debug, Default)]
pub(super) struct Book {
    waiting: Mutex<Vec<Arc<Uses>>>,
    /// Given out and not written.
    returned: Mutex<BTreeMap<(String, bool), KeyUse>>,
}

impl Book {
    /// Notes an allowed request. Waits for nobody: where two do this at once, the address is one of the two.
    pub(super) fn note(&self, uses: &Arc<Uses>, ip: Option<IpAddr>, now: UnixMillis) {
        // In one order for all threads: either this sees that the list has been left, or who took the count sees the
        // request.
        uses.count.fetch_add(1, Ordering::SeqCst);
        if uses.last_at.load(Ordering::Relaxed) != now.0 {
            uses.last_at.store(now.0, Ordering::Relaxed);
            if let Ok(mut last_ip) = uses.last_ip.try_lock() {
                *last_ip = ip;
            }
        }
        if !uses.waiting.load(Ordering::SeqCst) && !uses.waiting.swap(true, Ordering::SeqCst) {
            let mut waiting = locked(&self.waiting);
            if waiting.len() < MOST {
                waiting.push(Arc::clone(uses));
            } else {
                uses.waiting.store(false, Ordering::SeqCst);
            }
        }
    }

    /// See [`super::StoredKeys::take_uses`]. In the order of key ids: nodes that write at the same time lock rows in
    /// the same order.
    pub(super) fn take(&self, now: UnixMillis, all: bool) -> Vec<KeyUse> {
        let mut given = std::mem::take(&mut *locked(&self.returned));
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *locked(&self.waiting)).into_iter().partition(|uses| all || uses.is_due(now));
        locked(&self.waiting).extend(later);
        for uses in due {
            uses.waiting.store(false, Ordering::SeqCst);
            let count = uses.count.swap(0, Ordering::SeqCst);
            if count == 0 {
                continue;
            }
            uses.written.store(now.0, Ordering::Relaxed);
            let at = UnixMillis(uses.last_at.load(Ordering::Relaxed));
            let ip = *locked(&uses.last_ip);
            add(&mut given, KeyUse { key_id: uses.key_id.to_string(), overlap: uses.overlap, count, at, ip });
        }
        given.into_values().collect()
    }

    pub(super) fn put_back(&self, uses: Vec<KeyUse>) {
        let mut returned = locked(&self.returned);
        for one in uses {
            if returned.len() < MOST || returned.contains_key(&(one.key_id.clone(), one.overlap)) {
                add(&mut returned, one);
            }
        }
    }
}

fn add(sum: &mut BTreeMap<(String, bool), KeyUse>, one: KeyUse) {
    sum.entry((one.key_id.clone(), one.overlap))
        .and_modify(|known| {
            known.count = known.count.saturating_add(one.count);
            if one.at >= known.at {
                (known.at, known.ip) = (one.at, one.ip);
            }
        })
        .or_insert(one);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
