//! Where connections arrive: between the listener and the proxy engine. What has to be known before a byte is parsed
//! belongs here (deadlines, the strict check of heads; later the PROXY protocol and TLS, which wrap the stream before
//! `connection` serves it); what a request may do does not.

mod chunks;
mod connection;
mod frames;
mod head;
mod refusal;
mod window;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;

pub use connection::Patience;
use connection::{Refused, Rules};
use head::Limits;
pub(super) use window::Window;

use super::{Forwarder, Gateway};
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
}

impl FrontDoor {
    /// A front door before `gateway`. `conf` must allow two tries (`max_retries = 2`) for an upstream to be asked again.
    ///
    /// # Panics
    /// The engine does when it cannot load the certificate authorities that `conf` names: see to it before.
    pub fn new(conf: &Arc<ServerConf>, gateway: Arc<Gateway>, patience: Patience) -> Self {
        let proxy = Arc::new(http_proxy(conf, Forwarder(Arc::clone(&gateway))));
        Self { proxy, gateway, patience }
    }
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor").field("patience", &self.patience).finish_non_exhaustive()
    }
}

#[async_trait]
impl ServerApp for FrontDoor {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        connection::serve(&self.proxy, &*self.gateway, self.patience, stream, shutdown).await;
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
