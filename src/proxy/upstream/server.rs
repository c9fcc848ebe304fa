//! One server of an upstream: the addresses it has now, and how it has fared.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::UnixMillis;
use crate::gate::policy::ServerAddress;

/// At least this between two lines in the log about the faults of one server.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// How long an address that could not be connected to is not tried while there is another.
const AVOIDED: Duration = Duration::from_secs(10);

/// A server of an upstream.
#[derive(Debug)]
pub(in crate::proxy) struct Server {
    address: ServerAddress,
    label: Box<str>,
    literal: bool,
    found: ArcSwap<Vec<Address>>,
    lost: AtomicBool,
    complaint: AtomicI64,
    withheld: AtomicU64,
}

#[derive(Debug)]
struct Address {
    at: SocketAddr,
    /// When it could not be connected to, in Unix milliseconds; the minimum = never.
    failed: AtomicI64,
}

impl Address {
    fn new(at: SocketAddr) -> Self {
        Self { at, failed: AtomicI64::new(i64::MIN) }
    }

    fn sound(&self, now: UnixMillis) -> bool {
        let failed = UnixMillis(self.failed.load(Ordering::Relaxed));
        // Requests that began a little earlier look here too; and the clock may be set.
        now.since(failed).max(failed.since(now)) >= AVOIDED
    }
}

impl Server {
    pub(super) fn new(address: &ServerAddress) -> Self {
        let host = address.host.trim_start_matches('[').trim_end_matches(']');
        let literal = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, address.port));
        let label =
            if host.contains(':') { format!("[{host}]:{}", address.port) } else { format!("{host}:{}", address.port) };
        Self {
            address: address.clone(),
            label: label.into(),
            literal: literal.is_some(),
            found: ArcSwap::from_pointee(literal.into_iter().map(Address::new).collect()),
            lost: AtomicBool::new(false),
            complaint: AtomicI64::new(i64::MIN),
            withheld: AtomicU64::new(0),
        }
    }

    /// `host:port` as configured.
    pub(in crate::proxy) fn label(&self) -> &str {
        &self.label
    }

    /// Whether it was configured by its address.
    pub(super) fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether it has an address.
    pub(super) fn resolved(&self) -> bool {
        !self.found.load().is_empty()
    }

    /// The address whose turn it is, the avoided ones last, and whether it is none of them. None while the name is not
    /// resolved.
    pub(super) fn address(&self, turn: usize, now: UnixMillis) -> Option<(SocketAddr, bool)> {
        let found = self.found.load();
        let first = turn.checked_rem(found.len())?;
        let mut in_turn = found.iter().cycle().skip(first).take(found.len());
        match in_turn.find(|address| address.sound(now)) {
            Some(address) => Some((address.at, true)),
            None => Some((found.get(first)?.at, false)),
        }
    }

    /// Remembers that `address` could not be connected to.
    pub(in crate::proxy) fn avoid(&self, address: SocketAddr, now: UnixMillis) {
        if let Some(address) = self.found.load().iter().find(|known| known.at == address) {
            address.failed.store(now.0, Ordering::Relaxed);
        }
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

    /// Looks the name up again.
    pub(super) async fn look_up(self: Arc<Self>) {
        let host = &*self.address.host;
        let answer = tokio::net::lookup_host((host, self.address.port)).await;
        self.learn(answer.map(Iterator::collect));
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
        if !self.found.load().iter().map(|known| known.at).eq(addresses.iter().copied()) {
            tracing::info!(server = self.label(), ?addresses, "an upstream server is resolved");
            self.found.store(Arc::new(addresses.into_iter().map(Address::new).collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn at(host: &str) -> ServerAddress {
        ServerAddress { host: host.into(), port: 8080 }
    }

    fn two() -> (Server, [SocketAddr; 2]) {
        let server = Server::new(&at("api.internal"));
        let addresses = ["10.0.0.1:8080", "10.0.0.2:8080"].map(|address| address.parse().unwrap());
        server.learn(Ok(vec![addresses[1], addresses[0], addresses[1]]));
        (server, addresses)
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
            assert_eq!(server.address(7, NOW), Some((address.parse().unwrap(), true)));
        }
    }

    #[test]
    fn the_last_good_answer_survives_failures() {
        let (server, [one, two]) = two();
        server.learn(Err(io::Error::other("no answer")));
        server.learn(Ok(Vec::new()));
        assert_eq!([0, 1, 2].map(|turn| server.address(turn, NOW).unwrap().0), [one, two, one]);
        assert_eq!(Server::new(&at("api.internal")).address(0, NOW), None);
    }

    #[test]
    fn an_address_that_failed_is_avoided_for_a_while_as_long_as_there_is_another() {
        let (server, [one, two]) = two();
        let later = UnixMillis(NOW.0 + 9_999);
        server.avoid(one, NOW);
        assert_eq!([0, 1].map(|turn| server.address(turn, later)), [Some((two, true)); 2]);
        assert_eq!(server.address(0, UnixMillis(NOW.0 - 1)), Some((two, true)));
        assert_eq!(server.address(0, UnixMillis(NOW.0 + 10_000)), Some((one, true)));
        server.avoid(two, NOW);
        assert_eq!([0, 1].map(|turn| server.address(turn, later)), [Some((one, false)), Some((two, false))]);
    }

    #[test]
    fn an_outage_is_told_now_and_then_with_the_number_of_faults() {
        let server = Server::new(&at("10.0.0.1"));
        assert_eq!(server.complain(UnixMillis(5)), Some(0));
        assert_eq!([server.complain(UnixMillis(6)), server.complain(UnixMillis(10_004))], [None, None]);
        assert_eq!(server.complain(UnixMillis(10_005)), Some(2));
    }
}
