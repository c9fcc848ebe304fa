//! Where connections arrive: between the listener and the proxy engine. What has to be known before a byte is parsed
//! belongs here (deadlines, the strict check of heads; later the PROXY protocol and TLS, which wrap the stream before
//! `connection` serves it); what a request may do does not.

mod chunks;
mod connection;
mod h2;
mod head;
mod refusal;
mod window;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;

pub use connection::Patience;
use connection::{Refused, Rules};
use head::Limits;
pub(super) use window::Window;

use super::{Forwarder, Gateway, Live};
use crate::clock::UnixMillis;
use crate::gate::dialect::Rendered;
use crate::gate::request::RequestId;
use crate::gate::trail::Trail;
use crate::telemetry::{Ending, Outcome};

/// Serves the connections of plain TCP listeners; one serves any number of listeners, which then share one pool of
/// connections to upstreams.
pub struct FrontDoor {
    proxy: Arc<HttpProxy<Forwarder>>,
    gateway: Arc<Gateway>,
    patience: Patience,
    /// Where HTTP/2 is spoken without TLS.
    cleartext: Box<[SocketAddr]>,
}

impl FrontDoor {
    /// A front door before `gateway`. `conf` must allow two tries (`max_retries = 2`) for an upstream to be asked again.
    ///
    /// # Panics
    /// The engine does when it cannot load the certificate authorities that `conf` names: see to it before.
    pub fn new(conf: &Arc<ServerConf>, gateway: Arc<Gateway>, patience: Patience) -> Self {
        let proxy = Arc::new(http_proxy(conf, Forwarder(Arc::clone(&gateway))));
        Self { proxy, gateway, patience, cleartext: Box::default() }
    }

    /// Speaks HTTP/2 with whoever begins with its preface at one of these addresses (RFC 9113 section 3.3). Elsewhere the
    /// preface is no request.
    #[must_use]
    pub fn speaking_http2_at(self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { cleartext: addresses.into_iter().collect(), ..self }
    }

    /// Whether HTTP/2 without TLS is spoken where this connection arrived.
    fn takes_prior_knowledge(&self, stream: &Stream) -> bool {
        // To ask the system where costs a little: only who offers it pays.
        let here = || {
            let digest = stream.get_socket_digest()?;
            digest.local_addr()?.as_inet().copied()
        };
        !self.cleartext.is_empty()
            && here().is_some_and(|here| {
                let fits =
                    |own: &SocketAddr| own.ip().is_unspecified() || own.ip().to_canonical() == here.ip().to_canonical();
                self.cleartext.iter().any(|own| own.port() == here.port() && fits(own))
            })
    }
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor").field("patience", &self.patience).finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerApp for FrontDoor {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut held = BytesMut::new();
        if self.takes_prior_knowledge(&stream) {
            match h2::listen(&mut stream, self.patience, shutdown).await {
                h2::Spoken::Http2(held) => {
                    h2::serve(&self.proxy, &self.gateway, self.patience, stream, held, shutdown).await;
                    return None;
                }
                h2::Spoken::Other(read) => held = read,
                h2::Spoken::Nothing => {
                    stream.shutdown().await;
                    return None;
                }
            }
        }
        connection::serve(&self.proxy, &*self.gateway, self.patience, stream, held, shutdown).await;
        None
    }

    /// Without this the engine would not notice that the server stops.
    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
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
