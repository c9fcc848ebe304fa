//! Address lists.

use http::Method;
use portcullis::admin::api::{Actor, Ask};
use serde_json::{Value, json};

use super::{Desk, HOUR, ask, at, faults, good, ids, later, problem, text};
use crate::store::{Ground, on_both};
use crate::support::NOW;

async fn lists(desk: &Desk) -> [(String, String); 2] {
    let owner = desk.client("team_42", json!({})).await;
    let key = desk.key(&owner, json!({})).await;
    let list = |noun: &str, id: &Value| format!("/admin/v1/{noun}/{}/ip-allowlist", text(id));
    let secret = text(&key["secret"]);
    [(list("clients", &owner["id"]), secret.clone()), (list("keys", &key["id"]), secret)]
}

on_both!(entries_come_and_go_and_the_key_follows_them);

async fn entries_come_and_go_and_the_key_follows_them(ground: Ground) {
    let desk = Desk::at(ground).await;
    for (list, secret) in lists(&desk).await {
        let answer = desk.ask(Method::POST, &list, json!({ "network": "203.0.113.0/24", "note": "office" })).await;
        let first = answer.body.clone().unwrap();
        assert_eq!((answer.status, answer.location), (201, Some(format!("{list}/{}", text(&first["id"])))));
        assert!(first["warnings"][0].as_str().unwrap().contains("no other address"), "{first}");
        let second = desk.create(&list, json!({ "network": "2001:db8::7" })).await;
        assert_eq!((&second["network"], second.get("warnings")), (&json!("2001:db8::7/128"), None));
        let shown = ids(&desk.get(&list).await);
        assert_eq!(shown.len(), 2);
        for (ip, code) in [("203.0.113.9", "VALID"), ("2001:db8::7", "VALID"), ("198.51.100.1", "IP_DENIED")] {
            assert_eq!(desk.verify(&secret, Some(ip)).await["code"], code, "{ip}");
        }
        let removed = good(desk.ask(Method::DELETE, &format!("{list}/203.0.113.0%2F24"), Value::Null).await, 200);
        assert_eq!((&removed["deleted"], &removed["open"]), (&first["id"], &json!(false)));
        assert_eq!(desk.verify(&secret, Some("203.0.113.9")).await["code"], "IP_DENIED");

        let last = format!("{list}/{}", text(&second["id"]));
        let (status, code, told) = desk.refused(Method::DELETE, &last, Value::Null).await;
        assert_eq!((status, code.as_str(), &told["target"]), (409, "confirmation_required", &second["id"]));
        assert_eq!(desk.verify(&secret, Some("198.51.100.1")).await["code"], "IP_DENIED", "nothing was changed");
        let removed = good(desk.ask(Method::DELETE, &format!("{last}?confirm=open"), Value::Null).await, 200);
        assert_eq!(removed["open"], true);
        assert!(removed["warnings"][0].as_str().unwrap().contains("every address is allowed"), "{removed}");
        assert_eq!(desk.verify(&secret, Some("198.51.100.1")).await["code"], "VALID");
        let actions = desk.actions().await;
        assert_eq!(actions[actions.len() - 4..], ["ip.added", "ip.removed", "ip.removed", "ip.list_emptied"]);
    }
}

#[tokio::test]
async fn loose_networks_are_refused_with_the_form_to_write() {
    let desk = Desk::open().await;
    let [(list, _), _] = lists(&desk).await;
    for (loose, form) in
        [("10.0.0.1/8", "10.0.0.0/8"), ("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("010.0.0.0/8", "10.0.0.0/8")]
    {
        let (status, _, told) = desk.refused(Method::POST, &list, json!({ "network": loose })).await;
        assert_eq!(status, 400);
        assert!(faults(&told)[0].1.contains(form), "{told}");
    }
    let body = json!({ "network": "10.0.0.0/8", "expires_at": "2001-01-01T00:00:00Z" });
    assert_eq!(faults(&desk.refused(Method::POST, &list, body).await.2)[0].0, "expires_at");
    desk.create(&list, json!({ "network": "10.0.0.0/8" })).await;
    let (status, code, _) = desk.refused(Method::POST, &list, json!({ "network": "10.0.0.0/8" })).await;
    assert_eq!((status, code.as_str()), (409, "conflict"));
    for (entry, status) in
        [("10.0.0.1%2F8", 400), ("nonsense", 400), ("192.0.2.0%2F24", 404), ("ip_00000000000000000000000000", 404)]
    {
        assert_eq!(desk.refused(Method::DELETE, &format!("{list}/{entry}"), Value::Null).await.0, status, "{entry}");
    }
    for nobody in ["clients/cli_x", "keys/key_x"] {
        let list = format!("/admin/v1/{nobody}/ip-allowlist");
        assert_eq!(desk.refused(Method::GET, &list, Value::Null).await.0, 404);
        assert_eq!(desk.refused(Method::POST, &list, json!({ "network": "10.0.0.0/8" })).await.0, 404);
    }
}

#[tokio::test]
async fn time_alone_opens_no_list() {
    let desk = Desk::open().await;
    for (list, secret) in lists(&desk).await {
        desk.clock.set(NOW);
        let entry = desk.create(&list, json!({ "network": "203.0.113.0/24", "expires_at": later(HOUR) })).await;
        assert_eq!(desk.verify(&secret, Some("203.0.113.9")).await["code"], "VALID");
        desk.clock.set(at(HOUR));
        for ip in ["203.0.113.9", "198.51.100.1"] {
            assert_eq!(desk.verify(&secret, Some(ip)).await["code"], "IP_DENIED", "{ip}");
            assert_eq!(desk.post(&format!("{list}/test"), json!({ "address": ip })).await["allowed"], false, "{ip}");
        }
        let last = format!("{list}/{}", text(&entry["id"]));
        assert_eq!(desk.refused(Method::DELETE, &last, Value::Null).await.1, "confirmation_required");
        let other = desk.create(&list, json!({ "network": "198.51.100.0/24" })).await;
        let removed = desk.ask(Method::DELETE, &format!("{list}/{}", text(&other["id"])), Value::Null).await;
        let removed = good(removed, 200);
        assert_eq!(removed["open"], false);
        assert!(removed["warnings"][0].as_str().unwrap().contains("no address is allowed"), "{removed}");
        good(desk.ask(Method::DELETE, &format!("{last}?confirm=open"), Value::Null).await, 200);
    }
}

#[tokio::test]
async fn an_address_is_tested_against_every_list_it_has_to_pass() {
    let desk = Desk::open().await;
    let [(owners, _), (keys, _)] = lists(&desk).await;
    let test = async |list: &str, address: &str| {
        let verdict = desk.post(&format!("{list}/test"), json!({ "address": address })).await;
        (verdict["allowed"] == true, verdict["by"].clone(), text(&verdict["reason"]))
    };
    assert_eq!(test(&keys, "203.0.113.9").await, (true, Value::Null, "there is no list: every address passes".into()));
    desk.create(&owners, json!({ "network": "203.0.113.0/24" })).await;
    let (allowed, by, reason) = test(&keys, "::ffff:203.0.113.9").await;
    assert_eq!((allowed, by), (true, json!("203.0.113.0/24")));
    assert!(reason.contains("owner's list"), "{reason}");
    desk.create(&keys, json!({ "network": "203.0.113.9" })).await;
    assert_eq!(test(&keys, "203.0.113.9").await.1, json!("203.0.113.9/32"));
    let (allowed, by, reason) = test(&keys, "203.0.113.10").await;
    assert_eq!((allowed, by), (false, Value::Null));
    assert!(reason.contains("key's list"), "{reason}");
    assert!(test(&owners, "203.0.113.10").await.0);
    assert_eq!(test("/admin/v1/keys/cfg%3Alegacy%2Fk1/ip-allowlist", "10.1.0.1").await.1, json!("10.1.0.0/16"));
    assert!(!test("/admin/v1/keys/cfg%3Alegacy%2Fk1/ip-allowlist", "10.2.0.1").await.0);
    assert_eq!(ids(&desk.get("/admin/v1/clients/cfg%3Alegacy/ip-allowlist").await), ["10.0.0.0/8"]);
    let (status, _, _) = desk.refused(Method::POST, &format!("{keys}/test"), json!({ "address": "10.0.0.0/8" })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_list_is_a_part_of_its_holder_whose_version_it_moves() {
    let desk = Desk::open().await;
    let [(list, _), _] = lists(&desk).await;
    let holder = list.trim_end_matches("/ip-allowlist").to_owned();
    let version = async || desk.get(&holder).await["version"].as_i64().unwrap();
    let before = version().await;
    desk.create(&list, json!({ "network": "10.0.0.0/8" })).await;
    let after = version().await;
    assert!(after > before);
    let op = Actor::on_the_machine("op");
    let adding = |network: &str, version: i64| Ask {
        if_match: Some(format!("\"{version}\"")),
        ..ask(Method::POST, &list, json!({ "network": network }))
    };
    assert_eq!(problem(desk.dispatch(&op, adding("10.1.0.0/16", before)).await).0, 412);
    assert_eq!(desk.dispatch(&op, adding("10.1.0.0/16", after)).await.status, 201);
    assert_eq!(ids(&desk.get(&list).await).len(), 2);
    assert_eq!(desk.get(&holder).await["ip_allowlist"].as_array().unwrap().len(), 2);
    let first = desk.get(&format!("{list}?limit=1")).await;
    let rest = desk.get(&format!("{list}?limit=1&cursor={}", text(&first["next_cursor"]))).await;
    assert_eq!((ids(&rest).len(), &rest["next_cursor"]), (1, &Value::Null));
}
