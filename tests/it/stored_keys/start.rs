//! A store that cannot be opened ends the start; one whose realms were renamed is pointed at.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::json;

use super::House;
use crate::support::gateway::{Builder, Gateway};
use crate::support::process::{Ended, Run};
use crate::support::realms::{HOUSE_SECRET, Standard};
use crate::support::upstream::Upstream;

fn builder(standard: &Standard, upstream: &Upstream) -> Builder {
    Gateway::builder().standard(standard).upstream(upstream)
}

fn served(builder: &Builder, standard: &Standard) -> (Ended, tempfile::TempDir) {
    let directory = builder.write();
    let run = Run::new(["serve"]).config(directory.path()).envs(builder.environment());
    (run.env(HOUSE_SECRET, &standard.secret()).end(), directory)
}

#[test]
fn another_pepper_than_the_stores_ends_the_start_with_2() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let kept = tempfile::TempDir::new().expect("a directory");
    let state = kept.path().to_str().expect("UTF-8");
    drop(builder(&standard, &upstream).env("STATE_DIRECTORY", state).start());
    let other = builder(&standard, &upstream).env("STATE_DIRECTORY", state);
    let other = other.store_toml("pepper = { env = \"STORE_PEPPER\" }").env("STORE_PEPPER", &"x".repeat(32));
    let (ended, _) = served(&other, &standard);
    assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended:?}");
    assert!(ended.err.contains("portcullis: store: ") && ended.err.contains("pepper"), "{}", ended.err);
    assert!(!ended.err.contains("\"serving\""), "{}", ended.err);
}

#[test]
fn a_database_out_of_reach_ends_the_start_with_1_and_hides_its_password() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    // Nobody listens on a port that is held but not listened on; one that was just given back is as good.
    let port = {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        free.local_addr().expect("an address").port()
    };
    let gone = builder(&standard, &upstream).database(&format!("postgres://someone:hunter2@127.0.0.1:{port}/db"));
    let (ended, _) = served(&gone, &standard);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    assert!(ended.err.contains("portcullis: store: "), "{}", ended.err);
    assert!(!ended.err.contains("hunter2"), "{}", ended.err);
}

#[test]
fn rows_of_a_realm_that_is_not_configured_are_pointed_at() {
    let house = House::new();
    house.admin().owner("team_42", &json!({}));
    let renamed = house.standard.toml().replace("realm = \"api\"", "realm = \"shop\"");
    let served = Gateway::builder()
        .realm_toml(&renamed)
        .env(HOUSE_SECRET, &house.standard.secret())
        .upstream(&house.upstream)
        .store_of(&house)
        .serve();
    let line = served.says("store has clients and keys of a realm that is not configured");
    assert_eq!(
        (&line["level"], &line["realm"], &line["clients"]),
        (&json!("WARN"), &json!("api"), &json!(1)),
        "{line}"
    );
    assert!(line["message"].as_str().is_some_and(|text| text.contains("portcullis store rename-realm api")), "{line}");
}

#[test]
fn without_a_store_every_key_but_declared_ones_is_unknown_and_nothing_is_administered() {
    let house = House::with(|builder| builder.store_toml("url = \"none\""));
    house.present(&house.standard.partner_key).ok();
    house.present(&crate::support::realms::api_key(&crate::support::realms::key_prefix())).denied("key_unknown");
    assert_eq!(house.admin_get("/readyz").is(200).json()["store"], json!(null));
    let refused = house.admin_get("/admin/v1/keys").is(404);
    assert!(refused.text().contains("store.url"), "{}", refused.text());
    assert!(!house.directory().join("portcullis.db").exists());
}
