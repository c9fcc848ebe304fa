//! Listeners that are opened before anything runs: a port that is taken stops the start with a clear text, and the port
//! that was given for 0 is known.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::Stream;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::services::{Service as Listening, ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::watch;

use super::StartError;
use super::handover::{Estate, Inherited};
use super::shutdown::Stage;
use crate::config::Settings;

/// An open socket and the address it has.
pub(super) type Socket = (SocketAddr, TcpListener);

/// Opens the listener that `key` asks for, or takes it over from the process before.
pub(super) fn bind(key: &str, address: SocketAddr, inherited: &mut Inherited) -> Result<Socket, StartError> {
    let mut open = || {
        let listener = match inherited.take(room(key), &address.to_string()) {
            Some(socket) => TcpListener::from(socket),
            None => TcpListener::bind(address)?,
        };
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    };
    open().map_err(|source| StartError::Listen { key: key.to_owned(), address, source })
}

/// All listeners of a gateway.
pub(super) struct Sockets {
    pub(super) listen: Vec<Socket>,
    pub(super) admin: Socket,
}

impl Sockets {
    /// Opens those that `settings` ask for, or takes them over.
    pub(super) fn open(settings: &Settings, inherited: &mut Inherited) -> Result<Self, StartError> {
        let mut listen = Vec::new();
        for (n, address) in settings.listen.iter().enumerate() {
            listen.push(bind(&format!("server.listen[{n}]"), *address, inherited)?);
        }
        let admin = bind("admin.listen", settings.admin_listen, inherited)?;
        for address in inherited.left() {
            tracing::info!(address, "is listened at no longer as soon as the process before ends");
        }
        Ok(Self { listen, admin })
    }

    /// Enters them in what a successor gets.
    pub(super) fn enter(&self, settings: &Settings, estate: &Estate) -> Result<(), StartError> {
        let listen = settings.listen.iter().zip(&self.listen).map(|one| ("server.listen", one));
        for (room, (address, (_, socket))) in listen.chain([("admin.listen", (&settings.admin_listen, &self.admin))]) {
            estate.add(room, address, socket).map_err(StartError::Descriptors)?;
        }
        Ok(())
    }
}

/// `server.listen` of `server.listen[1]`: the position may change from one configuration to the next.
pub(super) fn room(key: &str) -> &str {
    key.split('[').next().unwrap_or(key)
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

/// A service of pingora on sockets that are open already: they are put into its table of inherited ones, under the same
/// text that the service looks for.
pub(super) struct Prebound<A> {
    service: Service<A>,
    sockets: Vec<(String, TcpListener)>,
    until: Option<ShutdownWatch>,
    stage: Option<watch::Sender<Stage>>,
}

impl<A> Prebound<A> {
    pub(super) fn new(mut service: Service<A>, sockets: Vec<Socket>) -> Self {
        let sockets: Vec<_> = sockets.into_iter().map(|(address, socket)| (address.to_string(), socket)).collect();
        for (address, _) in &sockets {
            // Whoever reads has a buffer of his own; another one of 64 KiB is what an idle connection would cost.
            let unbuffered = L4BufferSettings::default().read(0);
            service.add_listener(ListenerConfig::tcp(address).l4_buffer(unbuffered));
        }
        Self { service, sockets, until: None, stage: None }
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
        self.is(Stage::Accepting);
        Listening::start_service(&mut self.service, fds, shutdown, listeners_per_fd).await;
        self.is(Stage::Ended);
    }

    fn name(&self) -> &str {
        Listening::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        Listening::threads(&self.service)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Listening::listen_addresses(&self.service)
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
        let (address, _taken) =
            bind("server.listen[0]", ([127, 0, 0, 1], 0).into(), &mut Inherited::default()).unwrap();
        assert_ne!(address.port(), 0);
        let error = bind("server.listen[1]", address, &mut Inherited::default()).unwrap_err().to_string();
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
