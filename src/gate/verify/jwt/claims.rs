//! From the claims of a token whose signature is good to a principal: types, audience, times, then who it is.
//!
//! Values that are used are held to one reading. Numbers of RFC 7519 section 2 may have a fraction, which is cut off
//! downwards; negative ones are malformed. Client, tenant and plan are strings, or integers taken as their text; empty or
//! null is absent; anything else refuses the token. Scopes and roles are a list of strings or one string separated by
//! blanks (RFC 6749 section 3.3); anything else grants nothing. A list's scope with a blank in it could match nothing and
//! is left out; a role may have blanks there. No used text holds a character that could break a header, a log line or
//! the reader's eye.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{ClaimPath, Failure, Issuer, Rules, Token};
use crate::clock::UnixMillis;
use crate::gate::outcome::{Reason, Why};
use crate::identity::{CredentialKind, Principal, ScopeSet};

/// Longest subject, client, tenant, plan and token id, in bytes: they become header fields and keys of tables.
const MAX_TEXT: usize = 1024;

/// The token's principal and end.
pub(super) fn judge(claims: Map<String, Value>, issuer: &Arc<Issuer>, rules: &Rules<'_>) -> Result<Token, Failure> {
    // A missing audience is told as that, below.
    let missing = |name: &str| name != "aud" && claims.get(name).is_none_or(Value::is_null);
    if issuer.required_claims.iter().any(|name| missing(name)) {
        return Err(Why::Claims.into());
    }
    let times = Times::read(&claims)?;
    if !for_one_of(&issuer.audience, claims.get("aud")) {
        return Err(Why::Audience.into());
    }
    let expires = times.check(issuer, rules)?;
    Ok(Token { principal: principal(claims, issuer, rules)?, expires, issuer: Arc::clone(issuer) })
}

/// RFC 7519 section 4.1.3: a string, or a list of nothing but strings.
fn for_one_of(ours: &[Box<str>], aud: Option<&Value>) -> bool {
    let is_ours = |text: &str| ours.iter().any(|our| **our == *text);
    match aud {
        Some(Value::String(text)) => is_ours(text),
        Some(Value::Array(items)) => {
            items.iter().all(Value::is_string) && items.iter().filter_map(Value::as_str).any(is_ours)
        }
        _ => false,
    }
}

/// `exp`, `nbf` and `iat` in whole seconds.
struct Times {
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
}

impl Times {
    /// A token without an end could outlive everything that is meant to end it: `exp` is needed even where it is not
    /// among the required claims.
    fn read(claims: &Map<String, Value>) -> Result<Self, Why> {
        let read = |name: &str| claims.get(name).map(seconds).transpose();
        Ok(Self { exp: read("exp")?.ok_or(Why::Claims)?, nbf: read("nbf")?, iat: read("iat")? })
    }

    fn check(&self, issuer: &Issuer, rules: &Rules<'_>) -> Result<UnixMillis, Failure> {
        let at = |seconds: i64| UnixMillis(seconds.saturating_mul(1000));
        let expires = at(self.exp).plus(issuer.leeway);
        if rules.now >= expires {
            return Err(Failure::Rejected(Reason::TokenExpired, Why::Expired));
        }
        if at(self.exp) > rules.now.plus(issuer.max_ttl) {
            return Err(Why::Lifetime.into());
        }
        let soon = rules.now.plus(rules.clock_skew);
        if self.nbf.is_some_and(|nbf| at(nbf) > soon) {
            return Err(Why::NotYet.into());
        }
        if self.iat.is_some_and(|iat| at(iat) > soon) {
            return Err(Why::IssuedAt.into());
        }
        Ok(expires)
    }
}

fn seconds(value: &Value) -> Result<i64, Why> {
    let Value::Number(number) = value else { return Err(Why::Claims) };
    let seconds = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole,
        (None, Some(float)) => float.floor() as i64, // saturates, also for integers above i64::MAX
        (None, None) => return Err(Why::Claims),
    };
    if seconds < 0 { Err(Why::Claims) } else { Ok(seconds) }
}

fn principal(claims: Map<String, Value>, issuer: &Issuer, rules: &Rules<'_>) -> Result<Principal, Why> {
    let map = &issuer.claims;
    // RFC 7519 section 4.1.2 makes `sub` a string, whether or not it is what names the subject here.
    if !claims.get("sub").is_none_or(|sub| sub.is_string() || sub.is_null()) {
        return Err(Why::Claims);
    }
    let subject = match map.subject.find(&claims) {
        Some(subject @ Value::String(_)) => text(subject)?.ok_or(Why::Claims)?,
        _ => return Err(Why::Claims),
    };
    let one = |path: &Option<ClaimPath>| match path.as_ref().and_then(|path| path.find(&claims)) {
        Some(value) => text(value),
        None => Ok(None),
    };
    let many = |path: &Option<ClaimPath>| match path.as_ref().and_then(|path| path.find(&claims)) {
        Some(value) => names(value),
        None => Ok(Vec::new()),
    };
    let credential_id = match claims.get("jti") {
        Some(id @ Value::String(_)) => text(id)?,
        _ => None,
    };
    let roles = many(&map.roles)?;
    let claimed = many(&map.scopes)?;
    let claimed = ScopeSet::literal(claimed.iter().filter(|scope| !scope.contains(' ')));
    Ok(Principal {
        kind: CredentialKind::Jwt,
        subject,
        client: one(&map.client)?,
        credential_id,
        issuer: Some(Arc::clone(&issuer.name)),
        tenant: one(&map.tenant)?,
        plan: one(&map.plan)?,
        scopes: claimed.union(&rules.roles.expand(&roles)),
        roles: roles.into_iter().map(Arc::from).collect(),
        attributes: Arc::new(claims),
        account: None,
    })
}

/// One text.
fn text(value: &Value) -> Result<Option<Arc<str>>, Why> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) if text.len() <= MAX_TEXT && is_clean(text) => Ok(Some(Arc::from(text.as_str()))),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Some(Arc::from(number.to_string()))),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(Why::Claims),
    }
}

/// Names of scopes or roles.
fn names(value: &Value) -> Result<Vec<&str>, Why> {
    let names: Vec<&str> = match value {
        Value::String(text) => text.split(' ').filter(|name| !name.is_empty()).collect(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).filter(|name| !name.is_empty()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Vec::new(),
    };
    if names.iter().all(|name| is_clean(name)) { Ok(names) } else { Err(Why::Claims) }
}

/// Without control characters, line separators, and marks that change the direction in which text is shown.
fn is_clean(text: &str) -> bool {
    let unclean = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !text.chars().any(unclean)
}
