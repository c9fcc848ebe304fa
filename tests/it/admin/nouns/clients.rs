//! Principals.

use http::Method;
use serde_json::{Value, json};

use super::{DAY, Desk, HOUR, ask, at, faults, good, identifiers, ids, problem, text};
use crate::store::{Ground, on_both};
use portcullis::admin::api::{Actor, Ask};

#[tokio::test]
async fn a_client_is_made_as_it_was_asked_for_and_can_be_read_again() {
    let desk = Desk::open().await;
    let body = json!({
        "realm": "shop",
        "kind": "owner",
        "identifier": "Team_42",
        "roles": ["reader"],
        "plan": "Growth",
        "tenant": "acme",
        "scopes": ["orders:*"],
        "attributes": { "seats": 7, "beta": true },
        "ip_allowlist": ["203.0.113.0/24", "2001:db8::7"],
    });
    let answer = desk.ask(Method::POST, "/admin/v1/clients", body.clone()).await;
    let made = answer.body.clone().unwrap();
    let id = text(&made["id"]);
    assert!(id.starts_with("own_"), "{id}");
    assert_eq!(answer.location.as_deref(), Some(&*format!("/admin/v1/clients/{id}")));
    assert_eq!(answer.etag, Some(format!("\"{}\"", made["version"])));
    assert_eq!(made["effective"], json!({ "this_node": "now", "other_nodes_within_ms": 1500 }));
    for field in ["realm", "kind", "identifier", "roles", "plan", "tenant", "scopes", "attributes"] {
        assert_eq!(made[field], body[field], "{field}");
    }
    assert_eq!(made["ip_allowlist"], json!(["203.0.113.0/24", "2001:db8::7/128"]));
    assert_eq!(
        (&made["source"], &made["status"], &made["created_by"]),
        (&json!("store"), &json!("active"), &json!("op"))
    );

    let mut shown = desk.get(&format!("/admin/v1/clients/{id}")).await;
    let mut made = made;
    made.as_object_mut().unwrap().remove("effective");
    sort_networks(&mut shown);
    sort_networks(&mut made);
    assert_eq!(shown, made);

    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), event.realm.as_deref()), ("client.created", Some("shop")));
    assert_eq!((event.actor_kind.as_str(), event.target_id.as_deref()), ("cli", Some(&*id)));
    assert_eq!(event.detail["identifier"], "Team_42");
}

/// Entries made at the same moment have no order.
fn sort_networks(client: &mut Value) {
    client["ip_allowlist"].as_array_mut().unwrap().sort_by_key(Value::to_string);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_body_is_told_at_once() {
    let desk = Desk::open().await;
    let body = json!({ "realm": "shop", "kind": "robot", "rolse": [], "ip_allowlist": ["10.0.0.1/8"] });
    let (status, code, told) = desk.refused(Method::POST, "/admin/v1/clients", body).await;
    assert_eq!((status, code.as_str()), (400, "validation_failed"));
    let fields: Vec<_> = faults(&told).into_iter().map(|(field, _)| field).collect();
    for field in ["kind", "rolse", "ip_allowlist[0]", "identifier"] {
        assert!(fields.iter().any(|told| told == field), "{field} is not among {fields:?}");
    }
    assert!(told.to_string().contains("10.0.0.0/8"), "{told}");

    let body = json!({ "realm": "shop", "identifier": "x", "roles": ["raeder"], "scopes": ["ordres:read", "or*ers"] });
    let (_, _, told) = desk.refused(Method::POST, "/admin/v1/clients", body).await;
    let told = faults(&told);
    assert_eq!(
        told.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(),
        ["roles[0]", "scopes[0]", "scopes[1]"]
    );
    assert!(told[0].1.ends_with("did you mean `reader`?"), "{told:?}");
    assert!(told[1].1.ends_with("did you mean `orders:read`?"), "{told:?}");
    assert!(desk.trail().await.is_empty());
}

#[tokio::test]
async fn scopes_are_free_where_a_realm_lists_none() {
    let desk = Desk::open().await;
    let body = json!({ "realm": "links", "identifier": "x", "scopes": ["whatever:*"] });
    desk.create("/admin/v1/clients", body).await;
}

on_both!(an_identifier_is_taken_once_in_a_realm_whatever_its_case);

async fn an_identifier_is_taken_once_in_a_realm_whatever_its_case(ground: Ground) {
    let desk = Desk::at(ground).await;
    let first = desk.client("team_42", json!({})).await;
    let body = |realm: &str, identifier: &str| json!({ "realm": realm, "identifier": identifier });
    let (status, code, told) = desk.refused(Method::POST, "/admin/v1/clients", body("shop", "TEAM_42")).await;
    assert_eq!((status, code.as_str(), &told["target"]), (409, "conflict", &first["id"]));
    desk.create("/admin/v1/clients", body("links", "team_42")).await;

    let (status, code, told) = desk.refused(Method::POST, "/admin/v1/clients", body("shop", "Legacy")).await;
    assert_eq!((status, code.as_str(), &told["target"]), (409, "conflict", &json!("cfg:legacy")));
    assert!(text(&told["detail"]).contains("portcullis.toml:"), "{told}");

    let other = desk.client("team_43", json!({})).await;
    let path = format!("/admin/v1/clients/{}", text(&other["id"]));
    for taken in ["Team_42", "LEGACY"] {
        let (status, code, _) = desk.refused(Method::PATCH, &path, json!({ "identifier": taken })).await;
        assert_eq!((status, code.as_str()), (409, "conflict"), "{taken}");
    }
    desk.patch(&path, json!({ "identifier": "Team_43" })).await;
}

#[tokio::test]
async fn the_realm_is_asked_for_where_several_could_be_meant() {
    let desk = Desk::open().await;
    let (_, _, told) = desk.refused(Method::POST, "/admin/v1/clients", json!({ "identifier": "x" })).await;
    assert_eq!(faults(&told), [("realm".into(), "is required, because there are several: shop, links".into())]);
    let one = super::token(&["admin:clients"], Some(&["links"]));
    let answer = desk.ask_as(&one, Method::POST, "/admin/v1/clients", json!({ "identifier": "x" })).await;
    assert_eq!(good(answer, 201)["realm"], "links");
    let (_, _, told) =
        desk.refused(Method::POST, "/admin/v1/clients", json!({ "identifier": "x", "realm": "shpo" })).await;
    assert!(faults(&told)[0].1.ends_with("did you mean `shop`?"), "{told}");
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_null_takes_away() {
    let desk = Desk::open().await;
    let made = desk.client("team_42", json!({ "plan": "Growth", "tenant": "acme", "scopes": ["orders:read"] })).await;
    let path = format!("/admin/v1/clients/{}", text(&made["id"]));
    desk.clock.set(at(HOUR));
    let changed = desk.patch(&path, json!({ "plan": "Scale", "tenant": null, "roles": ["clerk"] })).await;
    assert_eq!(
        (&changed["plan"], &changed["tenant"], &changed["roles"]),
        (&json!("Scale"), &Value::Null, &json!(["clerk"]))
    );
    assert_eq!(changed["scopes"], json!(["orders:read"]));
    assert_eq!(changed["version"].as_i64().unwrap(), made["version"].as_i64().unwrap() + 1);
    assert_ne!(changed["updated_at"], changed["created_at"]);

    let event = desk.last_event().await.entry;
    assert_eq!(event.action, "client.updated");
    let expected = json!({
        "roles": { "old": [], "new": ["clerk"] },
        "plan": { "old": "Growth", "new": "Scale" },
        "tenant": { "old": "acme", "new": null },
    });
    assert_eq!(Value::from(event.detail), expected);

    let (status, _, told) = desk.refused(Method::PATCH, &path, json!({ "roles": ["clark"] })).await;
    assert_eq!(status, 400);
    assert!(faults(&told)[0].1.ends_with("did you mean `clerk`?"), "{told}");
    assert_eq!(desk.refused(Method::PATCH, &path, json!({})).await.0, 400);
    assert_eq!(desk.refused(Method::PATCH, "/admin/v1/clients/cli_nobody", json!({ "plan": "x" })).await.0, 404);
}

#[tokio::test]
async fn a_version_that_is_no_longer_there_changes_nothing() {
    let desk = Desk::open().await;
    let made = desk.client("team_42", json!({})).await;
    let path = format!("/admin/v1/clients/{}", text(&made["id"]));
    desk.patch(&path, json!({ "plan": "Growth" })).await;
    let op = Actor::on_the_machine("op");
    let with = |method: Method, target: &str, body: Value, version: &str| Ask {
        if_match: Some(format!("\"{version}\"")),
        ..ask(method, target, body)
    };
    let calls = [
        (Method::PATCH, path.clone(), json!({ "plan": "Other" })),
        (Method::DELETE, path.clone(), Value::Null),
        (Method::POST, format!("{path}/disable"), Value::Null),
        (Method::POST, format!("{path}/enable"), Value::Null),
        (Method::POST, format!("{path}/unlock"), Value::Null),
    ];
    for (method, target, body) in calls {
        let (status, code, _) = problem(desk.dispatch(&op, with(method.clone(), &target, body, "1")).await);
        assert_eq!((status, code.as_str()), (412, "stale_version"), "{method} {target}");
    }
    let shown = desk.get(&path).await;
    assert_eq!((&shown["plan"], &shown["status"], &shown["version"]), (&json!("Growth"), &json!("active"), &json!(2)));
    good(desk.dispatch(&op, with(Method::PATCH, &path, json!({ "plan": "Other" }), "2")).await, 200);
}

#[tokio::test]
async fn a_client_is_switched_off_and_on_however_often_it_is_asked_for() {
    let desk = Desk::open().await;
    let made = desk.client("team_42", json!({})).await;
    let path = format!("/admin/v1/clients/{}", text(&made["id"]));
    for (verb, status) in [("disable", "disabled"), ("disable", "disabled"), ("enable", "active"), ("enable", "active")]
    {
        assert_eq!(desk.post(&format!("{path}/{verb}"), Value::Null).await["status"], status);
    }
    desk.post(&format!("{path}/unlock"), Value::Null).await;
    let actions = desk.actions().await;
    assert_eq!(actions, ["client.created", "client.disabled", "client.enabled", "client.unlocked"]);
}

#[tokio::test]
async fn an_identifier_cannot_pass_for_another_by_what_nobody_sees() {
    let desk = Desk::open().await;
    let made = desk.client("team_42", json!({})).await;
    let path = format!("/admin/v1/clients/{}", text(&made["id"]));
    for odd in ["team\u{200b}_42", "\u{202e}24_maet", "team_42 ", "\u{a0}team_42", "team\u{2003}42", "team_42\u{e0041}"]
    {
        let body = json!({ "realm": "shop", "identifier": odd });
        for (method, path) in [(Method::POST, "/admin/v1/clients"), (Method::PATCH, path.as_str())] {
            let body = if method == Method::POST { body.clone() } else { json!({ "identifier": odd }) };
            let (status, code, told) = desk.refused(method, path, body).await;
            assert_eq!((status, code.as_str()), (400, "validation_failed"), "{odd:?}");
            assert_eq!(told["errors"][0]["field"], "identifier");
        }
    }
    desk.create("/admin/v1/clients", json!({ "realm": "shop", "identifier": "Café 42, München" })).await;
}

on_both!(a_client_that_is_removed_takes_its_keys_with_it_and_says_which);

async fn a_client_that_is_removed_takes_its_keys_with_it_and_says_which(ground: Ground) {
    let desk = Desk::at(ground).await;
    let made = desk.client("team_42", json!({})).await;
    let (a, b) = (desk.key(&made, json!({})).await, desk.key(&made, json!({})).await);
    let path = format!("/admin/v1/clients/{}", text(&made["id"]));
    let answer = good(desk.ask(Method::DELETE, &path, Value::Null).await, 200);
    assert_eq!(answer["keys_ended_count"], 2);
    let mut ended: Vec<_> = answer["keys_ended"].as_array().unwrap().iter().map(text).collect();
    ended.sort();
    let mut expected = vec![text(&a["id"]), text(&b["id"])];
    expected.sort();
    assert_eq!((&answer["deleted"], ended), (&made["id"], expected));
    assert_eq!(desk.refused(Method::GET, &path, Value::Null).await.0, 404);
    assert_eq!(desk.refused(Method::DELETE, &path, Value::Null).await.0, 404);
    assert_eq!(desk.code(&text(&a["secret"])).await, "NOT_FOUND");
    let event = desk.last_event().await.entry;
    assert_eq!((event.action.as_str(), &event.detail["keys_ended_count"]), ("client.deleted", &json!(2)));
}

#[tokio::test]
async fn a_password_is_hashed_and_only_one_that_was_made_is_shown() {
    let desk = Desk::open().await;
    let made = desk.client("ada", json!({ "kind": "user" })).await;
    let path = format!("/admin/v1/clients/{}/password", text(&made["id"]));
    let answer = desk.post(&path, json!({})).await;
    let generated = text(&answer["password"]);
    assert_eq!((generated.len(), &answer["has_password"]), (32, &json!(true)));

    let chosen = "correct horse battery staple";
    let answer = desk.post(&path, json!({ "password": chosen })).await;
    assert_eq!(answer.get("password"), None);
    assert!(!answer.to_string().contains(chosen), "{answer}");

    let (status, _, told) = desk.refused(Method::POST, &path, json!({ "password": "tooshort1" })).await;
    assert_eq!((status, faults(&told)[0].0.as_str()), (400, "password"));
    assert!(!told.to_string().contains("tooshort1"), "{told}");
    let trail = format!("{:?}", desk.trail().await);
    assert!(trail.contains("client.password_set"), "{trail}");
    for secret in [generated.as_str(), chosen, "argon2"] {
        assert!(!trail.contains(secret), "{secret} in {trail}");
    }
    let nobody = "/admin/v1/clients/usr_00000000000000000000000000/password";
    assert_eq!(desk.refused(Method::POST, nobody, json!({})).await.0, 404);
}

#[tokio::test]
async fn a_hash_that_was_made_elsewhere_is_taken_over_and_never_told() {
    let desk = Desk::open().await;
    let hash = "$2b$05$HF3CnzWksCsKisqrZ9i82uYt4qdA4Wp.ZLbeqIX7dIe1PDN2RnEzG";
    let made = desk.client("ada", json!({ "kind": "user", "password_hash": hash })).await;
    assert_eq!(made["has_password"], true);
    assert_eq!(desk.last_event().await.entry.detail["has_password"], true);
    assert_eq!(desk.client("bob", json!({})).await["has_password"], false);
    let id = text(&desk.client("cyd", json!({ "kind": "user" })).await["id"]);
    let path = format!("/admin/v1/clients/{id}/password");
    let other = "$scrypt$ln=10,r=8,p=2$EJ4AAQIDBAUGBwgJCgsMDQ$7IODqJw7l/HwccgSkfGGMuPkS24Dm1Jn20lW4XC3/TQ";
    let answer = desk.post(&path, json!({ "password_hash": other })).await;
    assert_eq!((&answer["has_password"], answer.get("password")), (&json!(true), None));
    assert_eq!(desk.last_event().await.entry.detail, *json!({ "generated": false }).as_object().unwrap());

    let dear = "$2b$20$HF3CnzWksCsKisqrZ9i82uYt4qdA4Wp.ZLbeqIX7dIe1PDN2RnEzG";
    for bad in [dear, "hunter2-and-more", "$1$salt$hash", &"$2b$".repeat(200)] {
        let new = json!({ "realm": "shop", "identifier": "dan", "password_hash": bad });
        for (path, body) in [("/admin/v1/clients", new), (&path, json!({ "password_hash": bad }))] {
            let (status, _, told) = desk.refused(Method::POST, path, body).await;
            assert_eq!((status, faults(&told)[0].0.as_str()), (400, "password_hash"), "{bad}");
            assert!(!told.to_string().contains(bad), "{told}");
        }
    }
    let both = json!({ "password": "correct horse battery staple", "password_hash": hash });
    assert_eq!(faults(&desk.refused(Method::POST, &path, both).await.2)[0].0, "password_hash");
    let trail = format!("{:?}", desk.trail().await);
    for secret in [hash, other, dear, "hunter2", "$2b$", "$scrypt$"] {
        assert!(!trail.contains(secret), "{secret} in {trail}");
    }
}

#[tokio::test]
async fn an_identifier_that_nobody_could_sign_in_with_is_refused() {
    let desk = Desk::open().await;
    for bad in ["ann\u{ff20}example.org", "quac\u{212a}", "jose\u{301}", "ann\u{200b}"] {
        let body = json!({ "realm": "shop", "identifier": bad });
        assert_eq!(
            faults(&desk.refused(Method::POST, "/admin/v1/clients", body).await.2)[0].0,
            "identifier",
            "{bad:?}"
        );
    }
    desk.client("Jos\u{e9} \u{41f}\u{410}", json!({})).await;
}

#[tokio::test]
async fn a_declared_client_is_read_and_never_written() {
    let desk = Desk::open().await;
    let shown = desk.get("/admin/v1/clients/cfg%3Alegacy").await;
    assert_eq!(
        (&shown["source"], &shown["identifier"], &shown["version"]),
        (&json!("config"), &json!("legacy"), &json!(0))
    );
    assert_eq!(shown["ip_allowlist"], json!(["10.0.0.0/8"]));
    let place = text(&shown["declared_at"]);
    assert!(place.starts_with("portcullis.toml:"), "{place}");
    let calls = [
        (Method::PATCH, "", json!({ "plan": "x" })),
        (Method::DELETE, "", Value::Null),
        (Method::POST, "/disable", Value::Null),
        (Method::POST, "/enable", Value::Null),
        (Method::POST, "/unlock", Value::Null),
        (Method::POST, "/password", json!({})),
        (Method::POST, "/ip-allowlist", json!({ "network": "10.0.0.0/8" })),
        (Method::DELETE, "/ip-allowlist/10.0.0.0%2F8", Value::Null),
    ];
    for (method, rest, body) in calls {
        let target = format!("/admin/v1/clients/cfg%3Alegacy{rest}");
        let (status, code, told) = desk.refused(method.clone(), &target, body).await;
        assert_eq!((status, code.as_str()), (409, "read_only"), "{method} {target}");
        assert!(text(&told["detail"]).contains(&place), "{told}");
    }
    assert_eq!(desk.refused(Method::PATCH, "/admin/v1/clients/cfg%3Aother", json!({ "plan": "x" })).await.0, 404);
    let elsewhere = "/admin/v1/clients/cfg%3Alegacy?realm=links";
    assert_eq!(desk.refused(Method::GET, elsewhere, Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_list_goes_on_where_the_part_before_ended_and_closes_with_the_declared_ones() {
    let desk = Desk::open().await;
    for n in 0..5_u32 {
        desk.clock.set(at(HOUR * n));
        desk.client(&format!("team_{n}"), json!({ "tenant": if n % 2 == 0 { "even" } else { "odd" } })).await;
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for limit in [2, 2, 1, 1] {
        let list = desk.get(&format!("/admin/v1/clients?realm=shop&limit={limit}{cursor}")).await;
        assert_eq!(list["data"].as_array().unwrap().len(), limit);
        seen.extend(identifiers(&list));
        cursor = list["next_cursor"].as_str().map_or(String::new(), |next| format!("&cursor={next}"));
    }
    assert_eq!(seen, ["team_0", "team_1", "team_2", "team_3", "team_4", "legacy"]);
    assert!(cursor.is_empty(), "{cursor}");

    let filtered = async |query: &str| identifiers(&desk.get(&format!("/admin/v1/clients?{query}")).await);
    assert_eq!(filtered("tenant=odd").await, ["team_1", "team_3"]);
    assert_eq!(filtered("identifier=TEAM_3").await, ["team_3"]);
    assert_eq!(filtered("identifier=Legacy").await, ["legacy"]);
    assert_eq!(filtered("kind=user").await, [""; 0]);
    assert_eq!(filtered("realm=links").await, [""; 0]);
    assert_eq!(filtered("status=disabled").await, [""; 0]);
    for bad in ["cursor=nonsense", "limit=0", "limit=201", "status=gone", "realm=nowhere", "colour=red"] {
        let (status, _, _) = desk.refused(Method::GET, &format!("/admin/v1/clients?{bad}"), Value::Null).await;
        assert_eq!(status, 400, "{bad}");
    }
}

on_both!(who_asks_twice_with_one_key_makes_one_client);

async fn who_asks_twice_with_one_key_makes_one_client(ground: Ground) {
    let desk = Desk::at(ground).await;
    let op = Actor::on_the_machine("op");
    let twice =
        |body: Value| Ask { idempotency_key: Some("k-1".into()), ..ask(Method::POST, "/admin/v1/clients", body) };
    let body = json!({ "realm": "shop", "identifier": "team_42" });
    let first = desk.dispatch(&op, twice(body.clone())).await;
    let second = desk.dispatch(&op, twice(body)).await;
    assert_eq!((first.status, &first.body, &first.location), (201, &second.body, &second.location));
    assert_eq!(ids(&desk.get("/admin/v1/clients?identifier=team_42").await).len(), 1);
    let other = desk.dispatch(&op, twice(json!({ "realm": "shop", "identifier": "team_43" }))).await;
    assert_eq!(problem(other).0, 422);
    desk.clock.set(at(DAY * 2));
    let after = desk.dispatch(&op, twice(json!({ "realm": "shop", "identifier": "team_43" }))).await;
    assert_eq!(after.status, 201);
}
