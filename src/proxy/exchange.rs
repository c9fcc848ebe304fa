//! One request from its arrival to its line in the log: the engine hands this from callback to callback.

use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, OkOrErr, Result};

use super::body::Pace;
use super::decision::Original;
use super::front_door::Window;
use super::torn::{Facts, Torn};
use super::upstream::{Agreed, Call, Chosen, Flight, Seat};
use super::vigil::{self, Vigil, Watched};
use super::{Gateway, Live, adapt};
use crate::clock::{Stopwatch, UnixMillis};
use crate::gate::outcome::{Denial, Permit, Reason, Why};
use crate::gate::policy::{Ejection, Timeouts};
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
    /// Whether it asks about another request, which somebody else forwards.
    pub(super) asked: bool,
    /// That one, as far as it is told.
    pub(super) original: Option<Box<Original>>,
    /// The right to forward.
    pub(super) permit: Option<Permit>,
    /// How often an upstream was tried.
    pub(super) tries: u8,
    /// The time that the client has for its body.
    pub(super) pace: Option<Pace>,
    /// Interim answers (1xx) so far.
    pub(super) interim: u8,
    /// Its place among those on their way to the upstream, and among those on their way to any.
    pub(super) seat: Option<(Seat, Seat)>,
    /// The server that was tried last, where this is on its way to.
    pub(super) flight: Option<Flight>,
    /// The servers that were tried, as bits.
    tried: u64,
    /// Whether the last one's answer was a good one; none as long as nobody knows.
    good: Option<bool>,
    /// Whether there is a tunnel.
    pub(super) agreed: Option<Agreed>,
    vigil: Option<Vigil>,
    id: Option<RequestId>,
    arrived: Option<Stopwatch>,
    upstream: Option<Stopwatch>,
    answered: Option<Duration>,
    told: Option<u16>,
    torn: Option<Torn>,
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
            asked: false,
            original: None,
            permit: None,
            tries: 0,
            pace: None,
            interim: 0,
            seat: None,
            flight: None,
            tried: 0,
            good: None,
            agreed: None,
            vigil: None,
            id: None,
            arrived: None,
            upstream: None,
            answered: None,
            told: None,
            torn: None,
            recorded: false,
        }
    }

    /// Takes from the connection what it knows.
    pub(super) fn meet(&mut self, session: &mut Session) {
        adapt::believe_nobody(session);
        self.arrived = Some(window(session).map_or_else(Stopwatch::start, Window::arrived));
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

    /// The time now, which is later than the one reading.
    pub(super) fn now(&self) -> UnixMillis {
        self.gateway.clock.now()
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

    /// The client is told in other words than the status `status`, which is nevertheless what is written down.
    pub(super) fn told_as(&mut self, status: u16) {
        self.told = Some(status);
    }

    /// The gateway has answered itself; whom it is about, where only that tells.
    pub(super) fn granted(&mut self, subject: Option<&str>) {
        self.trail.granted = Some(subject.map(Box::from));
    }

    /// What the choice of a server depends on.
    pub(super) fn call(&mut self, timeouts: Timeouts, tunnel: bool) -> Call {
        let tunnel = tunnel.then(|| self.agreed.get_or_insert_default().clone());
        Call { timeouts, now: self.at, client: self.trail.client_ip, tried: self.tried, tunnel }
    }

    /// Another try at an upstream begins. Returns the time that the client has for its body, since the first.
    pub(super) fn try_upstream(&mut self, chosen: &Chosen<'_>, timeouts: Timeouts) -> Pace {
        self.tries = self.tries.saturating_add(1);
        self.tried |= chosen.bit;
        self.good = None;
        self.flight = Some(Flight::to(chosen.member));
        let begun = *self.upstream.get_or_insert_with(Stopwatch::start);
        *self.pace.get_or_insert_with(|| Pace::new(timeouts, begun))
    }

    /// The upstream's answer begins. `endless`: nobody can tell how long it will go on.
    ///
    /// # Errors
    /// The exchange is over.
    pub(super) async fn answer_begins(&mut self, session: &Session, endless: bool) -> Result<()> {
        if self.is_unwatched() && self.is_late() {
            // Nothing of the answer was seen yet: it waits for the look.
            let watched = self.watched(session)?;
            self.vigil = Some(Vigil::look_and_keep(watched).await);
        } else if self.is_unwatched() && endless {
            self.vigil = Some(Vigil::keep(self.watched(session)?));
        }
        self.go_on()?;
        self.arm(session);
        Ok(())
    }

    /// A part passes: so many bytes of the answer; none: of the request.
    ///
    /// # Errors
    /// The exchange is over.
    pub(super) fn part_passes(&mut self, session: &Session, of_answer: Option<usize>) -> Result<()> {
        if self.is_unwatched() && self.is_late() {
            self.vigil = Some(Vigil::keep_late(self.watched(session)?));
            if of_answer.is_some() {
                self.arm(session);
            }
        }
        if let Some(torn) = &mut self.torn {
            torn.goes_on(session, of_answer.unwrap_or(0));
        }
        self.go_on()
    }

    /// Whether nobody watches it who should: what is not enforced goes on whatever becomes of its right to.
    fn is_unwatched(&self) -> bool {
        self.vigil.is_none() && self.permit.as_ref().is_some_and(Permit::enforced)
    }

    fn is_late(&self) -> bool {
        self.arrived.is_some_and(|arrived| arrived.elapsed() >= vigil::PERIOD)
    }

    fn watched(&self, session: &Session) -> Result<Watched> {
        let (header, peer) = (session.req_header(), self.trail.peer_ip);
        Ok(Watched::new(&self.gateway, header, self.permit()?, peer, self.handshake.as_ref()))
    }

    /// Why the exchange is over before its end; none when it is not.
    pub(super) fn over(&self) -> Option<&Denial> {
        self.vigil.as_ref()?.end().verdict()
    }

    /// Has the connection itself (over HTTP/2: its stream) broken off when the exchange is over. Not before an answer has
    /// begun: it could still be a refusal.
    fn arm(&mut self, session: &Session) {
        let Some(vigil) = &self.vigil else { return };
        if let Some(window) = window(session) {
            window.ends_with(vigil.end());
        } else if vigil::stream_ends_with(vigil.end()) {
            self.torn = Some(Torn::of(session));
        }
    }

    fn go_on(&self) -> Result<()> {
        match self.over() {
            Some(_) => Error::err_down(ErrorType::ConnectionClosed),
            None => Ok(()),
        }
    }

    /// Whether the upstream may be tried once more, as far as times and tries go. A client does not wait for ever.
    pub(super) fn has_tries_left(&self) -> bool {
        let upstream = self.permit.as_ref().and_then(|permit| permit.route().upstream.as_ref());
        let patience = self.timeouts().ok().and_then(|timeouts| timeouts.read).unwrap_or_default();
        upstream.is_some_and(|upstream| self.tries <= upstream.retries)
            && self.upstream.is_none_or(|begun| begun.elapsed() < patience)
    }

    /// The server has failed the request.
    pub(super) fn failed(&mut self) {
        self.good = Some(false);
        if let (Some(flight), Some(ejection)) = (&self.flight, self.ejection()) {
            flight.member().failed(self.gateway.clock.now(), ejection);
        }
    }

    /// The server has begun to answer with this status.
    pub(super) fn answered(&mut self, status: u16) {
        if let Some(torn) = &mut self.torn {
            torn.status = status;
        }
        let bad = self.ejection().is_some_and(|ejection| ejection.statuses.contains(&status));
        if bad {
            self.failed();
        } else {
            self.good = Some(true);
        }
    }

    fn ejection(&self) -> Option<&Ejection> {
        self.permit.as_ref()?.route().upstream.as_ref()?.ejection.as_ref()
    }

    /// This address of the server could not be connected to.
    pub(super) fn avoid(&mut self, address: &PeerAddress) {
        if let Some(flight) = &mut self.flight {
            flight.land();
            flight.member().server().avoid(address, self.gateway.clock.now());
        }
    }

    /// The upstream's answer has ended.
    pub(super) fn upstream_ended(&mut self) {
        self.answered = self.upstream.map(Stopwatch::elapsed);
        self.flight.iter_mut().for_each(Flight::land);
    }

    /// Writes the request down.
    pub(super) fn record(&mut self, session: &Session, broken: bool) {
        let header = session.req_header();
        let original = self.original.take();
        let (method, path) = match &original {
            Some(original) => (original.method(), original.path()),
            None => (&header.method, adapt::split_query(adapt::target(header).unwrap_or_default()).0),
        };
        let status = session.response_written().map_or(0, |response| self.told.unwrap_or(response.status.as_u16()));
        let ended = self.over().filter(|_| broken).map(|denial| (denial.reason, denial.why));
        if let Some((reason, why)) = ended {
            (self.trail.reason, self.trail.why) = (Some(reason), why);
        } else if broken && self.trail.reason.is_none() {
            self.trail.why.get_or_insert(Why::Connection);
        }
        if let (Some(true), false, Some(flight), Some(ejection)) = (self.good, broken, &self.flight, self.ejection()) {
            flight.member().succeeded(|| self.gateway.clock.now(), ejection);
        }
        // An answer that is no more than a head has no end that would be told. Of any other whose end was not heard it may
        // come yet: a client of HTTP/1.1 has all of an answer before that.
        if !broken && session.body_bytes_sent() == 0 {
            self.flight.iter_mut().for_each(Flight::land);
        }
        let facts = Facts {
            outcome: match outcome(self.trail.reason, broken) {
                _ if ended.is_some() => Outcome::Ended,
                Outcome::Forwarded if self.trail.preflight => Outcome::Preflight,
                Outcome::Forwarded if self.trail.granted.is_some() => Outcome::Granted,
                Outcome::Forwarded if self.trail.would_deny.is_some() => Outcome::WouldDeny,
                Outcome::Forwarded if self.asked => Outcome::Allowed,
                outcome => outcome,
            },
            status,
            method: method.as_str(),
            path,
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
            server: self.flight.as_ref().map(|flight| flight.member().label()),
            bytes_in: facts.bytes_in,
            bytes_out: facts.bytes_out,
            duration: self.arrived.map(Stopwatch::elapsed).unwrap_or_default(),
            upstream,
            http_version: facts.http_version,
            user_agent: facts.user_agent,
            peer: facts.peer,
        };
        self.gateway.telemetry.record(&self.live.metrics, &ending);
        // What is left of the request is between the client and the gateway.
        (self.flight, self.seat) = (None, None);
    }
}

impl Drop for Exchange {
    /// A request that is torn off, because its stream is over, by a fault of the program or when the process must end, is
    /// written down too.
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let over = self.over().map(|denial| (denial.reason, denial.why));
        if let (Some((reason, why)), Some(torn)) = (over, self.torn.take()) {
            (self.trail.reason, self.trail.why) = (Some(reason), why);
            self.write(torn.facts());
        } else {
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

/// The view of the request on its connection; none of HTTP/2.
fn window(session: &Session) -> Option<&Window> {
    session.stream().and_then(|stream| (**stream).as_any().downcast_ref::<Window>())
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
