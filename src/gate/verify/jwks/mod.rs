//! Key sets that are fetched: kept fresh in the background, fetched again for an unknown key id at most once per
//! cool-down, kept through outages up to a limit. The request path never fetches: it asks and waits, bounded.
//!
//! [`RemoteKeySet::find`] is the reader's side, [`maintain`] the fetching side; they meet in the set's state (`state.rs`)
//! and its record of attempts (`flight.rs`). How documents come over the network does not belong here: see [`Fetch`].

mod document;
mod engine;
mod flight;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::document::{acceptable_url, discovery_url};
pub use self::engine::maintain;
use self::state::{Advice, Missing, State};
use crate::clock::UnixMillis;
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

/// A key set with its state. The state survives reloads that do not change which keys are meant: see
/// [`RemoteKeySet::continuing`].
#[derive(Debug)]
pub struct RemoteKeySet {
    spec: RemoteSpec,
    state: Arc<State>,
}

/// Longer key ids are nobody's.
const LONGEST_KID: usize = 256;

/// What a look-up of a key found.
#[derive(Clone, Debug)]
pub enum KeyLookup {
    /// These keys have the id (or, without an id, the algorithm); try each.
    Keys(Vec<Arc<VerifyKey>>),
    /// The set is fresh and has none: 401.
    Unknown,
    /// The set is fresh and has keys of this id, but none for the algorithm: 401.
    OtherAlgorithms,
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
    /// Keys skipped so far, by cause; a key counts with every good fetch that brings it.
    pub skipped: Vec<(&'static str, u64)>,
    /// Last failure, for people; none when the last fetch was good.
    pub last_error: Option<String>,
}

impl RemoteKeySet {
    /// A set that has not been fetched yet.
    pub fn new(spec: RemoteSpec) -> Self {
        Self { spec, state: Arc::new(State::new()) }
    }

    /// A set as this one is specified that goes on with what `previous` has learnt (keys, cool-down, figures): a reload
    /// then neither forgets keys nor fetches. Only if both mean the same keys, which they do when place, authorities and
    /// algorithms are equal; a set by another name or with other timings may go on.
    pub fn continuing(&self, previous: &Self) -> Option<Self> {
        let RemoteSpec { location, ca, algorithms, .. } = &self.spec;
        let before = &previous.spec;
        let same = *location == before.location && *ca == before.ca && *algorithms == before.algorithms;
        same.then(|| Self { spec: self.spec.clone(), state: Arc::clone(&previous.state) })
    }

    /// What was configured.
    pub fn spec(&self) -> &RemoteSpec {
        &self.spec
    }

    /// Changes whenever the usable keys change (not when a refresh brings the same): part of cache keys. No two contents
    /// of any set in this process have the same number; 0 before the first good fetch. Read it before [`Self::find`]:
    /// what older keys proved must not be remembered under a newer number.
    pub fn generation(&self) -> u64 {
        self.state.generation()
    }

    /// Whether there are keys and they are not older than `max_stale`.
    pub fn usable(&self, now: UnixMillis) -> bool {
        self.state.usable(&self.spec, now)
    }

    /// The keys for a token's header. May wait for one fetch, at most the set's timeout.
    pub async fn find(&self, kid: Option<&str>, algorithm: Algorithm, now: UnixMillis) -> KeyLookup {
        if kid.is_some_and(|kid| kid.len() > LONGEST_KID) {
            return KeyLookup::Unknown;
        }
        let Self { spec, state } = self;
        let missing = match state.look(spec, kid, algorithm, now) {
            Ok(keys) => return KeyLookup::Keys(keys),
            Err(missing) => missing,
        };
        let id = kid.unwrap_or_default();
        let mut ticket = match state.advise(spec, missing, id, now) {
            Advice::Answer(answer) => return answer,
            Advice::Wait(ticket) => ticket,
        };
        let ended = ticket.wait(spec.timeout).await;
        match state.look(spec, kid, algorithm, now) {
            Ok(keys) => KeyLookup::Keys(keys),
            Err(Missing::OtherAlgorithms) => KeyLookup::OtherAlgorithms,
            Err(Missing::NoSuchKey) if ended => state.conclude(spec, &ticket, id, now),
            Err(Missing::NoSuchKey) => KeyLookup::Unavailable(Why::KeySetFailing),
            Err(Missing::NeverLoaded) => KeyLookup::Unavailable(Why::KeySetNeverLoaded),
            Err(Missing::Stale) => KeyLookup::Unavailable(Why::KeySetStale),
        }
    }

    /// Figures.
    pub fn status(&self) -> KeySetStatus {
        self.state.status()
    }
}
