//! Key sets that are fetched: kept fresh in the background, fetched again for an unknown key id at most once per
//! cool-down, kept through outages up to a limit. The request path never fetches: it asks and waits, bounded.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, UnixMillis};
use crate::gate::outcome::Why;
use crate::jwt::{Algorithm, VerifyKey};

/// What a key set is configured to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSpec {
    /// Issuer name: label.
    pub name: Arc<str>,
    /// Where the set is.
    pub location: Location,
    /// PEM of the authorities to trust instead of the system's.
    pub ca: Option<Arc<[u8]>>,
    /// Background refresh.
    pub refresh: Duration,
    /// At least this between two fetches for unknown key ids; armed by failures too.
    pub cooldown: Duration,
    /// Keys are used this long after the last good fetch.
    pub max_stale: Duration,
    /// Total time of one fetch.
    pub timeout: Duration,
    /// Largest document, in bytes.
    pub max_size: usize,
    /// Algorithms that the issuer may use: keys for others are skipped.
    pub algorithms: Vec<Algorithm>,
}

/// Where a key set is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// At this URL.
    Url(Box<str>),
    /// By OpenID discovery from this issuer; the document must name the same issuer.
    Discovery(Box<str>),
}

/// One document to fetch.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// From where.
    pub url: String,
    /// PEM of the authorities to trust instead of the system's.
    pub ca: Option<Arc<[u8]>>,
    /// Total time.
    pub timeout: Duration,
    /// Largest body, in bytes.
    pub max_size: usize,
}

/// Fetches documents for the engine: handed over by the assembly, so that tests hand over bytes. Follows no redirect,
/// sends no cookies, takes 200 only.
#[async_trait::async_trait]
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// The body of one document.
    ///
    /// # Errors
    /// A text for the log: no secrets, no bodies.
    async fn fetch(&self, request: FetchRequest) -> Result<Vec<u8>, String>;
}

/// A key set with its state. The state survives reloads that do not change the specification.
#[derive(Debug)]
pub struct RemoteKeySet {}

/// What a look-up of a key found.
#[derive(Clone, Debug)]
pub enum KeyLookup {
    /// These keys have the id (or, without an id, the algorithm); try each.
    Keys(Vec<Arc<VerifyKey>>),
    /// The set is fresh and has none: 401.
    Unknown,
    /// Cannot be told: 503.
    Unavailable(Why),
}

/// Figures for metrics and `explain`.
#[derive(Clone, Debug, Default)]
pub struct KeySetStatus {
    /// Good fetches.
    pub refreshed: u64,
    /// Failed fetches.
    pub failed: u64,
    /// Last good fetch.
    pub fetched_at: Option<UnixMillis>,
    /// Usable keys.
    pub keys: usize,
    /// Keys skipped so far, by cause.
    pub skipped: Vec<(&'static str, u64)>,
    /// Last failure, for people.
    pub last_error: Option<String>,
}

impl RemoteKeySet {
    /// A set that has not been fetched yet.
    pub fn new(_spec: RemoteSpec) -> Self {
        unimplemented!()
    }

    /// What was configured.
    pub fn spec(&self) -> &RemoteSpec {
        unimplemented!()
    }

    /// Changes whenever the usable keys change (not when a refresh brings the same): part of cache keys.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }

    /// Whether there are keys and they are not older than `max_stale`.
    pub fn usable(&self, _now: UnixMillis) -> bool {
        unimplemented!()
    }

    /// The keys for a token's header. May wait for one fetch, at most the set's timeout.
    pub async fn find(&self, _kid: Option<&str>, _algorithm: Algorithm, _now: UnixMillis) -> KeyLookup {
        unimplemented!()
    }

    /// Figures.
    pub fn status(&self) -> KeySetStatus {
        unimplemented!()
    }
}

/// Keeps all sets of the current snapshot fresh; runs until dropped. `current` is asked every turn for the sets in force.
pub async fn maintain(
    _current: impl Fn() -> Vec<Arc<RemoteKeySet>> + Send + Sync,
    _fetch: Arc<dyn Fetch>,
    _clock: Arc<dyn Clock>,
) {
    unimplemented!()
}
