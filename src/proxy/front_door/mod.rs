//! Where connections arrive: between the listener and the proxy engine. What has to be known before a byte is parsed
//! belongs here (the PROXY protocol, TLS, deadlines, the strict check of heads); what a request may do does not.

#[cfg(test)]
mod book;
mod chunks;
mod client_certificate;
mod connection;
mod crowd;
mod h2;
mod head;
mod introduce;
mod proxy_protocol;
mod refusal;
pub mod tls;
mod websocket;
mod window;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;

pub use connection::Patience;
use connection::{Refused, Rules};
pub use crowd::Crowd;
use head::Limits;
use tls::Securing;
pub(super) use window::Window;

use super::{Forwarder, Gateway, Live};
use crate::clock::UnixMillis;
use crate::gate::dialect::Rendered;
use crate::gate::request::RequestId;
use crate::gate::trail::Trail;
use crate::telemetry::{Arrivals, Ending, Outcome};

/// What a listener wants of its connections.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Whether they come over a Unix socket.
    pub unix: bool,
    /// Whether each begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether HTTP/2 is spoken without TLS with whoever begins with its preface (RFC 9113 section 3.3). Elsewhere the preface
    /// is no request.
    pub http2: bool,
    /// Whether only questions about requests are answered there.
    pub decides_only: bool,
    /// Makes its handshakes; none where it is plain.
    pub tls: Option<Arc<Securing>>,
    /// Counts them.
    pub arrivals: Arrivals,
}

/// What all listeners of a gateway share: one pool of connections to upstreams, above all.
pub struct FrontDoors {
    proxy: Arc<HttpProxy<Forwarder>>,
    decisions: Arc<HttpProxy<Forwarder>>,
    gateway: Arc<Gateway>,
    patience: Patience,
    crowd: Arc<Crowd>,
}

/// Serves the connections of one listener.
pub struct FrontDoor {
    shared: Arc<FrontDoors>,
    listener: Listener,
}

impl FrontDoors {
    /// Front doors before `gateway`. `conf` must allow as many tries (`max_retries`) as an upstream may ask for.
    ///
    /// # Panics
    /// The engine does when it cannot load the certificate authorities that `conf` names: see to it before.
    pub fn new(conf: &Arc<ServerConf>, gateway: Arc<Gateway>, patience: Patience, crowd: Arc<Crowd>) -> Arc<Self> {
        let [proxy, decisions] = [false, true].map(|decides_only| {
            let forwarder = Forwarder { gateway: Arc::clone(&gateway), decides_only };
            Arc::new(http_proxy(conf, forwarder))
        });
        Arc::new(Self { proxy, decisions, gateway, patience, crowd })
    }

    /// The one of a listener.
    pub fn of(self: &Arc<Self>, listener: Listener) -> FrontDoor {
        FrontDoor { shared: Arc::clone(self), listener }
    }
}

/// Whether `text` is a host, and perhaps a port, and nothing besides.
pub(super) fn is_host(text: &str) -> bool {
    head::plain_authority(text.as_bytes())
}

/// Whether `text` is a path, and perhaps a query, that could have come through a front door.
pub(super) fn is_target(text: &str) -> bool {
    text.starts_with('/') && head::check_target(text.as_bytes(), Limits::new(usize::MAX, 0)).is_ok()
}

impl fmt::Debug for FrontDoors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoors").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor").field("listener", &self.listener).finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerApp for FrontDoor {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let (mut stream, _place) = self.receive(stream).await?;
        let FrontDoors { proxy, decisions, gateway, patience, .. } = &*self.shared;
        let proxy = if self.listener.decides_only { decisions } else { proxy };
        let mut held = BytesMut::new();
        let mut http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
        if self.listener.http2 && self.listener.tls.is_none() {
            (http2, held) = match h2::listen(&mut stream, *patience, shutdown).await {
                h2::Spoken::Http2(read) => (true, read),
                h2::Spoken::Other(read) => (false, read),
                h2::Spoken::Nothing => {
                    stream.shutdown().await;
                    return None;
                }
            };
        }
        if http2 {
            h2::serve(proxy, gateway, *patience, stream, held, shutdown).await;
        } else {
            connection::serve(proxy, &**gateway, *patience, stream, held, shutdown).await;
        }
        None
    }

    /// Without this the engine would not notice that the server stops.
    async fn cleanup(&self) {
        self.shared.proxy.http_cleanup().await;
        self.shared.decisions.http_cleanup().await;
    }
}

impl Rules for Gateway {
    fn limits(&self) -> Limits {
        let sizes = self.live.load().snapshot.sizes;
        Limits::new(sizes.target, sizes.headers)
    }

    fn refuse(&self, refused: &Refused<'_>) -> Rendered {
        let live = self.live.load();
        let at = self.clock.now();
        let request_id = RequestId::generate(at);
        let rendered = live.snapshot.dialect.render(&refused.denial, &request_id);
        let sent = u64::try_from(rendered.body.len()).unwrap_or(u64::MAX);
        write_down(self, &live, refused, (at, &request_id), (rendered.status, sent));
        rendered
    }

    fn is_question(&self, target: &[u8]) -> bool {
        let live = self.live.load();
        live.snapshot.decision.as_ref().is_some_and(|endpoint| endpoint.covers(target))
    }

    fn ended(&self, refused: &Refused<'_>) {
        let at = self.clock.now();
        write_down(self, &self.live.load(), refused, (at, &RequestId::generate(at)), (0, 0));
    }
}

fn write_down(
    gateway: &Gateway,
    live: &Live,
    refused: &Refused<'_>,
    (at, request_id): (UnixMillis, &RequestId),
    (status, bytes_out): (u16, u64),
) {
    let peer_ip = refused.peer.map(|peer| peer.ip().to_canonical());
    let trail = Trail { peer_ip, reason: Some(refused.denial.reason), why: refused.denial.why, ..Trail::default() };
    gateway.telemetry.record(
        &live.metrics,
        &Ending {
            at,
            request_id,
            trail: &trail,
            outcome: Outcome::Denied,
            status,
            method: refused.sketch.method,
            path: refused.sketch.path,
            server: None,
            bytes_in: 0,
            bytes_out,
            duration: refused.arrived.elapsed(),
            upstream: None,
            http_version: refused.sketch.version,
            user_agent: None,
            peer: refused.peer,
        },
    );
}
