//! Networks, listening addresses, servers.

use std::fmt;
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

/// A peer that may say for whom it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrustedPeer {
    /// One of a network.
    Network(IpNet),
    /// Whoever may connect to a Unix socket.
    Unix,
}

impl Shape for TrustedPeer {
    fn kind() -> Kind {
        Kind::Leaf("network, or `\"unix\"`", json!({ "type": "string" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", or \"unix\"";
        let text = walk.text(value, expected)?;
        if text == "unix" {
            return Some(Self::Unix);
        }
        let network = match parse_network(text) {
            Err(NetworkFault::Malformed) => Err(format!("expected {expected}")),
            Ok(_) | Err(NetworkFault::NotCanonical(_)) => network(text),
        };
        network.map(Self::Network).map_err(|fault| walk.fault(value.span(), fault)).ok()
    }
}

/// The mode of a socket's file where none is given: who shares the group may connect.
pub(crate) const DEFAULT_MODE: u32 = 0o660;

/// Permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Shape for Mode {
    fn kind() -> Kind {
        Kind::Leaf("mode", json!({ "type": "string", "pattern": "^0?[0-7]{3}$" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "permissions as octal digits, such as \"0660\"";
        let text = walk.text(value, expected)?;
        let digits = if text.len() == 4 { text.strip_prefix('0') } else { Some(text) };
        let digits = digits.filter(|digits| digits.len() == 3 && digits.bytes().all(|b| matches!(b, b'0'..=b'7')));
        let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
        if mode.is_none() {
            walk.fault(value.span(), format!("expected {expected}"));
        }
        mode.map(Self)
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An address of this machine, and a port.
    Inet(SocketAddr),
    /// The file of a Unix socket, as written.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl Shape for Address {
    fn kind() -> Kind {
        Kind::Leaf(
            "address and port, or `unix:PATH`",
            json!({ "type": "string", "pattern": "^(unix:.+|.+:[0-9]{1,5})$" }),
        )
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\", or \"unix:/PATH\"";
        let text = walk.text(value, expected)?;
        if let Some(path) = text.strip_prefix("unix:") {
            // An abstract one (`@name`) has no file, so no mode: everybody could connect.
            if path.is_empty() || path.starts_with('@') || path.ends_with('/') {
                walk.fault(
                    value.span(),
                    "expected the path of a file after `unix:`, such as \"unix:/run/portcullis.sock\"",
                );
                return None;
            }
            return Some(Self::Unix(path.to_owned()));
        }
        let address = text.parse().ok();
        if address.is_none() {
            walk.fault(value.span(), format!("expected {expected}; a name is not looked up"));
        }
        address.map(Self::Inet)
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
        assert_eq!(read::<Address>("\"[::]:80\""), Ok(Address::Inet("[::]:80".parse().unwrap())));
        for bad in ["\"localhost:80\"", "\"0.0.0.0\"", "\"::1:80\"", "\"127.0.0.1:99999\"", "80"] {
            assert!(read::<Address>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn or_the_file_of_a_unix_socket() {
        assert_eq!(read::<Address>("\"unix:/run/x\""), Ok(Address::Unix("/run/x".into())));
        assert_eq!(read::<Address>("\"unix:x.sock\""), Ok(Address::Unix("x.sock".into())));
        for bad in ["\"unix:\"", "\"unix:@x\"", "\"unix:/run/\"", "\"/run/x\"", "\"UNIX:/run/x\""] {
            assert!(read::<Address>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mode_is_three_octal_digits_with_or_without_a_zero_before_them() {
        assert_eq!(read::<Mode>("\"0660\""), Ok(Mode(0o660)));
        assert_eq!(read::<Mode>("\"600\""), Ok(Mode(0o600)));
        for bad in
            ["\"0o660\"", "\"1660\"", "\"66\"", "\"00660\"", "\"0680\"", "\"+660\"", "\"\"", "432", "\"rw-rw----\""]
        {
            assert!(read::<Mode>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_trusted_peer_is_in_a_network_or_on_a_unix_socket() {
        assert_eq!(read::<TrustedPeer>("\"unix\""), Ok(TrustedPeer::Unix));
        assert_eq!(read::<TrustedPeer>("\"::1\""), Ok(TrustedPeer::Network("::1/128".parse().unwrap())));
        for bad in ["\"unix:\"", "\"Unix\"", "\"*\"", "\"10.0.0.1/8\""] {
            assert!(read::<TrustedPeer>(bad).is_err(), "{bad}");
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
