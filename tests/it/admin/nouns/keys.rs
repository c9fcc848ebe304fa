//! API keys.

use http::Method;
use portcullis::admin::api::{Actor, Ask};
use serde_json::{Value, json};

use super::{DAY, Desk, HOUR, ask, at, faults, good, ids, later, old_prefix, prefix, problem, text};
use crate::store::{Ground, on_both};

fn path(key: &Value) -> String {
    format!("/admin/v1/keys/{}", text(&key["id"]))
}

#[tokio::test]
async fn a_new_key_works_at_once_and_its_text_is_shown_in_one_answer() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({ "scopes": ["orders:*"] })).await;
    let body = json!({
        "owner_id": owner["id"],
        "name": "CRM sync",
        "scopes": ["orders:read"],
        "attributes": { "env": "prod" },
        "expires_at": later(DAY),
        "ip_allowlist": ["203.0.113.0/24"],
    });
    let answer = desk.ask(Method::POST, "/admin/v1/keys", body.clone()).await;
    let key = answer.body.clone().unwrap();
    let (id, secret) = (text(&key["id"]), text(&key["secret"]));
    assert_eq!((answer.status, answer.location), (201, Some(format!("/admin/v1/keys/{id}"))));
    assert!(secret.starts_with(&prefix()) && secret.ends_with(&text(&key["hint"])), "{key}");
    for field in ["owner_id", "name", "scopes", "attributes", "expires_at", "ip_allowlist"] {
        assert_eq!(key[field], body[field], "{field}");
    }
    assert_eq!((&key["owner"], &key["realm"], &key["expired"]), (&json!("team_42"), &json!("shop"), &json!(false)));
    assert_eq!(key.get("warnings"), None);

    let verdict = desk.verify(&secret, Some("203.0.113.9")).await;
    assert_eq!((&verdict["valid"], &verdict["code"], &verdict["key_id"]), (&json!(true), &json!("VALID"), &json!(id)));
    assert_eq!((&verdict["owner"], &verdict["scopes"]), (&json!("team_42"), &json!(["orders:read"])));
    assert_eq!(desk.verify(&secret, Some("::ffff:203.0.113.9")).await["code"], "VALID");
    assert_eq!(desk.verify(&secret, Some("203.0.114.9")).await["code"], "IP_DENIED");
    assert_eq!(desk.verify(&secret, None).await["code"], "VALID");

    let shown = desk.get(&path(&key)).await;
    assert_eq!(shown.get("secret"), None);
    assert!(!shown.to_string().contains(&secret));
    assert!(!desk.get("/admin/v1/keys").await.to_string().contains(&secret));
    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), event.target_id.as_deref()), ("key.created", Some(&*id)));
    assert!(!format!("{:?}", desk.trail().await).contains(&secret));
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_new_key_is_told_at_once() {
    let desk = Desk::open().await;
    let body = json!({
        "realm": "shop",
        "owner": "nobody",
        "name": "x",
        "prefix": "sk_",
        "scopes": ["orders:raed"],
        "expires_at": "2001-01-01T00:00:00Z",
    });
    let (status, code, told) = desk.refused(Method::POST, "/admin/v1/keys", body).await;
    assert_eq!((status, code.as_str()), (400, "validation_failed"));
    let told = faults(&told);
    let find =
        |field: &str| &told.iter().find(|(told, _)| told == field).unwrap_or_else(|| panic!("{field}: {told:?}")).1;
    assert!(find("owner").contains("portcullis client create"), "{told:?}");
    assert!(find("prefix").contains(&prefix()), "{told:?}");
    assert!(find("scopes[0]").ends_with("did you mean `orders:read`?"), "{told:?}");
    assert!(find("expires_at").contains("in the future"), "{told:?}");

    let (_, _, told) = desk.refused(Method::POST, "/admin/v1/keys", json!({ "realm": "shop", "name": "x" })).await;
    assert_eq!(faults(&told)[0].0, "owner_id");
    let owner = desk.client("team_42", json!({})).await;
    let other = json!({ "realm": "links", "owner_id": owner["id"], "name": "x" });
    let (_, _, told) = desk.refused(Method::POST, "/admin/v1/keys", other).await;
    assert_eq!(faults(&told)[0].0, "owner_id", "an owner of another realm");
    let declared = json!({ "realm": "shop", "owner": "legacy", "name": "x" });
    let (_, _, told) = desk.refused(Method::POST, "/admin/v1/keys", declared).await;
    assert!(faults(&told)[0].1.contains("portcullis.toml:"), "{told}");
}

#[tokio::test]
async fn a_key_ends_after_ninety_days_unless_it_is_said_otherwise() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({ "scopes": ["orders:read"] })).await;
    let key = desk.key(&owner, json!({})).await;
    assert_eq!((&key["expires_at"], key.get("warnings")), (&json!(later(DAY * 90)), None));
    let endless = desk.key(&owner, json!({ "expires_at": null })).await;
    assert_eq!(endless["expires_at"], Value::Null);
    assert!(endless["warnings"][0].as_str().unwrap().contains("never expires"), "{endless}");
    desk.clock.set(at(DAY * 90));
    assert_eq!(desk.code(&text(&key["secret"])).await, "EXPIRED");
    assert_eq!(desk.get(&path(&key)).await["expired"], true);
    assert_eq!(desk.code(&text(&endless["secret"])).await, "VALID");
}

#[tokio::test]
async fn scopes_that_the_owner_lacks_are_pointed_out_and_not_granted() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({ "roles": ["reader"] })).await;
    let key = desk.key(&owner, json!({ "scopes": ["orders:read", "orders:write", "stock:*"] })).await;
    let warnings = key["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].as_str().unwrap().contains("\"orders:write\""), "{warnings:?}");
    assert!(warnings[1].as_str().unwrap().contains("only a part of \"stock:*\": the key will have stock:read"));
    let verdict = desk.verify(&text(&key["secret"]), None).await;
    assert_eq!(verdict["scopes"], json!(["orders:read", "stock:read"]));

    let bare = desk.client("team_43", json!({})).await;
    let key = desk.key(&bare, json!({})).await;
    assert!(key["warnings"][0].as_str().unwrap().starts_with("neither the key nor its owner"), "{key}");
    let key = desk.key(&bare, json!({ "scopes": ["orders:write"] })).await;
    assert_eq!(key.get("warnings"), None, "an owner without scopes and roles limits nothing");
    assert_eq!(desk.verify(&text(&key["secret"]), None).await["scopes"], json!(["orders:write"]));
    let changed = desk.patch(&path(&key), json!({ "scopes": [] })).await;
    assert!(changed["warnings"][0].as_str().unwrap().contains("empty list of scopes"), "{changed}");
}

#[tokio::test]
async fn a_key_is_judged_by_its_form_before_anybody_is_asked() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let secret = text(&desk.key(&owner, json!({})).await["secret"]);
    let mut slip = secret.clone().into_bytes();
    slip[20] = if slip[20] == b'a' { b'b' } else { b'a' };
    for bad in
        [String::from_utf8(slip).unwrap(), prefix(), "hunter2".to_owned(), format!("{secret} "), "x".repeat(4000)]
    {
        let verdict = desk.verify(&bad, None).await;
        assert_eq!((&verdict["code"], &verdict["key_id"]), (&json!("MALFORMED"), &Value::Null), "{bad}");
    }
    let unknown = crate::support::realms::api_key(&prefix());
    assert_eq!(desk.code(&unknown).await, "NOT_FOUND");
    let elsewhere = json!({ "realm": "links", "key": secret });
    assert_eq!(desk.post("/admin/v1/keys/verify", elsewhere).await["code"], "NOT_FOUND");
}

on_both!(a_key_is_off_while_it_or_its_owner_is_and_refused_for_good_once_revoked);

async fn a_key_is_off_while_it_or_its_owner_is_and_refused_for_good_once_revoked(ground: Ground) {
    let desk = Desk::at(ground).await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({})).await;
    let (path, secret) = (path(&key), text(&key["secret"]));
    let owner_path = format!("/admin/v1/clients/{}", text(&owner["id"]));
    for target in [&path, &owner_path] {
        for (verb, code) in [("disable", "DISABLED"), ("disable", "DISABLED"), ("enable", "VALID"), ("enable", "VALID")]
        {
            desk.post(&format!("{target}/{verb}"), Value::Null).await;
            assert_eq!(desk.code(&secret).await, code, "{target} {verb}");
        }
    }
    let revoked = desk.post(&format!("{path}/revoke"), json!({ "reason": "found on a forum" })).await;
    assert_eq!((&revoked["status"], &revoked["revoke_reason"]), (&json!("revoked"), &json!("found on a forum")));
    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), event.reason.as_deref()), ("key.revoked", Some("found on a forum")));
    assert_eq!(desk.code(&secret).await, "REVOKED");

    desk.clock.set(at(HOUR));
    let again = desk.post(&format!("{path}/revoke"), json!({ "reason": "another" })).await;
    assert_eq!((&again["revoked_at"], &again["revoke_reason"]), (&revoked["revoked_at"], &revoked["revoke_reason"]));
    let calls = [("/enable", Value::Null), ("/disable", Value::Null), ("/rotate", json!({}))];
    for (verb, body) in calls {
        let (status, code, _) = desk.refused(Method::POST, &format!("{path}{verb}"), body).await;
        assert_eq!((status, code.as_str()), (409, "wrong_state"), "{verb}");
    }
    let (status, code, told) = desk.refused(Method::PATCH, &path, json!({ "name": "x" })).await;
    assert_eq!((status, code.as_str()), (409, "wrong_state"));
    assert!(text(&told["detail"]).contains("was revoked at 20"), "{told}");
    assert_eq!(desk.code(&secret).await, "REVOKED");
    assert_eq!(desk.actions().await.iter().filter(|action| *action == "key.revoked").count(), 1);
}

on_both!(a_rotation_keeps_the_id_and_both_texts_work_until_the_overlap_ends);

async fn a_rotation_keeps_the_id_and_both_texts_work_until_the_overlap_ends(ground: Ground) {
    let desk = Desk::at(ground).await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({})).await;
    let (path, first) = (path(&key), text(&key["secret"]));
    let rotated = desk.post(&format!("{path}/rotate"), json!({})).await;
    let second = text(&rotated["secret"]);
    assert_eq!((&rotated["id"], &rotated["old_expires_at"]), (&key["id"], &json!(later(DAY))));
    assert_eq!(rotated["overlap"]["hint"], key["hint"]);
    assert_ne!(first, second);
    assert_eq!([desk.code(&first).await, desk.code(&second).await], ["VALID", "VALID"]);
    assert_eq!(desk.verify(&first, None).await["expires_at"], later(DAY));
    assert_eq!(ids(&desk.get("/admin/v1/keys?in_overlap=true").await), [text(&key["id"])]);
    assert_eq!(ids(&desk.get(&format!("/admin/v1/keys?hint={}", text(&key["hint"]))).await), [text(&key["id"])]);

    let third = desk.post(&format!("{path}/rotate"), json!({ "overlap_seconds": 3600 })).await;
    assert!(third["warnings"][0].as_str().unwrap().contains("it ended now"), "{third}");
    let third = text(&third["secret"]);
    let codes = [desk.code(&first).await, desk.code(&second).await, desk.code(&third).await];
    assert_eq!(codes, ["EXPIRED", "VALID", "VALID"]);
    desk.clock.set(at(HOUR));
    assert_eq!([desk.code(&second).await, desk.code(&third).await], ["EXPIRED", "VALID"]);
    assert_eq!(desk.get(&path).await["overlap"], Value::Null);
    assert_eq!(ids(&desk.get("/admin/v1/keys?in_overlap=true").await), [""; 0]);

    let fourth = text(&desk.post(&format!("{path}/rotate"), json!({ "overlap_seconds": 0 })).await["secret"]);
    assert_eq!([desk.code(&third).await, desk.code(&fourth).await], ["EXPIRED", "VALID"]);
    let trail = format!("{:?}", desk.trail().await);
    for secret in [first, second, third, fourth] {
        assert!(!trail.contains(&secret));
    }
    assert_eq!(desk.last_event().await.entry.action, "key.rotated");
}

#[tokio::test]
async fn only_a_key_that_works_is_rotated() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({ "expires_at": later(HOUR) })).await;
    let rotate = format!("{}/rotate", path(&key));
    desk.post(&format!("{}/disable", path(&key)), Value::Null).await;
    let (status, code, told) = desk.refused(Method::POST, &rotate, json!({})).await;
    assert_eq!((status, code.as_str()), (409, "wrong_state"));
    assert!(text(&told["detail"]).ends_with("is disabled: enable it first"), "{told}");
    desk.post(&format!("{}/enable", path(&key)), Value::Null).await;
    let rotated = desk.post(&rotate, json!({})).await;
    assert_eq!(rotated["old_expires_at"], key["expires_at"], "no overlap outlives the key");
    desk.clock.set(at(HOUR));
    let (_, code, told) = desk.refused(Method::POST, &rotate, json!({})).await;
    assert_eq!(code, "wrong_state");
    assert!(text(&told["detail"]).contains("expired at"), "{told}");
    desk.patch(&path(&key), json!({ "expires_at": later(DAY) })).await;
    desk.post(&rotate, json!({})).await;
    for bad in [-1, 30 * 24 * 3600 + 1] {
        assert_eq!(desk.refused(Method::POST, &rotate, json!({ "overlap_seconds": bad })).await.0, 400);
    }
}

#[tokio::test]
async fn who_asks_twice_for_a_key_gets_its_id_and_no_second_key() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let op = Actor::on_the_machine("op");
    let twice = |target: &str, body: Value, key: &str| Ask {
        idempotency_key: Some(key.to_owned()),
        ..ask(Method::POST, target, body)
    };
    let body = json!({ "owner_id": owner["id"], "name": "CRM sync" });
    let key = good(desk.dispatch(&op, twice("/admin/v1/keys", body.clone(), "a")).await, 201);
    let (status, code, told) = problem(desk.dispatch(&op, twice("/admin/v1/keys", body, "a")).await);
    assert_eq!((status, code.as_str(), &told["target"]), (409, "already_created", &key["id"]));
    assert!(!told.to_string().contains(&text(&key["secret"])));
    assert_eq!(ids(&desk.get("/admin/v1/keys?owner=team_42&realm=shop").await).len(), 1);

    let rotate = format!("{}/rotate", path(&key));
    let rotated = good(desk.dispatch(&op, twice(&rotate, json!({}), "b")).await, 200);
    let (status, code, _) = problem(desk.dispatch(&op, twice(&rotate, json!({}), "b")).await);
    assert_eq!((status, code.as_str()), (409, "already_created"));
    assert_eq!(desk.code(&text(&rotated["secret"])).await, "VALID");
    assert_eq!(desk.code(&text(&key["secret"])).await, "VALID", "the overlap goes on");
}

#[tokio::test]
async fn an_update_of_a_key_says_what_it_changed_and_honours_versions() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({ "scopes": ["orders:read"] })).await;
    let changed = desk.patch(&path(&key), json!({ "name": "Sync", "scopes": null, "expires_at": null })).await;
    assert_eq!(
        (&changed["name"], &changed["scopes"], &changed["expires_at"]),
        (&json!("Sync"), &Value::Null, &Value::Null)
    );
    let event = desk.last_event().await.entry;
    assert_eq!(event.detail["name"], json!({ "old": "CRM sync", "new": "Sync" }));
    assert_eq!(event.detail["scopes"], json!({ "old": ["orders:read"], "new": null }));
    let op = Actor::on_the_machine("op");
    for (method, rest, body) in [
        (Method::PATCH, "", json!({ "name": "x" })),
        (Method::POST, "/rotate", json!({})),
        (Method::POST, "/revoke", json!({})),
        (Method::POST, "/disable", Value::Null),
        (Method::POST, "/enable", Value::Null),
    ] {
        let stale = Ask { if_match: Some("\"1\"".into()), ..ask(method, &format!("{}{rest}", path(&key)), body) };
        assert_eq!(problem(desk.dispatch(&op, stale).await).0, 412, "{rest}");
    }
    let past = json!({ "expires_at": later(HOUR) });
    desk.clock.set(at(HOUR));
    assert_eq!(desk.refused(Method::PATCH, &path(&key), past).await.0, 400);
    assert_eq!(desk.refused(Method::PATCH, &path(&key), json!({ "scopes": ["orders:raed"] })).await.0, 400);
    assert_eq!(desk.refused(Method::PATCH, &path(&key), json!({})).await.0, 400);
    assert_eq!(desk.refused(Method::GET, "/admin/v1/keys/key_none", Value::Null).await.0, 404);
}

on_both!(keys_are_found_by_owner_state_and_staleness);

async fn keys_are_found_by_owner_state_and_staleness(ground: Ground) {
    let desk = Desk::at(ground).await;
    let (a, b) = (desk.client("team_a", json!({})).await, desk.client("team_b", json!({})).await);
    let old = desk.key(&a, json!({ "expires_at": null })).await;
    desk.clock.set(at(DAY));
    let soon = desk.key(&a, json!({ "expires_at": later(DAY * 3) })).await;
    let other = desk.key(&b, json!({})).await;
    desk.post(&format!("{}/revoke", path(&other)), json!({})).await;
    let found = async |query: &str| ids(&desk.get(&format!("/admin/v1/keys?{query}")).await);
    let id = |key: &Value| text(&key["id"]);
    assert_eq!(found("realm=shop&owner=TEAM_A").await, [id(&old), id(&soon)]);
    assert_eq!(found(&format!("owner_id={}", text(&b["id"]))).await, [id(&other)]);
    assert_eq!(found("status=revoked").await, [id(&other)]);
    assert_eq!(found(&format!("unused_since={}", later(HOUR))).await, [id(&old)]);
    assert_eq!(found(&format!("expiring_before={}", later(DAY * 7))).await, [id(&soon)]);
    assert_eq!(found("realm=shop&owner=legacy").await, ["cfg:legacy/k1"]);
    assert_eq!(found("realm=shop&owner=nobody").await, [""; 0]);
    assert_eq!(found("status=active").await, [id(&old), id(&soon), "cfg:legacy/k1".to_owned()]);
    let first = desk.get("/admin/v1/keys?limit=3").await;
    let next = text(&first["next_cursor"]);
    assert_eq!(found(&format!("limit=3&cursor={next}")).await, ["cfg:legacy/k1"]);
    let (_, _, told) = desk.refused(Method::GET, "/admin/v1/keys?owner=team_a", Value::Null).await;
    assert_eq!(faults(&told)[0].0, "realm");
}

#[tokio::test]
async fn a_declared_key_is_read_and_verified_and_never_written() {
    let desk = Desk::open().await;
    let id = "/admin/v1/keys/cfg%3Alegacy%2Fk1";
    let shown = desk.get(id).await;
    assert_eq!((&shown["id"], &shown["owner_id"]), (&json!("cfg:legacy/k1"), &json!("cfg:legacy")));
    let place = text(&shown["declared_at"]);
    let verdict = desk.verify(&desk.declared, Some("10.1.2.3")).await;
    assert_eq!((&verdict["code"], &verdict["key_id"]), (&json!("VALID"), &json!("cfg:legacy/k1")));
    assert_eq!(verdict["scopes"], json!(["orders:read"]));
    assert_eq!(desk.verify(&desk.declared, Some("10.2.2.3")).await["code"], "IP_DENIED");
    for (method, rest, body) in [
        (Method::PATCH, "", json!({ "name": "x" })),
        (Method::POST, "/rotate", json!({})),
        (Method::POST, "/revoke", json!({})),
        (Method::POST, "/disable", Value::Null),
        (Method::POST, "/enable", Value::Null),
        (Method::POST, "/ip-allowlist", json!({ "network": "10.0.0.0/8" })),
        (Method::DELETE, "/ip-allowlist/10.1.0.0%2F16", Value::Null),
    ] {
        let (status, code, told) = desk.refused(method.clone(), &format!("{id}{rest}"), body).await;
        assert_eq!((status, code.as_str()), (409, "read_only"), "{method} {rest}");
        assert!(text(&told["detail"]).contains(&place), "{told}");
    }
}

#[tokio::test]
async fn a_prefix_is_one_of_the_realms() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({ "prefix": old_prefix() })).await;
    assert!(text(&key["secret"]).starts_with(&old_prefix()), "{key}");
    assert_eq!(desk.code(&text(&key["secret"])).await, "VALID");
    let rotated = desk.post(&format!("{}/rotate", path(&key)), json!({})).await;
    assert!(text(&rotated["secret"]).starts_with(&old_prefix()), "{rotated}");
}
