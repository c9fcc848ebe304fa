//! Answers of the gateway itself, in the realm's dialect: refusals, and what becomes of faults on the way to the upstream
//! and back. No answer tells an address, a version or a cause from inside.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderName, Method};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::adapt;
use super::cors;
use super::exchange::Exchange;
use super::grpc;
use crate::gate::dialect::Rendered;
use crate::gate::outcome::{Denial, Reason, Why};

/// Names the request in answers.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An unread body up to this size is read and thrown away, so that the connection can be kept.
const DRAINED: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How long it may take to end a connection in order that is broken off: its client may take nothing any more.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Answers a denial. The connection stays open unless what follows on it is in doubt.
///
/// # Errors
/// The client could not be written to.
pub(super) async fn refuse(session: &mut Session, exchange: &mut Exchange, denial: &Denial) -> Result<()> {
    let rendered = render(session, exchange, denial);
    let doubtful = denial.why == Some(Why::Framing) || denial.reason == Reason::Internal;
    settle_body(session, doubtful);
    write(session, rendered).await
}

/// Answers what the gateway gives itself. The connection stays open unless what follows on it is in doubt.
///
/// # Errors
/// The client could not be written to.
pub(super) async fn give(session: &mut Session, rendered: Rendered) -> Result<()> {
    settle_body(session, false);
    write(session, rendered).await
}

/// Answers a fault of the exchange with the upstream, as far as an answer has not begun and the client is still there.
/// The engine closes the connection afterwards.
pub(super) async fn fail(session: &mut Session, exchange: &mut Exchange, error: &Error) -> FailToProxy {
    let silent = FailToProxy { error_code: 0, can_reuse_downstream: false };
    let over = exchange.over().cloned();
    let ended = over.is_some();
    let Some(denial) = over.or_else(|| classify(error)) else { return silent };
    if session.response_written().is_some_and(|sent| !sent.status.is_informational() || sent.status == 101) {
        exchange.refused(&denial);
        if ended {
            exchange.record(session, true);
            let shutdown = session.as_downstream_mut().shutdown();
            if tokio::time::timeout(LAST_WORDS, shutdown).await.is_err() {
                tracing::debug!("a client did not take the end of what was broken off");
            }
        }
        return silent;
    }
    let rendered = render(session, exchange, &denial);
    let error_code = rendered.status;
    session.set_keepalive(None);
    match write(session, rendered).await {
        Ok(()) => {
            // The engine would just close. To end it in order may take a while, which is not the request's any more.
            exchange.record(session, true);
            session.as_downstream_mut().shutdown().await;
        }
        Err(error) => tracing::debug!(kind = error.reason_str(), "the client left before it was told of a fault"),
    }
    FailToProxy { error_code, ..silent }
}

/// What a fault means for the client; none when the client itself is gone.
fn classify(error: &Error) -> Option<Denial> {
    use ErrorType as T;
    let denial = match (&error.esource, &error.etype) {
        (_, T::HTTPStatus(413)) => Denial::new(Reason::PayloadTooLarge),
        (ErrorSource::Upstream, T::ConnectTimedout | T::TLSHandshakeTimedout | T::ReadTimedout | T::WriteTimedout) => {
            Denial::because(Reason::UpstreamTimeout, Why::Connection)
        }
        (ErrorSource::Upstream, T::ReadError) if cause(error) == Some(ErrorKind::TimedOut) => {
            Denial::because(Reason::UpstreamTimeout, Why::Connection)
        }
        (ErrorSource::Upstream, _) => Denial::because(Reason::UpstreamUnavailable, Why::Connection),
        // The front door could not read it (`front_door::window`).
        (ErrorSource::Downstream, T::ReadError) if cause(error) == Some(ErrorKind::InvalidData) => {
            Denial::because(Reason::BadRequest, Why::Framing)
        }
        (
            ErrorSource::Downstream,
            // Over HTTP/2 a client that leaves resets its stream.
            T::ReadError | T::WriteError | T::WriteTimedout | T::ConnectionClosed | T::H2Error,
        ) => return None,
        (ErrorSource::Downstream, T::ReadTimedout) => Denial::new(Reason::RequestTimeout),
        (ErrorSource::Downstream, _) => Denial::because(Reason::BadRequest, Why::Framing),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Denial::new(Reason::Internal),
    };
    Some(denial)
}

/// What the connection itself said.
fn cause(error: &Error) -> Option<ErrorKind> {
    error.cause.as_ref().and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

fn render(session: &Session, exchange: &mut Exchange, denial: &Denial) -> Rendered {
    exchange.refused(denial);
    let standard = exchange.trail.route.as_ref().is_some_and(|route| route.standard);
    let realm = exchange.trail.realm.as_ref();
    let of_realm = realm.map(|realm| if standard { &realm.oauth_dialect } else { &realm.dialect });
    let dialect = Arc::clone(of_realm.unwrap_or(&exchange.live.snapshot.dialect));
    let mut rendered = dialect.render(denial, exchange.id());
    cors::tell_own(&exchange.trail, &session.req_header().headers, &mut rendered.headers);
    // A question is answered by the status: a refusal that says 200 would be taken for a permission.
    if exchange.asked || !grpc::asked(session.req_header()) {
        return rendered;
    }
    exchange.told_as(rendered.status);
    grpc::refusal(denial, rendered)
}

/// Decides what becomes of a body that nobody will read, and with it whether the connection is kept.
fn settle_body(session: &mut Session, doubtful: bool) {
    if session.is_http2() {
        // The stream ends, and nothing else: the engine tells the client to send no more of its body.
        return;
    }
    let doubtful = doubtful || session.is_upgrade_req();
    let drainable = session.is_body_done() || {
        let headers = &session.req_header().headers;
        // A client that waits for 100 (Continue) may send the body after a refusal, or may not.
        !headers.contains_key(EXPECT) && adapt::declared_length(headers).is_some_and(|length| length <= DRAINED)
    };
    if doubtful || !drainable {
        session.set_keepalive(None);
        return;
    }
    // The engine would announce the end of the connection whenever a body is unread.
    let downstream = session.as_downstream_mut();
    downstream.set_close_on_response_before_downstream_finish(false);
    downstream.set_total_drain_timeout(Some(DRAIN_TIME));
}

async fn write(session: &mut Session, rendered: Rendered) -> Result<()> {
    let mut header = ResponseHeader::build(rendered.status, Some(rendered.headers.len() + 3))?;
    for (name, value) in rendered.headers {
        header.append_header(name, value)?;
    }
    if rendered.body.is_empty()
        && let ServerSession::H2(stream) = session.as_downstream_mut()
    {
        // Its head is all of it: a gRPC client takes no other for an answer of trailers only.
        return stream.write_response_header(Box::new(header), true).map_err(|error| error.into_down());
    }
    // RFC 9110 section 8.6: a 204 has none, and that of a 304 would be another answer's.
    if !matches!(rendered.status, 204 | 304) {
        header.insert_header(CONTENT_LENGTH, rendered.body.len())?;
    }
    let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { Bytes::from(rendered.body) };
    session.write_response_header(Box::new(header), false).await.map_err(|error| error.into_down())?;
    session.write_response_body(Some(body), true).await.map_err(|error| error.into_down())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn session(request: &str) -> (Session, DuplexStream) {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut session = Session::new_h1(Box::new(server));
        assert!(session.read_request().await.unwrap());
        (session, client)
    }

    fn rendered() -> Rendered {
        let headers = vec![(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"))];
        Rendered { status: 401, headers, body: b"{}".to_vec() }
    }

    async fn answer_to(request: &str, denial: Denial) -> String {
        let (mut session, mut client) = session(request).await;
        settle_body(&mut session, denial.why == Some(Why::Framing) || denial.reason == Reason::Internal);
        write(&mut session, rendered()).await.unwrap();
        let mut answer = vec![0; 4096];
        let count = client.read(&mut answer).await.unwrap();
        let mut answer = String::from_utf8(answer[..count].to_vec()).unwrap();
        if !answer.ends_with("{}") && !request.starts_with("HEAD") {
            let mut rest = vec![0; 2];
            client.read_exact(&mut rest).await.unwrap();
            answer.push_str(std::str::from_utf8(&rest).unwrap());
        }
        answer
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_connection_when_the_body_is_small() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n",
        ] {
            let answer = answer_to(request, Denial::new(Reason::TokenInvalid)).await;
            assert!(answer.contains("\r\nConnection: keep-alive\r\n"), "{request:?}: {answer}");
            assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_refusal_closes_when_the_body_is_large_or_its_end_unknown() {
        for request in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ] {
            let answer = answer_to(request, Denial::new(Reason::TokenInvalid)).await;
            assert!(answer.contains("\r\nConnection: close\r\n"), "{request:?}: {answer}");
        }
        let doubt = Denial::because(Reason::BadRequest, Why::Framing);
        let answer = answer_to("GET / HTTP/1.1\r\nHost: a\r\n\r\n", doubt).await;
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn the_answer_to_head_has_the_length_and_no_body() {
        let answer = answer_to("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Denial::new(Reason::TokenInvalid)).await;
        assert!(answer.contains("Content-Length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn a_client_that_leaves_is_no_fault_of_the_upstream() {
        for kind in [
            ErrorType::ReadError,
            ErrorType::WriteError,
            ErrorType::ConnectionClosed,
            ErrorType::WriteTimedout,
            ErrorType::H2Error,
        ] {
            assert_eq!(classify(&Error::new_down(kind.clone())), None, "{kind:?}");
        }
    }

    #[test]
    fn faults_become_the_status_that_says_whose_they_are() {
        let status = |kind, source| classify(&Error::create(kind, source, None, None)).unwrap().reason.public().status;
        assert_eq!(status(ErrorType::ConnectRefused, ErrorSource::Upstream), 502);
        assert_eq!(status(ErrorType::InvalidCert, ErrorSource::Upstream), 502);
        assert_eq!(status(ErrorType::InvalidHTTPHeader, ErrorSource::Upstream), 502);
        assert_eq!(status(ErrorType::ConnectTimedout, ErrorSource::Upstream), 504);
        assert_eq!(status(ErrorType::ReadTimedout, ErrorSource::Upstream), 504);
        assert_eq!(status(ErrorType::HTTPStatus(413), ErrorSource::Internal), 413);
        assert_eq!(status(ErrorType::new("InvalidChunk"), ErrorSource::Downstream), 400);
        assert_eq!(status(ErrorType::ReadTimedout, ErrorSource::Downstream), 408);
        assert_eq!(status(ErrorType::InternalError, ErrorSource::Unset), 500);
        let malformed = std::io::Error::from(std::io::ErrorKind::InvalidData);
        let malformed = Error::because(ErrorType::ReadError, "", malformed).into_down();
        assert_eq!(classify(&malformed).map(|denial| denial.reason), Some(Reason::BadRequest));
    }
}
