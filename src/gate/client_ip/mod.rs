//! The client's address: the peer's, or what trusted proxies say. Whether an address may do something does not belong
//! here.

mod forwarded;

use std::net::IpAddr;

use ipnet::IpNet;

use http::{HeaderMap, HeaderName, header};

use self::forwarded::{ElementsFromRight, parse_element, parse_node};
use super::network::NetworkSet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Peers whose forwarding headers, and whose PROXY headers, are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: NetworkSet,
    /// Whether peers on Unix sockets are trusted: who may connect there is said by the mode of the socket's file.
    unix: bool,
}

impl TrustedProxies {
    /// Peers in `networks`; on Unix sockets, too, if `unix`.
    pub fn new(networks: NetworkSet, unix: bool) -> Self {
        Self { networks, unix }
    }

    /// Whether this peer is one; none: it came over a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.networks.contains(peer))
    }
}

impl FromIterator<IpNet> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self::new(networks.into_iter().collect(), false)
    }
}

/// Whom the request comes from, as far as it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client; none when nobody trustworthy says. IPv4-mapped addresses are IPv4.
    pub ip: Option<IpAddr>,
    /// Whether the peer is a trusted proxy.
    pub peer_trusted: bool,
}

/// Reads `X-Forwarded-For` or `Forwarded` (RFC 7239) right to left over all lines, as far as trusted proxies wrote them.
/// A header that cannot be read, or two headers that disagree, leave the address unknown: a proxy that keeps up one of
/// the two passes on whatever the client wrote into the other. A peer without an address is one on a Unix socket.
pub fn resolve(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> ClientAddress {
    let peer = peer.map(|address| address.to_canonical());
    if !trusted.trusts(peer) {
        return ClientAddress { ip: peer, peer_trusted: false };
    }
    let plain = headers.contains_key(&X_FORWARDED_FOR).then(|| {
        let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
        let elements = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        client(peer, elements, |element| parse_node(std::str::from_utf8(element).ok()?), trusted)
    });
    let standard = headers.contains_key(header::FORWARDED).then(|| {
        let lines = headers.get_all(header::FORWARDED).iter().rev();
        client(peer, lines.flat_map(|line| ElementsFromRight::of(line.as_bytes())), parse_element, trusted)
    });
    let ip = match (plain, standard) {
        (None, None) => peer,
        (Some(ip), None) | (None, Some(ip)) => ip,
        (Some(plain), Some(standard)) => plain.filter(|_| plain == standard),
    };
    ClientAddress { ip, peer_trusted: true }
}

/// The first address, coming from the peer, that is not a trusted proxy's; the furthest when all are; none when one
/// that has to be judged cannot be read. Empty elements do not count.
fn client<'h>(
    peer: Option<IpAddr>,
    elements: impl Iterator<Item = &'h [u8]>,
    read: fn(&[u8]) -> Option<IpAddr>,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let mut client = peer;
    for element in elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()) {
        client = Some(read(element)?);
        if !trusted.trusts(client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::network::parse_network;
    use super::*;

    const PROXY: &str = "10.0.0.1";
    const XFF: &str = "x-forwarded-for";

    fn trusted() -> TrustedProxies {
        ["10.0.0.0/8", "2001:db8:aaaa::/48"].iter().map(|text| parse_network(text).unwrap()).collect()
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn seen(peer: &str, lines: &[(&str, &str)]) -> Option<IpAddr> {
        resolve(ip(peer), &headers(lines), &trusted()).ip
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let lines = headers(&[(XFF, "10.0.0.9"), ("forwarded", "for=10.0.0.9")]);
        let expected = ClientAddress { ip: ip("203.0.113.9"), peer_trusted: false };
        assert_eq!(resolve(ip("203.0.113.9"), &lines, &trusted()), expected);
        assert_eq!(resolve(ip("203.0.113.9"), &lines, &TrustedProxies::default()), expected);
        assert_eq!(resolve(ip("::ffff:203.0.113.9"), &lines, &trusted()), expected);
    }

    #[test]
    fn a_peer_without_an_address_is_not_trusted() {
        let lines = headers(&[(XFF, "10.0.0.9")]);
        assert_eq!(resolve(None, &lines, &trusted()), ClientAddress { ip: None, peer_trusted: false });
    }

    #[test]
    fn a_peer_on_a_unix_socket_is_trusted_where_that_is_said_and_no_other_peer_is_by_that() {
        let trusted = TrustedProxies::new(NetworkSet::default(), true);
        let said = |peer, lines: &[(&str, &str)]| resolve(peer, &headers(lines), &trusted);
        let told = ClientAddress { ip: ip("203.0.113.9"), peer_trusted: true };
        assert_eq!(said(None, &[(XFF, "198.51.100.1, 203.0.113.9")]), told);
        assert_eq!(said(None, &[]), ClientAddress { ip: None, peer_trusted: true });
        assert_eq!(said(None, &[(XFF, "203.0.113.9, unknown")]), ClientAddress { ip: None, peer_trusted: true });
        let untrusted = ClientAddress { ip: ip(PROXY), peer_trusted: false };
        assert_eq!(said(ip(PROXY), &[(XFF, "203.0.113.9")]), untrusted);
    }

    #[test]
    fn a_trusted_peer_that_says_nothing_is_the_client() {
        let alone = ClientAddress { ip: ip(PROXY), peer_trusted: true };
        assert_eq!(resolve(ip(PROXY), &HeaderMap::new(), &trusted()), alone);
        assert_eq!(resolve(ip("::ffff:10.0.0.1"), &HeaderMap::new(), &trusted()), alone);
        assert_eq!(resolve(ip(PROXY), &headers(&[(XFF, " , ,")]), &trusted()), alone);
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        assert_eq!(seen(PROXY, &[(XFF, "203.0.113.9")]), ip("203.0.113.9"));
        assert_eq!(seen(PROXY, &[(XFF, "198.51.100.1, 203.0.113.9, 10.0.0.2")]), ip("203.0.113.9"));
        assert_eq!(seen(PROXY, &[(XFF, "unknown, 203.0.113.9 ,,10.0.0.2,")]), ip("203.0.113.9"));
        assert_eq!(seen(PROXY, &[(XFF, "203.0.113.9"), (XFF, "10.0.0.3, 10.0.0.2")]), ip("203.0.113.9"));
        assert_eq!(seen(PROXY, &[(XFF, "10.0.0.2"), (XFF, "203.0.113.9")]), ip("203.0.113.9"));
    }

    #[test]
    fn the_left_most_is_the_client_when_all_are_trusted() {
        assert_eq!(seen(PROXY, &[(XFF, "10.0.0.3, 10.0.0.2")]), ip("10.0.0.3"));
        assert_eq!(seen(PROXY, &[("forwarded", "for=10.0.0.3"), ("forwarded", "for=10.0.0.2")]), ip("10.0.0.3"));
    }

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        for (element, address) in [
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:1", "1.2.3.4"),
            ("64:ff9b::102:304", "64:ff9b::102:304"),
        ] {
            assert_eq!(seen(PROXY, &[(XFF, element)]), ip(address), "{element}");
            let quoted = format!("for=\"{element}\"");
            assert_eq!(seen(PROXY, &[("forwarded", &quoted)]), ip(address), "{quoted}");
        }
    }

    #[test]
    fn the_address_is_unknown_when_what_has_to_be_judged_cannot_be_read() {
        for element in [
            "unknown",
            "_hidden",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "010.0.0.1",
            "10.1",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "1.2.3.4:+1",
            "[1.2.3.4]",
            "[::1",
            "[::1]443",
            "[::1]:",
            "[::1]:x",
            "1.2.3.4/32",
            "1.2.3.4 5.6.7.8",
            "\"1.2.3.4\"",
            "x",
        ] {
            assert_eq!(seen(PROXY, &[(XFF, &format!("203.0.113.9, {element}"))]), None, "{element}");
            assert_eq!(seen(PROXY, &[(XFF, &format!("203.0.113.9, {element}, 10.0.0.2"))]), None, "{element}");
            assert_eq!(seen(PROXY, &[(XFF, &format!("{element}, 203.0.113.9"))]), ip("203.0.113.9"), "{element}");
        }
    }

    #[test]
    fn two_headers_must_agree() {
        let agree = [(XFF, "6.6.6.6, 203.0.113.9"), ("forwarded", "for=203.0.113.9;proto=http")];
        assert_eq!(seen(PROXY, &agree), ip("203.0.113.9"));
        assert_eq!(seen(PROXY, &[(XFF, "203.0.113.9"), ("forwarded", "for=6.6.6.6")]), None);
        assert_eq!(seen(PROXY, &[(XFF, "203.0.113.9"), ("forwarded", "for=unknown")]), None);
        assert_eq!(seen(PROXY, &[(XFF, "unknown"), ("forwarded", "for=unknown")]), None);
        assert_eq!(seen(PROXY, &[(XFF, "203.0.113.9"), ("forwarded", "")]), None);
    }

    /// Any bytes that a header value can hold.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "for=",
                "\"",
                "\\",
                ",",
                ";",
                " ",
                "10.0.0.2",
                "203.0.113.9",
                "[::1]",
                ":80",
                "unknown",
                "proto=http",
                "=",
                "%",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            any::<u8>()
                .prop_filter("no control characters", |b| (*b >= 0x20 && *b != 0x7f) || *b == b'\t')
                .prop_map(|b| vec![b]),
        ];
        prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
    }

    fn lines(xff: &[Vec<u8>], forwarded: &[Vec<u8>]) -> HeaderMap {
        let line = |bytes: &Vec<u8>| HeaderValue::from_bytes(bytes).unwrap();
        let xff = xff.iter().map(|bytes| (X_FORWARDED_FOR, line(bytes)));
        xff.chain(forwarded.iter().map(|bytes| (header::FORWARDED, line(bytes)))).collect()
    }

    proptest! {
        #[test]
        fn headers_of_an_untrusted_peer_never_matter(
            xff in prop::collection::vec(value(), 0..3), forwarded in prop::collection::vec(value(), 0..3), peer in any::<IpAddr>(),
        ) {
            let headers = lines(&xff, &forwarded);
            let resolved = resolve(Some(peer), &headers, &trusted());
            if !resolved.peer_trusted {
                prop_assert_eq!(resolved.ip, Some(peer.to_canonical()));
            }
            prop_assert_eq!(resolve(None, &headers, &trusted()).ip, None);
            resolve(ip(PROXY), &headers, &trusted());
        }

        #[test]
        fn what_stands_left_of_an_untrusted_address_never_matters(
            before in value(), lines_before in prop::collection::vec(value(), 0..3), hops in prop::collection::vec(0u8..=255, 0..3),
            own_line in any::<bool>(), quoted in any::<bool>(),
        ) {
            let chain = std::iter::once("203.0.113.9".to_owned()).chain(hops.iter().map(|n| format!("10.0.0.{n}:80")));
            for name in [X_FORWARDED_FOR, header::FORWARDED] {
                let written = chain.clone().map(|hop| match (&name, quoted) {
                    (name, _) if *name == X_FORWARDED_FOR => hop,
                    (_, false) => format!("proto=http;for={hop}"),
                    (_, true) => format!("by=\"a,\\\"b\";for=\"{hop}\""),
                });
                let right = written.collect::<Vec<_>>().join(", ").into_bytes();
                let mut all = lines_before.clone();
                if own_line {
                    all.extend([before.clone(), right]);
                } else {
                    all.push([before.as_slice(), b",", &right].concat());
                }
                let headers = if name == X_FORWARDED_FOR { lines(&all, &[]) } else { lines(&[], &all) };
                prop_assert_eq!(resolve(ip(PROXY), &headers, &trusted()).ip, ip("203.0.113.9"));
            }
        }
    }
}
