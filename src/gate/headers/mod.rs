//! Header fields on the way to the upstream: everything that could be mistaken for ours is removed, then ours is set.
//! Hop-by-hop fields and framing are the proxy's business.

mod alias;
mod assertion;
mod identity;
mod telling;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::IpAddr;

use http::header::{COOKIE, MaxSizeReached};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::credential::{Place, strip_cookies};
use super::outcome::Permit;
use super::policy::RoutePlace;
pub use assertion::{Assertion, Terms};
pub use identity::{DEFAULT_ASSERTION, DEFAULT_NAMES, IdentityHeaders, IdentityNames, Join, Told};
pub use telling::{Asked, Fault, identity_for_people, set_identity};

/// What is known of the connection when headers are written.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// Address of the connection's other end.
    pub peer: Option<IpAddr>,
    /// `http` or `https`: how the client reached the gateway.
    pub scheme: &'static str,
    /// The host that the client asked for.
    pub host: &'a str,
    /// The request that an identity is told for.
    pub asked: Asked<'a>,
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that [`set_forwarding`] sets.
const FORWARDING_FIELDS: usize = 4;
/// Characters of the longest IPv6 address as text.
const LONGEST_ADDRESS: usize = 45;

/// Makes the request's header fields what the upstream may see: strips owned names, credentials and (from untrusted
/// peers) forwarding headers, then sets forwarding, request id, identity and the route's own headers.
///
/// Fields that would change method or path after the decision (`X-HTTP-Method-Override`, `X-Original-URL` and their
/// kin) are removed from every peer: a trusted proxy hands them on as the client sent them.
///
/// # Errors
/// See [`Fault`]. The request must not be sent then: it would lack what the upstream relies on.
pub fn apply(permit: &Permit, forwarding: &Forwarding<'_>, headers: &mut HeaderMap) -> Result<(), Fault> {
    let route = permit.route();
    let stripped: Vec<_> = headers.keys().filter(|name| is_stripped(permit, name.as_str())).cloned().collect();
    for name in &stripped {
        headers.remove(name);
    }
    let identity = permit.identity().map_or(0, |verified| verified.headers.len());
    headers.try_reserve(FORWARDING_FIELDS + identity + 1 + route.add_headers.len())?;
    set_forwarding(permit.peer_trusted(), forwarding, headers)?;
    if !route.forward_credential && permit.enforced() {
        empty_places(&route.places, headers)?;
    }
    set_identity(permit, &forwarding.asked, headers)?;
    for name in &route.remove_headers {
        headers.remove(name);
    }
    for (name, value) in &route.add_headers {
        headers.try_insert(name, value.clone())?;
    }
    Ok(())
}

/// Whether a field could make an upstream see another method, path or host than the one that was judged. No request goes on
/// with one; who cannot take it away must refuse.
pub fn is_override(name: &str) -> bool {
    alias::is_never_forwarded(name)
}

/// Whether this field is only believed from a trusted proxy.
pub fn is_claim(name: &str) -> bool {
    alias::is_from_proxies(name)
}

fn is_stripped(permit: &Permit, name: &str) -> bool {
    permit.realm().identity_headers.owns(name)
        || is_override(name)
        || (!permit.peer_trusted() && alias::is_from_proxies(name))
        || is_other_spelling(name, [&FORWARDED_FOR, &FORWARDED_PROTO, &FORWARDED_HOST, &REQUEST_ID])
        || (permit.enforced() && is_other_spelling(name, permit.route().places.iter().filter_map(header_of)))
        || is_other_spelling(name, permit.route().add_headers.iter().map(|(own, _)| own))
        || is_other_spelling(name, &permit.route().remove_headers)
}

/// An alias beside the name itself: an application could read it in place of what was judged or set.
fn is_other_spelling<'n>(name: &str, names: impl IntoIterator<Item = &'n HeaderName>) -> bool {
    names.into_iter().any(|own| alias::is_alias(name, own.as_str()) && name != own.as_str())
}

fn header_of(place: &RoutePlace) -> Option<&HeaderName> {
    match &place.place {
        Place::Header(name) => Some(name),
        Place::Query(_) | Place::Cookie(_) => None,
    }
}

fn set_forwarding(
    peer_trusted: bool,
    forwarding: &Forwarding<'_>,
    headers: &mut HeaderMap,
) -> Result<(), MaxSizeReached> {
    let text = |text: &str| HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
    set_or_remove(&FORWARDED_FOR, forwarded_for(peer_trusted, forwarding, headers), headers)?;
    let says = |name, headers: &HeaderMap| peer_trusted && headers.get_all(name).iter().any(|value| !value.is_empty());
    if !says(&FORWARDED_PROTO, headers) {
        headers.try_insert(&FORWARDED_PROTO, HeaderValue::from_static(forwarding.scheme))?;
    }
    if !says(&FORWARDED_HOST, headers) {
        set_or_remove(&FORWARDED_HOST, text(forwarding.host), headers)?;
    }
    set_or_remove(&REQUEST_ID, text(forwarding.asked.request_id.as_str()), headers)
}

/// The list that a trusted proxy sent with the peer at its end; the peer alone otherwise. A peer on a Unix socket has
/// nothing to add.
fn forwarded_for(peer_trusted: bool, forwarding: &Forwarding<'_>, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut room = [0; LONGEST_ADDRESS];
    let peer = forwarding.peer.and_then(|peer| text_of(peer.to_canonical(), &mut room));
    if !peer_trusted {
        return HeaderValue::from_bytes(peer?).ok();
    }
    let mut list = Vec::new();
    let told = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    for part in told.chain(peer).filter(|part| !part.is_empty()) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(part);
    }
    HeaderValue::try_from(list).ok().filter(|list| !list.is_empty())
}

fn text_of(address: IpAddr, room: &mut [u8; LONGEST_ADDRESS]) -> Option<&[u8]> {
    let mut free = room.as_mut_slice();
    write!(free, "{address}").ok()?;
    let left = free.len();
    room.get(..LONGEST_ADDRESS - left)
}

/// Empties the declared places. The query is not a header field: the gate takes credentials out of it.
fn empty_places(places: &[RoutePlace], headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
    for name in places.iter().filter_map(header_of) {
        headers.remove(name);
    }
    if places.iter().any(|place| matches!(place.place, Place::Cookie(_))) {
        empty_cookies(places, headers)?;
    }
    Ok(())
}

fn empty_cookies(places: &[RoutePlace], headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
    let lines = headers.get_all(&COOKIE);
    let stripped: Vec<_> = lines.iter().map(|line| strip_cookies(line.as_bytes(), places)).collect();
    if stripped.iter().all(Option::is_none) {
        return Ok(());
    }
    // Several lines become one (RFC 9113 section 8.2.3).
    let mut joined = Vec::new();
    for (line, stripped) in lines.iter().zip(&stripped) {
        let kept = stripped.as_deref().unwrap_or(line.as_bytes());
        if !kept.is_empty() {
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(kept);
        }
    }
    let value = if joined.is_empty() { None } else { HeaderValue::try_from(joined).ok() };
    set_or_remove(&COOKIE, value, headers)
}

fn set_or_remove(name: &HeaderName, value: Option<HeaderValue>, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
    match value {
        Some(value) => headers.try_insert(name, value).map(drop),
        None => {
            headers.remove(name);
            Ok(())
        }
    }
}
