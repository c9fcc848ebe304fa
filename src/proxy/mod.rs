//! Between pingora and the gate: what arrives becomes the gate's view, what the gate decides becomes an answer or a
//! forwarded request. Nothing is decided here.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::gate::Gate;
use crate::gate::policy::Snapshot;
use crate::telemetry::{SnapshotMetrics, Telemetry};

/// A snapshot in force, with what is prepared for it. A request loads it once and keeps it to its end.
#[derive(Debug)]
pub struct Live {
    /// What decides.
    pub snapshot: Snapshot,
    /// Its metric handles.
    pub metrics: SnapshotMetrics,
}

/// What requests are served with; shared by all listeners.
#[derive(Debug)]
pub struct Gateway {
    /// Decides.
    pub gate: Gate,
    /// The snapshot in force.
    pub live: ArcSwap<Live>,
    /// Writes down.
    pub telemetry: Arc<Telemetry>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}
