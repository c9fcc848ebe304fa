//! Names of header fields: which are somebody's.

use http::HeaderName;

use super::Compiler;
use crate::config::problem::At;
use crate::gate::headers::IdentityHeaders;

/// Fields of the connection and of the message's framing (RFC 9110 section 7.6.1), and those the gateway sets itself.
const GATEWAY: &[&str] = &[
    "connection",
    "keep_alive",
    "proxy_connection",
    "proxy_authenticate",
    "proxy_authorization",
    "te",
    "trailer",
    "transfer_encoding",
    "upgrade",
    "host",
    "content_length",
    "forwarded",
    "x_real_ip",
    "x_request_id",
];

/// A name as CGI and WSGI see it: two names with the same alias are one to an upstream.
pub(super) fn alias(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Whether the field belongs to the gateway: the connection, the framing, forwarding.
pub(super) fn is_gateways(name: &str) -> bool {
    let alias = alias(name);
    GATEWAY.contains(&alias.as_str()) || alias.starts_with("x_forwarded_")
}

/// Reads a name of a header field (RFC 9110 section 5.1).
///
/// # Errors
/// A text for people.
pub(super) fn name(text: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(text).map_err(|_| String::from("expected the name of a header field"))
}

/// Whether a route's own header fields may name this one.
pub(super) fn settable(work: &mut Compiler<'_>, at: &At, text: &str, identity: &IdentityHeaders) -> Option<HeaderName> {
    let name = work.good(at, name(text))?;
    if identity.owns(text) {
        work.fault(at, format!("`{name}` is an identity header: the gateway alone sets and removes it"));
    } else if is_gateways(text) {
        work.fault(
            at,
            format!("`{name}` belongs to the connection or to forwarding: the gateway alone sets and removes it"),
        );
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_gateway_is_known_under_every_alias() {
        for name in ["Host", "Content_Length", "X-Forwarded-For", "x_forwarded.proto", "TE", "X-Request-ID"] {
            assert!(is_gateways(name), "{name}");
        }
        for name in ["X-Forward", "Accept", "X-Api-Key"] {
            assert!(!is_gateways(name), "{name}");
        }
    }
}
