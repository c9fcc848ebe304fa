//! Verifying a JWT: whose it is, that its signature fits, that its claims hold. What a token and a key look like is
//! [`crate::jwt`]'s business, where keys come from [`super::jwks`]'s.

mod claims;
mod path;

use std::sync::Arc;
use std::time::Duration;

pub use path::ClaimPath;

use super::jwks::{KeyLookup, RemoteKeySet};
use crate::clock::UnixMillis;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Roles;
use crate::identity::Principal;
use crate::jwt::{ASSERTION_TYP, Algorithm, Compact, Fault, Header, KeyRing, NoKey, OwnKeys, VerifyKey};

/// Somebody whose tokens are believed, and under which conditions.
#[derive(Debug)]
pub struct Issuer {
    /// Name in configuration and labels.
    pub name: Arc<str>,
    /// Position in the realm's list.
    pub index: usize,
    /// Byte-exact `iss`.
    pub issuer: Box<str>,
    /// `aud` must hold one of these.
    pub audience: Vec<Box<str>>,
    /// Allowed algorithms: of one family, unless the keys are the realm's own, each of which has its algorithm.
    pub algorithms: Vec<Algorithm>,
    /// Where keys come from.
    pub keys: KeySource,
    /// Tolerance for `exp`.
    pub leeway: Duration,
    /// `exp` may be this far away at most.
    pub max_ttl: Duration,
    /// Allowed `typ`, lower case, without `application/`.
    pub typ: Vec<Box<str>>,
    /// Claims that must be there and not null: top-level names. `exp`, `aud` and the subject are needed in any case.
    pub required_claims: Vec<Box<str>>,
    /// Which claims mean what.
    pub claims: ClaimMap,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// The configuration.
    Static(KeyRing),
    /// A key set that is fetched and kept fresh.
    Remote(Arc<RemoteKeySet>),
    /// The realm's own, which come from the store; whoever signs has the same handle.
    Own(Arc<OwnKeys>),
}

/// Which claims mean what; `None` = not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMap {
    /// Default `sub`.
    pub subject: ClaimPath,
    /// Default `client_id`.
    pub client: Option<ClaimPath>,
    /// Default `scope`.
    pub scopes: Option<ClaimPath>,
    /// Default `roles`.
    pub roles: Option<ClaimPath>,
    /// Default `tenant`.
    pub tenant: Option<ClaimPath>,
    /// Default `plan`.
    pub plan: Option<ClaimPath>,
}

/// What verification needs besides the token.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The realm's issuers.
    pub issuers: &'a [Arc<Issuer>],
    /// Indices of those that the route believes.
    pub allowed: &'a [usize],
    /// The realm's roles.
    pub roles: &'a Roles,
    /// Tolerance for `iat` and `nbf`.
    pub clock_skew: Duration,
    /// The time.
    pub now: UnixMillis,
}

/// A verified token.
#[derive(Debug)]
pub struct Token {
    /// Who.
    pub principal: Principal,
    /// When it ends, leeway included.
    pub expires: UnixMillis,
    /// Whose it is.
    pub issuer: Arc<Issuer>,
}

/// Why a token was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not good.
    Rejected(Reason, Why),
    /// The keys are out of reach.
    Unavailable(Why),
}

impl From<Why> for Failure {
    /// What most refusals are.
    fn from(why: Why) -> Self {
        Self::Rejected(Reason::TokenInvalid, why)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::from(match fault {
            Fault::Format => Why::Format,
            Fault::Header => Why::Header,
            Fault::Crit => Why::Crit,
            Fault::Alg => Why::Alg,
            Fault::Kid => Why::Kid,
            Fault::Typ => Why::Typ,
            Fault::Claims => Why::Claims,
        })
    }
}

/// Verifies `token` (already known to be within the size limit).
///
/// # Errors
/// See [`Failure`]. The order of the checks is: form, header policy, issuer and key, signature, claims. An algorithm
/// that no key of the token's key id serves is `alg`; a key id that is not there is `kid`.
///
/// `judged_by` is told the issuer's name as soon as it is chosen: a refusal is counted by it, too.
pub async fn verify(token: &str, rules: Rules<'_>, judged_by: &mut Option<Arc<str>>) -> Result<Token, Failure> {
    let token = Compact::parse(token)?;
    let claimed = token.unverified_issuer()?.ok_or(Why::Issuer)?;
    let issuer = choose(&claimed, token.header.alg, &rules)?;
    *judged_by = Some(Arc::clone(&issuer.name));
    if !issuer.takes_typ(token.header.typ.as_deref()) {
        return Err(Why::Typ.into());
    }
    let keys = issuer.keys.find(&token.header, rules.now).await?;
    if !keys.iter().any(|key| token.verified_by(key)) {
        return Err(Why::Signature.into());
    }
    claims::judge(token.claims()?, issuer, &rules)
}

/// What a token says of itself, unproven, for `explain`: header and registered claims, never the signature.
pub fn describe(token: &str) -> String {
    let Ok(compact) = Compact::parse(token) else {
        return "a bearer token whose form or header is not acceptable".to_owned();
    };
    let Header { alg, kid, typ } = &compact.header;
    let claims = compact.claims().unwrap_or_default();
    let quoted = |text: &Option<String>| text.as_ref().map_or_else(|| "absent".to_owned(), |text| format!("{text:?}"));
    let mut text = format!("a JWT: alg {alg}, kid {}, typ {}; unproven: ", cut(&quoted(kid)), cut(&quoted(typ)));
    let told: Vec<_> = ["iss", "aud", "sub", "exp"]
        .iter()
        .filter_map(|name| Some(format!("{name} {}", cut(&claims.get(*name)?.to_string()))))
        .collect();
    text.push_str(&told.join(", "));
    text
}

/// What a token says, as it may be shown: no characters that steer a terminal or turn text around, and not all of it.
fn cut(text: &str) -> String {
    const MOST: usize = 64;
    let mut shown = String::with_capacity(MOST);
    for c in text.chars() {
        let escaped: String = if matches!(c, ' '..='~') { c.into() } else { c.escape_unicode().collect() };
        if shown.len() + escaped.len() > MOST {
            shown.push('…');
            break;
        }
        shown.push_str(&escaped);
    }
    shown
}

/// The issuer whose keys shall judge the token. Nobody who is not configured is ever asked for keys.
fn choose<'a>(claimed: &str, algorithm: Algorithm, rules: &Rules<'a>) -> Result<&'a Arc<Issuer>, Failure> {
    let named = || rules.issuers.iter().filter(|issuer| *issuer.issuer == *claimed);
    let mut allowed = named().filter(|issuer| rules.allowed.contains(&issuer.index)).peekable();
    if allowed.peek().is_none() {
        let known = named().next().is_some();
        let reason = if known { Reason::IssuerNotAllowed } else { Reason::TokenInvalid };
        return Err(Failure::Rejected(reason, Why::Issuer));
    }
    allowed.find(|issuer| issuer.algorithms.contains(&algorithm)).ok_or_else(|| Why::Alg.into())
}

impl Issuer {
    /// RFC 7515 section 4.1.9: compared without case, `application/` may be left out. A missing type is taken, and that of
    /// an assertion never: it says what a gateway has found out, and proves nothing about who shows it.
    fn takes_typ(&self, typ: Option<&str>) -> bool {
        const PREFIX: &str = "application/";
        typ.is_none_or(|typ| {
            let short = match typ.split_at_checked(PREFIX.len()) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
                _ => typ,
            };
            !short.eq_ignore_ascii_case(ASSERTION_TYP)
                && self.typ.iter().any(|allowed| allowed.eq_ignore_ascii_case(short))
        })
    }
}

impl KeySource {
    /// The key set, where it is fetched.
    pub fn remote(&self) -> Option<&Arc<RemoteKeySet>> {
        match self {
            Self::Remote(set) => Some(set),
            Self::Static(_) | Self::Own(_) => None,
        }
    }

    /// The realm's own keys, where these are they.
    pub fn own(&self) -> Option<&Arc<OwnKeys>> {
        match self {
            Self::Own(keys) => Some(keys),
            Self::Static(_) | Self::Remote(_) => None,
        }
    }

    /// Changes whenever the keys do; 0 for keys of the configuration, which a reload replaces.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Static(_) => 0,
            Self::Remote(set) => set.generation(),
            Self::Own(keys) => keys.generation(),
        }
    }

    /// Whether the keys may still be used.
    pub fn usable(&self, now: UnixMillis) -> bool {
        match self {
            Self::Static(_) => true,
            Self::Remote(set) => set.usable(now),
            Self::Own(keys) => keys.is_loaded(),
        }
    }

    /// The keys to try; at least one.
    async fn find(&self, header: &Header, now: UnixMillis) -> Result<Vec<Arc<VerifyKey>>, Failure> {
        let kid = header.kid.as_deref();
        let keys = match self {
            Self::Static(ring) => ring.find(kid, header.alg),
            Self::Remote(set) => match set.find(kid, header.alg, now).await {
                KeyLookup::Keys(keys) => Ok(keys),
                KeyLookup::Unknown => Err(NoKey::Unknown),
                KeyLookup::OtherAlgorithms => Err(NoKey::OtherAlgorithms),
                KeyLookup::Unavailable(why) => return Err(Failure::Unavailable(why)),
            },
            Self::Own(keys) if !keys.is_loaded() => return Err(Failure::Unavailable(Why::KeySetNeverLoaded)),
            Self::Own(keys) => keys.find(kid, header.alg, now),
        };
        keys.map_err(|why| match why {
            NoKey::Unknown => Why::Kid.into(),
            NoKey::OtherAlgorithms => Why::Alg.into(),
        })
    }
}

#[cfg(test)]
mod tests;
