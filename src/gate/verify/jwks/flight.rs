//! The record of attempts to fetch one key set: when the next is due, how the last ended, which key ids proved to be
//! unknown. Plain data with a little arithmetic; [`super::state`] guards it with a lock.
//!
//! What happened is kept, not what follows from it: a reload may change every duration, and then the new ones count.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::RemoteSpec;
use crate::clock::UnixMillis;
use crate::jwt::KeyFault;

/// Key ids remembered as unknown.
const MOST_ABSENT: usize = 1000;
/// An unknown key id is remembered for this many cool-downs.
const ABSENT_COOLDOWNS: u32 = 4;
/// First pause after a failure while there are no usable keys; doubles up to the cool-down.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The record.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// An attempt is being made.
    pub(super) aloft: bool,
    /// Somebody asks for an attempt as soon as the cool-down allows it.
    pub(super) wanted: bool,
    /// When the last attempt began, successful or not: pauses and cool-down count from here.
    began: Option<UnixMillis>,
    /// Failures in a row.
    failures: u32,
    /// Whether there were usable keys at the last failure.
    keys_serve: bool,
    /// Makes the pause after the last attempt a random one.
    dice: u32,
    /// Unknown key ids and when that was proven.
    absent: HashMap<Box<str>, UnixMillis>,
    /// Wakes the one who fetches.
    engine: Option<Arc<Notify>>,
    pub(super) refreshed: u64,
    pub(super) failed: u64,
    pub(super) skipped: BTreeMap<&'static str, u64>,
    /// Digest of which keys were skipped last time and why.
    skipped_mark: u64,
    pub(super) last_error: Option<String>,
}

impl Flight {
    /// Whether the last attempt that ended was a failure.
    pub(super) fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether the next attempt that nobody has to ask for is still to come.
    pub(super) fn pausing(&self, spec: &RemoteSpec, now: UnixMillis) -> bool {
        self.began.is_some_and(|began| apart(began, now) < self.pause(spec))
    }

    /// From the last attempt to the next that nobody has to ask for.
    fn pause(&self, spec: &RemoteSpec) -> Duration {
        let Some(earlier_failures) = self.failures.checked_sub(1) else {
            return between(spec.refresh, 900, 1000, self.dice);
        };
        if self.keys_serve {
            // There is no hurry, and an issuer in trouble is spared.
            return between(spec.cooldown, 1000, 1250, self.dice);
        }
        let doubled = FIRST_RETRY.saturating_mul(2u32.saturating_pow(earlier_failures));
        between(doubled.min(spec.cooldown), 750, 1000, self.dice)
    }

    /// Whether an unknown key id is no reason for an attempt yet.
    pub(super) fn cooling(&self, spec: &RemoteSpec, now: UnixMillis) -> bool {
        self.began.is_some_and(|began| apart(began, now) < spec.cooldown)
    }

    /// Begins an attempt if one is due. Claimed before the fetch, so that nothing that happens during it begins another.
    pub(super) fn claim(&mut self, spec: &RemoteSpec, now: UnixMillis) -> bool {
        let due = !self.pausing(spec, now) || (self.wanted && !self.cooling(spec, now));
        if self.aloft || !due {
            return false;
        }
        self.aloft = true;
        self.wanted = false;
        self.began = Some(now);
        true
    }

    /// Records a good end; whether failures came before it.
    pub(super) fn succeed(&mut self) -> bool {
        self.aloft = false;
        self.refreshed = self.refreshed.saturating_add(1);
        self.last_error = None;
        self.dice = roll();
        std::mem::take(&mut self.failures) > 0
    }

    /// Records a bad end; whether it is the first after a good one.
    pub(super) fn fail(&mut self, error: &str, keys_serve: bool) -> bool {
        self.aloft = false;
        self.failed = self.failed.saturating_add(1);
        self.last_error = Some(error.to_owned());
        self.failures = self.failures.saturating_add(1);
        self.keys_serve = keys_serve;
        self.dice = roll();
        self.failures == 1
    }

    /// Counts what was skipped; whether it differs from what was skipped the last time.
    pub(super) fn note_skipped(&mut self, skipped: &[(String, KeyFault)]) -> bool {
        let mut hasher = DefaultHasher::new();
        for (kid, fault) in skipped {
            (kid, fault.why).hash(&mut hasher);
            let count = self.skipped.entry(fault.why).or_default();
            *count = count.saturating_add(1);
        }
        let mark = hasher.finish();
        std::mem::replace(&mut self.skipped_mark, mark) != mark
    }

    /// Whether `kid` proved to be unknown a short while ago.
    pub(super) fn is_absent(&self, spec: &RemoteSpec, kid: &str, now: UnixMillis) -> bool {
        self.absent.get(kid).is_some_and(|proven| still_absent(spec, *proven, now))
    }

    /// Remembers that `kid` proved to be unknown; forgets nothing for it that still holds.
    pub(super) fn remember_absent(&mut self, spec: &RemoteSpec, kid: &str, now: UnixMillis) {
        if self.absent.len() >= MOST_ABSENT {
            self.absent.retain(|_, proven| still_absent(spec, *proven, now));
        }
        if self.absent.len() < MOST_ABSENT {
            self.absent.insert(kid.into(), now);
        }
    }

    /// The keys have changed: what was unknown may be known now.
    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// Whom to wake from now on.
    pub(super) fn serve(&mut self, engine: &Arc<Notify>) {
        if !self.engine.as_ref().is_some_and(|known| Arc::ptr_eq(known, engine)) {
            self.engine = Some(Arc::clone(engine));
        }
    }

    /// Wakes the one who fetches, if there is one already.
    pub(super) fn wake_engine(&self) {
        if let Some(engine) = &self.engine {
            engine.notify_one();
        }
    }
}

/// How far two moments are apart, whichever is first: requests carry a time that is a little older than the attempt,
/// and after the machine's clock was set back nothing must wait until it has caught up.
fn apart(a: UnixMillis, b: UnixMillis) -> Duration {
    a.since(b).max(b.since(a))
}

fn still_absent(spec: &RemoteSpec, proven: UnixMillis, now: UnixMillis) -> bool {
    apart(proven, now) < spec.cooldown.saturating_mul(ABSENT_COOLDOWNS)
}

/// `base` times a factor between `from` and `to` thousandths, which `dice` choose.
fn between(base: Duration, from: u32, to: u32, dice: u32) -> Duration {
    let width = to.saturating_sub(from).saturating_add(1);
    let step = dice.checked_rem(width).unwrap_or_default();
    base.saturating_mul(from.saturating_add(step)) / 1000
}

/// Instances must not knock all at once.
fn roll() -> u32 {
    getrandom::u32().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::verify::jwks::Location;

    fn spec() -> RemoteSpec {
        RemoteSpec {
            name: "idp".into(),
            location: Location::Url("https://id.example/keys".into()),
            ca: None,
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(30),
            max_stale: Duration::from_secs(86_400),
            timeout: Duration::from_secs(5),
            max_size: 1 << 19,
            algorithms: Vec::new(),
        }
    }

    const START: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn without_keys_the_pauses_grow_from_a_second_to_the_cool_down() {
        let (mut flight, spec) = (Flight::default(), spec());
        for most in [1, 2, 4, 8, 16, 30, 30, 30] {
            flight.fail("down", false);
            let (low, high) = (Duration::from_millis(most * 750), Duration::from_secs(most));
            assert!((low..=high).contains(&flight.pause(&spec)), "{most}: {:?}", flight.pause(&spec));
        }
        for _ in 0..100 {
            flight.fail("down", false);
        }
        assert!(flight.pause(&spec) <= spec.cooldown);
    }

    #[test]
    fn while_keys_serve_a_failure_is_repeated_after_the_cool_down_and_not_before() {
        let (mut flight, spec) = (Flight::default(), spec());
        flight.fail("down", true);
        assert!((spec.cooldown..=spec.cooldown * 5 / 4).contains(&flight.pause(&spec)), "{:?}", flight.pause(&spec));
    }

    #[test]
    fn a_refresh_is_never_later_than_configured() {
        let (mut flight, spec) = (Flight::default(), spec());
        for _ in 0..50 {
            flight.succeed();
            assert!((spec.refresh * 9 / 10..=spec.refresh).contains(&flight.pause(&spec)), "{:?}", flight.pause(&spec));
        }
    }

    #[test]
    fn changed_timings_count_from_the_last_attempt_on() {
        let (mut flight, spec) = (Flight::default(), spec());
        assert!(flight.claim(&spec, START));
        flight.succeed();
        flight.remember_absent(&spec, "gone", START);
        let hasty = RemoteSpec { refresh: spec.refresh / 10, cooldown: spec.cooldown / 10, ..spec.clone() };
        let soon = START.plus(hasty.refresh);
        assert!(flight.pausing(&spec, soon) && !flight.pausing(&hasty, soon));
        assert!(flight.is_absent(&spec, "gone", soon) && !flight.is_absent(&hasty, "gone", soon));
    }

    #[test]
    fn one_attempt_at_a_time_and_none_before_its_time() {
        let (mut flight, spec) = (Flight::default(), spec());
        assert!(flight.claim(&spec, START));
        assert!(!flight.claim(&spec, START.plus(spec.refresh)), "one is being made");
        flight.succeed();
        assert!(!flight.claim(&spec, START));
        flight.wanted = true;
        assert!(!flight.claim(&spec, START.plus(Duration::from_millis(29_999))));
        assert!(flight.claim(&spec, START.plus(Duration::from_secs(30))));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        let (mut flight, spec) = (Flight::default(), spec());
        assert!(flight.claim(&spec, START));
        flight.succeed();
        assert!(flight.claim(&spec, UnixMillis(START.0 - 86_400_000)));
    }

    #[test]
    fn unknown_key_ids_fill_a_bounded_memory_for_a_bounded_time() {
        let (mut flight, spec) = (Flight::default(), spec());
        for n in 0..5000 {
            flight.remember_absent(&spec, &format!("kid-{n}"), START);
        }
        assert_eq!(flight.absent.len(), MOST_ABSENT);
        assert!(flight.is_absent(&spec, "kid-0", START.plus(spec.cooldown)));
        let later = START.plus(spec.cooldown * ABSENT_COOLDOWNS);
        assert!(!flight.is_absent(&spec, "kid-0", later));
        flight.remember_absent(&spec, "new", later);
        assert_eq!(flight.absent.len(), 1);
    }

    #[test]
    fn skipped_keys_are_counted_always_and_are_news_once() {
        let mut flight = Flight::default();
        let skipped = vec![("enc-1".to_owned(), KeyFault { why: "use", text: "not for signatures".to_owned() })];
        assert!(flight.note_skipped(&skipped));
        assert!(!flight.note_skipped(&skipped));
        assert_eq!(flight.skipped.get("use"), Some(&2));
    }
}
