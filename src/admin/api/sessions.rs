//! Sessions: what a login began, to look at and to end. What they are good for is the gate's and the token service's.

use std::collections::HashMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::find::{REALM, REALM_OF_ID};
use super::paging::{CURSOR, LIMIT, Part};
use super::{Answer, Refusal, find, json};
use crate::store::{ClientFilter, IdKind, Page, Session, SessionFilter};

const READ: Option<&str> = Some("admin:read");
const WRITE: Option<&str> = Some("admin:sessions");

/// What is noted of a session where nobody says why it was ended.
const NO_REASON: &str = "revoked by an administrator";

const REASON: Field = Field::optional("reason", Kind::Text(500), "Why, for the audit trail and the session.");

static FILTERS: &[Field] = &[
    REALM,
    Field::optional("client", Kind::Text(300), "Id of a principal, or its identifier in one realm."),
    Field::optional("live", Kind::Boolean, "True: only those that neither ended nor expired."),
    CURSOR,
    LIMIT,
];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/sessions",
        scope: READ,
        name: "list_sessions",
        about: "Sessions by id, oldest first.",
        query: FILTERS,
        body: None,
        status: 200,
        answers: "session",
        list: true,
        creates: false,
        handler: |call| Box::pin(list(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/sessions/{id}",
        scope: READ,
        name: "show_session",
        about: "A session, whatever its state.",
        query: &[],
        body: None,
        status: 200,
        answers: "session",
        list: false,
        creates: false,
        handler: |call| Box::pin(show(call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/admin/v1/sessions/{id}",
        scope: WRITE,
        name: "revoke_session",
        about: "Ends a session with all its tokens. Asked for twice, the first time counts.",
        query: &[REASON],
        body: None,
        status: 200,
        answers: "session",
        list: false,
        creates: false,
        handler: |call| Box::pin(revoke(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/clients/{id}/revoke-sessions",
        scope: WRITE,
        name: "revoke_sessions",
        about: "Ends every session of a principal with all its tokens.",
        query: &[REALM_OF_ID],
        body: Some(&[REASON]),
        status: 200,
        answers: "sessions_revoked",
        list: false,
        creates: false,
        handler: |call| Box::pin(revoke_all(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let part = Part::asked(call, &[IdKind::Session])?;
    let realms = find::realm_filter(call)?;
    let subject_id = match call.query.text("client") {
        None => None,
        Some(text) => match principal(call, text).await? {
            Some(id) => Some(id),
            // Whoever is not there has no sessions.
            None => return Ok(Answer::list(Vec::new(), None)),
        },
    };
    let live_at = call.query.boolean("live").filter(|asked| *asked).map(|_| call.now);
    let sessions = match part.page() {
        Some(page) => call.store().sessions(&SessionFilter { realms, subject_id, live_at }, &page).await?,
        None => Vec::new(),
    };
    let names = names(call, &sessions).await?;
    let shown = |session: &Session| {
        let client = names.get(&session.subject_id).map(String::as_str);
        (session.id.clone(), json::session(session, client, call.now))
    };
    Ok(part.answer(sessions.iter().map(shown).collect(), &[], Value::clone))
}

/// Id of the principal that `text` means.
async fn principal(call: &Call<'_>, text: &str) -> Result<Option<String>, Refusal> {
    if find::is_client_id(text) {
        return Ok(Some(text.to_owned()));
    }
    let realm = find::realm_for(call, call.query.text("realm"))?;
    Ok(call.store().client_called(&realm.name, text).await?.map(|client| client.id))
}

/// What the principals of sessions are called, by id.
async fn names(call: &Call<'_>, sessions: &[Session]) -> Result<HashMap<String, String>, Refusal> {
    let mut ids: Vec<_> = sessions.iter().map(|session| session.subject_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let page = Page { after: None, limit: ids.len() };
    let filter = ClientFilter { ids: Some(ids), ..ClientFilter::default() };
    let clients = if page.limit == 0 { Vec::new() } else { call.store().clients(&filter, &page).await? };
    Ok(clients.into_iter().map(|client| (client.id, client.identifier)).collect())
}

/// What the principal of a session is called.
async fn name(call: &Call<'_>, session: &Session) -> Result<Option<String>, Refusal> {
    Ok(call.store().client(&session.subject_id).await?.map(|client| client.identifier))
}

async fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let session = find::session(call, call.id(0)).await?;
    let client = name(call, &session).await?;
    Ok(Answer::ok(json::session(&session, client.as_deref(), call.now)))
}

async fn revoke(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    let mut session = find::session(call, id).await?;
    let reason = call.query.text("reason");
    let client = name(call, &session).await?;
    let mut write = call.store().begin().await?;
    if !write.revoke_session(id, reason.unwrap_or(NO_REASON), call.now).await? {
        // Somebody was faster, a moment or a week ago.
        drop(write);
        let session = find::session(call, id).await?;
        let body = json::session(&session, client.as_deref(), call.now);
        return Ok(Answer::ok(json::with(body, [("ended", false.into())])));
    }
    session.revoked_at = Some(call.now);
    session.revoke_reason = Some(reason.unwrap_or(NO_REASON).to_owned());
    let body = json::session(&session, client.as_deref(), call.now);
    let detail = json::members(&body, &["client_id", "client", "grant", "created_at", "expires_at"]);
    let mut event = call.event("session.revoked", &session.realm, ("session", id), detail);
    event.reason = reason.map(str::to_owned);
    write.audit(event);
    call.finish(write, None, false, Answer::ok(json::with(body, [("ended", true.into())]))).await
}

async fn revoke_all(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_client(call, id)?;
    let reason = call.body.text("reason");
    let mut write = call.store().begin().await?;
    let client = find::client_to_change(call, &mut write, id).await?;
    let ended = write.revoke_sessions_of(id, reason.unwrap_or(NO_REASON), None, call.now).await?;
    let detail = Map::from_iter([
        ("client".to_owned(), client.identifier.as_str().into()),
        ("sessions_ended".to_owned(), ended.into()),
    ]);
    let mut event = call.event("session.revoked", &client.realm, ("client", id), detail);
    event.reason = reason.map(str::to_owned);
    write.audit(event);
    let body = json!({ "client_id": id, "client": client.identifier, "sessions_ended": ended });
    call.finish(write, None, false, Answer::ok(body)).await
}
