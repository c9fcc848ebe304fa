//! Connections of one listener: how many are open, which are turned away.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};

use super::metrics::{ConnectionMetrics, TurnedAway};
use crate::clock::Stopwatch;

/// Of each reason one line at most in this time: whoever is turned away may come again as often as he likes.
const QUIET: Duration = Duration::from_secs(10);

/// Counts the connections of a listener and logs those that are turned away. Copies count together.
#[derive(Clone, Debug)]
pub struct Arrivals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listener: Box<str>,
    open: IntGauge,
    refused: [(TurnedAway, IntCounter, Mutex<Quiet>); TurnedAway::ALL.len()],
}

/// What is not logged, since when.
#[derive(Debug, Default)]
struct Quiet {
    since: Option<Stopwatch>,
    unsaid: u64,
}

impl Quiet {
    /// How many were not logged since the last one, if this one is.
    fn admit(&mut self) -> Option<u64> {
        if self.since.is_some_and(|since| since.elapsed() < QUIET) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.since = Some(Stopwatch::start());
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Arrivals {
    pub(super) fn new(listener: &str, metrics: &ConnectionMetrics) -> Self {
        let refused = TurnedAway::ALL.map(|why| (why, metrics.refused(listener, why), Mutex::default()));
        Self(Arc::new(Inner { listener: listener.into(), open: metrics.open(listener), refused }))
    }

    /// A connection is open from now on, until what is returned is dropped.
    pub fn opened(&self) -> OpenConnection {
        self.0.open.inc();
        OpenConnection(self.0.open.clone())
    }

    /// A connection from `peer` is turned away.
    pub fn turned_away(&self, why: TurnedAway, peer: Option<SocketAddr>) {
        let Some((_, count, quiet)) = self.0.refused.iter().find(|(reason, ..)| *reason == why) else { return };
        count.inc();
        let unsaid = quiet.lock().unwrap_or_else(PoisonError::into_inner).admit();
        if let Some(unsaid) = unsaid {
            let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
            tracing::warn!(
                listener = &*self.0.listener,
                peer,
                why = why.as_str(),
                unsaid,
                "a connection is refused; of this reason the next line comes in 10 seconds at the earliest"
            );
        }
    }
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_one_line_that_tells_how_many_there_were_before() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.admit(), Some(0));
        for _ in 0..1000 {
            assert_eq!(quiet.admit(), None);
        }
        assert_eq!(quiet.unsaid, 1000);
        quiet.since = None;
        assert_eq!(quiet.admit(), Some(1000));
        assert_eq!(quiet.admit(), None);
    }
}
