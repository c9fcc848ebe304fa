//! One request from its arrival to its line in the log: the engine hands this from callback to callback.

use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use pingora::proxy::Session;
use pingora::{ErrorType, OkOrErr, Result};

use super::body::Pace;
use super::front_door::Window;
use super::upstream::Server;
use super::{Gateway, Live, adapt};
use crate::clock::{Stopwatch, UnixMillis};
use crate::gate::outcome::{Denial, Permit, Reason, Why};
use crate::gate::policy::Timeouts;
use crate::gate::request::{Handshake, RequestId};
use crate::gate::trail::Trail;
use crate::telemetry::{Ending, Outcome};

/// State of one request. Written down exactly once, by [`Exchange::record`] or, when that is never reached, on drop.
#[derive(Debug)]
pub struct Exchange {
    gateway: Arc<Gateway>,
    /// The configuration that decides about this request to its end.
    pub(super) live: Arc<Live>,
    /// The one clock reading.
    pub(super) at: UnixMillis,
    /// What became known.
    pub(super) trail: Trail,
    /// What the connection's TLS handshake told.
    pub(super) handshake: Option<Arc<Handshake>>,
    /// The right to forward.
    pub(super) permit: Option<Permit>,
    /// How often an upstream was tried.
    pub(super) tries: u8,
    /// The time that the client has for its body.
    pub(super) pace: Option<Pace>,
    /// Interim answers (1xx) so far.
    pub(super) interim: u8,
    /// The server that was tried last.
    pub(super) server: Option<Arc<Server>>,
    id: Option<RequestId>,
    arrived: Option<Stopwatch>,
    upstream: Option<Stopwatch>,
    answered: Option<Duration>,
    recorded: bool,
}

impl Exchange {
    /// A request that has just arrived.
    pub(super) fn new(gateway: &Arc<Gateway>) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            live: gateway.live.load_full(),
            at: gateway.clock.now(),
            trail: Trail::default(),
            handshake: None,
            permit: None,
            tries: 0,
            pace: None,
            interim: 0,
            server: None,
            id: None,
            arrived: None,
            upstream: None,
            answered: None,
            recorded: false,
        }
    }

    /// Takes from the connection what it knows.
    pub(super) fn meet(&mut self, session: &Session) {
        let window = session.stream().and_then(|stream| (**stream).as_any().downcast_ref::<Window>());
        self.arrived = Some(window.map_or_else(Stopwatch::start, Window::arrived));
        self.handshake = adapt::handshake(session);
        self.trail.peer_ip = adapt::peer(session).map(|peer| peer.ip());
        self.id = adapt::adopted_id(&session.req_header().headers, self.trail.peer_ip, &self.live);
    }

    /// The request's id.
    pub(super) fn id(&mut self) -> &RequestId {
        self.id.get_or_insert_with(|| RequestId::generate(self.at))
    }

    /// The right to forward. The engine asks for an upstream only after it was granted.
    pub(super) fn permit(&self) -> Result<&Permit> {
        self.permit.as_ref().or_err(ErrorType::InternalError, "forwarding without a permit")
    }

    /// How long is waited in this exchange.
    pub(super) fn timeouts(&self) -> Result<Timeouts> {
        let route = self.permit()?.route();
        let upstream = route.upstream.as_ref().map(|upstream| upstream.timeouts);
        Ok(route.timeouts.or(upstream.unwrap_or_default()))
    }

    /// Remembers why the request is refused.
    pub(super) fn refused(&mut self, denial: &Denial) {
        self.trail.reason = Some(denial.reason);
        self.trail.why = denial.why;
    }

    /// The gateway has answered itself; whom it is about, where only that tells.
    pub(super) fn granted(&mut self, subject: Option<&str>) {
        self.trail.granted = Some(subject.map(Box::from));
    }

    /// Another try at an upstream begins. Returns the time that the client has for its body, since the first.
    pub(super) fn try_upstream(&mut self, server: &Arc<Server>, timeouts: Timeouts) -> Pace {
        self.tries = self.tries.saturating_add(1);
        self.server = Some(Arc::clone(server));
        let begun = *self.upstream.get_or_insert_with(Stopwatch::start);
        *self.pace.get_or_insert_with(|| Pace::new(timeouts, begun))
    }

    /// The upstream's answer has ended.
    pub(super) fn upstream_ended(&mut self) {
        self.answered = self.upstream.map(Stopwatch::elapsed);
    }

    /// Writes the request down.
    pub(super) fn record(&mut self, session: &Session, broken: bool) {
        let header = session.req_header();
        let target = adapt::target(header).unwrap_or_default();
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        if broken && self.trail.reason.is_none() {
            self.trail.why.get_or_insert(Why::Connection);
        }
        let facts = Facts {
            outcome: match outcome(self.trail.reason, broken) {
                Outcome::Forwarded if self.trail.granted.is_some() => Outcome::Granted,
                Outcome::Forwarded if self.trail.would_deny.is_some() => Outcome::WouldDeny,
                outcome => outcome,
            },
            status,
            method: header.method.as_str(),
            path: adapt::split_query(target).0,
            bytes_in: u64::try_from(session.body_bytes_read()).unwrap_or(u64::MAX),
            bytes_out: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
            http_version: adapt::version(header),
            user_agent: header.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
            peer: adapt::peer(session),
        };
        self.write(facts);
    }

    fn write(&mut self, facts: Facts<'_>) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let upstream = self.answered.or_else(|| self.upstream.map(Stopwatch::elapsed));
        let ending = Ending {
            at: self.at,
            request_id: self.id.get_or_insert_with(|| RequestId::generate(self.at)),
            trail: &self.trail,
            outcome: facts.outcome,
            status: facts.status,
            method: facts.method,
            path: facts.path,
            server: self.server.as_deref().map(Server::label),
            bytes_in: facts.bytes_in,
            bytes_out: facts.bytes_out,
            duration: self.arrived.map(Stopwatch::elapsed).unwrap_or_default(),
            upstream,
            http_version: facts.http_version,
            user_agent: facts.user_agent,
            peer: facts.peer,
        };
        self.gateway.telemetry.record(&self.live.metrics, &ending);
    }
}

impl Drop for Exchange {
    /// A request that is torn off, by a fault of the program or when the process must end, is written down too.
    fn drop(&mut self) {
        if !self.recorded {
            self.trail.reason.get_or_insert(Reason::Internal);
            self.write(Facts {
                outcome: Outcome::Error,
                status: 0,
                method: "",
                path: "",
                bytes_in: 0,
                bytes_out: 0,
                http_version: "",
                user_agent: None,
                peer: None,
            });
        }
    }
}

struct Facts<'a> {
    outcome: Outcome,
    status: u16,
    method: &'a str,
    path: &'a str,
    bytes_in: u64,
    bytes_out: u64,
    http_version: &'static str,
    user_agent: Option<&'a str>,
    peer: Option<std::net::SocketAddr>,
}

/// A request that the gate refused is denied; what broke on the way there or back is an error.
fn outcome(reason: Option<Reason>, broken: bool) -> Outcome {
    match reason {
        Some(Reason::UpstreamUnavailable | Reason::UpstreamTimeout | Reason::Internal) => Outcome::Error,
        Some(_) => Outcome::Denied,
        None if broken => Outcome::Error,
        None => Outcome::Forwarded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_no_error_and_an_outage_of_the_upstream_is_no_refusal() {
        assert_eq!(outcome(None, false), Outcome::Forwarded);
        assert_eq!(outcome(None, true), Outcome::Error);
        assert_eq!(outcome(Some(Reason::PayloadTooLarge), true), Outcome::Denied);
        assert_eq!(outcome(Some(Reason::KeysUnavailable), false), Outcome::Denied);
        assert_eq!(outcome(Some(Reason::UpstreamTimeout), true), Outcome::Error);
    }
}
