//! Verifying a JWT: whose it is, that its signature fits, that its claims hold.

use std::sync::Arc;
use std::time::Duration;

use super::jwks::RemoteKeySet;
use crate::clock::UnixMillis;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Roles;
use crate::identity::Principal;
use crate::jwt::{Algorithm, KeyRing};

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
    /// Allowed algorithms, all of one family.
    pub algorithms: Vec<Algorithm>,
    /// Where keys come from.
    pub keys: KeySource,
    /// Tolerance for `exp`.
    pub leeway: Duration,
    /// `exp` may be this far away at most.
    pub max_ttl: Duration,
    /// Allowed `typ`, lower case, without `application/`.
    pub typ: Vec<Box<str>>,
    /// Claims that must be there.
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
}

/// Where a value stands in the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPath {
    /// A top-level member, byte for byte.
    Name(Box<str>),
    /// A JSON pointer (RFC 6901).
    Pointer(Box<str>),
}

impl ClaimPath {
    /// A leading `/` makes a pointer.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }
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

/// Verifies `token` (already known to be within the size limit).
///
/// # Errors
/// See [`Failure`]. The order of the checks is: form, header policy, issuer and key, signature, claims.
///
/// `judged_by` is told the issuer's name as soon as it is chosen, before anything is verified.
pub async fn verify(_token: &str, _rules: Rules<'_>, _judged_by: &mut Option<Arc<str>>) -> Result<Token, Failure> {
    unimplemented!()
}

/// What a token says of itself, unverified, for `explain`: header and registered claims, never the signature.
pub fn describe(_token: &str) -> String {
    unimplemented!()
}

impl KeySource {
    /// Changes whenever the keys do; 0 for keys of the configuration, which a reload replaces.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Static(_) => 0,
            Self::Remote(set) => set.generation(),
        }
    }

    /// Whether the keys may still be used.
    pub fn usable(&self, now: UnixMillis) -> bool {
        match self {
            Self::Static(_) => true,
            Self::Remote(set) => set.usable(now),
        }
    }
}
