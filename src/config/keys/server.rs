//! `portcullis.toml`: the process.

use std::time::Duration;

use ipnet::IpNet;

use super::Realm;
use crate::config::section::section;
use crate::config::value::Named;
use crate::config::value::address::Address;
use crate::config::value::measure::Size;
use crate::config::value::rate::RateOrOff;
use crate::config::value::word::{LogFormat, LogLevel};
use crate::config::walk::Item;

section! {
    /// The whole of `portcullis.toml`, or of a configuration in a single file.
    Root {
        /// The listeners and what holds for all requests.
        default server: Server = "{}";
        /// Where metrics and health are served.
        default admin: Admin = "{}";
        /// What is logged, and how.
        default log: Log = "{}";
        /// Memory that is spent on answers already found.
        default cache: Cache = "{}";
        /// The realms of a configuration in a single file; in a directory each has a file of its own in `realms/`.
        default realms: Named<Realm> = "{}";
    }
    later ["store"]
}

section! {
    /// `server`
    Server {
        /// Where requests arrive. Takes effect at start.
        default listen: Vec<Item<Listener>> = r#"[{ address = "0.0.0.0:8080" }]"#;
        /// Threads of the proxy; 0 = one a core. Takes effect at start.
        default threads: u32 = "0";
        /// Peers whose `X-Forwarded-For` and `Forwarded` are believed; empty = nobody.
        default trusted_proxies: Vec<Item<IpNet>> = "[]";
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
        /// A connection without a request is kept for this time.
        default idle_timeout: Duration = r#""75s""#;
        /// After SIGTERM readiness flips, and requests are still accepted for this time.
        default shutdown_delay: Duration = r#""0s""#;
        /// After that, running requests may take this time to end.
        default shutdown_grace: Duration = r#""10s""#;
        /// How far another clock may be ahead, for `iat` and `nbf`; `exp` has the issuer's `leeway`.
        default clock_skew: Duration = r#""60s""#;
        /// Failed verifications per address (a /64 for IPv6) before 429; a credential already verified is never refused by it.
        default failure_limit: RateOrOff = r#""off""#;
    }
}

section! {
    /// A listener.
    Listener {
        /// IP address and port.
        required address: Address;
    }
    later ["tls", "proxy_protocol"]
}

section! {
    /// `admin`
    Admin {
        /// Where `/metrics`, `/livez` and `/readyz` are served; a loopback address. Takes effect at start.
        default listen: Listener = r#"{ address = "127.0.0.1:9901" }"#;
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
        /// For verified tokens, by weight; 0 = off.
        default tokens: Size = r#""64MiB""#;
    }
    later ["keys"]
}
