//! K-11: a node that does not hear of changes any more believes what it remembers for `max_staleness` and no longer; and
//! whoever changes something is told how long that is.

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::json;

use super::{House, with_key};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;
use crate::support::wire::Wire;

const BOUND: Duration = Duration::from_secs(1);
const BOUND_TOML: &str = "max_staleness = \"1s\"";

/// A node that looks at the same database through a wire.
fn far_node(house: &House, server: &Postgres, url: &str) -> (Gateway, Wire) {
    let wire = Wire::to(([127, 0, 0, 1], server.port()).into());
    let through = url.replace(&format!(":{}/", server.port()), &format!(":{}/", wire.addr().port()));
    let builder = Gateway::builder().standard(&house.standard).upstream(&house.upstream);
    (builder.database(&through).store_toml(BOUND_TOML).start(), wire)
}

#[test]
fn k11_a_node_whose_messages_are_lost_learns_of_a_revocation_by_looking() {
    let server = Postgres::shared();
    let url = server.new_database();
    let house = House::with(|builder| builder.database(&url).store_toml(BOUND_TOML));
    let (far, _wire) = far_node(&house, server, &url);
    let database = url.rsplit('/').next().expect("a database");
    for _ in 0..3 {
        let key = house.key();
        with_key(&far.caller(), &key.secret).send().ok();
        // Another transaction than the gateway's own ends the key: without a notification, as if it had been lost.
        let sql = format!(
            "BEGIN; UPDATE feed_position SET seq = seq + 1 WHERE one = 1; \
             UPDATE api_keys SET status = 'revoked', version = version + 1, revoked_at = 1 WHERE id = '{id}'; \
             INSERT INTO revocations (seq, realm, kind, value, at, expires_at) \
             SELECT seq, 'api', 'key', '{id}', {now}, {now} + 3600000 FROM feed_position; COMMIT",
            id = key.id,
            now = crate::support::NOW.0
        );
        server.sql(database, &sql);
        let watch = Stopwatch::start();
        eventually("the far node knows", || {
            let reply = with_key(&far.caller(), &key.secret).send();
            (reply.status != 200).then(|| reply.denied("key_revoked"))
        });
        assert!(watch.elapsed() < BOUND * 3, "{:?}", watch.elapsed());
    }
}

#[test]
fn k11_a_node_cut_off_from_the_store_refuses_within_the_bound_that_the_revocation_told() {
    let server = Postgres::shared();
    let url = server.new_database();
    let house = House::with(|builder| builder.database(&url).store_toml(BOUND_TOML));
    let (far, wire) = far_node(&house, server, &url);
    for held in [true, false] {
        let key = house.key();
        let ask = || with_key(&far.caller(), &key.secret).send();
        ask().ok();
        if held {
            wire.hold()
        } else {
            wire.cut()
        }
        let answer = house.admin().order(format!("/keys/{}/revoke", key.id)).is(200).json();
        let watch = Stopwatch::start();
        // Not «done», but since when, and where.
        assert_eq!(answer["effective"], json!({ "this_node": "now", "other_nodes_within_ms": 1000 }));
        house.call(&key.secret).send().denied("key_revoked");
        eventually("the far node has stopped believing", || {
            let sent = watch.elapsed();
            let reply = ask();
            match reply.status {
                200 => {
                    assert!(sent <= BOUND, "let in {sent:?} after the revocation was answered");
                    None
                }
                // Not 401: it cannot know.
                503 => Some(reply.denied("store_unavailable")),
                _ => panic!("{reply:?}"),
            }
        });
        assert_eq!(far.admin_get("/readyz").status, 503);
        wire.flow();
        let watch = Stopwatch::start();
        eventually("the far node knows", || {
            let reply = ask();
            assert_ne!(reply.status, 200, "{reply:?}");
            (reply.status == 401).then(|| reply.denied("key_revoked"))
        });
        assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
        far.until_ready();
    }
}

#[test]
fn k11_every_change_tells_since_when_it_is_in_force() {
    let house = House::with(|builder| builder.store_toml(BOUND_TOML));
    let (admin, key) = (house.admin(), house.key());
    let (team, id) = (&house.team, &key.id);
    let effective = json!({ "this_node": "now", "other_nodes_within_ms": 1000 });
    for (method, path, body) in [
        ("POST", format!("/keys/{id}/disable"), json!({})),
        ("POST", format!("/keys/{id}/enable"), json!({})),
        ("POST", format!("/keys/{id}/rotate"), json!({ "overlap_seconds": 0 })),
        ("PATCH", format!("/keys/{id}"), json!({ "scopes": [] })),
        ("POST", format!("/keys/{id}/ip-allowlist"), json!({ "network": "127.0.0.0/8" })),
        ("DELETE", format!("/keys/{id}/ip-allowlist/127.0.0.0%2F8?confirm=open"), json!(null)),
        ("POST", format!("/keys/{id}/revoke"), json!({})),
        ("PATCH", format!("/clients/{team}"), json!({ "scopes": [] })),
        ("POST", format!("/clients/{team}/ip-allowlist"), json!({ "network": "127.0.0.0/8" })),
        ("POST", format!("/clients/{team}/disable"), json!({})),
        ("DELETE", format!("/clients/{team}"), json!(null)),
    ] {
        let bodyless = body.is_null() || path.ends_with("able");
        let call = if bodyless { admin.call(method, &path) } else { admin.call_with(method, &path, &body) };
        let reply = call.send();
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
        assert_eq!(reply.json()["effective"], effective, "{method} {path}");
    }
}
