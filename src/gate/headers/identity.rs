//! The headers that tell the upstream who asks: their names, who owns them, their values.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::alias::AliasSet;
use super::assertion::Assertion;
use crate::gate::verify::jwt::ClaimPath;
use crate::identity::{CredentialKind, Principal};

/// The ten default names, in the order of [`Told`]. They are stripped from every request, even when renamed or left out: an
/// application may still listen to them.
pub const DEFAULT_NAMES: [&str; 10] = [
    "x-auth-subject",
    "x-auth-client",
    "x-auth-realm",
    "x-auth-method",
    "x-auth-credential-id",
    "x-auth-issuer",
    "x-auth-scopes",
    "x-auth-roles",
    "x-auth-plan",
    "x-auth-tenant",
];

/// The default name of the assertion, which is stripped just so.
pub const DEFAULT_ASSERTION: &str = "x-auth-assertion";

/// Longest value in bytes: a longer one is left out, for half a list of scopes would be another list.
pub(super) const MAX_VALUE: usize = 4096;

/// What a header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Who.
    Subject,
    /// The same, where a token says it: keys and certificates have no subject besides their client.
    SubjectOfToken,
    /// On whose behalf.
    Client,
    /// The realm.
    Realm,
    /// How it was proven.
    Method,
    /// Id of the credential.
    Credential,
    /// Name of the token's issuer.
    Issuer,
    /// Effective scopes.
    Scopes,
    /// Roles.
    Roles,
    /// Plan.
    Plan,
    /// Tenant.
    Tenant,
    /// An attribute or claim.
    Claim(ClaimPath),
    /// The attribute or claim `email`, unless the claim `email_verified` beside it says that it may be somebody else's.
    Email,
}

impl Told {
    /// What the [`DEFAULT_NAMES`] tell.
    const DEFAULT: [Self; 10] = [
        Self::Subject,
        Self::Client,
        Self::Realm,
        Self::Method,
        Self::Credential,
        Self::Issuer,
        Self::Scopes,
        Self::Roles,
        Self::Plan,
        Self::Tenant,
    ];
}

/// What stands between roles, and between the elements of a list in a claim. Scopes always have a blank (RFC 6749 section
/// 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// One blank.
    #[default]
    Blank,
    /// One comma.
    Comma,
    /// A comma and a blank.
    CommaBlank,
}

impl Join {
    fn as_str(self) -> &'static str {
        match self {
            Self::Blank => " ",
            Self::Comma => ",",
            Self::CommaBlank => ", ",
        }
    }
}

/// Identity headers as configured.
#[derive(Debug)]
pub struct IdentityNames {
    /// What is told, and where.
    pub told: Vec<(Told, HeaderName)>,
    /// How lists look.
    pub join: Join,
    /// Says `true` of a request without a credential on a route that takes such.
    pub anonymous: Option<HeaderName>,
    /// Further names that nobody else may use.
    pub owned: Vec<HeaderName>,
    /// What is signed.
    pub assertion: Option<Assertion>,
}

impl Default for IdentityNames {
    fn default() -> Self {
        let told = Told::DEFAULT.into_iter().zip(DEFAULT_NAMES.map(HeaderName::from_static)).collect();
        Self { told, join: Join::Blank, anonymous: None, owned: Vec::new(), assertion: None }
    }
}

/// A realm's identity headers. Every name left out is still stripped.
#[derive(Debug)]
pub struct IdentityHeaders {
    names: IdentityNames,
    aliases: AliasSet,
}

impl Default for IdentityHeaders {
    /// The default names, nothing extra.
    fn default() -> Self {
        Self::new(IdentityNames::default())
    }
}

impl IdentityHeaders {
    /// `names` as configured.
    pub fn new(names: IdentityNames) -> Self {
        let IdentityNames { told, anonymous, owned, assertion, .. } = &names;
        let assertion = assertion.as_ref().map(Assertion::header);
        let configured = told.iter().map(|(_, name)| name).chain(anonymous).chain(owned).chain(assertion);
        let known = DEFAULT_NAMES.into_iter().chain([DEFAULT_ASSERTION]);
        let aliases = known.chain(configured.map(HeaderName::as_str)).collect();
        Self { names, aliases }
    }

    /// Whether a header called `name` is owned: equal to an owned name after lower-casing and mapping every
    /// non-alphanumeric character to `_`, as CGI and WSGI do.
    pub fn owns(&self, name: &str) -> bool {
        self.aliases.contains(name)
    }

    /// What is signed, where anything is.
    pub fn assertion(&self) -> Option<&Assertion> {
        self.names.assertion.as_ref()
    }

    /// What tells that nobody is known.
    pub(super) fn anonymous(&self) -> Option<&HeaderName> {
        self.names.anonymous.as_ref()
    }

    /// Whether a header called `name` is owned, but never told, or not in this spelling: who sets those that are told does
    /// not replace it.
    pub fn is_never_told(&self, name: &str) -> bool {
        let IdentityNames { told, anonymous, assertion, .. } = &self.names;
        let assertion = assertion.as_ref().map(Assertion::header);
        self.owns(name) && told.iter().map(|(_, own)| own).chain(anonymous).chain(assertion).all(|own| own != name)
    }

    /// The identity headers of `principal`, ready to be set; made once per credential. Each name occurs once; what is
    /// empty, is no text, number, boolean or list of those, or is longer than 4 KiB has no header.
    pub fn prepare(&self, realm: &str, principal: &Principal) -> Box<[(HeaderName, HeaderValue)]> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(self.names.told.len());
        for (told, name) in &self.names.told {
            if headers.iter().all(|(other, _)| other != name)
                && let Some(value) = self.value(told, realm, principal)
            {
                headers.push((name.clone(), value));
            }
        }
        headers.into()
    }

    fn value(&self, told: &Told, realm: &str, principal: &Principal) -> Option<HeaderValue> {
        match told {
            Told::Subject => one(&principal.subject),
            Told::SubjectOfToken => match principal.kind {
                CredentialKind::Jwt | CredentialKind::Opaque => one(&principal.subject),
                CredentialKind::ApiKey | CredentialKind::Mtls => None,
            },
            Told::Client => principal.client.as_deref().and_then(one),
            Told::Realm => one(realm),
            Told::Method => Some(HeaderValue::from_static(principal.kind.as_str())),
            Told::Credential => principal.credential_id.as_deref().and_then(one),
            Told::Issuer => principal.issuer.as_deref().and_then(one),
            Told::Scopes => list(principal.scopes.iter(), Join::Blank),
            Told::Roles => list(principal.roles.iter().map(|role| &**role), self.names.join),
            Told::Plan => principal.plan.as_deref().and_then(one),
            Told::Tenant => principal.tenant.as_deref().and_then(one),
            Told::Claim(path) => path.find(&principal.attributes).and_then(|value| render(value, self.names.join)),
            Told::Email => {
                let email = principal.attributes.get("email").filter(|_| !is_unverified(&principal.attributes));
                email.and_then(|value| render(value, self.names.join))
            }
        }
    }
}

/// OpenID Connect Core section 5.1; some providers write booleans as text.
fn is_unverified(claims: &Map<String, Value>) -> bool {
    let verified = |said: &Value| said == &Value::Bool(true) || said.as_str() == Some("true");
    claims.get("email_verified").is_some_and(|said| !verified(said))
}

fn render(value: &Value, join: Join) -> Option<HeaderValue> {
    match value {
        Value::Array(items) => {
            let texts: Vec<_> = items.iter().map(text).collect::<Option<_>>()?;
            list(texts.iter().map(String::as_str), join)
        }
        // Who splits at what joins splits this as well.
        single => list([text(single)?.as_str()].into_iter(), join),
    }
}

/// A string, number (its JSON text) or boolean; a structure has no single meaning as a header.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn one(text: &str) -> Option<HeaderValue> {
    list([text].into_iter(), Join::Blank)
}

/// Whoever splits at what joins gets the elements: none of them holds it.
fn list<'a>(elements: impl Iterator<Item = &'a str>, join: Join) -> Option<HeaderValue> {
    let mut value = String::new();
    for element in elements.filter(|element| !element.is_empty()) {
        if !value.is_empty() {
            value.push_str(join.as_str());
        }
        encode(element, join, &mut value);
        if value.len() > MAX_VALUE {
            return None;
        }
    }
    // A copy, without the room to grow: there may be very many of these.
    if value.is_empty() { None } else { HeaderValue::from_str(&value).ok() }
}

fn encode(text: &str, join: Join, encoded: &mut String) {
    for byte in text.bytes() {
        match byte {
            b',' if join != Join::Blank => encoded.push_str("%2C"),
            b'!'..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
}
