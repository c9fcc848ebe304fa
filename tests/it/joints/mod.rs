//! Where parts meet that know nothing of each other: PROXY headers before TLS and either HTTP, gRPC through both, what is open
//! and its end over each of them, and all kinds of listeners at once through a hand-over.

mod calls;
mod ends;
mod fronts;
mod grpc;
mod handover;
mod proxied;
mod service;

use crate::support::gateway::Builder;
use crate::support::tls::{Authority, Pair};

/// Keys of a listener that speaks TLS with the files of [`with_files`].
const TLS: &str = "certificates = [{ cert = \"server.pem\", key = { file = \"server.key\" } }]";

/// The standard realm's upstream speaks HTTP/2.
fn over_http_2(realm: &str) -> String {
    let upstream = "\n[upstreams.main]\nservers = [\"{upstream}\"]\nprotocol = \"http2\"\n";
    realm.replace("upstream = \"http://{upstream}\"", "upstream = \"main\"") + upstream
}

/// A certificate for `api.test`, and who vouches for it.
struct Vouched {
    authority: Authority,
    pair: Pair,
}

impl Vouched {
    fn new() -> Self {
        let authority = Authority::new("the authority of listeners");
        let pair = authority.server(&["api.test"]);
        Self { authority, pair }
    }

    fn with_files(&self, builder: Builder) -> Builder {
        let builder = builder.file("server.pem", &self.pair.cert).file("server.key", &self.pair.key);
        builder.file("ca.pem", &self.authority.pem)
    }
}
