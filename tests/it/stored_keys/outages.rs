//! The store out of reach (attacks section 6, F-01, F-08): 503, never 401, never allowed beyond what is remembered; what
//! needs no store goes on; and all is well again by itself.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::json;

use super::House;
use crate::support::eventually;
use crate::support::postgres::Postgres;
use crate::support::realms::{api_key, key_prefix};

/// Takes the file of a store away and puts it back: open connections must not go on as if nothing had happened.
struct File {
    here: PathBuf,
    away: PathBuf,
}

impl File {
    fn of(house: &House) -> Self {
        let here = house.directory().join("portcullis.db");
        Self { away: here.with_extension("away"), here }
    }

    fn take_away(&self) {
        fs::rename(&self.here, &self.away).expect("renamed");
    }

    fn put_back(&self) {
        fs::rename(&self.away, &self.here).expect("renamed");
    }
}

fn is_told(house: &House) {
    let ready = house.admin_get("/readyz").is(503).json();
    assert_eq!(ready["ready"], false);
    let store = &ready["store"];
    assert_eq!(store["reachable"], false, "{store}");
    assert!(store["last_error"].is_string(), "{store}");
    assert!(store["feed_lag_seconds"].as_f64().is_some_and(|lag| lag > 1.0), "{store}");
    assert!(house.metric("portcullis_feed_lag_seconds", &[]) > 1.0);
    assert!(house.metric("portcullis_store_errors_total", &[("operation", "feed")]) >= 1.0);
}

fn refuses_stored_keys_with_503(house: &House, key: &str) {
    eventually("what is remembered is too old", || (house.present(key).status == 503).then_some(()));
    house.present(key).denied("store_unavailable");
    house.present(&api_key(&key_prefix())).denied("store_unavailable");
    is_told(house);
    // Nobody else suffers: tokens, declared keys, what is no key by its form.
    house.get("/me/x").bearer(&house.standard.alice().sign()).send().ok();
    house.present(&house.standard.partner_key).ok();
    house.present(&format!("{}short", key_prefix())).denied("key_malformed");
    let refused = house.admin().post("/clients", &json!({ "realm": "api", "identifier": "late" })).is(503);
    assert_eq!(refused.json()["code"], "store_unavailable");
    assert!(refused.header("retry-after").is_some());
}

fn is_well_again(house: &House, key: &str) {
    eventually("the key works again", || (house.present(key).status == 200).then_some(()));
    let store = eventually("the store is within reach again", || {
        let ready = house.admin_get("/readyz");
        (ready.status == 200 && ready.json()["store"]["reachable"] == true).then(|| ready.json()["store"].clone())
    });
    assert_eq!(store["last_error"], json!(null), "{store}");
    house.present(&api_key(&key_prefix())).denied("key_unknown");
}

#[test]
fn a_file_that_is_gone_means_503_beyond_max_staleness_until_it_is_back() {
    let house = House::with(|builder| builder.store_toml("max_staleness = \"1s\""));
    let key = house.key();
    house.present(&key.secret).ok();
    let file = File::of(&house);
    file.take_away();
    refuses_stored_keys_with_503(&house, &key.secret);
    file.put_back();
    is_well_again(&house, &key.secret);
}

#[test]
fn what_is_remembered_is_answered_from_memory_for_max_staleness() {
    let house = House::with(|builder| builder.store_toml("max_staleness = \"1h\""));
    let key = house.key();
    house.present(&key.secret).ok();
    let file = File::of(&house);
    file.take_away();
    // What was not asked for before, nobody knows; what was, is known.
    house.present(&api_key(&key_prefix())).denied("store_unavailable");
    house.present(&key.secret).ok();
    eventually("the outage is noticed", || {
        (house.admin_get("/readyz").json()["store"]["reachable"] == false).then_some(())
    });
    assert_eq!(house.admin_get("/readyz").status, 200, "stored keys are answered for");
    file.put_back();
    is_well_again(&house, &key.secret);
}

#[test]
fn a_postgresql_that_was_killed_means_503_until_it_runs_again() {
    let mut server = Postgres::private();
    let url = server.new_database();
    let house = House::with(|builder| builder.database(&url).store_toml("max_staleness = \"1s\""));
    let key = house.key();
    house.present(&key.secret).ok();
    server.kill();
    refuses_stored_keys_with_503(&house, &key.secret);
    server.restart();
    is_well_again(&house, &key.secret);
}

#[test]
fn a_postgresql_that_does_not_answer_holds_up_nobody_for_long_and_nobody_else() {
    let server = Postgres::private();
    let url = server.new_database();
    let house = House::with(|builder| builder.database(&url).store_toml("max_staleness = \"1h\""));
    let key = house.key();
    house.present(&key.secret).ok();
    server.freeze();
    let watch = Stopwatch::start();
    house.present(&api_key(&key_prefix())).denied("store_unavailable");
    assert!(watch.elapsed() < Duration::from_secs(8), "{:?}", watch.elapsed());
    // What is remembered, what is declared, what is signed: nothing of it waits for the store, which would be 2 s each.
    let watch = Stopwatch::start();
    for _ in 0..10 {
        house.present(&key.secret).ok();
        house.present(&house.standard.partner_key).ok();
        house.get("/me/x").bearer(&house.standard.alice().sign()).send().ok();
    }
    assert!(watch.elapsed() < Duration::from_secs(8), "{:?}", watch.elapsed());
    server.thaw();
    is_well_again(&house, &key.secret);
}
