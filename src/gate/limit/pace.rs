//! The arithmetic of a limit: the generic cell rate algorithm as a pure function of one number and the time.

use std::time::Duration;

use super::Rate;
use crate::clock::UnixMillis;

/// A counter that was never counted on.
pub(super) const UNUSED: i64 = i64::MIN;

/// A request may be judged by a time this much older than that of the request before it: it was held up, or the clock
/// was put right a little. A larger difference means that the clock was set back.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(15);

const TOLERANCE_NANOS: i64 = 15_000_000_000;

/// A hundred years: the sum of this and any time stays far from overflow.
const MAX_NANOS: i64 = 3_155_760_000_000_000_000;

/// A rate and a burst, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Requests in a period.
    pub(super) limit: u32,
    /// Time that one request uses up.
    interval: i64,
    /// Time that may be used up at once: the burst.
    window: i64,
}

/// The state of one counter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// What the counter should hold: differs from what it holds when the clock was set back.
    pub(super) full_at: i64,
    pub(super) allowed: bool,
    pub(super) remaining: u32,
    pub(super) reset: Duration,
    pub(super) retry_after: Duration,
    now: i64,
}

impl Pace {
    pub(super) fn new(rate: Rate, burst: Option<u32>) -> Self {
        let period = i64::try_from(rate.per.as_nanos()).unwrap_or(MAX_NANOS).min(MAX_NANOS);
        let interval = (period / i64::from(rate.count.max(1))).max(1);
        let burst = i64::from(burst.unwrap_or(rate.count).max(1));
        Self { limit: rate.count, interval, window: interval.saturating_mul(burst).min(MAX_NANOS) }
    }

    /// How long an empty bucket takes to fill.
    pub(super) fn refill(&self) -> Duration {
        nanos(self.window)
    }

    /// The state of a counter that will be full at `full_at`.
    pub(super) fn state(&self, full_at: i64, now: UnixMillis) -> State {
        let now = now.0.saturating_mul(1_000_000);
        let latest = now.saturating_add(self.window);
        // Without this a clock that was set back would refuse until it has caught up with its own past.
        let set_back = full_at > latest.saturating_add(TOLERANCE_NANOS);
        self.at(if set_back { latest } else { full_at }, now)
    }

    fn at(&self, full_at: i64, now: i64) -> State {
        let used = full_at.saturating_sub(now).max(0);
        let missing = used.saturating_add(self.interval).saturating_sub(self.window).max(0);
        let remaining = self.window.saturating_sub(used).max(0) / self.interval;
        State {
            full_at,
            allowed: missing == 0,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: nanos(used),
            retry_after: nanos(missing),
            now,
        }
    }
}

impl State {
    /// What the counter holds once the request is counted, and the state then. The request itself stays allowed, even
    /// if it was the last one.
    pub(super) fn counted(self, pace: &Pace) -> (i64, Self) {
        let full_at = self.full_at.max(self.now).saturating_add(pace.interval);
        (full_at, Self { allowed: true, retry_after: Duration::ZERO, ..pace.at(full_at, self.now) })
    }
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}
