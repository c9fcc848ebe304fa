//! A server as a member of an upstream: how it fares there, and what is on its way to it. Outlives reloads. The same
//! server may be sick for one upstream and sound for another: they ask different things of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

use super::server::Server;
use crate::clock::UnixMillis;
use crate::gate::policy::Ejection;

/// Not left alone.
const NEVER: i64 = i64::MIN;

/// A server of an upstream.
#[derive(Debug)]
pub(in crate::proxy) struct Member {
    /// Where it is.
    pub(super) server: Arc<Server>,
    pub(super) realm: Arc<str>,
    pub(super) upstream: Arc<str>,
    in_flight: AtomicUsize,
    /// Checks found it sick.
    down: AtomicBool,
    /// Failures since the last good answer, or since it was left alone.
    failures: AtomicU32,
    /// Since when it is left alone, in Unix milliseconds.
    alone: AtomicI64,
}

impl Member {
    pub(super) fn new(server: Arc<Server>, realm: Arc<str>, upstream: Arc<str>) -> Self {
        Self {
            server,
            realm,
            upstream,
            in_flight: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            alone: AtomicI64::new(NEVER),
        }
    }

    /// `host:port` as configured.
    pub(in crate::proxy) fn label(&self) -> &str {
        self.server.label()
    }

    /// Its addresses and their state.
    pub(in crate::proxy) fn server(&self) -> &Server {
        &self.server
    }

    /// Requests that are on their way to it.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether checks, if there are any, find it well.
    pub(super) fn up(&self) -> bool {
        !self.down.load(Ordering::Relaxed)
    }

    /// Takes over what checks found; `cause` of a change is told.
    pub(super) fn turn(&self, up: bool, cause: &str) {
        if self.down.swap(!up, Ordering::Relaxed) != up {
            return;
        }
        let (realm, upstream, server) = (&*self.realm, &*self.upstream, self.label());
        if up {
            tracing::info!(realm, upstream, server, cause, "an upstream server is healthy");
        } else {
            tracing::warn!(realm, upstream, server, cause, "an upstream server is unhealthy and gets no requests");
        }
    }

    /// Whether it is left alone at `now`.
    pub(super) fn is_left_alone(&self, now: UnixMillis, ejection: Option<&Ejection>) -> bool {
        let alone = self.alone.load(Ordering::Relaxed);
        let since = UnixMillis(alone);
        // Requests that began a little earlier look here too; and the clock may be set.
        alone != NEVER && ejection.is_some_and(|ejection| now.since(since).max(since.since(now)) < ejection.period)
    }

    /// It failed a request at `now`.
    pub(in crate::proxy) fn failed(&self, now: UnixMillis, ejection: &Ejection) {
        // What is under way when a server is left alone fails later, and says nothing new.
        if self.is_left_alone(now, Some(ejection)) {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < ejection.failures {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.alone.store(now.0, Ordering::Relaxed);
        let (realm, upstream, server) = (&*self.realm, &*self.upstream, self.label());
        let seconds = ejection.period.as_secs_f64();
        tracing::warn!(realm, upstream, server, failures, seconds, "an upstream server fails and is left alone");
    }

    /// It has answered a request well.
    pub(in crate::proxy) fn succeeded(&self, now: impl FnOnce() -> UnixMillis, ejection: &Ejection) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let alone = self.alone.load(Ordering::Relaxed);
        if alone == NEVER || self.is_left_alone(now(), Some(ejection)) {
            return;
        }
        if self.alone.compare_exchange(alone, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (realm, upstream, server) = (&*self.realm, &*self.upstream, self.label());
            tracing::info!(realm, upstream, server, "an upstream server answers again");
        }
    }
}

/// A request on its way to a server: counted until this is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Flight {
    member: Arc<Member>,
    open: bool,
}

impl Flight {
    /// A request to `member` begins.
    pub(in crate::proxy) fn to(member: &Arc<Member>) -> Self {
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { member: Arc::clone(member), open: true }
    }

    /// Nothing more comes from there. When this is dropped before, the answer counts as broken off.
    pub(in crate::proxy) fn land(&mut self) {
        self.open = false;
    }

    /// Where it goes.
    pub(in crate::proxy) fn member(&self) -> &Member {
        &self.member
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.open {
            self.member.server.shared().broken_off();
        }
    }
}

/// All requests on their way to one upstream. Outlives reloads.
#[derive(Debug, Default)]
pub(super) struct Crowd(AtomicUsize);

impl Crowd {
    /// Lets another request in, unless there are `most` already.
    pub(super) fn enter(self: &Arc<Self>, most: Option<u32>) -> Option<Seat> {
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let more = |count: usize| (count < most).then(|| count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Seat(Arc::clone(self)))
    }
}

/// A request's place in the crowd: given back when this is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Seat(Arc<Crowd>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::policy::ServerAddress;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn member() -> Arc<Member> {
        let address = ServerAddress { host: "10.0.0.1".into(), port: 80 };
        Arc::new(Member::new(Arc::new(Server::new(&address)), "shop".into(), "api".into()))
    }

    fn after_two() -> Ejection {
        Ejection { failures: 2, period: Duration::from_secs(10), statuses: Vec::new() }
    }

    #[test]
    fn failures_in_a_row_leave_a_server_alone_for_a_while() {
        let (member, rule) = (member(), after_two());
        let alone = |at: i64| member.is_left_alone(UnixMillis(at), Some(&rule));
        member.failed(NOW, &rule);
        member.succeeded(|| NOW, &rule);
        member.failed(NOW, &rule);
        assert!(!alone(NOW.0), "a good answer came between");
        member.failed(NOW, &rule);
        assert!(alone(NOW.0) && alone(NOW.0 + 9_999) && !alone(NOW.0 + 10_000));
        assert!(!member.is_left_alone(NOW, None), "the rule is gone");
        // What fails meanwhile makes it no longer.
        member.failed(UnixMillis(NOW.0 + 9_000), &rule);
        member.failed(UnixMillis(NOW.0 + 9_001), &rule);
        assert!(!alone(NOW.0 + 10_000));
        // The next time it takes as many failures again.
        member.failed(UnixMillis(NOW.0 + 10_000), &rule);
        assert!(!alone(NOW.0 + 10_000));
        member.failed(UnixMillis(NOW.0 + 10_001), &rule);
        assert!(alone(NOW.0 + 10_001));
    }

    #[test]
    fn requests_are_counted_until_they_are_dropped() {
        let member = member();
        let flights = [Flight::to(&member), Flight::to(&member)];
        assert_eq!(member.in_flight(), 2);
        drop(flights);
        assert_eq!(member.in_flight(), 0);
    }

    #[test]
    fn no_more_enter_than_may() {
        let crowd = Arc::new(Crowd::default());
        let one = crowd.enter(Some(2)).unwrap();
        let two = crowd.enter(Some(2)).unwrap();
        assert!(crowd.enter(Some(2)).is_none());
        assert!(crowd.enter(None).is_some());
        drop(one);
        assert!(crowd.enter(Some(2)).is_some());
        // A limit that was lowered counts those who are there.
        assert!(crowd.enter(Some(1)).is_none());
        drop(two);
        assert!(crowd.enter(Some(1)).is_some());
    }
}
