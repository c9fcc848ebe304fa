//! The system's certificate authorities, looked at before the engine does: it ends the process when it cannot load them,
//! and most gateways do not need a single one.

use pingora::tls::{RootCertStore, load_platform_certs_incl_env_into_store};

use crate::gate::policy::Snapshot;

/// A file without any authority, for an engine that is to load none.
const NO_AUTHORITIES: &str = "/dev/null";

/// The file that the engine shall load authorities from; none = the system's, which it can load. Says what will not
/// work: upstreams that nothing can be verified with answer 502, all others serve.
pub(super) fn ca_file(snapshot: &Snapshot) -> Option<String> {
    let mut store = RootCertStore::empty();
    let cause = match load_platform_certs_incl_env_into_store(&mut store) {
        Ok(()) if store.is_empty() && relied_upon(snapshot) => "there are none".to_owned(),
        Ok(()) => return None,
        Err(error) => error.to_string().trim().to_owned(),
    };
    tracing::warn!(
        cause,
        "the system's certificate authorities cannot be used: upstreams over TLS without a `ca` of their own answer 502"
    );
    Some(NO_AUTHORITIES.to_owned())
}

/// Whether an upstream is verified by the system's authorities.
fn relied_upon(snapshot: &Snapshot) -> bool {
    let upstreams = snapshot.realms.iter().flat_map(|realm| &realm.upstreams);
    upstreams.filter_map(|upstream| upstream.tls.as_ref()).any(|tls| tls.ca.is_none())
}
