//! Admin tokens.

use http::Method;
use serde_json::{Value, json};

use crate::support::administrator::ALL_SCOPES;

use super::{DAY, Desk, at, faults, ids, later, problem, text, token};

const PATH: &str = "/admin/v1/admin-tokens";

#[tokio::test]
async fn a_token_lets_in_as_it_was_made_and_no_longer_once_it_is_revoked() {
    let desk = Desk::open().await;
    let body = json!({ "name": "console", "scopes": ["admin:keys", "admin:read"], "realms": ["shop"] });
    let made = desk.create(PATH, body).await;
    let secret = text(&made["secret"]);
    assert!(secret.starts_with("pca_") && secret.ends_with(&text(&made["hint"])), "{made}");
    assert_eq!((&made["scopes"], &made["expires_at"]), (&json!(["admin:read", "admin:keys"]), &json!(later(DAY * 90))));
    let header = format!("Bearer {secret}");
    let request_id = "01996b5e-0000-7000-8000-000000000000";
    let actor = desk.admin.authenticate(Some(&header), None, request_id).await.expect("let in");
    assert_eq!((actor.id.clone(), actor.realms.clone()), (text(&made["id"]), Some(vec!["shop".to_owned()])));
    let list = desk.ask_as(&actor, Method::GET, "/admin/v1/keys", Value::Null).await;
    assert_eq!(list.status, 200);

    assert_eq!(ids(&desk.get(PATH).await), [text(&made["id"])]);
    let revoke = format!("{PATH}/{}/revoke", text(&made["id"]));
    let revoked = desk.post(&revoke, Value::Null).await;
    assert_eq!(desk.admin.authenticate(Some(&header), None, request_id).await.unwrap_err().status, 401);
    desk.clock.set(at(DAY));
    assert_eq!(desk.post(&revoke, Value::Null).await["revoked_at"], revoked["revoked_at"]);
    assert_eq!(desk.refused(Method::POST, &format!("{PATH}/adm_x/revoke"), Value::Null).await.0, 404);
    let actions = desk.actions().await;
    assert_eq!(actions.iter().filter(|action| action.starts_with("admin_token.")).count(), 2, "{actions:?}");
    assert!(!format!("{:?}", desk.trail().await).contains(&secret));
    assert!(!desk.get(PATH).await.to_string().contains(&secret));
}

#[tokio::test]
async fn no_token_makes_lists_or_ends_tokens() {
    let desk = Desk::open().await;
    let almighty = token(ALL_SCOPES, None);
    let calls = [
        (Method::GET, PATH.to_owned(), Value::Null),
        (Method::POST, PATH.to_owned(), json!({ "name": "x", "scopes": ["admin:read"] })),
        (Method::POST, format!("{PATH}/adm_x/revoke"), Value::Null),
    ];
    for (method, target, body) in calls {
        let (status, code, _) = problem(desk.ask_as(&almighty, method, &target, body).await);
        assert_eq!((status, code.as_str()), (403, "insufficient_scope"), "{target}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_told_at_once() {
    let desk = Desk::open().await;
    let body = json!({
        "name": "x",
        "scopes": ["admin:raed", "keys"],
        "realms": ["shpo"],
        "expires_at": "2001-01-01T00:00:00Z",
    });
    let (status, _, told) = desk.refused(Method::POST, PATH, body).await;
    let told = faults(&told);
    let fields: Vec<_> = told.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!((status, fields), (400, vec!["scopes[0]", "scopes[1]", "realms[0]", "expires_at"]));
    assert!(told[0].1.ends_with("did you mean `admin:read`?"), "{told:?}");
    for body in [json!({ "name": "x", "scopes": [] }), json!({ "name": "x", "scopes": ["admin:read"], "realms": [] })] {
        assert_eq!(desk.refused(Method::POST, PATH, body).await.0, 400);
    }
    let all = desk.create(PATH, json!({ "name": "x", "scopes": ["admin:*"], "expires_at": null })).await;
    assert_eq!(all["scopes"], json!(ALL_SCOPES));
    assert!(all["warnings"][0].as_str().unwrap().contains("never expires"), "{all}");
}
