//! What the configuration says, for people: in the words of the file, with its place. Nothing is decided by it.

use std::path::Path;

use ipnet::IpNet;

use crate::config::keys::{Client, ClientKey, Realm, Route};
use crate::config::problem::At;
use crate::config::walk::{Item, Slot};
use crate::gate::policy::{DeclaredClient, DeclaredKeyView, RealmView, RouteView};

/// Of a realm. Places are told from `root` on, the directory of the configuration.
pub(super) fn realm(root: &Path, raw: &Realm) -> RealmView {
    let described = |(scope, text): &(String, Item<String>)| (scope.clone(), text.value.clone());
    RealmView {
        hosts: texts(&raw.hosts),
        scopes: raw.scopes.value().map(|scopes| scopes.0.iter().map(described).collect()),
        clients: raw.clients.value.0.iter().map(|(name, item)| client(root, name, item)).collect(),
    }
}

/// Of a route.
pub(super) fn route(raw: &Route) -> RouteView {
    RouteView {
        path: raw.path.value().cloned().unwrap_or_default(),
        methods: texts(&raw.methods),
        auth: raw.auth.value().into_iter().flatten().map(|kind| kind.value.as_str().to_owned()).collect(),
        scopes: texts(&raw.scopes),
        scopes_any: texts(&raw.scopes_any),
    }
}

fn client(root: &Path, name: &str, item: &Item<Client>) -> DeclaredClient {
    let Client { scopes, roles, plan, tenant, attributes, ip_allowlist, disabled, certificates, keys } = &item.value;
    DeclaredClient {
        name: name.to_owned(),
        source: place(root, &item.at),
        disabled: disabled.value,
        roles: plain(&roles.value),
        plan: plan.value().cloned(),
        tenant: tenant.value().cloned(),
        scopes: scopes.value().map(|scopes| plain(scopes)),
        attributes: attributes.value.0.iter().map(|(name, any)| (name.clone(), any.value.0.clone())).collect(),
        ip_allowlist: networks(ip_allowlist),
        certificates: plain(&certificates.value),
        keys: keys.value.iter().map(|item| key(root, item)).collect(),
    }
}

fn key(root: &Path, item: &Item<ClientKey>) -> DeclaredKeyView {
    let ClientKey { id, sha256: _, scopes, expires, disabled, ip_allowlist } = &item.value;
    DeclaredKeyView {
        id: id.value().cloned().unwrap_or_default(),
        source: place(root, &item.at),
        scopes: scopes.value().map(|scopes| plain(scopes)),
        expires: expires.value().copied(),
        disabled: disabled.value,
        ip_allowlist: networks(ip_allowlist),
    }
}

/// `realms/shop.toml:12`: found again by whoever has the directory, wherever that is.
fn place(root: &Path, at: &At) -> String {
    let file = at.file.strip_prefix(root).unwrap_or(&at.file).display();
    at.position.map_or_else(|| file.to_string(), |(line, _)| format!("{file}:{line}"))
}

fn texts(slot: &Slot<Vec<Item<String>>>) -> Vec<String> {
    slot.value().map(|list| plain(list)).unwrap_or_default()
}

fn plain(list: &[Item<String>]) -> Vec<String> {
    list.iter().map(|item| item.value.clone()).collect()
}

fn networks(slot: &Slot<Vec<Item<IpNet>>>) -> Vec<IpNet> {
    slot.value().into_iter().flatten().map(|item| item.value).collect()
}
