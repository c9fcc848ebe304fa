//! Reading from the store: each text once, however many wait for it, and not too many texts at the same time. A read
//! outlives the request that asked for it first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::entry::Entry;
use super::ledger::Tick;
use super::{KeySource, Shared, Sought};
use crate::clock::Stopwatch;
use crate::store::{Fault, KeyInForce, StoreError};

/// A request waits so long at most, and so long a read may take, its turn included.
const DEADLINE: Duration = Duration::from_secs(2);
/// Reads at the same time.
const MOST_READS: usize = 64;
/// Texts that are being read or wait for their turn.
const MOST_TEXTS: usize = 4096;
/// Of keys that cannot be judged is told so often at most.
const BETWEEN_TELLING: Duration = Duration::from_secs(10);
/// Requests that wait.
const MOST_WAITING: usize = 4096;

/// Why it cannot be told whether something is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::verify) enum Trouble {
    /// The store does not do its work.
    Failing,
    /// It does not do it in time.
    Slow,
    /// Too much is asked of it already.
    Busy,
}

/// What was read. `entry`: none = there is no such key.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// From before the read began.
    pub(super) read: Tick,
    pub(super) entry: Option<Arc<Entry>>,
}

type Landing = watch::Receiver<Option<Result<Found, Trouble>>>;

/// The store, and what is being read from it.
#[derive(Debug)]
pub(super) struct Reading {
    source: Arc<dyn KeySource>,
    runtime: Handle,
    turns: Semaphore,
    waiting: Semaphore,
    /// Anybody can choose digests: hashed with a key that nobody knows.
    flights: Mutex<HashMap<Sought, Landing>>,
    /// The last read failed. Until one succeeds, they are tried one at a time, and who comes meanwhile is answered at once:
    /// nobody waits in a queue for what is not there.
    failing: AtomicBool,
    /// When a key that cannot be judged was last told of: whoever has it may present it without end.
    told: Mutex<Option<Stopwatch>>,
}

/// Takes a flight out of the table when it has ended, however it ended.
struct Flight {
    shared: Arc<Shared>,
    sought: Sought,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(reading) = &self.shared.reading {
            reading.flights().remove(&self.sought);
        }
    }
}

impl Reading {
    pub(super) fn new(source: Arc<dyn KeySource>, runtime: Handle) -> Self {
        Self {
            source,
            runtime,
            turns: Semaphore::new(MOST_READS),
            waiting: Semaphore::new(MOST_WAITING),
            flights: Mutex::default(),
            failing: AtomicBool::default(),
            told: Mutex::default(),
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Sought, Landing>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more requests may wait.
    #[cfg(test)]
    pub(super) fn places_left(&self) -> usize {
        self.waiting.available_permits()
    }

    /// How many texts are being read or wait for their turn.
    #[cfg(test)]
    pub(super) fn texts(&self) -> usize {
        self.flights().len()
    }

    /// The record, if it is what was asked for.
    async fn record(&self, sought: &Sought) -> Result<Option<KeyInForce>, StoreError> {
        let record = self.source.find(&sought.realm, sought.digest).await?;
        let belongs = record.as_ref().is_none_or(|KeyInForce { key, owner, .. }| {
            *key.realm == *sought.realm && *owner.realm == *sought.realm && key.owner_id == owner.id
        });
        if belongs { Ok(record) } else { Err(StoreError::corrupt("a key and its owner are of different realms")) }
    }

    fn tell_of(&self, error: &StoreError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= BETWEEN_TELLING) {
            *told = Some(Stopwatch::start());
            tracing::error!(%error, "a key cannot be judged");
        }
    }

    /// Says so once when the trouble begins, and once when it has ended.
    fn report<T>(&self, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("keys can be read from the store again");
                }
                Some(value)
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(error, "keys cannot be read from the store: what is not in memory is answered 503");
                }
                None
            }
        }
    }
}

impl Shared {
    /// Reads `sought` from the store, or waits for whoever reads it already.
    pub(super) async fn read(
        self: &Arc<Self>,
        reading: &Reading,
        sought: &Sought,
    ) -> Result<Option<Arc<Entry>>, Trouble> {
        let _place = reading.waiting.try_acquire().map_err(|_| Trouble::Busy)?;
        let patiently = async {
            loop {
                let mut landing = self.flight(reading, sought)?;
                // It ends without an outcome when the store's runtime does.
                let landed = landing.wait_for(Option::is_some).await.map_err(|_| Trouble::Failing)?.clone();
                let Found { read, entry } = landed.unwrap_or(Err(Trouble::Failing))?;
                // The read may have begun before this request came, and before a change that is known here meanwhile.
                let holds = match &entry {
                    Some(entry) => entry.holds(&self.ledger),
                    None => self.ledger.holds_nothing(read, &sought.realm),
                };
                if holds {
                    return Ok(entry);
                }
            }
        };
        timeout(DEADLINE, patiently).await.unwrap_or(Err(Trouble::Slow))
    }

    /// The flight that reads `sought`; begins one where there is none.
    fn flight(self: &Arc<Self>, reading: &Reading, sought: &Sought) -> Result<Landing, Trouble> {
        let (landed, landing) = watch::channel(None);
        {
            let mut flights = reading.flights();
            if reading.failing.load(Ordering::Relaxed) && !flights.is_empty() {
                return Err(Trouble::Failing);
            }
            if let Some(landing) = flights.get(sought) {
                return Ok(landing.clone());
            }
            if flights.len() >= MOST_TEXTS {
                return Err(Trouble::Busy);
            }
            flights.insert(sought.clone(), landing.clone());
        }
        // Not under the lock: a runtime that has ended drops the task, and the flight with it, at once.
        let flight = Flight { shared: Arc::clone(self), sought: sought.clone() };
        reading.runtime.spawn(async move {
            let outcome = timeout(DEADLINE, flight.fly()).await.unwrap_or_else(|_| flight.too_slow());
            // Out of the table before anybody learns of it: who comes from now on finds it in the cache or reads anew.
            drop(flight);
            landed.send_replace(Some(outcome));
        });
        Ok(landing)
    }
}

impl Flight {
    async fn fly(&self) -> Result<Found, Trouble> {
        let Self { shared, sought } = self;
        let Some(reading) = &shared.reading else { return Err(Trouble::Failing) };
        let _turn = reading.turns.acquire().await.map_err(|_| Trouble::Failing)?;
        let read = shared.ledger.now();
        let record = match reading.record(sought).await {
            // One odd row is no outage of the rest.
            Err(error) if error.fault == Fault::Corrupt => {
                reading.tell_of(&error);
                return Err(Trouble::Failing);
            }
            outcome => reading.report(outcome.map_err(|error| error.to_string())).ok_or(Trouble::Failing)?,
        };
        Ok(Found { read, entry: shared.caches.keep(sought, record, read) })
    }

    fn too_slow(&self) -> Result<Found, Trouble> {
        if let Some(reading) = &self.shared.reading {
            _ = reading.report::<()>(Err(format!("no answer within {DEADLINE:?}")));
        }
        Err(Trouble::Slow)
    }
}
