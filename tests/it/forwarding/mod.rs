//! What is allowed is forwarded: to which server, how often, in which time, with which head; and how bodies, streams and
//! tunnels pass through.

mod servers;
mod streams;

use std::net::SocketAddr;

use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

/// An address where nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address")
}

/// The standard realm with a route `/x/**` that goes to the upstream `main`, which has these keys.
pub(crate) fn gateway_to(upstream: &str, route: &str, places: &[(&str, SocketAddr)]) -> Gateway {
    let realm = format!(
        "\n[[routes]]\nname = \"x\"\npath = \"/x/**\"\nauth = [\"public\"]\nupstream = \"main\"\n{route}\n\
         [upstreams.main]\n{upstream}\n"
    );
    let mut builder = Gateway::builder().standard_with(&Standard::new(), &realm);
    for (name, address) in places {
        builder = builder.place(name, *address);
    }
    // Where nothing else was said.
    builder.place("upstream", nowhere()).start()
}

fn gateway_before(upstream: &Upstream) -> (Gateway, Standard) {
    let standard = Standard::new();
    (Gateway::standard(&standard, upstream), standard)
}
