//! What has been configured, as the gate uses it: compiled, resolved, immutable. `config` makes these; a reload makes
//! new ones and swaps them whole.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::client_ip::TrustedProxies;
use super::cors::Cors;
use super::credential::Place;
use super::dialect::Dialect;
use super::document::Document;
use super::endpoint::DecisionEndpoint;
use super::headers::IdentityHeaders;
use super::limit::Limiter;
use super::network::NetworkSet;
use super::path::PathRules;
use super::route::{HostTable, OwnedHosts, RouteTable};
pub use super::upstream::{
    Balance, Check, ClientIdentity, Ejection, Probe, Protocol, ServerAddress, Timeouts, Upstream, UpstreamServer,
    UpstreamTls,
};
use super::verify::api_key::{ApiKeyForm, DeclaredKeys};
use super::verify::certificate::DeclaredCertificates;
use super::verify::jwks::RemoteKeySet;
use super::verify::jwt::{ClaimPath, Issuer};
pub use super::verify::{OpaqueForm, OwnTokens};
pub use crate::identity::Roles;
use crate::secret::CredentialDigest;

/// Everything that decides about requests, at one moment. A request loads it once and keeps it to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every reload: what was verified under another generation is verified again.
    pub generation: u64,
    /// The realms; [`Realm::index`] counts in this list.
    pub realms: Vec<Arc<Realm>>,
    /// Which host belongs to which realm (values are indices into `realms`).
    pub hosts: HostTable,
    /// Hosts that owners of the store brought with them: asked after `hosts`.
    pub owned_hosts: Arc<OwnedHosts>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Size limits.
    pub sizes: Sizes,
    /// Tolerance for `iat` and `nbf`.
    pub clock_skew: Duration,
    /// Failed verifications per address; none = off.
    pub failure_limit: Option<Arc<Limiter>>,
    /// Answers to those who reached no realm.
    pub dialect: Arc<Dialect>,
    /// Where other proxies ask; none: nowhere.
    pub decision: Option<DecisionEndpoint>,
}

/// Upper bounds in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Request target (414).
    pub target: usize,
    /// All header fields with their names (431).
    pub headers: usize,
    /// Request body (413), where a route does not say otherwise.
    pub body: u64,
    /// Credential (401).
    pub token: usize,
}

/// One API product behind the gateway.
#[derive(Debug)]
pub struct Realm {
    /// Its name: label, `realm=` of challenges.
    pub name: Arc<str>,
    /// See [`Realm::number_of`].
    pub number: u64,
    /// Position in [`Snapshot::realms`].
    pub index: usize,
    /// How refusals look.
    pub dialect: Arc<Dialect>,
    /// How those of the standards' own endpoints do.
    pub oauth_dialect: Arc<Dialect>,
    /// Relaxations of the path rules.
    pub path_rules: PathRules,
    /// Pattern and method to route (values are indices into `routes`).
    pub table: RouteTable,
    /// The routes; [`Route::index`] counts in this list.
    pub routes: Vec<Arc<Route>>,
    /// Where routes and grants lie that only some of the realm's hosts have; asked before `table`.
    pub host_tables: Vec<(HostTable, RouteTable)>,
    /// Whose JWTs are believed; routes name them by index. The realm itself may be among them.
    pub issuers: Vec<Arc<Issuer>>,
    /// Tokens of the realm's own; none: it issues none.
    pub own: Option<OwnTokens>,
    /// Forms of API keys.
    pub api_keys: Vec<ApiKeyForm>,
    /// Keys declared in the configuration.
    pub declared: DeclaredKeys,
    /// Certificates of the clients of the configuration.
    pub certificates: DeclaredCertificates,
    /// Names of identity headers, and what is stripped.
    pub identity_headers: IdentityHeaders,
    /// Role name to scopes.
    pub roles: Roles,
    /// In a realm that is not enforced: where what no route names goes all the same; not one of `routes`.
    pub unmatched: Option<Arc<Route>>,
    /// Which pages may read refusals that no route stands behind.
    pub cors: Option<Box<Cors>>,
    /// The upstreams that routes point to.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Attribute of owners that holds a host of theirs.
    pub hosts_from: Option<Box<str>>,
    /// What the configuration says besides, for people.
    pub view: RealmView,
}

impl Realm {
    /// Stands for the realm called `name` in tables that outlive reloads, where its position may be another's: the
    /// beginning of the name's SHA-256. Who finds something by it compares the names, too.
    pub fn number_of(name: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *CredentialDigest::of(name.as_bytes()).as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// What the configuration says of a realm, for people: nothing is decided by it, but what administrators may grant.
#[derive(Debug, Default)]
pub struct RealmView {
    /// Hosts as written.
    pub hosts: Vec<String>,
    /// The scopes that exist with their descriptions, if the realm lists them.
    pub scopes: Option<Vec<(String, String)>>,
    /// Declared clients.
    pub clients: Vec<DeclaredClient>,
}

/// A client of the configuration.
#[derive(Debug)]
pub struct DeclaredClient {
    /// Its name; `cfg:NAME` on the admin side.
    pub name: String,
    /// File and line, `realms/shop.toml:12`.
    pub source: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Role names.
    pub roles: Vec<String>,
    /// Plan.
    pub plan: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// Scopes as written; none = not limited.
    pub scopes: Option<Vec<String>>,
    /// Free attributes.
    pub attributes: serde_json::Map<String, Value>,
    /// Networks; empty = every address.
    pub ip_allowlist: Vec<ipnet::IpNet>,
    /// Names of its certificates as written.
    pub certificates: Vec<String>,
    /// Its keys.
    pub keys: Vec<DeclaredKeyView>,
}

/// A key of a [`DeclaredClient`].
#[derive(Debug)]
pub struct DeclaredKeyView {
    /// Its id.
    pub id: String,
    /// File and line.
    pub source: String,
    /// Scopes as written; none = as its client's.
    pub scopes: Option<Vec<String>>,
    /// Refused from then on.
    pub expires: Option<crate::clock::UnixMillis>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Networks; empty = every address.
    pub ip_allowlist: Vec<ipnet::IpNet>,
}

/// One rule: which requests, who may make them, where they go.
#[derive(Debug)]
pub struct Route {
    /// Unique in the realm; metric label.
    pub name: Arc<str>,
    /// Position in [`Realm::routes`].
    pub index: usize,
    /// What the configuration says of it, for people.
    pub view: RouteView,
    /// Whether decisions are carried out; if not, every request goes on as it came.
    pub enforce: bool,
    /// Which credentials are taken.
    pub auth: Auth,
    /// Places where a credential is looked for, and which kinds may stand there.
    pub places: Vec<RoutePlace>,
    /// Indices of the issuers whose JWTs are taken.
    pub issuers: Vec<usize>,
    /// All of these scopes are needed.
    pub scopes: Vec<ScopeTemplate>,
    /// One of these scopes is needed, unless empty.
    pub scopes_any: Vec<ScopeTemplate>,
    /// One of these roles is needed, unless empty.
    pub roles: Vec<Box<str>>,
    /// One of these plans is needed, unless empty.
    pub plans: Vec<Box<str>>,
    /// Each attribute must have one of its values.
    pub attributes: Vec<(ClaimPath, Vec<Value>)>,
    /// Only these addresses, where there is a list.
    pub allow_ips: Option<NetworkSet>,
    /// Never these addresses.
    pub deny_ips: Option<NetworkSet>,
    /// Rate limits, all of which apply.
    pub limits: Vec<Arc<Limiter>>,
    /// Where allowed requests go; none: the request is a grant.
    pub upstream: Option<Arc<Upstream>>,
    /// Which of the realm's grants answers allowed requests; none: they are forwarded.
    pub grant: Option<usize>,
    /// What the gateway answers allowed requests with itself; none: they are forwarded, or ask for a grant.
    pub document: Option<Arc<Document>>,
    /// Whether refusals are those of a standard (RFC 6749 section 5.2), whatever the realm's look like.
    pub standard: bool,
    /// Cut from the front of the path before it is sent on; without a trailing slash.
    pub strip_prefix: Option<Box<str>>,
    /// Timeouts that differ from the upstream's.
    pub timeouts: Timeouts,
    /// Largest request body, in bytes.
    pub max_body: u64,
    /// Whether the upstream sees the credential.
    pub forward_credential: bool,
    /// Header fields set on the way to the upstream.
    pub add_headers: Vec<(HeaderName, HeaderValue)>,
    /// Header fields removed on the way to the upstream.
    pub remove_headers: Vec<HeaderName>,
    /// Which pages of other origins may read its answers; none: that is left to the upstream.
    pub cors: Option<Box<Cors>>,
}

impl Route {
    /// Whether the gateway answers allowed requests itself.
    pub fn is_answered_here(&self) -> bool {
        self.grant.is_some() || self.document.is_some()
    }

    /// Which pages of other origins may read its answers, as far as that holds by now: what is not enforced is left to the
    /// upstream, too.
    pub fn cors_in_force(&self) -> Option<&Cors> {
        self.cors.as_deref().filter(|_| self.enforce)
    }

    /// A route that asks for nothing and leads nowhere: what is made from it says where.
    pub fn open(name: Arc<str>, index: usize) -> Self {
        Self {
            name,
            index,
            view: RouteView::default(),
            enforce: true,
            auth: Auth { public: true, anonymous: false, jwt: false, api_key: false, mtls: false, opaque: None },
            places: Vec::new(),
            issuers: Vec::new(),
            scopes: Vec::new(),
            scopes_any: Vec::new(),
            roles: Vec::new(),
            plans: Vec::new(),
            attributes: Vec::new(),
            allow_ips: None,
            deny_ips: None,
            limits: Vec::new(),
            upstream: None,
            grant: None,
            document: None,
            standard: false,
            strip_prefix: None,
            timeouts: Timeouts::default(),
            max_body: 0,
            forward_credential: false,
            add_headers: Vec::new(),
            remove_headers: Vec::new(),
            cors: None,
        }
    }
}

/// What the configuration says of a route, for people.
#[derive(Debug, Default)]
pub struct RouteView {
    /// The path pattern.
    pub path: String,
    /// Methods; empty = all.
    pub methods: Vec<String>,
    /// `auth` as written.
    pub auth: Vec<String>,
    /// Scopes as written.
    pub scopes: Vec<String>,
    /// Scopes as written, one of which is needed.
    pub scopes_any: Vec<String>,
}

/// Which credentials a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Nothing is looked at; all else is off.
    pub public: bool,
    /// A request without any credential passes.
    pub anonymous: bool,
    /// JWTs.
    pub jwt: bool,
    /// API keys.
    pub api_key: bool,
    /// The client certificate of the connection, where no other credential is presented.
    pub mtls: bool,
    /// The realm's own opaque tokens, of this kind: an index into [`OwnTokens::opaque`].
    pub opaque: Option<usize>,
}

/// A place of a route and what may stand there.
#[derive(Clone, Debug)]
pub struct RoutePlace {
    /// Where.
    pub place: Place,
    /// Whether a JWT may stand there.
    pub jwt: bool,
    /// Which forms of API keys may stand there: indices into [`Realm::api_keys`].
    pub api_keys: Vec<usize>,
    /// Whether an opaque token may stand there.
    pub opaque: bool,
}

/// A required scope; parts of it may come from the path and the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeTemplate(pub Vec<ScopePart>);

/// A part of a [`ScopeTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopePart {
    /// As it stands.
    Text(Box<str>),
    /// The value of the path's n-th `{name}`.
    Param(usize),
    /// `read` for GET and HEAD, `write` otherwise.
    Access,
}

impl ScopeTemplate {
    /// The scope that `method` on a path with these `{name}` values needs.
    pub fn render(&self, params: &[&str], method: &Method) -> String {
        self.pieces(params, method).collect()
    }

    /// The same in `room`, as far as there is enough of it.
    pub(super) fn render_in<'b>(&self, params: &[&str], method: &Method, room: &'b mut [u8]) -> Cow<'b, str> {
        let mut length = 0;
        for piece in self.pieces(params, method) {
            let Some(place) = room.get_mut(length..length + piece.len()) else {
                return Cow::Owned(self.render(params, method));
            };
            place.copy_from_slice(piece.as_bytes());
            length += piece.len();
        }
        match room.get(..length).map(std::str::from_utf8) {
            Some(Ok(scope)) => Cow::Borrowed(scope),
            Some(Err(_)) | None => Cow::Owned(self.render(params, method)),
        }
    }

    fn pieces<'a>(&'a self, params: &'a [&'a str], method: &Method) -> impl Iterator<Item = &'a str> {
        let access = if matches!(*method, Method::GET | Method::HEAD) { "read" } else { "write" };
        self.0.iter().map(move |part| match part {
            ScopePart::Text(text) => text,
            ScopePart::Param(n) => params.get(*n).copied().unwrap_or_default(),
            ScopePart::Access => access,
        })
    }
}

impl Snapshot {
    /// The key sets that are fetched, of all realms.
    pub fn remote_key_sets(&self) -> Vec<Arc<RemoteKeySet>> {
        let issuers = self.realms.iter().flat_map(|realm| &realm.issuers);
        issuers.filter_map(|issuer| issuer.keys.remote().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_same_however_little_room_there_is() {
        let parts =
            [ScopePart::Text("orders:".into()), ScopePart::Param(0), ScopePart::Text(":".into()), ScopePart::Access];
        let template = ScopeTemplate(parts.into());
        for (method, scope) in [(Method::GET, "orders:\u{e9}7:read"), (Method::PUT, "orders:\u{e9}7:write")] {
            assert_eq!(template.render(&["\u{e9}7"], &method), scope);
            for room in 0..24 {
                assert_eq!(template.render_in(&["\u{e9}7"], &method, &mut vec![0; room]), scope, "{room}");
            }
        }
    }
}
