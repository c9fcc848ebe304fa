//! Routes.

mod auth;
mod forward;
mod guard;
mod lookup;

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

pub(super) use self::guard::{Guard, Guarded, NO_TEXT, NO_TEXTS, guarded, one_of, values};
pub(super) use self::lookup::Lookup;
use super::cors::Said;
use super::limit::Limits;
use super::scope::Scopes;
use super::tokens::Kinds;
use super::upstream::{Upstreams, route_timeouts};
use super::{Compiler, cors, view};
use crate::config::keys::Route as Raw;
use crate::config::problem::At;
use crate::config::walk::{Item, Slot, shorten};
use crate::gate::headers::IdentityHeaders;
use crate::gate::policy::{Route, Upstream};
use crate::gate::route::Pattern;
use crate::gate::verify::api_key::ApiKeyForm;

/// What routes of a realm refer to.
pub(super) struct RealmParts<'a> {
    /// Names of the issuers, by position; none where one has no good name. The realm itself is the last, if it issues.
    pub(super) issuers: Vec<Option<&'a str>>,
    /// Kinds of tokens that the realm issues, if it does.
    pub(super) kinds: Option<&'a Kinds>,
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
    /// Whether the realm's routes are enforced, where they do not say.
    pub(super) enforce: bool,
    /// What the realm says of pages of other origins.
    pub(super) cors: Option<Arc<Said>>,
    /// The server's largest body.
    pub(super) max_body: u64,
    /// Which requests find what.
    pub(super) lookup: Lookup,
}

impl RealmParts<'_> {
    /// Positions of the issuers whose JWTs routes can take: not of a realm that issues no access tokens.
    fn believed(&self) -> impl Iterator<Item = usize> {
        let useless = self.kinds.is_some_and(|kinds| !kinds.has_access());
        0..self.issuers.len().saturating_sub(usize::from(useless))
    }

    /// Position of the realm itself among the issuers.
    pub(super) fn own_issuer(&self) -> Option<usize> {
        self.kinds.and_then(|_| self.issuers.len().checked_sub(1))
    }
}

/// What has a name and a path: a route or a grant.
pub(super) struct Named<'r> {
    /// Where it stands.
    pub(super) at: &'r At,
    /// Its own name.
    pub(super) name: &'r Slot<String>,
    /// Its path.
    pub(super) path: &'r Slot<String>,
    /// Its methods, where they are said.
    pub(super) methods: Option<Vec<&'r str>>,
}

impl<'r> Named<'r> {
    /// Of a route.
    pub(super) fn of(item: &'r Item<Raw>) -> Self {
        let Raw { name, path, methods, .. } = &item.value;
        let methods = methods.value().map(|list| list.iter().map(|method| method.value.as_str()).collect());
        Self { at: &item.at, name, path, methods }
    }
}

/// The names of all routes and grants, in their order; none where there is no path. A name is the pattern where none is
/// given, with the methods before it where several that have no name share the pattern.
pub(super) fn names(work: &mut Compiler<'_>, all: &[Named<'_>]) -> Vec<Option<String>> {
    let mut unnamed: HashMap<&str, usize> = HashMap::new();
    for path in all.iter().filter(|one| one.name.get().is_none()).filter_map(|one| one.path.value()) {
        *unnamed.entry(path).or_default() += 1;
    }
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut names = Vec::with_capacity(all.len());
    for one in all {
        let path = one.path.value().map(String::as_str);
        let name = match (one.name.get(), path, &one.methods) {
            (Some(name), ..) => {
                work.plain(&name.at, &name.value);
                Some(name.value.clone())
            }
            (None, Some(path), Some(methods)) if unnamed.get(path).is_some_and(|count| *count > 1) => {
                Some(format!("{} {path}", methods.join(",")))
            }
            (None, path, _) => path.map(str::to_owned),
        };
        if let Some(name) = &name
            && let Some(other) = taken.insert(name.clone(), one.at.key.clone())
        {
            let name = shorten(name);
            work.fault(one.at, format!("{other} is called {name:?}, too; give one of them another `name`"));
        }
        names.push(name);
    }
    names
}

/// Compiles a route and enters it into the look-up.
pub(super) fn route(
    work: &mut Compiler<'_>,
    item: &Item<Raw>,
    name: Option<&str>,
    index: usize,
    parts: &mut RealmParts<'_>,
) -> Option<Route> {
    let raw = &item.value;
    let methods = methods(work, &raw.methods);
    let pattern = raw.path.get().and_then(|path| work.good(&path.at, Pattern::parse(&path.value)));
    if let (Some(pattern), Some(methods)) = (&pattern, &methods) {
        parts.lookup.add(work, &item.at, &raw.hosts, (pattern, methods), index);
    }
    let guarded = guarded(work, &Guard::of(raw), pattern.as_ref(), parts);
    let upstream = upstream(work, item, parts);
    let timeouts = route_timeouts(work, &raw.timeouts);
    let strip_prefix = forward::strip_prefix(work, raw, pattern.as_ref());
    let (add_headers, remove_headers) = forward::headers(work, &raw.headers.value, parts.identity);
    let cors = cors::of_route(work, &raw.cors, parts.cors.as_ref(), methods.as_deref());
    let (guarded, methods) = (guarded?, methods?);

    Some(Route {
        name: Arc::from(name?),
        index,
        cors: cors.map(|said| said.to(&methods, Some(&guarded))),
        view: view::route(raw),
        enforce: enforced(work, &raw.enforce, parts.enforce),
        auth: guarded.auth,
        places: guarded.places,
        issuers: guarded.issuers,
        scopes: guarded.scopes,
        scopes_any: guarded.scopes_any,
        roles: guarded.roles,
        plans: guarded.plans,
        attributes: guarded.attributes,
        allow_ips: guarded.allow_ips,
        deny_ips: guarded.deny_ips,
        limits: guarded.limits,
        upstream: Some(upstream?),
        grant: None,
        document: None,
        standard: false,
        strip_prefix,
        timeouts,
        max_body: raw.max_body.value().map_or(parts.max_body, |size| size.0),
        forward_credential: raw.forward_credential.value,
        add_headers,
        remove_headers,
    })
}

pub(super) fn methods(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<String>>>) -> Option<Vec<Method>> {
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

/// Whether decisions are carried out. Who reads the log at a start shall know where they are not.
fn enforced(work: &mut Compiler<'_>, slot: &Slot<bool>, realm: bool) -> bool {
    match slot.get() {
        Some(Item { value: false, at, .. }) if realm => {
            work.warn(at, "requests go on whatever is decided about them");
            false
        }
        given => given.map_or(realm, |enforce| enforce.value),
    }
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
