//! The keys that a realm signs with, as they are at the moment: what signs, what only verifies any more, and what is
//! published.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use serde_json::Value;

use super::keyset::MAX_TRIES;
use super::{Algorithm, NoKey, SigningKey, VerifyKey};
use crate::clock::UnixMillis;

/// A key of a realm.
pub struct OwnKey {
    /// Names it.
    pub kid: Box<str>,
    /// What it signs by.
    pub algorithm: Algorithm,
    /// Signs.
    pub signing: SigningKey,
    /// Verifies.
    pub verify: Arc<VerifyKey>,
    /// Its public half as a JSON Web Key; none for secrets, which nobody is told.
    pub public: Option<Value>,
    /// Signs from then on.
    pub activate_at: UnixMillis,
    /// Verifies no more from then on.
    pub retire_at: Option<UnixMillis>,
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl OwnKey {
    fn alive(&self, now: UnixMillis) -> bool {
        self.retire_at.is_none_or(|end| now < end)
    }
}

/// A realm's keys. Replaced whole; whoever verifies and whoever signs share one handle.
#[derive(Debug, Default)]
pub struct OwnKeys {
    keys: ArcSwapOption<Vec<Arc<OwnKey>>>,
    generation: AtomicU64,
}

impl OwnKeys {
    /// Tokens that do not name their key are verified while so many keys of their algorithm are alive, and no more.
    pub const MOST_UNNAMED: usize = MAX_TRIES;

    /// Puts other keys in force. What was verified before is verified again.
    pub fn replace(&self, keys: Vec<Arc<OwnKey>>) {
        self.keys.store(Some(Arc::new(keys)));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes keys out that have had their time; to be called every now and then, for what was verified is remembered.
    pub fn tidy(&self, now: UnixMillis) {
        let Some(keys) = self.keys.load_full() else { return };
        if keys.iter().any(|key| !key.alive(now)) {
            self.replace(keys.iter().filter(|key| key.alive(now)).cloned().collect());
        }
    }

    /// Grows whenever the keys change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the keys have been read from the store.
    pub fn is_loaded(&self) -> bool {
        self.keys.load().is_some()
    }

    /// All of them.
    pub fn all(&self) -> Arc<Vec<Arc<OwnKey>>> {
        self.keys.load_full().unwrap_or_default()
    }

    /// What signs by `algorithm` now: the key that was activated last.
    pub fn signing(&self, algorithm: Algorithm, now: UnixMillis) -> Option<Arc<OwnKey>> {
        let keys = self.keys.load();
        let fit = keys.as_ref()?.iter().filter(|key| key.algorithm == algorithm && key.activate_at <= now);
        fit.filter(|key| key.alive(now)).max_by(|a, b| (a.activate_at, &a.kid).cmp(&(b.activate_at, &b.kid))).cloned()
    }

    /// The keys to try for a token's header, at least one. A key that signs later verifies already: nodes do not agree
    /// about the time to the millisecond.
    ///
    /// # Errors
    /// See [`NoKey`].
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm, now: UnixMillis) -> Result<Vec<Arc<VerifyKey>>, NoKey> {
        let keys = self.all();
        let named: Vec<_> =
            keys.iter().filter(|key| key.alive(now) && kid.is_none_or(|kid| *key.kid == *kid)).collect();
        if named.is_empty() {
            return Err(NoKey::Unknown);
        }
        let found: Vec<_> =
            named.iter().filter(|key| key.algorithm == algorithm).map(|key| Arc::clone(&key.verify)).collect();
        match found.len() {
            0 => Err(NoKey::OtherAlgorithms),
            count if count > MAX_TRIES => Err(NoKey::Unknown),
            _ => Ok(found),
        }
    }

    /// The public halves, for a key set document.
    pub fn published(&self, now: UnixMillis) -> Vec<Value> {
        self.all().iter().filter(|key| key.alive(now)).filter_map(|key| key.public.clone()).collect()
    }
}
