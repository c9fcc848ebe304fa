//! What is done to a key or its owner holds for the very next request to the node where it was done, and for a key whose
//! owner was read a moment ago, too.

use std::time::Duration;

use serde_json::json;

use super::House;
use crate::support::administrator::Made;
use crate::support::realms::{api_key, key_prefix};

#[test]
fn a_new_key_works_at_once_and_the_upstream_is_told_whose_it_is() {
    let house = House::new();
    let owner = house.admin().owner(
        "team_42",
        &json!({ "scopes": ["campaigns:*"], "plan": "Growth", "tenant": "acme", "attributes": { "seats": 12 } }),
    );
    let key = house.admin().key(&owner, &json!({ "scopes": ["campaigns:read", "links:read"] }));
    assert!(key.id.starts_with("key_"), "{}", key.id);
    assert!(key.secret.starts_with(&key_prefix()));

    house.with_key("/campaigns/7", &key.secret).send().ok();
    let seen = house.upstream.last();
    for (name, value) in [
        ("x-auth-subject", "team_42"),
        ("x-auth-client", "team_42"),
        ("x-auth-method", "api_key"),
        ("x-auth-credential-id", key.id.as_str()),
        ("x-auth-scopes", "campaigns:read"),
        ("x-auth-plan", "Growth"),
        ("x-auth-tenant", "acme"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.header("x-api-key"), None, "the key ends here");

    house.gw.call("POST", "/campaigns/7").header("X-API-Key", &key.secret).send().denied("insufficient_scope");
    house.gw.get("/me/x").bearer(&key.secret).send().ok();
}

#[test]
fn a_text_that_was_refused_a_moment_ago_works_as_soon_as_it_is_a_key() {
    let house = House::new();
    let owner = house.admin().owner("team_42", &json!({}));
    let text = api_key(&key_prefix());
    for _ in 0..3 {
        house.present(&text).denied("key_unknown");
    }
    let batch = json!({ "realm": "api", "owner_id": owner, "keys": [{ "key": text, "name": "from elsewhere" }] });
    let imported = house.admin().post("/keys/import", &batch).is(200).json();
    assert_eq!((&imported["added"], &imported["known"]), (&json!(1), &json!(0)), "{imported}");
    house.present(&text).ok();
}

#[test]
fn a_revoked_key_is_refused_by_the_very_next_request_and_for_ever() {
    let house = House::new();
    let key = house.key();
    for _ in 0..3 {
        house.present(&key.secret).ok();
    }
    let answer = house.admin().post(format!("/keys/{}/revoke", key.id), &json!({ "reason": "leaked" })).is(200).json();
    house.present(&key.secret).denied("key_revoked");
    assert_eq!(answer["effective"]["this_node"], "now", "{answer}");
    assert_eq!(answer["effective"]["other_nodes_within_ms"], 30_000, "the bound, not only the hope: {answer}");

    house.admin().order(format!("/keys/{}/enable", key.id)).is(409);
    house.present(&key.secret).denied("key_revoked");
}

#[test]
fn a_key_can_be_switched_off_and_on_again() {
    let house = House::new();
    let key = house.key();
    for _ in 0..2 {
        house.present(&key.secret).ok();
        house.admin().order(format!("/keys/{}/disable", key.id)).is(200);
        house.present(&key.secret).denied("key_disabled");
        house.admin().order(format!("/keys/{}/enable", key.id)).is(200);
    }
    house.present(&key.secret).ok();
}

#[test]
fn an_owner_who_is_switched_off_takes_every_key_along() {
    let house = House::new();
    let owner = house.admin().owner("team_42", &json!({}));
    let keys: Vec<_> = (0..3).map(|_| house.admin().key(&owner, &json!({}))).collect();
    let other = house.admin().owner("team_43", &json!({}));
    let other = house.admin().key(&other, &json!({}));
    for key in &keys {
        house.present(&key.secret).ok();
    }
    house.admin().order(format!("/clients/{owner}/disable")).is(200);
    for key in &keys {
        house.present(&key.secret).denied("key_disabled");
    }
    house.present(&other.secret).ok();
    house.admin().order(format!("/clients/{owner}/enable")).is(200);
    for key in &keys {
        house.present(&key.secret).ok();
    }
    house.admin().delete(format!("/clients/{owner}"));
    for key in &keys {
        assert_eq!(house.present(&key.secret).status, 401);
    }
}

#[test]
fn scopes_that_are_taken_away_are_gone_with_the_next_request() {
    let house = House::new();
    let owner = house.admin().owner("team_42", &json!({ "scopes": ["campaigns:*"] }));
    let key = house.admin().key(&owner, &json!({}));
    let write = || house.gw.call("POST", "/campaigns/7").header("X-API-Key", &key.secret).send();
    write().ok();
    house.admin().patch(format!("/keys/{}", key.id), &json!({ "scopes": ["campaigns:read"] })).is(200);
    write().denied("insufficient_scope");
    house.admin().patch(format!("/keys/{}", key.id), &json!({ "scopes": null })).is(200);
    write().ok();
    house.admin().patch(format!("/clients/{owner}"), &json!({ "scopes": ["links:read"] })).is(200);
    write().denied("insufficient_scope");
}

#[test]
fn an_address_list_holds_for_the_next_request_and_only_for_a_good_key() {
    let house = House::new();
    let owner = house.admin().owner("team_42", &json!({}));
    let key = house.admin().key(&owner, &json!({}));
    let from = |address: &str, key: &str| house.gw.caller().from(address).get("/me/x").header("X-API-Key", key).send();
    from("127.0.0.1", &key.secret).ok();
    let list = format!("/keys/{}/ip-allowlist", key.id);
    house.admin().post(&list, &json!({ "network": "127.0.0.2/32" })).is(201);
    from("127.0.0.1", &key.secret).denied("ip_denied");
    from("127.0.0.2", &key.secret).ok();
    from("127.0.0.1", &api_key(&key_prefix())).denied("key_unknown");

    house.admin().post(format!("/clients/{owner}/ip-allowlist"), &json!({ "network": "127.0.0.3" })).is(201);
    from("127.0.0.2", &key.secret).denied("ip_denied");
    house.admin().delete(format!("{list}/127.0.0.2%2F32")).is(409);
    house.admin().delete(format!("{list}/127.0.0.2%2F32?confirm=open"));
    from("127.0.0.3", &key.secret).ok();
    from("127.0.0.2", &key.secret).denied("ip_denied");
}

#[test]
fn after_a_rotation_both_texts_work_until_the_old_one_ends() {
    let house = House::new();
    let key = house.key();
    house.present(&key.secret).ok();
    let rotate = |overlap: u64| {
        let asked = json!({ "overlap_seconds": overlap });
        Made::of(&house.admin().post(format!("/keys/{}/rotate", key.id), &asked).is(200).json())
    };
    let second = rotate(60);
    assert_eq!(second.id, key.id);
    for text in [&key.secret, &second.secret] {
        house.present(text).ok();
        assert_eq!(house.upstream.last().header("x-auth-credential-id"), Some(key.id.as_str()));
    }
    house.pass(Duration::from_millis(59_999));
    house.present(&key.secret).ok();
    house.pass(Duration::from_millis(1));
    house.present(&key.secret).denied("key_expired");
    house.present(&second.secret).ok();

    let third = rotate(0);
    house.present(&second.secret).denied("key_expired");
    house.present(&third.secret).ok();
}

#[test]
fn a_key_ends_at_its_time_to_the_millisecond() {
    let house = House::new();
    let owner = house.admin().owner("team_42", &json!({}));
    let key = house.admin().key(&owner, &json!({ "expires_at": "2025-11-20T23:46:54Z" }));
    house.pass(Duration::from_millis(59_999));
    house.present(&key.secret).ok();
    house.pass(Duration::from_millis(1));
    house.present(&key.secret).denied("key_expired");
    house.admin().patch(format!("/keys/{}", key.id), &json!({ "expires_at": null })).is(200);
    house.present(&key.secret).ok();
}

#[test]
fn a_day_that_passes_at_once_does_not_put_the_store_out_of_reach() {
    let house = House::new();
    let key = house.key();
    house.present(&key.secret).ok();
    house.pass(Duration::from_secs(24 * 3600));
    house.present(&key.secret).ok();
    assert_eq!(house.admin_get("/readyz").status, 200);
}

#[test]
fn a_reload_keeps_what_is_known_of_keys_and_gives_roles_their_new_meaning() {
    let house = House::new();
    let owner = house.admin().owner("team_42", &json!({ "roles": ["editor"] }));
    let key = house.admin().key(&owner, &json!({}));
    let write = || house.gw.call("POST", "/campaigns/7").header("X-API-Key", &key.secret).send();
    write().ok();
    let file = house.realm_file();
    let editor = r#"editor = ["campaigns:read", "campaigns:write"]"#;
    assert!(file.contains(editor), "{file}");
    house.rewrite("realms/realm0.toml", &file.replace(editor, r#"editor = ["campaigns:read"]"#));
    house.reload().expect("it is good");
    write().denied("insufficient_scope");
    house.with_key("/campaigns/7", &key.secret).send().ok();
}
