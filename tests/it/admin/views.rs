//! What the configuration says, explain, reload.

use super::*;
use portcullis::store::AuditOutcome;

async fn data(desk: &Desk, target: &str) -> Vec<Value> {
    let answer = desk.ask(&desk.root, get(target)).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    body_of(&answer)["data"].as_array().unwrap().clone()
}

#[test]
fn realms_are_shown_with_what_is_stored_of_them_and_rows_without_a_realm_too() {
    on_sqlite(async |desk| {
        let body = json!({ "realm": "shop", "kind": "owner", "identifier": "team_1" });
        desk.ask(&desk.root, post("/admin/v1/clients", &body)).await;
        let mut write = desk.store.begin().await.unwrap();
        write.rename_realm("shop", "gone", NOW).await.unwrap();
        write.commit().await.unwrap();
        let body = json!({ "realm": "links", "kind": "owner", "identifier": "team_2" });
        desk.ask(&desk.root, post("/admin/v1/clients", &body)).await;
        let realms = data(&desk, "/admin/v1/realms").await;
        let told: Vec<_> = realms
            .iter()
            .map(|r| (r["name"].as_str().unwrap(), r["configured"] == true, r["clients"].as_u64()))
            .collect();
        assert_eq!(told, [("shop", true, Some(0)), ("links", true, Some(1)), ("gone", false, Some(1))]);
        assert_eq!((&realms[0]["declared_clients"], &realms[0]["declared_keys"]), (&json!(1), &json!(1)));
        assert_eq!(realms[0]["prefixes"][0]["prefix"], "shop_test_");
    });
}

#[test]
fn routes_are_shown_as_they_are_configured() {
    on_sqlite(async |desk| {
        assert_eq!(data(&desk, "/admin/v1/routes").await.len(), 2);
        let routes = data(&desk, "/admin/v1/routes?realm=shop").await;
        assert_eq!(
            (routes.len(), &routes[0]["path"], &routes[0]["methods"]),
            (1, &json!("/orders/**"), &json!(["GET"]))
        );
        let unknown = desk.ask(&desk.root, get("/admin/v1/routes?realm=shpo")).await;
        assert!(body_of(&unknown)["errors"][0]["message"].as_str().unwrap().contains("`shop`"), "{unknown:?}");
    });
}

#[test]
fn scopes_and_roles_are_shown_with_the_number_of_those_who_hold_them() {
    on_sqlite(async |desk| {
        for (name, scopes, roles) in
            [("a", json!(["orders:*"]), json!([])), ("b", json!(["orders:write"]), json!(["clerk"]))]
        {
            let body =
                json!({ "realm": "shop", "kind": "owner", "identifier": name, "scopes": scopes, "roles": roles });
            assert_eq!(desk.ask(&desk.root, post("/admin/v1/clients", &body)).await.status, 201);
        }
        let scopes = data(&desk, "/admin/v1/scopes?realm=shop").await;
        let told: Vec<_> =
            scopes.iter().map(|s| (s["name"].as_str().unwrap(), s["clients"].as_u64().unwrap())).collect();
        // The declared client holds orders:read.
        assert_eq!(told, [("orders:read", 2), ("orders:write", 2)]);
        assert_eq!((&scopes[0]["description"], &scopes[0]["roles"]), (&json!("See orders"), &json!(["clerk"])));
        assert_eq!(scopes[0]["routes"], 1);
        assert_eq!(data(&desk, "/admin/v1/scopes?realm=links").await[0]["name"], "links:read");
        let roles = data(&desk, "/admin/v1/roles").await;
        assert_eq!((roles.len(), &roles[0]["name"], &roles[0]["clients"]), (1, &json!("clerk"), &json!(2)));
    });
}

#[test]
fn a_question_reaches_the_engine_as_it_was_asked() {
    on_sqlite(async |desk| {
        let body = json!({
            "method": "PUT", "url": "https://shop.test/orders/1?x", "headers": { "X-A": ["1", "2"] },
            "ip": "203.0.113.7", "at": "2027-01-31T13:00:00+01:00", "certificate": ["cn:billing"],
        });
        let answer = desk.ask(&desk.root, post("/admin/v1/explain", &body)).await;
        let saw: Value = serde_json::from_str(body_of(&answer)["steps"][0]["saw"].as_str().unwrap()).unwrap();
        let expected = json!({
            "method": "PUT", "url": "https://shop.test/orders/1?x", "headers": ["X-A: 1", "X-A: 2"],
            "ip": "203.0.113.7", "at": "2027-01-31T12:00:00.000Z", "certificate": ["cn:billing"],
        });
        assert_eq!(saw, expected);
        for (body, field) in [
            (json!({}), "url"),
            (json!({ "url": "https://shop.test/a b" }), "url"),
            (json!({ "url": "/x", "request_id": "r" }), "request_id"),
            (json!({ "url": "/x", "ip": "10.0.0.0/8" }), "ip"),
            (json!({ "url": "/x", "certificate": "cn:billing" }), "certificate"),
            (json!({ "certificate": ["cn:billing"], "request_id": "r" }), "request_id"),
        ] {
            let answer = desk.ask(&desk.root, post("/admin/v1/explain", &body)).await;
            assert_eq!(body_of(&answer)["errors"][0]["field"], field, "{answer:?}");
        }
    });
}

#[test]
fn a_refusal_of_the_past_is_shown_with_the_key_as_it_is_now() {
    on_sqlite(async |desk| {
        let body = json!({ "realm": "shop", "kind": "owner", "identifier": "team_1" });
        let owner = desk.ask(&desk.root, post("/admin/v1/clients", &body)).await;
        let body = json!({ "realm": "shop", "owner_id": body_of(&owner)["id"], "name": "sync" });
        let key = desk.ask(&desk.root, post("/admin/v1/keys", &body)).await;
        let id = body_of(&key)["id"].as_str().unwrap_or_else(|| panic!("{key:?}")).to_owned();
        let line = json!({
            "request_id": "r-1", "realm": "shop", "route": "/orders/**", "status": 401, "reason": "key_revoked",
            "why": "revoked", "credential_id": id,
        });
        desk.around.refused.lock().unwrap().insert("r-1".to_owned(), line.clone());
        let path = format!("/admin/v1/keys/{id}/revoke");
        assert_eq!(desk.ask(&desk.root, post(&path, &json!({ "reason": "leaked" }))).await.status, 200);

        let question = post("/admin/v1/explain", &json!({ "request_id": "r-1" }));
        let answer = desk.ask(&desk.root, question.clone()).await;
        let body = body_of(&answer);
        assert_eq!(
            (&body["allowed"], &body["reason"], &body["request"]),
            (&json!(false), &json!("key_revoked"), &line)
        );
        let key = &body["key"];
        assert_eq!(
            (&key["status"], &key["revoke_reason"], &key["owner"]),
            (&json!("revoked"), &json!("leaked"), &json!("team_1"))
        );

        let other = desk.actor(&["admin:read"], Some(&["links"])).await;
        assert_eq!(desk.ask(&other, question).await.status, 404);
        let unknown = post("/admin/v1/explain", &json!({ "request_id": "r-2" }));
        assert_eq!(desk.ask(&desk.root, unknown).await.status, 404);
    });
}

#[test]
fn a_reload_is_audited_whatever_comes_of_it() {
    on_sqlite(async |desk| {
        let reload = async || desk.ask(&desk.root, post("/admin/v1/reload", &Value::Null)).await;
        assert_eq!(body_of(&reload().await), &json!({ "generation": 1 }));
        let event = desk.last_event().await.entry;
        assert_eq!((event.action.as_str(), event.outcome), ("config.reloaded", AuditOutcome::Ok));
        *desk.around.broken.lock().unwrap() =
            Some(vec!["realms/shop.toml:3: hosts: wrong".to_owned(), "two".to_owned()]);
        let answer = reload().await;
        assert_eq!((answer.status, code_of(&answer)), (409, "reload_failed"));
        assert_eq!(body_of(&answer)["errors"][0]["message"], "realms/shop.toml:3: hosts: wrong");
        let event = desk.last_event().await.entry;
        assert_eq!((event.outcome, &event.detail["problems"]), (AuditOutcome::Error, &json!(2)));
    });
}

#[test]
fn the_document_can_be_read_by_those_who_may_read() {
    on_sqlite(async |desk| {
        let reader = desk.actor(&["admin:read"], None).await;
        let answer = desk.ask(&reader, get("/admin/openapi.json")).await;
        assert_eq!(body_of(&answer), &portcullis::admin::api::openapi());
    });
}
