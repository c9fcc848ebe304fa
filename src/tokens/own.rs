//! Reading a token that this realm has signed: refresh tokens, portal tokens, whatever a grant is given. Routes have the
//! gate for that; what is left here is what no route ever takes.

use serde_json::{Map, Value};

use super::policy::{Kind, RealmTokens};
use super::refusal::{Cause, Refusal};
use crate::clock::UnixMillis;
use crate::jwt::Compact;
use crate::secret::CredentialDigest;

/// Longest token that is read.
const MAX_TOKEN: usize = 8 * 1024;

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `jti`
    pub id: String,
    /// `sub`
    pub subject: String,
    /// `sid`
    pub session: Option<String>,
    /// `exp`
    pub expires: UnixMillis,
    /// `iat`
    pub issued: UnixMillis,
    /// All of them.
    pub all: Map<String, Value>,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It never was, as far as can be told.
    Invalid(Cause),
    /// It was good once.
    Expired,
    /// There are no keys to tell.
    NoKeys,
}

impl Bad {
    /// As the refusal of any token but a refresh token.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Invalid(cause) => Refusal::TokenInvalid(cause),
            Self::Expired => Refusal::TokenExpired,
            Self::NoKeys => Refusal::KeysUnavailable,
        }
    }
}

/// Reads a token of `kind`: signature, issuer, audience, use, end.
///
/// # Errors
/// See [`Bad`].
pub(super) fn read(realm: &RealmTokens, kind: &Kind, text: &str, now: UnixMillis) -> Result<Claims, Bad> {
    let claims = read_any(realm, text, now)?;
    if claims.all.get("token_use").and_then(Value::as_str) != Some(&kind.token_use) {
        return Err(Bad::Invalid(Cause::TokenUse));
    }
    if claims.all.get("aud").and_then(Value::as_str) != Some(&kind.audience) {
        return Err(Bad::Invalid(Cause::Claims));
    }
    if now >= claims.expires {
        return Err(Bad::Expired);
    }
    Ok(claims)
}

/// Reads a token of any kind and age.
///
/// # Errors
/// [`Bad::Invalid`], [`Bad::NoKeys`].
pub(super) fn read_any(realm: &RealmTokens, text: &str, now: UnixMillis) -> Result<Claims, Bad> {
    let invalid = |cause| Bad::Invalid(cause);
    if text.len() > MAX_TOKEN {
        return Err(invalid(Cause::Format));
    }
    if !realm.keys.is_loaded() {
        return Err(Bad::NoKeys);
    }
    let token = Compact::parse(text).map_err(|_| invalid(Cause::Format))?;
    let keys = realm.keys.find(token.header.kid.as_deref(), token.header.alg, now);
    let keys = keys.map_err(|_| invalid(Cause::Signature))?;
    if !keys.iter().any(|key| token.verified_by(key)) {
        return Err(invalid(Cause::Signature));
    }
    let all = token.claims().map_err(|_| invalid(Cause::Claims))?;
    let text = |name: &str| all.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let time = |name: &str| all.get(name).and_then(Value::as_i64).map(|secs| UnixMillis(secs.saturating_mul(1000)));
    if text("iss").as_deref() != Some(&*realm.issuer) {
        return Err(invalid(Cause::Claims));
    }
    let (Some(id), Some(subject), Some(expires), Some(issued)) = (text("jti"), text("sub"), time("exp"), time("iat"))
    else {
        return Err(invalid(Cause::Claims));
    };
    Ok(Claims { id, subject, session: text("sid"), expires, issued, all })
}

/// The digest of an opaque token, if `text` can be one of `kind`.
pub(super) fn opaque_digest(kind: &Kind, text: &str) -> Option<CredentialDigest> {
    kind.fits_opaque(text).then(|| CredentialDigest::of(text.as_bytes()))
}
