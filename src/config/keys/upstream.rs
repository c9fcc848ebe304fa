//! What stands behind the gateway: servers, their shares, how they are checked, verified and waited for.

use std::time::Duration;

use toml::de::DeValue;

use crate::config::section::section;
use crate::config::value::secret::SecretRef;
use crate::config::value::word::{BalanceBy, HostMode, Spoken};
use crate::config::walk::{Item, Kind, Shape, Value, Walk};
use crate::gate::policy::ServerAddress;

section! {
    /// `[upstreams.NAME]`
    Upstream {
        /// Each server as `"host:port"` or `"unix:/path"`, or as `{ address = "host:port", weight = 3 }`: its share of the requests, 1 where nothing is said, up to 1000. A server of weight 0 gets none at all, not even when all others are down. At most 64.
        required servers: Vec<Item<UpstreamServer>>;
        /// Which server gets a request: they take turns, each as often as its weight says; the one with the fewest requests on their way, for its weight; or always the same one for a client address (IPv6: for its /64), as long as it is there.
        default balance: BalanceBy = r#""round_robin""#;
        /// What is spoken to the servers. `http2` is spoken at once where there is no TLS, and offered where there is: a server that does not take it is spoken to in HTTP/1.1.
        default protocol: Spoken = r#""http1""#;
        /// Which `Host` the upstream sees: the client's, or its own.
        default host: HostMode = r#""preserve""#;
        /// Speaks TLS to the upstream, and verifies it.
        optional tls: UpstreamTls;
        /// How long is waited.
        default timeouts: UpstreamTimeouts = "{}";
        /// How often a request is tried again, up to 10, with another server where there is one: only when nothing of it was sent, when a server says that it did nothing with it (HTTP/2), or when it changes nothing, has no body, and its connection had been used before and was found dead. Nothing is tried again later than `read` after the first try.
        default retries: u32 = "1";
        /// So many requests may be on their way to the upstream at once, WebSockets included; more get 503 `overloaded`. Where it is left out, any number.
        optional max_connections: u32;
        /// Asks the servers how they are, while nobody else does. Those that fail get no requests; where none is left, requests get 502.
        optional health: HealthCheck;
        /// Leaves a server alone for a while that fails requests. Where no other is left, it is used all the same.
        optional eject: Eject;
    }
}

section! {
    /// A server that has a weight.
    ServerKeys {
        /// `"host:port"` or `"unix:/path"`.
        required address: ServerAddress;
        /// Its share of the requests, up to 1000; 0 = none at all.
        default weight: u32 = "1";
    }
}

/// A server of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamServer {
    /// Where it is.
    pub(crate) address: ServerAddress,
    /// Its share, if one is given.
    pub(crate) weight: Option<Item<u32>>,
}

impl Shape for UpstreamServer {
    fn kind() -> Kind {
        Kind::OneOf(vec![ServerAddress::kind(), ServerKeys::kind()])
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            return ServerAddress::read(value, walk).map(|address| Self { address, weight: None });
        }
        let keys = ServerKeys::read(value, walk)?;
        Some(Self { address: keys.address.value()?.clone(), weight: Some(keys.weight) })
    }
}

section! {
    /// TLS to an upstream.
    UpstreamTls {
        /// Name that the certificate must have; the server's host where it is left out.
        optional sni: String;
        /// PEM file of the authorities to trust instead of the system's.
        optional ca: String;
        /// PEM file of the certificate that the gateway proves itself with, and of those between it and its authority.
        optional client_cert: String;
        /// The key of `client_cert`, as PEM.
        optional client_key: SecretRef;
    }
}

section! {
    /// How long is waited, unless a route says otherwise.
    UpstreamTimeouts {
        /// For a connection, TLS included.
        default connect: Duration = r#""1s""#;
        /// Between two reads.
        default read: Duration = r#""30s""#;
        /// Between two writes. A client's body may pause as long, and take as long with a second more for every 500 bytes.
        default write: Duration = r#""30s""#;
        /// An unused connection is kept.
        default idle: Duration = r#""60s""#;
        /// A WebSocket through which nothing passes is kept.
        default tunnel: Duration = r#""1h""#;
    }
}

section! {
    /// How servers are checked: exactly one of `path`, `tcp`, `grpc`. A server is taken for healthy until its first check; where that fails, it is out at once.
    HealthCheck {
        /// A GET of this path must be answered with one of `status`.
        optional path: String;
        /// A connection must come about, without TLS.
        optional tcp: bool;
        /// The service of this name must be `SERVING` by the health protocol of gRPC; `""` asks about the server as a whole. Needs `protocol = "http2"`.
        optional grpc: String;
        /// `Host` of the check; the server's own where it is left out.
        optional host: String;
        /// The good answers of `path`; 200 to 299 where it is left out.
        default status: Vec<Item<u32>> = "[]";
        /// The pause between two checks of a server, give or take a tenth; at least 100 ms.
        default interval: Duration = r#""5s""#;
        /// How long a check may take.
        default timeout: Duration = r#""2s""#;
        /// So many good checks in a row bring a server back.
        default healthy: u32 = "2";
        /// So many bad checks in a row take a server out.
        default unhealthy: u32 = "3";
    }
}

section! {
    /// When a server is left alone.
    Eject {
        /// After so many failures in a row: connections that do not come about, answers that break off, cannot be read or do not come in time.
        default failures: u32 = "5";
        /// For this long.
        default r#for: Duration = r#""10s""#;
        /// Answers that are failures too, such as 502, 503, 504.
        default statuses: Vec<Item<u32>> = "[]";
    }
}
