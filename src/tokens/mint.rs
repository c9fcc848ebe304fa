//! Making tokens: header and claims as text, exactly as the documents show them, and random text.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::policy::{Encoding, Format, Kind, RealmTokens};
use super::refusal::Refusal;
use crate::clock::UnixMillis;
use crate::jwt;
use crate::secret::{CredentialDigest, random_base62};

/// A token that was made, in the clear: for its answer.
#[derive(Clone)]
pub(super) struct Minted {
    /// The text.
    pub(super) text: Zeroizing<String>,
    /// When it was made, in whole seconds.
    pub(super) issued: UnixMillis,
    /// When it ends, in whole seconds.
    pub(super) expires: UnixMillis,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// What stands in a token besides what is the same in all of its kind.
#[derive(Clone, Debug)]
pub(super) struct Content<'a> {
    /// `jti`
    pub(super) id: &'a str,
    /// `sub`
    pub(super) subject: &'a str,
    /// `client_id`
    pub(super) client: Option<&'a str>,
    /// `sid`
    pub(super) session: Option<&'a str>,
    /// `scope`
    pub(super) scope: Option<&'a str>,
    /// `act`: who made it for the subject (RFC 8693 section 4.1).
    pub(super) actor: Option<&'a str>,
    /// `iat`, whole seconds.
    pub(super) issued: UnixMillis,
    /// `exp`, whole seconds.
    pub(super) expires: UnixMillis,
}

/// The moment as claims tell it.
pub(super) fn whole_seconds(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.secs().saturating_mul(1000))
}

/// When a token of `kind` that is made now ends.
pub(super) fn end(kind: &Kind, now: UnixMillis) -> UnixMillis {
    whole_seconds(whole_seconds(now).plus(kind.ttl))
}

/// Makes a signed token of `kind`.
///
/// # Errors
/// There is no key for its algorithm.
pub(super) fn jwt(realm: &RealmTokens, kind: &Kind, content: &Content<'_>, now: UnixMillis) -> Result<Minted, Refusal> {
    let Format::Jwt { alg, typ, kid } = &kind.format else { return Err(Refusal::Internal) };
    let Some(key) = realm.keys.signing(*alg, now) else {
        tracing::error!(realm = &*realm.realm, alg = alg.as_str(), "there is no key to sign with");
        return Err(Refusal::KeysUnavailable);
    };
    let mut header = format!("{{\"alg\":\"{alg}\",\"typ\":{}", Value::from(&**typ));
    if *kid {
        header.push_str(&format!(",\"kid\":{}", Value::from(&*key.kid)));
    }
    header.push('}');
    let Content { id, subject, client, session, scope, actor, issued, expires } = content;
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| _ = claims.insert(name.to_owned(), value);
    set("iss", json!(realm.issuer));
    set("sub", json!(subject));
    set("aud", json!(kind.audience));
    set("exp", json!(expires.secs()));
    set("iat", json!(issued.secs()));
    set("jti", json!(id));
    for (name, value) in [("client_id", client), ("sid", session)] {
        if let Some(value) = value {
            set(name, json!(value));
        }
    }
    set("token_use", json!(kind.token_use));
    if let Some(scope) = scope {
        set("scope", json!(scope));
    }
    if let Some(actor) = actor {
        set("act", json!({ "sub": actor }));
    }
    let text = jwt::sign(&header, &Value::Object(claims).to_string(), &key.signing, *alg).map_err(|fault| {
        tracing::error!(realm = &*realm.realm, kid = &*key.kid, %fault, "a key cannot sign");
        Refusal::KeysUnavailable
    })?;
    Ok(Minted { text: Zeroizing::new(text), issued: *issued, expires: *expires })
}

/// Makes random text of `kind`, and the digest by which it is known.
///
/// # Errors
/// The system has no randomness to give.
pub(super) fn opaque(
    kind: &Kind,
    issued: UnixMillis,
    expires: UnixMillis,
) -> Result<(Minted, CredentialDigest), Refusal> {
    let Format::Opaque { encoding, bytes } = &kind.format else { return Err(Refusal::Internal) };
    let text = match encoding {
        Encoding::Hex => {
            let mut random = Zeroizing::new(vec![0; *bytes]);
            getrandom::fill(&mut random)?;
            Zeroizing::new(data_encoding::HEXLOWER.encode(&random))
        }
        Encoding::Base62 => random_base62(encoding.chars(*bytes))?,
    };
    let digest = CredentialDigest::of(text.as_bytes());
    Ok((Minted { text, issued, expires }, digest))
}
