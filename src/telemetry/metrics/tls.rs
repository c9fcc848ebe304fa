//! How the TLS of listeners does.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntCounterVec};

use super::declare::Declare;
use super::seconds_since_epoch;
use crate::clock::UnixMillis;

/// How a handshake ended: a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    /// Well.
    Ok,
    /// Not in time.
    Timeout,
    /// The client left.
    Closed,
    /// What the client sent was no TLS.
    NotTls,
    /// Nothing that both speak: version, cipher suite, protocol.
    Incompatible,
    /// The client did not show the certificate that it must have.
    NoCertificate,
    /// The client's certificate is not believed: expired, or of an unknown authority.
    CertificateRefused,
    /// The client does not believe the gateway's certificate, or ended the handshake for another reason.
    RefusedByClient,
    /// Otherwise.
    Failed,
}

impl HandshakeResult {
    const ALL: [Self; 9] = [
        Self::Ok,
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::Incompatible,
        Self::NoCertificate,
        Self::CertificateRefused,
        Self::RefusedByClient,
        Self::Failed,
    ];

    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no_certificate",
            Self::CertificateRefused => "certificate_refused",
            Self::RefusedByClient => "refused_by_client",
            Self::Failed => "failed",
        }
    }
}

/// Counters of one listener.
#[derive(Debug)]
pub struct Handshakes(Vec<(HandshakeResult, IntCounter)>);

impl Handshakes {
    /// One has ended.
    pub fn count(&self, result: HandshakeResult) {
        if let Some((_, counter)) = self.0.iter().find(|(one, _)| *one == result) {
            counter.inc();
        }
    }
}

/// A certificate that a listener shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// The listener, as configured.
    pub listener: Arc<str>,
    /// The certificate's file, as configured.
    pub certificate: Arc<str>,
    /// The end of its validity.
    pub not_after: UnixMillis,
}

/// Metrics of TLS.
#[derive(Debug)]
pub(in crate::telemetry) struct TlsMetrics {
    handshakes: IntCounterVec,
    /// Those in force: whoever reads the metrics finds them, and none that are gone.
    shown: ArcSwap<Vec<ShownCertificate>>,
}

impl TlsMetrics {
    pub(super) fn new(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let handshakes =
            declare.counters("tls_handshakes_total", "TLS handshakes of clients.", &["listener", "result"])?;
        Ok(Self { handshakes, shown: ArcSwap::default() })
    }

    /// Counters for a listener, which show 0 from now on.
    pub(in crate::telemetry) fn listener(&self, listener: &str) -> Handshakes {
        let counter = |result: HandshakeResult| self.handshakes.with_label_values(&[listener, result.as_str()]);
        Handshakes(HandshakeResult::ALL.into_iter().map(|result| (result, counter(result))).collect())
    }

    pub(in crate::telemetry) fn show(&self, certificates: Vec<ShownCertificate>) {
        self.shown.store(Arc::new(certificates));
    }

    /// When certificates expire.
    pub(super) fn pulled(&self, declare: &Declare<'_>) -> prometheus::Result<()> {
        let shown = self.shown.load();
        if shown.is_empty() {
            return Ok(());
        }
        let expiry = declare.gauges(
            "tls_certificate_expiry_timestamp_seconds",
            "When a certificate of a listener expires.",
            &["listener", "certificate"],
        )?;
        for ShownCertificate { listener, certificate, not_after } in shown.iter() {
            expiry.with_label_values(&[listener, certificate]).set(seconds_since_epoch(*not_after));
        }
        Ok(())
    }
}
