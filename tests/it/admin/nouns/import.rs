//! Keys that exist already.

use http::Method;
use serde_json::{Value, json};

use super::{Desk, faults, later, old_prefix, prefix, text};
use crate::store::{Ground, on_both};
use crate::support::realms::{api_key, key_digest};

const PATH: &str = "/admin/v1/keys/import";

on_both!(digests_and_texts_work_at_once_under_their_owner);

async fn digests_and_texts_work_at_once_under_their_owner(ground: Ground) {
    let desk = Desk::at(ground).await;
    let (a, b) =
        (desk.client("team_a", json!({ "scopes": ["orders:*"] })).await, desk.client("team_b", json!({})).await);
    let (by_digest, by_text, plain) =
        (api_key(&prefix()), api_key(&prefix()), format!("{}0123-4567-89ab", old_prefix()));
    let rows = json!([
        { "sha256": key_digest(&by_digest).to_uppercase(), "name": "shop floor", "scopes": ["orders:read"] },
        { "key": by_text, "owner": "team_b", "attributes": { "from": "old" } },
        { "key": plain, "owner_id": b["id"], "expires_at": later(super::DAY) },
    ]);
    let body = json!({ "realm": "shop", "owner_id": a["id"], "keys": rows });
    let answer = desk.post(PATH, body.clone()).await;
    assert_eq!((&answer["added"], &answer["known"]), (&json!(3), &json!(0)));
    let verdict = desk.verify(&by_digest, None).await;
    assert_eq!(
        (&verdict["code"], &verdict["owner"], &verdict["scopes"]),
        (&json!("VALID"), &json!("team_a"), &json!(["orders:read"]))
    );
    for key in [&by_text, &plain] {
        let verdict = desk.verify(key, None).await;
        assert_eq!((&verdict["code"], &verdict["owner"]), (&json!("VALID"), &json!("team_b")));
    }
    let list = desk.get("/admin/v1/keys?realm=shop&owner=team_a").await;
    let shown = &list["data"][0];
    assert_eq!((&shown["name"], &shown["hint"], &shown["prefix"]), (&json!("shop floor"), &Value::Null, &Value::Null));
    assert_eq!(shown["expires_at"], Value::Null, "what is in use does not end by itself");

    let again = desk.post(PATH, body).await;
    assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(3)));
    let events = desk.trail().await;
    let event = &events.iter().find(|event| event.entry.action == "keys.imported").unwrap().entry;
    assert_eq!((&event.detail["added"], &event.detail["owners_count"]), (&json!(3), &json!(2)));
    let trail = format!("{events:?}");
    for secret in [&by_digest, &by_text, &plain, &key_digest(&by_digest)] {
        assert!(!trail.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn one_bad_row_keeps_the_whole_batch_out_and_every_bad_row_is_told() {
    let desk = Desk::open().await;
    let owner = desk.client("team_a", json!({})).await;
    let good = api_key(&prefix());
    let no_checksum = format!("{}{}", prefix(), "a".repeat(40));
    let rows = json!([
        { "key": good },
        { "sha256": "zz" },
        { "key": "hunter2-secret" },
        { "key": no_checksum },
        {},
        { "sha256": key_digest("x"), "key": good },
        { "sha256": key_digest("y"), "owner": "nobody" },
        { "sha256": key_digest("z"), "scopes": ["orders:raed"], "expires_at": "2001-01-01T00:00:00Z" },
    ]);
    let body = json!({ "realm": "shop", "owner_id": owner["id"], "keys": rows });
    let (status, code, told) = desk.refused(Method::POST, PATH, body).await;
    assert_eq!((status, code.as_str()), (400, "validation_failed"));
    let fields: Vec<_> = faults(&told).into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        [
            "keys[1].sha256",
            "keys[2].key",
            "keys[3].key",
            "keys[4].sha256",
            "keys[5].key",
            "keys[6].owner",
            "keys[7].scopes[0]",
            "keys[7].expires_at",
        ]
    );
    for secret in [good.as_str(), no_checksum.as_str(), "hunter2-secret"] {
        assert!(!told.to_string().contains(secret), "{told}");
    }
    assert_eq!(desk.code(&good).await, "NOT_FOUND");

    let (_, _, told) = desk.refused(Method::POST, PATH, json!({ "realm": "shop", "keys": [{ "key": good }] })).await;
    assert_eq!(faults(&told)[0].0, "keys[0].owner_id");
    let body = json!({ "realm": "shop", "owner_id": owner["id"], "format": "sha256", "keys": [{ "key": good }] });
    assert_eq!(faults(&desk.refused(Method::POST, PATH, body).await.2)[0].0, "keys[0].key");
    let many = vec![json!({ "sha256": key_digest("x") }); 1001];
    let body = json!({ "realm": "shop", "owner_id": owner["id"], "keys": many });
    assert_eq!(desk.refused(Method::POST, PATH, body).await.0, 400);
}

#[tokio::test]
async fn what_stands_twice_in_a_batch_or_is_declared_is_known() {
    let desk = Desk::open().await;
    let owner = desk.client("team_a", json!({})).await;
    let key = api_key(&prefix());
    let rows = json!([{ "key": key }, { "sha256": key_digest(&key) }, { "key": desk.declared }]);
    let answer = desk.post(PATH, json!({ "realm": "shop", "owner_id": owner["id"], "keys": rows })).await;
    assert_eq!((&answer["added"], &answer["known"]), (&json!(1), &json!(2)));
    assert_eq!(desk.verify(&desk.declared, Some("10.1.0.1")).await["owner"], "legacy");
}

#[tokio::test]
async fn a_key_imported_by_digest_gets_a_text_of_the_realms_form_when_it_is_rotated() {
    let desk = Desk::open().await;
    let owner = desk.client("team_a", json!({})).await;
    let key = api_key(&prefix());
    let rows = json!([{ "sha256": key_digest(&key) }]);
    desk.post(PATH, json!({ "realm": "shop", "owner_id": owner["id"], "keys": rows })).await;
    let id = text(&desk.verify(&key, None).await["key_id"]);
    let rotated = desk.post(&format!("/admin/v1/keys/{id}/rotate"), json!({})).await;
    let secret = text(&rotated["secret"]);
    assert!(secret.starts_with(&prefix()), "{rotated}");
    assert_eq!(rotated["prefix"], prefix());
    assert_eq!([desk.code(&key).await, desk.code(&secret).await], ["VALID", "VALID"]);
}
