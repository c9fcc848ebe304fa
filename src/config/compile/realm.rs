//! A realm as a whole.

use std::sync::Arc;
use std::time::Duration;

use super::route::{self, Lookup, Named, RealmParts};
use super::scope::{self, Scopes};
use super::tokens::{self, Minting, Service};
use super::upstream::Upstreams;
use super::{Compiler, RealmInput, api_key, certificate, client, cors, errors, identity, issuer, limit, view};
use crate::config::RouteSummary;
use crate::config::keys;
use crate::config::walk::Slot;
use crate::gate::path::PathRules;
use crate::gate::policy::{Realm, Roles, Route};
use crate::gate::route::HostTable;
use crate::gate::verify::jwt::Issuer;
use crate::tokens::policy::RealmTokens;

/// What a realm takes from the server.
pub(super) struct Around {
    /// Largest request body.
    pub(super) max_body: u64,
    /// How far clocks may differ.
    pub(super) clock_skew: Duration,
    /// Whether any listener asks clients for a certificate.
    pub(super) asks_for_certificates: bool,
}

/// A realm as the gate knows it, and as the token service does, if it issues anything.
pub(super) struct Compiled {
    pub(super) realm: Realm,
    pub(super) tokens: Option<RealmTokens>,
}

/// Compiles a realm. None: problems were noted.
pub(super) fn realm(
    work: &mut Compiler<'_>,
    input: &RealmInput,
    index: usize,
    hosts: &mut HostTable,
    server: &Around,
) -> Option<Compiled> {
    let RealmInput { name, at, keys: raw } = input;
    work.label(at, name);
    if let Some(list) = raw.hosts.get() {
        work.not_empty(list);
        for host in &list.value {
            let inserted = hosts.insert(&host.value, index);
            work.good(&host.at, inserted);
        }
    }
    let scopes = Scopes::new(work, raw.scopes.value());
    let roles = scope::roles(work, &raw.roles.value, &scopes);
    let minting = tokens::minting(work, name, raw);
    let identity_headers = identity::identity(work, raw, minting.as_ref());
    let forms = api_key::forms(work, &raw.api_keys.value, &identity_headers);
    let mut issuers = issuer::issuers(work, &raw.issuers.value);
    let dialect = errors::dialect(work, name, &raw.errors);
    let limits = limit::limits(work, &raw.limits.value);
    let has_forms = !forms.is_empty();
    let around = client::Around { realm: name, scopes: &scopes, roles: &roles, identity: &identity_headers, has_forms };
    let (declared, certificates) = client::clients(work, &raw.clients.value, &around);
    let mut upstreams = Upstreams::new(work, &raw.upstreams.value);

    let mut names: Vec<_> = raw.issuers.value.iter().map(|item| item.value.name.value().map(String::as_str)).collect();
    if let Some(minting) = &minting {
        names.push(Some("self"));
        issuers.push(Some(Arc::new(minting.gate_issuer(issuers.len(), server.clock_skew))));
    }
    let default_upstream = raw.upstream.get().and_then(|upstream| upstreams.resolve(work, upstream));
    let hosts_from = tokens::hosts_from(work, raw);
    let mut parts = RealmParts {
        issuers: names,
        kinds: minting.as_ref().map(|minting| &minting.kinds),
        forms: &forms,
        scopes: &scopes,
        limits: &limits,
        identity: &identity_headers,
        default_upstream,
        default_missing: raw.upstream.absent().is_some(),
        enforce: raw.enforce.value,
        cors: cors::of_realm(work, &raw.cors),
        upstreams: &mut upstreams,
        max_body: server.max_body,
        lookup: Lookup::new(raw.hosts.value().map_or(&[], Vec::as_slice), raw.hosts_from.get().is_some()),
    };
    let unmatched = unmatched(work, raw, &parts);
    let (routes, service) = routes(work, input, &mut parts, minting.as_ref(), &roles, &issuers);
    certificate::check(work, raw, server.asks_for_certificates);
    let cors = parts.cors.take();
    let (table, host_tables) = parts.lookup.tables(work);
    tokens::check_exempt(work, raw);
    raw.hosts.get()?;
    // What could not be read of the token service has its problem already.
    let own = minting.as_ref().map(|minting| minting.own(issuers.len() - 1));
    let tokens = match (minting, service) {
        (Some(minting), Some(service)) => Some(minting.finish(name, raw, service, &roles)?),
        (Some(_), None) | (None, _) => None,
    };
    let realm = Realm {
        name: Arc::from(name.as_str()),
        number: Realm::number_of(name),
        index,
        dialect: Arc::new(dialect?),
        oauth_dialect: Arc::new(crate::gate::dialect::Dialect::oauth(name)),
        path_rules: PathRules {
            encoded_slash: raw.allow_encoded_slash.value,
            parameters: raw.allow_path_parameters.value,
        },
        table,
        host_tables,
        own,
        hosts_from,
        routes: routes?,
        issuers: issuers.into_iter().collect::<Option<_>>()?,
        api_keys: forms.into_iter().collect::<Option<_>>()?,
        declared,
        certificates,
        identity_headers,
        roles,
        unmatched,
        cors: cors.filter(|_| raw.enforce.value).map(|said| said.to(&[], None)),
        upstreams: upstreams.into_list()?,
        view: view::realm(&work.root, raw),
    };
    Some(Compiled { realm, tokens })
}

/// Where what no route names goes in a realm that is not enforced.
fn unmatched(work: &mut Compiler<'_>, raw: &keys::Realm, parts: &RealmParts<'_>) -> Option<Arc<Route>> {
    if raw.enforce.value {
        return None;
    }
    work.warn(&raw.enforce.at, "requests go on whatever is decided about them, but on routes with `enforce = true`");
    if parts.default_missing {
        let text = "the realm has no `upstream`: what no route names has nowhere to go and is refused, enforced or not";
        work.warn(&raw.enforce.at, text);
    }
    let upstream = parts.default_upstream.clone()?;
    let open = Route::open(Arc::from("-"), usize::MAX);
    Some(Arc::new(Route { enforce: false, upstream: Some(upstream), max_body: parts.max_body, ..open }))
}

/// Routes, then grants: to the gate these are routes, too. None: a problem was noted.
fn routes(
    work: &mut Compiler<'_>,
    input: &RealmInput,
    parts: &mut RealmParts<'_>,
    minting: Option<&Minting>,
    roles: &Roles,
    issuers: &[Option<Arc<Issuer>>],
) -> (Option<Vec<Arc<Route>>>, Option<Service>) {
    let RealmInput { name: realm, at: _, keys: raw } = input;
    let grants = raw.grants.value.as_slice();
    let written = match &raw.routes {
        Slot::Given(list) if grants.is_empty() => {
            work.not_empty(list);
            list.value.as_slice()
        }
        Slot::Given(list) => list.value.as_slice(),
        Slot::Absent(at) if grants.is_empty() => {
            work.fault(at, "is required: which requests are there?");
            &[]
        }
        Slot::Absent(_) | Slot::Bad => &[],
    };
    let all: Vec<_> = written.iter().map(Named::of).chain(tokens::named(grants)).collect();
    let names = route::names(work, &all);
    let mut routes = Vec::new();
    for (index, (item, name)) in written.iter().zip(&names).enumerate() {
        let route = route::route(work, item, name.as_deref(), index, parts).map(Arc::new);
        let Some(compiled) = &route else {
            routes.push(None);
            continue;
        };
        let target = compiled.upstream.as_ref().map_or_else(String::new, |upstream| upstream.name.to_string());
        let said = [("hosts", &item.value.hosts), ("issuers", &item.value.issuers)];
        work.routes.push(RouteSummary::of(realm, compiled, target, said));
        let at = item.value.issuers.get().map_or(&item.at, |issuers| &issuers.at);
        one_issuer_a_token(work, at, compiled, issuers);
        routes.push(route);
    }
    let names = names.get(written.len()..).unwrap_or_default();
    let service =
        minting.map(|minting| tokens::service(work, (realm, raw), minting, (names, written.len()), parts, roles));
    routes.extend(service.iter().flat_map(|service| service.routes.iter().cloned()));
    routes.extend(identity::document(work, (realm, raw), parts, routes.len()).map(Some));
    let good = !matches!(raw.routes, Slot::Bad);
    (routes.into_iter().collect::<Option<Vec<_>>>().filter(|_| good), service)
}

/// On every route, issuer claim and algorithm of a token must leave one issuer.
fn one_issuer_a_token(
    work: &mut Compiler<'_>,
    at: &crate::config::problem::At,
    route: &Route,
    issuers: &[Option<Arc<Issuer>>],
) {
    let believed: Vec<_> = route.issuers.iter().filter_map(|index| issuers.get(*index)?.as_ref()).collect();
    for (position, one) in believed.iter().enumerate() {
        for other in believed.iter().skip(position + 1).filter(|other| other.issuer == one.issuer) {
            if let Some(algorithm) = one.algorithms.iter().find(|algorithm| other.algorithms.contains(algorithm)) {
                let text = format!(
                    "the issuers `{}` and `{}` have the same `issuer` and both take {}: a token could be of either; \
                     let the route's `issuers` name one of them",
                    one.name,
                    other.name,
                    algorithm.as_str()
                );
                work.fault(at, text);
            }
        }
    }
}
