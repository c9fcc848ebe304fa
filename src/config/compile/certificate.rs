//! Certificates of declared clients: by which names they are known.

use std::collections::HashMap;
use std::sync::Arc;

use super::Compiler;
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
