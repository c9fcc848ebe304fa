//! Between pingora and the gate: what arrives becomes the gate's view, what the gate decides becomes an answer or a
//! forwarded request. Nothing is decided here.

mod adapt;
mod answer;
mod body;
mod cors;
mod decision;
mod document;
mod exchange;
mod forward;
pub mod front_door;
mod grant;
mod grpc;
mod guard;
mod torn;
pub mod upstream;
mod vigil;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};

use crate::clock::Clock;
use crate::gate::Gate;
use crate::gate::outcome::{Decision, Denial, Reason};
use crate::gate::policy::Snapshot;
use crate::telemetry::{SnapshotMetrics, Telemetry};
use crate::tokens::Tokens;
use crate::tokens::policy::Issuing;
use exchange::Exchange;
use upstream::{Resolver, Upstreams};

/// When a client may come again whose request was one too many for an upstream.
const SOON: Duration = Duration::from_secs(1);
/// A client that takes nothing of an answer for this long is gone.
const CLIENT_TAKES_NOTHING: Duration = Duration::from_secs(60);

/// A snapshot in force, with what is prepared for it. A request loads it once and keeps it to its end.
#[derive(Debug)]
pub struct Live {
    /// What decides.
    pub snapshot: Snapshot,
    /// Its metric handles.
    pub metrics: SnapshotMetrics,
    /// Its upstreams.
    pub upstreams: Upstreams,
    /// What its realms issue.
    pub issuing: Arc<Issuing>,
}

impl Live {
    /// Makes `snapshot` ready to be put in force. Await [`Resolver::resolve_all`] for it first, or its first requests
    /// find upstreams whose names are not resolved.
    pub fn prepare(snapshot: Snapshot, issuing: Arc<Issuing>, telemetry: &Telemetry, resolver: &Resolver) -> Self {
        let metrics = telemetry.prepare(&snapshot);
        let upstreams = Upstreams::prepare(&snapshot, resolver);
        Self { snapshot, metrics, upstreams, issuing }
    }
}

/// What requests are served with; shared by all listeners.
#[derive(Debug)]
pub struct Gateway {
    /// Decides.
    pub gate: Gate,
    /// The snapshot in force.
    pub live: ArcSwap<Live>,
    /// Writes down.
    pub telemetry: Arc<Telemetry>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Issues; none where there is no store.
    pub tokens: Option<Tokens>,
}

/// The gateway as the engine calls it.
#[derive(Clone, Debug)]
pub struct Forwarder {
    gateway: Arc<Gateway>,
    /// Whether it answers questions about requests and nothing else.
    decides_only: bool,
}

impl Forwarder {
    /// Whether the request is a question about another one, or must be treated as one.
    fn is_question(&self, session: &Session, exchange: &Exchange) -> bool {
        let endpoint = exchange.live.snapshot.decision.as_ref().filter(|endpoint| !endpoint.apart);
        self.decides_only
            || endpoint.is_some_and(|endpoint| {
                adapt::target(session.req_header()).is_ok_and(|target| endpoint.covers(target.as_bytes()))
            })
    }

    /// Asks the gate, then what only the edge can know.
    async fn judge(&self, session: &mut Session, exchange: &mut Exchange) -> std::result::Result<Decision, Denial> {
        let Exchange { live, trail, at, handshake, seat, .. } = exchange;
        let header = session.req_header();
        let request = adapt::view(header, trail.peer_ip, handshake.as_deref(), *at)?;
        let decision = self.gateway.gate.decide(&live.snapshot, &request, trail).await?;
        let Decision::Forward(permit) = &decision else { return Ok(decision) };
        adapt::wants_websocket(header)?;
        if adapt::declared_length(&header.headers).is_some_and(|length| length > permit.route().max_body) {
            if permit.enforced() {
                return Err(Denial::new(Reason::PayloadTooLarge));
            }
            trail.would_deny.get_or_insert((Reason::PayloadTooLarge, None));
        }
        if !permit.route().is_answered_here() {
            let reachable = live.upstreams.of(permit).filter(|target| target.reachable());
            let target = reachable.ok_or(Denial::new(Reason::UpstreamUnavailable))?;
            let full = || Denial { retry_after: Some(SOON), ..Reason::Overloaded.into() };
            *seat = Some(target.seat().ok_or_else(full)?);
        }
        Ok(decision)
    }
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(&self.gateway)
    }

    /// No modules: the gateway neither compresses nor caches.
    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        exchange.meet(session);
        session.set_write_timeout(Some(CLIENT_TAKES_NOTHING));
        if self.is_question(session, exchange) {
            decision::serve(&self.gateway, session, exchange).await?;
            return Ok(true);
        }
        // HTTP/1.0 knows no interim answers.
        let old = session.req_header().version == Version::HTTP_10;
        session.set_ignore_info_resp(old);
        let judged = guard::contain(self.judge(session, exchange)).await;
        let denial = match judged {
            Ok(Ok(Decision::Preflight(preflight))) => {
                cors::answer(session, exchange, &preflight).await?;
                return Ok(true);
            }
            Ok(Ok(Decision::Forward(permit))) => {
                if let Some(document) = &permit.route().document {
                    document::give(session, exchange, document).await?;
                    return Ok(true);
                }
                if permit.route().grant.is_some() {
                    grant::serve(self.gateway.tokens.as_ref(), session, exchange, &permit).await?;
                    return Ok(true);
                }
                exchange.permit = Some(permit);
                return Ok(false);
            }
            Ok(Err(denial)) => denial,
            Err(guard::Panicked) => Denial::new(Reason::Internal),
        };
        answer::refuse(session, exchange, &denial).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
        let live = Arc::clone(&exchange.live);
        let timeouts = exchange.timeouts()?;
        let tunnel = adapt::wants_websocket(session.req_header()) == Ok(true);
        let call = exchange.call(timeouts, tunnel);
        let next = live.upstreams.of(exchange.permit()?).and_then(|target| target.next(call));
        let Some(chosen) = next else { return Err(Error::new_up(ErrorType::ConnectNoRoute)) };
        let mut pace = exchange.try_upstream(&chosen, timeouts);
        session.set_read_timeout(Some(pace.next(0).unwrap_or_default()));
        Ok(chosen.peer)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        forward::request(session, upstream, exchange)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        part: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if session.was_upgraded() {
            return Ok(());
        }
        body::end_once(part, end);
        let bytes = u64::try_from(session.body_bytes_read()).unwrap_or(u64::MAX);
        let permit = exchange.permit()?;
        if bytes > permit.route().max_body {
            if permit.enforced() {
                return Error::err_down(ErrorType::HTTPStatus(413));
            }
            exchange.trail.would_deny.get_or_insert((Reason::PayloadTooLarge, None));
        }
        if let Some(pace) = exchange.pace.as_mut().filter(|_| !end) {
            let Some(patience) = pace.next(bytes) else { return Error::err_down(ErrorType::ReadTimedout) };
            session.set_read_timeout(Some(patience));
        }
        exchange.part_passes(session, None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        forward::response(session, response, exchange).await?;
        if !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.answered(response.status.as_u16());
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        if end {
            exchange.upstream_ended();
        }
        exchange.part_passes(session, Some(body.as_ref().map_or(0, Bytes::len)))?;
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Option<Bytes>> {
        forward::trailers(trailers, exchange)?;
        exchange.upstream_ended();
        Ok(None)
    }

    /// Nothing was sent: another server may be asked.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        exchange.avoid(&peer._address);
        exchange.failed();
        forward::log_fault(exchange, peer, &error);
        error.set_retry(exchange.has_tries_left());
        error
    }

    /// Asked again only when the client has seen nothing, nothing of a body is lost, and either the server says that it did
    /// nothing with the request (HTTP/2: GOAWAY, REFUSED_STREAM; RFC 9113 section 8.7), or the connection had been used
    /// before and was found dead, and the request changes nothing (RFC 9110 section 9.2.1) and has no body. PUT and DELETE
    /// could be asked again too, but the client would be told the outcome of the second.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        let untouched = matches!(error.retry, RetryType::Decided(true));
        error.retry.decide_reuse(reused);
        let waited = (error.esource(), error.etype()) == (&ErrorSource::Upstream, &ErrorType::ReadTimedout);
        if waited
            && !session.was_upgraded()
            && !session.is_body_done()
            && exchange.pace.is_some_and(body::Pace::is_silent)
        {
            error.as_down();
        }
        let harmless = session.req_header().method.is_safe() && session.is_body_empty();
        let repeatable = (untouched || harmless)
            && session.body_bytes_read() == 0
            && session.response_written().is_none()
            && exchange.has_tries_left();
        if !repeatable {
            error.set_retry(false);
        }
        if *error.esource() == ErrorSource::Upstream && !error.retry() {
            exchange.failed();
            forward::log_fault(exchange, peer, &error);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
        answer::fail(session, exchange, error).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        exchange.record(session, error.is_some());
    }

    /// The engine's line repeats what the access log says, and may quote what a client or an upstream sent.
    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _exchange: &Exchange,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    /// Without the query: it may hold a credential.
    fn request_summary(&self, session: &Session, _exchange: &Exchange) -> String {
        let header = session.req_header();
        let target = adapt::target(header).unwrap_or_default();
        format!("{} {}", header.method, adapt::split_query(target).0)
    }
}
