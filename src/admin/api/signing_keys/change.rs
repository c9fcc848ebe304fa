//! Keys as they are to be: signing, ending, switched off.

use serde_json::{Value, json};

use super::rotate::{add, apply, make, record, succeed, unknown_yet};
use super::state::{self, Doing, has_successor, of_kind, signer, works};
use super::{begin, meant, wrong_state};
use crate::admin::api::call::Call;
use crate::admin::api::{Answer, Refusal, find, json};
use crate::clock::UnixMillis;
use crate::jwt::{Algorithm, Generated};
use crate::store::{SessionFilter, SigningKeyChange, SigningKeyRecord, SigningKeyState, Write};
use crate::tokens::policy::RealmTokens;
use crate::tokens::signing::SLACK;

/// Asked for twice, it is so all the same.
pub(super) async fn activate(call: &Call<'_>) -> Result<Answer, Refusal> {
    let (mut write, mut keys) = begin(call).await?;
    let key = meant(call, &keys)?.clone();
    let doing = Doing::of(&key, &keys, call.now);
    match doing {
        Doing::Disabled => return Err(wrong_state(&key, "was disabled, for good: rotate instead")),
        Doing::Retired => return Err(wrong_state(&key, "has been retired: rotate instead")),
        Doing::Active if key.retire_at.is_none() => return unchanged(call, write, &key, &keys).await,
        Doing::Next | Doing::Active | Doing::Passive => {}
    }
    let tokens = find::issued_by(call, &key.realm)
        .ok_or_else(|| wrong_state(&key, &format!("is of the realm {}, which issues no tokens any more", key.realm)))?;
    let before = signer(&keys, &key.realm, &key.alg, call.now).filter(|signer| signer.kid != key.kid).cloned();
    let activate_at = (doing != Doing::Active).then_some(call.now);
    let change = SigningKeyChange { state: Some(SigningKeyState::Active), activate_at, retire_at: Some(None) };
    apply(call, &mut write, &mut keys, &key.kid, &change).await?;
    let old = match &before {
        Some(old) => Some(succeed(call, &mut write, &mut keys, old, &tokens, call.now).await?),
        None => None,
    };
    let replaces = [
        ("replaces", json!(old.as_ref().map(|(kid, _)| kid))),
        ("old_retire_at", json::opt_time(old.as_ref().map(|(_, end)| *end))),
    ];
    let detail = json::with(json!({ "alg": key.alg, "was": doing.as_str() }), replaces.clone());
    audit(call, &mut write, "signing_key.activated", &key, &detail);
    let key = meant(call, &keys)?;
    let body = json::with(state::to_json(key, &keys, call.now), replaces);
    call.finish_signing(write, None, Answer::ok(json::noting(body, &unknown_yet(key, call.now)))).await
}

/// Ends a key now or later. What is asked for twice is done once.
pub(super) async fn retire(call: &Call<'_>) -> Result<Answer, Refusal> {
    let at = call.body.time("at").unwrap_or(call.now);
    if at < call.now {
        return Err(Refusal::field("at", format!("must not lie in the past; it is {} now", call.now)));
    }
    let live = live_sessions(call).await?;
    let (mut write, mut keys) = begin(call).await?;
    let key = meant(call, &keys)?.clone();
    let doing = Doing::of(&key, &keys, call.now);
    match doing {
        Doing::Disabled => return Err(wrong_state(&key, "was disabled, for good: it does nothing any more")),
        Doing::Retired => return unchanged(call, write, &key, &keys).await,
        Doing::Next | Doing::Active | Doing::Passive => {}
    }
    if is_needed(call, &key, &keys, at) {
        let text = format!(
            "is the only key of the realm {} that signs by {} from then on: rotate first, and retire it when the next \
             one signs",
            key.realm, key.alg
        );
        return Err(wrong_state(&key, &text));
    }
    let change = SigningKeyChange {
        state: (at <= call.now).then_some(SigningKeyState::Passive),
        activate_at: None,
        retire_at: Some(Some(at)),
    };
    apply(call, &mut write, &mut keys, &key.kid, &change).await?;
    let detail = json!({ "alg": key.alg, "was": doing.as_str(), "retire_at": json::time(at), "live_sessions": live });
    audit(call, &mut write, "signing_key.retired", &key, &detail);
    let body = json::with(state::to_json(meant(call, &keys)?, &keys, call.now), [("live_sessions", live.into())]);
    call.finish_signing(write, None, Answer::ok(body)).await
}

/// Ends a key that somebody else may have. Asked for twice, it is so all the same.
pub(super) async fn disable(call: &Call<'_>) -> Result<Answer, Refusal> {
    let forced = call.body.boolean("force").unwrap_or(false);
    // Made before anything is begun: that takes its time.
    let fresh = if forced { replacement(call).await? } else { None };
    let live = live_sessions(call).await?;
    let (mut write, mut keys) = begin(call).await?;
    let key = meant(call, &keys)?.clone();
    let doing = Doing::of(&key, &keys, call.now);
    if doing == Doing::Disabled {
        return unchanged(call, write, &key, &keys).await;
    }
    let needed = is_needed(call, &key, &keys, call.now);
    if needed && fresh.is_none() {
        return Err(Refusal::Conflict {
            code: "confirmation_required",
            text: format!(
                "{} is the only key of the realm {} that signs by {}: with `force` a new one takes its place at once, \
                 and whoever has one of {live} live sessions may have to sign in again",
                key.kid, key.realm, key.alg
            ),
            target: Some(key.kid.clone()),
        });
    }
    let change = SigningKeyChange { state: Some(SigningKeyState::Disabled), ..SigningKeyChange::default() };
    apply(call, &mut write, &mut keys, &key.kid, &change).await?;
    let mut replaced_by = None;
    let mut warnings = Vec::new();
    if let Some(fresh) = fresh.filter(|_| needed) {
        let new = fresh.put(call, &mut write, &mut keys).await?;
        warnings = unknown_yet(&new, call.now);
        replaced_by = Some(new.kid);
    }
    let told = [("live_sessions", json!(live)), ("replaced_by", json!(replaced_by))];
    let detail = json::with(json!({ "alg": key.alg, "was": doing.as_str() }), told.clone());
    audit(call, &mut write, "signing_key.disabled", &key, &detail);
    let body = json::with(state::to_json(meant(call, &keys)?, &keys, call.now), told);
    call.finish_signing(write, None, Answer::ok(json::noting(body, &warnings))).await
}

/// A key that takes the place of the one that the path names.
struct Fresh {
    tokens: std::sync::Arc<RealmTokens>,
    algorithm: Algorithm,
    made: Generated,
}

/// Makes a key where the one that is to end is needed.
async fn replacement(call: &Call<'_>) -> Result<Option<Fresh>, Refusal> {
    let keys = call.store().signing_keys(None).await?;
    let key = meant(call, &keys)?;
    let (Some(tokens), Some(algorithm)) = (find::issued_by(call, &key.realm), Algorithm::by_name(&key.alg)) else {
        return Ok(None);
    };
    if !is_needed(call, key, &keys, call.now) {
        return Ok(None);
    }
    Ok(Some(Fresh { tokens, algorithm, made: make(algorithm).await? }))
}

impl Fresh {
    /// Lets it sign at once; where another one is about to, only until then.
    async fn put(
        self,
        call: &Call<'_>,
        write: &mut Write,
        keys: &mut Vec<SigningKeyRecord>,
    ) -> Result<SigningKeyRecord, Refusal> {
        let Self { tokens, algorithm, made } = self;
        let kid = add(call, write, &tokens, algorithm, &made, call.now).await?;
        keys.push(record(call, &tokens, algorithm, &made, call.now));
        let next = of_kind(keys, &tokens.realm, algorithm.as_str())
            .filter(|key| works(key, call.now) && key.activate_at > call.now)
            .map(|key| key.activate_at)
            .min();
        if let Some(next) = next {
            let end = next.plus(tokens.longest_ttl()).plus(SLACK);
            let change = SigningKeyChange { retire_at: Some(Some(end)), ..SigningKeyChange::default() };
            apply(call, write, keys, &kid, &change).await?;
        }
        Ok(record(call, &tokens, algorithm, &made, call.now))
    }
}

/// Whether tokens could not be signed any more without this key, from `at` on.
fn is_needed(call: &Call<'_>, key: &SigningKeyRecord, keys: &[SigningKeyRecord], at: UnixMillis) -> bool {
    let algorithm = Algorithm::by_name(&key.alg);
    let signs = |tokens: &RealmTokens| algorithm.is_some_and(|algorithm| tokens.algorithms().contains(&algorithm));
    let in_use = find::issued_by(call, &key.realm).is_some_and(|tokens| signs(&tokens));
    in_use && works(key, call.now) && !has_successor(keys, key, at)
}

/// How many have something that may be signed with a key of the realm of the key that the path names. Asked before anything
/// is begun, for it takes a connection of its own.
async fn live_sessions(call: &Call<'_>) -> Result<u64, Refusal> {
    let keys = call.store().signing_keys(None).await?;
    let realm = &meant(call, &keys)?.realm;
    let filter = SessionFilter { realms: Some(vec![realm.clone()]), subject_id: None, live_at: Some(call.now) };
    Ok(call.store().session_count(&filter).await?)
}

fn audit(call: &Call<'_>, write: &mut Write, action: &str, key: &SigningKeyRecord, detail: &Value) {
    let detail = detail.as_object().cloned().unwrap_or_default();
    write.audit(call.event(action, &key.realm, ("signing_key", &key.kid), detail));
}

async fn unchanged(
    call: &Call<'_>,
    write: Write,
    key: &SigningKeyRecord,
    keys: &[SigningKeyRecord],
) -> Result<Answer, Refusal> {
    call.finish_signing(write, None, Answer::ok(state::to_json(key, keys, call.now))).await
}
