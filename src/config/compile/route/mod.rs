//! Routes.

mod auth;
mod forward;

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use ipnet::IpNet;
use serde_json::Value;

use super::limit::Limits;
use super::scope::Scopes;
use super::upstream::{Upstreams, route_timeouts};
use super::{Compiler, view};
use crate::config::keys::Route as Raw;
use crate::config::problem::At;
use crate::config::value::Any;
use crate::config::walk::{Item, Slot, shorten};
use crate::gate::headers::IdentityHeaders;
use crate::gate::limit::Limiter;
use crate::gate::network::NetworkSet;
use crate::gate::policy::{Route, Upstream};
use crate::gate::route::{Pattern, RouteTable};
use crate::gate::verify::api_key::ApiKeyForm;
use crate::gate::verify::jwt::ClaimPath;

/// What routes of a realm refer to.
pub(super) struct RealmParts<'a> {
    /// Names of the issuers, by position; none where one has no good name.
    pub(super) issuers: Vec<Option<&'a str>>,
    /// Forms of API keys, by position.
    pub(super) forms: &'a [Option<ApiKeyForm>],
    /// Scopes that exist.
    pub(super) scopes: &'a Scopes,
    /// Limits by name.
    pub(super) limits: &'a Limits,
    /// Identity headers.
    pub(super) identity: &'a IdentityHeaders,
    /// The realm's upstream.
    pub(super) default_upstream: Option<Arc<Upstream>>,
    /// Whether the realm says nothing about it.
    pub(super) default_missing: bool,
    /// Upstreams.
    pub(super) upstreams: &'a mut Upstreams,
    /// The server's largest body.
    pub(super) max_body: u64,
}

/// The names of all routes, in their order; none where there is no path. A name is the pattern where none is given, with
/// the methods before it where several routes that have no name share the pattern.
pub(super) fn names(work: &mut Compiler<'_>, items: &[Item<Raw>]) -> Vec<Option<String>> {
    let unnamed = |item: &Item<Raw>, path: &str| {
        item.value.name.get().is_none() && item.value.path.get().is_some_and(|other| other.value == path)
    };
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let path = item.value.path.get().map(|path| path.value.as_str());
        let name = match (item.value.name.get(), path, item.value.methods.get()) {
            (Some(name), ..) => {
                work.plain(&name.at, &name.value);
                Some(name.value.clone())
            }
            (None, Some(path), Some(methods)) if items.iter().filter(|item| unnamed(item, path)).count() > 1 => {
                let methods: Vec<_> = methods.value.iter().map(|method| method.value.as_str()).collect();
                Some(format!("{} {path}", methods.join(",")))
            }
            (None, path, _) => path.map(str::to_owned),
        };
        if let Some(name) = &name
            && let Some(other) = taken.insert(name.clone(), item.at.key.clone())
        {
            let name = shorten(name);
            work.fault(&item.at, format!("{other} is called {name:?}, too; give one of them another `name`"));
        }
        names.push(name);
    }
    names
}

/// Compiles a route and enters it into `table`.
pub(super) fn route(
    work: &mut Compiler<'_>,
    item: &Item<Raw>,
    name: Option<&str>,
    index: usize,
    parts: &mut RealmParts<'_>,
    table: &mut RouteTable,
) -> Option<Route> {
    let raw = &item.value;
    let methods = methods(work, &raw.methods);
    let pattern = raw.path.get().and_then(|path| work.good(&path.at, Pattern::parse(&path.value)));
    if let (Some(pattern), Some(methods)) = (&pattern, &methods) {
        let inserted = table.insert(pattern, methods, index);
        work.good(&item.at, inserted);
    }
    let auth = auth::auth(work, raw, parts);
    let issuers = auth.map(|auth| auth::issuers(work, raw, auth, parts));
    let places = auth.map(|auth| auth::places(work, raw, auth, parts));

    // Without a pattern nothing can be said about names in scopes.
    let names = pattern.as_ref().map(Pattern::param_names);
    let scopes = names.map(|names| parts.scopes.needed(work, &raw.scopes, names));
    let scopes_any = names.map(|names| parts.scopes.needed(work, &raw.scopes_any, names));
    let roles = one_of(work, &raw.roles);
    let plans = one_of(work, &raw.plan);
    let attributes = attributes(work, &raw.attributes.value.0);
    let allow_ips = networks(work, &raw.allow_ips, &raw.allow_ips_file, "every address is allowed");
    let deny_ips = networks(work, &raw.deny_ips, &raw.deny_ips_file, "no address is refused");
    let limits = limits(work, &raw.limits, parts.limits);
    let upstream = upstream(work, item, parts);
    let timeouts = route_timeouts(work, &raw.timeouts);
    let strip_prefix = forward::strip_prefix(work, raw, pattern.as_ref());
    let (add_headers, remove_headers) = forward::headers(work, &raw.headers.value, parts.identity);

    Some(Route {
        name: Arc::from(name?),
        index,
        view: view::route(raw),
        auth: auth?,
        places: places?,
        issuers: issuers?,
        scopes: scopes?,
        scopes_any: scopes_any?,
        roles,
        plans,
        attributes,
        allow_ips: allow_ips?,
        deny_ips: deny_ips?,
        limits: limits?,
        upstream: Some(upstream?),
        grant: None,
        standard: false,
        strip_prefix,
        timeouts,
        max_body: raw.max_body.value().map_or(parts.max_body, |size| size.0),
        forward_credential: raw.forward_credential.value,
        add_headers,
        remove_headers,
    })
}

fn methods(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<String>>>) -> Option<Vec<Method>> {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let list = match slot {
        Slot::Given(list) => list,
        Slot::Absent(_) => return Some(Vec::new()),
        Slot::Bad => return None,
    };
    work.not_empty(list);
    work.distinct(&list.value);
    let mut methods = Vec::new();
    for item in &list.value {
        let upper = item.value.to_ascii_uppercase();
        if matches!(upper.as_str(), "TRACE" | "CONNECT") {
            work.fault(&item.at, format!("{upper} is never served"));
        } else if KNOWN.contains(&upper.as_str()) && upper != item.value {
            work.fault(&item.at, format!("methods are case-sensitive; write \"{upper}\""));
        } else if let Ok(method) = Method::from_bytes(item.value.as_bytes()) {
            methods.push(method);
        } else {
            work.fault(&item.at, "expected a method such as \"GET\"");
        }
    }
    (!methods.is_empty()).then_some(methods)
}

fn one_of(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<String>>>) -> Vec<Box<str>> {
    let Some(list) = slot.get() else { return Vec::new() };
    work.not_empty(list);
    work.distinct(&list.value);
    for item in &list.value {
        work.plain(&item.at, &item.value);
    }
    list.value.iter().map(|item| item.value.as_str().into()).collect()
}

fn attributes(work: &mut Compiler<'_>, entries: &[(String, Item<Any>)]) -> Vec<(ClaimPath, Vec<Value>)> {
    let plain = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64();
    entries
        .iter()
        .filter_map(|(name, item)| {
            work.plain(&item.at, name);
            let values = match &item.value.0 {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            if values.is_empty() {
                work.fault(&item.at, "the list is empty: nothing would ever pass");
            } else if !values.iter().all(plain) {
                work.fault(&item.at, "expected text, an integer, a boolean, or a list of these");
            }
            Some((work.good(&item.at, ClaimPath::parse(name))?, values))
        })
        .collect()
}

/// The networks of a list and a file together. None: a problem was noted.
fn networks(
    work: &mut Compiler<'_>,
    list: &Slot<Vec<Item<IpNet>>>,
    file: &Slot<String>,
    consequence: &str,
) -> Option<Option<NetworkSet>> {
    let mut networks: Vec<IpNet> = Vec::new();
    let mut good = !matches!(list, Slot::Bad) && !matches!(file, Slot::Bad);
    if let Some(list) = list.get() {
        if list.value.is_empty() {
            work.warn(&list.at, format!("the list is empty, so {consequence}; leave it out to say so"));
        }
        networks.extend(list.value.iter().map(|network| network.value));
    }
    if let Some(file) = file.get() {
        match work.files.read_networks(&file.at, &file.value, &mut work.problems) {
            Some(read) => networks.extend(read),
            None => good = false,
        }
    }
    good.then(|| (!networks.is_empty()).then(|| networks.into_iter().collect()))
}

fn limits(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<String>>>, known: &Limits) -> Option<Vec<Arc<Limiter>>> {
    let list = match slot {
        Slot::Given(list) => &list.value,
        Slot::Absent(_) => return Some(Vec::new()),
        Slot::Bad => return None,
    };
    work.distinct(list);
    let mut limits = Vec::new();
    for item in list {
        match known.iter().find(|(name, _)| *name == item.value) {
            Some((_, limiter)) => limits.push(limiter.clone()),
            None => {
                work.unknown(&item.at, "limit", &item.value, known.iter().map(|(name, _)| name.as_str()));
                limits.push(None);
            }
        }
    }
    limits.into_iter().collect()
}

fn upstream(work: &mut Compiler<'_>, item: &Item<Raw>, parts: &mut RealmParts<'_>) -> Option<Arc<Upstream>> {
    match &item.value.upstream {
        Slot::Given(upstream) => parts.upstreams.resolve(work, upstream),
        Slot::Absent(at) => {
            if parts.default_missing {
                missing(work, at);
            }
            parts.default_upstream.clone()
        }
        Slot::Bad => None,
    }
}

fn missing(work: &mut Compiler<'_>, at: &At) {
    work.fault(at, "is required: neither the route nor the realm says where requests go");
}
