//! What holds for the process.

use std::path::PathBuf;
use std::time::Duration;

use super::{Compiler, Input};
use crate::config::keys::Server;
use crate::config::value::measure::{Size, size_text};
use crate::config::walk::{Item, Slot};
use crate::config::{LogSettings, Settings};
use crate::gate::policy::Sizes;

const HOUR: Duration = Duration::from_secs(3600);
/// More of a request head is refused before it is parsed.
const HEAD: u64 = 1 << 20;
const CACHE: u64 = 64 << 30;
/// In a directory of its own, which is nobody else's.
const UPGRADE_SOCKET: &str = "portcullis-handover/upgrade.sock";

/// What takes effect at start only.
pub(super) fn settings(work: &mut Compiler<'_>, input: &Input) -> Option<Settings> {
    let Input { server, admin, store, log, cache, .. } = input;
    let mut listen = Vec::new();
    work.not_empty(&server.listen);
    for listener in &server.listen.value {
        let Some(address) = listener.value.address.get() else { continue };
        if address.value.0.port() != 0 && listen.contains(&address.value.0) {
            work.fault(&address.at, "stands here twice");
        }
        listen.push(address.value.0);
    }
    if server.threads.value > 1024 {
        work.fault(&server.threads.at, "at most 1024");
    }
    work.positive(&server.header_timeout, HOUR);
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
    let admin_listen = admin.listen.value.address.get().map(|address| {
        if !address.value.0.ip().is_loopback() {
            work.fault(
                &address.at,
                "must be a loopback address such as 127.0.0.1:9901; elsewhere it would need TLS, which is not available in this version",
            );
        }
        address.value.0
    })?;
    Some(Settings {
        listen,
        threads: usize::try_from(server.threads.value).unwrap_or(1024),
        header_timeout: server.header_timeout.value,
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
