//! Verifying the one credential of a request. A verifier has four answers (nothing presented, proven, not good, cannot
//! be told now), and an outage is never «not good».

pub mod api_key;
mod cache;
pub mod jwks;
pub mod jwt;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use self::cache::{CacheKey, TokenCache};
use super::credential::{self, Presented};
use super::limit::{LimitKey, Quota};
use super::network::NetworkSet;
use super::outcome::{Denial, Reason, Why};
use super::policy::{Realm, Route, RoutePlace, Snapshot};
use super::request::Request;
use super::trail::{Authentication, Trail};
use crate::clock::UnixMillis;
use crate::identity::{CredentialKind, Principal};
use crate::secret::CredentialDigest;

/// A proven identity with everything prepared that later steps need of it.
#[derive(Debug)]
pub struct Verified {
    /// Who.
    pub principal: Principal,
    /// Identity headers, ready to be set.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// When the credential ends, leeway included: refused when now is this or later.
    pub expires: Option<UnixMillis>,
    /// Address lists of client and key; each must hold the address.
    pub allow_ips: Vec<NetworkSet>,
    /// The issuer whose keys proved it.
    pub issuer: Option<Arc<jwt::Issuer>>,
}

/// What a verifier answers about something presented.
#[derive(Debug)]
enum Verification {
    /// Proven.
    Verified(Arc<Verified>),
    /// Not good: 401.
    Rejected(Reason, Why),
    /// Cannot be told now: 503, never 401.
    Unavailable(Reason, Why),
    /// Not looked at: too many failures came from this address.
    Withheld,
}

/// Finds the credential of a request and has it verified.
#[derive(Debug)]
pub(super) struct Authenticator {
    cache: TokenCache,
}

/// What verification of one request needs.
struct Case<'a> {
    snapshot: &'a Snapshot,
    realm: &'a Realm,
    route: &'a Route,
    now: UnixMillis,
    /// The failure limit of the address, when it is used up.
    blocked: Option<Quota>,
}

impl Authenticator {
    pub(super) fn new(cache_bytes: u64) -> Self {
        Self { cache: TokenCache::new(cache_bytes) }
    }

    pub(super) fn cached_tokens(&self) -> u64 {
        self.cache.entries()
    }

    /// Who asks; none where nobody has to say.
    pub(super) async fn authenticate(
        &self,
        snapshot: &Snapshot,
        realm: &Realm,
        route: &Route,
        request: &Request<'_>,
        ip: Option<IpAddr>,
        trail: &mut Trail,
    ) -> Result<Option<Arc<Verified>>, Denial> {
        if route.auth.public {
            trail.pass("credential", || "none is looked at: the route is public".to_owned());
            return Ok(None);
        }
        let failures = snapshot.failure_limit.as_ref();
        let blocked = failures.map(|limit| limit.peek(LimitKey::Address(ip), None, request.now)).filter(|q| !q.allowed);
        let case = Case { snapshot, realm, route, now: request.now, blocked };
        let presented = match credential::find(request, &route.places) {
            Ok(presented) => presented,
            Err(denial) => return Err(case.ambiguous(denial, trail)),
        };
        let verification = match presented {
            Presented::Nothing => return case.absent(trail),
            Presented::Malformed { place, why } => malformed(place, why),
            Presented::One { place, text } => self.verify(&case, place, &text, trail).await,
        };
        match verification {
            Verification::Verified(identity) => {
                trail.authentication = Some(Authentication::Ok);
                trail.verified = Some(Arc::clone(&identity));
                trail.pass("verify", || describe(&identity.principal));
                Ok(Some(identity))
            }
            Verification::Rejected(..) | Verification::Withheld if case.blocked.is_some() => {
                Err(case.too_many_failures(trail))
            }
            Verification::Withheld => Err(Reason::Internal.into()),
            Verification::Rejected(reason, why) => {
                if let Some(limit) = failures {
                    limit.take(LimitKey::Address(ip), None, request.now);
                }
                trail.authentication = Some(Authentication::Rejected);
                trail.refuse("verify", || why.text().to_owned());
                Err(Denial::because(reason, why))
            }
            Verification::Unavailable(reason, why) => {
                trail.authentication = Some(Authentication::Unavailable);
                trail.refuse("verify", || why.text().to_owned());
                Err(Denial::because(reason, why))
            }
        }
    }

    async fn verify(&self, case: &Case<'_>, place: &RoutePlace, text: &str, trail: &mut Trail) -> Verification {
        if text.len() > case.snapshot.sizes.token {
            return malformed(place, Why::Size);
        }
        let forms = place.api_keys.iter().filter_map(|&index| case.realm.api_keys.get(index));
        for form in forms {
            if text.starts_with(&*form.prefix) {
                trail.credential = Some(CredentialKind::ApiKey);
                trail.pass("credential", || format!("an API key that starts with {}", form.prefix));
                return case.verify_key(form, text);
            }
        }
        if place.jwt {
            trail.credential = Some(CredentialKind::Jwt);
            trail.pass("credential", || jwt::describe(text));
            return self.verify_token(case, text, trail).await;
        }
        malformed(place, Why::Prefix)
    }

    /// A cached token costs one digest and one look into the cache; only a token seen first is taken apart.
    async fn verify_token(&self, case: &Case<'_>, token: &str, trail: &mut Trail) -> Verification {
        let key = CacheKey {
            digest: CredentialDigest::of(token.as_bytes()),
            realm: case.realm.index,
            configuration: case.snapshot.generation,
            keys: case.realm.issuers.iter().map(|issuer| issuer.keys.generation()).fold(0, u64::wrapping_add),
        };
        if let Some(hit) = self.cache.get(&key) {
            let usable = hit.issuer.as_ref().filter(|issuer| case.route.issuers.contains(&issuer.index));
            if let Some(issuer) = usable {
                trail.token_cache = Some(true);
                if hit.expires.is_some_and(|expires| case.now >= expires) {
                    self.cache.remove(&key);
                    trail.issuer = Some(Arc::clone(&issuer.name));
                    return Verification::Rejected(Reason::TokenExpired, Why::Expired);
                }
                if !issuer.keys.usable(case.now) {
                    trail.issuer = Some(Arc::clone(&issuer.name));
                    return Verification::Unavailable(Reason::KeysUnavailable, Why::KeySetStale);
                }
                return Verification::Verified(hit);
            }
        }
        trail.token_cache = Some(false);
        if case.blocked.is_some() {
            return Verification::Withheld;
        }
        let rules = jwt::Rules {
            issuers: &case.realm.issuers,
            allowed: &case.route.issuers,
            roles: &case.realm.roles,
            clock_skew: case.snapshot.clock_skew,
            now: case.now,
        };
        match jwt::verify(token, rules, &mut trail.issuer).await {
            Ok(jwt::Token { principal, expires, issuer }) => {
                let headers = case.realm.identity_headers.prepare(&case.realm.name, &principal);
                let verified = Verified {
                    principal,
                    headers,
                    expires: Some(expires),
                    allow_ips: Vec::new(),
                    issuer: Some(issuer),
                };
                let verified = Arc::new(verified);
                self.cache.insert(key, Arc::clone(&verified), token.len());
                Verification::Verified(verified)
            }
            Err(jwt::Failure::Rejected(reason, why)) => Verification::Rejected(reason, why),
            Err(jwt::Failure::Unavailable(why)) => Verification::Unavailable(Reason::KeysUnavailable, why),
        }
    }
}

impl Case<'_> {
    fn absent(&self, trail: &mut Trail) -> Result<Option<Arc<Verified>>, Denial> {
        if self.route.auth.anonymous {
            trail.pass("credential", || "none, and the route takes anonymous requests".to_owned());
            return Ok(None);
        }
        trail.refuse("credential", || "none in the places that the route looks at".to_owned());
        Err(Reason::MissingCredentials.into())
    }

    fn ambiguous(&self, denial: Denial, trail: &mut Trail) -> Denial {
        if self.blocked.is_some() {
            return self.too_many_failures(trail);
        }
        trail.refuse("credential", || denial.why.map_or("", Why::text).to_owned());
        denial
    }

    fn verify_key(&self, form: &api_key::ApiKeyForm, text: &str) -> Verification {
        if let Err(why) = form.check(text) {
            return Verification::Rejected(Reason::KeyMalformed, why);
        }
        match self.realm.declared.find(text) {
            None => Verification::Rejected(Reason::KeyUnknown, Why::Unknown),
            Some(key) if key.disabled => Verification::Rejected(Reason::KeyDisabled, Why::Disabled),
            Some(key) if key.verified.expires.is_some_and(|expires| self.now >= expires) => {
                Verification::Rejected(Reason::KeyExpired, Why::Expired)
            }
            Some(key) => Verification::Verified(Arc::clone(&key.verified)),
        }
    }

    fn too_many_failures(&self, trail: &mut Trail) -> Denial {
        trail.refuse("failure limit", || "too many failed verifications came from this address".to_owned());
        trail.limited_by = self.blocked.as_ref().map(|quota| Arc::clone(&quota.name));
        Denial {
            retry_after: self.blocked.as_ref().map(|quota| quota.retry_after),
            ..Denial::because(Reason::RateLimited, Why::FailureLimit)
        }
    }
}

/// Something stands where a credential belongs and is none: no key where only keys stand, else no token.
fn malformed(place: &RoutePlace, why: Why) -> Verification {
    Verification::Rejected(if place.jwt { Reason::TokenInvalid } else { Reason::KeyMalformed }, why)
}

fn describe(principal: &Principal) -> String {
    let mut text = format!("{} of subject {:?}", principal.kind, principal.subject);
    if let Some(client) = &principal.client {
        text.push_str(&format!(", client {client:?}"));
    }
    if let Some(id) = &principal.credential_id {
        text.push_str(&format!(", id {id:?}"));
    }
    if let Some(issuer) = &principal.issuer {
        text.push_str(&format!(", issuer {issuer:?}"));
    }
    text
}
