//! Affilync: a login that gives a pair of tokens, rotation of the pair, API keys with scopes.

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};

use super::{PASSWORD, World, afk, decoded, granted, members, other_case, text};
use crate::support::administrator::Made;
use crate::support::caller::Reply;
use crate::support::keys::{Alg, Key};
use crate::support::realms::api_key;
use crate::support::token::{flip_signature_bit, parts};
use crate::support::{NOW, eventually};

const EMAIL: &str = "ann@example.com";

/// What a login gives.
#[derive(Clone, Debug)]
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    #[track_caller]
    fn of(reply: &Reply) -> Self {
        let body = granted(reply);
        Self { access: text(&body["access_token"]), refresh: text(&body["refresh_token"]) }
    }
}

/// A realm with somebody in it.
fn house() -> World {
    let world = World::new("affilync");
    world.with_password("user", EMAIL, PASSWORD, &json!({}));
    world
}

fn login(world: &World) -> Reply {
    world.post("/api/auth/login", &json!({ "email": EMAIL, "password": PASSWORD })).send()
}

fn pair(world: &World) -> Pair {
    Pair::of(&login(world))
}

fn refresh(world: &World, token: &str) -> Reply {
    world.post("/api/auth/refresh", &json!({ "refresh_token": token })).send()
}

fn campaigns(world: &World, token: &str) -> Reply {
    world.get("/api/campaigns").bearer(token).send()
}

#[track_caller]
fn expired(world: &World, reply: &Reply) {
    let body = world.refused(reply, 401);
    assert_eq!(body, json!({ "detail": "Token has expired", "error_code": "TOKEN_EXPIRED" }));
}

#[track_caller]
fn invalid(world: &World, reply: &Reply) {
    let body = world.refused(reply, 401);
    assert_eq!(members(&body), ["detail", "error_code"]);
    assert_eq!(body["error_code"], "TOKEN_INVALID", "{reply:?}");
}

/// A key that may read campaigns, and nothing else; its owner is `team_7`.
fn reader(world: &World) -> Made {
    let owner = world.client("owner", "team_7", &json!({}));
    world.key(&owner, &json!({ "scopes": ["campaigns:read"] }))
}

#[test]
fn a01_a_login_answers_the_documented_pair() {
    let world = house();
    let body = granted(&login(&world));
    assert_eq!(members(&body), ["access_token", "refresh_token", "token_type", "expires_in"]);
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], json!(3600));
    assert!(body["expires_in"].is_u64());
}

#[test]
fn a02_both_tokens_are_hs256_and_live_as_long_as_documented() {
    let world = house();
    let pair = pair(&world);
    let (access, refresh) = (decoded(&pair.access), decoded(&pair.refresh));
    for ((header, claims), lifetime) in [(&access, 3600), (&refresh, 2_592_000)] {
        assert_eq!(*header, json!({ "alg": "HS256", "typ": "JWT" }));
        let time = |name: &str| claims[name].as_i64().expect("seconds");
        assert_eq!(time("iat"), NOW.secs());
        assert_eq!(time("exp") - time("iat"), lifetime);
        assert_eq!(claims["iss"], "https://api.affilync.com");
        assert_eq!(claims["aud"], "affilync");
    }
    assert_ne!(pair.access, pair.refresh);
    assert_ne!(access.1["jti"], refresh.1["jti"]);
    assert_eq!(access.1["sid"], refresh.1["sid"]);
    assert_eq!((&access.1["token_use"], &refresh.1["token_use"]), (&json!("access"), &json!("refresh")));
}

#[test]
fn a03_the_upstream_is_told_who_it_is_and_nobody_elses_word_is_passed_on() {
    let world = house();
    let pair = pair(&world);
    let call = world.get("/api/campaigns").bearer(&pair.access).header("X-Auth-Subject", "root");
    call.header("x_auth_subject", "root").header("X-Auth-Scopes", "everything").send().ok();
    let seen = world.app.seen();
    let subject = text(&decoded(&pair.access).1["sub"]);
    assert_eq!(seen.aliases("X-Auth-Subject"), [("x-auth-subject", subject.as_str())]);
    assert_eq!(seen.header("x-auth-method"), Some("jwt"));
    assert_eq!(seen.header("x-auth-realm"), Some("affilync"));
    assert_eq!(seen.header("x-auth-issuer"), Some("self"));
    assert_eq!(seen.header("x-auth-roles"), Some("user"));
    assert_eq!(seen.header("x-auth-scopes"), Some("*"));
    assert_eq!(seen.header("x-auth-credential-id"), decoded(&pair.access).1["jti"].as_str());
    assert_eq!(seen.header("authorization"), None, "the token ends here");
}

#[test]
fn a04_an_expired_access_token_is_answered_as_documented() {
    let world = house();
    let pair = pair(&world);
    world.pass_secs(3599);
    campaigns(&world, &pair.access).ok();
    world.pass_secs(1);
    expired(&world, &campaigns(&world, &pair.access));
    world.pass_secs(1);
    expired(&world, &campaigns(&world, &pair.access));
}

#[test]
fn a06_without_a_credential_nothing_is_said_about_an_error() {
    let world = house();
    let reply = world.get("/api/campaigns").send();
    let body = world.refused(&reply, 401);
    assert!(body["error_code"].is_string(), "{body}");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"affilync\""));
}

#[test]
fn a07_a_token_that_was_tampered_with_is_invalid() {
    let world = house();
    let pair = pair(&world);
    let (_, claims) = decoded(&pair.access);
    let other = Key::hmac(64);
    let none = |alg: &str| {
        let header = data_encoding::BASE64URL_NOPAD.encode(format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\"}}").as_bytes());
        let [_, payload, signature] = parts(&pair.access);
        [format!("{header}.{payload}."), format!("{header}.{payload}.{signature}")]
    };
    let mut tokens = vec![
        flip_signature_bit(&pair.access, 3),
        other.sign(json!({ "alg": "HS256", "typ": "JWT" }), claims.clone()),
        other.sign_by(Alg::HS512, json!({ "alg": "HS512", "typ": "JWT" }), claims),
    ];
    tokens.extend(["none", "None", "NONE", "nOnE", ""].iter().flat_map(|alg| none(alg)));
    for token in tokens {
        invalid(&world, &campaigns(&world, &token));
    }
    assert!(world.app.forwarded().is_empty());
    campaigns(&world, &pair.access).ok();
}

#[test]
fn a08_a_refresh_gives_a_new_pair() {
    let world = house();
    let first = pair(&world);
    let reply = refresh(&world, &first.refresh);
    assert_eq!(members(&granted(&reply)), ["access_token", "refresh_token", "token_type", "expires_in"]);
    let second = Pair::of(&reply);
    assert_ne!(first.access, second.access);
    assert_ne!(first.refresh, second.refresh);
    assert_eq!(decoded(&first.refresh).1["sid"], decoded(&second.refresh).1["sid"]);
    campaigns(&world, &second.access).ok();
    campaigns(&world, &first.access).ok(); // it lives until its end
}

#[test]
fn a09_the_old_refresh_token_is_dead_at_once_and_the_new_pair_lives() {
    let world = house();
    let first = pair(&world);
    let second = Pair::of(&refresh(&world, &first.refresh));
    for _ in 0..3 {
        invalid(&world, &refresh(&world, &first.refresh));
    }
    world.pass_secs(9);
    invalid(&world, &refresh(&world, &first.refresh));
    campaigns(&world, &second.access).ok();
    let third = Pair::of(&refresh(&world, &second.refresh));
    campaigns(&world, &third.access).ok();
}

#[test]
fn a10_an_old_refresh_token_that_comes_back_later_ends_the_session() {
    let world = house();
    let first = pair(&world);
    let other = pair(&world);
    let second = Pair::of(&refresh(&world, &first.refresh));
    campaigns(&world, &second.access).ok();
    world.pass_secs(60);
    invalid(&world, &refresh(&world, &first.refresh));
    for access in [&first.access, &second.access] {
        assert_eq!(campaigns(&world, access).status, 401);
    }
    assert_eq!(refresh(&world, &second.refresh).status, 401);
    let event = world.audited("refresh.reuse_detected").expect("it is on record");
    assert_eq!(event["realm"], "affilync", "{event}");
    // Another session of the same person goes on.
    campaigns(&world, &other.access).ok();
    Pair::of(&refresh(&world, &other.refresh));
}

#[test]
fn a11_a_refresh_token_ends_after_thirty_days() {
    let world = house();
    let pair = pair(&world);
    world.pass_secs(30 * 86_400 + 1);
    expired(&world, &refresh(&world, &pair.refresh));
    // Each new one lives thirty days from its own issue.
    let mut pair = super::affilync::pair(&world);
    for _ in 0..3 {
        world.pass_secs(29 * 86_400);
        pair = Pair::of(&refresh(&world, &pair.refresh));
    }
}

#[test]
fn a12_an_access_token_refreshes_nothing() {
    let world = house();
    let pair = pair(&world);
    invalid(&world, &refresh(&world, &pair.access));
    campaigns(&world, &pair.access).ok();
    Pair::of(&refresh(&world, &pair.refresh));
}

#[test]
fn a13_a_refresh_token_opens_no_route() {
    let world = house();
    let pair = pair(&world);
    invalid(&world, &campaigns(&world, &pair.refresh));
    assert!(world.app.forwarded().is_empty());
    Pair::of(&refresh(&world, &pair.refresh));
}

#[test]
fn a15_a_key_with_the_scope_passes_and_the_upstream_knows_whose_it_is() {
    let world = house();
    let key = reader(&world);
    assert!(key.secret.starts_with(&afk()), "{}", key.id);
    campaigns(&world, &key.secret).ok();
    let seen = world.app.seen();
    assert_eq!(seen.header("x-auth-credential-id"), Some(key.id.as_str()));
    assert_eq!(seen.header("x-auth-subject"), Some("team_7"));
    assert_eq!(seen.header("x-auth-method"), Some("api_key"));
    assert_eq!(seen.header("x-auth-scopes"), Some("campaigns:read"));
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn a16_a_key_without_the_scope_is_told_which_one() {
    let world = house();
    let key = reader(&world);
    let reply = world.post("/api/campaigns", &json!({})).bearer(&key.secret).send();
    let body = world.refused(&reply, 403);
    assert_eq!(body["error_code"], "INSUFFICIENT_SCOPE");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("scope=\"campaigns:write\""), "{challenge}");
    assert!(world.app.forwarded().is_empty());
}

#[test]
fn a17_what_only_looks_like_a_key_is_none() {
    let world = house();
    let key = reader(&world).secret;
    let digit = if key.ends_with('0') { '1' } else { '0' };
    for wrong in [
        api_key(&afk()),
        format!("{}{digit}", &key[..key.len() - 1]),
        other_case(&key, afk().len()),
        key.to_ascii_uppercase(),
        afk(),
        format!("{key} "),
    ] {
        let reply = campaigns(&world, &wrong);
        // A blank at the end is no part of the field's value.
        if wrong.ends_with(' ') { drop(reply.ok()) } else { invalid(&world, &reply) }
    }
    campaigns(&world, &key).ok();
}

#[test]
fn a18_a_revoked_key_is_dead_here_at_once_and_within_two_seconds_elsewhere() {
    let world = house();
    let other = world.second_node();
    let key = reader(&world);
    let there = || other.caller().host(world.host).get("/api/campaigns").bearer(&key.secret).send();
    for _ in 0..3 {
        campaigns(&world, &key.secret).ok();
        there().ok();
    }
    world.admin().post(format!("/keys/{}/revoke", key.id), &json!({ "reason": "a test" })).is(200);
    let watch = Stopwatch::start();
    invalid(&world, &campaigns(&world, &key.secret));
    eventually("the other node hears of it", || (there().status == 401).then_some(()));
    assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
}

#[test]
fn a20_a_login_that_is_no_json_is_a_bad_request() {
    let world = house();
    for body in ["{", "", "{\"email\":", "nonsense"] {
        let told = world.refused(&world.post_text("/api/auth/login", body).send(), 400);
        assert_eq!(members(&told), ["detail", "error_code"]);
    }
}

#[test]
fn a21_a_login_with_the_wrong_fields_names_them() {
    let world = house();
    for (body, field) in [
        (json!({ "email": EMAIL }), "password"),
        (json!({ "email": EMAIL, "password": 5 }), "password"),
        (json!({ "email": "x", "password": PASSWORD }), "email"),
        (json!({ "password": PASSWORD }), "email"),
    ] {
        let told = world.refused(&world.post("/api/auth/login", &body).send(), 422);
        assert_eq!(members(&told), ["detail", "error_code", "fields"], "{told}");
        assert_eq!(told["error_code"], "VALIDATION_ERROR");
        let faults = told["fields"].as_array().expect("a list");
        assert!(faults.iter().any(|fault| fault["field"] == field), "{body}: {told}");
        assert!(faults.iter().all(|fault| members(fault) == ["field", "message"]), "{told}");
    }
}

#[test]
fn a24_a_login_by_get_is_told_the_method() {
    let world = house();
    let reply = world.get("/api/auth/login").send();
    let body = world.refused(&reply, 405);
    assert_eq!(reply.header("allow"), Some("POST"));
    assert_eq!(members(&body), ["detail", "error_code"]);
}

#[test]
fn a25_no_cache_keeps_what_a_token_endpoint_says() {
    let world = house();
    let pair = pair(&world);
    let nobody = json!({ "email": "nobody@example.com", "password": PASSWORD });
    for reply in [
        login(&world),
        refresh(&world, &pair.refresh),
        refresh(&world, "rubbish"),
        world.post("/api/auth/login", &nobody).send(),
        world.post("/api/auth/login", &json!({})).send(),
        world.post_text("/api/auth/refresh", "{").send(),
    ] {
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    }
}

#[test]
fn a_wrong_password_is_answered_like_an_unknown_name() {
    let world = house();
    let wrong = json!({ "email": EMAIL, "password": "not the password at all" });
    let unknown = json!({ "email": "nobody@example.com", "password": PASSWORD });
    let [wrong, unknown]: [Reply; 2] = [wrong, unknown].map(|body: Value| world.post("/api/auth/login", &body).send());
    let body = world.refused(&wrong, 401);
    assert_eq!(body, json!({ "detail": "Invalid email or password", "error_code": "INVALID_CREDENTIALS" }));
    world.refused(&unknown, 401);
    assert_eq!(wrong.body, unknown.body);
}
