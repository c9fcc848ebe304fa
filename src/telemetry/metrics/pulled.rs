//! Figures that live elsewhere and are asked for when somebody reads the metrics.

use std::sync::Arc;

use prometheus::Registry;

use super::declare::Declare;
use super::tls::TlsMetrics;
use crate::clock::UnixMillis;
use crate::gate::policy::{Realm, Snapshot};
use crate::gate::verify::jwks::{KeySetStatus, RemoteKeySet};

/// What only the parts themselves know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Entries in the cache of verified tokens.
    pub tokens: u64,
    /// Entries in the cache of keys.
    pub keys: u64,
    /// Entries in the cache of texts that are no key.
    pub unknown_keys: u64,
    /// Seconds since the feed was last known to be whole; none without a store.
    pub feed_lag: Option<f64>,
    /// The servers of upstreams.
    pub servers: Vec<ServerFigure>,
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFigure {
    /// The realm.
    pub realm: Arc<str>,
    /// The upstream.
    pub upstream: Arc<str>,
    /// The server, as configured.
    pub server: Box<str>,
    /// Whether requests go there first.
    pub healthy: bool,
}

/// A key set and whose it is.
pub(in crate::telemetry) struct KeySetFigures<'a> {
    pub(super) realm: &'a str,
    pub(super) issuer: &'a str,
    pub(super) status: KeySetStatus,
}

impl<'a> KeySetFigures<'a> {
    /// Of all key sets in `snapshot`.
    pub(in crate::telemetry) fn of(snapshot: &'a Snapshot) -> Vec<Self> {
        let figures = |realm: &'a Realm, issuer: &'a str, set: &RemoteKeySet| Self {
            realm: &realm.name,
            issuer,
            status: set.status(),
        };
        snapshot
            .realms
            .iter()
            .flat_map(|realm| realm.issuers.iter().map(move |issuer| (realm, issuer)))
            .filter_map(|(realm, issuer)| Some(figures(realm, &issuer.name, issuer.keys.remote()?)))
            .collect()
    }
}

/// Metrics whose truth lives elsewhere, as of now.
pub(super) fn pulled(
    key_sets: &[KeySetFigures<'_>],
    figures: &Figures,
    tls: &TlsMetrics,
    now: UnixMillis,
) -> prometheus::Result<Registry> {
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
    let Figures { tokens, keys: stored, unknown_keys, feed_lag, servers } = figures;
    for (cache, count) in [("tokens", tokens), ("keys", stored), ("unknown_keys", unknown_keys)] {
        entries.with_label_values(&[cache]).set(as_float(*count));
    }
    if let Some(lag) = feed_lag {
        let since = declare.float_gauge("feed_lag_seconds", "Since all changes in the store were known here.")?;
        since.set(*lag);
    }
    let healthy = declare.gauges(
        "upstream_healthy",
        "Whether a server of an upstream is well, as far as checks and requests tell.",
        &["realm", "upstream", "server"],
    )?;
    for ServerFigure { realm, upstream, server, healthy: well } in servers {
        healthy.with_label_values(&[&**realm, upstream, server]).set(f64::from(u8::from(*well)));
    }
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
    tls.pulled(&declare)?;
    Ok(registry)
}

fn as_float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
