//! Names of header fields: which are somebody's, and the realm's identity headers.

use http::HeaderName;

use super::Compiler;
use crate::config::keys::IdentityHeaders as Raw;
use crate::config::problem::At;
use crate::config::walk::Item;
use crate::gate::headers::{IdentityHeaders, IdentityNames};
use crate::gate::verify::jwt::ClaimPath;

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

/// Fields that already mean something to everybody.
const TAKEN: &[&str] =
    &["authorization", "cookie", "set_cookie", "content_type", "content_encoding", "expect", "range"];

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

/// The realm's identity headers.
pub(super) fn identity(work: &mut Compiler<'_>, raw: &Raw) -> IdentityHeaders {
    let mut seen: Vec<(String, String)> = Vec::new();
    let names = IdentityNames {
        subject: identity_name(work, &raw.subject, &mut seen),
        client: identity_name(work, &raw.client, &mut seen),
        realm: identity_name(work, &raw.realm, &mut seen),
        method: identity_name(work, &raw.method, &mut seen),
        credential: identity_name(work, &raw.credential, &mut seen),
        issuer: identity_name(work, &raw.issuer, &mut seen),
        scopes: identity_name(work, &raw.scopes, &mut seen),
        roles: identity_name(work, &raw.roles, &mut seen),
        plan: identity_name(work, &raw.plan, &mut seen),
        tenant: identity_name(work, &raw.tenant, &mut seen),
    };
    let mut extra = Vec::new();
    for (attribute, item) in &raw.extra.value.0 {
        work.plain(&item.at, attribute);
        if item.value.is_empty() {
            work.fault(&item.at, "expected the name of a header field");
        } else if let Some(name) = identity_name(work, item, &mut seen) {
            let path = work.good(&item.at, ClaimPath::parse(attribute));
            extra.extend(path.map(|path| (path, name)));
        }
    }
    IdentityHeaders::new(names, extra)
}

fn identity_name(work: &mut Compiler<'_>, item: &Item<String>, seen: &mut Vec<(String, String)>) -> Option<HeaderName> {
    if item.value.is_empty() {
        return None;
    }
    let name = work.good(&item.at, name(&item.value))?;
    let alias = alias(&item.value);
    if is_gateways(&item.value) || TAKEN.contains(&alias.as_str()) {
        work.fault(&item.at, format!("`{name}` has a meaning of its own and cannot be an identity header"));
    } else if let Some((_, key)) = seen.iter().find(|(earlier, _)| *earlier == alias) {
        work.fault(&item.at, format!("`{key}` has this header already"));
    }
    seen.push((alias, item.at.key.clone()));
    Some(name)
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
