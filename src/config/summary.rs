//! What `check` tells of each route: in the words of the file, so that a reader finds it again.

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
    /// Where its requests go: an upstream's name, or `host:port`; `grant TYPE` where they are answered here.
    pub upstream: String,
    /// What it demands: the key, and its values. Of addresses only the numbers of networks.
    pub needs: Vec<(&'static str, Vec<String>)>,
}

impl RouteSummary {
    /// Of a route whose requests go to `target`; `said` are lists of the file that the route does not hold as written.
    pub(super) fn of<const N: usize>(
        realm: &str,
        route: &Route,
        target: String,
        said: [(&'static str, &Slot<Vec<Item<String>>>); N],
    ) -> Self {
        let said =
            |key: &str| said.iter().find(|(known, _)| *known == key).map_or_else(Vec::new, |(_, slot)| texts(slot));
        let owned = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let attributes = route.attributes.iter().map(|(name, _)| name.to_string());
        let networks = |set: &Option<NetworkSet>, what: &str| set.as_ref().map(|set| format!("{} {what}", set.len()));
        let addresses = networks(&route.allow_ips, "allowed").into_iter().chain(networks(&route.deny_ips, "denied"));
        let plans = if route.plans.is_empty() { said("plan") } else { owned(&route.plans) };
        // Whatever else is demanded there is not.
        let open = !route.enforce && route.upstream.is_some();
        let needs = [
            ("enforce", open.then(|| "false".to_owned()).into_iter().collect()),
            ("hosts", said("hosts")),
            ("issuers", said("issuers")),
            ("scopes", route.view.scopes.clone()),
            ("scopes_any", route.view.scopes_any.clone()),
            ("roles", owned(&route.roles)),
            ("plan", plans),
            ("attributes", attributes.collect()),
            ("addresses", addresses.collect()),
            ("limits", route.limits.iter().map(|limit| limit.spec().name.to_string()).collect()),
        ];
        Self {
            realm: realm.to_owned(),
            name: route.name.to_string(),
            methods: route.view.methods.clone(),
            path: route.view.path.clone(),
            auth: route.view.auth.clone(),
            upstream: target,
            needs: needs.into_iter().filter(|(_, values)| !values.is_empty()).collect(),
        }
    }
}

fn texts(slot: &Slot<Vec<Item<String>>>) -> Vec<String> {
    slot.value().into_iter().flatten().map(|item| item.value.clone()).collect()
}
