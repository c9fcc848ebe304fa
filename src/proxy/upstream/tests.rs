//! Which server is chosen, and how it is connected to.

use pingora::upstreams::peer::Peer;

use super::*;
use crate::gate::policy::{Check, ClientIdentity, Probe, Protocol, ServerAddress, UpstreamServer, UpstreamTls};
use crate::secret::Secret;

const NOW: UnixMillis = UnixMillis(1_000_000);

fn at(host: &str) -> ServerAddress {
    ServerAddress { host: host.into(), port: 1 }
}

fn upstream(hosts: &[&str], tls: Option<UpstreamTls>) -> Upstream {
    Upstream { tls, ..Upstream::of("api", 0, hosts.iter().map(|host| at(host)).collect()) }
}

/// With these weights, at 10.0.0.1 and so on.
fn weighted(weights: &[u16], balance: Balance) -> Target {
    let server =
        |(n, weight): (usize, &u16)| UpstreamServer { address: at(&format!("10.0.0.{}", n + 1)), weight: *weight };
    let servers = weights.iter().enumerate().map(server).collect();
    let ejection = Some(Ejection { failures: 1, period: Duration::from_secs(10), statuses: Vec::new() });
    made(&Upstream { servers, balance, ejection, ..upstream(&[], None) })
}

fn made(upstream: &Upstream) -> Target {
    Target::new(&"shop".into(), upstream, &Resolver::default())
}

fn target(hosts: &[&str], tls: Option<UpstreamTls>) -> Target {
    made(&upstream(hosts, tls))
}

fn call() -> Call {
    Call { timeouts: Timeouts::default(), now: NOW, client: None, tried: 0, tunnel: None }
}

fn next(target: &Target) -> (&Arc<Member>, Box<HttpPeer>) {
    let Chosen { member, peer, .. } = target.next(call()).unwrap();
    (member, peer)
}

/// Which servers get how many of so many requests.
fn counts(target: &Target, requests: usize, call: impl Fn(usize) -> Call) -> Vec<usize> {
    let mut counts = vec![0; target.slots.len()];
    for request in 0..requests {
        counts[target.next(call(request)).unwrap().bit.trailing_zeros() as usize] += 1;
    }
    counts
}

fn ca() -> Arc<[u8]> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem().into_bytes().into()
}

fn identity() -> Arc<ClientIdentity> {
    let key = rcgen::KeyPair::generate().unwrap();
    // All have the same number.
    let mut params = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
    params.serial_number = Some(7_u64.into());
    let chain = vec![params.self_signed(&key).unwrap().der().to_vec()];
    Arc::new(ClientIdentity { chain, key: Secret::new(key.serialize_der()) })
}

fn tls(name: &str, ca: Option<Arc<[u8]>>) -> Option<UpstreamTls> {
    Some(UpstreamTls { server_name: name.into(), ca, client: None })
}

#[test]
fn servers_take_turns_and_unresolved_ones_are_passed_over() {
    let target = target(&["10.0.0.1", "not-resolved.invalid", "10.0.0.2"], None);
    let counts = counts(&target, 600, |_| call());
    assert!(counts[1] == 0 && counts[0] > 200 && counts[2] > 200, "{counts:?}");
}

#[test]
fn a_server_that_could_not_be_connected_to_is_passed_over_until_no_other_is_left() {
    let target = target(&["10.0.0.1", "10.0.0.2"], None);
    let (dead, peer) = next(&target);
    dead.server().avoid(&peer._address, NOW);
    let (sound, peer) = next(&target);
    assert!((0..3).all(|_| Arc::ptr_eq(next(&target).0, sound)));
    sound.server().avoid(&peer._address, NOW);
    assert!(counts(&target, 100, |_| call()).iter().all(|count| *count > 20));
}

#[test]
fn weights_are_kept_and_a_weight_of_nothing_gets_nothing() {
    let target = weighted(&[3, 1, 0], Balance::RoundRobin);
    assert_eq!(counts(&target, 400, |_| call()), [300, 100, 0]);
    // Not even when all others are out.
    target.slots[..2].iter().for_each(|slot| slot.member.turn(false, "test"));
    assert!(!target.reachable() && target.next(call()).is_none());
}

#[test]
fn the_share_of_a_lost_server_is_spread_by_the_weights_of_the_others() {
    let target = weighted(&[4, 3, 1], Balance::RoundRobin);
    target.slots[0].member.turn(false, "test");
    let counts = counts(&target, 8_000, |_| call());
    assert!(counts[0] == 0 && (5_700..6_300).contains(&counts[1]), "{counts:?}");
}

#[test]
fn the_server_with_the_fewest_requests_for_its_weight_is_chosen() {
    let target = weighted(&[1, 1], Balance::LeastConnections);
    let busy: Vec<_> = (0..3).map(|_| Flight::to(&target.slots[0].member)).collect();
    assert_eq!(counts(&target, 10, |_| call()), [0, 10]);
    drop(busy);
    assert_eq!(counts(&target, 10, |_| call()), [5, 5], "they take turns where nothing tells them apart");
    let target = weighted(&[3, 1], Balance::LeastConnections);
    let flights: Vec<_> = (0..40).map(|_| Flight::to(next(&target).0)).collect();
    assert_eq!([0, 1].map(|n| target.slots[n].member.in_flight()), [30, 10]);
    drop(flights);
}

#[test]
fn connections_that_requests_share_are_left_when_answers_were_broken_off() {
    let shared = made(&Upstream { protocol: Protocol::Http2, ..upstream(&["10.0.0.1"], None) });
    let apart = target(&["10.0.0.1"], None);
    for (target, left) in [(&shared, true), (&apart, false)] {
        let before = next(target).1.reuse_hash();
        for _ in 0..100 {
            Flight::to(next(target).0).land();
        }
        assert_eq!(next(target).1.reuse_hash(), before);
        for _ in 0..16 {
            drop(Flight::to(next(target).0));
        }
        assert_eq!(next(target).1.reuse_hash() != before, left);
    }
}

#[test]
fn a_client_keeps_its_server_and_only_those_of_a_lost_one_move() {
    let target = weighted(&[1, 1, 1], Balance::HashAddress);
    let of = |client: usize| {
        let client = Some(IpAddr::from(u32::try_from(client).unwrap().to_be_bytes()));
        target.next(Call { client, ..call() }).unwrap().bit
    };
    let before: Vec<_> = (0..300).map(of).collect();
    assert_eq!((0..300).map(of).collect::<Vec<_>>(), before);
    target.slots[1].member.turn(false, "test");
    for (client, before) in before.iter().enumerate() {
        assert!(of(client) == *before || *before == 2, "{client}");
    }
    target.slots[1].member.turn(true, "test");
    assert_eq!((0..300).map(of).collect::<Vec<_>>(), before, "and they come back");
}

#[test]
fn another_try_goes_to_another_server_where_there_is_one() {
    for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::HashAddress] {
        let target = weighted(&[1, 1, 1], balance);
        for _ in 0..6 {
            let mut tried = 0;
            for _ in 0..3 {
                let bit = target.next(Call { tried, ..call() }).unwrap().bit;
                assert_eq!(tried & bit, 0, "{balance:?}");
                tried |= bit;
            }
            assert!(target.next(Call { tried, ..call() }).is_some(), "all were tried: any will do");
        }
    }
}

#[test]
fn a_server_that_is_left_alone_is_used_when_no_other_is_left() {
    let target = weighted(&[1, 1], Balance::RoundRobin);
    let rule = target.ejection.clone().unwrap();
    target.slots[0].member.failed(NOW, &rule);
    assert_eq!(counts(&target, 10, |_| call()), [0, 10]);
    // One that was tried before is still better than one that fails.
    assert_eq!(target.next(Call { tried: 2, ..call() }).unwrap().bit, 2);
    target.slots[1].member.failed(NOW, &rule);
    let counts = counts(&target, 100, |_| call());
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
    // Checks that found a server sick are believed all the same.
    target.slots[0].member.turn(false, "test");
    assert_eq!(next(&target).0.label(), "10.0.0.2:1");
    assert!(!target.state(&target.slots[1], NOW).healthy);
    assert!(target.state(&target.slots[1], UnixMillis(NOW.0 + 10_000)).healthy);
}

#[test]
fn what_is_known_of_a_server_outlives_a_reload_but_not_the_end_of_its_checks() {
    let resolver = Resolver::default();
    let check = Check {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy: 1,
        unhealthy: 1,
    };
    let checked = Upstream { check: Some(check), ..upstream(&["10.0.0.1"], None) };
    let made = |realm: &str, upstream: &Upstream| Target::new(&realm.into(), upstream, &resolver);
    let before = made("shop", &checked);
    before.slots[0].member.turn(false, "test");
    let flight = Flight::to(&before.slots[0].member);
    let after = made("shop", &checked);
    assert!(!after.reachable() && after.slots[0].member.in_flight() == 1);
    assert!(made("other", &checked).reachable(), "another realm asks for itself");
    assert!(made("shop", &upstream(&["10.0.0.1"], None)).reachable());
    drop(flight);
}

#[test]
fn an_upstream_without_addresses_is_out_of_reach() {
    let target = target(&["not-resolved.invalid"], None);
    assert!(!target.reachable());
    assert!(target.next(call()).is_none());
}

#[test]
fn timeouts_reach_the_connection() {
    let connect = Some(Duration::from_secs(1));
    let timeouts = Timeouts { connect, ..Timeouts::default() };
    let target = target(&["10.0.0.1"], None);
    let peer = target.next(Call { timeouts, ..call() }).unwrap().peer;
    assert_eq!((peer.connection_timeout(), peer.total_connection_timeout()), (connect, connect));
    assert!(!peer.tls());
}

#[test]
fn a_tls_upstream_is_verified_against_its_own_authorities() {
    let ca = ca();
    let target = target(&["10.0.0.1"], tls("api.internal", Some(ca)));
    let (_, peer) = next(&target);
    assert!(peer.tls() && peer.verify_cert() && peer.verify_hostname());
    assert_eq!(peer.sni(), "api.internal");
    assert_eq!(peer.get_ca().map(|ca| ca.len()), Some(1));
}

#[test]
fn connections_verified_by_other_authorities_are_not_shared() {
    let hash = |ca| next(&target(&["10.0.0.1"], tls("api.internal", ca))).1.reuse_hash();
    let (one, other) = (ca(), ca());
    assert_eq!(hash(Some(Arc::clone(&one))), hash(Some(Arc::clone(&one))));
    assert_ne!(hash(Some(one)), hash(Some(other)));
    assert_ne!(hash(None), hash(Some(ca())));
}

#[test]
fn an_upstream_that_cannot_be_verified_is_never_connected_to() {
    for broken in [tls("", None), tls("api.internal", Some(b"rubbish".as_slice().into())), tls("a", Some(Arc::new([])))]
    {
        let target = target(&["10.0.0.1"], broken);
        assert!(!target.reachable() && target.next(call()).is_none());
    }
}

#[test]
fn connections_with_another_certificate_of_the_gateway_are_not_shared() {
    let hash = |client: Option<Arc<ClientIdentity>>| {
        let tls = UpstreamTls { server_name: "api.internal".into(), ca: None, client };
        next(&target(&["10.0.0.1"], Some(tls))).1.reuse_hash()
    };
    let (one, other) = (identity(), identity());
    assert_eq!(hash(Some(Arc::clone(&one))), hash(Some(Arc::clone(&one))));
    assert_ne!(hash(Some(Arc::clone(&one))), hash(Some(other)));
    assert_ne!(hash(None), hash(Some(one)));
}

#[test]
fn a_tunnel_has_a_connection_of_its_own_in_http_1() {
    let target = made(&Upstream { protocol: Protocol::Http2, ..upstream(&["10.0.0.1"], None) });
    let peer = |tunnel| target.next(Call { tunnel, ..call() }).unwrap().peer;
    let (usual, tunnel) = (peer(None), peer(Some(Agreed::default())));
    assert_eq!([&usual, &tunnel].map(|peer| peer.options.alpn.get_max_http_version()), [2, 1]);
    assert_eq!((usual.options.alpn.get_min_http_version(), usual.options.max_h2_streams), (2, 32));
    assert_ne!(usual.reuse_hash(), tunnel.reuse_hash());
}
