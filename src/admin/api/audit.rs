//! The audit trail.

use http::Method;
use serde_json::{Value, json};

use super::call::Call;
use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::{Answer, Refusal};
use crate::store::{AuditEvent, AuditFilter, AuditOutcome};

/// Name of the endpoint that the HTTP layer serves as a stream of events. Asked here, it gives what came after `after`,
/// oldest first, and in `next_cursor` where to go on.
pub(in crate::admin) const STREAM: &str = "stream_audit";

/// Part of a list without `limit`.
const DEFAULT_LIMIT: i64 = 50;

const ACTOR: Field = Field::optional("actor", Kind::Text(200), "Id of who did it.");
const TARGET: Field = Field::optional("target", Kind::Text(200), "Id of what it was done to.");
const ACTION: Field =
    Field::optional("action", Kind::Text(100), "What was done; with a dot at the end (`key.`), all that begin so.");
const OUTCOME: Field = Field::optional("outcome", Kind::Word(&["ok", "denied", "error"]), "How it ended.");
const REALM: Field = Field::optional("realm", Kind::Text(200), "Only of this realm.");
const LIMIT: Field = Field::optional("limit", Kind::Integer(1, 200), "At most so many; 50 where it is not given.");

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/audit",
        scope: Some("admin:read"),
        name: "list_audit",
        about: "Lists events of the audit trail, newest first.",
        query: &[
            ACTOR,
            TARGET,
            ACTION,
            OUTCOME,
            REALM,
            Field::optional("since", Kind::Time, "From then on."),
            Field::optional("until", Kind::Time, "Before then."),
            Field::optional("cursor", Kind::Text(20), "`next_cursor` of the part before."),
            LIMIT,
        ],
        body: None,
        status: 200,
        answers: "audit_event",
        list: true,
        creates: false,
        handler: |call| Box::pin(list(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/audit/stream",
        scope: Some("admin:read"),
        name: STREAM,
        about: "Follows the audit trail: server-sent events, each with `seq` as its id.",
        query: &[
            ACTOR,
            TARGET,
            ACTION,
            OUTCOME,
            REALM,
            Field::optional(
                "after",
                Kind::Integer(0, i64::MAX),
                "Begin behind this `seq`; else with what happens next.",
            ),
            LIMIT,
        ],
        body: None,
        status: 200,
        answers: "audit_event",
        list: true,
        creates: false,
        handler: |call| Box::pin(follow(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/audit/verify",
        scope: Some("admin:read"),
        name: "verify_audit",
        about: "Walks every hash chain of the audit trail and names the first row that does not fit.",
        query: &[],
        body: None,
        status: 200,
        answers: "audit_verdict",
        list: false,
        creates: false,
        handler: |call| Box::pin(verify(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let before = match call.query.text("cursor").map(str::parse::<i64>) {
        None => None,
        Some(Ok(seq)) => Some(seq),
        Some(Err(_)) => return Err(Refusal::field("cursor", "must be what next_cursor of the part before said")),
    };
    let filter =
        AuditFilter { before, since: call.query.time("since"), until: call.query.time("until"), ..filter(call)? };
    let limit = limit(call);
    // One more than is asked for tells whether there are more.
    let mut events = call.store().audit_events(&filter, limit + 1).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.seq.to_string());
    Ok(Answer::list(events.iter().map(event_json).collect(), next))
}

async fn follow(call: &Call<'_>) -> Result<Answer, Refusal> {
    let filter = filter(call)?;
    let Some(after) = call.query.integer("after") else {
        let newest = call.store().audit_events(&AuditFilter::default(), 1).await?;
        return Ok(Answer::list(Vec::new(), Some(newest.first().map_or(0, |event| event.seq).to_string())));
    };
    let events = call.store().audit_events(&AuditFilter { after: Some(after), ..filter }, limit(call)).await?;
    let next = events.last().map_or(after, |event| event.seq);
    Ok(Answer::list(events.iter().map(event_json).collect(), Some(next.to_string())))
}

async fn verify(call: &Call<'_>) -> Result<Answer, Refusal> {
    call.enter_all()?;
    let verdict = call.store().verify_audit().await?;
    Ok(Answer::ok(json!({
        "intact": verdict.broken.is_none(),
        "events": verdict.events,
        "chains": verdict.chains,
        "broken": verdict.broken,
    })))
}

/// What list and stream have in common. The realm needs not be configured: events outlive their realm.
fn filter(call: &Call<'_>) -> Result<AuditFilter, Refusal> {
    let query = &call.query;
    let realms = match query.text("realm") {
        Some(realm) if !call.actor.may_enter(realm) => return Err(Refusal::Realm(realm.to_owned())),
        Some(realm) => Some(vec![realm.to_owned()]),
        None => call.actor.realms.clone(),
    };
    let owned = |name| query.text(name).map(str::to_owned);
    let outcome = query.text("outcome").and_then(AuditOutcome::by_name);
    let (actor_id, target_id, action) = (owned("actor"), owned("target"), owned("action"));
    Ok(AuditFilter { realms, actor_id, target_id, action, outcome, ..AuditFilter::default() })
}

fn limit(call: &Call<'_>) -> usize {
    usize::try_from(call.query.integer("limit").unwrap_or(DEFAULT_LIMIT)).unwrap_or(1)
}

fn event_json(event: &AuditEvent) -> Value {
    let entry = &event.entry;
    let target = match (&entry.target_kind, &entry.target_id) {
        (Some(kind), Some(id)) => json!({ "kind": kind, "id": id }),
        (_, _) => Value::Null,
    };
    json!({
        "seq": event.seq,
        "chain": event.chain,
        "position": event.position,
        "at": entry.at.to_string(),
        "realm": entry.realm,
        "actor": { "kind": entry.actor_kind, "id": entry.actor_id, "ip": entry.actor_ip },
        "action": entry.action,
        "target": target,
        "outcome": entry.outcome.as_str(),
        "reason": entry.reason,
        "request_id": entry.request_id,
        "detail": entry.detail,
        "hash": data_encoding::HEXLOWER.encode(&event.hash),
    })
}
