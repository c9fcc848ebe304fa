//! What was read, kept in two caches: what is there, and texts that name nothing. They are apart so that no flood of bad
//! texts pushes a good one out.

use std::hash::{Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::ledger::Tick;
use super::{Kept, Sought};
use crate::gate::policy::Realm;
use crate::secret::{ByDigest, CredentialDigest};

/// Texts that name nothing.
const MOST_UNKNOWN: u64 = 100_000;
/// They are asked for again after that, whatever the ledger says.
const UNKNOWN_STAYS: Duration = Duration::from_secs(10);

/// The same text in two realms is two keys (or one, or none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CacheKey {
    digest: CredentialDigest,
    realm: u64,
}

impl Hash for CacheKey {
    /// The digest is enough: few texts are keys of several realms.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

#[derive(Clone, Debug)]
struct Unknown {
    realm: Arc<str>,
    read: Tick,
}

/// None = nothing is kept.
#[derive(Debug)]
pub(super) struct Caches<E: Kept>(Option<Both<E>>);

#[derive(Debug)]
struct Both<E: Kept> {
    /// In any state, also revoked ones. Only what is in the store is entered: nobody chooses these digests.
    known: Cache<CacheKey, Arc<E>, ByDigest>,
    /// Anybody chooses these: hashed with a key that nobody knows.
    unknown: Cache<CacheKey, Unknown, RandomState>,
}

impl<E: Kept> Default for Caches<E> {
    fn default() -> Self {
        Self(None)
    }
}

impl<E: Kept> Caches<E> {
    /// `bytes` are for what is there, estimated; 0 = nothing is kept.
    pub(super) fn new(bytes: u64) -> Self {
        Self((bytes > 0).then(|| {
            Both {
                known: Cache::builder()
                    .max_capacity(bytes)
                    .weigher(|_, entry: &Arc<E>| entry.weight())
                    .build_with_hasher(ByDigest::default()),
                unknown: Cache::builder()
                    .max_capacity(MOST_UNKNOWN)
                    .time_to_live(UNKNOWN_STAYS)
                    .build_with_hasher(RandomState::new()),
            }
        }))
    }

    pub(super) fn known(&self, realm: &Realm, digest: CredentialDigest) -> Option<Arc<E>> {
        let entry = self.0.as_ref()?.known.get(&CacheKey { digest, realm: realm.number })?;
        (entry.realm() == &*realm.name).then_some(entry)
    }

    /// When a text named nothing in `realm`, if that is known.
    pub(super) fn unknown(&self, realm: &Realm, digest: CredentialDigest) -> Option<Tick> {
        let unknown = self.0.as_ref()?.unknown.get(&CacheKey { digest, realm: realm.number })?;
        (unknown.realm == realm.name).then_some(unknown.read)
    }

    /// Keeps what was read; `read` is from before that.
    pub(super) fn keep(&self, sought: &Sought, record: Option<E::Record>, read: Tick) -> Option<Arc<E>> {
        let key = CacheKey { digest: sought.digest, realm: sought.number };
        let Some(record) = record else {
            if let Some(both) = &self.0 {
                both.known.invalidate(&key);
                both.unknown.insert(key, Unknown { realm: Arc::clone(&sought.realm), read });
            }
            return None;
        };
        let before = self.0.as_ref().and_then(|both| both.known.get(&key));
        let entry = Arc::new(E::keep(record, &sought.realm, read, before.as_deref()));
        if let Some(both) = &self.0 {
            both.known.insert(key, Arc::clone(&entry));
        }
        Some(entry)
    }

    /// What is there, and texts that name nothing. Puts the caches in order first, which count lazily.
    pub(super) fn entries(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |Both { known, unknown }| {
            known.run_pending_tasks();
            unknown.run_pending_tasks();
            (known.entry_count(), unknown.entry_count())
        })
    }
}
