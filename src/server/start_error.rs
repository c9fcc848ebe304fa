//! Why a gateway could not be started.

use std::io;

use super::HandoverError;
use super::socket::advice;
use crate::config::ListenAddress;
use crate::store::OpenError;
use crate::telemetry::TelemetryError;

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error("{key}: cannot listen on {address}: {source}; {advice}", advice = advice(address, source))]
    Listen {
        /// Key of the configuration.
        key: String,
        /// As configured.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
    /// Metrics or logs could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The store could not be opened: it is set up wrongly, or it is out of reach. Either ends the start; after the latter
    /// whoever supervises the process starts it again.
    #[error("store: {0}")]
    Store(#[from] OpenError),
    /// No process handed its sockets over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// There are too few descriptors for the listeners.
    #[error("the listening sockets cannot be kept for a successor: {0}")]
    Descriptors(#[source] io::Error),
    /// The system gave no threads for the store.
    #[error("the store's threads cannot be started: {0}")]
    Threads(#[source] io::Error),
}
