//! The audit trail, as it is listed, followed and verified.

use super::*;

async fn seqs(desk: &Desk, actor: &Actor, target: &str) -> (Vec<i64>, Option<String>) {
    let answer = desk.ask(actor, get(target)).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    let body = body_of(&answer);
    let seqs = body["data"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    (seqs, body["next_cursor"].as_str().map(str::to_owned))
}

/// Five clients in `shop`, one in `links`.
async fn something_happens(desk: &Desk) {
    for (realm, identifier) in
        [("shop", "a"), ("shop", "b"), ("links", "c"), ("shop", "d"), ("shop", "e"), ("shop", "f")]
    {
        let body = json!({ "realm": realm, "kind": "owner", "identifier": identifier });
        assert_eq!(desk.ask(&desk.root, post("/admin/v1/clients", &body)).await.status, 201);
        desk.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn the_trail_is_listed_newest_first_part_by_part() {
    on_sqlite(async |desk| {
        something_happens(&desk).await;
        let (first, cursor) = seqs(&desk, &desk.root, "/admin/v1/audit?limit=4").await;
        assert_eq!(first, [6, 5, 4, 3]);
        let next = format!("/admin/v1/audit?limit=4&cursor={}", cursor.unwrap());
        assert_eq!(seqs(&desk, &desk.root, &next).await, (vec![2, 1], None));
        assert_eq!(code_of(&desk.ask(&desk.root, get("/admin/v1/audit?cursor=x")).await), "validation_failed");
    });
}

#[test]
fn the_trail_is_filtered_by_realm_actor_action_and_time() {
    on_sqlite(async |desk| {
        something_happens(&desk).await;
        let listed = async |query: &str| seqs(&desk, &desk.root, &format!("/admin/v1/audit?{query}")).await.0;
        assert_eq!(listed("realm=links").await, [3]);
        assert_eq!(listed("action=client.&realm=shop").await.len(), 5);
        assert_eq!(listed("action=key.").await.len(), 0);
        assert_eq!(listed("actor=root&outcome=ok").await.len(), 6);
        assert_eq!(listed("outcome=denied").await.len(), 0);
        let (since, until) = (later(1).to_string(), later(3).to_string());
        assert_eq!(listed(&format!("since={since}&until={until}")).await, [3, 2]);
        let target = desk.trail().await[0].entry.target_id.clone().unwrap();
        assert_eq!(listed(&format!("target={target}")).await, [1]);
    });
}

#[test]
fn a_token_of_one_realm_sees_the_events_of_that_realm_alone() {
    on_sqlite(async |desk| {
        something_happens(&desk).await;
        let actor = desk.actor(&["admin:read"], Some(&["links"])).await;
        assert_eq!(seqs(&desk, &actor, "/admin/v1/audit").await.0, [3]);
        assert_eq!(seqs(&desk, &actor, "/admin/v1/audit/stream?after=0").await.0, [3]);
    });
}

#[test]
fn the_trail_is_followed_from_where_one_was() {
    on_sqlite(async |desk| {
        something_happens(&desk).await;
        let (none, now) = seqs(&desk, &desk.root, "/admin/v1/audit/stream").await;
        assert_eq!((none.len(), now.as_deref()), (0, Some("6")));
        let (part, next) = seqs(&desk, &desk.root, "/admin/v1/audit/stream?after=3&limit=2").await;
        assert_eq!((part, next.as_deref()), (vec![4, 5], Some("5")));
        let (end, next) = seqs(&desk, &desk.root, "/admin/v1/audit/stream?after=6").await;
        assert_eq!((end.len(), next.as_deref()), (0, Some("6")));
    });
}

#[test]
fn a_trail_that_was_touched_is_found() {
    on_sqlite(async |desk| {
        something_happens(&desk).await;
        let verify = async || desk.ask(&desk.root, post("/admin/v1/audit/verify", &Value::Null)).await;
        let good = verify().await;
        let expected = json!({ "intact": true, "events": 6, "chains": 1, "broken": null });
        assert_eq!(body_of(&good), &expected);
        desk._ground.sql("UPDATE audit_events SET actor_id = 'nobody' WHERE position = 4").await;
        let broken = verify().await;
        assert_eq!(body_of(&broken)["intact"], false);
        assert!(body_of(&broken)["broken"].as_str().unwrap().contains('4'), "{broken:?}");
    });
}
