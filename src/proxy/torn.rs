//! What is written down of a request. Where a stream of HTTP/2 is broken off, the engine's view of it is gone by then: what
//! is needed of it is noted before.

use std::net::SocketAddr;

use http::header::USER_AGENT;
use pingora::proxy::Session;

use super::adapt;
use crate::telemetry::Outcome;

/// What the engine knows of a request at its end.
pub(super) struct Facts<'a> {
    pub(super) outcome: Outcome,
    pub(super) status: u16,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) http_version: &'static str,
    pub(super) user_agent: Option<&'a str>,
    pub(super) peer: Option<SocketAddr>,
}

/// The same of a request whose stream may be broken off.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) status: u16,
    method: Box<str>,
    path: Box<str>,
    user_agent: Option<Box<str>>,
    http_version: &'static str,
    peer: Option<SocketAddr>,
    bytes_in: u64,
    bytes_out: u64,
}

impl Torn {
    /// As far as is known now.
    pub(super) fn of(session: &Session) -> Self {
        let header = session.req_header();
        let target = adapt::target(header).unwrap_or_default();
        let agent = header.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let mut torn = Self {
            status: session.response_written().map_or(0, |response| response.status.as_u16()),
            method: header.method.as_str().into(),
            path: adapt::split_query(target).0.into(),
            user_agent: agent.map(Box::from),
            http_version: adapt::version(header),
            peer: adapt::peer(session),
            bytes_in: 0,
            bytes_out: 0,
        };
        torn.goes_on(session, 0);
        torn
    }

    /// Something passes: so many bytes of the answer, which are about to be sent.
    pub(super) fn goes_on(&mut self, session: &Session, answered: usize) {
        self.bytes_in = u64::try_from(session.body_bytes_read()).unwrap_or(u64::MAX);
        self.bytes_out = u64::try_from(session.body_bytes_sent().saturating_add(answered)).unwrap_or(u64::MAX);
    }

    /// It was broken off because it was over.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            outcome: Outcome::Ended,
            status: self.status,
            method: &self.method,
            path: &self.path,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            http_version: self.http_version,
            user_agent: self.user_agent.as_deref(),
            peer: self.peer,
        }
    }
}
