//! What a text is that somebody presents: one of the realm's tokens, and whether it is good as far as the store knows. What
//! an application says of its people is not asked here.

use serde_json::Value;

use super::own;
use super::policy::{Format, Kind, RealmTokens};
use super::refusal::Refusal;
use crate::clock::UnixMillis;
use crate::store::{
    ClientStatus, IssuedInForce, KeyStatus, RefreshInForce, RefreshState, SessionInForce, Store, StoreError,
};

pub use super::own::Claims;

/// What a text turns out to be.
#[derive(Debug)]
pub enum Known {
    /// A signed access token of a session, of any age.
    Access(Claims),
    /// A refresh token.
    Refresh(Box<RefreshInForce>),
    /// Something that was issued and is in the store by itself.
    Issued(Box<IssuedInForce>),
    /// Nothing of this realm.
    Nothing,
}

/// Why it cannot be said what a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The realm's keys are not known.
    NoKeys,
    /// The store is out of reach.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoKeys => Self::KeysUnavailable,
            Trouble::Store(error) => error.into(),
        }
    }
}

/// Says what a text is, whatever its state.
///
/// # Errors
/// See [`Trouble`].
pub async fn recognize(store: &Store, realm: &RealmTokens, text: &str, now: UnixMillis) -> Result<Known, Trouble> {
    if text.contains('.') {
        return signed(store, realm, text, now).await;
    }
    for kind in realm.kinds.iter().filter(|kind| matches!(kind.format, Format::Opaque { .. })) {
        if let Some(known) = opaque(store, realm, kind, text).await? {
            return Ok(known);
        }
    }
    Ok(Known::Nothing)
}

/// What a token of the realm says, of any kind and age; nothing where its signature does not fit.
pub fn claims_of(realm: &RealmTokens, text: &str, now: UnixMillis) -> Option<Claims> {
    own::read_any(realm, text, now).ok()
}

async fn signed(store: &Store, realm: &RealmTokens, text: &str, now: UnixMillis) -> Result<Known, Trouble> {
    let claims = match own::read_any(realm, text, now) {
        Ok(claims) => claims,
        Err(own::Bad::NoKeys) => return Err(Trouble::NoKeys),
        Err(own::Bad::Invalid(_) | own::Bad::Expired) => return Ok(Known::Nothing),
    };
    let realm = &*realm.realm;
    Ok(match claims.all.get("token_use").and_then(Value::as_str) {
        Some("refresh") => {
            let found = store.refresh_in_force(realm, &claims.id).await?;
            found.map_or(Known::Nothing, |found| Known::Refresh(Box::new(found)))
        }
        Some("access") => Known::Access(claims),
        _ => {
            let found = store.issued_token(realm, &claims.id).await?;
            found.map_or(Known::Nothing, |found| Known::Issued(Box::new(found)))
        }
    })
}

async fn opaque(store: &Store, realm: &RealmTokens, kind: &Kind, text: &str) -> Result<Option<Known>, StoreError> {
    let Some(digest) = own::opaque_digest(kind, text) else { return Ok(None) };
    let realm = &*realm.realm;
    if *kind.token_use == *"refresh" {
        let found = store.refresh_by_digest(realm, &digest).await?;
        return Ok(found.map(|found| Known::Refresh(Box::new(found))));
    }
    let found = store.issued_in_force(realm, &digest).await?;
    Ok(found.filter(|found| *found.token.kind == *kind.name).map(|found| Known::Issued(Box::new(found))))
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is good.
    Good,
    /// It has had its time.
    Expired,
    /// It was ended, or its session was.
    Revoked,
    /// A newer one took its place.
    Replaced,
    /// It could be used once, and was.
    Spent,
    /// Its principal is switched off.
    Disabled,
    /// What it depends on is gone: its session, or the key that asked for it.
    Gone,
}

impl Standing {
    /// The first of these reasons that holds, unless the token is good.
    fn first(reasons: &[(bool, Self)]) -> Self {
        reasons.iter().find(|(holds, _)| *holds).map_or(Self::Good, |(_, reason)| *reason)
    }
}

/// How an access token of a session stands; none: there is no such session.
pub fn of_session(jti: &str, expires: UnixMillis, session: Option<&SessionInForce>, now: UnixMillis) -> Standing {
    let Some(found) = session else { return Standing::Gone };
    let replaced = found.session.current_jti.as_ref().is_some_and(|current| *current != *jti);
    let revoked = found.session.revoked_at.is_some() || found.revoked_tokens.iter().any(|revoked| *revoked == *jti);
    Standing::first(&[
        (found.subject.status != ClientStatus::Active, Standing::Disabled),
        (revoked, Standing::Revoked),
        (replaced, Standing::Replaced),
        (!lasts(expires, now), Standing::Expired),
    ])
}

/// How a refresh token stands.
pub fn of_refresh(found: &RefreshInForce, now: UnixMillis) -> Standing {
    let revoked = found.session.revoked_at.is_some() || found.token.state == RefreshState::Revoked;
    Standing::first(&[
        (found.subject.status != ClientStatus::Active, Standing::Disabled),
        (revoked, Standing::Revoked),
        (found.token.state == RefreshState::Rotated, Standing::Spent),
        (!lasts(found.token.expires_at, now), Standing::Expired),
    ])
}

/// How a token stands that is in the store by itself, its session aside.
pub fn of_issued(found: &IssuedInForce, now: UnixMillis) -> Standing {
    let token = &found.token;
    let key_ended = found.key.as_ref().is_some_and(|(status, _)| *status == KeyStatus::Revoked);
    let key_over = found.key.as_ref().is_some_and(|(_, end)| end.is_some_and(|end| now >= end));
    let key_off = found.key.as_ref().is_some_and(|(status, _)| *status == KeyStatus::Disabled);
    let owner_off = found.owner.as_ref().is_some_and(|owner| owner.status != ClientStatus::Active);
    Standing::first(&[
        (found.key_gone || token.owner_id.is_some() && found.owner.is_none(), Standing::Gone),
        (owner_off || key_off, Standing::Disabled),
        (token.revoked_at.is_some() || key_ended || key_over, Standing::Revoked),
        (token.used_at.is_some(), Standing::Spent),
        (!lasts(token.expires_at, now), Standing::Expired),
    ])
}

/// Whether `end` is still to come, in whole seconds as tokens tell it.
pub(super) fn lasts(end: UnixMillis, now: UnixMillis) -> bool {
    super::mint::whole_seconds(now) < end
}
