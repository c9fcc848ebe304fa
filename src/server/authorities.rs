//! The system's certificate authorities, looked at before the engine does: it ends the process when it cannot load them,
//! and most gateways do not need a single one.

use std::sync::OnceLock;

use pingora::tls::{RootCertStore, load_platform_certs_incl_env_into_store};

use crate::gate::policy::Snapshot;

/// A file without any authority, for an engine that is to load none.
const NO_AUTHORITIES: &str = "/dev/null";

/// The file that the engine shall load authorities from; none = the system's, which it can load. Says what will not
/// work: upstreams that nothing can be verified with answer 502, all others serve.
pub(super) fn ca_file(snapshot: &Snapshot) -> Option<String> {
    let cause = match system_authorities() {
        Ok(0) if relied_upon(snapshot) => "there are none",
        Ok(_) => return None,
        Err(error) => error,
    };
    tracing::warn!(
        cause,
        "the system's certificate authorities cannot be used: upstreams over TLS without a `ca` of their own answer 502"
    );
    Some(NO_AUTHORITIES.to_owned())
}

/// How many there are, or why they cannot be loaded. They belong to the machine and are many: looked at once a process,
/// however many gateways it starts.
fn system_authorities() -> Result<usize, &'static str> {
    static FOUND: OnceLock<Result<usize, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let mut store = RootCertStore::empty();
        let loaded = load_platform_certs_incl_env_into_store(&mut store);
        loaded.map(|()| store.len()).map_err(|error| error.to_string().trim().to_owned())
    });
    found.as_ref().copied().map_err(String::as_str)
}

/// Whether an upstream is verified by the system's authorities.
fn relied_upon(snapshot: &Snapshot) -> bool {
    let upstreams = snapshot.realms.iter().flat_map(|realm| &realm.upstreams);
    upstreams.filter_map(|upstream| upstream.tls.as_ref()).any(|tls| tls.ca.is_none())
}
