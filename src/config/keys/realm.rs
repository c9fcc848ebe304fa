//! A realm: hosts, upstreams, identity headers, errors. Its longer tables have files of their own.

use std::time::Duration;

use super::{ApiKeys, Assertion, Client, Cors, Directory, Grant, Issuer, Limit, Route, Subject, Tokens, Upstream};
use crate::config::section::section;
use crate::config::value::issuing::GrantType;
use crate::config::value::word::Profile;
use crate::config::value::{Any, Named};
use crate::config::walk::{Item, Key, Kind, Shape, Slot, Value, Walk};
use crate::tokens::policy::Timestamps;

section! {
    /// A realm.
    Realm {
        /// The realm's name: a label, and `realm=` in challenges. It opens a file in `realms/`; in a single file the table's name serves.
        optional realm: String;
        /// Whose requests these are: exact names, `"*.example.com"` (one label), `"*"` (one realm at most). Exact beats wildcard; letter case, port and one trailing dot do not count.
        required hosts: Vec<Item<String>>;
        /// Attribute of stored owners that holds a host of theirs, as `"owner.ATTRIBUTE"`: a custom domain, of the same rank as a wildcard of `hosts`.
        optional hosts_from: String;
        /// Where requests go whose route does not say: the name of an upstream, or `http://host:port`, `https://host`.
        optional upstream: String;
        /// `false` is shadow mode: everything is decided, counted (`portcullis_would_denials_total`) and logged (`would_deny`), but every request goes on as it came, its credential untouched, without identity headers. Path and framing rules bind even so, and grants are served.
        default enforce: bool = "true";
        /// Leaves `%2F` in a path as it is instead of refusing it.
        default allow_encoded_slash: bool = "false";
        /// Leaves `;` in a path as it is instead of refusing it.
        default allow_path_parameters: bool = "false";
        /// Where requests can go.
        default upstreams: Named<Upstream> = "{}";
        /// Whose JWTs are believed.
        default issuers: Vec<Item<Issuer>> = "[]";
        /// What API keys look like.
        default api_keys: Vec<Item<ApiKeys>> = "[]";
        /// Clients that are kept in the configuration, with the digests of their keys and the names of their certificates.
        default clients: Named<Client> = "{}";
        /// Role to scopes; `*` stands for every scope, a segment `*` for any segment.
        default roles: Named<Vec<Item<String>>> = "{}";
        /// Scope to description. Where this table stands, a scope that is not in it is an error.
        optional scopes: Named<String>;
        /// Which requests there are, who may make them, where they go. What neither a route nor a grant names is refused.
        optional routes: Vec<Item<Route>>;
        /// What tokens the realm issues itself.
        optional tokens: Tokens;
        /// Where users and clients come from that sign in.
        optional directory: Directory;
        /// Requests that the gateway answers itself: they turn a credential into tokens, or end these.
        default grants: Vec<Item<Grant>> = "[]";
        /// How the application is asked about those whom `delegate` makes tokens for.
        default subjects: Named<Subject> = "{}";
        /// Bodies of good answers of grants: templates, named by `response`.
        default responses: Named<Any> = "{}";
        /// How times look in answers: `2024-01-15T10:30:00Z`, the same with milliseconds, or seconds since 1970.
        default timestamps: Timestamps = r#""rfc3339""#;
        /// Grants that are free of the address lists of clients and keys, by their type.
        default ip_allowlist_exempt: Vec<Item<GrantType>> = "[]";
        /// Rate limits, counted on this node.
        default limits: Named<Limit> = "{}";
        /// Which pages of other origins may read answers (CORS), of routes and grants that do not say it for themselves. A full preflight for such a route is answered by the gateway, before authentication; on all others the upstream's own words count. What is not enforced is left to the upstream, too.
        optional cors: Cors;
        /// Header fields that tell the upstream who asks. `""` leaves one out; the default names are stripped from requests in any case.
        default identity_headers: IdentityHeaders = "{}";
        /// How refusals look, where they are not to be problem details (RFC 9457).
        default errors: Errors = "{}";
    }
    later ["store"]
}

section! {
    /// How long is waited on a route.
    Timeouts {
        /// For a connection, TLS included.
        optional connect: Duration;
        /// Between two reads.
        optional read: Duration;
        /// Between two writes. A client's body may pause as long, and take as long with a second more for every 500 bytes.
        optional write: Duration;
        /// An unused connection is kept.
        optional idle: Duration;
        /// A WebSocket through which nothing passes is kept.
        optional tunnel: Duration;
    }
}

section! {
    /// `[identity_headers]`
    IdentityHeaders {
        /// Names that upstreams of another gateway know, as defaults of all keys here: `"kong"`, `"oauth2-proxy"`. Keys that stand beside it win. See docs/identity-headers.md.
        optional profile: Profile;
        /// Subject of the token, or the client of the key or certificate.
        default subject: String = r#""X-Auth-Subject""#;
        /// The client on whose behalf the request comes.
        default client: String = r#""X-Auth-Client""#;
        /// The realm.
        default realm: String = r#""X-Auth-Realm""#;
        /// `jwt`, `api_key`, `opaque` or `mtls`.
        default method: String = r#""X-Auth-Method""#;
        /// Id of the key or of the opaque token, `jti` of the JWT, or SHA-256 of the certificate.
        default credential: String = r#""X-Auth-Credential-Id""#;
        /// Name of the token's issuer; `self` for tokens of the realm's own.
        default issuer: String = r#""X-Auth-Issuer""#;
        /// Effective scopes.
        default scopes: String = r#""X-Auth-Scopes""#;
        /// Roles.
        default roles: String = r#""X-Auth-Roles""#;
        /// Plan.
        default plan: String = r#""X-Auth-Plan""#;
        /// Tenant.
        default tenant: String = r#""X-Auth-Tenant""#;
        /// Further attributes or claims: name to header.
        default extra: Named<String> = "{}";
        /// A signed JWT that the upstream can verify.
        optional assertion: Assertion;
    }
}

section! {
    /// `[errors]`
    Errors {
        /// Body of a refusal: a template. Free words in it, such as `$name`, become keys that the entries below may set.
        optional body: Any;
        /// Entries by HTTP status: `[errors.status.401]`.
        default status: Named<Entry> = "{}";
        /// Entries by reason, which serve the reasons below them too: `[errors.on.token_expired]`.
        default on: Named<Entry> = "{}";
    }
}

section! {
    /// The known keys of an entry.
    EntryKeys {
        /// HTTP status.
        optional status: u32;
        /// Value of `$code`.
        optional code: String;
        /// Value of `$message`.
        optional message: String;
        /// Further header fields.
        default headers: Named<String> = "{}";
        /// Body for this entry only: a template.
        optional body: Any;
    }
}

/// An entry of `[errors]`: its known keys, and the free words of the body.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The known keys.
    pub(crate) keys: EntryKeys,
    /// The others; whether the body has such words is for the compiler to say.
    pub(crate) words: Vec<(String, Slot<Any>)>,
}

impl Shape for Entry {
    fn kind() -> Kind {
        EntryKeys::kind().open(Key {
            name: "WORD",
            required: false,
            default: None,
            kind: Any::kind(),
            doc: String::from("Value of a free word of the body."),
        })
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let table = walk.table(value)?;
        let span = || value.span();
        let keys = EntryKeys {
            status: walk.optional(table, span(), "status"),
            code: walk.optional(table, span(), "code"),
            message: walk.optional(table, span(), "message"),
            headers: walk.default(table, span(), "headers", "{}"),
            body: walk.optional(table, span(), "body"),
        };
        let words = table
            .keys()
            .map(|name| &**name.get_ref())
            .filter(|name| !Self::KNOWN.contains(name))
            .map(|name| (name.to_owned(), walk.optional(table, span(), name)))
            .collect();
        Some(Self { keys, words })
    }
}

impl Entry {
    /// The keys that are not words.
    pub(crate) const KNOWN: &'static [&'static str] = &["status", "code", "message", "headers", "body"];
}
