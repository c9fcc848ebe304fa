//! What `check` tells of each route: in the words of the file, so that a reader finds it again.

use super::keys::Route as Raw;
use super::walk::{Item, Slot};
use crate::gate::network::NetworkSet;
use crate::gate::policy::Route;

/// A route in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSummary {
    /// The realm's name.
    pub realm: String,
    /// The route's name: metric label.
    pub name: String,
    /// Its methods; empty = all.
    pub methods: Vec<String>,
    /// Its pattern.
    pub path: String,
    /// What it takes as proof, as `auth` has it.
    pub auth: Vec<String>,
    /// Where its requests go: an upstream's name, or `host:port`.
    pub upstream: String,
    /// What it demands: the key, and its values. Of addresses only the numbers of networks.
    pub needs: Vec<(&'static str, Vec<String>)>,
}

impl RouteSummary {
    /// Of a route and what it was made of.
    pub(super) fn of(realm: &str, raw: &Raw, route: &Route) -> Self {
        let attributes = route.attributes.iter().map(|(name, _)| name.to_string());
        let networks = |set: &Option<NetworkSet>, what: &str| set.as_ref().map(|set| format!("{} {what}", set.len()));
        let addresses = networks(&route.allow_ips, "allowed").into_iter().chain(networks(&route.deny_ips, "denied"));
        let needs = [
            ("issuers", texts(&raw.issuers)),
            ("scopes", route.view.scopes.clone()),
            ("scopes_any", route.view.scopes_any.clone()),
            ("roles", texts(&raw.roles)),
            ("plan", texts(&raw.plan)),
            ("attributes", attributes.collect()),
            ("addresses", addresses.collect()),
            ("limits", texts(&raw.limits)),
        ];
        Self {
            realm: realm.to_owned(),
            name: route.name.to_string(),
            methods: route.view.methods.clone(),
            path: route.view.path.clone(),
            auth: route.view.auth.clone(),
            upstream: route.upstream.as_ref().map_or_else(String::new, |upstream| upstream.name.to_string()),
            needs: needs.into_iter().filter(|(_, values)| !values.is_empty()).collect(),
        }
    }
}

fn texts(slot: &Slot<Vec<Item<String>>>) -> Vec<String> {
    slot.value().into_iter().flatten().map(|item| item.value.clone()).collect()
}
