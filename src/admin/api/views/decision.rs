//! What the gateway says to a request, and why it refused one.

use serde_json::{Map, Value, json};

use super::super::call::Call;
use super::super::fields::{Field, Kind};
use super::super::{Answer, Refusal};
use crate::store::IdKind;

/// A request that nobody sent, or the id of one that was refused.
pub(super) const QUESTION: &[Field] = &[
    Field::optional("method", Kind::Text(32), "Method; GET where it is not given."),
    Field::optional("url", Kind::Text(16 * 1024), "Whole URL, or a path when `Host` is among the headers."),
    Field::optional("headers", Kind::Headers, "Header fields, the credential among them. They are not kept."),
    Field::optional("ip", Kind::Address, "Where the request comes from; the gateway's machine where it is not given."),
    Field::optional(
        "certificate",
        Kind::Texts(520),
        "Names of the client certificate that the connection shows: `uri:…`, `dns:…`, `email:…`, `cn:…`, `sha256:…`.",
    ),
    Field::optional("at", Kind::Time, "At that time; now where it is not given."),
    Field::optional("request_id", Kind::Text(128), "Instead of all others: id of a request that was refused lately."),
];

pub(super) async fn explain(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = &call.body;
    let verdict = match (body.text("request_id"), body.text("url")) {
        (Some(_), _) if ["method", "url", "headers", "ip", "certificate", "at"].iter().any(|name| body.has(name)) => {
            return Err(Refusal::field("request_id", "stands alone: leave out the rest, or this"));
        }
        (Some(request_id), _) => refused(call, request_id).await?,
        (None, Some(url)) => judge(call, url).await?,
        (None, None) => return Err(Refusal::field("url", "is required, or request_id")),
    };
    Ok(Answer::ok(verdict))
}

/// The verdict on a request that nobody sent.
async fn judge(call: &Call<'_>, url: &str) -> Result<Value, Refusal> {
    let body = &call.body;
    let mut question = Map::new();
    question.insert("method".to_owned(), body.text("method").unwrap_or("GET").into());
    question.insert("url".to_owned(), url.into());
    if let Some(headers) = body.headers("headers") {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}").into()).collect();
        question.insert("headers".to_owned(), Value::Array(lines));
    }
    if let Some(ip) = body.address("ip") {
        question.insert("ip".to_owned(), ip.to_string().into());
    }
    if let Some(names) = body.texts("certificate") {
        question.insert("certificate".to_owned(), names.into());
    }
    question.insert("at".to_owned(), body.time("at").unwrap_or(call.now).to_string().into());
    let verdict = call.surroundings().explain(Value::Object(question)).await;
    let verdict = verdict.map_err(|fault| Refusal::field("url", format!("cannot be judged: {fault}")))?;
    let realm = verdict["realm"].as_str();
    match realm.filter(|realm| !call.actor.may_enter(realm)) {
        Some(realm) => Err(Refusal::Realm(realm.to_owned())),
        None => Ok(verdict),
    }
}

/// What this process remembers of a refused request, and how its key is now.
async fn refused(call: &Call<'_>, request_id: &str) -> Result<Value, Refusal> {
    let unknown = || {
        let text = "this node remembers no refused request with this id: it was let through, was refused by another \
            node, or long ago; see the access log";
        Refusal::NotFound(text.to_owned())
    };
    let line = call.surroundings().refused(request_id).filter(Value::is_object).ok_or_else(unknown)?;
    // A request that reached no realm is for those who may see all of them.
    let visible = match line["realm"].as_str() {
        Some(realm) => call.actor.may_enter(realm),
        None => call.actor.realms.is_none(),
    };
    if !visible {
        return Err(unknown());
    }
    let mut verdict = json!({
        "allowed": false,
        "enforced": true,
        "status": line["status"],
        "reason": line["reason"],
        "why": line["why"],
        "realm": line["realm"],
        "route": line["route"],
        "upstream": null,
        "preflight": null,
        "identity_headers": {},
        "steps": [],
    });
    let key = match line["credential_id"].as_str() {
        Some(id) if IdKind::Key.fits(id) => key_state(call, id).await?,
        Some(_) | None => None,
    };
    if let Some(verdict) = verdict.as_object_mut() {
        if let Some(key) = key {
            verdict.insert("key".to_owned(), key);
        }
        verdict.insert("request".to_owned(), line);
    }
    Ok(verdict)
}

async fn key_state(call: &Call<'_>, id: &str) -> Result<Option<Value>, Refusal> {
    let Some(key) = call.store().key(id).await?.filter(|key| call.actor.may_enter(&key.realm)) else {
        return Ok(None);
    };
    let owner = call.store().client(&key.owner_id).await?;
    Ok(Some(json!({
        "id": key.id,
        "name": key.name,
        "owner": key.owner,
        "owner_status": owner.map(|owner| owner.status.as_str()),
        "status": key.status.as_str(),
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
        "revoke_reason": key.revoke_reason,
    })))
}
