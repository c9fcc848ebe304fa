//! TLS of listeners: what handshakes are made with, checked and put together before the first of them. No socket, no file
//! and no clock is touched here.

mod certificate;
mod choice;
mod in_force;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, crypto};
use sha2::{Digest, Sha256};

pub use certificate::Certificate;
use choice::Choice;
pub use in_force::{InForce, Listeners};

/// The oldest version that a listener speaks. Nothing older is offered: there is no use of it that is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// A protocol that the handshake can settle on (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http11,
}

impl Protocol {
    /// Its name in the handshake.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

/// Whose certificates clients may show.
#[derive(Clone, Debug)]
pub struct Clients {
    /// The authorities that vouch for them.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
}

/// What a listener's TLS is made of.
#[derive(Debug)]
pub struct Terms {
    /// What the listener is called: its address, as configured.
    pub listener: Arc<str>,
    /// At least one. The first serves clients that name no host, or one that no certificate is for.
    pub certificates: Vec<Certificate>,
    /// The oldest version.
    pub oldest: Oldest,
    /// Cipher suites, the most wanted first.
    pub suites: Vec<SupportedCipherSuite>,
    /// Protocols, the most wanted first.
    pub protocols: Vec<Protocol>,
    /// Whether clients can resume their sessions.
    pub tickets: bool,
    /// None: clients are not asked for certificates.
    pub clients: Option<Clients>,
}

/// The TLS of one listener, ready for handshakes.
#[derive(Clone)]
pub struct ListenerTls {
    listener: Arc<str>,
    config: Arc<ServerConfig>,
    /// Each with the end of its validity.
    certificates: Arc<[Certificate]>,
    asks_for_certificates: bool,
    /// A digest of all that it is made of.
    made_of: [u8; 32],
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl PartialEq for ListenerTls {
    /// Whether both are made of the same.
    fn eq(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }
}

impl Eq for ListenerTls {}

impl ListenerTls {
    /// Puts the TLS of a listener together. Early data (0-RTT) is never taken: it can be replayed (RFC 8446 section 8).
    ///
    /// # Errors
    /// A text for people: the parts do not go together.
    pub fn new(terms: Terms) -> Result<Self, String> {
        let made_of = digest(&terms);
        let Terms { listener, certificates, oldest, suites, protocols, tickets, clients } = terms;
        let provider = Arc::new(crypto::CryptoProvider { cipher_suites: suites, ..crypto::ring::default_provider() });
        let versions: &[_] = match oldest {
            Oldest::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Oldest::Tls13 => &[&rustls::version::TLS13],
        };
        let asks_for_certificates = clients.is_some();
        let verifier = verifier(clients, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|_| "none of the cipher suites is one of the versions that are spoken".to_owned())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Choice::among(&certificates)));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_str().as_bytes().to_vec()).collect();
        config.max_early_data_size = 0;
        if tickets {
            config.ticketer = crypto::ring::Ticketer::new()
                .map_err(|error| format!("keys of session tickets cannot be made: {error}"))?;
        } else {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let (config, certificates) = (Arc::new(config), certificates.into());
        Ok(Self { listener, config, certificates, asks_for_certificates, made_of })
    }

    /// What the listener is called.
    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// What the next handshake is made with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Its certificates, in the order of the configuration.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether clients are asked for certificates.
    pub fn asks_for_certificates(&self) -> bool {
        self.asks_for_certificates
    }
}

fn verifier(
    clients: Option<Clients>,
    provider: &Arc<crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(clients) = clients else { return Ok(Arc::new(NoClientAuth)) };
    let mut roots = RootCertStore::empty();
    for authority in clients.authorities {
        roots.add(authority).map_err(|error| format!("an authority of clients cannot be used: {error}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| format!("the authorities of clients cannot be used: {error}"))
}

fn digest(terms: &Terms) -> [u8; 32] {
    let Terms { listener, certificates, oldest, suites, protocols, tickets, clients } = terms;
    let mut digest = Sha256::new();
    for certificate in certificates {
        digest.update(certificate.made_of());
        digest.update(certificate.label());
        digest.update([0]);
    }
    let authorities = clients.as_ref().map(|clients| (clients.required, &clients.authorities));
    digest.update(format!("{:?}", (listener, oldest, suites, protocols, tickets, authorities)));
    digest.finalize().into()
}

/// The certificates in a PEM file, in their order; none where there is something in it that cannot be read.
pub fn certificates_in(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}

/// Every cipher suite that can be spoken, under the name that IANA knows it by, the most wanted first.
pub fn suites() -> impl Iterator<Item = (&'static str, SupportedCipherSuite)> {
    // The library has names of its own for those of TLS 1.3.
    let name = |suite: &SupportedCipherSuite| match suite.suite() {
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    };
    crypto::ring::ALL_CIPHER_SUITES.iter().filter_map(move |suite| Some((name(suite)?, *suite)))
}
