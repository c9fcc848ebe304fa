//! A body on its way to an upstream: how slowly a client may send it, as a connection waits for every part of it, and its
//! end.

use std::time::Duration;

use bytes::Bytes;

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

/// Makes the end of a body one. A body of HTTP/2 may end with a part of nothing: the engine would write that as a chunk of
/// nothing, which is the end, and then the end. What is left over would stand before the next request on the connection.
pub(super) fn end_once(part: &mut Option<Bytes>, end: bool) {
    if end && part.as_ref().is_some_and(Bytes::is_empty) {
        *part = None;
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
