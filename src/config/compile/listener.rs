//! Listeners.

use std::path::PathBuf;

use super::Compiler;
use crate::config::keys::{Admin, Listener, Server};
use crate::config::problem::At;
use crate::config::value::address::{Address, DEFAULT_MODE};
use crate::config::walk::Item;
use crate::config::{ListenAddress, ListenerSettings};

/// The system takes 107 bytes; the rest is left for the names under which sockets are handed on.
const LONGEST_PATH: usize = 100;

/// Where requests arrive.
pub(super) fn listeners(work: &mut Compiler<'_>, server: &Server) -> Vec<ListenerSettings> {
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    work.not_empty(&server.listen);
    for listener in &server.listen.value {
        let Some(address) = address(work, listener) else { continue };
        let at = listener.value.address.get().map_or(&listener.at, |item| &item.at);
        if listeners.iter().any(|earlier| collide(&earlier.address, &address)) {
            work.fault(at, "stands here twice");
        }
        let proxy_protocol = &listener.value.proxy_protocol;
        if proxy_protocol.value && server.trusted_proxies.value.is_empty() {
            work.fault(&proxy_protocol.at, "nobody could connect: name the proxies in `server.trusted_proxies`");
        }
        let http2 = &listener.value.http2;
        if http2.value && listener.value.tls.absent().is_none() {
            work.fault(&http2.at, "with `tls` its `alpn` decides: leave it out");
        }
        listeners.push(ListenerSettings {
            address,
            proxy_protocol: proxy_protocol.value,
            http2: http2.value,
            decides_only: listener.value.decision_only.value,
        });
    }
    listeners
}

/// Where metrics and health are served.
pub(super) fn admin(work: &mut Compiler<'_>, admin: &Admin) -> Option<ListenAddress> {
    let Listener { proxy_protocol, http2, decision_only, tls, address: written, .. } = &admin.listen.value;
    if decision_only.value {
        work.fault(&decision_only.at, "decisions are asked for where requests arrive: leave it out");
    }
    if proxy_protocol.value {
        work.fault(&proxy_protocol.at, "the admin listener takes no PROXY header: leave it out");
    }
    if http2.value {
        work.fault(&http2.at, "the admin listener speaks HTTP/1 only: leave it out");
    }
    let address = address(work, &admin.listen)?;
    if let (ListenAddress::Inet(inet), Some(written)) = (&address, written.get())
        && !inet.ip().is_loopback()
        && tls.absent().is_some()
    {
        work.fault(
            &written.at,
            "must be a loopback address such as 127.0.0.1:9901, or a Unix socket; elsewhere it needs `tls`: tokens and secrets go over it",
        );
    }
    Some(address)
}

/// Port 0 may stand for several: each gets a port of its own.
fn collide(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Inet(one), ListenAddress::Inet(other)) => one == other && one.port() != 0,
        (ListenAddress::Unix { path: one, .. }, ListenAddress::Unix { path: other, .. }) => one == other,
        (ListenAddress::Inet(_), ListenAddress::Unix { .. }) | (ListenAddress::Unix { .. }, ListenAddress::Inet(_)) => {
            false
        }
    }
}

fn address(work: &mut Compiler<'_>, listener: &Item<Listener>) -> Option<ListenAddress> {
    let Listener { address, mode, .. } = &listener.value;
    let Item { value, at, .. } = address.get()?;
    match value {
        Address::Inet(address) => {
            if let Some(mode) = mode.get() {
                work.fault(&mode.at, "only the file of a Unix socket has a mode: leave it out");
            }
            Some(ListenAddress::from(*address))
        }
        Address::Unix(path) => {
            let path = socket_path(work, at, path)?;
            Some(ListenAddress::Unix { path, mode: mode.value().map_or(DEFAULT_MODE, |mode| mode.0) })
        }
    }
}

/// The absolute path: the same from wherever the gateway, or its successor, is started.
fn socket_path(work: &mut Compiler<'_>, at: &At, written: &str) -> Option<PathBuf> {
    let Ok(path) = std::path::absolute(at.resolve(written)) else {
        work.fault(at, "expected a path after `unix:`");
        return None;
    };
    let fault = match path.to_str() {
        Some(text) if text.chars().any(|c| c.is_whitespace() || c.is_control()) => "has blanks: choose one without",
        Some(text) if text.len() > LONGEST_PATH => "is too long: choose one of at most 100 bytes",
        Some(_) => return Some(path),
        None => "is not UTF-8",
    };
    work.fault(at, format!("the path {:?} of the Unix socket {fault}", path.display()));
    None
}
