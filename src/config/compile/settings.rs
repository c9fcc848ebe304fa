//! What holds for the process.

use std::path::PathBuf;
use std::time::Duration;

use super::{Compiler, Input};
use crate::config::keys::Server;
use crate::config::value::address::TrustedPeer;
use crate::config::value::measure::{Size, size_text};
use crate::config::walk::{Item, Slot};
use crate::config::{LogSettings, Settings};
use crate::gate::client_ip::TrustedProxies;
use crate::gate::policy::Sizes;

const HOUR: Duration = Duration::from_secs(3600);
/// More of a request head is refused before it is parsed.
const HEAD: u64 = 1 << 20;
const CACHE: u64 = 64 << 30;
/// Two descriptors each: more than a process can have where nobody raised its bounds.
const MOST_CONNECTIONS: u32 = 1_000_000;
/// In a directory of its own, which is nobody else's.
const UPGRADE_SOCKET: &str = "portcullis-handover/upgrade.sock";

/// What takes effect at start only.
pub(super) fn settings(work: &mut Compiler<'_>, input: &Input) -> Option<Settings> {
    let Input { server, admin, store, log, cache, .. } = input;
    let listen = super::listener::listeners(work, server);
    if let Some(most) = server.max_connections.get().filter(|most| !(1..=MOST_CONNECTIONS).contains(&most.value)) {
        work.fault(&most.at, format!("expected a number from 1 to {MOST_CONNECTIONS}"));
    }
    if server.threads.value > 1024 {
        work.fault(&server.threads.at, "at most 1024");
    }
    work.positive(&server.header_timeout, HOUR);
    work.positive(&server.handshake_timeout, HOUR);
    work.positive(&server.idle_timeout, HOUR);
    work.at_most(&server.shutdown_delay, HOUR);
    work.at_most(&server.shutdown_grace, HOUR);
    for size in [&cache.tokens, &cache.keys] {
        if size.value.0 > CACHE {
            work.fault(&size.at, format!("at most \"{}\"", size_text(CACHE)));
        }
    }
    let store = super::store::store(work, store, input.store_secrets);
    if cache.tokens.value.0 == 0 && server.failure_limit.value.0.is_some() {
        let text = "`cache.tokens` is 0, so no token is remembered as verified: \
                    where failures are used up, good tokens are refused, too";
        work.warn(&server.failure_limit.at, text);
    }
    let admin_listen = super::listener::admin(work, admin)?;
    Some(Settings {
        listen,
        threads: usize::try_from(server.threads.value).unwrap_or(1024),
        max_connections: server.max_connections.value().map(|most| usize::try_from(*most).unwrap_or(usize::MAX)),
        max_connections_per_address: server.max_connections_per_address.value,
        header_timeout: server.header_timeout.value,
        handshake_timeout: server.handshake_timeout.value,
        idle_timeout: server.idle_timeout.value,
        shutdown_delay: server.shutdown_delay.value,
        shutdown_grace: server.shutdown_grace.value,
        upgrade_socket: upgrade_socket(work, server),
        admin_listen,
        log: LogSettings {
            json: log.format.value == crate::config::value::word::LogFormat::Json,
            level: log.level.value.as_str().into(),
            access: log.access.value,
        },
        cache_tokens: cache.tokens.value.0,
        cache_keys: cache.keys.value.0,
        store: store?,
    })
}

/// Who may say for whom he speaks.
pub(super) fn trusted_proxies(server: &Server) -> TrustedProxies {
    let peers = || server.trusted_proxies.value.iter().map(|peer| peer.value);
    let networks = peers().filter_map(|peer| match peer {
        TrustedPeer::Network(network) => Some(network),
        TrustedPeer::Unix => None,
    });
    TrustedProxies::new(networks.collect(), peers().any(|peer| peer == TrustedPeer::Unix))
}

/// Where a successor waits; systemd names a directory for such things.
fn upgrade_socket(work: &Compiler<'_>, server: &Server) -> PathBuf {
    if let Slot::Given(path) = &server.upgrade_socket {
        return path.at.resolve(&path.value);
    }
    let named = (work.sources.env)("RUNTIME_DIRECTORY").unwrap_or_default();
    let directory = match named.split(':').next() {
        None | Some("") => super::store::state_directory(work),
        Some(first) => PathBuf::from(first),
    };
    directory.join(UPGRADE_SOCKET)
}

/// Upper bounds of requests.
pub(super) fn sizes(work: &mut Compiler<'_>, server: &Server) -> Sizes {
    let mut head = |item: &Item<Size>| {
        if item.value.0 == 0 || item.value.0 > HEAD {
            work.fault(&item.at, format!("expected a size from \"1B\" to \"{}\"", size_text(HEAD)));
        }
        usize::try_from(item.value.0).unwrap_or(usize::MAX)
    };
    Sizes {
        target: head(&server.max_target),
        headers: head(&server.max_headers),
        token: head(&server.max_token),
        body: server.max_body.value.0,
    }
}
