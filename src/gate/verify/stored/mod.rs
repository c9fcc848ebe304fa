//! Keys of the store, as requests meet them: a bounded cache of what was read, a ledger of what has changed since, and
//! reads that are made once however many wait for them. Nothing here knows how the store works.
//!
//! What is in the cache is believed while the ledger says nothing against it, and while the ledger is not older than
//! `max_staleness`. With a ledger that is older, nothing in memory counts: every key is read from the store, which is
//! exact (a read that was begun for somebody else is shared, and takes two seconds at most). Where the store cannot be
//! read, the answer is 503, as it is for what is not in the cache or has changed. Declared keys and tokens go on.

mod caches;
mod entry;
mod ledger;
mod reading;
#[cfg(test)]
mod tests;
mod uses;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;

use caches::Caches;
pub(super) use entry::Entry;
pub use ledger::Ledger;
use reading::Reading;
pub(super) use reading::Trouble;
use uses::Book;
pub use uses::Uses;

use crate::clock::{Stopwatch, UnixMillis};
use crate::gate::policy::Realm;
use crate::secret::CredentialDigest;
use crate::store::{KeyInForce, KeyUse, Store, StoreError};

/// Where keys are read from.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// Everything about the key of `realm` whose text has this SHA-256, whatever its state.
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError>;
}

#[async_trait]
impl KeySource for Store {
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        self.key_in_force(realm, &digest).await
    }
}

/// How much is kept, and for how long it may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of the cache of keys, estimated; 0 = nothing is kept.
    pub cache_bytes: u64,
    /// What is kept may be answered from for so long after the feed was last known to be whole.
    pub max_staleness: Duration,
}

/// Keys of the store. Shared by everything that decides; survives reloads.
#[derive(Debug)]
pub struct StoredKeys {
    shared: Arc<Shared>,
    max_staleness: Duration,
}

/// What reads need, too: they outlive the requests that asked for them.
#[derive(Debug, Default)]
struct Shared {
    ledger: Ledger,
    caches: Caches,
    book: Book,
    /// None = there is no store.
    reading: Option<Reading>,
}

/// A text that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sought {
    digest: CredentialDigest,
    realm: Arc<str>,
    number: u64,
}

/// What can be told without waiting.
#[derive(Debug)]
pub(super) enum Known {
    /// There is no store.
    NoStore,
    /// A key.
    Key(Arc<Entry>),
    /// No key.
    Nothing,
    /// It was a key, but that counts no longer: it has changed, or (`stale`) nobody can tell whether it has.
    Outdated { stale: bool },
    /// Not known.
    Unseen,
}

impl StoredKeys {
    /// No store: every key is unknown.
    pub fn none() -> Self {
        Self { shared: Arc::default(), max_staleness: Duration::ZERO }
    }

    /// Keys read from `source` by tasks of `runtime`.
    pub fn new(source: Arc<dyn KeySource>, runtime: Handle, keeping: Keeping) -> Self {
        let caches = Caches::new(keeping.cache_bytes);
        let shared = Shared { caches, reading: Some(Reading::new(source, runtime)), ..Shared::default() };
        Self { shared: Arc::new(shared), max_staleness: keeping.max_staleness }
    }

    /// Where the feed is written into as it arrives.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// What is known of a text at once. `now`: of the decision.
    pub(super) fn look(&self, realm: &Realm, digest: CredentialDigest, now: Stopwatch) -> Known {
        let Shared { ledger, caches, reading: Some(_), .. } = &*self.shared else { return Known::NoStore };
        // First: see `Ledger::holds`.
        let fresh = self.is_fresh(now);
        if let Some(entry) = caches.key(realm, digest) {
            return if fresh && entry.holds(ledger) { Known::Key(entry) } else { Known::Outdated { stale: !fresh } };
        }
        match caches.unknown(realm, digest) {
            Some(read) if fresh && ledger.holds_nothing(read, &realm.name) => Known::Nothing,
            Some(_) | None => Known::Unseen,
        }
    }

    /// Reads a text from the store; none = it is no key.
    pub(super) async fn read(&self, realm: &Realm, digest: CredentialDigest) -> Result<Option<Arc<Entry>>, Trouble> {
        let Some(reading) = &self.shared.reading else { return Ok(None) };
        let sought = Sought { digest, realm: Arc::clone(&realm.name), number: realm.number };
        self.shared.read(reading, &sought).await
    }

    /// Whether what is kept may be believed.
    pub(super) fn is_fresh(&self, now: Stopwatch) -> bool {
        self.shared.ledger.staleness(now).is_some_and(|staleness| staleness <= self.max_staleness)
    }

    /// Notes a request that was allowed.
    pub(super) fn note(&self, uses: &Arc<Uses>, ip: Option<IpAddr>, now: UnixMillis) {
        self.shared.book.note(uses, ip, now);
    }

    /// Uses that are due to be written: of each key at most once a minute, all of them when `all`. They are given out
    /// once: put back what could not be written ([`StoredKeys::put_back`]).
    pub fn take_uses(&self, now: UnixMillis, all: bool) -> Vec<KeyUse> {
        self.shared.book.take(now, all)
    }

    /// Takes back uses that could not be written.
    pub fn put_back(&self, uses: Vec<KeyUse>) {
        self.shared.book.put_back(uses);
    }

    /// Entries in the cache of keys, about; and in that of texts which are no key.
    pub fn cached(&self) -> (u64, u64) {
        self.shared.caches.entries()
    }
}
