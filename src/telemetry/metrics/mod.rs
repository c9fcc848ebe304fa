//! Every metric, declared once. Labels come from the configuration and from closed sets only.
//!
//! Handles are resolved when a snapshot is prepared. What cannot be known then (status codes, reasons) comes into being
//! at first sight and is found again without hashing and without a lock.

mod at_sight;
mod connections;
mod declare;
mod pulled;
mod store;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use super::redact::Redactor;
use super::{Ending, Outcome};
use crate::clock::UnixMillis;
use crate::gate::outcome::Reason;
use crate::gate::policy::Realm;
use crate::gate::trail::{Authentication, Trail};
use crate::identity::CredentialKind;
use at_sight::AtSight;
pub(super) use connections::ConnectionMetrics;
pub use connections::TurnedAway;
use declare::Declare;
pub(super) use pulled::KeySetFigures;
use pulled::pulled;
pub use pulled::{Figures, ServerFigure};
use store::StoreMetrics;
pub use store::StoreOperation;
use tls::TlsMetrics;
pub use tls::{HandshakeResult, Handshakes, ShownCertificate};

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
    would_denials: IntCounterVec,
    grants: IntCounterVec,
    refresh_reuse: IntCounterVec,
    authentications: IntCounterVec,
    rate_limited: IntCounterVec,
    token_cache: Lookups,
    key_cache: Lookups,
    unknown_key_cache: Lookups,
    store: StoreMetrics,
    pub(super) tls: TlsMetrics,
    pub(super) connections: ConnectionMetrics,
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

impl SnapshotMetrics {
    /// Whether a credential stands in `text`, as this configuration knows them.
    pub fn is_credential(&self, text: &str) -> bool {
        self.redactor.finds(text)
    }
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
    would_denials: AtSight<Reason>,
    request_seconds: Histogram,
    decision_seconds: Histogram,
}

/// Look-ups in one cache.
#[derive(Debug)]
struct Lookups {
    hits: IntCounter,
    misses: IntCounter,
}

impl Lookups {
    fn of(caches: &IntCounterVec, name: &str) -> Self {
        Self { hits: caches.with_label_values(&[name, "hit"]), misses: caches.with_label_values(&[name, "miss"]) }
    }

    /// None: it was not asked.
    fn record(&self, found: Option<bool>) {
        match found {
            Some(true) => self.hits.inc(),
            Some(false) => self.misses.inc(),
            None => {}
        }
    }
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
            upstream: trail.route.as_ref().and_then(|route| route.upstream.as_ref()).map(|upstream| upstream.index),
        }
    }
}

impl Metrics {
    pub(super) fn new(started: UnixMillis) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("portcullis".into()), None)?;
        let declare = Declare(&registry);
        let cache = declare.counters("cache_requests_total", "Look-ups in caches.", &["cache", "result"])?;
        let build = declare.int_gauges("build_info", "1, with the version that runs.", &["version"])?;
        let process = Registry::new();
        #[cfg(target_os = "linux")]
        process.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
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
            would_denials: declare.counters(
                "would_denials_total",
                "Requests that went on because their route is not enforced, and would have been refused.",
                &["realm", "route", "reason"],
            )?,
            grants: declare.counters("grants_total", "Requests to grants.", &["realm", "grant", "result"])?,
            refresh_reuse: declare.counters(
                "refresh_reuse_detected_total",
                "Sessions that ended because a refresh token was used twice.",
                &["realm"],
            )?,
            authentications: declare.counters(
                "authentications_total",
                "Credentials judged.",
                &["realm", "credential", "issuer", "result"],
            )?,
            rate_limited: declare.counters(
                "rate_limited_total",
                "Requests over a rate limit: refused, or let through where nothing is enforced.",
                &["realm", "limit"],
            )?,
            token_cache: Lookups::of(&cache, "tokens"),
            key_cache: Lookups::of(&cache, "keys"),
            unknown_key_cache: Lookups::of(&cache, "unknown_keys"),
            store: StoreMetrics::new(&declare)?,
            tls: TlsMetrics::new(&declare)?,
            connections: ConnectionMetrics::new(&declare)?,
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

    pub(super) fn store_asked(&self, operation: StoreOperation, taken: Duration, done: bool) {
        self.store.record(operation, taken, done);
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
            would_denials: AtSight::default(),
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
        if let Some((reason, _)) = trail.would_deny {
            let make = || self.would_denials.with_label_values(&[&*realm.name, &*route.name, reason.as_str()]);
            route.would_denials.inc(|seen| *seen == reason, || reason, make);
        }
        if let Some(grant) = trail.route.as_ref().filter(|route| route.grant.is_some() && !trail.preflight) {
            self.granted(&realm.name, &grant.view.path, trail.reason);
        }
        if let Some(limit) = &trail.limited_by {
            let make = || self.rate_limited.with_label_values(&[&*realm.name, &**limit]);
            realm.limits.inc(|seen| seen == limit, || Arc::clone(limit), make);
        }
        if let (Some(kind), Some(result)) = (trail.credential, trail.authentication) {
            let issuer = trail.judged_by();
            realm.authentications.inc(
                |(k, i, r)| *k == kind && *r == result && i.as_ref() == issuer,
                || (kind, issuer.cloned(), result),
                || {
                    let issuer = issuer.map_or(NONE, |name| &**name);
                    self.authentications.with_label_values(&[&*realm.name, kind.as_str(), issuer, result.as_str()])
                },
            );
        }
        self.token_cache.record(trail.token_cache);
        self.key_cache.record(trail.key_cache);
        self.unknown_key_cache.record(trail.unknown_key_cache);
    }

    /// Grants write to the store: looking a counter up is nothing beside that.
    fn granted(&self, realm: &str, path: &str, reason: Option<Reason>) {
        let result = reason.map_or("ok", Reason::as_str);
        self.grants.with_label_values(&[realm, path, result]).inc();
        if reason == Some(Reason::RefreshReused) {
            self.refresh_reuse.with_label_values(&[realm]).inc();
        }
    }

    /// All metrics as text; what lives elsewhere is asked now.
    pub(super) fn render(&self, key_sets: &[KeySetFigures<'_>], figures: &Figures, now: UnixMillis) -> String {
        let mut families = self.registry.gather();
        match pulled(key_sets, figures, &self.tls, now) {
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

fn seconds_since_epoch(at: UnixMillis) -> f64 {
    at.since(UnixMillis(0)).as_secs_f64()
}
