//! `[[routes]]`

use ipnet::IpNet;

use super::{OwnCors, Timeouts};
use crate::config::section::section;
use crate::config::value::measure::Size;
use crate::config::value::word::AuthKind;
use crate::config::value::{Any, Named};
use crate::config::walk::Item;

section! {
    /// `[[routes]]`
    Route {
        /// Unique in the realm; metric label. Where it is left out: the `path`, with the methods before it where routes without a name share it.
        optional name: String;
        /// Literal segments, `{name}` for one whole segment, `**` at the end for zero or more segments. Literal beats `{name}` beats `**`; the path is chosen first, then the method.
        required path: String;
        /// Methods; all where it is left out. TRACE and CONNECT are never served.
        optional methods: Vec<Item<String>>;
        /// Which of the realm's `hosts` have it, as they are written there; all where it is left out. With a wildcard, hosts of `hosts_from` have it, too.
        optional hosts: Vec<Item<String>>;
        /// What is taken as proof, any of `jwt`, `api_key`, `opaque` and `mtls`, the client certificate of the connection, which decides where no other credential is presented; `anonymous` besides them lets requests without a credential pass; `public` alone looks at nothing.
        required auth: Vec<Item<AuthKind>>;
        /// `opaque`: which kind, one of `[tokens.KIND]`.
        optional token: String;
        /// Of whom a JWT may be; all of the realm's where it is left out, and the realm itself: `self`.
        optional issuers: Vec<Item<String>>;
        /// Places of the credential, where they differ from the default: `header:NAME`, `query:NAME`, `cookie:NAME`.
        optional from: Vec<Item<String>>;
        /// All of these are needed. `{name}` is taken from the path; `{access}` is `read` for GET and HEAD, else `write`.
        optional scopes: Vec<Item<String>>;
        /// One of these is needed.
        optional scopes_any: Vec<Item<String>>;
        /// One of these roles is needed.
        optional roles: Vec<Item<String>>;
        /// One of these plans is needed.
        optional plan: Vec<Item<String>>;
        /// Each of these attributes must be equal, or be one of a list: text, integers, booleans, of exactly that type.
        default attributes: Named<Any> = "{}";
        /// Only these addresses.
        optional allow_ips: Vec<Item<IpNet>>;
        /// Only these addresses: a file with a network a line, `#` begins a comment.
        optional allow_ips_file: String;
        /// Never these addresses.
        optional deny_ips: Vec<Item<IpNet>>;
        /// Never these addresses: a file as above.
        optional deny_ips_file: String;
        /// Names of `[limits.NAME]`, all of which apply.
        optional limits: Vec<Item<String>>;
        /// Where requests go: the name of an upstream or a URL; the realm's where it is left out.
        optional upstream: String;
        /// Cut from the front of the path before it is sent on.
        optional strip_prefix: String;
        /// Timeouts that differ from the upstream's.
        optional timeouts: Timeouts;
        /// Largest request body; the server's where it is left out.
        optional max_body: Size;
        /// Lets the upstream see the credential; else every declared place is emptied.
        default forward_credential: bool = "false";
        /// `false`: decided, counted and logged, but not enforced; the realm's where it is left out.
        optional enforce: bool;
        /// Header fields that are set or removed on the way to the upstream; never those that the gateway owns.
        default headers: RouteHeaders = "{}";
        /// Which pages of other origins may read its answers: keys as of the realm's `[cors]`, in whose place it stands; `false`: none.
        optional cors: OwnCors;
    }
}

section! {
    /// Header fields on the way to the upstream.
    RouteHeaders {
        /// Name to value.
        default add: Named<String> = "{}";
        /// Names.
        default remove: Vec<Item<String>> = "[]";
    }
}
