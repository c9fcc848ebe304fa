//! Where requests can go.

use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, url};
use crate::config::keys::{Timeouts as RawTimeouts, Upstream as Raw, UpstreamTimeouts};
use crate::config::problem::At;
use crate::config::value::Named;
use crate::config::value::word::HostMode;
use crate::config::walk::{Item, Slot, defaults};
use crate::gate::policy::{ServerAddress, Timeouts, Upstream, UpstreamTls};

const HOUR: Duration = Duration::from_secs(3600);
/// A tunnel may be silent for so long at most.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// The upstreams of a realm: the named ones, then those that routes give as a URL.
#[derive(Default)]
pub(super) struct Upstreams {
    names: Vec<String>,
    named: Vec<Option<Arc<Upstream>>>,
    urls: Vec<Arc<Upstream>>,
}

impl Upstreams {
    /// The named upstreams.
    pub(super) fn new(work: &mut Compiler<'_>, raw: &Named<Raw>) -> Self {
        let names = raw.names().map(str::to_owned).collect();
        let compile = |(index, (name, item)): (usize, &(String, Item<Raw>))| {
            work.label(&item.at, name);
            named(work, name, item, index).map(Arc::new)
        };
        Self { names, named: raw.0.iter().enumerate().map(compile).collect(), urls: Vec::new() }
    }

    /// The upstream that a name or a URL stands for.
    pub(super) fn resolve(&mut self, work: &mut Compiler<'_>, item: &Item<String>) -> Option<Arc<Upstream>> {
        if !item.value.contains("://") {
            let Some(index) = self.names.iter().position(|name| *name == item.value) else {
                if item.value.contains([':', '/', '@']) {
                    work.fault(&item.at, "expected the name of an upstream, or a URL such as http://127.0.0.1:9000");
                } else {
                    work.unknown(&item.at, "upstream", &item.value, self.names.iter().map(String::as_str));
                }
                return None;
            };
            return self.named.get(index).cloned().flatten();
        }
        let target = work.good(&item.at, url::upstream(&item.value))?;
        let tls = target.tls.then(|| UpstreamTls { server_name: target.server.host.clone(), ca: None });
        let known = self.urls.iter().find(|known| known.tls == tls && known.servers == [target.server.clone()]);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let upstream = Arc::new(Upstream {
            name: Arc::from(authority(&target.server, None)),
            index: self.names.len() + self.urls.len(),
            servers: vec![target.server],
            host: None,
            timeouts: upstream_timeouts(work, &defaults()),
            tls,
        });
        self.urls.push(Arc::clone(&upstream));
        Some(upstream)
    }

    /// All of them, each at its index; none when one is not complete.
    pub(super) fn into_list(self) -> Option<Vec<Arc<Upstream>>> {
        self.named.into_iter().chain(self.urls.into_iter().map(Some)).collect()
    }
}

fn named(work: &mut Compiler<'_>, name: &str, item: &Item<Raw>, index: usize) -> Option<Upstream> {
    let raw = &item.value;
    let timeouts = upstream_timeouts(work, &raw.timeouts.value);
    let servers: Vec<ServerAddress> = match raw.servers.get() {
        Some(list) => {
            work.not_empty(list);
            for (index, server) in list.value.iter().enumerate() {
                if list.value.iter().take(index).any(|earlier| earlier.value == server.value) {
                    work.fault(&server.at, "stands here twice");
                }
            }
            list.value.iter().map(|server| server.value.clone()).collect()
        }
        None => Vec::new(),
    };
    let one_host = servers.first().filter(|first| servers.iter().all(|server| server.host == first.host));
    let tls = match &raw.tls {
        Slot::Given(tls) => {
            let ca = match &tls.value.ca {
                Slot::Given(ca) => work.authorities(&ca.at, &ca.value).map(Some),
                Slot::Absent(_) => Some(None),
                Slot::Bad => None,
            };
            let server_name = match &tls.value.sni {
                Slot::Given(sni) => Some(sni.value.as_str()),
                Slot::Absent(_) => one_host.map(|server| &*server.host),
                Slot::Bad => None,
            };
            if let (None, Some(at), false) = (server_name, tls.value.sni.absent(), servers.is_empty()) {
                work.fault(at, "is required: the servers have different names");
            }
            if let Some(sni) = tls.value.sni.get() {
                server_name_fits(work, &sni.at, &sni.value);
            }
            ca.zip(server_name).map(|(ca, name)| Some(UpstreamTls { server_name: name.into(), ca }))
        }
        Slot::Absent(_) => Some(None),
        Slot::Bad => None,
    };
    let host = match raw.host.value {
        HostMode::Preserve => None,
        HostMode::Upstream => {
            let default = if raw.tls.absent().is_some() { 80 } else { 443 };
            let hosts: Vec<_> = servers.iter().map(|server| authority(server, Some(default))).collect();
            if hosts.windows(2).any(|pair| pair.first() != pair.last()) {
                work.fault(&raw.host.at, "the servers have different names; the upstream could not know its own");
            }
            hosts.into_iter().next().map(Box::from)
        }
    };
    // Without servers there was a problem already.
    (!servers.is_empty()).then_some(())?;
    Some(Upstream { name: Arc::from(name), index, servers, host, timeouts, tls: tls? })
}

fn server_name_fits(work: &mut Compiler<'_>, at: &At, name: &str) {
    if rustls::pki_types::ServerName::try_from(name).is_err() {
        work.fault(at, "expected a DNS name or an IP address");
    }
}

/// `host:port`; without the port where it is the `default` one.
fn authority(server: &ServerAddress, default: Option<u16>) -> String {
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.to_string() };
    if default == Some(server.port) { host } else { format!("{host}:{}", server.port) }
}

fn upstream_timeouts(work: &mut Compiler<'_>, raw: &UpstreamTimeouts) -> Timeouts {
    let mut bounded = |item: &Item<Duration>, most| {
        work.positive(item, most);
        Some(item.value)
    };
    Timeouts {
        connect: bounded(&raw.connect, HOUR),
        read: bounded(&raw.read, HOUR),
        write: bounded(&raw.write, HOUR),
        idle: bounded(&raw.idle, HOUR),
        tunnel: bounded(&raw.tunnel, WEEK),
    }
}

/// Timeouts of a route, where they differ.
pub(super) fn route_timeouts(work: &mut Compiler<'_>, slot: &Slot<RawTimeouts>) -> Timeouts {
    let Some(raw) = slot.value() else { return Timeouts::default() };
    let mut bounded = |slot: &Slot<Duration>, most| {
        if let Some(item) = slot.get() {
            work.positive(item, most);
        }
        slot.value().copied()
    };
    Timeouts {
        connect: bounded(&raw.connect, HOUR),
        read: bounded(&raw.read, HOUR),
        write: bounded(&raw.write, HOUR),
        idle: bounded(&raw.idle, HOUR),
        tunnel: bounded(&raw.tunnel, WEEK),
    }
}
