//! What happened: metrics, the access log, operational logs. Reads records the core made; is never called by it.

mod access_log;
mod arrivals;
mod line;
pub mod logging;
mod metrics;
mod quiet;
mod redact;
mod refusals;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::gate::policy::Snapshot;
use crate::gate::request::RequestId;
use crate::gate::trail::Trail;

use access_log::AccessLog;
pub use arrivals::{Arrivals, OpenConnection};
use line::Names;
pub use metrics::{
    Figures, HandshakeResult, Handshakes, ServerFigure, ShownCertificate, SnapshotMetrics, StoreOperation, TurnedAway,
};
use metrics::{KeySetFigures, Labels, Metrics, Served};
pub use quiet::Quiet;
use redact::Redactor;
use refusals::Refusals;
use serde_json::Value;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Sent to the upstream, and its answer passed on.
    Forwarded,
    /// Answered by the gateway itself: a grant.
    Granted,
    /// Answered by the gateway itself: a preflight of CORS.
    Preflight,
    /// Sent to the upstream, where enforcement would have refused it.
    WouldDeny,
    /// Allowed, for a proxy that had asked and forwards it itself.
    Allowed,
    /// Refused by the gate.
    Denied,
    /// Allowed, begun, and broken off by the gateway because it would be refused by now.
    Ended,
    /// Broken off: upstream out of reach, client gone, internal fault.
    Error,
}

impl Outcome {
    /// Metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Granted => "granted",
            Self::Preflight => "preflight",
            Self::WouldDeny => "would_deny",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Ended => "ended",
            Self::Error => "error",
        }
    }
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

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Two metrics contradict each other: a fault of the program.
    #[error("the metrics cannot be declared: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gave no thread for the access log.
    #[error("the access log cannot be started: {0}")]
    AccessLog(#[from] std::io::Error),
}

/// The telemetry of one gateway. Nothing of it is global: two gateways in one process have one each.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    access_log: Option<AccessLog>,
    refusals: Refusals,
}

impl Telemetry {
    /// Telemetry of a gateway that started at `started`; without a sink there is no access log.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn new(started: UnixMillis, access_log: Option<Box<dyn Write + Send>>) -> Result<Self, TelemetryError> {
        let metrics = Metrics::new(started)?;
        let dropped = || metrics.access_log_dropped.clone();
        let access_log = access_log.map(|sink| AccessLog::start(sink, dropped())).transpose()?;
        Ok(Self { metrics, access_log, refusals: Refusals::default() })
    }

    /// Handles for a snapshot that is about to be put in force.
    pub fn prepare(&self, snapshot: &Snapshot) -> SnapshotMetrics {
        let realms = snapshot.realms.iter();
        let prefixes = realms.clone().flat_map(|realm| realm.api_keys.iter().map(|form| &*form.prefix));
        self.metrics.prepare(realms.map(|realm| Labels::of(realm)).collect(), Redactor::new(prefixes))
    }

    /// Records the end of a request: counters, histograms, one line of the access log. Never waits.
    pub fn record(&self, metrics: &SnapshotMetrics, ending: &Ending<'_>) {
        self.metrics.record(metrics, Served::of(ending.trail), ending);
        let denied = matches!(ending.outcome, Outcome::Denied | Outcome::Ended);
        if self.access_log.is_none() && !denied {
            return;
        }
        let made = line::made(ending, Names::of(ending), &metrics.redactor, |line| {
            if let Some(log) = &self.access_log {
                log.push(line);
            }
            if denied {
                self.refusals.keep(ending.request_id.as_str(), line);
            }
        });
        if !made {
            self.metrics.access_log_dropped.inc();
        }
    }

    /// The line of the access log about a refused request, if it is remembered.
    pub fn refused(&self, request_id: &str) -> Option<Value> {
        self.refusals.find(request_id)
    }

    /// The store was asked for something: what it took, and whether it was done.
    pub fn store_asked(&self, operation: StoreOperation, taken: Duration, done: bool) {
        self.metrics.store_asked(operation, taken, done);
    }

    /// Counters of the handshakes of one listener.
    pub fn handshakes(&self, listener: &str) -> Handshakes {
        self.metrics.tls.listener(listener)
    }

    /// These certificates are shown to clients from now on.
    pub fn certificates_shown(&self, certificates: Vec<ShownCertificate>) {
        self.metrics.tls.show(certificates);
    }

    /// Counts the connections of the listener that is called so.
    pub fn arrivals(&self, listener: &str) -> Arrivals {
        Arrivals::new(listener, &self.metrics.connections)
    }

    /// All metrics in the Prometheus text format (0.0.4).
    pub fn render(&self, current: &Snapshot, figures: &Figures, now: UnixMillis) -> String {
        self.metrics.render(&KeySetFigures::of(current), figures, now)
    }

    /// A new configuration is in force.
    pub fn reloaded(&self, now: UnixMillis) {
        self.metrics.reloaded(now);
    }

    /// A new configuration was refused; the old one stays.
    pub fn reload_refused(&self) {
        self.metrics.reload_refused();
    }

    /// Waits until the access log has been written as far as it was recorded, at most `at_most` long.
    pub fn flush(&self, at_most: Duration) {
        if let Some(log) = &self.access_log {
            log.flush(at_most);
        }
    }
}
