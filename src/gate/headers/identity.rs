//! The headers that tell the upstream who asks: their names, who owns them, their values.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::alias::AliasSet;
use crate::gate::verify::jwt::ClaimPath;
use crate::identity::Principal;

/// The ten default names, in the order of [`IdentityNames`]. They are stripped from every request, even when renamed or
/// left out: an application may still listen to them.
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

/// Longest value in bytes: a longer one is left out, for half a list of scopes would be another list.
const MAX_VALUE: usize = 4096;

/// The ten identity headers; `None` leaves one out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityNames {
    /// Default `X-Auth-Subject`.
    pub subject: Option<HeaderName>,
    /// Default `X-Auth-Client`.
    pub client: Option<HeaderName>,
    /// Default `X-Auth-Realm`.
    pub realm: Option<HeaderName>,
    /// Default `X-Auth-Method`.
    pub method: Option<HeaderName>,
    /// Default `X-Auth-Credential-Id`.
    pub credential: Option<HeaderName>,
    /// Default `X-Auth-Issuer`.
    pub issuer: Option<HeaderName>,
    /// Default `X-Auth-Scopes`.
    pub scopes: Option<HeaderName>,
    /// Default `X-Auth-Roles`.
    pub roles: Option<HeaderName>,
    /// Default `X-Auth-Plan`.
    pub plan: Option<HeaderName>,
    /// Default `X-Auth-Tenant`.
    pub tenant: Option<HeaderName>,
}

impl Default for IdentityNames {
    fn default() -> Self {
        let [subject, client, realm, method, credential, issuer, scopes, roles, plan, tenant] =
            DEFAULT_NAMES.map(|name| Some(HeaderName::from_static(name)));
        Self { subject, client, realm, method, credential, issuer, scopes, roles, plan, tenant }
    }
}

/// Names of a realm's identity headers. Every name left out is still stripped.
#[derive(Debug)]
pub struct IdentityHeaders {
    names: IdentityNames,
    extra: Vec<(ClaimPath, HeaderName)>,
    /// As they are spelled: the default names, too.
    spelled: Box<[Box<str>]>,
    owned: AliasSet,
}

impl Default for IdentityHeaders {
    /// The default names, nothing extra.
    fn default() -> Self {
        Self::new(IdentityNames::default(), Vec::new())
    }
}

impl IdentityHeaders {
    /// `names` as configured, `extra`: attribute or claim to header.
    pub fn new(names: IdentityNames, extra: Vec<(ClaimPath, HeaderName)>) -> Self {
        let IdentityNames { subject, client, realm, method, credential, issuer, scopes, roles, plan, tenant } = &names;
        let configured = [subject, client, realm, method, credential, issuer, scopes, roles, plan, tenant];
        let spelled: Box<[Box<str>]> = DEFAULT_NAMES
            .into_iter()
            .chain(configured.into_iter().flatten().map(HeaderName::as_str))
            .chain(extra.iter().map(|(_, name)| name.as_str()))
            .map(Box::from)
            .collect();
        let owned = spelled.iter().map(|name| &**name).collect();
        Self { names, extra, spelled, owned }
    }

    /// Whether a header called `name` is owned: equal to an owned name after lower-casing and mapping every
    /// non-alphanumeric character to `_`, as CGI and WSGI do.
    pub fn owns(&self, name: &str) -> bool {
        self.owned.contains(name)
    }

    /// Whether a header called `name` is owned, but spelled in another way: who sets the owned ones does not replace it.
    pub fn is_disguised(&self, name: &str) -> bool {
        self.owns(name) && self.spelled.iter().all(|own| **own != *name)
    }

    /// The identity headers of `principal`, ready to be set; made once per credential. Each name occurs once; what is
    /// empty, is no text, number, boolean or list of those, or is longer than 4 KiB has no header.
    pub fn prepare(&self, realm: &str, principal: &Principal) -> Box<[(HeaderName, HeaderValue)]> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(10 + self.extra.len());
        let mut put = |name: Option<&HeaderName>, value: Option<HeaderValue>| {
            if let (Some(name), Some(value)) = (name, value)
                && headers.iter().all(|(other, _)| other != name)
            {
                headers.push((name.clone(), value));
            }
        };
        let names = &self.names;
        put(names.subject.as_ref(), one(&principal.subject));
        put(names.client.as_ref(), principal.client.as_deref().and_then(one));
        put(names.realm.as_ref(), one(realm));
        put(names.method.as_ref(), Some(HeaderValue::from_static(principal.kind.as_str())));
        put(names.credential.as_ref(), principal.credential_id.as_deref().and_then(one));
        put(names.issuer.as_ref(), principal.issuer.as_deref().and_then(one));
        put(names.scopes.as_ref(), list(principal.scopes.iter()));
        put(names.roles.as_ref(), list(principal.roles.iter().map(|role| &**role)));
        put(names.plan.as_ref(), principal.plan.as_deref().and_then(one));
        put(names.tenant.as_ref(), principal.tenant.as_deref().and_then(one));
        for (path, name) in &self.extra {
            put(Some(name), path.find(&principal.attributes).and_then(render));
        }
        headers.into()
    }
}

fn render(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::Array(items) => {
            let texts: Vec<_> = items.iter().map(text).collect::<Option<_>>()?;
            list(texts.iter().map(String::as_str))
        }
        single => one(&text(single)?),
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
    list([text].into_iter())
}

fn list<'a>(elements: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let mut value = String::new();
    for element in elements.filter(|element| !element.is_empty()) {
        if !value.is_empty() {
            value.push(' ');
        }
        encode(element, &mut value);
        if value.len() > MAX_VALUE {
            return None;
        }
    }
    // A copy, without the room to grow: there may be very many of these.
    if value.is_empty() { None } else { HeaderValue::from_str(&value).ok() }
}

fn encode(text: &str, encoded: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
}
