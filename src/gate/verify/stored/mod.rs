//! Keys of the store, as requests meet them: a bounded cache of what was read, a ledger of what has changed since, and
//! reads that are made once however many wait for them. Nothing here knows how the store works.

mod ledger;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;

pub use ledger::Ledger;

use crate::clock::UnixMillis;
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
    ledger: Ledger,
}

impl StoredKeys {
    /// No store: every key is unknown.
    pub fn none() -> Self {
        Self { ledger: Ledger::default() }
    }

    /// Keys read from `source` by tasks of `runtime`.
    pub fn new(source: Arc<dyn KeySource>, runtime: Handle, keeping: Keeping) -> Self {
        let _ = (source, runtime, keeping);
        unimplemented!()
    }

    /// Where the feed is written into as it arrives.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Uses that are due to be written: of each key at most once a minute, all of them when `all`. They are given out
    /// once: put back what could not be written ([`StoredKeys::put_back`]).
    pub fn take_uses(&self, now: UnixMillis, all: bool) -> Vec<KeyUse> {
        let _ = (now, all);
        unimplemented!()
    }

    /// Takes back uses that could not be written.
    pub fn put_back(&self, uses: Vec<KeyUse>) {
        let _ = uses;
        unimplemented!()
    }

    /// Entries in the cache of keys, about; and in that of texts which are no key.
    pub fn cached(&self) -> (u64, u64) {
        unimplemented!()
    }
}
