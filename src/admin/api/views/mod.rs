//! What the configuration says, explain, reload. What is stored has files of its own beside this directory.

mod decision;
mod grants;

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::endpoint::{Endpoint, Handler};
use super::fields::{Field, Kind};
use super::{Answer, Refusal, openapi};
use crate::gate::policy::{Realm, Route};
use crate::store::{AuditEntry, AuditOutcome, StoreError};

const REALM: Field = Field::optional("realm", Kind::Text(200), "Only of this realm.");

/// A view that is whole in one answer: what is configured has its bounds.
const fn view(
    path: &'static str,
    name: &'static str,
    answers: &'static str,
    about: &'static str,
    handler: Handler,
) -> Endpoint {
    Endpoint {
        method: Method::GET,
        path,
        scope: Some("admin:read"),
        name,
        about,
        query: &[REALM],
        body: None,
        status: 200,
        answers,
        list: true,
        creates: false,
        handler,
    }
}

pub(super) static ENDPOINTS: &[Endpoint] = &[
    view(
        "/admin/v1/realms",
        "list_realms",
        "realm",
        "Lists the realms, and those that only stored rows are left of.",
        |call| Box::pin(realms(call)),
    ),
    view("/admin/v1/routes", "list_routes", "route", "Lists the routes of the configuration in force.", |call| {
        Box::pin(async { routes(call) })
    }),
    view("/admin/v1/scopes", "list_scopes", "scope", "Lists the scopes, and how many hold each.", |call| {
        Box::pin(grants::scopes(call))
    }),
    view("/admin/v1/roles", "list_roles", "role", "Lists the roles, and how many have each.", |call| {
        Box::pin(grants::roles(call))
    }),
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/explain",
        scope: Some("admin:read"),
        name: "explain",
        about: "Says step by step what the gateway answers to a request, or why it refused one.",
        query: &[],
        body: Some(decision::QUESTION),
        status: 200,
        answers: "verdict",
        list: false,
        creates: false,
        handler: |call| Box::pin(decision::explain(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/reload",
        scope: Some("admin:reload"),
        name: "reload",
        about: "Loads the configuration again; the one before stays in force when anything is wrong with it.",
        query: &[],
        body: None,
        status: 200,
        answers: "reloaded",
        list: false,
        creates: false,
        handler: |call| Box::pin(reload(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/admin/openapi.json",
        scope: Some("admin:read"),
        name: "openapi",
        about: "This document.",
        query: &[],
        body: None,
        status: 200,
        answers: "openapi",
        list: false,
        creates: false,
        handler: |_| Box::pin(async { Ok(Answer::ok(openapi())) }),
    },
];

/// The configured realms that are asked for and may be seen.
fn chosen(call: &Call<'_>) -> Result<Vec<Arc<Realm>>, Refusal> {
    let realm = call.query.text("realm");
    if let Some(realm) = realm {
        call.enter(realm)?;
    }
    let mut realms = call.surroundings().realms();
    realms.retain(|one| realm.is_none_or(|name| *one.name == *name) && call.actor.may_enter(&one.name));
    Ok(realms)
}

async fn realms(call: &Call<'_>) -> Result<Answer, Refusal> {
    let chosen = chosen(call)?;
    let mut stored = call.store().realms().await?;
    let mut list = Vec::with_capacity(chosen.len());
    for realm in chosen {
        let rows = stored.remove(&*realm.name).unwrap_or_default();
        list.push(realm_json(&realm, rows));
    }
    if call.query.text("realm").is_none() {
        let configured = call.surroundings().realms();
        stored.retain(|name, _| configured.iter().all(|realm| *realm.name != **name) && call.actor.may_enter(name));
        list.extend(stored.iter().map(|(name, rows)| orphan_json(name, *rows)));
    }
    Ok(Answer::list(list, None))
}

fn realm_json(realm: &Realm, (clients, keys): (u64, u64)) -> Value {
    let prefixes: Vec<_> =
        realm.api_keys.iter().map(|form| json!({ "prefix": form.prefix, "checksum": form.checksum })).collect();
    json!({
        "name": &*realm.name,
        "configured": true,
        "hosts": realm.view.hosts,
        "prefixes": prefixes,
        "issuers": realm.issuers.iter().map(|issuer| &*issuer.name).collect::<Vec<_>>(),
        "routes": realm.routes.len(),
        "declared_clients": realm.view.clients.len(),
        "declared_keys": realm.view.clients.iter().map(|client| client.keys.len()).sum::<usize>(),
        "clients": clients,
        "keys": keys,
    })
}

/// Rows of a realm that no file declares any more.
fn orphan_json(name: &str, (clients, keys): (u64, u64)) -> Value {
    json!({
        "name": name,
        "configured": false,
        "hosts": [],
        "prefixes": [],
        "issuers": [],
        "routes": 0,
        "declared_clients": 0,
        "declared_keys": 0,
        "clients": clients,
        "keys": keys,
    })
}

fn routes(call: &Call<'_>) -> Result<Answer, Refusal> {
    let realms = chosen(call)?;
    let routes = realms.iter().flat_map(|realm| realm.routes.iter().map(|route| route_json(realm, route)));
    Ok(Answer::list(routes.collect(), None))
}

fn route_json(realm: &Realm, route: &Route) -> Value {
    json!({
        "realm": &*realm.name,
        "name": &*route.name,
        "path": route.view.path,
        "methods": route.view.methods,
        "auth": route.view.auth,
        "scopes": route.view.scopes,
        "scopes_any": route.view.scopes_any,
        "roles": route.roles,
        "plans": route.plans,
        "upstream": route.upstream.as_ref().map(|upstream| &*upstream.name),
        "strip_prefix": route.strip_prefix,
        "max_body_bytes": route.max_body,
    })
}

async fn reload(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.enter_all()?;
    let outcome = call.surroundings().reload().await;
    let mut event = call.event("config.reloaded", "", ("", ""), Map::new());
    match &outcome {
        Ok(generation) => {
            event.detail.insert("generation".to_owned(), (*generation).into());
        }
        Err(problems) => {
            event.outcome = AuditOutcome::Error;
            event.reason = Some("reload_failed".to_owned());
            event.detail.insert("problems".to_owned(), problems.len().into());
        }
    }
    // What is done is done: a store that does not take the event is no reason to say otherwise.
    if let Err(error) = audit(call, event).await {
        tracing::error!("a reload could not be audited: {error}");
    }
    outcome.map(|generation| Answer::ok(json!({ "generation": generation }))).map_err(Refusal::Reload)
}

async fn audit(call: &Call<'_>, event: AuditEntry) -> Result<(), StoreError> {
    let mut write = call.store().begin().await?;
    write.audit(event);
    write.commit().await.map(drop)
}
