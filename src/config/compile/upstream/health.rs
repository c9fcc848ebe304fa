//! How servers are checked, and when they are left alone.

use std::time::Duration;

use super::HOUR;
use crate::config::compile::Compiler;
use crate::config::keys::{Eject, HealthCheck};
use crate::config::problem::At;
use crate::config::value::measure::duration_text;
use crate::config::walk::{Item, Slot};
use crate::gate::policy::{Check, Ejection, Probe, Protocol};

/// Checks come no faster: they must not be the load.
const SHORTEST: Duration = Duration::from_millis(100);
/// So many in a row are counted.
const MOST: u32 = 1000;

/// The check that is written there.
pub(super) fn check(work: &mut Compiler<'_>, item: &Item<HealthCheck>, protocol: Protocol) -> Option<Check> {
    let raw = &item.value;
    work.at_most(&raw.interval, HOUR);
    if raw.interval.value < SHORTEST {
        work.fault(&raw.interval.at, format!("at least \"{}\"", duration_text(SHORTEST)));
    }
    work.positive(&raw.timeout, HOUR);
    count(work, &raw.healthy);
    count(work, &raw.unhealthy);
    let probe = probe(work, item, protocol)?;
    let (interval, timeout) = (raw.interval.value, raw.timeout.value);
    Some(Check { probe, interval, timeout, healthy: raw.healthy.value, unhealthy: raw.unhealthy.value })
}

fn probe(work: &mut Compiler<'_>, item: &Item<HealthCheck>, protocol: Protocol) -> Option<Probe> {
    let raw = &item.value;
    let host = raw.host.get().map(|host| {
        if host.value.parse::<http::uri::Authority>().is_err() || host.value.contains('@') {
            work.fault(&host.at, "expected a host, with its port where it has one");
        }
        Box::from(host.value.as_str())
    });
    let statuses = statuses(work, &raw.status);
    match (&raw.path, &raw.tcp, &raw.grpc) {
        (Slot::Given(path), Slot::Absent(_), Slot::Absent(_)) => {
            let plain = path.value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !path.value.starts_with('/') || !plain || path.value.parse::<http::uri::PathAndQuery>().is_err() {
                work.fault(&path.at, "expected a path such as \"/healthz\"");
            }
            Some(Probe::Http { path: path.value.as_str().into(), host, statuses })
        }
        (Slot::Absent(_), Slot::Given(tcp), Slot::Absent(_)) => {
            if !tcp.value {
                work.fault(&tcp.at, "expected `true`; leave `health` out where nothing is to be checked");
            }
            idle(work, raw.host.get().map(|host| &host.at), "host", "tcp");
            idle(work, raw.status.given.then_some(&raw.status.at), "status", "tcp");
            Some(Probe::Tcp)
        }
        (Slot::Absent(_), Slot::Absent(_), Slot::Given(grpc)) => {
            let plain = grpc.value.bytes().all(|byte| byte.is_ascii_graphic());
            if grpc.value.len() > 200 || !plain {
                work.fault(&grpc.at, "expected the name of a service, such as \"shop.v1.Orders\", or \"\"");
            }
            if protocol == Protocol::Http1 {
                work.fault(&grpc.at, "needs `protocol = \"http2\"` beside `servers`");
            }
            idle(work, raw.status.given.then_some(&raw.status.at), "status", "grpc");
            Some(Probe::Grpc { service: grpc.value.as_str().into(), host })
        }
        (Slot::Bad, _, _) | (_, Slot::Bad, _) | (_, _, Slot::Bad) => None,
        (Slot::Absent(_) | Slot::Given(_), _, _) => {
            work.fault(&item.at, "expected exactly one of `path`, `tcp` and `grpc`");
            None
        }
    }
}

/// Notes that a key says nothing beside another.
fn idle(work: &mut Compiler<'_>, at: Option<&At>, key: &str, beside: &str) {
    if let Some(at) = at {
        work.fault(at, format!("`{key}` means nothing beside `{beside}`"));
    }
}

/// When servers are left alone, as it is written there.
pub(super) fn ejection(work: &mut Compiler<'_>, raw: &Eject) -> Ejection {
    count(work, &raw.failures);
    work.positive(&raw.r#for, HOUR);
    let statuses = statuses(work, &raw.statuses);
    Ejection { failures: raw.failures.value, period: raw.r#for.value, statuses }
}

fn count(work: &mut Compiler<'_>, item: &Item<u32>) {
    if !(1..=MOST).contains(&item.value) {
        work.fault(&item.at, format!("expected an integer from 1 to {MOST}"));
    }
}

fn statuses(work: &mut Compiler<'_>, list: &Item<Vec<Item<u32>>>) -> Vec<u16> {
    let mut statuses = Vec::with_capacity(list.value.len());
    for item in &list.value {
        match u16::try_from(item.value) {
            Ok(status @ 200..=599) => statuses.push(status),
            Ok(_) | Err(_) => work.fault(&item.at, "expected an HTTP status from 200 to 599"),
        }
    }
    statuses
}
