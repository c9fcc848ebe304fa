//! A realm as a whole.

use std::sync::Arc;

use super::client::{self, Around};
use super::route::{self, RealmParts};
use super::scope::{self, Scopes};
use super::upstream::Upstreams;
use super::{Compiler, RealmInput, api_key, errors, header, issuer, limit, view};
use crate::config::RouteSummary;
use crate::gate::path::PathRules;
use crate::gate::policy::{Realm, Route};
use crate::gate::route::{HostTable, RouteTable};
use crate::gate::verify::jwt::Issuer;

/// Compiles a realm. None: problems were noted.
pub(super) fn realm(
    work: &mut Compiler<'_>,
    input: &RealmInput,
    index: usize,
    hosts: &mut HostTable,
    max_body: u64,
) -> Option<Realm> {
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
    let identity_headers = header::identity(work, &raw.identity_headers.value);
    let forms = api_key::forms(work, &raw.api_keys.value, &identity_headers);
    let issuers = issuer::issuers(work, &raw.issuers.value);
    let dialect = errors::dialect(work, name, &raw.errors);
    let limits = limit::limits(work, &raw.limits.value);
    let has_forms = !forms.is_empty();
    let around = Around { realm: name, scopes: &scopes, roles: &roles, identity: &identity_headers, has_forms };
    let declared = client::clients(work, &raw.clients.value, &around);
    let mut upstreams = Upstreams::new(work, &raw.upstreams.value);

    let names = raw.issuers.value.iter().map(|item| item.value.name.value().map(String::as_str)).collect();
    let default_upstream = raw.upstream.get().and_then(|upstream| upstreams.resolve(work, upstream));
    let mut parts = RealmParts {
        issuers: names,
        forms: &forms,
        scopes: &scopes,
        limits: &limits,
        identity: &identity_headers,
        default_upstream,
        default_missing: raw.upstream.absent().is_some(),
        upstreams: &mut upstreams,
        max_body,
    };
    let mut table = RouteTable::default();
    let mut routes = Vec::new();
    let written = raw.routes.get().map(|list| {
        work.not_empty(list);
        list.value.as_slice()
    });
    let names = route::names(work, written.unwrap_or_default());
    for (index, (item, route_name)) in written.unwrap_or_default().iter().zip(&names).enumerate() {
        let route = route::route(work, item, route_name.as_deref(), index, &mut parts, &mut table).map(Arc::new);
        work.routes.extend(route.as_ref().map(|route| RouteSummary::of(name, &item.value, route)));
        routes.push(route);
    }
    for (route, item) in routes.iter().zip(written.unwrap_or_default()) {
        if let Some(route) = route {
            let at = item.value.issuers.get().map_or(&item.at, |issuers| &issuers.at);
            one_issuer_a_token(work, at, route, &issuers);
        }
    }
    raw.hosts.get()?;
    written?;
    Some(Realm {
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
        host_tables: Vec::new(),
        own: None,
        hosts_from: None,
        routes: routes.into_iter().collect::<Option<_>>()?,
        issuers: issuers.into_iter().collect::<Option<_>>()?,
        api_keys: forms.into_iter().collect::<Option<_>>()?,
        declared,
        identity_headers,
        roles,
        upstreams: upstreams.into_list()?,
        view: view::realm(&work.root, raw),
    })
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
