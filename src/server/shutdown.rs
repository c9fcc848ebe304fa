//! How a gateway ends.
//!
//! SIGTERM: readiness flips, connections are accepted for the delay, then the listeners close, then what runs may finish
//! within the grace; it is over as soon as nothing runs any more. SIGINT, or a second SIGTERM: at once. pingora would
//! sleep for the whole grace, so it is told only when everything has been waited for.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Health;
use crate::config::Settings;

/// A connection that was accepted in the last moment is counted by then.
const LATE_ARRIVALS: Duration = Duration::from_millis(20);

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

/// Waits for the order to end, and sees to an orderly end.
pub(super) struct Shutdown {
    delay: Duration,
    grace: Duration,
    signals: bool,
    orders: watch::Receiver<Order>,
    health: Arc<Health>,
    /// Turns true when no more connections are to be accepted.
    closing: watch::Sender<bool>,
    /// Turns true when none are.
    closed: watch::Sender<bool>,
    /// Open connections.
    open: watch::Sender<usize>,
    /// Where requests arrive, and the admin listener.
    announced: Option<(Vec<SocketAddr>, SocketAddr)>,
}

impl Shutdown {
    pub(super) fn new(settings: &Settings, signals: bool, orders: watch::Receiver<Order>, health: Arc<Health>) -> Self {
        Self {
            delay: settings.shutdown_delay,
            grace: settings.shutdown_grace,
            signals,
            orders,
            health,
            closing: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            open: watch::Sender::new(0),
            announced: None,
        }
    }

    /// Logs where is served, as soon as an order to end would be heard.
    pub(super) fn announcing(self, listen: Vec<SocketAddr>, admin: SocketAddr) -> Self {
        Self { announced: Some((listen, admin)), ..self }
    }

    /// Tells the listeners when to close.
    pub(super) fn listening(&self) -> ShutdownWatch {
        self.closing.subscribe()
    }

    /// To be told when they have.
    pub(super) fn listeners_ended(&self) -> watch::Sender<bool> {
        self.closed.clone()
    }

    /// To count open connections by.
    pub(super) fn connections(&self) -> watch::Sender<usize> {
        self.open.clone()
    }

    /// The listeners are told before the senders are dropped: the engine would take that for a fault.
    fn stop(&self) -> ShutdownSignal {
        self.closing.send_replace(true);
        ShutdownSignal::FastShutdown
    }

    async fn finish(&self) {
        tokio::time::sleep(self.delay).await;
        self.closing.send_replace(true);
        let finished = async {
            reached(&self.closed, |closed| *closed).await;
            reached(&self.open, |open| *open == 0).await;
            tokio::time::sleep(LATE_ARRIVALS).await;
            reached(&self.open, |open| *open == 0).await;
        };
        if tokio::time::timeout(self.grace, finished).await.is_err() {
            let open = *self.open.borrow();
            tracing::warn!(open, "connections that did not end within server.shutdown_grace are broken off");
        }
    }
}

/// Waits until the value fulfils `condition`.
async fn reached<T>(sender: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) {
    // An error would mean that the sender is gone, and we hold it.
    sender.subscribe().wait_for(condition).await.ok();
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let mut asked = Asked::new(self.signals, self.orders.clone());
        self.health.attentive.store(true, Ordering::Release);
        if let Some((listen, admin)) = &self.announced {
            tracing::info!(?listen, %admin, "serving");
        }
        let first = asked.next(Order::Run).await;
        self.health.stopping.store(true, Ordering::Release);
        if first == Order::Stop {
            tracing::info!("stopping at once");
            return self.stop();
        }
        tracing::info!(delay = ?self.delay, grace = ?self.grace, "stopping when running requests are finished");
        tokio::select! {
            () = self.finish() => ShutdownSignal::GracefulTerminate,
            _ = asked.next(Order::Finish) => self.stop(),
        }
    }
}

/// Signals of the process and orders of a handle.
struct Asked {
    orders: watch::Receiver<Order>,
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    quit: Option<Signal>,
    /// Obeyed elsewhere, and taken over from the system here: one that comes early must not end the process.
    _hangup: Option<Signal>,
}

impl Asked {
    fn new(signals: bool, orders: watch::Receiver<Order>) -> Self {
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
    async fn next(&mut self, present: Order) -> Order {
        let Self { orders, terminate, interrupt, quit, _hangup } = self;
        let ordered = async {
            let beyond = orders.wait_for(|order| *order != Order::Run && *order != present);
            let order = beyond.await.map(|order| *order).ok();
            match order {
                Some(order) => order,
                None => pending().await, // no handle is left: only signals remain
            }
        };
        let ignoring_quit = async {
            loop {
                arrival(quit).await;
                tracing::warn!("SIGQUIT is ignored: handing over to a successor is not supported");
            }
        };
        tokio::select! {
            order = ordered => order,
            () = arrival(terminate) => Order::Finish,
            () = arrival(interrupt) => Order::Stop,
            () = ignoring_quit => pending().await,
        }
    }
}

/// Takes a signal over from the system's default; none if the system refuses.
pub(super) fn listen_for(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, ?kind, "a signal cannot be listened for")).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shutdown(delay: Duration, grace: Duration) -> (watch::Sender<Order>, Shutdown) {
        let settings = Settings {
            listen: Vec::new(),
            http2: Vec::new(),
            threads: 1,
            header_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            shutdown_delay: delay,
            shutdown_grace: grace,
            admin_listen: ([127, 0, 0, 1], 0).into(),
            log: crate::config::LogSettings { json: true, level: "info".into(), access: false },
            cache_tokens: 0,
            cache_keys: 0,
            store: None,
        };
        let (orders, order) = watch::channel(Order::Run);
        (orders, Shutdown::new(&settings, false, order, Arc::default()))
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn readiness_flips_first_and_the_listeners_close_after_the_delay() {
        let (orders, shutdown) = shutdown(Duration::from_secs(5), LONG);
        shutdown.open.send_replace(1);
        let listening = shutdown.listening();
        let observe = async {
            orders.send_replace(Order::Finish);
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert!(shutdown.health.stopping.load(Ordering::Acquire));
            assert!(!*listening.borrow(), "still accepting");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(*listening.borrow());
            shutdown.closed.send_replace(true);
            shutdown.open.send_replace(0);
        };
        let (signal, ()) = tokio::join!(shutdown.recv(), observe);
        assert!(matches!(signal, ShutdownSignal::GracefulTerminate));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_when_the_last_connection_ends_and_not_when_the_grace_does() {
        let (orders, shutdown) = shutdown(Duration::ZERO, LONG);
        let begun = tokio::time::Instant::now();
        orders.send_replace(Order::Finish);
        shutdown.closed.send_replace(true);
        shutdown.recv().await;
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_within_the_grace_is_broken_off() {
        let (orders, shutdown) = shutdown(Duration::ZERO, Duration::from_secs(10));
        let begun = tokio::time::Instant::now();
        shutdown.open.send_replace(1);
        orders.send_replace(Order::Finish);
        shutdown.closed.send_replace(true);
        shutdown.recv().await;
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_to_stop_is_obeyed_at_once_and_cuts_a_grace_short() {
        let (orders, first) = shutdown(LONG, LONG);
        orders.send_replace(Order::Stop);
        assert!(matches!(first.recv().await, ShutdownSignal::FastShutdown));

        let (orders, second) = shutdown(LONG, LONG);
        orders.send_replace(Order::Finish);
        let hurry = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            orders.send_replace(Order::Stop);
        };
        let (signal, ()) = tokio::join!(second.recv(), hurry);
        assert!(matches!(signal, ShutdownSignal::FastShutdown));
    }
}
