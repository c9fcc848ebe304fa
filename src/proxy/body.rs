//! How slowly a client may send a body: a connection to an upstream waits for every part of it.

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::gate::policy::Timeouts;

/// Beyond the time for one write, a body may come as slowly as this, in bytes a second.
const SLOWEST: u64 = 500;
/// Where nothing else was said.
const PAUSE: Duration = Duration::from_secs(30);

/// The time that a client has for its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    begun: Stopwatch,
    pause: Duration,
    total: Duration,
    /// When the last part came, after `begun`.
    heard: Duration,
}

impl Pace {
    /// Of a body that is waited for since `begun`.
    pub(super) fn new(timeouts: Timeouts, begun: Stopwatch) -> Self {
        let total = timeouts.write.unwrap_or(PAUSE);
        // The wait for the upstream's answer runs meanwhile. A little less, so that it is the client who is called slow.
        let answer = timeouts.read.unwrap_or(PAUSE);
        Self { begun, pause: total.min(answer.saturating_sub(answer / 8)), total, heard: Duration::ZERO }
    }

    /// How long the next part may take after `bytes` of the body; none when the client has been too slow.
    pub(super) fn next(&mut self, bytes: u64) -> Option<Duration> {
        self.heard = self.begun.elapsed();
        self.after(self.heard, bytes)
    }

    /// Whether the client has been silent for too long. The engine bounds a pause itself, but not over HTTP/2: there the
    /// upstream's patience ends first, and this tells whose fault it is.
    pub(super) fn is_silent(self) -> bool {
        self.pause <= self.begun.elapsed().saturating_sub(self.heard)
    }

    fn after(self, elapsed: Duration, bytes: u64) -> Option<Duration> {
        let allowed = self.total.saturating_add(Duration::from_secs(bytes / SLOWEST));
        Some(allowed.checked_sub(elapsed)?.min(self.pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn a_body_may_pause_for_as_long_as_a_write_but_the_upstreams_patience_is_longer() {
        let pace = |read, write| Pace::new(Timeouts { read, write, ..Timeouts::default() }, Stopwatch::start());
        assert_eq!(pace(secs(60), secs(10)).after(Duration::ZERO, 0), secs(10));
        assert_eq!(pace(secs(8), secs(10)).after(Duration::ZERO, 0), secs(7));
        assert_eq!(pace(None, secs(10)).after(Duration::ZERO, 1 << 40), secs(10));
    }

    #[test]
    fn a_body_that_trickles_runs_out_of_time_and_a_steady_one_does_not() {
        let pace = Pace::new(Timeouts { write: secs(10), ..Timeouts::default() }, Stopwatch::start());
        assert_eq!(pace.after(Duration::from_secs(9), 499), secs(1));
        assert_eq!(pace.after(Duration::from_secs(11), 499), None);
        assert_eq!(pace.after(Duration::from_secs(11), 500), secs(0));
        assert_eq!(pace.after(Duration::from_secs(3600), 2_000_000), secs(10));
    }
}
