//! Sets of networks: a prefix tree, so that a hundred thousand entries cost what ten do.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::joint::JointPrefixSet;

/// A set of IPv4 and IPv6 networks. An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is the IPv4 address; no other
/// embedding is.
#[derive(Clone, Default)]
pub struct NetworkSet {
    networks: JointPrefixSet<IpNet>,
}

impl std::fmt::Debug for NetworkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkSet({} networks)", self.len())
    }
}

impl FromIterator<IpNet> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut set = Self::default();
        for network in networks {
            set.networks.insert(unmapped(network.trunc()));
        }
        set
    }
}

impl NetworkSet {
    /// Whether `address` lies in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.find(address).is_some()
    }

    /// The most specific network that holds `address`: for `explain`.
    pub fn find(&self, address: IpAddr) -> Option<IpNet> {
        self.networks.get_lpm(&IpNet::from(address.to_canonical()))
    }

    /// Whether there is no network.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// How many different networks there are.
    pub fn len(&self) -> usize {
        self.networks.len()
    }
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// It is none at all.
    Malformed,
    /// It is written loosely (host bits, leading zeros, blanks around it, IPv4-mapped); this is the canonical form.
    NotCanonical(String),
}

/// Reads a network in canonical form; a bare address is /32 or /128. Upper case and uncompressed IPv6 are read: they
/// cannot be taken for anything else.
///
/// # Errors
/// Host bits, leading zeros, zone ids and everything that two readers could take for different networks.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkFault> {
    let (address_text, length_text) = match text.trim().split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text.trim(), None),
    };
    let address = parse_loosely(address_text).ok_or(NetworkFault::Malformed)?;
    let length = match length_text {
        Some(digits) => parse_length(digits).ok_or(NetworkFault::Malformed)?,
        None => IpNet::from(address).max_prefix_len(),
    };
    let written = IpNet::new(address, length).map_err(|_| NetworkFault::Malformed)?;
    let canonical = unmapped(written.trunc());
    let strict = text.trim() == text
        && address_text.parse::<IpAddr>().is_ok()
        && length_text.is_none_or(|digits| digits == "0" || !digits.starts_with('0'))
        && canonical == written;
    if strict {
        return Ok(canonical);
    }
    Err(NetworkFault::NotCanonical(match length_text {
        Some(_) => canonical.to_string(),
        None => canonical.addr().to_string(),
    }))
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is; host bits must be gone.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    v6.addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96))
        .and_then(|(address, length)| Ipv4Net::new(address, length).ok())
        .map_or(network, IpNet::V4)
}

/// An address as the standard library reads it, or IPv4 with leading zeros, of which only the correction is shown.
fn parse_loosely(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let digits = parts.next()?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = digits.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

/// Digits only: `u8` would also read a sign.
fn parse_length(digits: &str) -> Option<u8> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        networks.iter().map(|text| parse_network(text).unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn corrected(text: &str) -> String {
        match parse_network(text) {
            Err(NetworkFault::NotCanonical(form)) => form,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_address_is_in_the_networks_that_cover_it_and_in_no_other() {
        let set = set(&["10.0.0.0/8", "10.1.0.0/16", "203.0.113.9", "2001:db8::/32"]);
        assert_eq!(set.len(), 4);
        for inside in ["10.0.0.0", "10.255.255.255", "203.0.113.9", "2001:db8:ffff::1"] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "203.0.113.8", "203.0.113.10", "2001:db9::1", "::1"] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
        assert_eq!(set.find(ip("10.1.2.3")), Some("10.1.0.0/16".parse().unwrap()));
        assert_eq!(set.find(ip("10.2.2.3")), Some("10.0.0.0/8".parse().unwrap()));
    }

    #[test]
    fn the_empty_set_holds_nothing() {
        assert!(NetworkSet::default().is_empty());
        assert!(!NetworkSet::default().contains(ip("127.0.0.1")));
        assert!(!set(&["10.0.0.0/8"]).is_empty());
    }

    #[test]
    fn everything_of_one_family_is_nothing_of_the_other() {
        assert!(set(&["0.0.0.0/0"]).contains(ip("203.0.113.9")));
        assert!(!set(&["0.0.0.0/0"]).contains(ip("::1")));
        assert!(!set(&["::/0"]).contains(ip("203.0.113.9")));
        assert!(!set(&["::/0"]).contains(ip("::ffff:203.0.113.9")));
        assert!(set(&["::/0"]).contains(ip("::1")));
    }

    #[test]
    fn only_the_mapped_form_is_the_ipv4_address() {
        let set = set(&["203.0.113.9"]);
        assert!(set.contains(ip("::ffff:203.0.113.9")));
        assert!(set.contains(ip("::ffff:cb00:7109")));
        for other in ["::203.0.113.9", "64:ff9b::cb00:7109", "2002:cb00:7109::"] {
            assert!(!set.contains(ip(other)), "{other}");
        }
    }

    #[test]
    fn a_mapped_network_or_one_with_host_bits_is_kept_as_what_it_means() {
        let set: NetworkSet = ["::ffff:10.0.0.0/104", "192.0.2.77/24"].iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(set.find(ip("10.9.9.9")), Some("10.0.0.0/8".parse().unwrap()));
        assert_eq!(set.find(ip("192.0.2.1")), Some("192.0.2.0/24".parse().unwrap()));
    }

    #[test]
    fn canonical_networks_and_bare_addresses_are_read() {
        for (text, network) in [
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("203.0.113.9", "203.0.113.9/32"),
            ("::1", "::1/128"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:0db8:0:0:0:0:0:0/32", "2001:db8::/32"),
            ("::203.0.113.9", "::cb00:7109/128"),
        ] {
            assert_eq!(parse_network(text), Ok(network.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_loose_form_is_refused_and_the_corrected_form_shown() {
        for (loose, form) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("010.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("10.0.0.0/00", "0.0.0.0/0"),
            ("203.0.113.009", "203.0.113.9"),
            (" 10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8\n", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:a00:1/104", "10.0.0.0/8"),
        ] {
            assert_eq!(corrected(loose), form, "{loose}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "/",
            "10",
            "10.1",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.0 /8",
            "10.0.0.0/ 8",
            "10.0.0.0/255.0.0.0",
            "256.0.0.0/8",
            "+1.0.0.0",
            "1.2.3.4.5",
            "0x7f.0.0.1",
            "fe80::1%eth0",
            "fe80::%eth0/64",
            "[::1]",
            "::1:",
            "example.com",
            "*",
            "10.0.0.0/8,::1",
            "١.0.0.0",
        ] {
            assert_eq!(parse_network(bad), Err(NetworkFault::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_hundred_thousand_networks_are_told_apart() {
        let set: NetworkSet = (0..100_000u32).map(|n| IpNet::V4(Ipv4Net::new((n << 9).into(), 24).unwrap())).collect();
        assert_eq!(set.len(), 100_000);
        for n in (0..100_000u32).step_by(997) {
            assert!(set.contains(Ipv4Addr::from((n << 9) + 200).into()));
            assert!(!set.contains(Ipv4Addr::from((n << 9) + 256).into()));
        }
    }

    proptest! {
        #[test]
        fn a_set_holds_what_one_of_its_networks_holds(
            networks in prop::collection::vec((any::<u32>(), 0u8..=32), 0..20),
            near in any::<prop::sample::Index>(), flip in 0u32..32,
        ) {
            let networks: Vec<IpNet> =
                networks.into_iter().map(|(a, l)| Ipv4Net::new(a.into(), l).unwrap().trunc().into()).collect();
            let set: NetworkSet = networks.iter().copied().collect();
            let base = if networks.is_empty() { ip("10.0.0.0") } else { networks[near.index(networks.len())].addr() };
            let IpAddr::V4(base) = base else { unreachable!() };
            let address: IpAddr = Ipv4Addr::from(u32::from(base) ^ (1 << flip)).into();
            let longest = networks.iter().filter(|n| n.contains(&address)).max_by_key(|n| n.prefix_len());
            prop_assert_eq!(set.find(address), longest.copied());
        }

        #[test]
        fn the_corrected_form_is_accepted_and_what_is_accepted_is_stable(text in "[0-9a-f:./ ]{0,24}|[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}") {
            match parse_network(&text) {
                Ok(network) => prop_assert_eq!(parse_network(&network.to_string()), Ok(network)),
                Err(NetworkFault::NotCanonical(form)) => prop_assert!(parse_network(&form).is_ok(), "{}", form),
                Err(NetworkFault::Malformed) => {}
            }
        }
    }
}
