//! Header fields on the way to the upstream: everything that could be mistaken for ours is removed, then ours is set.

use http::{HeaderName, HeaderValue};

use super::outcome::Permit;
use super::request::RequestId;
use crate::identity::Principal;

/// Header fields that can be changed: the proxy's copy for the upstream, or a map in tests.
pub trait HeaderSink {
    /// All distinct names.
    fn names(&self) -> Vec<HeaderName>;
    /// The values of one name, in order.
    fn values(&self, name: &HeaderName) -> Vec<HeaderValue>;
    /// Removes all values of `name`.
    fn remove(&mut self, name: &HeaderName);
    /// Replaces all values of `name` by one.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
}

/// What is known of the connection when headers are written.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// Address of the connection's other end.
    pub peer: Option<std::net::IpAddr>,
    /// `http` or `https`: how the client reached the gateway.
    pub scheme: &'a str,
    /// The host that the client asked for.
    pub host: &'a str,
    /// The request's id.
    pub request_id: &'a RequestId,
}

/// Names of a realm's identity headers. Every name left out is still stripped.
#[derive(Debug, Default)]
pub struct IdentityHeaders {}

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

impl IdentityHeaders {
    /// `names` as configured, `extra`: attribute or claim to header.
    pub fn new(_names: IdentityNames, _extra: Vec<(Box<str>, HeaderName)>) -> Self {
        unimplemented!()
    }

    /// Whether a header called `name` is owned: equal to an owned name after lower-casing and mapping every
    /// non-alphanumeric character to `_`, as CGI and WSGI do.
    pub fn owns(&self, _name: &str) -> bool {
        unimplemented!()
    }

    /// The identity headers of `principal`, ready to be set; made once per credential.
    pub fn prepare(&self, _realm: &str, _principal: &Principal) -> Box<[(HeaderName, HeaderValue)]> {
        unimplemented!()
    }
}

/// Makes the request's header fields what the upstream may see: strips owned names, credentials and (from untrusted
/// peers) forwarding headers, then sets forwarding, request id, identity and the route's own headers.
pub fn apply<H: HeaderSink>(_permit: &Permit, _forwarding: &Forwarding<'_>, _headers: &mut H) {
    unimplemented!()
}
