//! Rate limits on this node: the generic cell rate algorithm, one atomic per key, in a bounded table. Who is counted,
//! and when, is the gate's business.

mod pace;
mod quota;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::clock::UnixMillis;
use pace::{Pace, State};
pub use quota::Quota;
pub(super) use quota::whole_seconds;

/// Keys that one limit remembers. Beyond that, whoever was silent longest is forgotten.
const MAX_KEYS: u64 = 200_000;

/// A silent key is forgotten after this at the latest, even by a limit whose bucket refills more slowly.
const MAX_IDLE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

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

const MAX_COUNT: u32 = 1_000_000_000;

impl Rate {
    /// Reads `"600/m"`: a count, and `s`, `m`, `h` or `d`.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no rate: write a count and one of s, m, h, d, like \"600/m\"");
        let (count, unit) = text.split_once('/').ok_or_else(fault)?;
        let per = Duration::from_secs(match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(fault()),
        });
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fault());
        }
        match count.parse() {
            Ok(count @ 1..=MAX_COUNT) => Ok(Self { count, per }),
            _ => Err(format!("the count of {text:?} must be 1 to {MAX_COUNT}")),
        }
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

/// A limit with its counters.
pub struct Limiter {
    spec: LimitSpec,
    pace: Pace,
    plans: Vec<(Box<str>, Pace)>,
    counters: Counters,
}

/// When each key will have its whole burst again, in nanoseconds since the epoch. The table holds no ids, only their
/// hashes under a seed that is drawn anew: what is hashed cannot be chosen to collide.
#[derive(Clone)]
struct Counters {
    table: Cache<u64, Arc<AtomicI64>>,
    seed: RandomState,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Limiter {
    /// A limit with empty counters.
    pub fn new(spec: LimitSpec) -> Self {
        let pace = Pace::new(spec.rate, spec.burst);
        let plans: Vec<_> =
            spec.plans.iter().map(|(plan, rate)| (plan.clone(), Pace::new(*rate, spec.burst))).collect();
        let refill = plans.iter().map(|(_, pace)| pace).chain([&pace]).map(|pace| pace.refill()).max();
        // Least recently used, not least frequently: a key that was just counted must never be the one to go.
        let table = Cache::builder()
            .max_capacity(MAX_KEYS)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(refill.unwrap_or_default().saturating_add(pace::CLOCK_TOLERANCE).min(MAX_IDLE))
            .build();
        Self { spec, pace, plans, counters: Counters { table, seed: RandomState::new() } }
    }

    /// What was configured.
    pub fn spec(&self) -> &LimitSpec {
        &self.spec
    }

    /// A limit with this one's specification and `previous`'s counters when the rates are the same: a reload forgives
    /// nobody.
    #[must_use]
    pub fn adopting(mut self, previous: &Self) -> Self {
        let counting = |spec: &LimitSpec| (spec.by, spec.rate, spec.plans.clone(), spec.burst);
        if counting(&self.spec) == counting(&previous.spec) {
            self.counters = previous.counters.clone();
        }
        self
    }

    /// Counts one request, unless the limit refuses it. Of requests that come at once, on any number of threads, no
    /// more than the burst are allowed.
    pub fn take(&self, key: LimitKey<'_>, plan: Option<&str>, now: UnixMillis) -> Quota {
        let pace = self.pace(plan);
        let key = self.counters.hash(key);
        // Asked first, because entering allocates even where there is nothing to enter.
        let counter = self
            .counters
            .table
            .get(&key)
            .unwrap_or_else(|| self.counters.table.get_with(key, || Arc::new(AtomicI64::new(pace::UNUSED))));
        let mut full_at = counter.load(Ordering::Acquire);
        loop {
            let state = pace.state(full_at, now);
            let (next, state) = if state.allowed { state.counted(pace) } else { (state.full_at, state) };
            if next == full_at {
                return self.quota(pace, state);
            }
            match counter.compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.quota(pace, state),
                Err(current) => full_at = current,
            }
        }
    }

    /// The state without counting.
    pub fn peek(&self, key: LimitKey<'_>, plan: Option<&str>, now: UnixMillis) -> Quota {
        let pace = self.pace(plan);
        let counter = self.counters.table.get(&self.counters.hash(key));
        let full_at = counter.map_or(pace::UNUSED, |counter| counter.load(Ordering::Acquire));
        self.quota(pace, pace.state(full_at, now))
    }

    fn pace(&self, plan: Option<&str>) -> &Pace {
        plan.and_then(|plan| self.plans.iter().find(|(name, _)| **name == *plan)).map_or(&self.pace, |(_, pace)| pace)
    }

    fn quota(&self, pace: &Pace, state: State) -> Quota {
        Quota {
            name: self.spec.name.clone(),
            allowed: state.allowed,
            limit: pace.limit,
            remaining: state.remaining,
            reset: state.reset,
            retry_after: state.retry_after,
            headers: self.spec.headers,
        }
    }
}

impl Counters {
    fn hash(&self, key: LimitKey<'_>) -> u64 {
        match key {
            LimitKey::Id { issuer, id } => self.seed.hash_one((0_u8, issuer, id)),
            LimitKey::Address(None) => self.seed.hash_one(1_u8),
            LimitKey::Address(Some(address)) => match address.to_canonical() {
                IpAddr::V4(address) => self.seed.hash_one((4_u8, address.to_bits())),
                // A subscriber has a /64 at least, and may use all of it.
                IpAddr::V6(address) => self.seed.hash_one((6_u8, address.to_bits() >> 64)),
            },
        }
    }
}
