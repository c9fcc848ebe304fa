//! How a gateway ends.
//!
//! SIGTERM: readiness flips, connections are accepted for the delay, then the listeners close, then what runs may finish
//! within the grace; it is over as soon as nothing runs any more. SIGINT, or a second SIGTERM: at once. SIGQUIT: the
//! listeners go to a successor that waits for them (`handover`), and as soon as that one serves, this one ends as with
//! SIGTERM, without the delay. pingora would sleep for the whole grace, so it is told only when everything has been
//! waited for.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::watch;

use super::course::{Course, Stage, reached};
use super::handover::{Estate, Predecessor};
use super::orders::{Asked, Heard, Order};
use super::supervisor::Supervisor;
use super::{Health, LocalAddress};
use crate::config::Settings;

/// Waits for the order to end, and sees to an orderly end.
pub(super) struct Shutdown {
    delay: Duration,
    grace: Duration,
    signals: bool,
    orders: watch::Receiver<Order>,
    health: Arc<Health>,
    /// Where requests arrive.
    pub(super) proxy: Course,
    /// Where it is administered.
    pub(super) admin: Course,
    /// What a successor would be sent.
    pub(super) estate: Arc<Estate>,
    /// To be told when this process serves.
    predecessor: Mutex<Option<Predecessor>>,
    /// To be told that, too.
    supervisor: Supervisor,
    /// Where requests arrive, and the admin listener.
    announced: Option<(Vec<LocalAddress>, LocalAddress)>,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// At once.
    Stop,
    /// After the delay, when what runs is finished.
    Finish,
    /// When what runs is finished; a successor serves already.
    Succeeded,
}

impl Shutdown {
    pub(super) fn new(settings: &Settings, signals: bool, orders: watch::Receiver<Order>, health: Arc<Health>) -> Self {
        Self {
            delay: settings.shutdown_delay,
            grace: settings.shutdown_grace,
            signals,
            orders,
            health,
            proxy: Course::new(),
            admin: Course::new(),
            estate: Arc::new(Estate::new(settings.upgrade_socket.clone())),
            predecessor: Mutex::default(),
            supervisor: Supervisor::new(None),
            announced: None,
        }
    }

    /// Tells the supervisor and the process before that this one serves, as soon as it does.
    pub(super) fn telling(self, supervisor: Supervisor, predecessor: Option<Predecessor>) -> Self {
        Self { predecessor: Mutex::new(predecessor), supervisor, ..self }
    }

    /// Logs where is served, as soon as an order to end would be heard.
    pub(super) fn announcing(self, listen: Vec<LocalAddress>, admin: LocalAddress) -> Self {
        Self { announced: Some((listen, admin)), ..self }
    }

    /// Tells who wants to know that this process serves. In the background: it may be told to end before.
    fn tell(&self) {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let supervisor = self.supervisor.clone();
        let stages = [self.proxy.stage(), self.admin.stage()];
        tokio::spawn(async move {
            for stage in &stages {
                reached(stage, |stage| *stage != Stage::Opening).await;
            }
            // The supervisor first: when the process before ends, it must know of this one.
            supervisor.ready();
            if let Some(predecessor) = predecessor {
                predecessor.acknowledge();
            }
        });
    }

    /// Waits for a reason to end.
    async fn ending(&self, asked: &mut Asked) -> Ending {
        loop {
            let ending = match asked.next(Order::Run).await {
                Heard::Order(order) => of(order),
                Heard::Quit => self.hand_over(asked).await,
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    /// Sends the sockets to a successor; none when there is none that serves.
    async fn hand_over(&self, asked: &mut Asked) -> Option<Ending> {
        let estate = Arc::clone(&self.estate);
        let successor = match tokio::task::spawn_blocking(move || estate.send()).await.ok()? {
            Ok(successor) => successor,
            Err(error) => {
                tracing::warn!("SIGQUIT is ignored: {error}");
                return None;
            }
        };
        let pid = successor.pid;
        self.health.handed_over.store(true, Ordering::Release);
        tracing::info!(successor = pid, "the listening sockets were handed over; serving until the successor does");
        let mut answer = pin!(successor.serves());
        loop {
            tokio::select! {
                serves = &mut answer => {
                    if serves {
                        return Some(Ending::Succeeded);
                    }
                    self.health.handed_over.store(false, Ordering::Release);
                    tracing::error!(successor = pid, "the successor ended before it served; this process goes on");
                    return None;
                }
                heard = asked.next(Order::Run) => match heard {
                    Heard::Quit => tracing::warn!(successor = pid, "SIGQUIT is ignored: a successor starts already"),
                    Heard::Order(order) => {
                        if let Some(ending) = of(order) {
                            return Some(ending);
                        }
                    }
                },
            }
        }
    }

    /// The listeners are told before the senders are dropped: the engine would take that for a fault.
    fn stop(&self) -> ShutdownSignal {
        self.close_all();
        ShutdownSignal::FastShutdown
    }

    fn close_all(&self) {
        self.estate.clear();
        self.proxy.close();
        self.admin.close();
    }

    async fn finish(&self, ending: Ending) {
        if ending == Ending::Finish {
            tokio::time::sleep(self.delay).await;
        } else {
            self.admin.close(); // it is the successor who is asked now
        }
        self.estate.clear();
        self.proxy.close();
        let finished = async {
            self.proxy.ended().await;
            self.admin.close();
            self.admin.ended().await;
        };
        if tokio::time::timeout(self.grace, finished).await.is_err() {
            let open = self.proxy.open() + self.admin.open();
            tracing::warn!(open, "connections that did not end within server.shutdown_grace are broken off");
        }
        self.close_all();
    }
}

fn of(order: Order) -> Option<Ending> {
    match order {
        Order::Run => None,
        Order::Finish => Some(Ending::Finish),
        Order::Stop => Some(Ending::Stop),
    }
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let mut asked = Asked::new(self.signals, self.orders.clone());
        self.health.attentive.store(true, Ordering::Release);
        if let Some((listen, admin)) = &self.announced {
            tracing::info!(?listen, %admin, "serving");
        }
        self.tell();
        let ending = self.ending(&mut asked).await;
        // Where a successor serves, the place is ready still, and only he is asked from now on: whoever reached this
        // process at the last moment must not take the place for gone.
        self.health.stopping.store(ending != Ending::Succeeded, Ordering::Release);
        if ending != Ending::Succeeded {
            self.supervisor.stopping();
        }
        if ending == Ending::Stop {
            tracing::info!("stopping at once");
            return self.stop();
        }
        let delay = if ending == Ending::Finish { self.delay } else { Duration::ZERO };
        tracing::info!(?delay, grace = ?self.grace, "stopping when running requests are finished");
        tokio::select! {
            () = self.finish(ending) => ShutdownSignal::GracefulTerminate,
            () = asked.hurry() => self.stop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn shutdown(delay: Duration, grace: Duration) -> (watch::Sender<Order>, Shutdown) {
        let (orders, order) = watch::channel(Order::Run);
        (orders, Shutdown::new(&settings(delay, grace), false, order, Arc::default()))
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn readiness_flips_first_and_the_listeners_close_after_the_delay() {
        let (orders, shutdown) = shutdown(Duration::from_secs(5), LONG);
        shutdown.proxy.connections().send_replace(1);
        shutdown.proxy.stage().send_replace(Stage::Accepting);
        let listening = shutdown.proxy.listening();
        let observe = async {
            orders.send_replace(Order::Finish);
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert!(shutdown.health.stopping.load(Ordering::Acquire));
            assert!(!*listening.borrow(), "still accepting");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(*listening.borrow());
            shutdown.proxy.stage().send_replace(Stage::Ended);
            shutdown.proxy.connections().send_replace(0);
        };
        let (signal, ()) = tokio::join!(shutdown.recv(), observe);
        assert!(matches!(signal, ShutdownSignal::GracefulTerminate));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_when_the_last_connection_ends_and_not_when_the_grace_does() {
        let (orders, shutdown) = shutdown(Duration::ZERO, LONG);
        let begun = tokio::time::Instant::now();
        orders.send_replace(Order::Finish);
        shutdown.proxy.stage().send_replace(Stage::Ended);
        shutdown.recv().await;
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_within_the_grace_is_broken_off() {
        let (orders, shutdown) = shutdown(Duration::ZERO, Duration::from_secs(10));
        let begun = tokio::time::Instant::now();
        shutdown.proxy.connections().send_replace(1);
        orders.send_replace(Order::Finish);
        shutdown.proxy.stage().send_replace(Stage::Ended);
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
