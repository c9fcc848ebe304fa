//! What a key is told that is refused (K-02), which texts are no key at all (K-07), and that a refusal is forgotten when
//! the text becomes a key (K-13).

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::json;

use super::{House, Kept, on_both, with_key};
use crate::support::administrator::Made;
use crate::support::caller::Reply;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;
use crate::support::realms::{api_key, key_prefix};

on_both!(
    k02_addresses_and_scopes_are_spoken_of_after_the_key_has_proved_valid,
    k07_only_the_exact_text_is_the_key_and_the_store_is_not_asked_for_others,
    k13_a_text_that_was_just_refused_works_as_soon_as_it_is_a_key,
);

/// Where nobody of these tests calls from.
const ELSEWHERE: &str = "203.0.113.0/24";

/// What is answered but for what differs with every answer.
fn told(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let id = reply.request_id().to_owned();
    let own = |name: &str| ["date", "x-request-id"].iter().any(|n| name.eq_ignore_ascii_case(n));
    let headers = reply.headers.iter().filter(|(name, _)| !own(name)).cloned().collect();
    (reply.status, headers, reply.text().replace(&id, "ID"))
}

fn k02_addresses_and_scopes_are_spoken_of_after_the_key_has_proved_valid(kept: Kept) {
    let house = House::on(kept);
    let (admin, list) = (house.admin(), json!({ "ip_allowlist": [ELSEWHERE] }));
    let soon = json!({ "expires_at": "2025-11-21T00:45:54Z" });
    let both = json!({ "expires_at": "2025-11-21T00:45:54Z", "ip_allowlist": [ELSEWHERE] });
    let pairs: Vec<(&str, Made, Made)> = vec![
        ("disabled", house.key(), house.key_with(&list)),
        ("revoked", house.key(), house.key_with(&list)),
        ("expired", house.key_with(&soon), house.key_with(&both)),
        ("rotated", house.key(), house.key_with(&list)),
    ];
    for (what, here, elsewhere) in &pairs {
        for key in [here, elsewhere] {
            match *what {
                "disabled" => drop(admin.order(format!("/keys/{}/disable", key.id)).is(200)),
                "revoked" => drop(admin.order(format!("/keys/{}/revoke", key.id)).is(200)),
                "rotated" => {
                    drop(admin.post(format!("/keys/{}/rotate", key.id), &json!({ "overlap_seconds": 0 })).is(200));
                }
                _ => {}
            }
        }
    }
    let (good, listed) = (house.key(), house.key_with(&list));
    house.gw.pass(Duration::from_secs(2 * 3600));
    for (what, here, elsewhere) in &pairs {
        let reason = if *what == "rotated" { "key_expired".to_owned() } else { format!("key_{what}") };
        // On a route whose scope none of them has: neither the scope nor the list shows.
        for path in ["/me/x", "/campaigns/x"] {
            let ask = |key: &Made| house.gw.get(path).header("X-API-Key", &key.secret).send().denied(&reason);
            for _ in 0..2 {
                // Read from the store, then from memory.
                assert_eq!(told(&ask(here)), told(&ask(elsewhere)), "{what} {path}");
            }
        }
    }
    house.gw.get("/campaigns/x").header("X-API-Key", &good.secret).send().denied("insufficient_scope");
    house.gw.get("/campaigns/x").header("X-API-Key", &listed.secret).send().denied("ip_denied");
    house.upstream.assert_untouched();
    house.call(&good.secret).send().ok();
}

#[test]
fn k02_an_unknown_key_and_one_of_another_realm_are_told_the_same() {
    let other = "realm = \"other\"\nhosts = [\"other.test\"]\nupstream = \"http://{upstream}\"\n\
                 [[api_keys]]\nprefix = \"PREFIX\"\n\
                 [[routes]]\npath = \"/**\"\nauth = [\"api_key\"]\n"
        .replace("PREFIX", &key_prefix());
    let house = House::with(|builder| builder.realm_toml(&other));
    let owner = house.admin().owner("other team", &json!({ "realm": "other" }));
    let foreign = house.admin().key(&owner, &json!({ "realm": "other", "ip_allowlist": [ELSEWHERE] })).secret;
    let replies: Vec<_> = [&foreign, &api_key(&key_prefix()), &foreign, &api_key(&key_prefix())]
        .into_iter()
        .map(|key| house.call(key).send().denied("key_unknown"))
        .collect();
    assert!(replies.windows(2).all(|two| told(&two[0]) == told(&two[1])), "{replies:?}");
    house.gw.get("/x").host("other.test").header("X-API-Key", &foreign).send().denied("ip_denied");
}

#[test]
fn k02_where_a_dialect_has_one_word_for_all_of_them_every_refused_key_gets_the_same_bytes() {
    let dialect = "\n[errors]\nbody = { error = \"$code\", message = \"$message\" }\n\
                   [errors.status.401]\ncode = \"unauthorized\"\nmessage = \"Invalid API key\"\n";
    let (upstream, standard) = (super::Upstream::start(), super::Standard::new());
    let gw = Gateway::builder().standard_with(&standard, dialect).upstream(&upstream).start();
    let (admin, team) = (gw.admin(), gw.admin().owner("team", &json!({})));
    let key = |more: serde_json::Value| admin.key(&team, &more);
    let [disabled, revoked, rotated] = std::array::from_fn(|_| key(json!({})));
    let expired = key(json!({ "expires_at": "2025-11-20T23:46:54Z", "ip_allowlist": [ELSEWHERE] }));
    admin.order(format!("/keys/{}/disable", disabled.id)).is(200);
    admin.order(format!("/keys/{}/revoke", revoked.id)).is(200);
    admin.post(format!("/keys/{}/rotate", rotated.id), &json!({ "overlap_seconds": 0 })).is(200);
    gw.pass(Duration::from_secs(60));
    let malformed = format!("{}x", key_prefix());
    let keys =
        [&disabled.secret, &revoked.secret, &rotated.secret, &expired.secret, &api_key(&key_prefix()), &malformed];
    let replies: Vec<_> = keys.into_iter().map(|key| with_key(&gw.caller(), key).send().is(401)).collect();
    assert_eq!(replies[0].text(), r#"{"error":"unauthorized","message":"Invalid API key"}"#);
    for reply in &replies {
        assert_eq!(told(reply), told(&replies[0]));
    }
    // The log still knows which was which.
    let reasons: Vec<_> = replies.iter().map(|reply| gw.why(reply)).collect();
    assert!(reasons.iter().enumerate().all(|(n, reason)| !reasons[..n].contains(reason)), "{reasons:?}");
    upstream.assert_untouched();
}

fn k07_only_the_exact_text_is_the_key_and_the_store_is_not_asked_for_others(kept: Kept) {
    let house = House::on(kept);
    let key = house.key().secret;
    house.call(&key).send().ok();
    let (prefix, before) = (key_prefix(), house.look_ups());
    for (bad, reason) in [
        (prefix.clone(), "key_malformed"),
        (api_key(&["pk", "_live_"].concat()), "key_malformed"),
        (key.to_uppercase(), "key_malformed"),
        (key.to_lowercase(), "key_malformed"),
        (key.replacen("pk_", "PK_", 1), "key_malformed"),
        (format!("{key}x"), "key_malformed"),
        (format!("{key}%00"), "key_malformed"),
        (format!("{key}\u{200b}"), "key_malformed"),
        (key.replacen('_', "\u{ff3f}", 1), "key_malformed"),
        (format!("{prefix}{key}"), "key_malformed"),
        (format!("{prefix}{}", "a".repeat(10_000)), "key_malformed"),
        (format!("{prefix}{}", "\u{430}".repeat(36)), "key_malformed"),
        (key[1..].to_owned(), "key_malformed"),
        (key[..key.len() - 1].to_owned(), "key_malformed"),
        (format!("\"{key}\""), "key_malformed"),
        (format!("Bearer {key}"), "key_malformed"),
        (format!("{key},{key}"), "ambiguous_credential"),
        (format!("{key} {key}"), "key_malformed"),
    ] {
        let reply = house.call(&bad).send();
        assert!(reply.status == 400 || reply.json()["code"] == reason, "{bad}: {reply:?}");
        assert_ne!(reply.status, 200, "{bad}");
    }
    assert!((house.look_ups() - before).abs() < f64::EPSILON, "the store was asked for what can be no key");
    for end in ["\0", "\n", "\r\n", "\t\0"] {
        let raw = format!("GET /me/x HTTP/1.1\r\nHost: api.test\r\nX-API-Key: {key}{end}\r\nX: y\r\n\r\n");
        // A line's end there ends the value (and the value was the key), or the head is broken.
        let status = house.gw.caller().send_raw(raw).status;
        assert!(if end == "\r\n" { status >= 200 } else { status == 400 }, "{end:?}: {status}");
    }
    // Blanks around a value are no part of it (RFC 9110 section 5.5).
    house.call(&format!(" {key}\t ")).send().ok();
}

fn k13_a_text_that_was_just_refused_works_as_soon_as_it_is_a_key(kept: Kept) {
    let house = House::on(kept);
    let text = api_key(&key_prefix());
    for _ in 0..3 {
        house.call(&text).send().denied("key_unknown");
    }
    import(&house, &text);
    house.call(&text).send().ok();

    // A text that had ended is none of those that come back by themselves.
    let key = house.key();
    house.admin().order(format!("/keys/{}/revoke", key.id)).is(200);
    house.call(&key.secret).send().denied("key_revoked");
    import(&house, &key.secret);
    house.call(&key.secret).send().denied("key_revoked");
}

#[track_caller]
fn import(house: &House, text: &str) {
    let batch = json!({ "realm": "api", "owner_id": house.team, "keys": [{ "key": text }] });
    house.admin().post("/keys/import", &batch).is(200);
}

#[test]
fn k13_a_key_works_within_moments_on_another_node_that_has_just_refused_the_text() {
    let url = Postgres::shared().new_database();
    let house = House::with(|builder| builder.database(&url));
    let other = Gateway::builder().standard(&house.standard).upstream(&house.upstream).database(&url).start();
    for _ in 0..5 {
        let text = api_key(&key_prefix());
        with_key(&other.caller(), &text).send().denied("key_unknown");
        import(&house, &text);
        let watch = Stopwatch::start();
        eventually("the other node takes the key", || {
            (with_key(&other.caller(), &text).send().status == 200).then_some(())
        });
        // What is remembered of a refusal ends by itself after ten seconds: this is to be the feed's doing.
        assert!(watch.elapsed() < Duration::from_secs(4), "{:?}", watch.elapsed());
    }
}
