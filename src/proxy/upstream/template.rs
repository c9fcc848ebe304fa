//! What all connections to an upstream have in common: what is spoken, and how both sides are verified.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::shared;
use crate::gate::policy::{ClientIdentity, Protocol, UpstreamTls};

/// A peer without an address.
///
/// # Errors
/// Why no connection could be trusted.
pub(super) fn template(tls: Option<&UpstreamTls>, protocol: Protocol) -> Result<HttpPeer, &'static str> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut peer = match tls {
        None => HttpPeer::new(nowhere, false, String::new()),
        Some(tls) => verified(nowhere, tls)?,
    };
    match protocol {
        Protocol::Http1 => {}
        Protocol::Http2 => shared::bound(&mut peer),
    }
    Ok(peer)
}

fn verified(nowhere: SocketAddr, tls: &UpstreamTls) -> Result<HttpPeer, &'static str> {
    // The engine verifies nothing at all when it has no name to verify.
    if tls.server_name.is_empty() {
        return Err("the name to verify is empty");
    }
    let mut peer = HttpPeer::new(nowhere, true, tls.server_name.to_string());
    let client = tls.client.as_deref();
    if tls.ca.is_none() && client.is_none() {
        return Ok(peer);
    }
    if let Some(pem) = &tls.ca {
        peer.options.ca = Some(authorities(pem)?);
    }
    if let Some(client) = client {
        peer.client_cert_key = Some(Arc::new(identity(client)?));
    }
    // The engine's pool does not tell connections apart by the authorities they were verified with, and certificates only
    // by their numbers.
    let mut hasher = DefaultHasher::new();
    (&tls.ca, client.map(|client| &client.chain)).hash(&mut hasher);
    peer.group_key = hasher.finish();
    Ok(peer)
}

fn authorities(pem: &[u8]) -> Result<Arc<CaType>, &'static str> {
    const FAULT: &str = "the authorities to trust are not PEM certificates";
    let mut usable = RootCertStore::empty();
    let mut authorities = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|_| FAULT)?;
        usable.add(der.clone()).map_err(|_| FAULT)?;
        // The engine's parser panics where it cannot read what the other one could.
        let wrapped = catch_unwind(AssertUnwindSafe(|| WrappedX509::new(der.to_vec(), parse_x509)));
        authorities.push(wrapped.map_err(|_| FAULT)?);
    }
    if authorities.is_empty() { Err(FAULT) } else { Ok(authorities.into()) }
}

fn identity(client: &ClientIdentity) -> Result<CertKey, &'static str> {
    const FAULT: &str = "the gateway's own certificate cannot be used";
    // The engine reads both again at every connection, and panics where it cannot.
    PrivateKeyDer::try_from(client.key.expose()).map_err(|_| FAULT)?;
    let (chain, key) = (client.chain.clone(), client.key.expose().to_vec());
    catch_unwind(AssertUnwindSafe(|| CertKey::new(chain, key))).map_err(|_| FAULT)
}
