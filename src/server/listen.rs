//! Listeners that are opened before anything runs: a port that is taken stops the start with a clear text, and the port
//! that was given for 0 is known.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
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

use super::StartError;

/// An open socket and the address it has.
pub(super) type Socket = (SocketAddr, TcpListener);

/// Opens the listener that `key` asks for.
pub(super) fn bind(key: &str, address: SocketAddr) -> Result<Socket, StartError> {
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    };
    open().map_err(|source| StartError::Listen { key: key.to_owned(), address, source })
}

/// What a person can do about it.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "something listens there already: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): grant it, or choose a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address: choose one of its own",
        _ => "choose another address",
    }
}

/// Services of pingora, one a listener, that share a runtime. Their sockets are open already: they are put into its table
/// of inherited ones, under the same text that each service looks for.
pub(super) struct Prebound<A> {
    services: Vec<Service<A>>,
    sockets: Vec<(String, TcpListener)>,
    until: Option<ShutdownWatch>,
    ended: Option<watch::Sender<bool>>,
}

impl<A> Prebound<A> {
    /// What each service serves on its socket.
    pub(super) fn new(services: Vec<(Service<A>, Socket)>) -> Self {
        let bound = services.into_iter().map(|(mut service, (address, socket))| {
            let name = address.to_string();
            // Whoever reads has a buffer of his own; another one of 64 KiB is what an idle connection would cost.
            let unbuffered = L4BufferSettings::default().read(0);
            service.add_listener(ListenerConfig::tcp(&name).l4_buffer(unbuffered));
            (service, (name, socket))
        });
        let (services, sockets) = bound.unzip();
        Self { services, sockets, until: None, ended: None }
    }

    /// Stops accepting when `until` says so instead of when pingora does, and tells `ended` when it has.
    pub(super) fn until(self, until: ShutdownWatch, ended: watch::Sender<bool>) -> Self {
        Self { until: Some(until), ended: Some(ended), ..self }
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
            for (address, socket) in self.sockets.drain(..) {
                table.add(address, socket.into_raw_fd());
            }
        }
        ready.notify_ready(); // it is true: the sockets are open
        let shutdown = self.until.take().unwrap_or(shutdown);
        let start = |service| Listening::start_service(service, fds.clone(), shutdown.clone(), listeners_per_fd);
        let mut running: Vec<_> = self.services.iter_mut().map(start).collect();
        poll_fn(|cx| {
            running.retain_mut(|service| service.as_mut().poll(cx).is_pending());
            if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if let Some(ended) = &self.ended {
            ended.send_replace(true);
        }
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

/// An application whose open connections are counted, so that a shutdown waits for them and no longer.
pub(super) struct Counted<A> {
    app: Arc<A>,
    open: watch::Sender<usize>,
}

impl<A> Counted<A> {
    pub(super) fn new(app: A, open: watch::Sender<usize>) -> Self {
        Self { app: Arc::new(app), open }
    }
}

/// Counts for as long as it lives: also when a task panics or is dropped.
struct Open<'a>(&'a watch::Sender<usize>);

impl<'a> Open<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|open| *open += 1);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = Open::new(&self.open);
        self.app.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_told_with_its_key_and_what_to_do() {
        let (address, _taken) = bind("server.listen[0]", ([127, 0, 0, 1], 0).into()).unwrap();
        assert_ne!(address.port(), 0);
        let error = bind("server.listen[1]", address).unwrap_err().to_string();
        assert!(error.starts_with(&format!("server.listen[1]: cannot listen on {address}: ")), "{error}");
        assert!(error.ends_with("something listens there already: stop it, or choose another port"), "{error}");
    }

    #[test]
    fn a_connection_counts_until_it_ends_however_it_ends() {
        let (count, _) = watch::channel(0);
        {
            let _one = Open::new(&count);
            let _two = Open::new(&count);
            assert_eq!(*count.borrow(), 2);
        }
        assert_eq!(*count.borrow(), 0);
    }
}
