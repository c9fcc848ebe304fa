//! Listeners as they are meant.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens.
    pub address: ListenAddress,
    /// Whether a PROXY header comes before everything else on each of its connections.
    pub proxy_protocol: bool,
    /// Whether HTTP/2 is spoken without TLS with clients that begin with it.
    pub http2: bool,
    /// Whether only questions about requests are answered.
    pub decides_only: bool,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address of this machine; never an IPv4-mapped one.
    Inet(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its file: an absolute path of at most 100 bytes, without blanks.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for ListenAddress {
    /// As it stands in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
