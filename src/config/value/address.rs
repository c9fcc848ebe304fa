//! Networks, listening addresses, servers.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde_json::json;

use crate::config::walk::{Kind, Shape, Value, Walk};
use crate::gate::network::{NetworkFault, parse_network};
use crate::gate::policy::ServerAddress;

impl Shape for IpNet {
    fn kind() -> Kind {
        Kind::Leaf("network", json!({ "type": "string" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let text = walk.text(value, "a network such as \"10.0.0.0/8\"")?;
        network(text).map_err(|fault| walk.fault(value.span(), fault)).ok()
    }
}

/// Reads a network.
///
/// # Errors
/// A text for people, with the canonical form where there is one.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    parse_network(text).map_err(|fault| match fault {
        NetworkFault::Malformed => String::from("expected a network such as \"10.0.0.0/8\" or \"2001:db8::/32\""),
        NetworkFault::NotCanonical(canonical) => format!("the network is not in canonical form; write \"{canonical}\""),
    })
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Shape for Address {
    fn kind() -> Kind {
        Kind::Leaf("address and port", json!({ "type": "string", "pattern": "^.+:[0-9]{1,5}$" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"";
        let text = walk.text(value, expected)?;
        if text.starts_with("unix:") {
            walk.fault(value.span(), "Unix sockets are not available in this version");
            return None;
        }
        let address = text.parse().ok();
        if address.is_none() {
            walk.fault(value.span(), format!("expected {expected}; a name is not looked up"));
        }
        address.map(Self)
    }
}

impl Shape for ServerAddress {
    fn kind() -> Kind {
        Kind::Leaf("host and port", json!({ "type": "string", "pattern": "^(.+:[0-9]{1,5}|unix:/.+)$" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "a host and a port, such as \"127.0.0.1:9000\", or the whole path of a socket, such as \"unix:/run/app.sock\"";
        let text = walk.text(value, expected)?;
        let server = text.strip_prefix("unix:").map_or_else(|| server(text, None), socket);
        if server.is_none() {
            walk.fault(value.span(), format!("expected {expected}"));
        }
        server
    }
}

/// Reads `host:port`; without a port the `default` one is taken. The host keeps no brackets.
pub(crate) fn server(text: &str, default: Option<u16>) -> Option<ServerAddress> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().filter(|port| *port != 0)?,
        Some(_) => return None,
        None => default?,
    };
    (host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() || text.starts_with('[')) || is_host_name(host))
        .then(|| ServerAddress { host: host.into(), port })
}

/// Reads the path of a socket. The system takes no longer ones (`unix(7)`).
fn socket(path: &str) -> Option<ServerAddress> {
    let fits = path.len() > 1 && path.len() < 108 && path.starts_with('/') && !path.chars().any(char::is_control);
    fits.then(|| ServerAddress { host: path.into(), port: 0 })
}

/// Whether `text` can be the name of a host (RFC 1123 section 2.1, with the underscore that containers use). A name whose
/// last label is a number would be taken for an address by some.
pub(crate) fn is_host_name(text: &str) -> bool {
    let labels = || text.split('.');
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let numeric = labels().next_back().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253 && labels().all(fits) && !numeric
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::value::read;

    #[test]
    fn a_listener_is_an_address_and_a_port() {
        assert_eq!(read::<Address>("\"[::]:80\"").map(|a| a.0.port()), Ok(80));
        for bad in ["\"localhost:80\"", "\"0.0.0.0\"", "\"::1:80\"", "\"127.0.0.1:99999\"", "\"unix:/run/x\"", "80"] {
            assert!(read::<Address>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, host, port) in
            [("a.example:80", "a.example", 80), ("127.0.0.1:9000", "127.0.0.1", 9000), ("[::1]:9000", "::1", 9000)]
        {
            assert_eq!(server(text, None), Some(ServerAddress { host: host.into(), port }), "{text}");
        }
        assert_eq!(server("a.example", Some(443)).map(|s| s.port), Some(443));
        assert_eq!(server("[::1]", Some(80)).map(|s| s.port), Some(80));
        for bad in [
            "",
            ":80",
            "a",
            "a:",
            "a:0",
            "a:70000",
            "a:+1",
            "::1:80",
            "[::1:80",
            "[::1]80",
            "[127.0.0.1]:80",
            "a b:80",
            "-a:80",
            "a..b:80",
            "1.2.3:80",
            "http://a:80",
            "a@b:80",
        ] {
            assert_eq!(server(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_server_may_be_a_socket_of_this_machine() {
        let server = read::<ServerAddress>("\"unix:/run/app.sock\"").unwrap();
        assert_eq!((server.socket(), server.to_string().as_str()), (Some("/run/app.sock"), "unix:/run/app.sock"));
        let long = format!("\"unix:/{}\"", "a".repeat(107));
        for bad in ["\"unix:run/app.sock\"", "\"unix:\"", "\"unix:/\"", "\"/run/app.sock\"", "\"unix:/a\\nb\"", &long] {
            assert!(read::<ServerAddress>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]:.a0-]{0,12}|\\PC{0,20}") {
            server(&text, Some(80));
        }
    }
}
