//! Where allowed requests go: servers in turn, and how a connection to one is made and verified. Prepared with a
//! snapshot; a request only copies. Which upstream a request may reach is the gate's business.

mod resolver;
mod server;
mod tunnel;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use resolver::Resolver;
pub(super) use server::Server;
pub(super) use tunnel::Agreed;

use crate::clock::UnixMillis;
use crate::gate::outcome::Permit;
use crate::gate::policy::{Snapshot, Timeouts, Upstream, UpstreamTls};

/// The upstreams of a snapshot, ready to be connected to.
#[derive(Debug)]
pub struct Upstreams(Box<[Box<[Target]>]>);

impl Upstreams {
    /// Prepares the upstreams of `snapshot`. Names are looked up by [`Resolver::resolve_all`], before this or later.
    pub fn prepare(snapshot: &Snapshot, resolver: &Resolver) -> Self {
        let realms = snapshot.realms.iter();
        Self(
            realms
                .map(|realm| realm.upstreams.iter().map(|upstream| Target::new(upstream, resolver)).collect())
                .collect(),
        )
    }

    /// Where the permitted request goes.
    pub(super) fn of(&self, permit: &Permit) -> Option<&Target> {
        self.0.get(permit.realm().index)?.get(permit.route().upstream.as_ref()?.index)
    }
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Target {
    turn: AtomicUsize,
    servers: Box<[Arc<Server>]>,
    template: Option<HttpPeer>,
}

impl Target {
    fn new(upstream: &Upstream, resolver: &Resolver) -> Self {
        let servers = upstream.servers.iter().map(|address| resolver.server(address)).collect();
        let template = match template(upstream.tls.as_ref()) {
            Ok(template) => Some(template),
            Err(fault) => {
                tracing::error!(
                    upstream = &*upstream.name,
                    fault,
                    "an upstream cannot be verified; its requests get 502"
                );
                None
            }
        };
        Self { turn: AtomicUsize::new(0), servers, template }
    }

    /// Whether there is a server to connect to.
    pub(super) fn reachable(&self) -> bool {
        self.template.is_some() && self.servers.iter().any(|server| server.resolved())
    }

    /// The server whose turn it is at `now`, and how to connect to it. None while no name is resolved.
    pub(super) fn next(&self, timeouts: Timeouts, now: UnixMillis) -> Option<(&Arc<Server>, Box<HttpPeer>)> {
        let mut peer = Box::new(self.template.clone()?);
        let (server, address) = self.server(now)?;
        peer._address = PeerAddress::Inet(address);
        peer.options.connection_timeout = timeouts.connect;
        peer.options.total_connection_timeout = timeouts.connect;
        peer.options.read_timeout = timeouts.read;
        peer.options.write_timeout = timeouts.write;
        peer.options.idle_timeout = timeouts.idle;
        Some((server, peer))
    }

    /// Like [`Target::next`], for a request for a WebSocket: on a connection of its own. Its answer is waited for as for
    /// any other, until it has `agreed`.
    pub(super) fn next_tunnel(
        &self,
        timeouts: Timeouts,
        now: UnixMillis,
        agreed: Agreed,
    ) -> Option<(&Arc<Server>, Box<HttpPeer>)> {
        let (server, mut peer) = self.next(timeouts, now)?;
        peer.options.custom_l4 = Some(Arc::new(tunnel::Unhurried { patience: timeouts.read, agreed }));
        peer.options.read_timeout = timeouts.tunnel;
        peer.options.idle_timeout = Some(Duration::ZERO);
        // Those that wait for other requests are not of its kind.
        peer.group_key = !peer.group_key;
        Some((server, peer))
    }

    fn server(&self, now: UnixMillis) -> Option<(&Arc<Server>, SocketAddr)> {
        let count = self.servers.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut avoided = None;
        for skip in 0..count {
            let turn = turn.wrapping_add(skip);
            let server = self.servers.get(turn.checked_rem(count)?)?;
            match server.address(turn.checked_div(count)?, now) {
                Some((address, true)) => return Some((server, address)),
                Some((address, false)) => avoided = avoided.or(Some((server, address))),
                None => {}
            }
        }
        avoided
    }
}

/// What all connections to an upstream have in common.
fn template(tls: Option<&UpstreamTls>) -> Result<HttpPeer, &'static str> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let Some(tls) = tls else { return Ok(HttpPeer::new(nowhere, false, String::new())) };
    // The engine verifies nothing at all when it has no name to verify.
    if tls.server_name.is_empty() {
        return Err("the name to verify is empty");
    }
    let mut peer = HttpPeer::new(nowhere, true, tls.server_name.to_string());
    if let Some(pem) = &tls.ca {
        peer.options.ca = Some(authorities(pem)?);
        // The engine's pool does not tell connections apart by the authorities they were verified with.
        let mut hasher = DefaultHasher::new();
        pem.hash(&mut hasher);
        peer.group_key = hasher.finish();
    }
    Ok(peer)
}

fn authorities(pem: &[u8]) -> Result<Arc<CaType>, &'static str> {
    const FAULT: &str = "the authorities to trust are not PEM certificates";
    let mut usable = RootCertStore::empty();
    let mut authorities = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|_| FAULT)?;
        usable.add(der.clone()).map_err(|_| FAULT)?;
        // The engine's parser panics where it cannot read what the other one could.
        let wrapped = catch_unwind(AssertUnwindSafe(|| WrappedX509::new(der.to_vec(), parse_x509)));
        authorities.push(wrapped.map_err(|_| FAULT)?);
    }
    if authorities.is_empty() { Err(FAULT) } else { Ok(authorities.into()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pingora::upstreams::peer::Peer;

    use super::*;
    use crate::gate::policy::ServerAddress;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn upstream(hosts: &[&str], tls: Option<UpstreamTls>) -> Upstream {
        let servers = hosts.iter().map(|host| ServerAddress { host: (*host).into(), port: 1 }).collect();
        Upstream { name: "api".into(), index: 0, servers, host: None, timeouts: Timeouts::default(), tls }
    }

    fn target(hosts: &[&str], tls: Option<UpstreamTls>) -> Target {
        Target::new(&upstream(hosts, tls), &Resolver::default())
    }

    fn ca() -> Arc<[u8]> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem().into_bytes().into()
    }

    fn tls(name: &str, ca: Option<Arc<[u8]>>) -> Option<UpstreamTls> {
        Some(UpstreamTls { server_name: name.into(), ca })
    }

    #[test]
    fn servers_take_turns_and_unresolved_ones_are_passed_over() {
        let target = target(&["10.0.0.1", "not-resolved.invalid", "10.0.0.2"], None);
        let mut labels = Vec::new();
        for _ in 0..6 {
            labels.push(target.next(Timeouts::default(), NOW).unwrap().0.label().to_owned());
        }
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), 2, "{labels:?}");
    }

    #[test]
    fn a_server_that_could_not_be_connected_to_is_passed_over_until_no_other_is_left() {
        let target = target(&["10.0.0.1", "10.0.0.2"], None);
        let next = || target.next(Timeouts::default(), NOW).unwrap();
        let (dead, peer) = next();
        dead.avoid(*peer._address.as_inet().unwrap(), NOW);
        let (sound, peer) = next();
        assert!([next(), next(), next()].iter().all(|(server, _)| Arc::ptr_eq(server, sound)));
        sound.avoid(*peer._address.as_inet().unwrap(), NOW);
        assert!(!Arc::ptr_eq(next().0, next().0));
    }

    #[test]
    fn an_upstream_without_addresses_is_out_of_reach() {
        let target = target(&["not-resolved.invalid"], None);
        assert!(!target.reachable());
        assert!(target.next(Timeouts::default(), NOW).is_none());
    }

    #[test]
    fn timeouts_reach_the_connection() {
        let connect = Some(Duration::from_secs(1));
        let (_, peer) = &target(&["10.0.0.1"], None).next(Timeouts { connect, ..Timeouts::default() }, NOW).unwrap();
        assert_eq!((peer.connection_timeout(), peer.total_connection_timeout()), (connect, connect));
        assert!(!peer.tls());
    }

    #[test]
    fn a_tls_upstream_is_verified_against_its_own_authorities() {
        let ca = ca();
        let target = target(&["10.0.0.1"], tls("api.internal", Some(ca)));
        let (_, peer) = target.next(Timeouts::default(), NOW).unwrap();
        assert!(peer.tls() && peer.verify_cert() && peer.verify_hostname());
        assert_eq!(peer.sni(), "api.internal");
        assert_eq!(peer.get_ca().map(|ca| ca.len()), Some(1));
    }

    #[test]
    fn connections_verified_by_other_authorities_are_not_shared() {
        let hash =
            |ca| target(&["10.0.0.1"], tls("api.internal", ca)).next(Timeouts::default(), NOW).unwrap().1.reuse_hash();
        let (one, other) = (ca(), ca());
        assert_eq!(hash(Some(Arc::clone(&one))), hash(Some(Arc::clone(&one))));
        assert_ne!(hash(Some(one)), hash(Some(other)));
        assert_ne!(hash(None), hash(Some(ca())));
    }

    #[test]
    fn an_upstream_that_cannot_be_verified_is_never_connected_to() {
        for broken in
            [tls("", None), tls("api.internal", Some(b"rubbish".as_slice().into())), tls("a", Some(Arc::new([])))]
        {
            let target = target(&["10.0.0.1"], broken);
            assert!(!target.reachable() && target.next(Timeouts::default(), NOW).is_none());
        }
    }
}
