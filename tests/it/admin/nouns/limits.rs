//! What tokens of one realm see, and what nobody ever sees.

use http::Method;
use serde_json::{Value, json};

use super::{Desk, good, identifiers, ids, problem, text, token};

const ALL: [&str; 3] = ["admin:read", "admin:clients", "admin:keys"];

#[tokio::test]
async fn a_token_of_one_realm_finds_nothing_of_another() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({})).await;
    let entry = format!("/admin/v1/clients/{}/ip-allowlist", text(&owner["id"]));
    desk.create(&entry, json!({ "network": "10.0.0.0/8" })).await;
    let foreign = token(&ALL, Some(&["links"]));
    let (client, key_path) =
        (format!("/admin/v1/clients/{}", text(&owner["id"])), format!("/admin/v1/keys/{}", text(&key["id"])));
    let calls = [
        (Method::GET, client.clone(), Value::Null),
        (Method::PATCH, client.clone(), json!({ "plan": "x" })),
        (Method::DELETE, client.clone(), Value::Null),
        (Method::POST, format!("{client}/disable"), Value::Null),
        (Method::POST, format!("{client}/password"), json!({})),
        (Method::GET, entry.clone(), Value::Null),
        (Method::POST, entry.clone(), json!({ "network": "10.1.0.0/16" })),
        (Method::DELETE, format!("{entry}/10.0.0.0%2F8?confirm=open"), Value::Null),
        (Method::POST, format!("{entry}/test"), json!({ "address": "10.0.0.1" })),
        (Method::GET, key_path.clone(), Value::Null),
        (Method::PATCH, key_path.clone(), json!({ "name": "x" })),
        (Method::POST, format!("{key_path}/rotate"), json!({})),
        (Method::POST, format!("{key_path}/revoke"), json!({})),
        (Method::POST, format!("{key_path}/disable"), Value::Null),
        (Method::GET, "/admin/v1/clients/cfg%3Alegacy".to_owned(), Value::Null),
        (Method::PATCH, "/admin/v1/clients/cfg%3Alegacy".to_owned(), json!({ "plan": "x" })),
        (Method::GET, "/admin/v1/keys/cfg%3Alegacy%2Fk1".to_owned(), Value::Null),
    ];
    for (method, target, body) in calls {
        let answer = desk.ask_as(&foreign, method.clone(), &target, body).await;
        assert_eq!(problem(answer).0, 404, "{method} {target}");
    }
    for (method, target, body) in [
        (Method::GET, "/admin/v1/clients?realm=shop", Value::Null),
        (Method::GET, "/admin/v1/keys?realm=nowhere", Value::Null),
        (Method::POST, "/admin/v1/clients", json!({ "realm": "shop", "identifier": "x" })),
        (Method::POST, "/admin/v1/keys/verify", json!({ "realm": "shop", "key": key["secret"] })),
        (Method::POST, "/admin/v1/keys/import", json!({ "realm": "shop", "keys": [] })),
    ] {
        let (status, code, _) = problem(desk.ask_as(&foreign, method.clone(), target, body).await);
        assert_eq!((status, code.as_str()), (403, "realm_denied"), "{method} {target}");
    }
    let list = async |target: &str| good(desk.ask_as(&foreign, Method::GET, target, Value::Null).await, 200);
    assert_eq!(identifiers(&list("/admin/v1/clients").await), [""; 0]);
    assert_eq!(ids(&list("/admin/v1/keys").await), [""; 0]);
    let stolen = json!({ "owner_id": owner["id"], "name": "x" });
    let answer = desk.ask_as(&foreign, Method::POST, "/admin/v1/keys", stolen).await;
    assert_eq!(problem(answer).0, 400);
    assert_eq!(desk.code(&text(&key["secret"])).await, "VALID");
}

#[tokio::test]
async fn each_scope_opens_its_own_part() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({})).await;
    let (client, key) =
        (format!("/admin/v1/clients/{}", text(&owner["id"])), format!("/admin/v1/keys/{}", text(&key["id"])));
    let calls = [
        ("admin:read", Method::GET, client.clone(), Value::Null),
        ("admin:read", Method::GET, "/admin/v1/keys".to_owned(), Value::Null),
        ("admin:read", Method::POST, "/admin/v1/keys/verify".to_owned(), json!({ "realm": "shop", "key": "x" })),
        ("admin:read", Method::POST, format!("{key}/ip-allowlist/test"), json!({ "address": "10.0.0.1" })),
        ("admin:clients", Method::PATCH, client.clone(), json!({ "plan": "x" })),
        ("admin:clients", Method::POST, format!("{client}/ip-allowlist"), json!({ "network": "10.0.0.0/8" })),
        ("admin:keys", Method::PATCH, key.clone(), json!({ "name": "x" })),
        ("admin:keys", Method::POST, format!("{key}/ip-allowlist"), json!({ "network": "10.0.0.0/8" })),
    ];
    for (needed, method, target, body) in calls {
        for scope in ALL {
            let answer = desk.ask_as(&token(&[scope], None), method.clone(), &target, body.clone()).await;
            assert_eq!(answer.status == 403, scope != needed, "{scope}: {method} {target}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_told_once_and_left_nowhere() {
    let desk = Desk::open().await;
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({})).await;
    let path = format!("/admin/v1/keys/{}", text(&key["id"]));
    let rotated = desk.post(&format!("{path}/rotate"), json!({})).await;
    let password = desk.post(&format!("/admin/v1/clients/{}/password", text(&owner["id"])), json!({})).await;
    let secrets = [text(&key["secret"]), text(&rotated["secret"]), text(&password["password"])];
    for secret in &secrets[..2] {
        desk.verify(secret, None).await;
    }
    desk.post(&format!("{path}/revoke"), json!({})).await;
    for target in ["/admin/v1/keys", "/admin/v1/clients", "/admin/v1/audit", &path] {
        desk.get(target).await;
    }
    let trail = format!("{:?}", desk.trail().await);
    let told = desk.told.lock().unwrap();
    for secret in &secrets {
        assert_eq!(told.iter().filter(|body| body.contains(secret.as_str())).count(), 1);
        assert!(!trail.contains(secret.as_str()));
    }
}
