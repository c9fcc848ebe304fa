//! What is configured of a realm's tokens, as the token service uses it: compiled, resolved, immutable. `config` makes
//! these beside the gate's snapshot, and a reload swaps both together.

mod grant;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;

pub use self::grant::{Action, Field, FieldKind, Grant, Revokes, UnknownFields};
use crate::identity::Roles;
use crate::jwt::{Algorithm, OwnKeys};
use crate::reply::Template;
use crate::secret::Secret;

/// The token services of all realms, by the position of the realm in the gate's snapshot.
#[derive(Debug, Default)]
pub struct Issuing {
    /// None: the realm issues nothing.
    pub realms: Vec<Option<Arc<RealmTokens>>>,
}

/// What one realm issues, to whom, and how it answers.
#[derive(Debug)]
pub struct RealmTokens {
    /// Its name.
    pub realm: Arc<str>,
    /// `iss` of its tokens.
    pub issuer: Box<str>,
    /// What it signs with. The same handle as the gate's issuer `self` verifies with.
    pub keys: Arc<OwnKeys>,
    /// Kinds of tokens; grants name them by position.
    pub kinds: Vec<Kind>,
    /// Where principals come from.
    pub directory: Option<Directory>,
    /// Look-ups of subjects; grants name them by position.
    pub subjects: Vec<Subject>,
    /// Grants; the gate's routes name them by position.
    pub grants: Vec<Grant>,
    /// Role to scopes.
    pub roles: Arc<Roles>,
    /// Form of times in answers.
    pub timestamps: Timestamps,
    /// Whether the owner's list of addresses is asked before the password is.
    pub addresses_first: bool,
    /// Grant types that are free of address lists.
    pub address_exempt: Vec<&'static str>,
    /// Paths of the grants, for metadata (RFC 8414).
    pub metadata: Metadata,
}

impl RealmTokens {
    /// The kind with this `token_use`.
    pub fn kind_of_use(&self, token_use: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| *kind.token_use == *token_use)
    }

    /// The longest that a token of this realm can live, for keys that were rotated away.
    pub fn longest_ttl(&self) -> Duration {
        self.kinds.iter().map(|kind| kind.ttl).max().unwrap_or_default()
    }

    /// The algorithms that its tokens are signed by, each once.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<_> = self.kinds.iter().filter_map(Kind::algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    }
}

/// How times look in answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// `2024-01-15T10:30:00Z`
    #[default]
    Rfc3339,
    /// `2024-01-15T10:30:00.000Z`
    Rfc3339Millis,
    /// Seconds since the epoch, a number.
    Unix,
}

/// `[tokens.KIND]`
#[derive(Debug)]
pub struct Kind {
    /// The table's name; `token.NAME` in templates.
    pub name: Arc<str>,
    /// `token_use` claim.
    pub token_use: Box<str>,
    /// What it looks like.
    pub format: Format,
    /// `aud`.
    pub audience: Box<str>,
    /// How long it lives.
    pub ttl: Duration,
    /// Spent on first use.
    pub once: bool,
    /// Names of bound values (and `subject`): a new token replaces the one with the same values. Empty: it does not.
    pub one_per: Vec<Box<str>>,
    /// Whether it ends with its session. Else its claims alone decide until it expires.
    pub revocable: bool,
    /// Refresh tokens: whether each use makes a new one.
    pub rotate: bool,
    /// Refresh tokens: so long the old one is answered again, with the same successor.
    pub reuse_grace: Duration,
    /// Refresh tokens: so long the old one is refused without ending the session.
    pub reuse_leeway: Duration,
    /// Refresh tokens: the session ends after this, however often it was refreshed.
    pub max_session: Option<Duration>,
}

/// What a token looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A signed token (RFC 7519).
    Jwt {
        /// Signature algorithm.
        alg: Algorithm,
        /// `typ` of the header, as written.
        typ: Box<str>,
        /// Whether the header names the key.
        kid: bool,
    },
    /// Random text, known to the store by its digest.
    Opaque {
        /// Its alphabet.
        encoding: Encoding,
        /// Random bytes.
        bytes: usize,
    },
}

/// The alphabet of an opaque token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Digits and letters.
    Base62,
}

impl Encoding {
    /// Characters of a token with so many random bytes.
    pub fn chars(self, bytes: usize) -> usize {
        match self {
            Self::Hex => bytes * 2,
            // log 256 / log 62 = 1.3437
            Self::Base62 => (bytes * 1344).div_ceil(1000),
        }
    }
}

impl Kind {
    /// Whether `text` can be an opaque token of this kind.
    pub fn fits_opaque(&self, text: &str) -> bool {
        match &self.format {
            Format::Jwt { .. } => false,
            Format::Opaque { encoding, bytes } => {
                let digit = |b: u8| match encoding {
                    Encoding::Hex => b.is_ascii_digit() || matches!(b, b'a'..=b'f'),
                    Encoding::Base62 => b.is_ascii_alphanumeric(),
                };
                text.len() == encoding.chars(*bytes) && text.bytes().all(digit)
            }
        }
    }

    /// How it is signed; none for opaque tokens.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self.format {
            Format::Jwt { alg, .. } => Some(alg),
            Format::Opaque { .. } => None,
        }
    }
}

/// `[directory]`
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one a realm
pub enum Directory {
    /// Principals and passwords of the store.
    Local {
        /// Roles of principals that have none.
        default_roles: Vec<Box<str>>,
    },
    /// The application's.
    Http(HttpDirectory),
}

/// A directory that is asked over HTTP.
#[derive(Debug)]
pub struct HttpDirectory {
    /// Verifies an identifier and a password. None: nobody can sign in.
    pub verify: Option<CallbackUrl>,
    /// Tells of a subject, `{subject}` in its URL. None: what the sign-in told holds as long as the session does.
    pub lookup: Option<CallbackUrl>,
    /// Shared with the application.
    pub secret: Option<Secret>,
    /// For one call.
    pub timeout: Duration,
    /// How long the answer of a look-up is believed.
    pub cache: Duration,
    /// Whether the first good sign-in moves the password into the store.
    pub migrate: bool,
    /// The answer is of the application's own login: where things stand in it. None: the contract of the callback.
    pub translate: Option<Translation>,
    /// Body of the sign-in request, where it is not the contract's. Names: `request.FIELD`, `identifier`, `password`.
    pub body: Option<Template>,
    /// Roles of principals that have none.
    pub default_roles: Vec<Box<str>>,
}

/// Where an existing login endpoint tells what (JSON pointers, RFC 6901).
#[derive(Debug, Default)]
pub struct Translation {
    /// The subject; must be there.
    pub subject: Box<str>,
    /// The status: `active`, in any case, is active.
    pub status: Option<Box<str>>,
    /// The role.
    pub role: Option<Box<str>>,
    /// The plan.
    pub plan: Option<Box<str>>,
    /// The tenant.
    pub tenant: Option<Box<str>>,
    /// Further attributes.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// A URL with places for values: literals and names in turn. A value is inserted as one encoded segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackUrl(pub Vec<UrlPart>);

/// A part of a [`CallbackUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlPart {
    /// As it stands.
    Text(Box<str>),
    /// The value of this name: a path name of the grant, `key.owner`, `subject`.
    Name(Box<str>),
}

/// `[subjects.NAME]`
#[derive(Debug)]
pub struct Subject {
    /// The table's name.
    pub name: Arc<str>,
    /// How it is asked.
    pub method: Method,
    /// Where it is asked.
    pub url: CallbackUrl,
    /// What is sent.
    pub body: Option<Template>,
    /// Where the answer names the subject (RFC 6901). None: the last path name of the URL is it.
    pub id: Option<Box<str>>,
    /// Name to pointer: what templates may use as `subject.NAME`.
    pub fields: Vec<(Box<str>, Box<str>)>,
    /// Members of the answer that must have this value, or one of these.
    pub require: Vec<(Box<str>, Vec<Value>)>,
    /// Shared with the application.
    pub secret: Option<Secret>,
    /// For one call.
    pub timeout: Duration,
    /// How long an answer is believed; zero: not at all.
    pub cache: Duration,
}

/// Where a realm's standard endpoints are.
#[derive(Debug, Default)]
pub struct Metadata {
    /// Path of the client-credentials grant.
    pub token: Option<Box<str>>,
    /// Path of the revocation grant.
    pub revocation: Option<Box<str>>,
    /// Path of the introspection grant.
    pub introspection: Option<Box<str>>,
    /// Path of the public keys.
    pub jwks: Option<Box<str>>,
    /// Scopes that exist, if the realm lists them.
    pub scopes: Vec<Box<str>>,
}
