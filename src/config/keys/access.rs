//! API keys, declared clients, limits.

use ipnet::IpNet;

use crate::clock::UnixMillis;
use crate::config::section::section;
use crate::config::value::rate::Rates;
use crate::config::value::secret::DigestSource;
use crate::config::value::{Any, Named};
use crate::config::walk::Item;
use crate::gate::limit::{LimitBy, LimitHeaders};

section! {
    /// `[[api_keys]]`
    ApiKeys {
        /// What the keys start with; none may begin another.
        required prefix: String;
        /// Whether they end with a checksum, as `portcullis key generate` makes it; without one, 8 to 256 visible characters follow the prefix.
        default checksum: bool = "true";
        /// Where they may stand: `header:NAME`, `query:NAME`, `cookie:NAME`. In `Authorization` the scheme Bearer is expected.
        default from: Vec<Item<String>> = r#"["header:authorization", "header:x-api-key", "header:apikey"]"#;
    }
}

section! {
    /// `[clients.NAME]`
    Client {
        /// What the client may do; patterns are understood.
        optional scopes: Vec<Item<String>>;
        /// Roles out of `[roles]`, which add their scopes.
        default roles: Vec<Item<String>> = "[]";
        /// Plan, for routes and limits.
        optional plan: String;
        /// Tenant, for the upstream.
        optional tenant: String;
        /// Attributes, for routes and identity headers.
        default attributes: Named<Any> = "{}";
        /// Addresses that the client may come from; where it is left out, every address.
        optional ip_allowlist: Vec<Item<IpNet>>;
        /// Refuses all keys and certificates of the client.
        default disabled: bool = "false";
        /// What the client's certificates are known by, on routes with `mtls`: exact names `uri:…`, `dns:…`, `email:…`, `cn:…` (of a certificate without alternative names), or `sha256:…`, the fingerprint of one certificate.
        default certificates: Vec<Item<String>> = "[]";
        /// The client's keys.
        default keys: Vec<Item<ClientKey>> = "[]";
    }
}

section! {
    /// A key of a declared client.
    ClientKey {
        /// Names the key in logs; unique in the realm.
        required id: String;
        /// SHA-256 of the whole key: 64 hex digits, or a secret reference to them.
        required sha256: DigestSource;
        /// What the key may do, within what its client may; where it is left out, all of that.
        optional scopes: Vec<Item<String>>;
        /// The key is refused from then on; a time with its offset.
        optional expires: UnixMillis;
        /// Refuses the key.
        default disabled: bool = "false";
        /// Addresses that the key may be used from, within its client's.
        optional ip_allowlist: Vec<Item<IpNet>>;
    }
}

section! {
    /// `[limits.NAME]`
    Limit {
        /// What is counted by: `client`, `key`, `subject` or `address`. A request that lacks it is counted by address.
        required by: LimitBy;
        /// `"600/m"`, or a table from plan to rate; a plan that is not in it gets the lowest.
        required rate: Rates;
        /// How many may come at once; where it is left out, the rate's count.
        optional burst: u32;
        /// Which header fields tell the client: `RateLimit-…`, `X-RateLimit-…`, or both.
        default headers: LimitHeaders = r#""ratelimit""#;
    }
}
