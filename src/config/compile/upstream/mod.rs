//! Where requests can go: what is written of an upstream, taken together.

mod health;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, url};
use crate::config::keys::{Timeouts as RawTimeouts, Upstream as Raw, UpstreamServer as RawServer, UpstreamTimeouts};
use crate::config::value::Named;
use crate::config::value::word::{BalanceBy, HostMode, Spoken};
use crate::config::walk::{Item, Slot, defaults};
use crate::gate::policy::{Balance, Protocol, ServerAddress, Timeouts, Upstream, UpstreamServer, UpstreamTls};

const HOUR: Duration = Duration::from_secs(3600);
/// A tunnel may be silent for so long at most.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// The heaviest server has this much of a request, where the lightest has one.
const MOST_WEIGHT: u16 = 1000;
/// So often a request is tried again at most.
const MOST_RETRIES: u8 = 10;

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
        let tls = target.tls.then(|| UpstreamTls { server_name: target.server.host.clone(), ca: None, client: None });
        let server = UpstreamServer { address: target.server.clone(), weight: 1 };
        let known = self.urls.iter().find(|known| known.tls == tls && known.servers == [server.clone()]);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let (name, index) = (target.server.to_string(), self.names.len() + self.urls.len());
        let timeouts = upstream_timeouts(work, &defaults());
        let upstream = Arc::new(Upstream { timeouts, tls, ..Upstream::of(&name, index, vec![target.server]) });
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
    let servers: Vec<UpstreamServer> = raw.servers.get().map(|list| servers(work, list)).unwrap_or_default();
    let tls = tls::tls(work, &raw.tls, &servers);
    let host = match raw.host.value {
        HostMode::Preserve => None,
        HostMode::Upstream => own_host(work, raw, &servers),
    };
    let protocol = match raw.protocol.value {
        Spoken::Http1 => Protocol::Http1,
        Spoken::Http2 => Protocol::Http2,
    };
    let balance = match raw.balance.value {
        BalanceBy::RoundRobin => Balance::RoundRobin,
        BalanceBy::LeastConnections => Balance::LeastConnections,
        BalanceBy::HashAddress => Balance::HashAddress,
    };
    let retries = u8::try_from(raw.retries.value).ok().filter(|retries| *retries <= MOST_RETRIES);
    if retries.is_none() {
        work.fault(&raw.retries.at, format!("at most {MOST_RETRIES}"));
    }
    if let Some(most) = raw.max_connections.get().filter(|most| most.value == 0) {
        work.fault(&most.at, "must not be zero: no request would ever be sent");
    }
    let check = raw.health.get().and_then(|check| health::check(work, check, protocol));
    let ejection = raw.eject.get().map(|eject| health::ejection(work, &eject.value));
    // Without servers there was a problem already.
    (!servers.is_empty()).then_some(())?;
    Some(Upstream {
        name: Arc::from(name),
        index,
        servers,
        balance,
        protocol,
        host,
        timeouts,
        tls: tls?,
        retries: retries?,
        max_connections: raw.max_connections.value().copied(),
        check,
        ejection,
    })
}

fn servers(work: &mut Compiler<'_>, list: &Item<Vec<Item<RawServer>>>) -> Vec<UpstreamServer> {
    work.not_empty(list);
    if list.value.len() > Upstream::MOST_SERVERS {
        work.fault(&list.at, format!("at most {} servers", Upstream::MOST_SERVERS));
    }
    let mut servers: Vec<UpstreamServer> = Vec::with_capacity(list.value.len());
    for item in &list.value {
        let RawServer { address, weight } = &item.value;
        if servers.iter().any(|earlier| earlier.address == *address) {
            work.fault(&item.at, "stands here twice");
        }
        let share = weight.as_ref().map_or(1, |weight| match u16::try_from(weight.value) {
            Ok(share @ ..=MOST_WEIGHT) => share,
            Ok(_) | Err(_) => {
                work.fault(&weight.at, format!("at most {MOST_WEIGHT}"));
                1
            }
        });
        servers.push(UpstreamServer { address: address.clone(), weight: share });
    }
    if !servers.is_empty() && servers.iter().all(|server| server.weight == 0) {
        work.fault(&list.at, "every server has weight 0: none would get a request");
    }
    servers
}

/// The `Host` by which all servers know themselves.
fn own_host(work: &mut Compiler<'_>, raw: &Raw, servers: &[UpstreamServer]) -> Option<Box<str>> {
    if servers.iter().any(|server| server.address.socket().is_some()) {
        work.fault(&raw.host.at, "a socket has no name that could be the Host; use \"preserve\"");
        return None;
    }
    let default = if raw.tls.absent().is_some() { 80 } else { 443 };
    let hosts: Vec<_> = servers.iter().map(|server| authority(&server.address, default)).collect();
    if hosts.windows(2).any(|pair| pair.first() != pair.last()) {
        work.fault(&raw.host.at, "the servers have different names; the upstream could not know its own");
    }
    hosts.into_iter().next().map(Box::from)
}

/// `host:port`; without the port where it is the `default` one.
fn authority(server: &ServerAddress, default: u16) -> String {
    let whole = server.to_string();
    match whole.rsplit_once(':') {
        Some((host, _)) if server.port == default => host.to_owned(),
        Some(_) | None => whole,
    }
}

fn upstream_timeouts(work: &mut Compiler<'_>, raw: &UpstreamTimeouts) -> Timeouts {
    timeouts(work, [&raw.connect, &raw.read, &raw.write, &raw.idle, &raw.tunnel].map(Some))
}

/// Timeouts of a route, where they differ.
pub(super) fn route_timeouts(work: &mut Compiler<'_>, slot: &Slot<RawTimeouts>) -> Timeouts {
    let Some(raw) = slot.value() else { return Timeouts::default() };
    timeouts(work, [&raw.connect, &raw.read, &raw.write, &raw.idle, &raw.tunnel].map(Slot::get))
}

/// As far as they are given, in the order of the keys.
fn timeouts(work: &mut Compiler<'_>, given: [Option<&Item<Duration>>; 5]) -> Timeouts {
    let mut bounded = |item: Option<&Item<Duration>>, most| {
        let item = item?;
        work.positive(item, most);
        Some(item.value)
    };
    let [connect, read, write, idle, tunnel] = given;
    Timeouts {
        connect: bounded(connect, HOUR),
        read: bounded(read, HOUR),
        write: bounded(write, HOUR),
        idle: bounded(idle, HOUR),
        tunnel: bounded(tunnel, WEEK),
    }
}
