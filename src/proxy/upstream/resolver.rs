//! Names of upstream servers to addresses, in the background: a request never waits for DNS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gate::policy::{ServerAddress, Snapshot};

/// How often names are asked for again.
const REFRESH: Duration = Duration::from_secs(10);
/// How long is waited for all names at start and at a reload, and for the answers of one refresh.
const PATIENCE: Duration = Duration::from_secs(3);

/// A server of an upstream with the addresses it has now.
#[derive(Debug)]
pub(in crate::proxy) struct Server {
    address: ServerAddress,
    label: Box<str>,
    literal: bool,
    found: ArcSwap<Vec<SocketAddr>>,
}

impl Server {
    fn new(address: &ServerAddress) -> Self {
        let host = address.host.trim_start_matches('[').trim_end_matches(']');
        let literal = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, address.port));
        let label =
            if host.contains(':') { format!("[{host}]:{}", address.port) } else { format!("{host}:{}", address.port) };
        Self {
            address: address.clone(),
            label: label.into(),
            literal: literal.is_some(),
            found: ArcSwap::from_pointee(literal.into_iter().collect()),
        }
    }

    /// `host:port` as configured.
    pub(in crate::proxy) fn label(&self) -> &str {
        &self.label
    }

    /// The address whose turn it is; none while the name is not resolved.
    pub(in crate::proxy) fn address(&self, turn: usize) -> Option<SocketAddr> {
        let found = self.found.load();
        found.get(turn.checked_rem(found.len())?).copied()
    }

    fn resolved(&self) -> bool {
        !self.found.load().is_empty()
    }

    /// Takes an answer over; the last good one stays when it is none.
    fn learn(&self, answer: io::Result<Vec<SocketAddr>>) {
        match answer {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                if **self.found.load() != addresses {
                    tracing::info!(server = self.label(), ?addresses, "the addresses of an upstream server changed");
                    self.found.store(Arc::new(addresses));
                }
            }
            Ok(_) => tracing::warn!(server = self.label(), "the name of an upstream server has no addresses"),
            Err(error) => tracing::warn!(server = self.label(), %error, "an upstream server could not be resolved"),
        }
    }

    async fn look_up(self: Arc<Self>) {
        let host = &*self.address.host;
        let answer = tokio::net::lookup_host((host, self.address.port)).await;
        self.learn(answer.map(Iterator::collect));
    }
}

/// All servers of the snapshots in use. Outlives reloads: a name that is known stays known.
#[derive(Debug, Default)]
pub struct Resolver {
    servers: Mutex<HashMap<ServerAddress, Arc<Server>>>,
}

impl Resolver {
    /// Looks up what `snapshot` needs and is not known yet, and forgets what nobody uses any more. Returns when all is
    /// known, but after three seconds at the latest: what is still unknown then is a warning in the log, and its
    /// requests get 502 until [`Resolver::maintain`] finds it.
    pub async fn resolve_all(&self, snapshot: &Snapshot) {
        let upstreams = snapshot.realms.iter().flat_map(|realm| &realm.upstreams);
        let wanted: Vec<_> =
            upstreams.flat_map(|upstream| &upstream.servers).map(|address| self.server(address)).collect();
        // One reference is the table's own.
        self.table().retain(|_, server| Arc::strong_count(server) > 1);
        let unknown = self.all().into_iter().filter(|server| !server.resolved());
        look_up(unknown).await;
        for server in wanted.iter().filter(|server| !server.resolved()) {
            tracing::warn!(server = server.label(), "an upstream server has no address yet; its requests get 502");
        }
    }

    /// Asks for all names again and again; runs until dropped. Belongs in the runtime for background work.
    pub async fn maintain(&self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            look_up(self.all().into_iter().filter(|server| !server.literal)).await;
        }
    }

    /// The server at `address`, new or known.
    pub(super) fn server(&self, address: &ServerAddress) -> Arc<Server> {
        let mut table = self.table();
        let server = table.entry(address.clone()).or_insert_with(|| Arc::new(Server::new(address)));
        Arc::clone(server)
    }

    fn all(&self) -> Vec<Arc<Server>> {
        self.table().values().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ServerAddress, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(servers: impl Iterator<Item = Arc<Server>>) {
    let mut running: JoinSet<()> = servers.map(Server::look_up).collect();
    let all = async { while running.join_next().await.is_some() {} };
    if timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("some names of upstream servers were not answered in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> ServerAddress {
        ServerAddress { host: host.into(), port: 8080 }
    }

    #[test]
    fn an_address_needs_no_look_up() {
        for (host, label, address) in [
            ("127.0.0.1", "127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]", "[::1]:8080", "[::1]:8080"),
            ("::1", "[::1]:8080", "[::1]:8080"),
        ] {
            let server = Server::new(&at(host));
            assert_eq!(server.label(), label);
            assert_eq!(server.address(7), Some(address.parse().unwrap()));
        }
    }

    #[test]
    fn the_last_good_answer_survives_failures() {
        let server = Server::new(&at("api.internal"));
        assert_eq!(server.address(0), None);
        let good: Vec<SocketAddr> = vec!["10.0.0.2:8080".parse().unwrap(), "10.0.0.1:8080".parse().unwrap()];
        server.learn(Ok(good.clone()));
        server.learn(Err(io::Error::other("no answer")));
        server.learn(Ok(Vec::new()));
        assert_eq!(
            [server.address(0), server.address(1), server.address(2)],
            [Some(good[1]), Some(good[0]), Some(good[1])]
        );
    }

    #[test]
    fn a_known_server_is_shared() {
        let resolver = Resolver::default();
        assert!(Arc::ptr_eq(&resolver.server(&at("a")), &resolver.server(&at("a"))));
        assert!(!Arc::ptr_eq(&resolver.server(&at("a")), &resolver.server(&at("b"))));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_resolved() {
        let server = Arc::new(Server::new(&at("localhost")));
        look_up(std::iter::once(Arc::clone(&server))).await;
        assert!(server.address(0).is_some_and(|address| address.ip().is_loopback() && address.port() == 8080));
    }
}
