//! The two heads that pass through: the request's on its way to the upstream, the answer's on its way back.

use std::sync::Arc;

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};

use super::adapt;
use super::exchange::Exchange;
use crate::gate::headers::{self, Forwarding};
use crate::gate::limit::Quota;

/// Makes the head that the upstream gets. The engine has removed hop-by-hop fields before: nothing that is set here can
/// be taken away by the client.
pub(super) fn request(session: &Session, upstream: &mut RequestHeader, exchange: &mut Exchange) -> Result<()> {
    let request_id = exchange.id().clone();
    let permit = exchange.permit()?;
    let received = session.req_header();
    let unreadable = |_| Error::new_in(ErrorType::InternalError);
    let forwarding = Forwarding {
        peer: exchange.trail.peer_ip,
        scheme: adapt::scheme(session),
        host: adapt::host(received).map_err(unreadable)?.unwrap_or_default(),
        request_id: &request_id,
    };
    // The engine's own setters keep the spelling of each name beside it: that costs more than all of this, and names have
    // no case (RFC 9110 section 5.1).
    let mut parts = Parts::from(std::mem::replace(upstream, RequestHeader::from(Request::new(()).into_parts().0)));
    headers::apply(permit, &forwarding, &mut parts.headers).or_err(ErrorType::InternalError, "too many fields")?;
    if let Some(host) = &permit.route().upstream.host {
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

/// Makes the head of the upstream's answer what the client may see.
pub(super) fn response(session: &mut Session, response: &mut ResponseHeader, exchange: &mut Exchange) -> Result<()> {
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    let request_id = HeaderValue::try_from(exchange.id().as_str()).or_err(ErrorType::InternalError, "request id")?;
    let permit = exchange.permit()?;
    let identity = &permit.realm().identity_headers;
    let ours: Vec<HeaderName> = response.headers.keys().filter(|name| identity.owns(name.as_str())).cloned().collect();
    for name in &ours {
        response.remove_header(name);
    }
    // Between the gateway and the upstream only (RFC 9110 section 7.6.1); the engine leaves it.
    response.remove_header("keep-alive");
    response.insert_header("X-Request-Id", request_id)?;
    for (name, value) in permit.quota().into_iter().flat_map(Quota::fields) {
        response.insert_header(name, value)?;
    }
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        // A tunnel in which only the upstream speaks is no slow client; the upstream's read timeout bounds it.
        session.set_read_timeout(None);
    }
    if session.req_header().version == Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
        // HTTP/1.0 knows no chunks: the body ends with the connection.
        response.remove_header(&TRANSFER_ENCODING);
        session.set_keepalive(None);
    }
    Ok(())
}

/// Tells the operator which server failed and how. The engine's own text is left out: it may quote what was received.
pub(super) fn log_fault(exchange: &mut Exchange, peer: &HttpPeer, error: &Error) {
    let Some(server) = exchange.server.clone() else { return };
    let Some(withheld) = server.complain(exchange.at) else { return };
    let upstream = exchange.permit.as_ref().map(|permit| Arc::clone(&permit.route().upstream.name));
    tracing::warn!(
        request_id = exchange.id().as_str(),
        upstream = upstream.as_deref(),
        server = server.label(),
        address = %peer._address,
        fault = error.reason_str(),
        withheld,
        "an upstream failed"
    );
}
