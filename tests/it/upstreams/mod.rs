//! What stands behind the gateway: which server gets a request, what becomes of those that fail, what is tried again, how
//! much is let through, and HTTP/2 towards servers.

mod balance;
mod health;
mod http2;
mod nginx;
pub(crate) mod server2;
mod small_parts;
mod tries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::gateway::Gateway;
use crate::support::scripted::Scripted;

/// A server that counts its requests, and is asked at `/healthz` how it is.
struct Counted {
    server: Scripted,
    requests: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
    sick: Arc<AtomicBool>,
}

impl Counted {
    fn start() -> Self {
        let (requests, checks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let sick = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&requests), Arc::clone(&checks), Arc::clone(&sick));
        let server = Scripted::start(move |line, _| {
            while let Some(head) = line.request() {
                let checked = head.starts_with("GET /healthz ");
                (if checked { &shared.1 } else { &shared.0 }).fetch_add(1, Ordering::SeqCst);
                let status = if checked && shared.2.load(Ordering::SeqCst) { "503 Sick" } else { "200 OK" };
                line.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"));
            }
        });
        Self { server, requests, checks, sick }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }

    fn is_sick(&self, sick: bool) {
        self.sick.store(sick, Ordering::SeqCst);
    }
}

/// What the metrics say of a server of `main`.
fn becomes_healthy(gateway: &Gateway, server: std::net::SocketAddr, healthy: bool) {
    let server = server.to_string();
    let labels = [("upstream", "main"), ("server", server.as_str())];
    gateway.metric_becomes("portcullis_upstream_healthy", &labels, f64::from(u8::from(healthy)));
}
