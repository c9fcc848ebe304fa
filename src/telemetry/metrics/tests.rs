//! What is counted, and under which names.

use super::pulled::KeySetFigures;
use super::*;
use crate::gate::outcome::Reason;
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
        key_cache: Some(true),
        unknown_key_cache: Some(false),
        ..trail
    };
    end(&metrics, &handles, served, Outcome::Denied, 429, &refused);
    metrics.reload_refused();

    metrics.store_asked(StoreOperation::KeyLookup, Duration::from_millis(2), true);
    metrics.store_asked(StoreOperation::Feed, Duration::from_secs(5), false);

    let servers = vec![super::pulled::ServerFigure {
        realm: "shop".into(),
        upstream: "api".into(),
        server: "10.0.0.1:80".into(),
        healthy: true,
    }];
    let figures = Figures { tokens: 7, keys: 3, unknown_keys: 2, feed_lag: Some(0.25), servers };
    let text = metrics.render(&[key_set()], &figures, START.plus(Duration::from_secs(5)));
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
        r#"portcullis_cache_requests_total{cache="keys",result="hit"} 1"#,
        r#"portcullis_cache_requests_total{cache="keys",result="miss"} 0"#,
        r#"portcullis_cache_requests_total{cache="unknown_keys",result="miss"} 1"#,
        r#"portcullis_cache_entries{cache="tokens"} 7"#,
        r#"portcullis_cache_entries{cache="keys"} 3"#,
        r#"portcullis_cache_entries{cache="unknown_keys"} 2"#,
        r#"portcullis_store_duration_seconds_bucket{operation="key_lookup",le="0.0025"} 1"#,
        r#"portcullis_store_errors_total{operation="key_lookup"} 0"#,
        r#"portcullis_store_errors_total{operation="feed"} 1"#,
        "portcullis_feed_lag_seconds 0.25",
        r#"portcullis_jwks_refresh_total{issuer="idp",realm="shop",result="ok"} 3"#,
        r#"portcullis_jwks_refresh_total{issuer="idp",realm="shop",result="failed"} 1"#,
        r#"portcullis_jwks_age_seconds{issuer="idp",realm="shop"} 5"#,
        r#"portcullis_jwks_keys{issuer="idp",realm="shop"} 2"#,
        r#"portcullis_jwks_keys_skipped_total{issuer="idp",realm="shop",why="kty"} 1"#,
        r#"portcullis_upstream_healthy{realm="shop",server="10.0.0.1:80",upstream="api"} 1"#,
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
    // As tools that know Prometheus expect it: what only grows says so in its name, and nothing else does.
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE portcullis_")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
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

    let text = metrics.render(&[], &Figures::default(), START);
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
    assert!(one.render(&[], &Figures::default(), START).contains(line));
    assert!(!other.render(&[], &Figures::default(), START).contains("portcullis_requests_total{"));
}

#[test]
fn a_good_reload_after_a_refused_one_is_shown_as_good() {
    let metrics = Metrics::new(START).unwrap();
    metrics.reload_refused();
    metrics.reloaded(START.plus(Duration::from_secs(10)));
    let text = metrics.render(&[], &Figures::default(), START);
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
    let text = metrics.render(&[], &Figures::default(), START);
    let counts = text.lines().filter(|line| line.starts_with("portcullis_requests_total{") && line.ends_with(" 4"));
    assert_eq!(counts.count(), 20, "{text}");
}
