//! How far a service with listeners is, and its end: it is told when to close, and tells when nothing runs there any more.

use std::time::Duration;

use pingora::server::ShutdownWatch;
use tokio::sync::watch;

/// A connection that was accepted in the last moment is counted by then.
const LATE_ARRIVALS: Duration = Duration::from_millis(20);

/// Where a service with listeners stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not begun yet.
    Opening,
    /// It takes connections.
    Accepting,
    /// It takes no more.
    Ended,
}

/// What a service with listeners and its end know of each other.
pub(super) struct Course {
    /// Turns true when no more connections are to be accepted.
    closing: watch::Sender<bool>,
    stage: watch::Sender<Stage>,
    /// Open connections.
    open: watch::Sender<usize>,
}

impl Course {
    /// One that has not begun.
    pub(super) fn new() -> Self {
        Self {
            closing: watch::Sender::new(false),
            stage: watch::Sender::new(Stage::Opening),
            open: watch::Sender::new(0),
        }
    }

    /// Tells the listeners when to close.
    pub(super) fn listening(&self) -> ShutdownWatch {
        self.closing.subscribe()
    }

    /// To be told how far they are.
    pub(super) fn stage(&self) -> watch::Sender<Stage> {
        self.stage.clone()
    }

    /// To count open connections by.
    pub(super) fn connections(&self) -> watch::Sender<usize> {
        self.open.clone()
    }

    /// No more connections are to be accepted.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until the listeners are closed and the last connection has ended.
    pub(super) async fn ended(&self) {
        reached(&self.stage, |stage| *stage != Stage::Accepting).await;
        reached(&self.open, |open| *open == 0).await;
        tokio::time::sleep(LATE_ARRIVALS).await;
        reached(&self.open, |open| *open == 0).await;
    }
}

/// Waits until the value fulfils `condition`.
pub(super) async fn reached<T>(sender: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) {
    // An error would mean that the sender is gone, and we hold it.
    sender.subscribe().wait_for(condition).await.ok();
}
