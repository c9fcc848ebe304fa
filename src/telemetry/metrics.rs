//! Every metric, declared once. Labels come from the configuration and from closed sets only.
//!
//! Handles are resolved when a snapshot is prepared. What cannot be known then (status codes, reasons) comes into being
//! at first sight and is found again without hashing and without a lock.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::redact::Redactor;
use super::{Ending, Outcome};
use crate::clock::UnixMillis;
use crate::gate::outcome::Reason;
use crate::gate::policy::{Realm, Snapshot};
use crate::gate::trail::{Authentication, Trail};
use crate::gate::verify::jwks::RemoteKeySet;
use crate::gate::verify::jwt::KeySource;
use crate::identity::CredentialKind;

/// Label of what is not known: no realm had the host, no route the path.
const NONE: &str = "-";

/// Seconds: from an answer out of memory to a slow upstream.
const REQUEST_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Seconds: from a cached token to waiting for a key set.
const DECISION_BUCKETS: &[f64] =
    &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1.0, 5.0];

/// The process's metrics, in a registry of their own: two gateways in one process do not meet.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// The process's own figures: they keep their well-known names, without our prefix.
    process: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    decision_seconds: HistogramVec,
    upstream_seconds: HistogramVec,
    denials: IntCounterVec,
    authentications: IntCounterVec,
    rate_limited: IntCounterVec,
    token_cache_hits: IntCounter,
    token_cache_misses: IntCounter,
    reloads: IntCounterVec,
    reload_success: IntGauge,
    reload_success_at: Gauge,
    pub(super) access_log_dropped: IntCounter,
}

/// Metric handles of one snapshot, resolved at load: the request path looks nothing up by label text.
#[derive(Debug)]
pub struct SnapshotMetrics {
    realms: Vec<RealmMetrics>,
    unknown: RealmMetrics,
    pub(super) redactor: Redactor,
}

#[derive(Debug)]
struct RealmMetrics {
    name: Arc<str>,
    routes: Vec<RouteMetrics>,
    no_route: RouteMetrics,
    upstreams: Vec<Histogram>,
    authentications: AtSight<(CredentialKind, Option<Arc<str>>, Authentication)>,
    limits: AtSight<Arc<str>>,
}

#[derive(Debug)]
struct RouteMetrics {
    name: Arc<str>,
    requests: AtSight<(u16, Outcome)>,
    denials: AtSight<Reason>,
    request_seconds: Histogram,
    decision_seconds: Histogram,
}

/// The names of a realm that become labels.
pub(super) struct Labels {
    pub(super) realm: Arc<str>,
    pub(super) routes: Vec<Arc<str>>,
    pub(super) upstreams: Vec<Arc<str>>,
}

impl Labels {
    pub(super) fn of(realm: &Realm) -> Self {
        Self {
            realm: Arc::clone(&realm.name),
            routes: realm.routes.iter().map(|route| Arc::clone(&route.name)).collect(),
            upstreams: realm.upstreams.iter().map(|upstream| Arc::clone(&upstream.name)).collect(),
        }
    }
}

/// What served a request, as positions in the snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    pub(super) realm: Option<usize>,
    pub(super) route: Option<usize>,
    pub(super) upstream: Option<usize>,
}

impl Served {
    pub(super) fn of(trail: &Trail) -> Self {
        Self {
            realm: trail.realm.as_ref().map(|realm| realm.index),
            route: trail.route.as_ref().map(|route| route.index),
            upstream: trail.route.as_ref().map(|route| route.upstream.index),
        }
    }
}

impl Metrics {
    pub(super) fn new(started: UnixMillis) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("portcullis".into()), None)?;
        let declare = Declare(&registry);
        let cache = declare.counters("cache_requests_total", "Look-ups in caches.", &["cache", "result"])?;
        let build = declare.counters("build_info", "1, with the version that runs.", &["version"])?;
        let process = Registry::new();
        #[cfg(target_os = "linux")]
        process.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        let metrics = Self {
            requests: declare.counters(
                "requests_total",
                "Requests that ended.",
                &["realm", "route", "code", "outcome"],
            )?,
            request_seconds: declare.histograms(
                "request_duration_seconds",
                "From the first byte of a request to the last of its answer.",
                &["realm", "route"],
                REQUEST_BUCKETS,
            )?,
            decision_seconds: declare.histograms(
                "decision_duration_seconds",
                "What the gate took to decide.",
                &["realm", "route"],
                DECISION_BUCKETS,
            )?,
            upstream_seconds: declare.histograms(
                "upstream_duration_seconds",
                "From the connection to an upstream to the end of its answer.",
                &["realm", "upstream"],
                REQUEST_BUCKETS,
            )?,
            denials: declare.counters("denials_total", "Refused requests.", &["realm", "route", "reason"])?,
            authentications: declare.counters(
                "authentications_total",
                "Credentials judged.",
                &["realm", "credential", "issuer", "result"],
            )?,
            rate_limited: declare.counters(
                "rate_limited_total",
                "Requests refused by a rate limit.",
                &["realm", "limit"],
            )?,
            token_cache_hits: cache.with_label_values(&["tokens", "hit"]),
            token_cache_misses: cache.with_label_values(&["tokens", "miss"]),
            reloads: declare.counters(
                "config_reloads_total",
                "Attempts to load the configuration anew.",
                &["result"],
            )?,
            reload_success: declare.gauge("config_last_reload_success", "Whether the last attempt succeeded.")?,
            reload_success_at: declare.float_gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was loaded.",
            )?,
            access_log_dropped: declare.counter("access_log_dropped_total", "Lines that were not written.")?,
            registry,
            process,
        };
        for result in ["ok", "refused"] {
            metrics.reloads.with_label_values(&[result]);
        }
        metrics.loaded(started);
        Ok(metrics)
    }

    fn loaded(&self, at: UnixMillis) {
        self.reload_success.set(1);
        self.reload_success_at.set(seconds_since_epoch(at));
    }

    pub(super) fn reloaded(&self, at: UnixMillis) {
        self.reloads.with_label_values(&["ok"]).inc();
        self.loaded(at);
    }

    pub(super) fn reload_refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.reload_success.set(0);
    }

    pub(super) fn prepare(&self, realms: Vec<Labels>, redactor: Redactor) -> SnapshotMetrics {
        let unknown = Labels { realm: NONE.into(), routes: Vec::new(), upstreams: Vec::new() };
        SnapshotMetrics {
            realms: realms.into_iter().map(|labels| self.realm(labels)).collect(),
            unknown: self.realm(unknown),
            redactor,
        }
    }

    fn realm(&self, labels: Labels) -> RealmMetrics {
        let Labels { realm, routes, upstreams } = labels;
        let upstream = |name: &Arc<str>| self.upstream_seconds.with_label_values(&[&*realm, &**name]);
        RealmMetrics {
            routes: routes.into_iter().map(|route| self.route(&realm, route)).collect(),
            no_route: self.route(&realm, NONE.into()),
            upstreams: upstreams.iter().map(upstream).collect(),
            authentications: AtSight::default(),
            limits: AtSight::default(),
            name: realm,
        }
    }

    fn route(&self, realm: &str, name: Arc<str>) -> RouteMetrics {
        RouteMetrics {
            requests: AtSight::default(),
            denials: AtSight::default(),
            request_seconds: self.request_seconds.with_label_values(&[realm, &name]),
            decision_seconds: self.decision_seconds.with_label_values(&[realm, &name]),
            name,
        }
    }

    pub(super) fn record(&self, handles: &SnapshotMetrics, served: Served, ending: &Ending<'_>) {
        let trail = ending.trail;
        let realm = served.realm.and_then(|index| handles.realms.get(index)).unwrap_or(&handles.unknown);
        let route = served.route.and_then(|index| realm.routes.get(index)).unwrap_or(&realm.no_route);

        // A status outside HTTP can only come from a broken upstream: it must not make labels.
        let code = if (100..=599).contains(&ending.status) { ending.status } else { 0 };
        route.requests.inc(
            |seen| *seen == (code, ending.outcome),
            || (code, ending.outcome),
            || {
                let labels = [&*realm.name, &*route.name, &code.to_string(), ending.outcome.as_str()];
                self.requests.with_label_values(&labels)
            },
        );
        route.request_seconds.observe(ending.duration.as_secs_f64());
        if trail.decision > Duration::ZERO {
            route.decision_seconds.observe(trail.decision.as_secs_f64());
        }
        if let Some(taken) = ending.upstream
            && let Some(histogram) = served.upstream.and_then(|index| realm.upstreams.get(index))
        {
            histogram.observe(taken.as_secs_f64());
        }
        if let (Outcome::Denied, Some(reason)) = (ending.outcome, trail.reason) {
            let make = || self.denials.with_label_values(&[&*realm.name, &*route.name, reason.as_str()]);
            route.denials.inc(|seen| *seen == reason, || reason, make);
        }
        if let Some(limit) = &trail.limited_by {
            let make = || self.rate_limited.with_label_values(&[&*realm.name, &**limit]);
            realm.limits.inc(|seen| seen == limit, || Arc::clone(limit), make);
        }
        if let (Some(kind), Some(result)) = (trail.credential, trail.authentication) {
            let issuer = trail.issuer.as_ref();
            realm.authentications.inc(
                |(k, i, r)| *k == kind && *r == result && i.as_ref() == issuer,
                || (kind, issuer.cloned(), result),
                || {
                    let issuer = issuer.map_or(NONE, |name| &**name);
                    self.authentications.with_label_values(&[&*realm.name, kind.as_str(), issuer, result.as_str()])
                },
            );
        }
        match trail.token_cache {
            Some(true) => self.token_cache_hits.inc(),
            Some(false) => self.token_cache_misses.inc(),
            None => {}
        }
    }

    /// All metrics as text; what lives elsewhere is asked now.
    pub(super) fn render(&self, key_sets: &[KeySetFigures<'_>], tokens: u64, now: UnixMillis) -> String {
        let mut families = self.registry.gather();
        match pulled(key_sets, tokens, now) {
            Ok(registry) => families.extend(registry.gather()),
            Err(error) => tracing::error!(%error, "figures of caches and key sets are missing in the metrics"),
        }
        families.extend(self.process.gather());
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be rendered");
            String::new()
        })
    }
}

/// A key set and whose it is.
pub(super) struct KeySetFigures<'a> {
    realm: &'a str,
    issuer: &'a str,
    status: crate::gate::verify::jwks::KeySetStatus,
}

impl<'a> KeySetFigures<'a> {
    /// Of all key sets in `snapshot`.
    pub(super) fn of(snapshot: &'a Snapshot) -> Vec<Self> {
        let figures = |realm: &'a Realm, issuer: &'a str, set: &RemoteKeySet| Self {
            realm: &realm.name,
            issuer,
            status: set.status(),
        };
        snapshot
            .realms
            .iter()
            .flat_map(|realm| realm.issuers.iter().map(move |issuer| (realm, issuer)))
            .filter_map(|(realm, issuer)| match &issuer.keys {
                KeySource::Remote(set) => Some(figures(realm, &issuer.name, set)),
                KeySource::Static(_) => None,
            })
            .collect()
    }
}

/// Metrics whose truth lives elsewhere, as of now.
fn pulled(key_sets: &[KeySetFigures<'_>], tokens: u64, now: UnixMillis) -> prometheus::Result<Registry> {
    let registry = Registry::new_custom(Some("portcullis".into()), None)?;
    let declare = Declare(&registry);
    let entries = declare.gauges("cache_entries", "Entries in caches.", &["cache"])?;
    let refreshes = declare.counters("jwks_refresh_total", "Fetches of key sets.", &["realm", "issuer", "result"])?;
    let age = declare.gauges("jwks_age_seconds", "Since the last good fetch of a key set.", &["realm", "issuer"])?;
    let keys = declare.gauges("jwks_keys", "Usable keys of a key set.", &["realm", "issuer"])?;
    let skipped = declare.counters(
        "jwks_keys_skipped_total",
        "Keys of a key set that are not used.",
        &["realm", "issuer", "why"],
    )?;
    entries.with_label_values(&["tokens"]).set(as_float(tokens));
    for KeySetFigures { realm, issuer, status } in key_sets {
        refreshes.with_label_values(&[realm, issuer, "ok"]).inc_by(status.refreshed);
        refreshes.with_label_values(&[realm, issuer, "failed"]).inc_by(status.failed);
        keys.with_label_values(&[realm, issuer]).set(as_float(u64::try_from(status.keys).unwrap_or(u64::MAX)));
        if let Some(at) = status.fetched_at {
            age.with_label_values(&[realm, issuer]).set(now.since(at).as_secs_f64());
        }
        for (why, count) in &status.skipped {
            skipped.with_label_values(&[realm, issuer, why]).inc_by(*count);
        }
    }
    Ok(registry)
}

fn as_float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn seconds_since_epoch(at: UnixMillis) -> f64 {
    at.since(UnixMillis(0)).as_secs_f64()
}

/// Makes metrics and registers them.
struct Declare<'r>(&'r Registry);

impl Declare<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn float_gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }
}

/// Counters that come into being at first sight. Looking one up compares a few small keys: no hashing, no lock, no text.
#[derive(Debug)]
struct AtSight<K>(ArcSwap<Vec<(K, IntCounter)>>);

impl<K> Default for AtSight<K> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Clone> AtSight<K> {
    /// Counts one of what `is` recognises; `key` and `counter` are only asked at first sight. Two threads that see it
    /// first at the same time are handed the same counter by its vector.
    fn inc(&self, is: impl Fn(&K) -> bool, key: impl FnOnce() -> K, counter: impl FnOnce() -> IntCounter) {
        if let Some((_, counter)) = self.0.load().iter().find(|(key, _)| is(key)) {
            return counter.inc();
        }
        let (key, counter) = (key(), counter());
        counter.inc();
        self.0.rcu(|seen| {
            let mut grown = Vec::clone(seen);
            if !grown.iter().any(|(key, _)| is(key)) {
                grown.push((key.clone(), counter.clone()));
            }
            grown
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::request::RequestId;
    use crate::gate::verify::jwks::KeySetStatus;

    const START: UnixMillis = UnixMillis(1_763_682_354_500);

    fn prepared(metrics: &Metrics) -> SnapshotMetrics {
        let shop = Labels { realm: "shop".into(), routes: vec!["/orders".into()], upstreams: vec!["backend".into()] };
        metrics.prepare(vec![shop], Redactor::new([]))
    }

    fn end(metrics: &Metrics, handles: &SnapshotMetrics, served: Served, outcome: Outcome, status: u16, trail: &Trail) {
        let ending = Ending {
            at: START,
            request_id: &RequestId::adopt("r").unwrap(),
            trail,
            outcome,
            status,
            method: "GET",
            path: "/orders",
            server: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::from_millis(3),
            upstream: (outcome == Outcome::Forwarded).then_some(Duration::from_millis(2)),
            http_version: "1.1",
            user_agent: None,
            peer: None,
        };
        metrics.record(handles, served, &ending);
    }

    fn key_set() -> KeySetFigures<'static> {
        let status = KeySetStatus {
            refreshed: 3,
            failed: 1,
            fetched_at: Some(START),
            keys: 2,
            skipped: vec![("kty", 1)],
            last_error: None,
        };
        KeySetFigures { realm: "shop", issuer: "idp", status }
    }

    #[test]
    fn every_metric_of_the_contract_is_exposed_after_a_request() {
        let metrics = Metrics::new(START).unwrap();
        let handles = prepared(&metrics);
        let served = Served { realm: Some(0), route: Some(0), upstream: Some(0) };
        let trail = Trail {
            credential: Some(CredentialKind::Jwt),
            issuer: Some("idp".into()),
            authentication: Some(Authentication::Ok),
            token_cache: Some(true),
            decision: Duration::from_micros(2),
            ..Trail::default()
        };
        end(&metrics, &handles, served, Outcome::Forwarded, 200, &trail);
        let refused = Trail {
            reason: Some(Reason::RateLimited),
            limited_by: Some("per_client".into()),
            token_cache: Some(false),
            ..trail
        };
        end(&metrics, &handles, served, Outcome::Denied, 429, &refused);
        metrics.reload_refused();

        let text = metrics.render(&[key_set()], 7, START.plus(Duration::from_secs(5)));
        for expected in [
            r#"portcullis_requests_total{code="200",outcome="forwarded",realm="shop",route="/orders"} 1"#,
            r#"portcullis_requests_total{code="429",outcome="denied",realm="shop",route="/orders"} 1"#,
            r#"portcullis_request_duration_seconds_count{realm="shop",route="/orders"} 2"#,
            r#"portcullis_decision_duration_seconds_bucket{realm="shop",route="/orders",le="0.0000025"} 2"#,
            r#"portcullis_upstream_duration_seconds_count{realm="shop",upstream="backend"} 1"#,
            r#"portcullis_denials_total{realm="shop",reason="rate_limited",route="/orders"} 1"#,
            r#"portcullis_authentications_total{credential="jwt",issuer="idp",realm="shop",result="ok"} 2"#,
            r#"portcullis_cache_requests_total{cache="tokens",result="hit"} 1"#,
            r#"portcullis_cache_requests_total{cache="tokens",result="miss"} 1"#,
            r#"portcullis_cache_entries{cache="tokens"} 7"#,
            r#"portcullis_jwks_refresh_total{issuer="idp",realm="shop",result="ok"} 3"#,
            r#"portcullis_jwks_refresh_total{issuer="idp",realm="shop",result="failed"} 1"#,
            r#"portcullis_jwks_age_seconds{issuer="idp",realm="shop"} 5"#,
            r#"portcullis_jwks_keys{issuer="idp",realm="shop"} 2"#,
            r#"portcullis_jwks_keys_skipped_total{issuer="idp",realm="shop",why="kty"} 1"#,
            r#"portcullis_rate_limited_total{limit="per_client",realm="shop"} 1"#,
            r#"portcullis_config_reloads_total{result="refused"} 1"#,
            "portcullis_config_last_reload_success 0",
            "portcullis_config_last_reload_success_timestamp_seconds 1763682354.5",
            "portcullis_access_log_dropped_total 0",
            concat!(r#"portcullis_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
            "process_open_fds ",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.lines().any(|line| line.starts_with(expected)), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn requests_that_reached_no_realm_or_route_have_a_label_of_their_own() {
        let metrics = Metrics::new(START).unwrap();
        let handles = prepared(&metrics);
        let trail = Trail { reason: Some(Reason::UnknownHost), ..Trail::default() };
        end(&metrics, &handles, Served::default(), Outcome::Denied, 404, &trail);
        let served = Served { realm: Some(0), ..Served::default() };
        end(&metrics, &handles, served, Outcome::Denied, 404, &Trail::default());
        let beyond = Served { realm: Some(9), route: Some(9), upstream: Some(9) };
        end(&metrics, &handles, beyond, Outcome::Forwarded, 777, &Trail::default());

        let text = metrics.render(&[], 0, START);
        for expected in [
            r#"portcullis_requests_total{code="404",outcome="denied",realm="-",route="-"} 1"#,
            r#"portcullis_requests_total{code="404",outcome="denied",realm="shop",route="-"} 1"#,
            r#"portcullis_requests_total{code="0",outcome="forwarded",realm="-",route="-"} 1"#,
            r#"portcullis_denials_total{realm="-",reason="unknown_host",route="-"} 1"#,
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn two_gateways_in_one_process_count_for_themselves_and_snapshots_count_on() {
        let (one, other) = (Metrics::new(START).unwrap(), Metrics::new(START).unwrap());
        for _ in 0..2 {
            let handles = prepared(&one);
            let served = Served { realm: Some(0), route: Some(0), upstream: None };
            end(&one, &handles, served, Outcome::Denied, 401, &Trail::default());
        }
        let line = r#"portcullis_requests_total{code="401",outcome="denied",realm="shop",route="/orders"} 2"#;
        assert!(one.render(&[], 0, START).contains(line));
        assert!(!other.render(&[], 0, START).contains("portcullis_requests_total{"));
    }

    #[test]
    fn a_good_reload_after_a_refused_one_is_shown_as_good() {
        let metrics = Metrics::new(START).unwrap();
        metrics.reload_refused();
        metrics.reloaded(START.plus(Duration::from_secs(10)));
        let text = metrics.render(&[], 0, START);
        assert!(text.contains("portcullis_config_last_reload_success 1\n"), "{text}");
        assert!(text.contains("portcullis_config_last_reload_success_timestamp_seconds 1763682364.5\n"), "{text}");
    }

    #[test]
    fn a_counter_seen_first_by_many_threads_at_once_loses_nothing() {
        let metrics = Metrics::new(START).unwrap();
        let handles = prepared(&metrics);
        let served = Served { realm: Some(0), route: Some(0), upstream: None };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for code in 200..220 {
                        end(&metrics, &handles, served, Outcome::Forwarded, code, &Trail::default());
                    }
                });
            }
        });
        let text = metrics.render(&[], 0, START);
        let counts = text.lines().filter(|line| line.starts_with("portcullis_requests_total{") && line.ends_with(" 4"));
        assert_eq!(counts.count(), 20, "{text}");
    }
}
