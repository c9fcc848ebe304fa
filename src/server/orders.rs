//! What a gateway is told to do: by signals, and by whoever holds its handle.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What the gateway is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Run,
    /// End when what runs is finished.
    Finish,
    /// End now.
    Stop,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// This is to be done.
    Order(Order),
    /// Hand over.
    Quit,
}

/// Signals of the process and orders of a handle.
pub(super) struct Asked {
    orders: watch::Receiver<Order>,
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    quit: Option<Signal>,
    /// Obeyed elsewhere, and taken over from the system here: one that comes early must not end the process.
    _hangup: Option<Signal>,
}

impl Asked {
    /// Listens for signals, if it is to, and for `orders`.
    pub(super) fn new(signals: bool, orders: watch::Receiver<Order>) -> Self {
        let on = |kind| if signals { listen_for(kind) } else { None };
        Self {
            orders,
            terminate: on(SignalKind::terminate()),
            interrupt: on(SignalKind::interrupt()),
            quit: on(SignalKind::quit()),
            _hangup: on(SignalKind::hangup()),
        }
    }

    /// The next signal, or an order that goes beyond `present`.
    pub(super) async fn next(&mut self, present: Order) -> Heard {
        let Self { orders, terminate, interrupt, quit, _hangup } = self;
        let ordered = async {
            let beyond = orders.wait_for(|order| *order != Order::Run && *order != present);
            let order = beyond.await.map(|order| *order).ok();
            match order {
                Some(order) => order,
                None => pending().await, // no handle is left: only signals remain
            }
        };
        tokio::select! {
            order = ordered => Heard::Order(order),
            () = arrival(terminate) => Heard::Order(Order::Finish),
            () = arrival(interrupt) => Heard::Order(Order::Stop),
            () = arrival(quit) => Heard::Quit,
        }
    }

    /// Waits until somebody who has ordered an end wants it at once.
    pub(super) async fn hurry(&mut self) {
        while self.next(Order::Finish).await == Heard::Quit {
            tracing::warn!("SIGQUIT is ignored: this process ends already");
        }
    }
}

/// Takes a signal over from the system's default; none if the system refuses.
pub(super) fn listen_for(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, ?kind, "a signal cannot be listened for")).ok()
}

/// Keeps SIGQUIT from ending this process: whoever sends it to two processes means the other one.
pub(super) fn outlive_quit() {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        // What was taken over stays taken over.
        Ok(runtime) => drop(runtime.block_on(async { listen_for(SignalKind::quit()) })),
        Err(error) => tracing::error!(%error, "SIGQUIT cannot be listened for"),
    }
}

/// Waits for a signal; for ever if it cannot come.
pub(super) async fn arrival(signal: &mut Option<Signal>) {
    let arrived = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if arrived.is_none() {
        pending().await
    }
}
