//! Reading from the store: each text once, however many wait for it, and not too many texts at the same time. A read
//! outlives the request that asked for it first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::ledger::Tick;
use super::{Kept, KeySource, Shared, Sought};
use crate::clock::Stopwatch;
use crate::store::{Fault, StoreError};

/// Reads at the same time.
const MOST_READS: usize = 64;
/// Texts that are being read or wait for their turn.
const MOST_TEXTS: usize = 4096;
/// Of keys that cannot be judged is told so often at most.
const BETWEEN_TELLING: Duration = Duration::from_secs(10);
/// Requests that wait.
const MOST_WAITING: usize = 4096;

/// Why it cannot be told whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::verify) enum Trouble {
    /// The store does not do its work.
    Failing,
    /// It does not do it in time.
    Slow,
    /// Too much is asked of it already.
    Busy,
}

/// What was read. `entry`: none = there is no such thing.
#[derive(Debug)]
pub(super) struct Found<E> {
    /// From before the read began.
    pub(super) read: Tick,
    pub(super) entry: Option<Arc<E>>,
}

impl<E> Clone for Found<E> {
    fn clone(&self) -> Self {
        Self { read: self.read, entry: self.entry.clone() }
    }
}

type Landing<E> = watch::Receiver<Option<Result<Found<E>, Trouble>>>;

/// The store, and what is being read from it.
#[derive(Debug)]
pub(super) struct Reading<E: Kept> {
    source: Arc<dyn KeySource>,
    runtime: Handle,
    turns: Semaphore,
    waiting: Semaphore,
    /// Anybody can choose digests: hashed with a key that nobody knows.
    flights: Mutex<HashMap<Sought, Landing<E>>>,
    /// The last read failed. Until one succeeds, they are tried one at a time, and who comes meanwhile is answered at once:
    /// nobody waits in a queue for what is not there.
    failing: AtomicBool,
    /// When a key that cannot be judged was last told of: whoever has it may present it without end.
    told: Mutex<Option<Stopwatch>>,
}

/// Takes a flight out of the table when it has ended, however it ended.
struct Flight<E: Kept> {
    shared: Arc<Shared<E>>,
    sought: Sought,
}

impl<E: Kept> Drop for Flight<E> {
    fn drop(&mut self) {
        if let Some(reading) = &self.shared.reading {
            reading.flights().remove(&self.sought);
        }
    }
}

impl<E: Kept> Reading<E> {
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

    fn flights(&self) -> MutexGuard<'_, HashMap<Sought, Landing<E>>> {
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
    async fn record(&self, sought: &Sought) -> Result<Option<E::Record>, StoreError> {
        let record = E::find(&*self.source, sought).await?;
        let belongs = record.as_ref().is_none_or(|record| E::belongs(record, &sought.realm));
        if belongs { Ok(record) } else { Err(StoreError::corrupt("what belongs together is of different realms")) }
    }

    fn tell_of(&self, error: &StoreError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= BETWEEN_TELLING) {
            *told = Some(Stopwatch::start());
            tracing::error!(%error, what = E::WHAT, "one of these cannot be judged");
        }
    }

    /// Says so once when the trouble begins, and once when it has ended.
    fn report<T>(&self, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("{} can be read from the store again", E::WHAT);
                }
                Some(value)
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        error,
                        "{} cannot be read from the store: what is not in memory is answered 503",
                        E::WHAT
                    );
                }
                None
            }
        }
    }
}

impl<E: Kept> Shared<E> {
    /// Reads `sought` from the store, or waits for whoever reads it already.
    pub(super) async fn read(
        self: &Arc<Self>,
        reading: &Reading<E>,
        sought: &Sought,
    ) -> Result<Option<Arc<E>>, Trouble> {
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
        timeout(E::DEADLINE, patiently).await.unwrap_or(Err(Trouble::Slow))
    }

    /// The flight that reads `sought`; begins one where there is none.
    fn flight(self: &Arc<Self>, reading: &Reading<E>, sought: &Sought) -> Result<Landing<E>, Trouble> {
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
            let outcome = timeout(E::DEADLINE, flight.fly()).await.unwrap_or_else(|_| flight.too_slow());
            // Out of the table before anybody learns of it: who comes from now on finds it in the cache or reads anew.
            drop(flight);
            landed.send_replace(Some(outcome));
        });
        Ok(landing)
    }
}

impl<E: Kept> Flight<E> {
    async fn fly(&self) -> Result<Found<E>, Trouble> {
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

    fn too_slow(&self) -> Result<Found<E>, Trouble> {
        if let Some(reading) = &self.shared.reading {
            _ = reading.report::<()>(Err(format!("no answer within {:?}", E::DEADLINE)));
        }
        Err(Trouble::Slow)
    }
}
