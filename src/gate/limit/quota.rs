//! What a limit tells: to the gate, and in header fields to the client.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::LimitHeaders;

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

static RATELIMIT: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];
static X_RATELIMIT: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

impl Quota {
    /// The header fields as configured: requests in a period, requests left at once, seconds until everything is
    /// available again, rounded up.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let values = [u64::from(self.limit), u64::from(self.remaining), whole_seconds(self.reset)];
        let (plain, x) = match self.headers {
            LimitHeaders::RateLimit => (true, false),
            LimitHeaders::XRateLimit => (false, true),
            LimitHeaders::Both => (true, true),
        };
        let fields = move |wanted: bool, names: &'static [HeaderName; 3]| {
            names
                .iter()
                .zip(values)
                .filter(move |_| wanted)
                .map(|(name, value)| (name.clone(), HeaderValue::from(value)))
        };
        fields(plain, &RATELIMIT).chain(fields(x, &X_RATELIMIT))
    }
}

/// Seconds, rounded up: a client that waits so long does not come too early.
pub(in crate::gate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}
