//! What happened: metrics, the access log, operational logs. Reads records the core made; is never called by it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::gate::policy::Snapshot;
use crate::gate::request::RequestId;
use crate::gate::trail::Trail;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Sent to the upstream, and its answer passed on.
    Forwarded,
    /// Refused by the gate.
    Denied,
    /// Broken off: upstream out of reach, client gone, internal fault.
    Error,
}

/// Everything about one request that has ended.
#[derive(Debug)]
pub struct Ending<'a> {
    /// When it arrived.
    pub at: UnixMillis,
    /// Its id.
    pub request_id: &'a RequestId,
    /// What the gate found out.
    pub trail: &'a Trail,
    /// How it ended.
    pub outcome: Outcome,
    /// Status answered; 0 when nothing was.
    pub status: u16,
    /// Method.
    pub method: &'a str,
    /// Path as received, without the query.
    pub path: &'a str,
    /// Server of the upstream that was asked, as configured.
    pub server: Option<&'a str>,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// From the connection to the upstream until its answer ended.
    pub upstream: Option<Duration>,
    /// `1.0`, `1.1`, `2`.
    pub http_version: &'static str,
    /// `User-Agent`, if any.
    pub user_agent: Option<&'a str>,
    /// Socket address of the connection's other end.
    pub peer: Option<SocketAddr>,
}

/// Metric handles of one snapshot, resolved at load: the request path looks nothing up by label text.
#[derive(Debug)]
pub struct SnapshotMetrics {}

/// The process's telemetry.
#[derive(Debug)]
pub struct Telemetry {}

impl Telemetry {
    /// Handles for a snapshot that is about to be put in force.
    pub fn prepare(&self, _snapshot: &Snapshot) -> SnapshotMetrics {
        unimplemented!()
    }

    /// Records the end of a request: counters, histograms, one line of the access log.
    pub fn record(&self, _metrics: &SnapshotMetrics, _ending: &Ending<'_>) {
        unimplemented!()
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self, _current: &Snapshot) -> String {
        unimplemented!()
    }
}

#[allow(dead_code)]
type Shared = Arc<Telemetry>;
