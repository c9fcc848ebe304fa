//! Single tokens of the token service, shown by their text: what one is and how it stands, and its end. The text comes in a
//! body and goes nowhere: it is neither logged nor audited nor answered.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::call::Call;
use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::{Answer, Refusal, find, json, keys};
use crate::gate::policy::Realm;
use crate::identity::ScopeSet;
use crate::jwt::Compact;
use crate::store::{Client, ClientSource, IssuedInForce, RefreshInForce, SessionInForce, Write};
use crate::tokens::policy::RealmTokens;
use crate::tokens::recognize::{
    Claims, Known, Standing, Trouble, claims_of, of_issued, of_refresh, of_session, recognize,
};
use crate::tokens::signing;

/// What is noted of a session that ends with its refresh token.
const REASON: &str = "token revoked by an administrator";

static TEXT: &[Field] = &[
    Field::required("token", Kind::Text(8192), "The token; neither logged nor audited nor answered."),
    Field::optional(
        "realm",
        Kind::Text(255),
        "Name of the realm; may be left out where the token names it, or only one can be meant.",
    ),
];

static ENDING: &[Field] = &[TEXT[0], TEXT[1], Field::optional("reason", Kind::Text(500), "Why, for the audit trail.")];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/tokens/introspect",
        scope: Some("admin:read"),
        name: "introspect_token",
        about: "What a token is and how it stands: an access or refresh token, an opaque one, an API key.",
        query: &[],
        body: Some(TEXT),
        status: 200,
        answers: "token_state",
        list: false,
        creates: false,
        handler: |call| Box::pin(introspect(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/tokens/revoke",
        scope: Some("admin:sessions"),
        name: "revoke_token",
        about: "Ends a token; with a refresh token, its whole session.",
        query: &[],
        body: Some(ENDING),
        status: 200,
        answers: "token_revoked",
        list: false,
        creates: false,
        handler: |call| Box::pin(revoke(call)),
    },
];

/// A text that somebody presents, and where.
struct Presented<'c> {
    text: &'c str,
    realm: Arc<Realm>,
    tokens: Option<Arc<RealmTokens>>,
}

impl<'c> Presented<'c> {
    /// # Errors
    /// The realm is not told, or not the actor's.
    async fn of(call: &'c Call<'_>) -> Result<Self, Refusal> {
        let text = call.body.text("token").unwrap_or_default();
        let realm = match (call.body.text("realm"), realm_by_issuer(call, text)) {
            (None, Some(realm)) => realm,
            (named, _) => find::realm_for(call, named)?,
        };
        let tokens = find::issued_by(call, &realm.name);
        // A command has read no keys yet.
        if tokens.as_ref().is_some_and(|tokens| !tokens.keys.is_loaded()) {
            signing::load(call.store(), &call.surroundings().issuing()).await?;
        }
        Ok(Self { text, realm, tokens })
    }

    fn is_key(&self) -> bool {
        self.realm.api_keys.iter().any(|form| self.text.starts_with(&*form.prefix))
    }

    async fn known(&self, call: &Call<'_>) -> Result<Known, Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(Known::Nothing) };
        recognize(call.store(), tokens, self.text, call.now).await.map_err(|trouble| match trouble {
            Trouble::Store(error) => error.into(),
            Trouble::NoKeys => Refusal::Conflict {
                code: "wrong_state",
                text: format!("the keys of the realm {} have not been read yet: try again", self.realm.name),
                target: None,
            },
        })
    }
}

/// The one realm whose tokens say that they are from the issuer that `text` names. Nothing is believed by it: the realm's
/// keys decide.
fn realm_by_issuer(call: &Call<'_>, text: &str) -> Option<Arc<Realm>> {
    let claims = Compact::parse(text).ok()?.claims().ok()?;
    let issuer = claims.get("iss")?.as_str()?;
    let issues = |realm: &Arc<Realm>| find::issued_by(call, &realm.name).is_some_and(|it| *it.issuer == *issuer);
    let mut realms = find::realms(call).into_iter().filter(issues);
    realms.next().filter(|_| realms.next().is_none())
}

/// What is told of a token.
struct State {
    what: &'static str,
    standing: Standing,
    body: Value,
}

async fn introspect(call: &Call<'_>) -> Result<Answer, Refusal> {
    let presented = Presented::of(call).await?;
    if presented.is_key() {
        return key_state(call, &presented).await.map(Answer::ok);
    }
    let (tokens, known) = (presented.tokens.as_deref(), presented.known(call).await?);
    let state = match (&known, tokens) {
        (Known::Access(claims), Some(tokens)) => of_access(call, tokens, claims).await?,
        (Known::Refresh(found), Some(tokens)) => of_refresh_token(call, tokens, found),
        (Known::Issued(found), Some(tokens)) => of_issued_token(call, tokens, found).await?,
        (Known::Nothing, _) | (_, None) => return Ok(Answer::ok(told("unknown", "NOT_FOUND", json!({})))),
    };
    let claims = tokens.and_then(|tokens| claims_of(tokens, presented.text, call.now));
    let body = told(state.what, code(state.standing), state.body);
    Ok(Answer::ok(json::with(body, [("claims", claims.map_or(Value::Null, |claims| claims.all.into()))])))
}

/// All members, those of `state` as they are told there.
fn told(what: &str, code: &str, state: Value) -> Value {
    let mut body = json!({
        "active": code == "VALID",
        "what": what,
        "code": code,
        "kind": null,
        "id": null,
        "subject": null,
        "client_id": null,
        "client": null,
        "scopes": null,
        "issued_at": null,
        "expires_at": null,
        "claims": null,
        "session": null,
    });
    if let (Some(body), Value::Object(state)) = (body.as_object_mut(), state) {
        body.extend(state);
    }
    body
}

fn code(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "VALID",
        Standing::Expired => "EXPIRED",
        Standing::Revoked => "REVOKED",
        Standing::Replaced => "REPLACED",
        Standing::Spent => "SPENT",
        Standing::Disabled => "DISABLED",
        Standing::Gone => "GONE",
    }
}

async fn key_state(call: &Call<'_>, presented: &Presented<'_>) -> Result<Value, Refusal> {
    let verdict = keys::judge(call, &presented.realm, presented.text, None).await?;
    let member = |name: &str| verdict.get(name).cloned().unwrap_or(Value::Null);
    let state = json!({
        "id": member("key_id"),
        "client_id": member("owner_id"),
        "client": member("owner"),
        "scopes": member("scopes"),
        "expires_at": member("expires_at"),
    });
    Ok(told("api_key", member("code").as_str().unwrap_or_default(), state))
}

/// What is told of the principal of a token: `{ client_id, client, scopes }`, and what was not asked.
fn of_principal(tokens: &RealmTokens, client: &Client, narrowed: Option<&str>) -> Value {
    let mut standing = client.clone();
    tokens.default_roles(&mut standing);
    let granted = tokens.scopes_of(&standing);
    let scopes = match narrowed {
        Some(scope) => granted.intersection(&ScopeSet::literal(scope.split(' '))),
        None => granted,
    };
    let body = json!({
        "client_id": client.id,
        "client": client.identifier,
        "scopes": scopes.iter().collect::<Vec<_>>(),
    });
    match client.source {
        ClientSource::Local => body,
        ClientSource::Directory => {
            json::noting(body, &["its principal lives in the application, which was not asked about it".to_owned()])
        }
    }
}

async fn of_access(call: &Call<'_>, tokens: &RealmTokens, claims: &Claims) -> Result<State, Refusal> {
    let session = match &claims.session {
        Some(session) => call.store().session_in_force(&tokens.realm, session).await?,
        None => None,
    };
    let standing = of_session(&claims.id, claims.expires, session.as_ref(), call.now);
    let mut body = json!({
        "kind": tokens.kind_of_use("access").map(|kind| &*kind.name),
        "id": claims.id,
        "subject": claims.subject,
        "issued_at": json::time(claims.issued),
        "expires_at": json::time(claims.expires),
    });
    if let Some(found) = &session {
        let scope = claims.all.get("scope").and_then(Value::as_str);
        extend(&mut body, of_principal(tokens, &found.subject, scope));
        let session = json::session(&found.session, Some(&found.subject.identifier), call.now);
        extend(&mut body, json!({ "session": session }));
    }
    Ok(State { what: "access_token", standing, body })
}

fn of_refresh_token(call: &Call<'_>, tokens: &RealmTokens, found: &RefreshInForce) -> State {
    let RefreshInForce { token, session, subject, .. } = found;
    let body = json!({
        "kind": tokens.kind_of_use("refresh").map(|kind| &*kind.name),
        "id": token.jti,
        "subject": subject.subject.as_ref().unwrap_or(&subject.id),
        "client_id": subject.id,
        "client": subject.identifier,
        "issued_at": json::time(token.issued_at),
        "expires_at": json::time(token.expires_at),
        "session": json::session(session, Some(&subject.identifier), call.now),
    });
    State { what: "refresh_token", standing: of_refresh(found, call.now), body }
}

async fn of_issued_token(call: &Call<'_>, tokens: &RealmTokens, found: &IssuedInForce) -> Result<State, Refusal> {
    let IssuedInForce { token, owner, session, .. } = found;
    let mut standing = of_issued(found, call.now);
    let mut body = json!({
        "kind": token.kind,
        "id": token.id,
        "subject": token.subject,
        "client_id": token.owner_id,
        "client": owner.as_ref().map(|owner| &owner.identifier),
        "issued_at": json::time(token.issued_at),
        "expires_at": json::time(token.expires_at),
    });
    if let Some(session) = session {
        let record = call.store().session_in_force(&tokens.realm, &session.id).await?;
        if standing == Standing::Good {
            standing = of_session(&token.id, token.expires_at, record.as_ref(), call.now);
        }
        let name = record.as_ref().map(|found| found.subject.identifier.as_str());
        extend(&mut body, json!({ "session": json::session(session, name, call.now) }));
        if let Some(found) = &record {
            extend(&mut body, of_principal(tokens, &found.subject, None));
        }
    }
    Ok(State { what: "issued_token", standing, body })
}

fn extend(body: &mut Value, more: Value) {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
}

/// What ends.
struct Ending {
    what: &'static str,
    id: String,
    session_id: Option<String>,
    ended: bool,
    session_ended: bool,
}

async fn revoke(call: &Call<'_>) -> Result<Answer, Refusal> {
    let presented = Presented::of(call).await?;
    let realm = &*presented.realm.name;
    if presented.is_key() {
        return Err(refuse_key(call, &presented).await?);
    }
    let known = presented.known(call).await?;
    let session = session_of(call, realm, &known).await?;
    let mut write = call.store().begin().await?;
    let Some(ending) = end(call, &mut write, realm, &known, session.as_ref()).await? else {
        return Err(Refusal::NotFound(format!("this is no token of the realm {realm}")));
    };
    let Ending { what, id, session_id, ended, session_ended } = ending;
    if ended {
        let detail = json!({ "what": what, "token_id": id, "session_id": session_id });
        let target = match &session_id {
            Some(session) if session_ended => ("session", session.as_str()),
            Some(_) | None => ("token", id.as_str()),
        };
        let names = ["what", "token_id", "session_id"];
        let mut event = call.event("token.revoked", realm, target, json::members(&detail, &names));
        event.reason = call.body.text("reason").map(str::to_owned);
        write.audit(event);
    }
    let body = json!({
        "what": what,
        "id": id,
        "session_id": session_id,
        "ended": ended,
        "session_ended": session_ended,
    });
    call.finish(write, None, false, Answer::ok(body)).await
}

/// The session of an access token, read before anything is begun.
async fn session_of(call: &Call<'_>, realm: &str, known: &Known) -> Result<Option<SessionInForce>, Refusal> {
    match known {
        Known::Access(Claims { session: Some(session), .. }) => {
            Ok(call.store().session_in_force(realm, session).await?)
        }
        Known::Access(_) | Known::Refresh(_) | Known::Issued(_) | Known::Nothing => Ok(None),
    }
}

/// Ends what is known; none where that is nothing.
async fn end(
    call: &Call<'_>,
    write: &mut Write,
    realm: &str,
    known: &Known,
    session: Option<&SessionInForce>,
) -> Result<Option<Ending>, Refusal> {
    let now = call.now;
    Ok(Some(match known {
        Known::Nothing => return Ok(None),
        Known::Access(claims) => {
            let Some(found) = session else { return Ok(None) };
            let session = found.session.id.clone();
            let ended = found.session.revoked_at.is_none() && !found.revoked_tokens.contains(&claims.id);
            if ended {
                write.revoke_jti(realm, &session, &claims.id, claims.expires, now).await?;
            }
            let id = claims.id.clone();
            Ending { what: "access_token", id, session_id: Some(session), ended, session_ended: false }
        }
        Known::Refresh(found) => {
            let session = found.session.id.clone();
            let reason = call.body.text("reason").unwrap_or(REASON);
            let ended = write.revoke_session(&session, reason, now).await?;
            let id = found.token.jti.clone();
            Ending { what: "refresh_token", id, session_id: Some(session), ended, session_ended: ended }
        }
        Known::Issued(found) => {
            let token = &found.token;
            let ended = write.revoke_token(realm, &token.id, now).await?;
            let (id, session_id) = (token.id.clone(), token.sid.clone());
            Ending { what: "issued_token", id, session_id, ended, session_ended: false }
        }
    }))
}

/// A key is ended under its id, by those who may change keys.
async fn refuse_key(call: &Call<'_>, presented: &Presented<'_>) -> Result<Refusal, Refusal> {
    let verdict = keys::judge(call, &presented.realm, presented.text, None).await?;
    Ok(match verdict.get("key_id").and_then(Value::as_str) {
        None => Refusal::NotFound(format!("this is no key of the realm {}", presented.realm.name)),
        Some(id) => Refusal::Conflict {
            code: "wrong_state",
            text: format!("this is the API key {id}: revoke it by its id"),
            target: Some(id.to_owned()),
        },
    })
}
