//! TLS to an upstream: whom the gateway believes, and what it shows.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;

use crate::config::compile::Compiler;
use crate::config::compile::secret::{Found, secret};
use crate::config::files::MAX_KEYS;
use crate::config::keys::UpstreamTls as Raw;
use crate::config::problem::At;
use crate::config::walk::{Item, Slot};
use crate::gate::policy::{ClientIdentity, UpstreamServer, UpstreamTls};
use crate::secret::Secret;

/// The outer none: there was a problem, or there are no servers. The inner: no TLS.
pub(super) fn tls(
    work: &mut Compiler<'_>,
    slot: &Slot<Raw>,
    servers: &[UpstreamServer],
) -> Option<Option<UpstreamTls>> {
    let raw = match slot {
        Slot::Given(raw) => &raw.value,
        Slot::Absent(_) => return Some(None),
        Slot::Bad => return None,
    };
    let ca = match &raw.ca {
        Slot::Given(ca) => work.authorities(&ca.at, &ca.value).map(Some),
        Slot::Absent(_) => Some(None),
        Slot::Bad => None,
    };
    let name = server_name(work, &raw.sni, servers);
    let client = client(work, raw);
    Some(Some(UpstreamTls { server_name: name?.into(), ca: ca?, client: client? }))
}

fn server_name(work: &mut Compiler<'_>, slot: &Slot<String>, servers: &[UpstreamServer]) -> Option<String> {
    match slot {
        Slot::Given(sni) => {
            if ServerName::try_from(sni.value.as_str()).is_err() {
                work.fault(&sni.at, "expected a DNS name or an IP address");
            }
            Some(sni.value.clone())
        }
        Slot::Absent(at) => {
            let first = servers.first()?;
            if servers.iter().any(|server| server.address.socket().is_some()) {
                work.fault(at, "is required: a socket has no name that could be verified");
            } else if servers.iter().any(|server| server.address.host != first.address.host) {
                work.fault(at, "is required: the servers have different names");
            }
            Some(first.address.host.to_string())
        }
        Slot::Bad => None,
    }
}

/// What the gateway proves itself with. The outer none: there was a problem.
fn client(work: &mut Compiler<'_>, raw: &Raw) -> Option<Option<Arc<ClientIdentity>>> {
    match (&raw.client_cert, &raw.client_key) {
        (Slot::Absent(_), Slot::Absent(_)) => Some(None),
        (Slot::Given(cert), Slot::Given(key)) => {
            let chain = chain(work, &cert.at, &cert.value)?;
            let (bytes, at) = match secret(work, key) {
                Found::Bytes(bytes) => (bytes, &key.at),
                // Nobody will be connected to.
                Found::StandIn => return Some(None),
                Found::Nothing => return None,
            };
            identity(work, chain, &bytes, at, cert).map(Some)
        }
        (Slot::Given(_), Slot::Absent(at)) => {
            work.fault(at, "is required: a certificate is of no use without its key");
            None
        }
        (Slot::Absent(at), Slot::Given(_)) => {
            work.fault(at, "is required: a key is of no use without its certificate");
            None
        }
        (Slot::Bad, _) | (_, Slot::Bad) => None,
    }
}

fn chain(work: &mut Compiler<'_>, at: &At, name: &str) -> Option<Vec<CertificateDer<'static>>> {
    let (path, bytes) = work.file(at, name, MAX_KEYS)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    if chain.is_none() {
        work.fault(at, format!("the file {} holds no certificates as PEM", path.display()));
    }
    chain
}

fn identity(
    work: &mut Compiler<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: &Secret,
    at: &At,
    cert: &Item<String>,
) -> Option<Arc<ClientIdentity>> {
    let Ok(key) = PrivateKeyDer::from_pem_slice(key.expose()) else {
        work.fault(at, "expected a private key as PEM");
        return None;
    };
    let identity = ClientIdentity {
        chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        key: Secret::new(key.secret_der().to_vec()),
    };
    match CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()) {
        Ok(_) => Some(Arc::new(identity)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            work.fault(at, "is not the key of the first certificate in `client_cert`");
            None
        }
        Err(_) => {
            work.fault(&cert.at, "the certificate and its key cannot be used for TLS");
            None
        }
    }
}
