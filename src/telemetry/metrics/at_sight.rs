//! Counters whose labels are not known when a snapshot is prepared.

use arc_swap::ArcSwap;
use prometheus::IntCounter;

/// Counters that come into being at first sight. Looking one up compares a few small keys: no hashing, no lock, no text.
#[derive(Debug)]
pub(super) struct AtSight<K>(ArcSwap<Vec<(K, IntCounter)>>);

impl<K> Default for AtSight<K> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Clone> AtSight<K> {
    /// Counts one of what `is` recognises; `key` and `counter` are only asked at first sight. Two threads that see it
    /// first at the same time are handed the same counter by its vector.
    pub(super) fn inc(&self, is: impl Fn(&K) -> bool, key: impl FnOnce() -> K, counter: impl FnOnce() -> IntCounter) {
        if let Some((_, counter)) = self.0.load().iter().find(|(key, _)| is(key)) {
            return counter.inc();
        }
        let (key, counter) = (key(), counter());
        counter.inc();
        self.0.rcu(|seen| {
            let mut grown = Vec::clone(seen);
            if !grown.iter().any(|(key, _)| is(key)) {
                grown.push((key.clone(), counter.clone()));
            }
            grown
        });
    }
}
