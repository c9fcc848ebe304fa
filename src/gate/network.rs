//! Sets of networks: a prefix tree, so that a hundred thousand entries cost what ten do.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of IPv4 and IPv6 networks. An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is the IPv4 address; no other
/// embedding is.
#[derive(Clone, Default)]
pub struct NetworkSet {}

impl std::fmt::Debug for NetworkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NetworkSet")
    }
}

impl FromIterator<IpNet> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(_networks: I) -> Self {
        unimplemented!()
    }
}

impl NetworkSet {
    /// Whether `address` lies in one of the networks.
    pub fn contains(&self, _address: IpAddr) -> bool {
        unimplemented!()
    }

    /// The most specific network that holds `address`: for `explain`.
    pub fn find(&self, _address: IpAddr) -> Option<IpNet> {
        unimplemented!()
    }

    /// Whether there is no network.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        unimplemented!()
    }
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// It is none at all.
    Malformed,
    /// It is written loosely (host bits, leading zeros, IPv4-mapped); this is the canonical form.
    NotCanonical(String),
}

/// Reads a network in canonical form; a bare address is /32 or /128.
///
/// # Errors
/// Host bits, leading zeros, zone ids and everything that two readers could take for different networks.
pub fn parse_network(_text: &str) -> Result<IpNet, NetworkFault> {
    unimplemented!()
}
