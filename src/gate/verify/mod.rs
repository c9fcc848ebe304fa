//! Verifying the one credential of a request. A verifier has four answers (nothing presented, proven, not good, cannot
//! be told now), and an outage is never «not good».

pub mod api_key;
mod cache;
mod case;
pub mod certificate;
mod issued;
pub mod jwks;
pub mod jwt;
mod own;
pub mod stored;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use self::cache::{CacheKey, Found, TokenCache};
pub(super) use self::case::Case;
use self::own::OwnToken;
pub use self::own::{OpaqueForm, OwnTokens};
use self::stored::{Known, StoredKeys, Trouble, Uses};
use super::credential::{self, Presented};
use super::limit::Quota;
use super::network::NetworkSet;
use super::outcome::{Denial, Reason, Why};
use super::policy::RoutePlace;
use super::request::Request;
use super::trail::Trail;
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
    /// Where uses are noted; none for what is not in the store.
    pub uses: Option<Arc<Uses>>,
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
    /// Whoever it is, the credential is not known yet.
    Unseen(Unseen<'r>),
}

/// A credential that no cache holds.
pub(super) struct Unseen<'r> {
    text: Cow<'r, str>,
    sight: Sight,
}

/// What was made of it so far.
enum Sight {
    Token(CacheKey),
    Key { digest: CredentialDigest, stale: bool },
    Opaque { digest: CredentialDigest, stale: bool },
    Session { token: Arc<OwnToken>, stale: bool },
}

enum Look {
    Done(Verification),
    Unseen(Sight),
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
            Presented::Nothing => match self.look_at_certificate(case, request, trail) {
                Some(verification) => verification,
                None => return case.absent(trail).map(|()| Recognized::Nobody),
            },
            Presented::Malformed { place, why } => malformed(place, why),
            Presented::One { place, text } => match self.look(case, place, &text, trail) {
                Look::Done(verification) => verification,
                Look::Unseen(sight) => return Ok(Recognized::Unseen(Unseen { text, sight })),
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
                return self.look_up_key(case, form, text, trail);
            }
        }
        // A token without dots may be an opaque one, where both are taken.
        if place.jwt && (!place.opaque || text.contains('.')) {
            trail.credential = Some(CredentialKind::Jwt);
            trail.pass("credential", || jwt::describe(text));
            return self.look_up_token(case, text, trail);
        }
        if let Some(form) = case.opaque().filter(|_| place.opaque) {
            trail.credential = Some(CredentialKind::Opaque);
            trail.pass("credential", || format!("an opaque token of the kind {}", form.kind));
            return self.look_up_opaque(case, form, text, trail);
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
            && let Some(issuer) = hit.issuer().filter(|issuer| case.route.issuers.contains(&issuer.index))
        {
            trail.token_cache = Some(true);
            if hit.expires().is_some_and(|expires| case.now >= expires) {
                self.cache.remove(&key);
                trail.issuer = Some(Arc::clone(&issuer.name));
                return Look::Done(Verification::Rejected(Reason::TokenExpired, Why::Expired));
            }
            if !issuer.keys.usable(case.now) {
                trail.issuer = Some(Arc::clone(&issuer.name));
                return Look::Done(Verification::Unavailable(Reason::KeysUnavailable, Why::KeySetStale));
            }
            return match &hit {
                Found::Foreign(verified) => Look::Done(Verification::Verified(Arc::clone(verified))),
                Found::Own(token) => self.look_up_session(case, token, trail),
            };
        }
        trail.token_cache = Some(false);
        if let Some(quota) = case.blocked() {
            Look::Done(Verification::Withheld(quota))
        } else {
            Look::Unseen(Sight::Token(key))
        }
    }

    /// A declared key or a cached one costs one digest and one look; what cannot be a key costs not even that.
    fn look_up_key(&self, case: &Case<'_>, form: &api_key::ApiKeyForm, text: &str, trail: &mut Trail) -> Look {
        if let Err(why) = form.check(text) {
            return Look::Done(Verification::Rejected(Reason::KeyMalformed, why));
        }
        let digest = CredentialDigest::of(text.as_bytes());
        if let Some(key) = case.realm.declared.get(&digest) {
            return Look::Done(case.judge_declared(key, trail));
        }
        let stale = match self.keys.look(case.realm, digest, case.begun) {
            Known::NoStore => return Look::Done(unknown_key()),
            Known::There(entry) => {
                trail.key_cache = Some(true);
                return Look::Done(case.judge(&entry, trail));
            }
            Known::Nothing => {
                (trail.key_cache, trail.unknown_key_cache) = (Some(false), Some(true));
                return Look::Done(unknown_key());
            }
            Known::Outdated { stale } => stale,
            Known::Unseen => {
                trail.unknown_key_cache = Some(false);
                if let Some(quota) = case.blocked() {
                    trail.key_cache = Some(false);
                    return Look::Done(Verification::Withheld(quota));
                }
                false
            }
        };
        trail.key_cache = Some(false);
        Look::Unseen(Sight::Key { digest, stale })
    }

    /// Verifies a credential that is not known yet. May wait for an issuer's keys, or for the store.
    ///
    /// # Errors
    /// The denial to answer.
    pub(super) async fn verify(
        &self,
        case: &Case<'_>,
        Unseen { text, sight }: Unseen<'_>,
        trail: &mut Trail,
    ) -> Result<Arc<Verified>, Denial> {
        let verification = match sight {
            Sight::Token(key) => self.verify_token(case, &text, key, trail).await,
            Sight::Key { digest, stale } => self.verify_key(case, digest, stale, trail).await,
            Sight::Opaque { digest, stale } => self.verify_opaque(case, digest, stale, trail).await,
            Sight::Session { token, stale } => self.verify_session(case, &token, stale, trail).await,
        };
        case.conclude(verification, trail)
    }

    async fn verify_token(&self, case: &Case<'_>, token: &str, key: CacheKey, trail: &mut Trail) -> Verification {
        let rules = jwt::Rules {
            issuers: &case.realm.issuers,
            allowed: &case.route.issuers,
            roles: &case.realm.roles,
            clock_skew: case.snapshot.clock_skew,
            now: case.now,
        };
        match jwt::verify(token, rules, &mut trail.issuer).await {
            Ok(verified) if case.realm.own.as_ref().is_some_and(|own| own.issuer == verified.issuer.index) => {
                self.verify_own(case, &verified, key, token.len(), trail).await
            }
            Ok(jwt::Token { principal, expires, issuer }) => {
                let headers = case.realm.identity_headers.prepare(&case.realm.name, &principal);
                let verified = Arc::new(Verified {
                    principal,
                    headers,
                    expires: Some(expires),
                    allow_ips: Vec::new(),
                    issuer: Some(issuer),
                    uses: None,
                });
                self.cache.insert(key, Found::Foreign(Arc::clone(&verified)), token.len());
                Verification::Verified(verified)
            }
            Err(jwt::Failure::Rejected(reason, why)) => Verification::Rejected(reason, why),
            Err(jwt::Failure::Unavailable(why)) => Verification::Unavailable(Reason::KeysUnavailable, why),
        }
    }

    async fn verify_key(
        &self,
        case: &Case<'_>,
        digest: CredentialDigest,
        stale: bool,
        trail: &mut Trail,
    ) -> Verification {
        match self.keys.read(case.realm, digest).await {
            Ok(Some(entry)) => case.judge(&entry, trail),
            Ok(None) => unknown_key(),
            Err(trouble) => unavailable(trouble, stale),
        }
    }

    /// Notes that a request was allowed, after every check.
    pub(super) fn note_use(&self, identity: &Verified, ip: Option<IpAddr>, now: UnixMillis) {
        if let Some(uses) = &identity.uses {
            self.keys.note(uses, ip, now);
        }
    }
}

fn unavailable(trouble: Trouble, stale: bool) -> Verification {
    match trouble {
        Trouble::Busy => Verification::Unavailable(Reason::Overloaded, Why::StoreBusy),
        Trouble::Failing | Trouble::Slow if stale => {
            Verification::Unavailable(Reason::StoreUnavailable, Why::StoreStale)
        }
        Trouble::Failing => Verification::Unavailable(Reason::StoreUnavailable, Why::StoreFailing),
        Trouble::Slow => Verification::Unavailable(Reason::StoreUnavailable, Why::StoreSlow),
    }
}

fn unknown_key() -> Verification {
    Verification::Rejected(Reason::KeyUnknown, Why::Unknown)
}

/// Something stands where a credential belongs and is none: no key where only keys stand, else no token.
fn malformed(place: &RoutePlace, why: Why) -> Verification {
    let tokens = place.jwt || place.opaque;
    Verification::Rejected(if tokens { Reason::TokenInvalid } else { Reason::KeyMalformed }, why)
}
