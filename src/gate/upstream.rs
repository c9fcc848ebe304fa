//! Where allowed requests go: the servers, how they take turns, what becomes of those that fail, how they are verified.
//! What is configured only; connections and how servers fare are the edge's business.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;

/// Where requests go.
#[derive(Debug)]
pub struct Upstream {
    /// Name in configuration and labels; a URL's `host:port` where it has no name.
    pub name: Arc<str>,
    /// Position in [`Realm::upstreams`](super::policy::Realm::upstreams).
    pub index: usize,
    /// Its servers; not more than [`Upstream::MOST_SERVERS`].
    pub servers: Vec<UpstreamServer>,
    /// Which server gets a request.
    pub balance: Balance,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// Which `Host` the upstream sees: none = the client's.
    pub host: Option<Box<str>>,
    /// Timeouts, complete.
    pub timeouts: Timeouts,
    /// TLS to the upstream.
    pub tls: Option<UpstreamTls>,
    /// How often a request is sent again, where it cannot be executed twice.
    pub retries: u8,
    /// How many requests may be on their way at once; none = any number.
    pub max_connections: Option<u32>,
    /// How its servers are checked while nobody asks; none = they are not.
    pub check: Option<Check>,
    /// When a server is left alone for a while; none = never.
    pub ejection: Option<Ejection>,
}

impl Upstream {
    /// So many servers an upstream may have.
    pub const MOST_SERVERS: usize = 64;

    /// An upstream of which nothing is said but its servers.
    pub fn of(name: &str, index: usize, servers: Vec<ServerAddress>) -> Self {
        Self {
            name: name.into(),
            index,
            servers: servers.into_iter().map(|address| UpstreamServer { address, weight: 1 }).collect(),
            balance: Balance::RoundRobin,
            protocol: Protocol::Http1,
            host: None,
            timeouts: Timeouts::default(),
            tls: None,
            retries: 1,
            max_connections: None,
            check: None,
            ejection: None,
        }
    }
}

/// A server of an upstream, and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the requests, up to 1000; 0 = none at all.
    pub weight: u16,
}

/// Where a server is: a host and a port, or the path of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Name or address; a path, which begins with a slash, stands for a socket on this machine.
    pub host: Box<str>,
    /// Port; 0 for a socket.
    pub port: u16,
}

impl ServerAddress {
    /// The path of the socket, if it is one.
    pub fn socket(&self) -> Option<&str> {
        self.host.starts_with('/').then_some(&*self.host)
    }
}

impl fmt::Display for ServerAddress {
    /// As it is configured: `host:port`, `[::1]:port`, `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.host {
            path if path.starts_with('/') => write!(f, "unix:{path}"),
            host if host.contains(':') && !host.starts_with('[') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Which server gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// They take turns, each as often as its weight says.
    RoundRobin,
    /// The one with the fewest requests on their way, for its weight.
    LeastConnections,
    /// The same one for the same client address, as long as it is there.
    HashAddress,
}

/// What is spoken to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without asking where there is no TLS.
    Http2,
}

/// How servers are checked while nobody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// The pause between two checks of a server.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// So many good ones in a row bring a server back.
    pub healthy: u32,
    /// So many bad ones in a row take a server out.
    pub unhealthy: u32,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// GET of a path.
    Http {
        /// Path and query.
        path: Box<str>,
        /// `Host` to send; none = the server's own.
        host: Option<Box<str>>,
        /// The good statuses; empty = 200 to 299.
        statuses: Vec<u16>,
    },
    /// That a connection can be made.
    Tcp,
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked about; empty = the server as a whole.
        service: Box<str>,
        /// `:authority` to send; none = the server's own.
        host: Option<Box<str>>,
    },
}

/// When a server that fails requests is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// After so many failures in a row.
    pub failures: u32,
    /// For this long.
    pub period: Duration,
    /// Answers that count as failures, besides those that do not come.
    pub statuses: Vec<u16>,
}

/// How an upstream is verified, and how the gateway proves itself to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Name in the certificate.
    pub server_name: Box<str>,
    /// Authorities to trust instead of the system's, as PEM.
    pub ca: Option<Arc<[u8]>>,
    /// The gateway's own certificate.
    pub client: Option<Arc<ClientIdentity>>,
}

/// A certificate with its key, for a server that wants one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, then those that lead to an authority, as DER.
    pub chain: Vec<Vec<u8>>,
    /// The key of the first, as DER.
    pub key: Secret,
}

/// How long is waited; none = the surrounding default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Option<Duration>,
    /// Between two reads.
    pub read: Option<Duration>,
    /// Between two writes.
    pub write: Option<Duration>,
    /// An unused connection is kept.
    pub idle: Option<Duration>,
    /// A tunnel through which nothing passes is kept.
    pub tunnel: Option<Duration>,
}

impl Timeouts {
    /// These, with `fallback` for what is not set.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            connect: self.connect.or(fallback.connect),
            read: self.read.or(fallback.read),
            write: self.write.or(fallback.write),
            idle: self.idle.or(fallback.idle),
            tunnel: self.tunnel.or(fallback.tunnel),
        }
    }
}
