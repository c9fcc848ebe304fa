//! The two heads that pass through: the request's on its way to the upstream, the answer's on its way back.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, PROXY_AUTHENTICATE};
use http::header::{PROXY_AUTHORIZATION, TRAILER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};

use super::adapt;
use super::cors;
use super::exchange::Exchange;
use super::grpc;
use super::upstream::fault;
use crate::gate::headers::{self, Asked, Fault, Forwarding};
use crate::gate::limit::Quota;
use crate::gate::request::RequestId;

/// How many interim answers are passed on before the one that counts.
const MAX_INTERIM: u8 = 16;

/// Makes the head that the upstream gets. The engine has removed hop-by-hop fields before: nothing that is set here can
/// be taken away by the client.
pub(super) fn request(session: &Session, upstream: &mut RequestHeader, exchange: &mut Exchange) -> Result<()> {
    let request_id = exchange.id().clone();
    let permit = exchange.permit()?;
    let received = session.req_header();
    let unreadable = |_| Error::new_in(ErrorType::InternalError);
    let asked = Asked {
        method: &received.method,
        path: adapt::split_query(adapt::target(received).map_err(unreadable)?).0,
        request_id: &request_id,
        // What is signed ends soon, and a server may have been waited for.
        now: permit.realm().identity_headers.assertion().map_or(exchange.at, |_| exchange.now()),
    };
    let forwarding = Forwarding {
        peer: exchange.trail.peer_ip,
        scheme: adapt::scheme(session),
        host: adapt::host(received).map_err(unreadable)?.unwrap_or_default(),
        asked,
    };
    // The engine's own setters keep the spelling of each name beside it: that costs more than all of this, and names have
    // no case (RFC 9110 section 5.1).
    let mut parts = Parts::from(std::mem::replace(upstream, RequestHeader::from(Request::new(()).into_parts().0)));
    headers::apply(permit, &forwarding, &mut parts.headers).map_err(|fault| untold(&fault, &request_id))?;
    if received.version == Version::HTTP_2 {
        // On the way from HTTP/2 to HTTP/2 the engine leaves them: they are for this gateway, which has no use for them.
        for name in [PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRAILER] {
            parts.headers.remove(name);
        }
        // With a host it makes the scheme that of the connection to the upstream. Without one it would leave the client's,
        // who may say what he likes, and servers that hold it against their connection would refuse the request.
        if !parts.headers.contains_key(HOST) {
            let host = HeaderValue::from_str(forwarding.host).or_err(ErrorType::InternalError, "host")?;
            parts.headers.try_insert(HOST, host).or_err(ErrorType::InternalError, "too many fields")?;
        }
    }
    if received.version != Version::HTTP_11 {
        // Nobody would pass the 100 on (RFC 9110 section 10.1.1).
        parts.headers.remove(EXPECT);
    }
    if let Some(host) = permit.route().upstream.as_ref().and_then(|upstream| upstream.host.as_ref()) {
        let host = HeaderValue::from_str(host).or_err(ErrorType::InternalError, "host")?;
        parts.headers.try_insert(HOST, host).or_err(ErrorType::InternalError, "too many fields")?;
    }
    *upstream = RequestHeader::from(parts);
    let target = permit.target().map_or_else(|| adapt::target(received).map_err(unreadable), Ok)?;
    if upstream.raw_path() != target.as_bytes() {
        upstream.set_raw_path(target.as_bytes())?;
    }
    Ok(())
}

/// The upstream would not be told what it relies on.
fn untold(fault: &Fault, request_id: &RequestId) -> Box<Error> {
    log_untold(request_id, fault);
    Error::explain(ErrorType::InternalError, fault.to_string()).into_in()
}

/// Tells the operator what is a fault of the gateway; too many fields are the client's.
pub(super) fn log_untold(request_id: &RequestId, fault: &Fault) {
    if matches!(fault, Fault::Unsigned(_)) {
        tracing::error!(request_id = request_id.as_str(), %fault, "a request was not forwarded");
    }
}

/// Makes the head of the upstream's answer what the client may see.
///
/// # Errors
/// It cannot be passed on without doubt.
pub(super) async fn response(
    session: &mut Session,
    response: &mut ResponseHeader,
    exchange: &mut Exchange,
) -> Result<()> {
    let fault = || Error::err_up(ErrorType::InvalidHTTPHeader);
    let switching = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !(session.is_upgrade_req() && response.version == Version::HTTP_11) {
        return fault();
    }
    let ours = names_of_ours(&response.headers, exchange)?;
    for name in &ours {
        response.remove_header(name);
    }
    response.set_version(Version::HTTP_11);
    let interim = response.status.is_informational() && !switching;
    // The engine would end the connection of a client that waited for 100 (Continue).
    session.as_downstream_mut().set_close_on_response_before_downstream_finish(!interim);
    if interim {
        exchange.interim = exchange.interim.saturating_add(1);
        return if exchange.interim > MAX_INTERIM { fault() } else { Ok(()) };
    }
    if !switching {
        remove_hop_by_hop(response);
    }
    let request_id = HeaderValue::try_from(exchange.id().as_str()).or_err(ErrorType::InternalError, "request id")?;
    response.insert_header("X-Request-Id", request_id)?;
    let permit = exchange.permit()?;
    if permit.credential_in_url() {
        response.insert_header(CACHE_CONTROL, "no-store")?;
    }
    for (name, value) in permit.quota().into_iter().flat_map(Quota::fields) {
        response.insert_header(name, value)?;
    }
    if let Some(cors) = permit.route().cors_in_force() {
        cors::tell(cors, &session.req_header().headers, response)?;
    }
    if switching {
        // A tunnel in which only the upstream speaks is no slow client; the time for a silent one bounds it.
        session.set_read_timeout(None);
        if let Some(agreed) = &exchange.agreed {
            agreed.set();
        }
    }
    if session.req_header().version == Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
        // HTTP/1.0 knows no chunks: the body ends with the connection.
        response.remove_header(&TRANSFER_ENCODING);
        session.set_keepalive(None);
    }
    let endless = switching || is_stream_of_events(response) || grpc::asked(session.req_header());
    exchange.answer_begins(session, endless).await
}

fn is_stream_of_events(response: &ResponseHeader) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    let kind = response.headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..TYPE.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(TYPE))
}

/// Makes the trailers of the upstream's answer what the client may see.
pub(super) fn trailers(trailers: &mut HeaderMap, exchange: &Exchange) -> Result<()> {
    let ours = names_of_ours(trailers, exchange)?;
    for name in &ours {
        trailers.remove(name);
    }
    Ok(())
}

/// What the upstream has no say in.
fn names_of_ours(fields: &HeaderMap, exchange: &Exchange) -> Result<Vec<HeaderName>> {
    let permit = exchange.permit()?;
    let (identity, cors) = (&permit.realm().identity_headers, permit.route().cors_in_force().is_some());
    let is_ours = |name: &&HeaderName| identity.owns(name.as_str()) || (cors && cors::owns(name));
    Ok(fields.keys().filter(is_ours).cloned().collect())
}

/// Removes what the upstream said to this gateway only (RFC 9110 section 7.6.1). How the body is framed stays: the engine
/// needs it. `Connection` itself is the engine's to set.
fn remove_hop_by_hop(response: &mut ResponseHeader) {
    let options = response.headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let mut names: Vec<_> = options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect();
    names.retain(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING);
    for name in &names {
        response.remove_header(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        response.remove_header(name);
    }
}

/// Tells the operator which server failed and how. The engine's own text is left out: it may quote what was received.
pub(super) fn log_fault(exchange: &mut Exchange, peer: &HttpPeer, error: &Error) {
    let Some(unsaid) = exchange.flight.as_ref().and_then(|flight| flight.member().server().complain()) else {
        return;
    };
    let request_id = exchange.id().clone();
    let upstream = exchange.permit.as_ref().and_then(|permit| permit.route().upstream.as_ref());
    tracing::warn!(
        request_id = request_id.as_str(),
        upstream = upstream.map(|upstream| &*upstream.name),
        server = exchange.flight.as_ref().map(|flight| flight.member().label()),
        address = %peer._address,
        fault = fault::of(error),
        unsaid,
        "an upstream failed"
    );
}
