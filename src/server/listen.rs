//! Services on sockets that are open before anything runs: a port that is taken stops the start with a clear text, and
//! the port that was given for 0 is known.

use std::fs::Permissions;
use std::future::poll_fn;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::Stream;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::services::{Service as Listening, ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::watch;

use super::course::Stage;
use super::socket::{LocalAddress, Socket, SocketFile};
use crate::telemetry::{Arrivals, OpenConnection, TurnedAway};

/// Services of pingora, one a listener, that share a runtime. Their sockets are open already: they are put into its table
/// of inherited ones, under the same text that each service looks for.
pub(super) struct Prebound<A> {
    services: Vec<Service<A>>,
    sockets: Vec<(String, Socket)>,
    until: Option<ShutdownWatch>,
    stage: Option<watch::Sender<Stage>>,
}

impl<A> Prebound<A> {
    /// What each service serves on its socket.
    pub(super) fn new(services: Vec<(Service<A>, Socket)>) -> Self {
        let bound = services.into_iter().map(|(mut service, socket)| {
            let name = name_of(&socket.address);
            let listener = match &socket.file {
                None => ListenerConfig::tcp(&name),
                Some(file) => ListenerConfig::uds(&name).permissions(Permissions::from_mode(file.mode)),
            };
            // Whoever reads has a buffer of his own; another one of 64 KiB is what an idle connection would cost.
            service.add_listener(listener.l4_buffer(L4BufferSettings::default().read(0)));
            (service, (name, socket))
        });
        let (services, sockets) = bound.unzip();
        Self { services, sockets, until: None, stage: None }
    }

    /// Stops accepting when `until` says so instead of when pingora does, and tells `stage` how far it is.
    pub(super) fn until(self, until: ShutdownWatch, stage: watch::Sender<Stage>) -> Self {
        Self { until: Some(until), stage: Some(stage), ..self }
    }

    fn is(&self, stage: Stage) {
        if let Some(told) = &self.stage {
            told.send_replace(stage);
        }
    }

    /// The files of Unix sockets, to be kept until nobody listens any more.
    pub(super) fn take_files(&mut self) -> Vec<SocketFile> {
        self.sockets.iter_mut().filter_map(|(_, socket)| socket.file.take()).collect()
    }
}

/// The text under which the engine knows a socket.
fn name_of(address: &LocalAddress) -> String {
    match address {
        LocalAddress::Inet(address) => address.to_string(),
        LocalAddress::Unix(path) => path.display().to_string(),
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServiceWithDependents for Prebound<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        if let Some(table) = &fds {
            let mut table = table.lock();
            for (name, socket) in self.sockets.drain(..) {
                table.add(name, socket.descriptor.into_raw_fd());
            }
        }
        ready.notify_ready(); // it is true: the sockets are open
        let shutdown = self.until.take().unwrap_or(shutdown);
        self.is(Stage::Accepting);
        let start = |service| Listening::start_service(service, fds.clone(), shutdown.clone(), listeners_per_fd);
        let mut running: Vec<_> = self.services.iter_mut().map(start).collect();
        poll_fn(|cx| {
            running.retain_mut(|service| service.as_mut().poll(cx).is_pending());
            if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(running);
        self.is(Stage::Ended);
    }

    fn name(&self) -> &str {
        self.services.first().map_or("", Listening::name)
    }

    fn threads(&self) -> Option<usize> {
        self.services.first().and_then(Listening::threads)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(self.services.iter().filter_map(Listening::listen_addresses).flatten().collect())
    }
}

/// An application whose open connections are counted, so that there are never too many, and a shutdown waits for them
/// and no longer.
pub(super) struct Counted<A> {
    app: Arc<A>,
    open: watch::Sender<usize>,
    most: usize,
    arrivals: Option<Arrivals>,
}

impl<A> Counted<A> {
    /// `open` counts the connections of all listeners together, `most` is how many there may be, and `arrivals` tells of
    /// them.
    pub(super) fn new(app: A, open: watch::Sender<usize>, most: usize, arrivals: Option<Arrivals>) -> Self {
        Self { app: Arc::new(app), open, most, arrivals }
    }
}

/// Counts for as long as it lives: also when a task panics or is dropped.
struct Open<'a> {
    count: &'a watch::Sender<usize>,
    _shown: Option<OpenConnection>,
}

impl<'a> Open<'a> {
    /// None: there are `most` already.
    fn new(count: &'a watch::Sender<usize>, most: usize, arrivals: Option<&Arrivals>) -> Option<Self> {
        let admitted = count.send_if_modified(|open| {
            let free = *open < most;
            *open += usize::from(free);
            free
        });
        admitted.then(|| Self { count, _shown: arrivals.map(Arrivals::opened) })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.count.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Some(_open) = Open::new(&self.open, self.most, self.arrivals.as_ref()) else {
            let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
            if let Some(arrivals) = &self.arrivals {
                arrivals.turned_away(TurnedAway::TooMany, peer);
            }
            return None; // closed at once, whatever it has sent
        };
        self.app.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::telemetry::Telemetry;

    #[test]
    fn a_connection_counts_until_it_ends_however_it_ends_and_none_too_many_is_admitted() {
        let (count, _) = watch::channel(0);
        let arrivals = Telemetry::new(UnixMillis(0), None).unwrap().arrivals("test");
        let open = || Open::new(&count, 2, Some(&arrivals));
        {
            let _one = open().unwrap();
            let two = open();
            assert_eq!(*count.borrow(), 2);
            assert!(open().is_none());
            drop(two);
            assert!(open().is_some());
        }
        assert_eq!(*count.borrow(), 0);
    }
}
