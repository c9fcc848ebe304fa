//! Tokens for administration. Only somebody on the machine makes them and ends them: no token can make another.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::actor::TOKEN_PREFIX;
use super::call::Call;
use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::paging::{CURSOR, LIMIT, Part};
use super::rules::{self, Faults};
use super::{Answer, Refusal, find, json};
use crate::gate::verify::api_key::PlainKey;
use crate::nearest::hint;
use crate::store::{AdminToken, IdKind, NewAdminToken};

/// What a token can be allowed.
const SCOPES: &[&str] =
    &["admin:read", "admin:clients", "admin:keys", "admin:sessions", "admin:signing", "admin:reload"];

/// All of them, as they are in this version: one that comes later is not among them.
const EVERYTHING: &str = "admin:*";

/// A token lives so long where nobody says otherwise.
const DEFAULT_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

static NEW: &[Field] = &[
    Field::required("name", Kind::Text(200), "For people."),
    Field::required(
        "scopes",
        Kind::Texts(64),
        "What it may do: `admin:read`, `admin:clients`, `admin:keys`, `admin:sessions`, `admin:signing`, `admin:reload`; \
         `admin:*` = all of these.",
    ),
    Field::nullable("realms", Kind::Texts(255), "In which realms; null = in all."),
    Field::nullable("expires_at", Kind::Time, "Refused from then on; default in 90 days, null = never."),
];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/admin-tokens",
        scope: None,
        name: "list_admin_tokens",
        about: "Tokens for administration, those that ended included.",
        query: &[CURSOR, LIMIT],
        body: None,
        status: 200,
        answers: "admin_token",
        list: true,
        creates: false,
        handler: |call| Box::pin(list(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/admin-tokens",
        scope: None,
        name: "create_admin_token",
        about: "Makes a token for administration. Its text is in this answer and nowhere else.",
        query: &[],
        body: Some(NEW),
        status: 201,
        answers: "admin_token",
        list: false,
        creates: true,
        handler: |call| Box::pin(create(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/admin-tokens/{id}/revoke",
        scope: None,
        name: "revoke_admin_token",
        about: "Ends a token for administration.",
        query: &[],
        body: None,
        status: 200,
        answers: "admin_token",
        list: false,
        creates: false,
        handler: |call| Box::pin(revoke(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let part = Part::asked(call, &[IdKind::AdminToken])?;
    let tokens = part.cut(call.store().admin_tokens().await?, |token| &token.id);
    let tokens = tokens.iter().map(|token| (token.id.clone(), json::admin_token(token))).collect();
    Ok(part.answer(tokens, &[], json::admin_token))
}

async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = &call.body;
    let mut faults = Faults::default();
    let scopes = scopes(&body.texts("scopes").unwrap_or_default(), &mut faults);
    let realms = body.texts("realms");
    for (n, name) in realms.iter().flatten().enumerate() {
        if find::realm_named(call, name).is_none() {
            let known = call.surroundings().realms();
            let hint = hint(name, known.iter().map(|realm| &*realm.name));
            faults.add(format!("realms[{n}]"), format!("names no realm of the configuration{hint}"));
        }
    }
    if realms.as_ref().is_some_and(Vec::is_empty) {
        faults.add("realms", "must name a realm; null = in all");
    }
    let expires_at = if body.has("expires_at") { body.time("expires_at") } else { Some(call.now.plus(DEFAULT_LIFE)) };
    faults.end("expires_at", expires_at, call.now);
    faults.result()?;

    let text = PlainKey::generate(TOKEN_PREFIX)?;
    let id = IdKind::AdminToken.generate(call.now)?;
    let new = NewAdminToken {
        id: id.clone(),
        name: body.text("name").unwrap_or_default().to_owned(),
        hint: rules::hint(text.expose()),
        digest: text.digest(),
        scopes,
        realms,
        expires_at,
        created_by: call.actor.id.clone(),
        at: call.now,
    };
    let mut write = call.store().begin().await?;
    write.create_admin_token(&new).await?;
    let shown = json::admin_token(&made(new));
    let chosen = ["name", "hint", "scopes", "realms", "expires_at"];
    write.audit(call.event("admin_token.created", "", ("admin_token", &id), json::members(&shown, &chosen)));
    let warnings: Vec<_> = expires_at.is_none().then(|| rules::NO_END.to_owned()).into_iter().collect();
    let shown = json::noting(json::with(shown, [("secret", json!(text.expose()))]), &warnings);
    call.finish(write, Some(&id), true, Answer::created(shown, format!("/admin/v1/admin-tokens/{id}"))).await
}

/// Known scopes, each once.
fn scopes(asked: &[String], faults: &mut Faults) -> Vec<String> {
    if asked.is_empty() {
        faults.add("scopes", format!("must name what it may do: {}", SCOPES.join(", ")));
    }
    for (n, scope) in asked.iter().enumerate() {
        if !SCOPES.contains(&scope.as_str()) && scope != EVERYTHING {
            let hint = hint(scope, SCOPES.iter().copied());
            faults.add(format!("scopes[{n}]"), format!("must be one of {}{hint}", SCOPES.join(", ")));
        }
    }
    let everything = asked.iter().any(|scope| scope == EVERYTHING);
    let held = |scope: &&&str| everything || asked.iter().any(|one| one == **scope);
    SCOPES.iter().filter(held).map(|scope| (*scope).to_owned()).collect()
}

/// The record that a new token is.
fn made(new: NewAdminToken) -> AdminToken {
    AdminToken {
        id: new.id,
        name: new.name,
        hint: new.hint,
        scopes: new.scopes,
        realms: new.realms,
        expires_at: new.expires_at,
        revoked_at: None,
        last_used_at: None,
        created_by: new.created_by,
        created_at: new.at,
    }
}

/// Asked for twice, the first time counts.
async fn revoke(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    let tokens = call.store().admin_tokens().await?;
    let none = || Refusal::NotFound(format!("there is no admin token {id:?}"));
    let mut token = tokens.into_iter().find(|token| token.id == id).ok_or_else(none)?;
    let mut write = call.store().begin().await?;
    if write.revoke_admin_token(id, call.now).await? {
        token.revoked_at = Some(call.now);
        let known_by = json::members(&json::admin_token(&token), &["name", "hint"]);
        write.audit(call.event("admin_token.revoked", "", ("admin_token", id), known_by));
    }
    call.finish(write, None, false, Answer::ok(json::admin_token(&token))).await
}
