//! Connections of one listener: how many are open, which are turned away.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};

use super::metrics::{ConnectionMetrics, TurnedAway};
use super::quiet::Quiet;

/// Counts the connections of a listener and logs those that are turned away. Copies count together.
#[derive(Clone, Debug)]
pub struct Arrivals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listener: Box<str>,
    open: IntGauge,
    /// Of each reason a line is logged now and then: whoever is turned away may come again as often as he likes.
    refused: [(TurnedAway, IntCounter, Quiet); TurnedAway::ALL.len()],
}

impl Arrivals {
    pub(super) fn new(listener: &str, metrics: &ConnectionMetrics) -> Self {
        let refused = TurnedAway::ALL.map(|why| (why, metrics.refused(listener, why), Quiet::default()));
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
        if let Some(unsaid) = quiet.admit() {
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
