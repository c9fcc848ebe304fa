//! How connections arrive: with a PROXY header before them, over Unix sockets, over both families of addresses, and in
//! whatever number.

mod haproxy;
mod limits;
mod proxy_protocol;
mod unix;

use std::time::Duration;

use portcullis::clock::Stopwatch;

use crate::support::caller::{Call, Caller, Connection, Reply};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

/// The only client that a list lets in.
const CLIENT: &str = "203.0.113.7";

/// The standard realm behind one listener, with a route `/listed/**` for [`CLIENT`] alone.
struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

impl House {
    /// With this listener, and these `[server]` keys.
    fn with(listener: &str, server: &str) -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let gateway = Gateway::builder()
            .listen(listener)
            .standard_with(&standard, &listed())
            .server_toml(server)
            .upstream(&upstream)
            .start();
        Self { upstream, standard, gateway }
    }

    fn call(&self, target: &str) -> Call {
        self.gateway.caller().get(target).bearer(&self.standard.alice().sign())
    }

    /// Sends a request behind this header, on a connection of its own.
    #[track_caller]
    fn behind(&self, header: impl AsRef<[u8]>, call: &Call) -> Reply {
        self.gateway.caller().send_raw([header.as_ref(), &call.bytes()].concat())
    }

    /// How many connections were turned away for this reason.
    fn turned_away(&self, why: &str) -> f64 {
        self.gateway.metric("portcullis_connections_refused_total", &[("why", why)])
    }

    #[track_caller]
    fn becomes_turned_away(&self, why: &str, count: u32) {
        self.gateway.metric_becomes("portcullis_connections_refused_total", &[("why", why)], f64::from(count));
    }

    fn is_open(&self, count: u32) {
        self.gateway.metric_becomes("portcullis_connections_open", &[], f64::from(count));
    }
}

fn listed() -> String {
    format!("\n[[routes]]\nname = \"listed\"\npath = \"/listed/**\"\nauth = [\"jwt\"]\nallow_ips = [\"{CLIENT}\"]\n")
}

/// Nothing is answered; how long that took.
#[track_caller]
fn assert_refused(mut connection: Connection) -> Duration {
    let waited = Stopwatch::start();
    connection.assert_closed();
    waited.elapsed()
}

/// A connection that is served: it counts from now on.
#[track_caller]
fn served(caller: &Caller, header: impl AsRef<[u8]>) -> Connection {
    let mut connection = caller.connect();
    connection.write(header);
    caller.get("/public/x").send_on(&mut connection).ok();
    connection
}

/// The same, if there is room for it.
fn admitted(caller: &Caller, header: impl AsRef<[u8]>) -> Option<Connection> {
    let mut connection = caller.connect();
    let reply = connection.try_send_raw([header.as_ref(), &caller.get("/public/x").bytes()].concat())?;
    reply.ok();
    Some(connection)
}
