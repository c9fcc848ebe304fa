//! From `Host` to realm.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::Ipv6Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::super::outcome::Why;

/// Characters of the longest name (RFC 1035 section 2.3.4, without the final dot).
const MAX_NAME: usize = 253;

/// Hosts to realms: exact beats `*.wildcard` (one label) beats `*`.
#[derive(Debug, Default)]
pub struct HostTable {
    /// Filled from the configuration only: requests cannot make its entries collide, so a fast hash is good enough.
    names: HashMap<Box<str>, usize, RandomState>,
    /// By what follows the first dot.
    wildcards: HashMap<Box<str>, usize, RandomState>,
    literals: HashMap<Ipv6Addr, usize, RandomState>,
    rest: Option<usize>,
    owned: bool,
}

/// Stands in the table for a host that a wildcard would take, but shall not.
const NOBODY: usize = usize::MAX;

impl HostTable {
    /// Takes `host` out of what the wildcards take: it is found to be nobody's. Written as for [`HostTable::insert`].
    ///
    /// # Errors
    /// As there.
    pub fn except(&mut self, host: &str) -> Result<(), String> {
        self.insert(host, NOBODY)
    }

    /// Lets hosts that owners of the store brought with them have what this table stands for.
    pub fn take_owned(&mut self) {
        self.owned = true;
    }

    /// Whether hosts that owners of the store brought with them have what this table stands for, too.
    pub fn takes_owned(&self) -> bool {
        self.owned
    }

    /// Adds `host` as configured: a name, an address (IPv6 in brackets), `*.name` or `*`; without a port.
    ///
    /// # Errors
    /// A text for people: malformed, or already taken.
    pub fn insert(&mut self, host: &str, realm: usize) -> Result<(), String> {
        let taken = if host == "*" {
            let taken = self.rest;
            self.rest.get_or_insert(realm);
            taken
        } else if let Some(suffix) = host.strip_prefix("*.") {
            match configured(suffix).map_err(|fault| format!("`{host}`: {fault}"))? {
                Name::Text(text) => take(&mut self.wildcards, text.to_ascii_lowercase().into(), realm),
                Name::Literal(_) => return Err(format!("`{host}`: an address has no wildcard")),
            }
        } else {
            match configured(host).map_err(|fault| format!("`{host}`: {fault}"))? {
                Name::Text(text) => take(&mut self.names, text.to_ascii_lowercase().into(), realm),
                Name::Literal(address) => take(&mut self.literals, address, realm),
            }
        };
        match taken {
            None => Ok(()),
            Some(other) if other == realm => Err(format!("`{host}` stands here twice")),
            Some(_) => Err(format!("`{host}` already belongs to another realm")),
        }
    }

    /// The realm of a `Host` value, whose port and one trailing dot do not count. `Ok(None)`: nobody's.
    ///
    /// # Errors
    /// The value is no host (RFC 9110 section 7.2).
    pub fn find(&self, host: &str) -> Result<Option<usize>, Why> {
        // As configured: then it is a host.
        if let Some(realm) = self.names.get(host) {
            return Ok(Some(*realm).filter(|realm| *realm != NOBODY));
        }
        let realm = match parse(host).ok_or(Why::Host)? {
            (Name::Literal(address), _) => self.literals.get(&address),
            (Name::Text(text), _) => {
                let mut buffer = [0; MAX_NAME];
                let name = lower_case(text, &mut buffer).ok_or(Why::Host)?;
                let wildcard = || name.split_once('.').and_then(|(_, suffix)| self.wildcards.get(suffix));
                self.names.get(name).or_else(wildcard)
            }
        };
        Ok(realm.copied().or(self.rest).filter(|realm| *realm != NOBODY))
    }
}

/// Hosts that are kept in the store: custom domains of owners. Replaced whole, by whoever follows the store; shared by
/// all snapshots.
#[derive(Debug, Default)]
pub struct OwnedHosts(ArcSwap<HashMap<Box<str>, Arc<str>>>);

impl OwnedHosts {
    /// Puts other hosts in force: each with the name of its realm. What is no host is left out, and so is what two realms
    /// claim: neither is believed.
    pub fn replace<'h>(&self, hosts: impl IntoIterator<Item = (&'h str, Arc<str>)>) {
        let mut table: HashMap<Box<str>, Option<Arc<str>>> = HashMap::new();
        for (host, realm) in hosts {
            if let Ok(Name::Text(name)) = configured(host) {
                let claim = table.entry(name.to_ascii_lowercase().into()).or_insert_with(|| Some(Arc::clone(&realm)));
                if claim.as_ref().is_some_and(|other| *other != realm) {
                    *claim = None;
                }
            }
        }
        self.0.store(Arc::new(table.into_iter().filter_map(|(host, realm)| Some((host, realm?))).collect()));
    }

    /// Name of the realm of a `Host` value.
    pub fn find(&self, host: &str) -> Option<Arc<str>> {
        let table = self.0.load();
        if table.is_empty() {
            return None;
        }
        let (Name::Text(text), _) = parse(host)? else { return None };
        let mut buffer = [0; MAX_NAME];
        table.get(lower_case(text, &mut buffer)?).cloned()
    }
}

/// Enters `realm`, unless somebody is there already, who is returned.
fn take<K: Hash + Eq>(table: &mut HashMap<K, usize, RandomState>, key: K, realm: usize) -> Option<usize> {
    match table.entry(key) {
        Entry::Occupied(taken) => Some(*taken.get()),
        Entry::Vacant(free) => {
            free.insert(realm);
            None
        }
    }
}

/// A host without port and trailing dot, in the case it came in.
enum Name<'a> {
    Text(&'a str),
    Literal(Ipv6Addr),
}

fn configured(host: &str) -> Result<Name<'_>, &'static str> {
    match parse(host) {
        Some((name, None)) => Ok(name),
        Some((_, Some(_))) => Err("the port does not count and must be left out"),
        None if !host.is_ascii() => Err("write an international name in its ASCII form (`xn--…`)"),
        None => Err("is no host; expected a name, `[IPv6]`, `*.name` or `*`"),
    }
}

/// Splits `host[:port]`. Only what DNS names and addresses are made of: a reader who sees something else in a comma, a
/// slash or an `@` must not exist.
fn parse(host: &str) -> Option<(Name<'_>, Option<u16>)> {
    if let Some(bracketed) = host.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        let port = if after.is_empty() { None } else { Some(parse_port(after.strip_prefix(':')?)?) };
        return Some((Name::Literal(address.parse().ok()?), port));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (host, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = name.len() <= MAX_NAME && name.split('.').all(is_label);
    fits.then_some((Name::Text(name), port))
}

fn parse_port(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// `name` in lower case, in the buffer where it is not already.
fn lower_case<'a>(name: &'a str, buffer: &'a mut [u8; MAX_NAME]) -> Option<&'a str> {
    if !name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(name);
    }
    let copy = buffer.get_mut(..name.len())?;
    copy.copy_from_slice(name.as_bytes());
    copy.make_ascii_lowercase();
    std::str::from_utf8(copy).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(hosts: &[&str]) -> HostTable {
        let mut table = HostTable::default();
        for (realm, host) in hosts.iter().enumerate() {
            table.insert(host, realm).unwrap();
        }
        table
    }

    #[test]
    fn what_a_wildcard_shall_not_take_is_nobodys() {
        let mut table = HostTable::default();
        for host in ["*.example.com", "*"] {
            table.insert(host, 0).unwrap();
        }
        for host in ["api.example.com", "*.example.org", "[2001:db8::1]"] {
            table.except(host).unwrap();
        }
        for (host, found) in [
            ("shop.example.com", Some(0)),
            ("api.example.com", None),
            ("API.example.com.:80", None),
            ("a.example.org", None),
            ("[2001:db8::1]", None),
            ("elsewhere", Some(0)),
        ] {
            assert_eq!(table.find(host), Ok(found), "{host}");
        }
        assert!(!table.takes_owned());
    }

    #[test]
    fn a_host_is_found_whatever_its_case_port_and_one_trailing_dot() {
        let table = table(&["api.Example.com", "[2001:db8::1]", "127.0.0.1", "xn--bcher-kva.example", "localhost"]);
        for (host, realm) in [
            ("api.example.com", 0),
            ("API.EXAMPLE.COM", 0),
            ("api.example.com:8080", 0),
            ("api.example.com.", 0),
            ("Api.Example.Com.:443", 0),
            ("[2001:db8::1]", 1),
            ("[2001:DB8:0::1]:8080", 1),
            ("127.0.0.1:80", 2),
            ("XN--BCHER-KVA.example", 3),
            ("localhost", 4),
        ] {
            assert_eq!(table.find(host), Ok(Some(realm)), "{host}");
        }
    }

    #[test]
    fn an_unknown_host_belongs_to_nobody() {
        let table = table(&["api.example.com", "*.shop.example"]);
        for host in
            ["example.com", "xapi.example.com", "api.example.com.evil.example", "shop.example", "[::1]", "127.0.0.1"]
        {
            assert_eq!(table.find(host), Ok(None), "{host}");
        }
        assert_eq!(HostTable::default().find("a"), Ok(None));
    }

    #[test]
    fn exact_beats_wildcard_beats_rest_and_a_wildcard_is_one_label() {
        let table = table(&["*", "*.Example.com", "api.example.com", "*.eu.example.com"]);
        assert_eq!(table.find("api.example.com"), Ok(Some(2)));
        assert_eq!(table.find("Shop.example.com:1"), Ok(Some(1)));
        assert_eq!(table.find("shop.eu.example.com"), Ok(Some(3)));
        for rest in ["a.b.example.com", "example.com", "[::1]", "10.0.0.1"] {
            assert_eq!(table.find(rest), Ok(Some(0)), "{rest}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_even_where_every_host_is_served() {
        let table = table(&["*", "a"]);
        let long_label = "x".repeat(64);
        let long_name = format!("{}a", "ab.".repeat(84) + "b.");
        for host in [
            "",
            ".",
            "a..",
            "a..b",
            ".a",
            ":80",
            "a,b",
            "a, b",
            "a/b",
            "u@a",
            "u:p@a",
            "a b",
            " a",
            "a ",
            "a\0",
            "a\t",
            "a:b",
            "a:80:80",
            "a:",
            "a:+1",
            "a:65536",
            "a:8080 ",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1]:x",
            "[]",
            "[fe80::1%eth0]",
            "[127.0.0.1]",
            "[v1.x]",
            "*",
            "*.a",
            "é",
            "bücher.example",
            "a%2eb",
            "a\\b",
            "a#b",
            "a?b",
            "http://a",
            &long_label,
            &long_name,
        ] {
            assert_eq!(table.find(host), Err(Why::Host), "{host:?}");
        }
    }

    #[test]
    fn a_name_of_full_length_is_folded() {
        let name = format!("{}.{}.{}.{}", "A".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        assert_eq!(table(&[&name]).find(&name.to_ascii_uppercase()), Ok(Some(0)));
    }

    #[test]
    fn a_host_is_taken_once_and_keeps_its_first_realm() {
        let mut table = table(&["a.example", "*.example", "*", "[::1]"]);
        for host in ["A.example.", "*.EXAMPLE", "*", "[0::1]"] {
            assert!(table.insert(host, 9).unwrap_err().contains("another realm"), "{host}");
        }
        assert!(table.insert("a.example", 0).unwrap_err().contains("twice"));
        assert_eq!(table.find("a.example"), Ok(Some(0)));
        assert_eq!(table.find("x.y.z"), Ok(Some(2)));
    }

    #[test]
    fn a_malformed_host_is_not_configured() {
        let mut table = HostTable::default();
        for host in [
            "",
            "*.",
            "**",
            "a.*",
            "*.*.a",
            "*a.example",
            "a.example:80",
            "bücher.example",
            "*.[::1]",
            "::1",
            "a/b",
            "https://a",
        ] {
            assert!(table.insert(host, 0).is_err(), "{host:?}");
        }
        assert!(table.insert("a:80", 0).unwrap_err().contains("port"));
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic_and_case_never_matters(host in "\\PC{0,12}|[a-zA-Z.:0-9\\[\\]*-]{0,16}") {
            let table = table(&["*.a", "a", "b.a", "[::1]"]);
            prop_assert_eq!(table.find(&host), table.find(&host.to_ascii_uppercase()));
        }
    }
}
