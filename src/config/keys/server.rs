//! `portcullis.toml`: the process.

use std::time::Duration;

use super::{Realm, Tls};
use crate::config::section::section;
use crate::config::value::Named;
use crate::config::value::address::{Address, Mode, TrustedPeer};
use crate::config::value::measure::Size;
use crate::config::value::rate::RateOrOff;
use crate::config::value::secret::SecretRef;
use crate::config::value::store_url::StoreUrl;
use crate::config::value::word::{LogFormat, LogLevel};
use crate::config::walk::Item;

section! {
    /// The whole of `portcullis.toml`, or of a configuration in a single file.
    Root {
        /// The listeners and what holds for all requests.
        default server: Server = "{}";
        /// Where metrics and health are served.
        default admin: Admin = "{}";
        /// Where other proxies ask about requests that they forward themselves. Without this table they cannot.
        optional decision: Decision;
        /// What is remembered: clients, API keys, the audit trail.
        default store: Store = "{}";
        /// What is logged, and how.
        default log: Log = "{}";
        /// Memory that is spent on answers already found.
        default cache: Cache = "{}";
        /// The realms of a configuration in a single file; in a directory each has a file of its own in `realms/`.
        default realms: Named<Realm> = "{}";
    }
}

section! {
    /// `server`
    Server {
        /// Where requests arrive. Takes effect at start.
        default listen: Vec<Item<Listener>> = r#"[{ address = "0.0.0.0:8080" }]"#;
        /// Threads of the proxy; 0 = one a core. Takes effect at start.
        default threads: u32 = "0";
        /// Peers whose `X-Forwarded-For` and `Forwarded` are believed, and who may send a PROXY header; `"unix"` = whoever may connect to a listener's Unix socket. Empty = nobody.
        default trusted_proxies: Vec<Item<TrustedPeer>> = "[]";
        /// Connections at once, over all listeners; one more is closed at once. As many requests may be on their way to upstreams at once; one more gets 503 `overloaded`. Where it is left out, as many as the process may have descriptors for (three for four of them, the fourth is for upstreams), at most 20000. Takes effect at start.
        optional max_connections: u32;
        /// Connections at once from one address (a /64 for IPv6); trusted proxies are not counted. 0 = no such limit. Takes effect at start.
        default max_connections_per_address: u32 = "0";
        /// Longest request target; beyond it 414.
        default max_target: Size = r#""8KiB""#;
        /// All header fields of a request with their names; beyond it 431.
        default max_headers: Size = r#""32KiB""#;
        /// Largest request body, where a route does not say otherwise; beyond it 413.
        default max_body: Size = r#""10MiB""#;
        /// Longest credential; beyond it 401.
        default max_token: Size = r#""8KiB""#;
        /// A whole request head must arrive within this time, for every request of a connection.
        default header_timeout: Duration = r#""10s""#;
        /// What comes before the first request of a connection must be over within this time: the PROXY header and the TLS handshake. Takes effect at start.
        default handshake_timeout: Duration = r#""10s""#;
        /// A connection without a request is kept for this time.
        default idle_timeout: Duration = r#""75s""#;
        /// After SIGTERM readiness flips, and requests are still accepted for this time.
        default shutdown_delay: Duration = r#""0s""#;
        /// After that, running requests may take this time to end.
        default shutdown_grace: Duration = r#""10s""#;
        /// Socket at which a successor (`serve --upgrade`) waits for the listening sockets of the running process. Its directory must belong to the user of the process and have the mode 0700; where it is missing, it is made. The default is `portcullis-handover/upgrade.sock` in `$RUNTIME_DIRECTORY`, else in `$STATE_DIRECTORY`, else in the working directory. Takes effect at start.
        optional upgrade_socket: String;
        /// How far another clock may be ahead, for `iat` and `nbf`; `exp` has the issuer's `leeway`.
        default clock_skew: Duration = r#""60s""#;
        /// Failed verifications per address (a /64 for IPv6) before 429; a credential already verified is never refused by it.
        default failure_limit: RateOrOff = r#""off""#;
    }
}

section! {
    /// A listener.
    Listener {
        /// IP address and port; `[::]` is every address of the machine, IPv4 as well. Or `unix:` and the path of a socket's file: at most 100 bytes, no blanks.
        required address: Address;
        /// Speaks TLS. Whether it does takes effect at start.
        optional tls: Tls;
        /// Who may connect to a Unix socket: the permissions of its file, `"0660"` where it is left out.
        optional mode: Mode;
        /// Each connection begins with a PROXY header, version 1 or 2, which says whose it is; only peers in `server.trusted_proxies` may connect.
        default proxy_protocol: bool = "false";
        /// Whether HTTP/2 is spoken without TLS with clients that begin with it (prior knowledge); on TLS, ALPN decides. Not for `admin`.
        default http2: bool = "false";
        /// Nothing but the endpoint of `[decision]` is served, and no other listener serves that. Not for `admin`.
        default decision_only: bool = "false";
    }
}

section! {
    /// `admin`
    Admin {
        /// Where `/metrics`, `/livez`, `/readyz` and the admin API are served: a loopback address, a Unix socket, or with TLS any address. Takes effect at start.
        default listen: Listener = r#"{ address = "127.0.0.1:9901" }"#;
    }
}

section! {
    /// `decision`: for `auth_request` of NGINX, forward-auth of Traefik and Caddy, `ext_authz` of Envoy, and their kin.
    Decision {
        /// Path of the endpoint, on all listeners and for every host, or only on those with `decision_only`. Who asks must be in `server.trusted_proxies`.
        default path: String = r#""/_portcullis/decide""#;
    }
}

section! {
    /// `store`. All of it takes effect at start.
    Store {
        /// `sqlite:PATH`: a file, for one machine. `postgres://USER@HOST/DATABASE`: for several; with a password in it, a secret reference. `none`: no stored keys and no admin API. The default is a file in `$STATE_DIRECTORY`, else in the working directory.
        default url: StoreUrl = r#""sqlite:portcullis.db""#;
        /// Keys the digests of API keys: at least 32 bytes, the same on every node. Required with PostgreSQL; with SQLite, where it is left out, it is made together with the file and kept beside it.
        optional pepper: SecretRef;
        /// Encrypts what must be read again: at least 32 bytes, the same on every node. Required with PostgreSQL; with SQLite as above.
        optional seal_key: SecretRef;
        /// Answers may come from memory for so long when the store is out of reach; after that 503. From 1s to 1h.
        default max_staleness: Duration = r#""30s""#;
        /// Name of this node in the audit trail; the machine's name where it is left out.
        optional node: String;
        /// Audit events older than this are removed, at least `"1d"`; where it is left out, they are kept for ever.
        optional audit_retention: Duration;
    }
}

section! {
    /// `log`
    Log {
        /// How log lines look.
        default format: LogFormat = r#""json""#;
        /// Least level of operational messages, on standard error.
        default level: LogLevel = r#""info""#;
        /// Whether each request gets a line, on standard output.
        default access: bool = "true";
    }
}

section! {
    /// `cache`
    Cache {
        /// For verified tokens, by weight; 0 = off. Takes effect at start.
        default tokens: Size = r#""64MiB""#;
        /// For API keys of the store, by weight: one with two scopes takes 2.4 KB. 0 = off. Takes effect at start.
        default keys: Size = r#""256MiB""#;
    }
}
