//! What is written down of keys: their last use, metrics, logs, explanations. Ids, never texts.

use std::fs;
use std::time::Duration;

use portcullis::clock::Clock;
use portcullis::store::{Opening, Store};
use serde_json::{Value, json};

use super::House;
use crate::support::eventually;
use crate::support::process::Run;
use crate::support::realms::{HOUSE_SECRET, api_key, key_prefix};

#[test]
fn the_last_use_of_a_key_is_written_down_with_its_address_and_its_number() {
    let house = House::new();
    let key = house.key();
    let shown = || house.admin().get(format!("/keys/{}", key.id)).is(200).json();
    let fresh = shown();
    assert_eq!((&fresh["last_used_at"], &fresh["use_count"]), (&Value::Null, &json!(0)), "{fresh}");
    for _ in 0..3 {
        house.present(&key.secret).ok();
    }
    house.with_key("/admin/x", &key.secret).send();
    // Due at once the first time, and then once a minute.
    house.pass(Duration::from_secs(61));
    house.present(&key.secret).ok();
    house.pass(Duration::from_secs(61));
    let used = eventually("the uses are written down", || {
        let used = shown();
        (used["use_count"] == 4).then_some(used)
    });
    assert_eq!(used["last_used_at"], "2025-11-20T23:46:55.000Z", "{used}");
    assert_eq!(used["last_used_ip"], "127.0.0.1", "{used}");
    assert_eq!(used["version"], fresh["version"], "a use is no change");
}

#[test]
fn uses_that_are_not_written_yet_are_written_when_the_gateway_stops() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let state = directory.path().to_str().expect("UTF-8").to_owned();
    let stopped = House::with(|builder| builder.env("STATE_DIRECTORY", &state));
    let key = stopped.key();
    for _ in 0..5 {
        stopped.present(&key.secret).ok();
    }
    let settings = stopped.store_settings();
    drop(stopped);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let kept = runtime.block_on(async {
        let store = Store::open(&settings, Opening::Existing, crate::support::NOW).await.expect("the store");
        store.key(&key.id).await.expect("the store").expect("the key")
    });
    assert_eq!(kept.use_count, 5);
}

#[test]
fn metrics_and_access_log_name_a_key_by_its_id_and_never_show_its_text() {
    let house = House::new();
    let key = house.key();
    house.present(&key.secret).ok();
    house.present(&key.secret).ok();
    house.admin().order(format!("/keys/{}/revoke", key.id)).is(200);
    let refused = house.present(&key.secret).denied("key_revoked");
    let unknown = api_key(&key_prefix());
    house.get(&format!("/me/{unknown}")).header("X-API-Key", &unknown).send().denied("key_unknown");
    house.present(&unknown).denied("key_unknown");

    let line = house.line_of(&refused);
    assert_eq!((&line["credential"], &line["credential_id"]), (&json!("api_key"), &json!(key.id)), "{line}");
    house.metric_becomes("portcullis_denials_total", &[("reason", "key_unknown")], 2.0);
    let metrics = house.metrics();
    for secret in [&key.secret, &unknown] {
        let hidden = &secret[key_prefix().len()..];
        assert!(!metrics.contains(hidden) && !house.log().text().contains(hidden));
    }
    assert!(!metrics.contains(&key.id), "ids are many: no labels");

    let cache =
        |cache, result| house.metric("portcullis_cache_requests_total", &[("cache", cache), ("result", result)]);
    assert!(cache("keys", "hit") >= 1.0 && cache("keys", "miss") >= 1.0, "{metrics}");
    assert!(cache("unknown_keys", "hit") >= 1.0 && cache("unknown_keys", "miss") >= 1.0, "{metrics}");
    assert!(house.metric("portcullis_store_duration_seconds_count", &[("operation", "key_lookup")]) >= 2.0);
    assert!(house.metric("portcullis_store_duration_seconds_count", &[("operation", "admin")]) >= 3.0);
    house.metric_becomes("portcullis_store_errors_total", &[], 0.0);
    assert!(house.metric("portcullis_feed_lag_seconds", &[]) < 5.0);
}

#[test]
fn a_question_is_answered_as_a_request_would_be_and_leaves_nothing_behind() {
    let house = House::new();
    let key = house.key();
    let question = json!({ "url": "http://api.test/limited/x", "headers": { "X-API-Key": key.secret } });
    for _ in 0..10 {
        let verdict = house.admin().post("/explain", &question).is(200).json();
        assert_eq!((&verdict["allowed"], &verdict["route"]), (&json!(true), &json!("limited")), "{verdict}");
        assert_eq!(verdict["identity_headers"]["x-auth-credential-id"], key.id, "{verdict}");
        assert!(!verdict.to_string().contains(&key.secret));
    }
    for _ in 0..3 {
        house.with_key("/limited/x", &key.secret).send().ok();
    }
    house.with_key("/limited/x", &key.secret).send().denied("rate_limited");

    house.admin().order(format!("/keys/{}/revoke", key.id)).is(200);
    let verdict = house.admin().post("/explain", &question).is(200).json();
    assert_eq!((&verdict["status"], &verdict["reason"]), (&json!(401), &json!("key_revoked")), "{verdict}");
}

#[test]
fn why_a_request_was_refused_can_be_asked_by_its_id() {
    let house = House::new();
    let key = house.key();
    house.admin().order(format!("/keys/{}/disable", key.id)).is(200);
    let refused = house.present(&key.secret).denied("key_disabled");
    let asked = json!({ "request_id": refused.request_id() });
    let told = eventually("the refusal is remembered", || {
        let told = house.admin().post("/explain", &asked);
        (told.status == 200).then(|| told.json())
    });
    assert_eq!(
        (&told["reason"], &told["realm"], &told["route"]),
        (&json!("key_disabled"), &json!("api"), &json!("me"))
    );

    let fine = house.get("/public/x").send().ok();
    house.admin().post("/explain", &json!({ "request_id": fine.request_id() })).is(404);
}

#[test]
fn the_command_line_explains_a_stored_key_beside_the_running_gateway() {
    let house = House::new();
    let key = house.key();
    let explain = |key: &str| {
        let at = house.clock.now().to_string();
        let arguments = ["explain", "GET", "http://api.test/me/x", "-H", "@-", "--json", "--at", &at];
        let run = Run::new(arguments).config(house.directory()).env(HOUSE_SECRET, &house.standard.secret());
        let ended = run.input(format!("X-API-Key: {key}\n")).end();
        assert!(!ended.out.contains(key) && !ended.err.contains(key), "{ended:?}");
        (ended.code, serde_json::from_str::<Value>(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}")))
    };
    let (code, verdict) = explain(&key.secret);
    assert_eq!((code, &verdict["identity_headers"]["x-auth-credential-id"]), (0, &json!(key.id)), "{verdict}");
    house.admin().order(format!("/keys/{}/revoke", key.id)).is(200);
    let (code, verdict) = explain(&key.secret);
    assert_eq!((code, &verdict["reason"]), (1, &json!("key_revoked")), "{verdict}");

    fs::write(house.directory().join("portcullis.db.pepper"), "another pepper, of 32 bytes at least").expect("written");
    let (code, verdict) = explain(&key.secret);
    assert_eq!((code, &verdict["reason"]), (1, &json!("store_unavailable")), "{verdict}");
    let told = verdict["steps"].as_array().expect("steps").iter().find(|step| step["step"] == "store");
    assert!(told.is_some_and(|step| step["saw"].as_str().is_some_and(|saw| saw.contains("pepper"))), "{verdict}");
}
