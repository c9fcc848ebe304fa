//! What a decision ends with: a [`Permit`] that nobody else can make, or a [`Denial`], which is data. One table says
//! what the world sees of each reason.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cors::Preflight;
use super::limit::Quota;
use super::policy::{Realm, Route};
use super::verify::Verified;
pub use super::why::Why;

/// What becomes of a request that is not refused.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may go on to where its route leads.
    Forward(Permit),
    /// The gateway answers it, and nobody else.
    Preflight(Preflight),
}

impl Decision {
    /// The right to forward the request, if that is what was decided.
    pub fn permit(self) -> Option<Permit> {
        match self {
            Self::Forward(permit) => Some(permit),
            Self::Preflight(_) => None,
        }
    }
}

/// The right to forward one request. Only the gate makes one, after every check has passed.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(in crate::gate) realm: Arc<Realm>,
    pub(in crate::gate) route: Arc<Route>,
    pub(in crate::gate) identity: Option<Arc<Verified>>,
    pub(in crate::gate) target: Option<Box<str>>,
    pub(in crate::gate) client_ip: Option<IpAddr>,
    pub(in crate::gate) peer_trusted: bool,
    pub(in crate::gate) quota: Option<Quota>,
    pub(in crate::gate) credential_in_url: bool,
    pub(in crate::gate) params: Box<[Box<str>]>,
    pub(in crate::gate) enforced: bool,
}

impl Permit {
    /// The realm whose host was asked.
    pub fn realm(&self) -> &Arc<Realm> {
        &self.realm
    }

    /// The route that allowed the request.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Who asks; none on public routes and for anonymous requests.
    pub fn identity(&self) -> Option<&Arc<Verified>> {
        self.identity.as_ref()
    }

    /// Path and query for the upstream where they differ from what was received (normal form, `strip_prefix`, a
    /// credential taken out of the query).
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// For a request that somebody else forwards, as he got it.
    #[must_use]
    pub fn forwarded_by_another(self) -> Self {
        Self { target: None, ..self }
    }

    /// The client's address as far as it is known.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }

    /// Whether the connection's other end is a trusted proxy.
    pub fn peer_trusted(&self) -> bool {
        self.peer_trusted
    }

    /// The tightest rate limit that this request was counted against.
    pub fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// Values of the `{name}` segments of a grant's path, in their order; empty for what is forwarded.
    pub fn params(&self) -> &[Box<str>] {
        &self.params
    }

    /// Whether the decision was enforced. If not, nobody was asked to prove anything: the request goes on as it came, its
    /// credential included, and without an identity.
    pub fn enforced(&self) -> bool {
        self.enforced
    }

    /// Whether the request's URL held a credential: then nobody may store the answer under it (RFC 6750 section 2.3).
    pub fn credential_in_url(&self) -> bool {
        self.credential_in_url
    }
}

/// Why a request is refused, and what the answer has to carry besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The public reason.
    pub reason: Reason,
    /// The finer cause, for the log and `explain` only.
    pub why: Option<Why>,
    /// Value of `Allow` (405).
    pub allow: Option<Box<str>>,
    /// Scopes that were needed (403 `insufficient_scope`), joined by blanks.
    pub scope: Option<Box<str>>,
    /// Value of `Retry-After`, rounded up to seconds.
    pub retry_after: Option<Duration>,
    /// State of the rate limit that refused.
    pub quota: Option<Box<Quota>>,
    /// What only this refusal has to say.
    pub detail: Option<Box<Detail>>,
}

/// What a refusal says beyond its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Value of `$code` in place of the dialect's: an error of a standard.
    pub code: Option<&'static str>,
    /// Value of `$message` in place of the dialect's.
    pub message: Option<Box<str>>,
    /// Fields of the request, and what is wrong with each: `$fields`.
    pub fields: Vec<(String, String)>,
}

impl Denial {
    /// A denial that needs nothing but its reason.
    pub fn new(reason: Reason) -> Self {
        Self { reason, why: None, allow: None, scope: None, retry_after: None, quota: None, detail: None }
    }

    /// A denial with its finer cause.
    pub fn because(reason: Reason, why: Why) -> Self {
        Self { why: Some(why), ..Self::new(reason) }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

/// What the world sees of a reason where no dialect says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public {
    /// HTTP status.
    pub status: u16,
    /// The reason whose mapping in a dialect serves when this one has none.
    pub parent: Option<Reason>,
    /// `error` of the challenge (RFC 6750 section 3.1).
    pub bearer_error: Option<&'static str>,
    /// English text for the body; tells nothing that helps an attacker.
    pub message: &'static str,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $status:literal, $parent:expr, $bearer:expr, $message:literal;)*) => {
        /// The closed set of public reasons: keys of dialects, metric labels, log values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What the world sees of it by default.
            pub fn public(self) -> Public {
                match self {
                    $(Self::$variant => Public { status: $status, parent: $parent, bearer_error: $bearer, message: $message },)*
                }
            }
        }
    };
}

const INVALID_TOKEN: Option<&str> = Some("invalid_token");

reasons! {
    /// The request is not well formed.
    BadRequest = "bad_request", 400, None, None, "The request is not well formed.";
    /// More than one credential was sent.
    AmbiguousCredential = "ambiguous_credential", 400, Some(Self::BadRequest), Some("invalid_request"), "Send exactly one credential.";
    /// Two parties could read the path differently.
    PathAmbiguous = "path_ambiguous", 400, Some(Self::BadRequest), None, "The path is ambiguous.";
    /// The body is not what its content type says.
    SyntaxError = "syntax_error", 400, Some(Self::BadRequest), None, "The request body could not be read.";
    /// A field is missing or of the wrong kind.
    ValidationFailed = "validation_failed", 400, Some(Self::BadRequest), None, "The request has invalid fields.";
    /// The body's content type is not accepted.
    UnsupportedMediaType = "unsupported_media_type", 415, None, None, "This content type is not accepted.";
    /// The body is larger than allowed.
    PayloadTooLarge = "payload_too_large", 413, None, None, "The request body is too large.";
    /// The target is longer than allowed.
    UriTooLong = "uri_too_long", 414, None, None, "The request target is too long.";
    /// The header fields are larger than allowed.
    HeadersTooLarge = "headers_too_large", 431, None, None, "The request header fields are too large.";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408, None, None, "The request did not arrive in time.";
    /// Parent of everything that is not there.
    NotFound = "not_found", 404, None, None, "Nothing is found here.";
    /// No realm serves this host.
    UnknownHost = "unknown_host", 404, Some(Self::NotFound), None, "This host is not served here.";
    /// The connection was made for a host of another realm (RFC 9110 section 15.5.20).
    MisdirectedRequest = "misdirected_request", 421, Some(Self::NotFound), None, "This connection is not for this host.";
    /// No route has this path.
    NoRoute = "no_route", 404, Some(Self::NotFound), None, "Nothing is found here.";
    /// The subject that the request names does not exist.
    SubjectNotFound = "subject_not_found", 404, Some(Self::NotFound), None, "The subject is not found.";
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405, None, None, "This method is not allowed here.";
    /// No credential was sent.
    MissingCredentials = "missing_credentials", 401, None, None, "Authentication is required.";
    /// The credential is not good.
    TokenInvalid = "token_invalid", 401, None, INVALID_TOKEN, "The credential is not valid.";
    /// The token was good once.
    TokenExpired = "token_expired", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The token has expired.";
    /// The token was withdrawn.
    TokenRevoked = "token_revoked", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// The token's issuer is not believed on this route.
    IssuerNotAllowed = "issuer_not_allowed", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// The refresh token is not good.
    RefreshInvalid = "refresh_invalid", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The refresh token is not valid.";
    /// The refresh token was good once.
    RefreshExpired = "refresh_expired", 401, Some(Self::RefreshInvalid), INVALID_TOKEN, "The refresh token has expired.";
    /// The refresh token was used before.
    RefreshReused = "refresh_reused", 401, Some(Self::RefreshInvalid), INVALID_TOKEN, "The refresh token is not valid.";
    /// No such key.
    KeyUnknown = "key_unknown", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// This cannot be a key.
    KeyMalformed = "key_malformed", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// The key is switched off.
    KeyDisabled = "key_disabled", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// The key was good once.
    KeyExpired = "key_expired", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// The key was withdrawn.
    KeyRevoked = "key_revoked", 401, Some(Self::TokenInvalid), INVALID_TOKEN, "The credential is not valid.";
    /// Login: wrong, unknown or disabled.
    InvalidCredentials = "invalid_credentials", 401, None, None, "The credentials are not valid.";
    /// Client authentication failed.
    InvalidClient = "invalid_client", 401, None, None, "Client authentication failed.";
    /// Parent of every refusal of somebody known.
    Forbidden = "forbidden", 403, None, None, "This is not allowed.";
    /// A scope is lacking.
    InsufficientScope = "insufficient_scope", 403, Some(Self::Forbidden), Some("insufficient_scope"), "The credential lacks a required scope.";
    /// A role is lacking.
    RoleDenied = "role_denied", 403, Some(Self::Forbidden), None, "This role is not allowed here.";
    /// The plan does not include this.
    PlanDenied = "plan_denied", 403, Some(Self::Forbidden), None, "The plan does not include this.";
    /// An attribute does not have the required value.
    AttributeDenied = "attribute_denied", 403, Some(Self::Forbidden), None, "This is not allowed.";
    /// The address is not allowed.
    IpDenied = "ip_denied", 403, Some(Self::Forbidden), None, "This address is not allowed.";
    /// The subject is not active.
    SubjectInactive = "subject_inactive", 403, Some(Self::Forbidden), None, "The subject is not active.";
    /// Too many requests.
    RateLimited = "rate_limited", 429, None, None, "Too many requests.";
    /// Too many failed logins.
    LockedOut = "locked_out", 429, Some(Self::RateLimited), None, "Too many attempts.";
    /// Parent of every outage.
    Unavailable = "unavailable", 503, None, None, "The service is not available at the moment.";
    /// The store is out of reach.
    StoreUnavailable = "store_unavailable", 503, Some(Self::Unavailable), None, "The service is not available at the moment.";
    /// The keys of an issuer are out of reach.
    KeysUnavailable = "keys_unavailable", 503, Some(Self::Unavailable), None, "The service is not available at the moment.";
    /// The directory is out of reach.
    DirectoryUnavailable = "directory_unavailable", 503, Some(Self::Unavailable), None, "The service is not available at the moment.";
    /// More work than can be done.
    Overloaded = "overloaded", 503, Some(Self::Unavailable), None, "The service is busy.";
    /// The upstream is out of reach or broke off.
    UpstreamUnavailable = "upstream_unavailable", 502, Some(Self::Unavailable), None, "The upstream is not available.";
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504, Some(Self::Unavailable), None, "The upstream did not answer in time.";
    /// A fault of the gateway.
    Internal = "internal", 500, None, None, "An internal error occurred.";
}

impl Reason {
    /// The reason called `name`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }

    /// Whether it says nothing of the request itself: an outage, or a limit that is used up. The same request may be allowed
    /// a moment later.
    pub fn is_passing(self) -> bool {
        self.lineage().any(|reason| matches!(reason, Self::Unavailable | Self::RateLimited))
    }

    /// This reason, its parent, and so on.
    pub fn lineage(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |reason| reason.public().parent)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_distinct_names_and_finite_lineages() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::by_name(reason.as_str()), Some(*reason));
            assert!(reason.lineage().take(9).count() <= 3, "{reason}");
        }
    }

    #[test]
    fn an_outage_is_never_an_authentication_failure() {
        for reason in Reason::ALL {
            if reason.lineage().any(|r| r == Reason::Unavailable) {
                assert!(reason.public().status >= 500, "{reason}");
            }
        }
    }
}
