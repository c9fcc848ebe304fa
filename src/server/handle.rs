//! Steering a gateway that runs in this process.

use std::sync::Arc;

use tokio::runtime;
use tokio::sync::watch;

use super::orders::Order;
use crate::config::{Config, Problems};
use crate::proxy::Gateway;
use crate::reload::Reloader;
use crate::store::Store;

/// Steers a gateway from another thread.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) orders: Arc<watch::Sender<Order>>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) store: Option<(Store, runtime::Handle)>,
}

impl Handle {
    /// Stops at once: running requests are broken off.
    pub fn stop(&self) {
        self.orders.send_replace(Order::Stop);
    }

    /// Stops as SIGTERM does: not ready any more, then no new connections, then running requests are finished.
    pub fn terminate(&self) {
        self.orders.send_if_modified(|order| {
            let first = *order == Order::Run;
            if first {
                *order = Order::Finish;
            }
            first
        });
    }

    /// Puts another configuration in force; blocks for as long as that takes. Returns its generation.
    ///
    /// # Errors
    /// Why the old configuration stays.
    pub fn reload(&self, config: Config) -> Result<u64, Problems> {
        self.reloader.apply(config)
    }

    /// Loads the configuration again from where it came.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// What requests are served with.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The open store, and where it may be asked: by tasks there, while the gateway runs.
    pub fn store(&self) -> Option<&(Store, runtime::Handle)> {
        self.store.as_ref()
    }
}
