//! Rate limits on this node: the generic cell rate algorithm, one atomic per key, in a bounded table.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitBy {
    /// The client.
    Client,
    /// The key or token id.
    Key,
    /// The subject.
    Subject,
    /// The address (/64 for IPv6).
    Address,
}

/// So many requests in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how long; not zero.
    pub per: Duration,
}

impl Rate {
    /// Reads `"600/m"`: a count, and `s`, `m`, `h` or `d`.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }
}

/// Which header fields tell the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHeaders {
    /// `RateLimit-Limit`, `-Remaining`, `-Reset`.
    #[default]
    RateLimit,
    /// `X-RateLimit-…`.
    XRateLimit,
    /// Both.
    Both,
}

/// What a limit is configured to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    /// Name: metric label.
    pub name: Arc<str>,
    /// What it counts by.
    pub by: LimitBy,
    /// The rate for everybody, or the lowest of the plans for those whose plan is not listed.
    pub rate: Rate,
    /// Rates by plan.
    pub plans: Vec<(Box<str>, Rate)>,
    /// How many may come at once; none = the rate's count.
    pub burst: Option<u32>,
    /// Which header fields tell.
    pub headers: LimitHeaders,
}

/// What a request is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKey<'a> {
    /// A client, key or subject, as its issuer knows it.
    Id {
        /// The issuer's name; none for keys.
        issuer: Option<&'a str>,
        /// The id.
        id: &'a str,
    },
    /// An address; none = all requests without a known address together.
    Address(Option<IpAddr>),
}

/// State of a limit after (or at) a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The limit's name.
    pub name: Arc<str>,
    /// Whether the request is within the limit.
    pub allowed: bool,
    /// Requests in a period.
    pub limit: u32,
    /// Requests left at once.
    pub remaining: u32,
    /// Until everything is available again.
    pub reset: Duration,
    /// Until the next request is within the limit; zero when it is.
    pub retry_after: Duration,
    /// Which header fields tell.
    pub headers: LimitHeaders,
}

/// A limit with its counters.
#[derive(Debug)]
pub struct Limiter {}

impl Limiter {
    /// A limit with empty counters.
    pub fn new(_spec: LimitSpec) -> Self {
        unimplemented!()
    }

    /// What was configured.
    pub fn spec(&self) -> &LimitSpec {
        unimplemented!()
    }

    /// A limit with this one's specification and `previous`'s counters when the rates are the same: a reload forgives nobody.
    #[must_use]
    pub fn adopting(self, _previous: &Self) -> Self {
        unimplemented!()
    }

    /// Counts one request, unless the limit refuses it.
    pub fn take(&self, _key: LimitKey<'_>, _plan: Option<&str>, _now: UnixMillis) -> Quota {
        unimplemented!()
    }

    /// The state without counting.
    pub fn peek(&self, _key: LimitKey<'_>, _plan: Option<&str>, _now: UnixMillis) -> Quota {
        unimplemented!()
    }
}
