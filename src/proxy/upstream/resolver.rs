//! Names of upstream servers to addresses, in the background: a request never waits for DNS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::UnixMillis;
use crate::gate::policy::{ServerAddress, Snapshot};

/// How often names are asked for again.
const REFRESH: Duration = Duration::from_secs(10);
/// How long is waited for all names at start and at a reload, and for the answers of one refresh.
const PATIENCE: Duration = Duration::from_secs(3);

/// At least this between two lines in the log about the faults of one server.
const COMPLAINTS: Duration = Duration::from_secs(10);

/// A server of an upstream with the addresses it has now.
#[derive(Debug)]
pub(in crate::proxy) struct Server {
    address: ServerAddress,
    label: Box<str>,
    literal: bool,
    found: ArcSwap<Vec<SocketAddr>>,
    lost: AtomicBool,
    complaint: AtomicI64,
    withheld: AtomicU64,
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
            lost: AtomicBool::new(false),
            complaint: AtomicI64::new(i64::MIN),
            withheld: AtomicU64::new(0),
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

    /// Whether a fault at `now` is worth a line in the log, and how many were not since the last: an outage under load must
    /// not become an outage of the log.
    pub(in crate::proxy) fn complain(&self, now: UnixMillis) -> Option<u64> {
        let last = self.complaint.load(Ordering::Relaxed);
        let due = last == i64::MIN || now.since(UnixMillis(last)) >= COMPLAINTS;
        if due && self.complaint.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.withheld.swap(0, Ordering::Relaxed));
        }
        self.withheld.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn resolved(&self) -> bool {
        !self.found.load().is_empty()
    }

    /// Takes an answer over; the last good one stays when it is none, and that is said once.
    fn learn(&self, answer: io::Result<Vec<SocketAddr>>) {
        let fault = match answer {
            Ok(addresses) if addresses.is_empty() => "the name has no addresses".to_owned(),
            Ok(addresses) => return self.adopt(addresses),
            Err(error) => error.to_string(),
        };
        if !self.lost.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = self.label(), fault, "an upstream server cannot be resolved");
        }
    }

    fn adopt(&self, mut addresses: Vec<SocketAddr>) {
        self.lost.store(false, Ordering::Relaxed);
        addresses.sort_unstable();
        addresses.dedup();
        if **self.found.load() != addresses {
            tracing::info!(server = self.label(), ?addresses, "an upstream server is resolved");
            self.found.store(Arc::new(addresses));
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
        let missing: Vec<_> = wanted.iter().filter(|server| !server.resolved()).map(|server| server.label()).collect();
        if !missing.is_empty() {
            tracing::warn!(servers = ?missing, "upstream servers have no address yet; their requests get 502");
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
    fn an_outage_is_told_now_and_then_with_the_number_of_faults() {
        let server = Server::new(&at("10.0.0.1"));
        assert_eq!(server.complain(UnixMillis(5)), Some(0));
        assert_eq!([server.complain(UnixMillis(6)), server.complain(UnixMillis(10_004))], [None, None]);
        assert_eq!(server.complain(UnixMillis(10_005)), Some(2));
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
