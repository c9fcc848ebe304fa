//! Scopes and roles, and how many hold each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::call::Call;
use super::super::{Answer, Refusal};
use super::chosen;
use crate::gate::policy::Realm;
use crate::identity::ScopeSet;
use crate::store::{Client, ClientFilter, Key, KeyFilter, KeyStatus, Page};

/// Rows of one kind that are counted in a realm at most: a million keys are not walked through for a view.
const MAX_COUNTED: usize = 20_000;

/// Rows read at once.
const PAGE: usize = 500;

pub(super) async fn scopes(call: &Call<'_>) -> Result<Answer, Refusal> {
    let mut list = Vec::new();
    for realm in chosen(call)? {
        let mut scopes = known_scopes(&realm);
        if scopes.is_empty() {
            continue;
        }
        let mut at_least = false;
        for client in &realm.view.clients {
            count(&mut scopes, client.scopes.as_deref(), |scope| &mut scope.clients);
            for key in &client.keys {
                count(&mut scopes, key.scopes.as_deref(), |scope| &mut scope.keys);
            }
        }
        let counted = |client: &Client| count(&mut scopes, client.scopes.as_deref(), |scope| &mut scope.clients);
        at_least |= each_client(call, &realm, counted).await?;
        let counted = |key: &Key| count(&mut scopes, key.scopes.as_deref(), |scope| &mut scope.keys);
        at_least |= each_key(call, &realm, counted).await?;
        list.extend(scopes.iter().map(|(name, scope)| scope.to_json(&realm, name, at_least)));
    }
    Ok(Answer::list(list, None))
}

/// What is known of a scope.
#[derive(Default)]
struct Scope {
    description: Option<String>,
    routes: u64,
    clients: u64,
    keys: u64,
}

impl Scope {
    fn to_json(&self, realm: &Realm, name: &str, at_least: bool) -> Value {
        let mut roles: Vec<&str> =
            realm.roles.0.iter().filter(|(_, scopes)| scopes.allows(name)).map(|(role, _)| &**role).collect();
        roles.sort_unstable();
        json!({
            "realm": &*realm.name,
            "name": name,
            "description": self.description,
            "routes": self.routes,
            "roles": roles,
            "clients": self.clients,
            "keys": self.keys,
            "at_least": at_least,
        })
    }
}

/// The scopes that the realm lists; else those that its routes name.
fn known_scopes(realm: &Realm) -> BTreeMap<String, Scope> {
    let mut scopes: BTreeMap<String, Scope> = BTreeMap::new();
    for (name, description) in realm.view.scopes.iter().flatten() {
        scopes.insert(name.clone(), Scope { description: Some(description.clone()), ..Scope::default() });
    }
    for route in &realm.routes {
        for name in route.view.scopes.iter().chain(&route.view.scopes_any) {
            if let Some(scope) = scopes.get_mut(name) {
                scope.routes += 1;
            // Parts in braces come from the request: that is no scope that can be held.
            } else if realm.view.scopes.is_none() && !name.contains('{') {
                scopes.insert(name.clone(), Scope { routes: 1, ..Scope::default() });
            }
        }
    }
    scopes
}

/// Adds a holder of `held` to each of `scopes` that it grants.
fn count(scopes: &mut BTreeMap<String, Scope>, held: Option<&[String]>, counter: impl Fn(&mut Scope) -> &mut u64) {
    let Some(held) = held else { return };
    let held = ScopeSet::patterns(held);
    for (_, scope) in scopes.iter_mut().filter(|(name, _)| held.allows(name)) {
        *counter(scope) += 1;
    }
}

pub(super) async fn roles(call: &Call<'_>) -> Result<Answer, Refusal> {
    let mut list = Vec::new();
    for realm in chosen(call)? {
        let mut roles: BTreeMap<&str, u64> = realm.roles.0.keys().map(|name| (&**name, 0)).collect();
        if roles.is_empty() {
            continue;
        }
        let mut note = |held: &[String]| {
            for role in held {
                if let Some(number) = roles.get_mut(role.as_str()) {
                    *number += 1;
                }
            }
        };
        for client in &realm.view.clients {
            note(&client.roles);
        }
        let at_least = each_client(call, &realm, |client| note(&client.roles)).await?;
        for (name, clients) in roles {
            let scopes: Vec<_> = realm.roles.0.get(name).into_iter().flat_map(ScopeSet::iter).collect();
            list.push(json!({
                "realm": &*realm.name,
                "name": name,
                "scopes": scopes,
                "clients": clients,
                "at_least": at_least,
            }));
        }
    }
    Ok(Answer::list(list, None))
}

/// Shows every stored principal of the realm, up to [`MAX_COUNTED`]. True: there are more.
async fn each_client(call: &Call<'_>, realm: &Realm, mut show: impl FnMut(&Client)) -> Result<bool, Refusal> {
    let filter = ClientFilter { realms: Some(vec![realm.name.to_string()]), ..ClientFilter::default() };
    let mut page = Page { after: None, limit: PAGE };
    for _ in 0..MAX_COUNTED / PAGE {
        let part = call.store().clients(&filter, &page).await?;
        part.iter().for_each(&mut show);
        if part.len() < PAGE {
            return Ok(false);
        }
        page.after = part.last().map(|client| client.id.clone());
    }
    Ok(true)
}

/// The same for keys that are not revoked.
async fn each_key(call: &Call<'_>, realm: &Realm, mut show: impl FnMut(&Key)) -> Result<bool, Refusal> {
    let filter = KeyFilter { realms: Some(vec![realm.name.to_string()]), ..KeyFilter::default() };
    let mut page = Page { after: None, limit: PAGE };
    for _ in 0..MAX_COUNTED / PAGE {
        let part = call.store().keys(&filter, &page).await?;
        part.iter().filter(|key| key.status != KeyStatus::Revoked).for_each(&mut show);
        if part.len() < PAGE {
            return Ok(false);
        }
        page.after = part.last().map(|key| key.id.clone());
    }
    Ok(true)
}
