//! One server, whichever upstreams it belongs to: the addresses it has now, and how they have fared.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::SocketAddr as SocketPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;

use super::balance::{attraction, hash};
use super::shared::Shared;
use crate::clock::UnixMillis;
use crate::gate::policy::ServerAddress;
use crate::telemetry::Quiet;

/// How long an address that could not be connected to is not tried while there is another.
const AVOIDED: Duration = Duration::from_secs(10);

/// A server of an upstream.
#[derive(Debug)]
pub(in crate::proxy) struct Server {
    address: ServerAddress,
    label: Box<str>,
    literal: bool,
    found: ArcSwap<Vec<Address>>,
    /// A look-up is under way.
    asking: AtomicBool,
    lost: AtomicBool,
    shared: Shared,
    quiet: Quiet,
}

#[derive(Debug)]
struct Address {
    at: PeerAddress,
    /// When it could not be connected to, in Unix milliseconds; the minimum = never.
    failed: AtomicI64,
}

impl Address {
    fn new(at: PeerAddress) -> Self {
        Self { at, failed: AtomicI64::new(i64::MIN) }
    }

    fn sound(&self, now: UnixMillis) -> bool {
        let failed = UnixMillis(self.failed.load(Ordering::Relaxed));
        // Requests that began a little earlier look here too; and the clock may be set.
        now.since(failed).max(failed.since(now)) >= AVOIDED
    }
}

/// Which of a server's addresses is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// The one whose turn it is.
    Turn(usize),
    /// The same one for the same client.
    For(u64),
}

impl Server {
    pub(super) fn new(address: &ServerAddress) -> Self {
        let host = address.host.trim_start_matches('[').trim_end_matches(']');
        let literal = match address.socket() {
            // What the configuration lets through, the system takes.
            Some(path) => SocketPath::from_pathname(path).ok().map(PeerAddress::Unix),
            None => host.parse::<IpAddr>().ok().map(|ip| PeerAddress::Inet(SocketAddr::new(ip, address.port))),
        };
        Self {
            address: address.clone(),
            label: address.to_string().into(),
            literal: literal.is_some(),
            found: ArcSwap::from_pointee(literal.into_iter().map(Address::new).collect()),
            asking: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            shared: Shared::with(hash(address)),
            quiet: Quiet::default(),
        }
    }

    /// `host:port` as configured.
    pub(in crate::proxy) fn label(&self) -> &str {
        &self.label
    }

    /// Its connections that requests share.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether it was configured by its address.
    pub(super) fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether it has an address.
    pub(super) fn resolved(&self) -> bool {
        !self.found.load().is_empty()
    }

    /// The address that is wanted, the avoided ones last, and whether it is none of them. None while the name is not
    /// resolved.
    pub(super) fn address(&self, wanted: Wanted, now: UnixMillis) -> Option<(PeerAddress, bool)> {
        let found = self.found.load();
        let first = match wanted {
            Wanted::Turn(turn) => turn.checked_rem(found.len())?,
            Wanted::For(key) => return Self::drawn(&found, key, now),
        };
        let mut in_turn = found.iter().cycle().skip(first).take(found.len());
        match in_turn.find(|address| address.sound(now)) {
            Some(address) => Some((address.at.clone(), true)),
            None => Some((found.get(first)?.at.clone(), false)),
        }
    }

    fn drawn(found: &[Address], key: u64, now: UnixMillis) -> Option<(PeerAddress, bool)> {
        if let [only] = found {
            return Some((only.at.clone(), only.sound(now)));
        }
        let drawn = |address: &Address| (address.sound(now), attraction(key, hash(&address.at), 1));
        let order = |a: &(bool, f64), b: &(bool, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
        let best = found.iter().map(|address| (drawn(address), address)).max_by(|a, b| order(&a.0, &b.0))?;
        Some((best.1.at.clone(), best.0.0))
    }

    /// All its addresses.
    pub(super) fn addresses(&self) -> Vec<PeerAddress> {
        self.found.load().iter().map(|address| address.at.clone()).collect()
    }

    /// Remembers that `address` could not be connected to.
    pub(in crate::proxy) fn avoid(&self, address: &PeerAddress, now: UnixMillis) {
        if let Some(address) = self.found.load().iter().find(|known| known.at == *address) {
            address.failed.store(now.0, Ordering::Relaxed);
        }
    }

    /// `address` could be connected to since.
    pub(super) fn forgive(&self, address: &PeerAddress) {
        if let Some(address) = self.found.load().iter().find(|known| known.at == *address) {
            address.failed.store(i64::MIN, Ordering::Relaxed);
        }
    }

    /// Whether a fault is worth a line in the log, and how many were not since the last: an outage under load must not
    /// become an outage of the log.
    pub(in crate::proxy) fn complain(&self) -> Option<u64> {
        self.quiet.admit()
    }

    /// Looks the name up again, unless that is being done: where nobody answers, each look-up holds a thread of the system
    /// for as long as the system waits. An answer that comes late is taken all the same.
    pub(super) async fn look_up(self: Arc<Self>) {
        if self.asking.swap(true, Ordering::Relaxed) {
            return;
        }
        let asking = Asking(self);
        let server = &asking.0;
        let answer = tokio::net::lookup_host((&*server.address.host, server.address.port)).await;
        server.learn(answer.map(Iterator::collect));
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
        let known = self.found.load();
        if !known.iter().map(|known| known.at.as_inet()).eq(addresses.iter().map(Some)) {
            tracing::info!(server = self.label(), ?addresses, "an upstream server is resolved");
            let adopted = addresses.into_iter().map(|at| {
                let address = Address::new(PeerAddress::Inet(at));
                if let Some(known) = known.iter().find(|known| known.at == address.at) {
                    address.failed.store(known.failed.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                address
            });
            self.found.store(Arc::new(adopted.collect()));
        }
    }
}

/// A look-up that is under way.
struct Asking(Arc<Server>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn at(host: &str) -> ServerAddress {
        ServerAddress { host: host.into(), port: 8080 }
    }

    fn inet(address: &str) -> PeerAddress {
        PeerAddress::Inet(address.parse().unwrap())
    }

    fn learn(server: &Server, addresses: &[&str]) {
        server.learn(Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()));
    }

    fn two() -> (Server, [PeerAddress; 2]) {
        let server = Server::new(&at("api.internal"));
        learn(&server, &["10.0.0.2:8080", "10.0.0.1:8080", "10.0.0.2:8080"]);
        (server, ["10.0.0.1:8080", "10.0.0.2:8080"].map(inet))
    }

    fn turn(server: &Server, turn: usize, now: UnixMillis) -> Option<(PeerAddress, bool)> {
        server.address(Wanted::Turn(turn), now)
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
            assert_eq!(turn(&server, 7, NOW), Some((inet(address), true)));
        }
    }

    #[test]
    fn the_last_good_answer_survives_failures() {
        let (server, [one, two]) = two();
        server.learn(Err(io::Error::other("no answer")));
        server.learn(Ok(Vec::new()));
        assert_eq!([0, 1, 2].map(|n| turn(&server, n, NOW).unwrap().0), [one.clone(), two, one]);
        assert_eq!(turn(&Server::new(&at("api.internal")), 0, NOW), None);
    }

    #[test]
    fn an_address_that_failed_is_avoided_for_a_while_as_long_as_there_is_another() {
        let (server, [one, two]) = two();
        let later = UnixMillis(NOW.0 + 9_999);
        server.avoid(&one, NOW);
        let sound = |address: &PeerAddress| Some((address.clone(), true));
        assert_eq!([0, 1].map(|n| turn(&server, n, later)), [sound(&two), sound(&two)]);
        assert_eq!(turn(&server, 0, UnixMillis(NOW.0 - 1)), sound(&two));
        assert_eq!(turn(&server, 0, UnixMillis(NOW.0 + 10_000)), sound(&one));
        server.forgive(&one);
        assert_eq!(turn(&server, 0, later), sound(&one));
        server.avoid(&one, NOW);
        server.avoid(&two, NOW);
        assert_eq!([0, 1].map(|n| turn(&server, n, later)), [Some((one, false)), Some((two, false))]);
    }

    #[test]
    fn addresses_that_vanish_are_forgotten_and_those_that_stay_keep_their_record() {
        let (server, [one, two]) = two();
        server.avoid(&two, NOW);
        learn(&server, &["10.0.0.2:8080", "10.0.0.3:8080"]);
        let all: Vec<_> = (0..4).map(|n| turn(&server, n, NOW).unwrap()).collect();
        assert!(all.iter().all(|address| *address == (inet("10.0.0.3:8080"), true)), "{all:?}");
        assert!(!server.addresses().contains(&one));
    }

    #[test]
    fn a_client_keeps_its_address_as_long_as_that_is_there() {
        let (server, [one, two]) = two();
        let of = |key: u64| server.address(Wanted::For(key), NOW).unwrap();
        let before: Vec<_> = (0..100).map(of).collect();
        assert!((25..75).contains(&before.iter().filter(|(at, _)| *at == one).count()));
        assert_eq!((0..100).map(of).collect::<Vec<_>>(), before);
        learn(&server, &["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
        let moved = (0..100).filter(|key| of(*key) != before[usize::try_from(*key).unwrap()]);
        assert!(moved.clone().all(|key| of(key).0 == inet("10.0.0.3:8080")) && (10..60).contains(&moved.count()));
        server.avoid(&two, NOW);
        assert!((0..100).all(|key| of(key).1 && of(key).0 != two));
    }

    #[test]
    fn a_socket_is_an_address_that_needs_no_look_up() {
        let server = Server::new(&ServerAddress { host: "/run/app.sock".into(), port: 0 });
        assert!(server.is_literal() && server.label() == "unix:/run/app.sock");
        let (address, sound) = turn(&server, 3, NOW).unwrap();
        assert!(sound && address.to_string() == "/run/app.sock");
    }

    #[tokio::test]
    async fn a_name_is_not_asked_for_while_it_is_being_asked_for() {
        let server = Arc::new(Server::new(&at("localhost")));
        let waiting = Asking(Arc::clone(&server));
        server.asking.store(true, Ordering::Relaxed);
        Arc::clone(&server).look_up().await;
        assert!(!server.resolved());
        drop(waiting);
        Arc::clone(&server).look_up().await;
        assert!(server.resolved());
    }
}
