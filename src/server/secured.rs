//! TLS of the listeners: what is in force, who makes the handshakes, and what is told of the certificates.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use crate::proxy::Gateway;
use crate::proxy::front_door::tls::{Securing, secure};
use crate::tls::{InForce, Listeners};

/// Who makes the handshakes of each listener that is not plain.
pub(super) fn securing(
    tls: &Listeners<Arc<InForce>>,
    gateway: &Gateway,
    patience: Duration,
) -> Listeners<Arc<Securing>> {
    let one = |tls: &Option<Arc<InForce>>| {
        let tls = Arc::clone(tls.as_ref()?);
        let handshakes = gateway.telemetry.handshakes(tls.current().listener());
        Some(Arc::new(Securing::new(tls, handshakes, patience, Arc::clone(&gateway.clock))))
    };
    Listeners { server: tls.server.iter().map(one).collect(), admin: one(&tls.admin) }
}

/// An application that is served over TLS where its listener has it.
pub(super) struct Secured<A> {
    app: Arc<A>,
    tls: Option<Arc<Securing>>,
}

impl<A> Secured<A> {
    pub(super) fn new(app: A, tls: Option<Arc<Securing>>) -> Self {
        Self { app: Arc::new(app), tls }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Secured<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let stream = secure(stream, self.tls.as_deref()).await?;
        self.app.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}
