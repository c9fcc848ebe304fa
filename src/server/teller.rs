//! How things stand, for metrics and readiness.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};

use super::Health;
use super::feed::{Feed, State};
use crate::admin::{KeySetState, Readiness, RealmState, Report, StoreState};
use crate::clock::{Clock, Stopwatch};
use crate::gate::policy::Snapshot;
use crate::gate::verify::jwt::KeySource;
use crate::gate::verify::stored::StoredKeys;
use crate::proxy::Gateway;
use crate::proxy::upstream::ServerState;
use crate::telemetry::{Figures, ServerFigure, StoreOperation, Telemetry};

/// Tells the admin side how things stand.
pub(super) struct Teller {
    pub(super) gateway: Arc<Gateway>,
    pub(super) health: Arc<Health>,
    pub(super) keys: Arc<StoredKeys>,
    /// The store's feed, and where the store is.
    pub(super) feed: Option<(Arc<Feed>, String)>,
}

impl Teller {
    fn store(&self) -> Option<StoreState> {
        let (feed, place) = self.feed.as_ref()?;
        let State { lag, fresh, trouble } = feed.state();
        let place = place.clone();
        Some(StoreState { place, usable: fresh, feed_lag: lag, reachable: trouble.is_none(), last_error: trouble })
    }
}

impl Report for Teller {
    fn metrics(&self) -> String {
        let Gateway { gate, live, telemetry, clock, .. } = &*self.gateway;
        let (keys, unknown_keys) = self.keys.cached();
        let feed_lag = self.feed.as_ref().and_then(|(feed, _)| feed.state().lag).map(|lag| lag.as_secs_f64());
        let (live, now) = (live.load(), clock.now());
        let servers = live.upstreams.states(now);
        let figure = |state: &ServerState| ServerFigure {
            realm: Arc::clone(&state.realm),
            upstream: Arc::clone(&state.upstream),
            server: state.server.clone(),
            healthy: state.healthy,
        };
        let servers = servers.iter().map(figure).collect();
        let figures = Figures { tokens: gate.cached_tokens(), keys, unknown_keys, feed_lag, servers };
        telemetry.render(&live.snapshot, &figures, now)
    }

    fn readiness(&self) -> Readiness {
        let live = self.gateway.live.load();
        let Health { serving, attentive, stopping, handed_over: _ } = &*self.health;
        let serves =
            [serving, attentive].iter().all(|yes| yes.load(Ordering::Acquire)) && !stopping.load(Ordering::Acquire);
        let store = self.store();
        let ready = serves && store.as_ref().is_none_or(|store| store.usable);
        let realms = realm_states(&live.snapshot, &*self.gateway.clock);
        Readiness { ready, generation: live.snapshot.generation, store, realms }
    }
}

/// Measures calls of the admin API, from end to end; streams until they begin.
pub(super) fn measured(router: Router, telemetry: Arc<Telemetry>) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let telemetry = Arc::clone(&telemetry);
        async move {
            let counts = request.uri().path().starts_with("/admin/");
            let watch = Stopwatch::start();
            let response = next.run(request).await;
            if counts {
                telemetry.store_asked(StoreOperation::Admin, watch.elapsed(), !response.status().is_server_error());
            }
            response
        }
    }))
}

fn realm_states(snapshot: &Snapshot, clock: &dyn Clock) -> Vec<RealmState> {
    let now = clock.now();
    let mut realms = Vec::with_capacity(snapshot.realms.len());
    for realm in &snapshot.realms {
        let mut key_sets = Vec::new();
        for issuer in &realm.issuers {
            let KeySource::Remote(set) = &issuer.keys else { continue };
            let status = set.status();
            key_sets.push(KeySetState {
                issuer: Arc::clone(&issuer.name),
                usable: set.usable(now),
                keys: status.keys,
                age_secs: status.fetched_at.map(|at| now.since(at).as_secs()),
                last_error: status.last_error,
            });
        }
        realms.push(RealmState { name: Arc::clone(&realm.name), key_sets });
    }
    realms
}
