//! What goes on beside requests: keeping key sets and names fresh, checking upstream servers, noticing changes of the
//! configuration.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::runtime;
use tokio::signal::unix::SignalKind;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::orders::{arrival, listen_for};
use super::{Health, issuing};
use crate::clock::Clock;
use crate::gate::verify::jwks::{self, Fetch};
use crate::proxy::upstream::{Checks, Resolver};
use crate::proxy::{Gateway, Live};
use crate::reload::{Prepare, Reloader};
use crate::store::Store;

/// A task that ended by a fault is started again after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// The background of a gateway.
pub(super) struct Control {
    pub(super) gateway: Arc<Gateway>,
    pub(super) fetch: Arc<dyn Fetch>,
    /// Notified when a reload has put another snapshot in force.
    pub(super) in_force: Arc<Notify>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) checks: Arc<Checks>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) watch_every: Option<Duration>,
    pub(super) signals: bool,
    pub(super) health: Arc<Health>,
}

#[async_trait]
impl BackgroundService for Control {
    /// Ready when addresses of upstreams are known, or could not be had in (bounded) time. Key sets are not waited for: an issuer out
    /// of reach is the matter of its realm.
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let live = self.gateway.live.load_full();
        self.resolver.resolve_all(&live.snapshot).await;
        drop(live);
        self.health.serving.store(true, Ordering::Release);
        ready.notify_ready();

        let work = async {
            tokio::join!(
                keep_running("key sets", || self.keep_key_sets()),
                keep_running("names", || self.keep_names()),
                keep_running("health checks", || self.keep_checks()),
                keep_running("files", || watch_files(
                    Arc::clone(&self.reloader),
                    self.watch_every,
                    Arc::clone(&self.health)
                )),
                keep_running("SIGHUP", || obey_hangups(
                    Arc::clone(&self.reloader),
                    self.signals,
                    Arc::clone(&self.health)
                )),
            )
        };
        let stop = async {
            // An error means that nobody is left who could say so: the server is gone.
            shutdown.wait_for(|stop| *stop).await.ok();
        };
        tokio::select! {
            _ = work => {}
            () = stop => {}
        }
    }
}

impl Control {
    fn keep_key_sets(&self) -> impl Future<Output = ()> + Send + 'static {
        let gateway = Arc::clone(&self.gateway);
        let current = move || gateway.live.load().snapshot.remote_key_sets();
        let wake = Arc::clone(&self.in_force);
        jwks::maintain(current, wake, Arc::clone(&self.fetch), Arc::clone(&self.gateway.clock))
    }

    fn keep_names(&self) -> impl Future<Output = ()> + Send + 'static {
        let resolver = Arc::clone(&self.resolver);
        async move { resolver.maintain().await }
    }

    fn keep_checks(&self) -> impl Future<Output = ()> + Send + 'static {
        let (checks, gateway) = (Arc::clone(&self.checks), Arc::clone(&self.gateway));
        async move { checks.maintain(|| gateway.live.load_full()).await }
    }
}

/// Runs a task that is never to end, for ever: a fault in one must not end the others, nor itself for good.
pub(super) async fn keep_running<F>(what: &'static str, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new(); // ends its task when it is dropped
        task.spawn(start());
        task.join_next().await;
        tracing::error!(task = what, "a background task has ended and is started again");
        tokio::time::sleep(RESTART_AFTER).await;
    }
}

async fn watch_files(reloader: Arc<Reloader>, every: Option<Duration>, health: Arc<Health>) {
    let Some(every) = every else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        if health.ends() {
            continue; // the files are a successor's now
        }
        let reloader = Arc::clone(&reloader);
        // Its outcome is logged and counted where it is known.
        tokio::task::spawn_blocking(move || reloader.reload_if_changed().is_some()).await.ok();
    }
}

async fn obey_hangups(reloader: Arc<Reloader>, signals: bool, health: Arc<Health>) {
    if !signals {
        return std::future::pending().await;
    }
    let mut hangup = listen_for(SignalKind::hangup());
    loop {
        arrival(&mut hangup).await;
        if health.ends() {
            continue;
        }
        let reloader = Arc::clone(&reloader);
        tokio::task::spawn_blocking(move || reloader.reload_now().is_ok()).await.ok();
    }
}

/// Makes snapshots of a reload ready: the names of new upstreams are looked up before requests go there. Whoever reloads
/// waits for it (the look-up is bounded), on a thread of its own that no runtime needs.
///
/// `lender`: the store, and its runtime. Keys of realms that are new are made and read there; the
/// other realms' are known already.
pub(super) fn prepare(
    resolver: Arc<Resolver>,
    lender: Option<(Store, runtime::Handle)>,
    clock: Arc<dyn Clock>,
) -> Prepare {
    Box::new(move |snapshot, issuing, telemetry| {
        std::thread::scope(|scope| {
            if let Some((store, handle)) = &lender {
                let (issuing, now) = (&issuing, clock.now());
                let make = move || match handle.block_on(issuing::prepare(store, issuing, now)) {
                    Ok(()) => {}
                    Err(error) => tracing::warn!(%error, "signing keys are read later"),
                };
                if let Ok(thread) = std::thread::Builder::new().name("keys".into()).spawn_scoped(scope, make) {
                    thread.join().ok();
                }
            }
            let lookup = || match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    runtime.block_on(resolver.resolve_all(&snapshot));
                    runtime.shutdown_background(); // a look-up that hangs must not hold up anything
                }
                Err(error) => tracing::warn!(%error, "upstream names are looked up later"),
            };
            // Where there is no thread, or a fault ends it, names are left to the background.
            if let Ok(thread) = std::thread::Builder::new().name("names".into()).spawn_scoped(scope, lookup) {
                thread.join().ok();
            }
        });
        Live::prepare(snapshot, issuing, telemetry, &resolver)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_background_task_that_fails_is_started_again() {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        let failing = keep_running("test", move || {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            async move { assert!(n > 1, "fails twice") }
        });
        tokio::time::timeout(Duration::from_millis(4500), failing).await.unwrap_err();
        assert_eq!(starts.load(Ordering::SeqCst), 5);
    }
}
