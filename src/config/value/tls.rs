//! Words of TLS.

use rustls::SupportedCipherSuite;
use serde_json::json;

use super::word::{word, words};
use crate::config::walk::{Kind, Shape, Value, Walk};
use crate::tls;

words! {
    /// A version of TLS.
    TlsVersion { Tls12 = "1.2", Tls13 = "1.3" }
}

words! {
    /// A protocol that the handshake can settle on.
    Alpn { H2 = "h2", Http11 = "http/1.1" }
}

words! {
    /// Whether clients must have a certificate.
    CertificateDemand { Required = "required", Optional = "optional" }
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SuiteName(pub(crate) SupportedCipherSuite);

impl Shape for SuiteName {
    fn kind() -> Kind {
        Kind::Leaf("cipher suite", json!({ "enum": tls::suites().map(|(name, _)| name).collect::<Vec<_>>() }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let suites: Vec<_> = tls::suites().map(|(name, suite)| (name, Self(suite))).collect();
        word(value, walk, &suites, &[])
    }
}
