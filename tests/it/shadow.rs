//! Shadow mode (`enforce = false`): what enforcement would refuse is counted and logged, and every request reaches the
//! upstream as it came.

use std::collections::BTreeMap;

use crate::support::caller::{Call, Reply};
use crate::support::gateway::Gateway;
use crate::support::realms::{Standard, api_key, key_prefix};
use crate::support::token::flip_signature_bit;
use crate::support::upstream::Upstream;

/// Routes that are enforced in a realm that is not, and the other way round.
const MIXED: &str = r#"
[[routes]]
name = "bound"
path = "/bound/**"
auth = ["jwt"]
enforce = true
"#;

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

fn house(enforce: bool, standard: Standard) -> House {
    let upstream = Upstream::start();
    let realm = standard.toml().replacen("upstream =", &format!("enforce = {enforce}\nupstream ="), 1) + MIXED;
    let gateway = Gateway::builder()
        .realm_toml(&realm)
        .env(crate::support::realms::HOUSE_SECRET, &standard.secret())
        .server_toml("max_body = \"1KiB\"")
        .upstream(&upstream)
        .start();
    House { upstream, standard, gateway }
}

/// Traffic of every kind: what enforcement lets through, and what it refuses, each for a reason of its own.
fn traffic(house: &House) -> Vec<Call> {
    let House { gateway, standard, .. } = house;
    let token = standard.alice().sign();
    let stranger = api_key(&key_prefix());
    vec![
        gateway.get("/public/a"),
        gateway.get("/public/a").header("X-Auth-Subject", "root"),
        gateway.get("/me/a").bearer(&token),
        gateway.get("/me/a").header("X-API-Key", &standard.partner_key),
        gateway.get("/me/a"),
        gateway.get("/me/a").bearer(&flip_signature_bit(&token, 0)),
        gateway.get("/me/a").bearer(&standard.alice().expires_in(-5).sign()),
        gateway.get("/me/a").bearer("rubbish"),
        gateway.get("/me/a").header("X-API-Key", &stranger),
        gateway.get("/me/a").bearer(&token).header("X-API-Key", &standard.partner_key),
        gateway.get("/admin/a").bearer(&token),
        gateway.get("/campaigns/a").header("X-API-Key", &standard.partner_key),
        gateway.get("/near/a").bearer(&token),
        gateway.get(&format!("/query/a?token={token}&x=1")),
        gateway.get("/query/a?token=rubbish"),
        gateway.get("/nowhere"),
        gateway.call("POST", "/public/a").body("x".repeat(2000)),
        gateway.call("POST", "/public/a").chunked(&[&"x".repeat(2000)], &[]),
        gateway.call("DELETE", "/campaigns/a").header("X-API-Key", &standard.partner_key),
        gateway.get("/limited/a").bearer(&token),
        gateway.get("/limited/a").bearer(&token),
        gateway.get("/limited/a").bearer(&token),
        gateway.get("/limited/a").bearer(&token),
    ]
}

/// What a counter says by its route and reason.
fn counts(gateway: &Gateway, name: &str) -> BTreeMap<String, String> {
    let text = gateway.metrics();
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.split_once("} "));
    lines.map(|(labels, count)| (labels.to_owned(), count.to_owned())).collect()
}

#[test]
fn what_would_be_denied_is_what_enforcement_denies_on_the_same_traffic() {
    let enforced = house(true, Standard::new());
    let shadowed = house(false, Standard::new());
    for house in [&enforced, &shadowed] {
        for call in traffic(house) {
            call.send();
        }
    }
    let denied = counts(&enforced.gateway, "portcullis_denials_total{");
    assert!(denied.len() >= 11, "{denied:#?}");
    assert_eq!(counts(&shadowed.gateway, "portcullis_would_denials_total{"), denied);
    assert_eq!(counts(&shadowed.gateway, "portcullis_denials_total{"), BTreeMap::new());
    assert_eq!(counts(&enforced.gateway, "portcullis_would_denials_total{"), BTreeMap::new());
    let authentications = "portcullis_authentications_total{";
    assert_eq!(counts(&shadowed.gateway, authentications), counts(&enforced.gateway, authentications));
}

#[test]
fn every_request_reaches_the_upstream_as_it_came_and_nobody_is_introduced() {
    let house = house(false, Standard::new());
    for call in traffic(&house) {
        let reply = call.send().ok();
        let seen = house.upstream.only();
        house.upstream.forget();
        let sent = String::from_utf8(call.bytes()).expect("ASCII");
        let target = sent.split(' ').nth(1).expect("a target");
        assert_eq!(seen.target, target);
        for name in ["Authorization", "X-API-Key"] {
            let line = format!("{}: ", name.to_ascii_lowercase());
            let written = sent.lines().filter(|l| l.to_ascii_lowercase().starts_with(&line)).map(|l| &l[line.len()..]);
            assert_eq!(seen.all(name), written.collect::<Vec<_>>(), "{target}");
        }
        let introduced: Vec<_> =
            seen.headers.iter().filter(|(n, _)| n.to_ascii_lowercase().starts_with("x-auth-")).collect();
        assert!(introduced.is_empty(), "{target}: {introduced:?}");
        assert!(reply.all("ratelimit-limit").is_empty() && reply.all("www-authenticate").is_empty(), "{target}");
    }
}

#[test]
fn the_log_says_what_would_have_been_denied_and_why() {
    let house = house(false, Standard::new());
    let line = |reply: &Reply| house.gateway.line_of(reply);
    let refused = line(&house.gateway.get("/me/a").bearer("rubbish").send().ok());
    assert_eq!(refused["outcome"], "would_deny");
    assert_eq!((refused["reason"].as_str(), refused["status"].as_u64()), (Some("token_invalid"), Some(200)));
    let passed = line(&house.gateway.get("/me/a").bearer(&house.standard.alice().sign()).send().ok());
    assert_eq!((passed["outcome"].as_str(), passed["reason"].as_str()), (Some("forwarded"), None));
    assert_eq!(passed["subject"], "alice");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_even_so() {
    let house = house(false, Standard::new());
    for target in ["/me/../admin", "/me/%2e%2e/admin", "/me//x", "/me/a%2Fb", "/me/..;/admin"] {
        house.gateway.get(target).send().denied("path_ambiguous");
    }
    house.gateway.call("TRACE", "/me/a").send().denied("method_not_allowed");
    house.gateway.get("/me/a").host("elsewhere.test").send().denied("unknown_host");
    house.upstream.assert_untouched();
}

#[test]
fn a_route_says_for_itself_whether_it_is_enforced() {
    let house = house(false, Standard::new());
    house.gateway.get("/bound/a").send().denied("missing_credentials");
    house.upstream.assert_untouched();
    house.gateway.get("/bound/a").bearer(&house.standard.alice().sign()).send().ok();
    assert_eq!(house.upstream.only().header("X-Auth-Subject"), Some("alice"));
}
