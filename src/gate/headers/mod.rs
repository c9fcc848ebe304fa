//! Header fields on the way to the upstream: everything that could be mistaken for ours is removed, then ours is set.
//! Hop-by-hop fields and framing are the proxy's business.

mod alias;
mod identity;
#[cfg(test)]
mod tests;

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};

use super::credential::{Place, strip_cookies};
use super::outcome::Permit;
use super::policy::RoutePlace;
use super::request::RequestId;
pub use identity::{DEFAULT_NAMES, IdentityHeaders, IdentityNames};

/// Header fields that can be changed: the proxy's copy for the upstream, or a map in tests.
pub trait HeaderSink {
    /// All distinct names.
    fn names(&self) -> Vec<HeaderName>;
    /// The values of one name, in order.
    fn values(&self, name: &HeaderName) -> Vec<HeaderValue>;
    /// Removes all values of `name`.
    fn remove(&mut self, name: &HeaderName);
    /// Replaces all values of `name` by one.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
}

/// What is known of the connection when headers are written.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// Address of the connection's other end.
    pub peer: Option<std::net::IpAddr>,
    /// `http` or `https`: how the client reached the gateway.
    pub scheme: &'a str,
    /// The host that the client asked for.
    pub host: &'a str,
    /// The request's id.
    pub request_id: &'a RequestId,
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes the request's header fields what the upstream may see: strips owned names, credentials and (from untrusted
/// peers) forwarding headers, then sets forwarding, request id, identity and the route's own headers.
///
/// Fields that would change method or path after the decision (`X-HTTP-Method-Override`, `X-Original-URL` and their
/// kin) are removed from every peer: a trusted proxy hands them on as the client sent them.
pub fn apply<H: HeaderSink>(permit: &Permit, forwarding: &Forwarding<'_>, headers: &mut H) {
    let route = permit.route();
    for name in headers.names() {
        if is_stripped(permit, name.as_str()) {
            headers.remove(&name);
        }
    }
    set_forwarding(permit.peer_trusted(), forwarding, headers);
    if !route.forward_credential {
        empty_places(&route.places, headers);
    }
    if let Some(verified) = permit.identity() {
        for (name, value) in &verified.headers {
            headers.set(name.clone(), value.clone());
        }
    }
    for name in &route.remove_headers {
        headers.remove(name);
    }
    for (name, value) in &route.add_headers {
        headers.set(name.clone(), value.clone());
    }
}

fn is_stripped(permit: &Permit, name: &str) -> bool {
    permit.realm().identity_headers.owns(name)
        || alias::is_never_forwarded(name)
        || (!permit.peer_trusted() && alias::is_from_proxies(name))
        || is_other_spelling(name, [&FORWARDED_FOR, &FORWARDED_PROTO, &FORWARDED_HOST, &REQUEST_ID])
        || is_other_spelling(name, permit.route().places.iter().filter_map(header_of))
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

fn set_forwarding<H: HeaderSink>(peer_trusted: bool, forwarding: &Forwarding<'_>, headers: &mut H) {
    set_or_remove(&FORWARDED_FOR, forwarded_for(peer_trusted, forwarding, headers), headers);
    for (name, ours) in [(&FORWARDED_PROTO, forwarding.scheme), (&FORWARDED_HOST, forwarding.host)] {
        let said = peer_trusted && headers.values(name).iter().any(|value| !value.is_empty());
        if !said {
            set_or_remove(name, HeaderValue::from_str(ours).ok().filter(|ours| !ours.is_empty()), headers);
        }
    }
    set_or_remove(&REQUEST_ID, HeaderValue::from_str(forwarding.request_id.as_str()).ok(), headers);
}

/// The list that a trusted proxy sent with the peer at its end; the peer alone otherwise; nothing for a Unix socket.
fn forwarded_for<H: HeaderSink>(peer_trusted: bool, forwarding: &Forwarding<'_>, headers: &H) -> Option<HeaderValue> {
    let peer = forwarding.peer?.to_canonical().to_string();
    if !peer_trusted {
        return HeaderValue::try_from(peer).ok();
    }
    let mut list = Vec::new();
    for line in headers.values(&FORWARDED_FOR).iter().filter(|line| !line.is_empty()) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.as_bytes());
    HeaderValue::try_from(list).ok()
}

/// Empties the declared places. The query is not a header field: the gate takes credentials out of it.
fn empty_places<H: HeaderSink>(places: &[RoutePlace], headers: &mut H) {
    for name in places.iter().filter_map(header_of) {
        headers.remove(name);
    }
    if places.iter().any(|place| matches!(place.place, Place::Cookie(_))) {
        empty_cookies(places, headers);
    }
}

fn empty_cookies<H: HeaderSink>(places: &[RoutePlace], headers: &mut H) {
    let lines = headers.values(&COOKIE);
    let stripped: Vec<_> = lines.iter().map(|line| strip_cookies(line.as_bytes(), places)).collect();
    if stripped.iter().all(Option::is_none) {
        return;
    }
    // Several lines become one (RFC 9113 section 8.2.3): a sink sets one value.
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
    set_or_remove(&COOKIE, value, headers);
}

fn set_or_remove<H: HeaderSink>(name: &HeaderName, value: Option<HeaderValue>, headers: &mut H) {
    match value {
        Some(value) => headers.set(name.clone(), value),
        None => headers.remove(name),
    }
}
