//! Which certificate a client is shown: by the name that it asks for (RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Certificate;

/// The certificates of a listener by their names: an exact name beats a wildcard, which stands for one label.
#[derive(Debug)]
pub(super) struct Choice {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows the first dot.
    wildcards: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For all others: whoever names nobody, or somebody else. The gate judges the host that he asks.
    first: Option<Arc<CertifiedKey>>,
}

impl Choice {
    pub(super) fn among(certificates: &[Certificate]) -> Self {
        let mut choice = Self { exact: HashMap::new(), wildcards: HashMap::new(), first: None };
        for certificate in certificates {
            let Some(key) = certificate.key() else { continue };
            choice.first.get_or_insert_with(|| Arc::clone(key));
            for name in certificate.names() {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut choice.wildcards, suffix),
                    None => (&mut choice.exact, &**name),
                };
                table.entry(name.into()).or_insert_with(|| Arc::clone(key));
            }
        }
        choice
    }

    /// The certificate for a name as a client wrote it.
    pub(super) fn of(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let found = name.as_deref().and_then(|name| {
            let wildcard = || name.split_once('.').and_then(|(_, suffix)| self.wildcards.get(suffix));
            self.exact.get(name).or_else(wildcard)
        });
        found.or(self.first.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of(hello.server_name())
    }
}
