//! From one key to the next.

use std::time::Duration;

use serde_json::{Value, json};

use super::state::{self, of_kind, signer, works};
use super::{begin, wrong_state};
use crate::admin::api::call::Call;
use crate::admin::api::{Answer, Refusal, find, json};
use crate::clock::UnixMillis;
use crate::jwt::{Algorithm, Family, Generated, OwnKeys};
use crate::store::{SigningKeyChange, SigningKeyRecord, SigningKeyState, StoreError, Write};
use crate::tokens::policy::{Format, RealmTokens};
use crate::tokens::signing::{self, SLACK};

/// A secret is known to all nodes by then.
const SECRET_DELAY: i64 = 60;

/// A public half is known by then to whoever keeps the key set.
const PUBLIC_DELAY: i64 = 600;

/// Whoever verifies may keep the key set for so long.
const KEPT: Duration = Duration::from_secs(300);

pub(super) async fn rotate(call: &Call<'_>) -> Result<Answer, Refusal> {
    let realm = find::realm_for(call, call.body.text("realm"))?;
    let issues_nothing = || Refusal::field("realm", "issues no tokens: it has no [tokens]");
    let tokens = find::issued_by(call, &realm.name).ok_or_else(issues_nothing)?;
    let algorithm = algorithm(&tokens, call.body.text("alg"))?;
    let delay = call.body.integer("activate_in_seconds").unwrap_or(match algorithm.family() {
        Family::Hmac => SECRET_DELAY,
        Family::Rsa | Family::Ec | Family::Ed => PUBLIC_DELAY,
    });
    // Made before anything is begun: that takes its time.
    let made = make(algorithm).await?;

    let (mut write, keys) = begin(call).await?;
    refuse_second(&keys, &tokens, algorithm, call.now)?;
    let in_force = signer(&keys, &tokens.realm, algorithm.as_str(), call.now);
    let activate_at = match in_force {
        Some(_) => call.now.plus(Duration::from_secs(u64::try_from(delay).unwrap_or(0))),
        // There is nobody to wait for.
        None => call.now,
    };
    let kid = add(call, &mut write, &tokens, algorithm, &made, activate_at).await?;
    let mut keys = keys.clone();
    let old = match in_force {
        Some(old) => Some(succeed(call, &mut write, &mut keys, old, &tokens, activate_at).await?),
        None => None,
    };
    let new = record(call, &tokens, algorithm, &made, activate_at);
    keys.push(new.clone());
    let shown = state::to_json(&new, &keys, call.now);

    let replaces = json!({
        "replaces": old.as_ref().map(|(kid, _)| kid),
        "old_retire_at": json::opt_time(old.as_ref().map(|(_, end)| *end)),
    });
    let detail = json!({ "alg": new.alg, "activate_at": json::time(activate_at) });
    let detail = json::with(detail, members(&replaces));
    let names = ["alg", "activate_at", "replaces", "old_retire_at"];
    let detail = json::members(&detail, &names);
    write.audit(call.event("signing_key.rotated", &tokens.realm, ("signing_key", &kid), detail));
    let body = json::noting(json::with(shown, members(&replaces)), &unknown_yet(&new, call.now));
    call.finish_signing(write, Some(&kid), Answer::ok(body)).await
}

fn members(of: &Value) -> [(&'static str, Value); 2] {
    ["replaces", "old_retire_at"].map(|name| (name, of.get(name).cloned().unwrap_or(Value::Null)))
}

/// What a realm signs by: what was asked for, else the only one.
fn algorithm(tokens: &RealmTokens, asked: Option<&str>) -> Result<Algorithm, Refusal> {
    let known = tokens.algorithms();
    let names = || known.iter().map(|alg| alg.as_str()).collect::<Vec<_>>().join(", ");
    match (asked, known.as_slice()) {
        (_, []) => Err(Refusal::field("realm", "signs no tokens: all of its kinds are opaque")),
        (Some(name), _) => {
            let found = known.iter().copied().find(|alg| alg.as_str() == name);
            found.ok_or_else(|| Refusal::field("alg", format!("is not what the realm signs by: {}", names())))
        }
        (None, [only]) => Ok(*only),
        (None, _) => Err(Refusal::field("alg", format!("is required: the realm signs by {}", names()))),
    }
}

/// Makes a key; RSA takes a while.
pub(super) async fn make(algorithm: Algorithm) -> Result<Generated, Refusal> {
    let made = tokio::task::spawn_blocking(move || signing::make(algorithm)).await;
    Ok(made.unwrap_or_else(|_| Err(StoreError::corrupt("making a signing key ended by a fault of the program")))?)
}

/// One change at a time; and no more keys than tokens are tried with that do not name theirs.
fn refuse_second(
    keys: &[SigningKeyRecord],
    tokens: &RealmTokens,
    algorithm: Algorithm,
    now: UnixMillis,
) -> Result<(), Refusal> {
    let alive: Vec<_> = of_kind(keys, &tokens.realm, algorithm.as_str()).filter(|key| works(key, now)).collect();
    if let Some(next) = alive.iter().find(|key| key.activate_at > now) {
        let text = format!("signs from {} on already: activate it, or disable it first", next.activate_at);
        return Err(wrong_state(next, &text));
    }
    let unnamed = |format: &Format| matches!(format, Format::Jwt { alg, kid: false, .. } if *alg == algorithm);
    if alive.len() < OwnKeys::MOST_UNNAMED || !tokens.kinds.iter().any(|kind| unnamed(&kind.format)) {
        return Ok(());
    }
    let kids: Vec<_> = alive.iter().map(|key| key.kid.as_str()).collect();
    let first_end = alive.iter().filter_map(|key| key.retire_at).min();
    let wait = first_end.map_or_else(String::new, |end| format!(", or wait until {end}"));
    Err(Refusal::Conflict {
        code: "wrong_state",
        text: format!(
            "{} keys verify {algorithm} tokens, which do not name theirs: with one more none would be verified; retire \
             one first ({}){wait}",
            alive.len(),
            kids.join(", ")
        ),
        target: None,
    })
}

/// Writes a key that was made.
pub(super) async fn add(
    call: &Call<'_>,
    write: &mut Write,
    tokens: &RealmTokens,
    algorithm: Algorithm,
    made: &Generated,
    activate_at: UnixMillis,
) -> Result<String, Refusal> {
    let times = (call.now, activate_at);
    let new = signing::new_key(made, &tokens.realm, algorithm, &call.actor.id, times);
    write.add_signing_key(&new).await?;
    Ok(new.kid)
}

/// The record that such a key is.
pub(super) fn record(
    call: &Call<'_>,
    tokens: &RealmTokens,
    algorithm: Algorithm,
    made: &Generated,
    activate_at: UnixMillis,
) -> SigningKeyRecord {
    let new = signing::new_key(made, &tokens.realm, algorithm, &call.actor.id, (call.now, activate_at));
    SigningKeyRecord {
        kid: new.kid,
        realm: new.realm,
        alg: new.alg,
        state: new.state,
        private: made.private.clone(),
        public_jwk: new.public_jwk,
        created_by: new.created_by,
        created_at: new.at,
        activate_at: new.activate_at,
        retire_at: new.retire_at,
    }
}

/// Lets `old` verify for as long as its last token can live, when another key signs from `at` on. Gives its name and its
/// end.
pub(super) async fn succeed(
    call: &Call<'_>,
    write: &mut Write,
    keys: &mut [SigningKeyRecord],
    old: &SigningKeyRecord,
    tokens: &RealmTokens,
    at: UnixMillis,
) -> Result<(String, UnixMillis), Refusal> {
    let end = at.plus(tokens.longest_ttl()).plus(SLACK);
    // An end that somebody set before stays.
    let end = old.retire_at.map_or(end, |set| set.min(end));
    // Of two keys of the same millisecond, the name would decide which one signs.
    let earlier = (old.activate_at >= at).then(|| UnixMillis(at.0.saturating_sub(1)));
    let change = SigningKeyChange { state: None, activate_at: earlier, retire_at: Some(Some(end)) };
    apply(call, write, keys, &old.kid, &change).await?;
    Ok((old.kid.clone(), end))
}

/// Changes a key in the store, and in what was read of it.
pub(super) async fn apply(
    call: &Call<'_>,
    write: &mut Write,
    keys: &mut [SigningKeyRecord],
    kid: &str,
    change: &SigningKeyChange,
) -> Result<(), Refusal> {
    write.change_signing_key(kid, change, call.now).await?;
    for key in keys.iter_mut().filter(|key| key.kid == kid) {
        let SigningKeyChange { state, activate_at, retire_at } = change;
        key.state = state.unwrap_or(key.state);
        key.activate_at = activate_at.unwrap_or(key.activate_at);
        key.retire_at = retire_at.unwrap_or(key.retire_at);
    }
    Ok(())
}

/// What is told of a public half that signs before others can know it.
pub(super) fn unknown_yet(key: &SigningKeyRecord, now: UnixMillis) -> Vec<String> {
    let signs = key.activate_at.max(now);
    let early = key.public_jwk.is_some() && key.state != SigningKeyState::Disabled && signs < key.created_at.plus(KEPT);
    let text = "whoever verifies by the published key set may have kept one without this key for up to 5 minutes, and \
                refuses its tokens until then";
    early.then(|| text.to_owned()).into_iter().collect()
}
