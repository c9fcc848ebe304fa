//! Keys as they are to be: updated, rotated, switched, ended.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::api::call::Call;
use crate::admin::api::rules::{self, Faults};
use crate::admin::api::{Answer, Refusal, find, json};
use crate::clock::UnixMillis;
use crate::gate::verify::api_key::PlainKey;
use crate::store::{AuditEntry, Holder, Key, KeyChange, KeyStatus, Rotation, Write};

/// Both texts of a rotated key work for so long where nobody says otherwise: a day.
const DEFAULT_OVERLAP: i64 = 24 * 60 * 60;

pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let (id, body) = (call.id(0), &call.body);
    find::refuse_declared_key(call, id)?;
    let version = call.version()?;
    let change = KeyChange {
        name: body.text("name").map(str::to_owned),
        scopes: body.has("scopes").then(|| body.texts("scopes")),
        attributes: body.object("attributes").cloned(),
        expires_at: body.has("expires_at").then(|| body.time("expires_at")),
        status: None,
    };
    if change == KeyChange::default() {
        return Err(Refusal::field("body", "holds nothing that is to be changed"));
    }
    let mut write = call.store().begin().await?;
    let before = find::key_to_change(call, &mut write, id).await?;
    let mut faults = Faults::default();
    faults.end("expires_at", change.expires_at.flatten(), call.now);
    let mut warnings = Vec::new();
    if let Some(scopes) = &change.scopes {
        let realm = find::realm_of(call, &before.realm, id)?;
        faults.scopes(&realm, "scopes", scopes.as_deref().unwrap_or_default());
        if let Some(owner) = write.client(&before.owner_id).await? {
            warnings = rules::idle_scopes(&realm, &owner, scopes.as_deref());
        }
    }
    faults.result()?;
    if change.expires_at == Some(None) {
        warnings.push(rules::NO_END.to_owned());
    }
    if !write.update_key(id, version, &change, call.now).await? {
        return Err(not_changed(&before, version));
    }
    let shown = after(call, &mut write, id).await?;
    let differences = json::differences(&json::key(&before, &shown.networks, call.now), &shown.body);
    let event = call.event("key.updated", &before.realm, ("key", id), differences);
    finish(call, write, event, json::noting(shown.body, &warnings), shown.version).await
}

/// A new text under the same id; the old one works a while longer. The secret is in this answer and nowhere else.
pub(super) async fn rotate(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_key(call, id)?;
    let version = call.version()?;
    let seconds = call.body.integer("overlap_seconds").unwrap_or(DEFAULT_OVERLAP);
    let old_until = call.now.plus(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));

    let mut write = call.store().begin().await?;
    let before = find::key_to_change(call, &mut write, id).await?;
    refuse_state(&before, call.now)?;
    let realm = find::realm_of(call, &before.realm, id)?;
    // What was imported by digest has no prefix that is known, and a prefix may have left the configuration.
    let form =
        realm.api_keys.iter().find(|form| *form.prefix == *before.prefix).or_else(|| rules::default_form(&realm));
    let Some(form) = form else {
        let text = format!("no [[api_keys]] of the realm {} says what keys look like any more", realm.name);
        return Err(wrong_state(&before, text));
    };
    let key = PlainKey::generate(&form.prefix)?;
    let rotation =
        Rotation { prefix: form.prefix.to_string(), hint: rules::hint(key.expose()), digest: key.digest(), old_until };
    if !write.rotate_key(id, version, &rotation, call.now).await? {
        return Err(not_changed(&before, version));
    }
    let shown = after(call, &mut write, id).await?;
    let old_expires_at = before.expires_at.map_or(old_until, |end| end.min(old_until));
    let cut_off = before.overlap.as_ref().filter(|overlap| call.now < overlap.until);
    let warnings: Vec<_> = cut_off
        .map(|overlap| {
            format!("the text that ends in {:?} would have worked until {}: it ended now", overlap.hint, overlap.until)
        })
        .into_iter()
        .collect();
    let detail = json!({
        "overlap_seconds": seconds,
        "old_hint": before.hint,
        "old_expires_at": json::time(old_expires_at),
        "hint": rotation.hint,
    });
    let event = call.event("key.rotated", &before.realm, ("key", id), into_map(detail));
    let body =
        json::with(shown.body, [("secret", json!(key.expose())), ("old_expires_at", json::time(old_expires_at))]);
    write.audit(event);
    let answer = Answer::versioned(json::noting(body, &warnings), shown.version);
    call.finish(write, Some(id), true, answer).await
}

/// Ends a key for good, with both its texts. Asked for twice, the first time counts.
pub(super) async fn revoke(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_key(call, id)?;
    let version = call.version()?;
    let reason = call.body.text("reason");
    let mut write = call.store().begin().await?;
    let before = find::key_to_change(call, &mut write, id).await?;
    refuse_stale(&before, version)?;
    let revoked = write.revoke_key(id, reason, call.now).await?;
    let shown = after(call, &mut write, id).await?;
    if !revoked {
        return call.finish(write, None, false, Answer::versioned(shown.body, shown.version)).await;
    }
    let mut event = call.event("key.revoked", &before.realm, ("key", id), known_by(&before));
    event.reason = reason.map(str::to_owned);
    finish(call, write, event, shown.body, shown.version).await
}

pub(super) async fn disable(call: &Call<'_>) -> Result<Answer, Refusal> {
    set_status(call, KeyStatus::Disabled, "key.disabled").await
}

pub(super) async fn enable(call: &Call<'_>) -> Result<Answer, Refusal> {
    set_status(call, KeyStatus::Active, "key.enabled").await
}

/// Asked for twice, it is so all the same.
async fn set_status(call: &Call<'_>, status: KeyStatus, action: &str) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_key(call, id)?;
    let version = call.version()?;
    let mut write = call.store().begin().await?;
    let before = find::key_to_change(call, &mut write, id).await?;
    if before.status == status {
        refuse_stale(&before, version)?;
        let shown = after(call, &mut write, id).await?;
        return call.finish(write, None, false, Answer::versioned(shown.body, shown.version)).await;
    }
    let change = KeyChange { status: Some(status), ..KeyChange::default() };
    if !write.update_key(id, version, &change, call.now).await? {
        return Err(not_changed(&before, version));
    }
    let shown = after(call, &mut write, id).await?;
    let event = call.event(action, &before.realm, ("key", id), known_by(&before));
    finish(call, write, event, shown.body, shown.version).await
}

fn refuse_stale(before: &Key, version: Option<i64>) -> Result<(), Refusal> {
    if version.is_some_and(|version| version != before.version) { Err(Refusal::Stale) } else { Ok(()) }
}

/// Why a conditional change found no key to change. `before` was read in the same transaction.
fn not_changed(before: &Key, version: Option<i64>) -> Refusal {
    match before.status {
        KeyStatus::Revoked => wrong_state(before, revoked(before)),
        KeyStatus::Active | KeyStatus::Disabled => find::not_changed(version, find::no_key(&before.id)),
    }
}

/// A new text is only given to a key that works.
fn refuse_state(before: &Key, now: UnixMillis) -> Result<(), Refusal> {
    let text = match before.status {
        KeyStatus::Revoked => revoked(before),
        KeyStatus::Disabled => "is disabled: enable it first".to_owned(),
        KeyStatus::Active => match before.expires_at.filter(|end| *end <= now) {
            Some(end) => format!("expired at {end}: give it a later `expires_at` first"),
            None => return Ok(()),
        },
    };
    Err(wrong_state(before, text))
}

fn revoked(before: &Key) -> String {
    let at = before.revoked_at.map(|at| format!(" at {at}")).unwrap_or_default();
    format!("was revoked{at}, for good: make a new key")
}

fn wrong_state(before: &Key, text: String) -> Refusal {
    Refusal::Conflict { code: "wrong_state", text: format!("{} {text}", before.id), target: Some(before.id.clone()) }
}

/// What people know a key by, for the audit trail.
fn known_by(key: &Key) -> Map<String, Value> {
    into_map(json!({ "owner_id": key.owner_id, "owner": key.owner, "name": key.name, "hint": key.hint }))
}

fn into_map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// A key as it is now.
struct Shown {
    version: i64,
    networks: Vec<ipnet::IpNet>,
    body: Value,
}

async fn after(call: &Call<'_>, write: &mut Write, id: &str) -> Result<Shown, Refusal> {
    let key = write.key(id).await?.ok_or_else(|| find::no_key(id))?;
    let networks = json::networks(&write.addresses(Holder::Key, id).await?);
    Ok(Shown { version: key.version, body: json::key(&key, &networks, call.now), networks })
}

async fn finish(
    call: &Call<'_>,
    mut write: Write,
    event: AuditEntry,
    body: Value,
    version: i64,
) -> Result<Answer, Refusal> {
    write.audit(event);
    call.finish(write, None, false, Answer::versioned(body, version)).await
}
