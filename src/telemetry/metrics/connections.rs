//! Metrics of connections, by listener.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::declare::Declare;

/// Why a connection was turned away before a byte of HTTP was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// There are as many connections as there may be.
    TooMany,
    /// There are as many from its address as there may be.
    TooManyOfAddress,
    /// Its peer may not send a PROXY header, and the listener takes no connection without.
    UntrustedPeer,
    /// What came instead of a PROXY header is none.
    ProxyHeader,
    /// What comes before the first request was not done in time.
    Slow,
}

impl TurnedAway {
    pub(in crate::telemetry) const ALL: [Self; 5] =
        [Self::TooMany, Self::TooManyOfAddress, Self::UntrustedPeer, Self::ProxyHeader, Self::Slow];

    /// Metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "max_connections",
            Self::TooManyOfAddress => "max_connections_per_address",
            Self::UntrustedPeer => "untrusted_peer",
            Self::ProxyHeader => "proxy_header",
            Self::Slow => "handshake_timeout",
        }
    }
}

#[derive(Debug)]
pub(in crate::telemetry) struct ConnectionMetrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
}

impl ConnectionMetrics {
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            open: declare.int_gauges("connections_open", "Connections that are open.", &["listener"])?,
            refused: declare.counters(
                "connections_refused_total",
                "Connections that were closed before a byte of HTTP was read.",
                &["listener", "why"],
            )?,
        })
    }

    pub(in crate::telemetry) fn open(&self, listener: &str) -> IntGauge {
        self.open.with_label_values(&[listener])
    }

    pub(in crate::telemetry) fn refused(&self, listener: &str, why: TurnedAway) -> IntCounter {
        self.refused.with_label_values(&[listener, why.as_str()])
    }
}
