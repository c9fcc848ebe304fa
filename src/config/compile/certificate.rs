//! Certificates of declared clients: by which names they are known.

use std::collections::HashMap;
use std::sync::Arc;

use super::Compiler;
use crate::config::keys::{Realm, Server, Tls};
use crate::config::value::word::AuthKind;
use crate::config::walk::Item;
use crate::gate::verify::certificate::{CertificateClient, CertificateName};

/// The names so far, with their clients and the key path of each.
#[derive(Default)]
pub(super) struct Certificates<'r>(HashMap<CertificateName, (Arc<CertificateClient>, &'r str)>);

impl<'r> Certificates<'r> {
    /// Adds those of a client.
    pub(super) fn add(&mut self, work: &mut Compiler<'_>, list: &'r [Item<String>], client: CertificateClient) {
        let client = Arc::new(client);
        for item in list {
            let Some(name) = work.good(&item.at, CertificateName::parse(&item.value)) else { continue };
            if let Some((known, other)) = self.0.get(&name) {
                let text = if Arc::ptr_eq(known, &client) {
                    format!("is the same as {other}")
                } else {
                    format!("{other} is the same: a certificate proves one client")
                };
                work.fault(&item.at, text);
                continue;
            }
            self.0.insert(name, (Arc::clone(&client), &item.at.key));
        }
    }

    /// As the gate looks them up.
    pub(super) fn finish<C: FromIterator<(CertificateName, Arc<CertificateClient>)>>(self) -> C {
        self.0.into_iter().map(|(name, (client, _))| (name, client)).collect()
    }
}

/// Whether any listener asks clients for a certificate.
pub(super) fn are_asked_for(server: &Server) -> bool {
    let asks = |tls: &Item<Tls>| tls.value.client_ca.absent().is_none();
    server.listen.value.iter().any(|listener| listener.value.tls.get().is_some_and(asks))
}

/// Says, once in a realm, why routes that take certificates never get a good one.
pub(super) fn check(work: &mut Compiler<'_>, raw: &Realm, asked: bool) {
    let auths = raw.routes.value().into_iter().flatten().filter_map(|route| route.value.auth.get());
    let mut taking = auths.filter(|auth| auth.value.iter().any(|kind| kind.value == AuthKind::Mtls));
    let Some(auth) = taking.next() else { return };
    if raw.clients.value.0.iter().all(|(_, client)| client.value.certificates.value.is_empty()) {
        work.warn(&auth.at, "no client of the realm has `certificates`: none is ever accepted");
    }
    if !asked {
        let text =
            "no listener asks for certificates: with `client_ca` in its `tls` one does, and says who vouches for them";
        work.warn(&auth.at, text);
    }
}
