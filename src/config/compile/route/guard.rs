//! What routes and grants have in common: who may come, from where, and how often.

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::{RealmParts, auth};
use crate::config::compile::Compiler;
use crate::config::compile::limit::Limits;
use crate::config::keys::Route as Raw;
use crate::config::problem::At;
use crate::config::value::word::AuthKind;
use crate::config::value::{Any, Named};
use crate::config::walk::{Item, Slot};
use crate::gate::limit::Limiter;
use crate::gate::network::NetworkSet;
use crate::gate::policy::{Auth, RoutePlace, ScopeTemplate};
use crate::gate::route::Pattern;
use crate::gate::verify::jwt::ClaimPath;

/// A list of texts that may have been left out.
type Texts = Slot<Vec<Item<String>>>;

/// For keys that are not there: nothing is to be said about them.
pub(in crate::config::compile) const NO_TEXTS: &Texts = &Slot::Bad;
/// Likewise.
pub(in crate::config::compile) const NO_TEXT: &Slot<String> = &Slot::Bad;

/// The keys.
pub(in crate::config::compile) struct Guard<'r> {
    /// Kinds of credentials; none where they could not be read.
    pub(in crate::config::compile) auth: Option<(&'r [Item<AuthKind>], &'r At)>,
    pub(in crate::config::compile) token: &'r Slot<String>,
    pub(in crate::config::compile) issuers: &'r Texts,
    pub(in crate::config::compile) from: &'r Texts,
    pub(in crate::config::compile) scopes: &'r Texts,
    pub(in crate::config::compile) scopes_any: &'r Texts,
    pub(in crate::config::compile) roles: &'r Texts,
    pub(in crate::config::compile) plan: &'r Texts,
    pub(in crate::config::compile) attributes: Option<&'r Item<Named<Any>>>,
    pub(in crate::config::compile) allow_ips: (&'r Slot<Vec<Item<IpNet>>>, &'r Slot<String>),
    pub(in crate::config::compile) deny_ips: (&'r Slot<Vec<Item<IpNet>>>, &'r Slot<String>),
    pub(in crate::config::compile) limits: &'r Texts,
}

impl<'r> Guard<'r> {
    /// Of a route.
    pub(super) fn of(raw: &'r Raw) -> Self {
        Self {
            auth: raw.auth.get().map(|list| (list.value.as_slice(), &list.at)),
            token: &raw.token,
            issuers: &raw.issuers,
            from: &raw.from,
            scopes: &raw.scopes,
            scopes_any: &raw.scopes_any,
            roles: &raw.roles,
            plan: &raw.plan,
            attributes: Some(&raw.attributes),
            allow_ips: (&raw.allow_ips, &raw.allow_ips_file),
            deny_ips: (&raw.deny_ips, &raw.deny_ips_file),
            limits: &raw.limits,
        }
    }
}

/// What the keys mean.
pub(in crate::config::compile) struct Guarded {
    pub(in crate::config::compile) auth: Auth,
    pub(in crate::config::compile) places: Vec<RoutePlace>,
    pub(in crate::config::compile) issuers: Vec<usize>,
    pub(in crate::config::compile) scopes: Vec<ScopeTemplate>,
    pub(in crate::config::compile) scopes_any: Vec<ScopeTemplate>,
    pub(in crate::config::compile) roles: Vec<Box<str>>,
    pub(in crate::config::compile) plans: Vec<Box<str>>,
    pub(in crate::config::compile) attributes: Vec<(ClaimPath, Vec<Value>)>,
    pub(in crate::config::compile) allow_ips: Option<NetworkSet>,
    pub(in crate::config::compile) deny_ips: Option<NetworkSet>,
    pub(in crate::config::compile) limits: Vec<Arc<Limiter>>,
}

/// Compiles the keys. None: a problem was noted.
pub(in crate::config::compile) fn guarded(
    work: &mut Compiler<'_>,
    raw: &Guard<'_>,
    pattern: Option<&Pattern>,
    parts: &RealmParts<'_>,
) -> Option<Guarded> {
    let auth = auth::auth(work, raw, parts);
    let issuers = auth.map(|auth| auth::issuers(work, raw.issuers, auth, parts));
    let places = auth.map(|auth| auth::places(work, raw.from, auth, parts));

    // Without a pattern nothing can be said about names in scopes.
    let names = pattern.map(Pattern::param_names);
    let scopes = names.map(|names| parts.scopes.needed(work, raw.scopes, names));
    let scopes_any = names.map(|names| parts.scopes.needed(work, raw.scopes_any, names));
    let roles = one_of(work, raw.roles);
    let plans = one_of(work, raw.plan);
    let attributes = raw.attributes.map(|table| attributes(work, &table.value.0)).unwrap_or_default();
    let allow_ips = networks(work, raw.allow_ips, "every address is allowed");
    let deny_ips = networks(work, raw.deny_ips, "no address is refused");
    let limits = limits(work, raw.limits, parts.limits);
    Some(Guarded {
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
    })
}

/// A list out of which one is needed.
pub(in crate::config::compile) fn one_of(work: &mut Compiler<'_>, slot: &Texts) -> Vec<Box<str>> {
    let Some(list) = slot.get() else { return Vec::new() };
    work.not_empty(list);
    work.distinct(&list.value);
    for item in &list.value {
        work.plain(&item.at, &item.value);
    }
    list.value.iter().map(|item| item.value.as_str().into()).collect()
}

fn attributes(work: &mut Compiler<'_>, entries: &[(String, Item<Any>)]) -> Vec<(ClaimPath, Vec<Value>)> {
    entries
        .iter()
        .filter_map(|(name, item)| {
            work.plain(&item.at, name);
            let values = values(work, item);
            Some((work.good(&item.at, ClaimPath::parse(name))?, values))
        })
        .collect()
}

/// What something must be equal to: one value, or one of a list.
pub(in crate::config::compile) fn values(work: &mut Compiler<'_>, item: &Item<Any>) -> Vec<Value> {
    let plain = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64();
    let values = match &item.value.0 {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    if values.is_empty() {
        work.fault(&item.at, "the list is empty: nothing would ever pass");
    } else if !values.iter().all(plain) {
        work.fault(&item.at, "expected text, an integer, a boolean, or a list of these");
    }
    values
}

/// The networks of a list and a file together. None: a problem was noted.
fn networks(
    work: &mut Compiler<'_>,
    (list, file): (&Slot<Vec<Item<IpNet>>>, &Slot<String>),
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

fn limits(work: &mut Compiler<'_>, slot: &Texts, known: &Limits) -> Option<Vec<Arc<Limiter>>> {
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
