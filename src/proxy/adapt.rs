//! Between the engine's types and the gate's: the view of a request.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::SocketAddr as SocketPath;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Version};
use pingora::http::RequestHeader;
use pingora::protocols::l4::socket::SocketAddr as EngineAddress;
use pingora::proxy::Session;

use crate::clock::UnixMillis;
use crate::gate::headers;
use crate::gate::outcome::{Denial, Reason, Why};
use crate::gate::request::{Handshake, Request, RequestId};
use crate::proxy::Live;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The gate's view of a request. Its path and query are the very bytes that are forwarded unless the permit says others.
///
/// # Errors
/// What the gate could not look at: a target or a host that is no text. Requests of HTTP/1 were checked before; this is
/// for every other way in.
pub(super) fn view<'a>(
    header: &'a RequestHeader,
    peer: Option<IpAddr>,
    handshake: Option<&'a Handshake>,
    now: UnixMillis,
) -> Result<Request<'a>, Denial> {
    let (path, query) = split_query(target(header)?);
    let host = host(header)?;
    Ok(Request { method: &header.method, path, query, host, headers: &header.headers, peer, handshake, now })
}

/// Path and query as received; of a target in absolute form what follows the authority.
///
/// # Errors
/// It has no path, or is no text.
pub(super) fn target(header: &RequestHeader) -> Result<&str, Denial> {
    let raw = header.raw_path();
    let text = std::str::from_utf8(raw).map_err(|_| Denial::because(Reason::PathAmbiguous, Why::Character))?;
    let path = match text.split_once("://") {
        Some((_, rest)) if !text.starts_with('/') => rest.find('/').and_then(|at| rest.get(at..)),
        Some(_) | None => Some(text),
    };
    path.filter(|path| path.starts_with('/')).ok_or_else(|| Denial::because(Reason::BadRequest, Why::Framing))
}

/// Path and query of a target.
pub(super) fn split_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// `:authority` of HTTP/2, else `Host`.
///
/// # Errors
/// It is no text.
pub(super) fn host(header: &RequestHeader) -> Result<Option<&str>, Denial> {
    if header.version == Version::HTTP_2
        && let Some(authority) = header.uri.authority()
    {
        return Ok(Some(authority.as_str()));
    }
    let Some(host) = header.headers.get(HOST) else { return Ok(None) };
    host.to_str().map(Some).map_err(|_| Denial::because(Reason::BadRequest, Why::Host))
}

/// The id that a trusted proxy gave the request. Many proxies pass on what a client sent: a credential is none, for an id
/// is logged, answered, and told the upstream.
pub(super) fn adopted_id(headers: &HeaderMap, peer: Option<IpAddr>, live: &Live) -> Option<RequestId> {
    let mut sent = headers.get_all(REQUEST_ID).iter();
    match (sent.next(), sent.next()) {
        (Some(id), None) if live.snapshot.trusted_proxies.trusts(peer) => {
            id.to_str().ok().filter(|id| !live.metrics.is_credential(id)).and_then(RequestId::adopt)
        }
        (_, _) => None,
    }
}

/// Where the engine keeps a connection's other end, this stands for somebody of whom nobody knows who it is.
const NOBODY: &str = "unknown";

/// The other end of a connection that a trusted proxy has made for a client without an address.
pub(super) fn nobody() -> Option<EngineAddress> {
    SocketPath::from_pathname(NOBODY).ok().map(EngineAddress::Unix)
}

/// Takes out of a request of such a client what is only believed from a trusted proxy: without an address it counts as one
/// on a Unix socket, and they may be trusted.
pub(super) fn believe_nobody(session: &mut Session) {
    let unix = session.client_addr().and_then(EngineAddress::as_unix).and_then(SocketPath::as_pathname);
    if unix.is_some_and(|path| path == NOBODY) {
        let header = session.req_header_mut();
        let claims = header.headers.keys().filter(|name| headers::is_claim(name.as_str()));
        for name in claims.cloned().collect::<Vec<_>>() {
            header.remove_header(&name);
        }
    }
}

/// The connection's other end; none on a Unix socket, and where nobody knows it.
pub(super) fn peer(session: &Session) -> Option<SocketAddr> {
    let address = session.client_addr()?.as_inet()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// What the handshake of the connection told: the front door leaves it where the engine keeps what it does not use itself.
pub(super) fn handshake(session: &Session) -> Option<Arc<Handshake>> {
    let kept = session.digest()?.proxy_digest.as_ref()?;
    kept.user_data.as_ref()?.downcast_ref::<Arc<Handshake>>().cloned()
}

/// How the client reached the gateway.
pub(super) fn scheme(session: &Session) -> &'static str {
    if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) { "https" } else { "http" }
}

/// What the request says of the length of its body; none when it does not say.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the request asks for a WebSocket the way RFC 6455 demands. The engine would forward a lesser one as an
/// upgrade as well, and an upstream that reads it as an ordinary request would then be out of step with the client.
///
/// # Errors
/// The request asks for a WebSocket, but not properly, or for several protocols at once.
pub(super) fn wants_websocket(header: &RequestHeader) -> Result<bool, Denial> {
    let fault = || Denial::because(Reason::BadRequest, Why::Upgrade);
    if header.version != Version::HTTP_11 {
        return Ok(false);
    }
    let mut protocols = header.headers.get_all(UPGRADE).iter();
    let Some(protocol) = protocols.next() else { return Ok(false) };
    if protocols.next().is_some() {
        return Err(fault());
    }
    if !protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return Ok(false);
    }
    let options =
        header.headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let nominated = options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let bodyless = !header.headers.contains_key(TRANSFER_ENCODING)
        && header.headers.get(CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0");
    if nominated && bodyless && header.method == Method::GET { Ok(true) } else { Err(fault()) }
}

/// `1.0`, `1.1`, `2`.
pub(super) fn version(header: &RequestHeader) -> &'static str {
    match header.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut header = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        header.set_version(Version::HTTP_11);
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        header
    }

    #[test]
    fn the_judged_target_is_what_was_received() {
        for (sent, judged) in [
            ("/a%2Fb?x=1", "/a%2Fb?x=1"),
            ("/a//b/../c", "/a//b/../c"),
            ("/?u=http://x/y", "/?u=http://x/y"),
            ("http://api.test/a?b", "/a?b"),
            ("http://api.test/", "/"),
        ] {
            assert_eq!(target(&request("GET", sent, &[])).unwrap(), judged);
        }
        assert_eq!(split_query("/a?b?c"), ("/a", Some("b?c")));
    }

    #[test]
    fn a_target_without_a_path_is_refused() {
        for sent in ["*", "api.test:443", "http://api.test", "see"] {
            assert!(target(&request("OPTIONS", sent, &[])).is_err(), "{sent}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_properly_or_not_at_all() {
        let asked = |method, fields: &[(&'static str, &str)]| wants_websocket(&request(method, "/", fields)).ok();
        let upgrade = ("Upgrade", "WebSocket");
        assert_eq!(asked("GET", &[upgrade, ("Connection", "keep-alive, Upgrade")]), Some(true));
        assert_eq!(asked("GET", &[]), Some(false));
        assert_eq!(asked("GET", &[("Upgrade", "h2c"), ("Connection", "Upgrade")]), Some(false));
        assert_eq!(asked("GET", &[upgrade, ("Connection", "keep-alive")]), None);
        assert_eq!(asked("GET", &[upgrade]), None);
        assert_eq!(asked("POST", &[upgrade, ("Connection", "upgrade")]), None);
        assert_eq!(asked("GET", &[upgrade, ("Connection", "upgrade"), ("Content-Length", "3")]), None);
        assert_eq!(asked("GET", &[upgrade, ("Upgrade", "h2c"), ("Connection", "upgrade")]), None);
    }
}
