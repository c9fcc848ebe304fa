//! The client's address: the peer's, or what trusted proxies say.

use std::net::IpAddr;

use http::HeaderMap;

use super::network::NetworkSet;

/// Whom the request comes from, as far as it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client; none when nobody trustworthy says. IPv4-mapped addresses are IPv4.
    pub ip: Option<IpAddr>,
    /// Whether the peer is a trusted proxy.
    pub peer_trusted: bool,
}

/// Reads `X-Forwarded-For` or `Forwarded` (RFC 7239) right to left over all lines, as far as trusted proxies wrote them.
/// A header that cannot be read, or two headers that disagree, leave the address unknown.
pub fn resolve(_peer: Option<IpAddr>, _headers: &HeaderMap, _trusted: &NetworkSet) -> ClientAddress {
    unimplemented!()
}
