//! What the gate would say to a key, without a request: for applications that check keys themselves, and for people who
//! found one. The text comes in a body and goes nowhere: it is neither logged nor audited nor answered.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::admin::api::addresses::{Look, look};
use crate::admin::api::call::Call;
use crate::admin::api::{Answer, Refusal, find, json, rules};
use crate::clock::UnixMillis;
use crate::gate::policy::Realm;
use crate::gate::verify::api_key::DeclaredKey;
use crate::secret::CredentialDigest;
use crate::store::{ClientStatus, KeyInForce, KeyStatus};

/// How a key is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Valid,
    NotFound,
    Malformed,
    Disabled,
    Expired,
    Revoked,
    IpDenied,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::NotFound => "NOT_FOUND",
            Self::Malformed => "MALFORMED",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::Revoked => "REVOKED",
            Self::IpDenied => "IP_DENIED",
        }
    }
}

pub(super) async fn verify(call: &Call<'_>) -> Result<Answer, Refusal> {
    let realm = find::realm_for(call, call.body.text("realm"))?;
    let (text, ip) = (call.body.text("key").unwrap_or_default(), call.body.address("ip"));
    judge(call, &realm, text, ip).await.map(Answer::ok)
}

/// What the gate would say to a text as a key.
pub(in crate::admin::api) async fn judge(
    call: &Call<'_>,
    realm: &Realm,
    text: &str,
    ip: Option<IpAddr>,
) -> Result<Value, Refusal> {
    let form = realm.api_keys.iter().find(|form| text.starts_with(&*form.prefix));
    if form.is_none_or(|form| form.check(text).is_err()) {
        return Ok(nobody(Code::Malformed));
    }
    let digest = CredentialDigest::of(text.as_bytes());
    if let Some(key) = realm.declared.0.get(&digest) {
        return Ok(declared(key, ip, call.now));
    }
    Ok(match call.store().key_in_force(&realm.name, &digest).await? {
        None => nobody(Code::NotFound),
        Some(found) => stored(realm, &found, ip, call.now),
    })
}

fn nobody(code: Code) -> Value {
    answer(code, [Value::Null, Value::Null, Value::Null, Value::Null, Value::Null])
}

fn stored(realm: &Realm, found: &KeyInForce, ip: Option<IpAddr>, now: UnixMillis) -> Value {
    let KeyInForce { key, owner, not_after, .. } = found;
    let held_off = |list| ip.is_some_and(|ip| matches!(look(list, ip, now), Look::Outside));
    let code = if key.status == KeyStatus::Revoked {
        Code::Revoked
    } else if key.status == KeyStatus::Disabled || owner.status == ClientStatus::Disabled {
        Code::Disabled
    } else if json::has_expired(key.expires_at, now) || json::has_expired(*not_after, now) {
        Code::Expired
    } else if held_off(&found.owner_addresses) || held_off(&found.key_addresses) {
        Code::IpDenied
    } else {
        Code::Valid
    };
    let scopes: Value = rules::effective(realm, owner, key.scopes.as_deref()).iter().collect();
    let end = match (key.expires_at, *not_after) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    answer(code, [json!(key.id), json!(owner.id), json!(owner.identifier), scopes, json::opt_time(end)])
}

fn declared(key: &DeclaredKey, ip: Option<IpAddr>, now: UnixMillis) -> Value {
    let verified = &key.verified;
    let held_off = |ip| verified.allow_ips.iter().any(|list| !list.contains(ip));
    let code = if key.disabled {
        Code::Disabled
    } else if json::has_expired(verified.expires, now) {
        Code::Expired
    } else if ip.is_some_and(held_off) {
        Code::IpDenied
    } else {
        Code::Valid
    };
    let principal = &verified.principal;
    let owner = principal.client.as_deref().unwrap_or_default();
    let id = principal.credential_id.as_deref().unwrap_or_default();
    let prefix = json::DECLARED;
    answer(
        code,
        [
            json!(format!("{prefix}{owner}/{id}")),
            json!(format!("{prefix}{owner}")),
            json!(owner),
            principal.scopes.iter().collect(),
            json::opt_time(verified.expires),
        ],
    )
}

fn answer(code: Code, [key_id, owner_id, owner, scopes, expires_at]: [Value; 5]) -> Value {
    json!({
        "valid": code == Code::Valid,
        "code": code.as_str(),
        "key_id": key_id,
        "owner_id": owner_id,
        "owner": owner,
        "scopes": scopes,
        "expires_at": expires_at,
    })
}
