//! Where connections arrive: between the listener and the proxy engine. What has to be known before a byte is parsed
//! belongs here (the PROXY protocol, TLS, deadlines, the strict check of heads); what a request may do does not.

mod chunks;
mod client_certificate;
mod connection;
mod crowd;
mod frames;
mod head;
mod introduce;
mod proxy_protocol;
mod refusal;
pub mod tls;
mod window;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
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

use super::{Forwarder, Gateway};
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
    /// Makes its handshakes; none where it is plain.
    pub tls: Option<Arc<Securing>>,
    /// Counts them.
    pub arrivals: Arrivals,
}

/// What all listeners of a gateway share: one pool of connections to upstreams, above all.
pub struct FrontDoors {
    proxy: Arc<HttpProxy<Forwarder>>,
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
    /// Front doors before `gateway`. `conf` must allow two tries (`max_retries = 2`) for an upstream to be asked again.
    ///
    /// # Panics
    /// The engine does when it cannot load the certificate authorities that `conf` names: see to it before.
    pub fn new(conf: &Arc<ServerConf>, gateway: Arc<Gateway>, patience: Patience, crowd: Arc<Crowd>) -> Arc<Self> {
        let proxy = Arc::new(http_proxy(conf, Forwarder(Arc::clone(&gateway))));
        Arc::new(Self { proxy, gateway, patience, crowd })
    }

    /// The one of a listener.
    pub fn of(self: &Arc<Self>, listener: Listener) -> FrontDoor {
        FrontDoor { shared: Arc::clone(self), listener }
    }
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
        let (stream, _place) = self.receive(stream).await?;
        let FrontDoors { proxy, gateway, patience, .. } = &*self.shared;
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            return proxy.process_new(stream, shutdown).await;
        }
        connection::serve(proxy, &**gateway, *patience, stream, shutdown).await;
        None
    }

    /// Without this the engine would not notice that the server stops.
    async fn cleanup(&self) {
        self.shared.proxy.http_cleanup().await;
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
        let peer_ip = refused.peer.map(|peer| peer.ip().to_canonical());
        let trail = Trail { peer_ip, reason: Some(refused.denial.reason), why: refused.denial.why, ..Trail::default() };
        self.telemetry.record(
            &live.metrics,
            &Ending {
                at,
                request_id: &request_id,
                trail: &trail,
                outcome: Outcome::Denied,
                status: rendered.status,
                method: refused.sketch.method,
                path: refused.sketch.path,
                server: None,
                bytes_in: 0,
                bytes_out: u64::try_from(rendered.body.len()).unwrap_or(u64::MAX),
                duration: refused.arrived.elapsed(),
                upstream: None,
                http_version: refused.sketch.version,
                user_agent: None,
                peer: refused.peer,
            },
        );
        rendered
    }
}
