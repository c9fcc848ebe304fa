//! What is known of one key set: the keys in use, which readers take without a lock, and the record of attempts, which
//! only those touch who did not find their key.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use super::flight::Flight;
use super::{KeyLookup, KeySetStatus, RemoteSpec};
use crate::clock::UnixMillis;
use crate::gate::outcome::Why;
use crate::jwt::{Algorithm, KeyFault, KeyRing, NoKey, ParsedKeySet, VerifyKey};

/// Requests that wait for one key set at the same time; more are turned away at once.
pub(super) const MOST_WAITERS: usize = 256;
/// Skipped keys that are logged one by one.
const MOST_SKIPPED_LOGGED: usize = 16;
/// Characters of a foreign key id in the log.
const LONGEST_LOGGED_KID: usize = 64;

/// Numbers contents of key sets in the whole process: two contents never share a number, not even across reloads.
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// Keys, and when they were fetched.
#[derive(Debug)]
struct Loaded {
    ring: Arc<KeyRing>,
    fetched_at: UnixMillis,
    generation: u64,
}

impl Loaded {
    fn usable(&self, spec: &RemoteSpec, now: UnixMillis) -> bool {
        now < self.fetched_at.plus(spec.max_stale)
    }
}

/// Why a look-up shows no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    NeverLoaded,
    Stale,
    NoSuchKey,
    /// Which a fresher set would not change.
    OtherAlgorithms,
}

/// What is to be done about a key that is missing.
pub(super) enum Advice {
    Answer(KeyLookup),
    Wait(Ticket),
}

/// A place among those who wait for an attempt to end.
pub(super) struct Ticket {
    landed: watch::Receiver<u64>,
    /// Whether the attempt begins after the look-up: only then does its result prove that a key does not exist.
    asked_for: bool,
    _seat: Seat,
}

impl Ticket {
    /// Waits for the end of the attempt, at most `limit`; false when the limit came first.
    pub(super) async fn wait(&mut self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, self.landed.changed()).await, Ok(Ok(())))
    }
}

/// Counts one waiter for as long as it lives: also when the client hangs up and the look-up is dropped.
struct Seat(Arc<State>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The state of one key set. Outlives the [`super::RemoteKeySet`] that began it when a reload keeps what it is about;
/// names and timings are no part of it, so they come with every call.
#[derive(Debug)]
pub(super) struct State {
    loaded: ArcSwapOption<Loaded>,
    flight: Mutex<Flight>,
    landed: watch::Sender<u64>,
    waiters: AtomicUsize,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            loaded: ArcSwapOption::empty(),
            flight: Mutex::default(),
            landed: watch::Sender::new(0),
            waiters: AtomicUsize::new(0),
        }
    }

    /// 0 before the first good fetch.
    pub(super) fn generation(&self) -> u64 {
        self.loaded.load().as_ref().map_or(0, |loaded| loaded.generation)
    }

    pub(super) fn usable(&self, spec: &RemoteSpec, now: UnixMillis) -> bool {
        self.loaded.load().as_ref().is_some_and(|loaded| loaded.usable(spec, now))
    }

    /// Looks at the keys in use; takes no lock.
    pub(super) fn look(
        &self,
        spec: &RemoteSpec,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: UnixMillis,
    ) -> Result<Vec<Arc<VerifyKey>>, Missing> {
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref().ok_or(Missing::NeverLoaded)?;
        if !loaded.usable(spec, now) {
            return Err(Missing::Stale);
        }
        loaded.ring.find(kid, algorithm).map_err(|why| match why {
            NoKey::OtherAlgorithms => Missing::OtherAlgorithms,
            NoKey::Unknown => Missing::NoSuchKey,
        })
    }

    /// What to do about a missing key: answer at once, or wait for an attempt.
    pub(super) fn advise(self: &Arc<Self>, spec: &RemoteSpec, missing: Missing, kid: &str, now: UnixMillis) -> Advice {
        let mut flight = self.lock();
        let (too_early, at_once) = match missing {
            Missing::Stale => {
                if !flight.pausing(spec, now) {
                    flight.wake_engine();
                }
                return Advice::Answer(KeyLookup::Unavailable(Why::KeySetStale));
            }
            Missing::OtherAlgorithms => return Advice::Answer(KeyLookup::OtherAlgorithms),
            Missing::NeverLoaded => (flight.pausing(spec, now), KeyLookup::Unavailable(Why::KeySetNeverLoaded)),
            Missing::NoSuchKey if flight.is_absent(spec, kid, now) => return Advice::Answer(KeyLookup::Unknown),
            Missing::NoSuchKey if flight.failing() => {
                (flight.cooling(spec, now), KeyLookup::Unavailable(Why::KeySetFailing))
            }
            Missing::NoSuchKey => (flight.cooling(spec, now), KeyLookup::Unknown),
        };
        if too_early && !flight.aloft {
            return Advice::Answer(at_once);
        }
        let Some(seat) = self.seat() else {
            // Nobody has looked yet: that the key is unknown would be a guess.
            let why = if missing == Missing::NoSuchKey { Why::KeySetFailing } else { Why::KeySetNeverLoaded };
            return Advice::Answer(KeyLookup::Unavailable(why));
        };
        let asked_for = !flight.aloft;
        if asked_for {
            flight.wanted = true;
            flight.wake_engine();
        }
        // Subscribed under the lock: an attempt announces its end under the same lock, so none can be missed.
        Advice::Wait(Ticket { landed: self.landed.subscribe(), asked_for, _seat: seat })
    }

    /// The answer about a key that is still not there after `ticket`'s attempt has ended.
    pub(super) fn conclude(&self, spec: &RemoteSpec, ticket: &Ticket, kid: &str, now: UnixMillis) -> KeyLookup {
        let mut flight = self.lock();
        if flight.failing() {
            return KeyLookup::Unavailable(Why::KeySetFailing);
        }
        if ticket.asked_for {
            flight.remember_absent(spec, kid, now);
        }
        KeyLookup::Unknown
    }

    /// Claims the next attempt if it is due, and remembers whom to wake for further ones. Whoever claims has to
    /// [`State::land`].
    pub(super) fn claim(&self, spec: &RemoteSpec, now: UnixMillis, engine: &Arc<Notify>) -> bool {
        let mut flight = self.lock();
        flight.serve(engine);
        flight.claim(spec, now)
    }

    /// Ends an attempt that began at `began` and releases all who wait for it.
    pub(super) fn land(&self, spec: &RemoteSpec, began: UnixMillis, result: Result<ParsedKeySet, String>) {
        match result {
            Ok(parsed) => self.land_well(spec, began, parsed),
            Err(error) => self.land_badly(spec, began, &error),
        }
    }

    fn land_well(&self, spec: &RemoteSpec, began: UnixMillis, ParsedKeySet { ring, skipped }: ParsedKeySet) {
        let keys = ring.len();
        // First the keys, then the announcement: those who are released must find them.
        let changed = self.put_in_force(began, ring);
        let (recovered, new_skips) = {
            let mut flight = self.lock();
            if changed {
                flight.forget_absent();
            }
            let news = (flight.succeed(), flight.note_skipped(&skipped));
            self.announce_end(&flight);
            news
        };

        if recovered {
            tracing::info!(issuer = %spec.name, "the key set can be fetched again");
        }
        if changed {
            tracing::info!(issuer = %spec.name, keys, "the usable keys of the key set have changed");
            if keys == 0 {
                tracing::warn!(issuer = %spec.name, "the key set holds no usable key");
            }
        }
        if new_skips {
            log_skipped(spec, &skipped);
        }
    }

    fn land_badly(&self, spec: &RemoteSpec, began: UnixMillis, error: &str) {
        let first = {
            let mut flight = self.lock();
            let first = flight.fail(error, self.usable(spec, began));
            self.announce_end(&flight);
            first
        };
        if first {
            tracing::warn!(issuer = %spec.name, error, "the key set cannot be fetched");
        }
    }

    /// Lets readers see the fetched keys; whether they differ from those before.
    fn put_in_force(&self, fetched_at: UnixMillis, ring: KeyRing) -> bool {
        let before = self.loaded.load();
        let same = before.as_ref().filter(|loaded| loaded.ring.same_keys(&ring));
        let changed = same.is_none();
        let (ring, generation) = match same {
            Some(loaded) => (Arc::clone(&loaded.ring), loaded.generation),
            None => (Arc::new(ring), NEXT_GENERATION.fetch_add(1, Ordering::Relaxed)),
        };
        self.loaded.store(Some(Arc::new(Loaded { ring, fetched_at, generation })));
        changed
    }

    /// Takes the guard as proof that the lock is held: see [`State::advise`].
    fn announce_end(&self, _held: &MutexGuard<'_, Flight>) {
        self.landed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn status(&self) -> KeySetStatus {
        let (fetched_at, keys) =
            self.loaded.load().as_ref().map_or((None, 0), |loaded| (Some(loaded.fetched_at), loaded.ring.len()));
        let flight = self.lock();
        KeySetStatus {
            refreshed: flight.refreshed,
            failed: flight.failed,
            fetched_at,
            keys,
            skipped: flight.skipped.iter().map(|(why, count)| (*why, *count)).collect(),
            last_error: flight.last_error.clone(),
        }
    }

    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let one_more = |taken: usize| (taken < MOST_WAITERS).then_some(taken.saturating_add(1));
        self.waiters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Seat(Arc::clone(self)))
    }

    /// A record whose writer panicked is still whole: every field is valid by itself.
    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Key ids come from outside: they are escaped and cut, and so many keys are named at most.
fn log_skipped(spec: &RemoteSpec, skipped: &[(String, KeyFault)]) {
    for (kid, fault) in skipped.iter().take(MOST_SKIPPED_LOGGED) {
        let kid: String = kid.chars().flat_map(char::escape_default).take(LONGEST_LOGGED_KID).collect();
        tracing::warn!(issuer = %spec.name, kid, why = fault.why, text = fault.text, "a key of the key set is not used");
    }
    if let Some(more) = skipped.len().checked_sub(MOST_SKIPPED_LOGGED).filter(|more| *more > 0) {
        tracing::warn!(issuer = %spec.name, more, "more keys of the key set are not used");
    }
}
