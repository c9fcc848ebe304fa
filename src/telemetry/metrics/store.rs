//! How the store does.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::declare::Declare;

/// Seconds: from a row in memory to a database that hardly answers.
const BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What the store is asked for: a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// A key that a request presents.
    KeyLookup,
    /// The session of a token that a request presents.
    SessionLookup,
    /// An opaque token that a request presents.
    TokenLookup,
    /// A look at the feed.
    Feed,
    /// Writing down when keys were used.
    Uses,
    /// Removing what has run out.
    Upkeep,
    /// A call of the admin API, from end to end.
    Admin,
}

impl StoreOperation {
    const ALL: [Self; 7] =
        [Self::KeyLookup, Self::SessionLookup, Self::TokenLookup, Self::Feed, Self::Uses, Self::Upkeep, Self::Admin];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyLookup => "key_lookup",
            Self::SessionLookup => "session_lookup",
            Self::TokenLookup => "token_lookup",
            Self::Feed => "feed",
            Self::Uses => "uses",
            Self::Upkeep => "upkeep",
            Self::Admin => "admin",
        }
    }
}

/// Handles of every operation.
#[derive(Debug)]
pub(super) struct StoreMetrics(Vec<(StoreOperation, Histogram, IntCounter)>);

impl StoreMetrics {
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let seconds = declare.histograms(
            "store_duration_seconds",
            "What the store took to do something, or to fail.",
            &["operation"],
            BUCKETS,
        )?;
        let errors = declare.counters("store_errors_total", "What the store failed to do.", &["operation"])?;
        let handles = |operation: StoreOperation| {
            let label = [operation.as_str()];
            (operation, seconds.with_label_values(&label), errors.with_label_values(&label))
        };
        Ok(Self(StoreOperation::ALL.into_iter().map(handles).collect()))
    }

    pub(super) fn record(&self, operation: StoreOperation, taken: Duration, done: bool) {
        if let Some((_, seconds, errors)) = self.0.iter().find(|(one, ..)| *one == operation) {
            seconds.observe(taken.as_secs_f64());
            if !done {
                errors.inc();
            }
        }
    }
}
