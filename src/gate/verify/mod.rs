//! Verifying the one credential of a request. A verifier has four answers (nothing presented, proven, not good, cannot
//! be told now), and an outage is never «not good».

pub mod api_key;
mod cache;
pub mod jwks;
pub mod jwt;
pub mod stored;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use self::cache::{CacheKey, TokenCache};
use self::stored::StoredKeys;
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
    Withheld(Quota),
}

/// Finds the credential of a request and has it verified.
#[derive(Debug)]
pub(super) struct Authenticator {
    cache: TokenCache,
    keys: Arc<StoredKeys>,
}

/// Who asks, as far as it can be told at once.
pub(super) enum Recognized<'r> {
    /// Nobody has to say.
    Nobody,
    /// Somebody with a good credential.
    Proven(Arc<Verified>),
    /// Whoever it is, the token is not known yet.
    Unseen(Unseen<'r>),
}

/// A token that the cache does not hold.
pub(super) struct Unseen<'r> {
    token: Cow<'r, str>,
    key: CacheKey,
}

enum Look {
    Done(Verification),
    Unseen(CacheKey),
}

/// What verification of one request needs.
pub(super) struct Case<'a> {
    snapshot: &'a Snapshot,
    realm: &'a Realm,
    route: &'a Route,
    ip: Option<IpAddr>,
    now: UnixMillis,
}

impl Authenticator {
    pub(super) fn new(cache_bytes: u64, keys: Arc<StoredKeys>) -> Self {
        Self { cache: TokenCache::new(cache_bytes), keys }
    }

    pub(super) fn cached_tokens(&self) -> u64 {
        self.cache.entries()
    }

    /// Who asks; none where nobody has to say. Waits for nothing: a token that is not known yet is left to
    /// [`Authenticator::verify`].
    ///
    /// # Errors
    /// The denial to answer.
    pub(super) fn recognize<'r>(
        &self,
        case: &Case<'_>,
        request: &Request<'r>,
        trail: &mut Trail,
    ) -> Result<Recognized<'r>, Denial> {
        if case.route.auth.public {
            trail.pass("credential", || "none is looked at: the route is public".to_owned());
            return Ok(Recognized::Nobody);
        }
        let presented = match credential::find(request, &case.route.places) {
            Ok(presented) => presented,
            Err(denial) => return Err(case.ambiguous(denial, trail)),
        };
        let verification = match presented {
            Presented::Nothing => return case.absent(trail).map(|()| Recognized::Nobody),
            Presented::Malformed { place, why } => malformed(place, why),
            Presented::One { place, text } => match self.look(case, place, &text, trail) {
                Look::Done(verification) => verification,
                Look::Unseen(key) => return Ok(Recognized::Unseen(Unseen { token: text, key })),
            },
        };
        case.conclude(verification, trail).map(Recognized::Proven)
    }

    fn look(&self, case: &Case<'_>, place: &RoutePlace, text: &str, trail: &mut Trail) -> Look {
        if text.len() > case.snapshot.sizes.token {
            return Look::Done(malformed(place, Why::Size));
        }
        let forms = place.api_keys.iter().filter_map(|&index| case.realm.api_keys.get(index));
        for form in forms {
            if text.starts_with(&*form.prefix) {
                trail.credential = Some(CredentialKind::ApiKey);
                trail.pass("credential", || format!("an API key that starts with {}", form.prefix));
                return Look::Done(case.verify_key(form, text));
            }
        }
        if place.jwt {
            trail.credential = Some(CredentialKind::Jwt);
            trail.pass("credential", || jwt::describe(text));
            return self.look_up_token(case, text, trail);
        }
        Look::Done(malformed(place, Why::Prefix))
    }

    /// A cached token costs one digest and one look into the cache; only a token seen first is taken apart.
    fn look_up_token(&self, case: &Case<'_>, token: &str, trail: &mut Trail) -> Look {
        let key = CacheKey {
            digest: CredentialDigest::of(token.as_bytes()),
            realm: case.realm.index,
            configuration: case.snapshot.generation,
            keys: case.realm.issuers.iter().map(|issuer| issuer.keys.generation()).fold(0, u64::wrapping_add),
        };
        if let Some(hit) = self.cache.get(&key)
            && let Some(issuer) = hit.issuer.as_ref().filter(|issuer| case.route.issuers.contains(&issuer.index))
        {
            trail.token_cache = Some(true);
            if hit.expires.is_some_and(|expires| case.now >= expires) {
                self.cache.remove(&key);
                trail.issuer = Some(Arc::clone(&issuer.name));
                return Look::Done(Verification::Rejected(Reason::TokenExpired, Why::Expired));
            }
            if !issuer.keys.usable(case.now) {
                trail.issuer = Some(Arc::clone(&issuer.name));
                return Look::Done(Verification::Unavailable(Reason::KeysUnavailable, Why::KeySetStale));
            }
            return Look::Done(Verification::Verified(hit));
        }
        trail.token_cache = Some(false);
        if let Some(quota) = case.blocked() { Look::Done(Verification::Withheld(quota)) } else { Look::Unseen(key) }
    }

    /// Verifies a token that is not known yet. May wait for an issuer's keys.
    ///
    /// # Errors
    /// The denial to answer.
    pub(super) async fn verify(
        &self,
        case: &Case<'_>,
        Unseen { token, key }: Unseen<'_>,
        trail: &mut Trail,
    ) -> Result<Arc<Verified>, Denial> {
        let rules = jwt::Rules {
            issuers: &case.realm.issuers,
            allowed: &case.route.issuers,
            roles: &case.realm.roles,
            clock_skew: case.snapshot.clock_skew,
            now: case.now,
        };
        let verification = match jwt::verify(&token, rules, &mut trail.issuer).await {
            Ok(jwt::Token { principal, expires, issuer }) => {
                let headers = case.realm.identity_headers.prepare(&case.realm.name, &principal);
                let verified = Arc::new(Verified {
                    principal,
                    headers,
                    expires: Some(expires),
                    allow_ips: Vec::new(),
                    issuer: Some(issuer),
                });
                self.cache.insert(key, Arc::clone(&verified), token.len());
                Verification::Verified(verified)
            }
            Err(jwt::Failure::Rejected(reason, why)) => Verification::Rejected(reason, why),
            Err(jwt::Failure::Unavailable(why)) => Verification::Unavailable(Reason::KeysUnavailable, why),
        };
        case.conclude(verification, trail)
    }
}

impl<'a> Case<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        realm: &'a Realm,
        route: &'a Route,
        ip: Option<IpAddr>,
        now: UnixMillis,
    ) -> Self {
        Self { snapshot, realm, route, ip, now }
    }

    /// The failure limit of the address, when it is used up. Only asked when something is amiss: whoever is known already
    /// is never refused by it.
    fn blocked(&self) -> Option<Quota> {
        let limit = self.snapshot.failure_limit.as_ref()?;
        Some(limit.peek(LimitKey::Address(self.ip), None, self.now)).filter(|quota| !quota.allowed)
    }

    /// From what verification says to what happens.
    fn conclude(&self, verification: Verification, trail: &mut Trail) -> Result<Arc<Verified>, Denial> {
        match verification {
            Verification::Verified(identity) => {
                trail.authentication = Some(Authentication::Ok);
                trail.verified = Some(Arc::clone(&identity));
                trail.pass("verify", || describe(&identity.principal));
                Ok(identity)
            }
            Verification::Withheld(quota) => Err(too_many_failures(quota, trail)),
            Verification::Rejected(reason, why) => {
                if let Some(quota) = self.blocked() {
                    return Err(too_many_failures(quota, trail));
                }
                if let Some(limit) = self.snapshot.failure_limit.as_ref().filter(|_| !trail.is_rehearsal()) {
                    limit.take(LimitKey::Address(self.ip), None, self.now);
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

    fn absent(&self, trail: &mut Trail) -> Result<(), Denial> {
        if self.route.auth.anonymous {
            trail.pass("credential", || "none, and the route takes anonymous requests".to_owned());
            return Ok(());
        }
        trail.refuse("credential", || "none in the places that the route looks at".to_owned());
        Err(Reason::MissingCredentials.into())
    }

    fn ambiguous(&self, denial: Denial, trail: &mut Trail) -> Denial {
        if let Some(quota) = self.blocked() {
            return too_many_failures(quota, trail);
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
}

fn too_many_failures(quota: Quota, trail: &mut Trail) -> Denial {
    trail.refuse("failure limit", || "too many failed verifications came from this address".to_owned());
    trail.limited_by = Some(quota.name);
    Denial { retry_after: Some(quota.retry_after), ..Denial::because(Reason::RateLimited, Why::FailureLimit) }
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
