//! Asking twice, and asking at the same time.

use super::*;

fn keyed(key: &str, ask: Ask) -> Ask {
    Ask { idempotency_key: Some(key.to_owned()), ..ask }
}

fn client(identifier: &str) -> Ask {
    post("/admin/v1/clients", &json!({ "realm": "shop", "kind": "owner", "identifier": identifier }))
}

#[test]
fn the_same_request_is_answered_as_it_was_and_done_once() {
    on_sqlite(async |desk| {
        let first = desk.ask(&desk.root, keyed("a", client("team_1"))).await;
        assert_eq!(first.status, 201, "{first:?}");
        let events = desk.trail().await.len();
        let again = desk.ask(&desk.root, keyed("a", client("team_1"))).await;
        assert_eq!(again, first);
        assert_eq!(desk.trail().await.len(), events);
        let other = desk.ask(&desk.root, keyed("a", client("team_2"))).await;
        assert_eq!((other.status, code_of(&other)), (422, "idempotency_key_reused"));
    });
}

#[test]
fn a_secret_is_shown_once_even_to_those_who_ask_again() {
    on_sqlite(async |desk| {
        let ask = || keyed("a", post("/admin/v1/admin-tokens", &json!({ "name": "ci", "scopes": ["admin:read"] })));
        let first = desk.ask(&desk.root, ask()).await;
        assert!(body_of(&first)["secret"].is_string());
        let again = desk.ask(&desk.root, ask()).await;
        assert_eq!((again.status, code_of(&again)), (409, "already_created"));
        assert_eq!(body_of(&again)["target"], body_of(&first)["id"]);
        assert!(!body_of(&again).to_string().contains("pca_"));
    });
}

#[test]
fn one_key_of_two_actors_is_two_keys_and_it_lasts_a_day() {
    on_sqlite(async |desk| {
        let actor = desk.actor(&["admin:clients"], None).await;
        assert_eq!(desk.ask(&desk.root, keyed("a", client("team_1"))).await.status, 201);
        assert_eq!(desk.ask(&actor, keyed("a", client("team_2"))).await.status, 201);
        desk.clock.set(later(25 * 60 * 60));
        assert_eq!(desk.ask(&desk.root, keyed("a", client("team_3"))).await.status, 201);
    });
}

#[test]
fn of_many_who_ask_at_the_same_time_one_does_it_and_all_get_its_answer() {
    on_sqlite(async |desk| {
        let desk = Arc::new(desk);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let desk = Arc::clone(&desk);
            tasks.spawn(async move { desk.ask(&desk.root, keyed("a", client("team_1"))).await });
        }
        let answers = tasks.join_all().await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (201, &answers[0].body), "{answer:?}");
        }
        let list = desk.ask(&desk.root, get("/admin/v1/clients?identifier=team_1")).await;
        assert_eq!(body_of(&list)["data"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_key_that_is_none_is_refused() {
    on_sqlite(async |desk| {
        for key in ["", "a b", "\u{e4}", &"x".repeat(256)] {
            let answer = desk.ask(&desk.root, keyed(key, client("team_1"))).await;
            assert_eq!((answer.status, &body_of(&answer)["errors"][0]["field"]), (400, &json!("Idempotency-Key")));
        }
    });
}

#[test]
fn a_change_says_since_when_it_is_in_force_and_waits_for_this_node() {
    on_sqlite(async |desk| {
        let made = desk.ask(&desk.root, client("team_1")).await;
        assert_eq!(body_of(&made)["effective"]["this_node"], "now");
        let id = body_of(&made)["id"].as_str().unwrap();
        let answer = desk.ask(&desk.root, post(&format!("/admin/v1/clients/{id}/disable"), &Value::Null)).await;
        assert_eq!(body_of(&answer)["effective"], json!({ "this_node": "now", "other_nodes_within_ms": 1500 }));
        let newest = desk.store.feed_span().await.unwrap().newest;
        assert_eq!(desk.around.applied.lock().unwrap().last(), Some(&newest));
    });
}

#[test]
fn who_overwrites_what_somebody_else_changed_is_told() {
    on_sqlite(async |desk| {
        let made = desk.ask(&desk.root, client("team_1")).await;
        let path = format!("/admin/v1/clients/{}", body_of(&made)["id"].as_str().unwrap());
        let patch = |tag: Option<&str>| Ask {
            if_match: tag.map(str::to_owned),
            ..ask(Method::PATCH, &path, &json!({ "tenant": "t" }))
        };
        let tag = desk.ask(&desk.root, get(&path)).await.etag.expect("a tag");
        assert_eq!(desk.ask(&desk.root, patch(Some(&tag))).await.status, 200);
        for stale in [tag.as_str(), &format!("W/{tag}"), "\"x\""] {
            assert_eq!(code_of(&desk.ask(&desk.root, patch(Some(stale))).await), "stale_version", "{stale}");
        }
        for none in ["1", "\"1\", \"2\"", ""] {
            assert_eq!(code_of(&desk.ask(&desk.root, patch(Some(none))).await), "validation_failed", "{none}");
        }
        assert_eq!(desk.ask(&desk.root, patch(Some("*"))).await.status, 200);
        assert_eq!(desk.ask(&desk.root, patch(None)).await.status, 200);
    });
}
