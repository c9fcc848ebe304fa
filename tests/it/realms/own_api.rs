//! The example of an API of one's own, `config/examples/own-api.toml`: modern defaults, a grace for lost answers, machines,
//! and the standard's endpoints.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{PASSWORD, World, at_once, decoded, granted, members, text};
use crate::support::caller::{Call, Reply};
use crate::support::keys::{Alg, Key};

pub(super) const EMAIL: &str = "ann@notes.example";

/// The example with a member and a machine in it.
pub(super) fn house() -> World {
    let world = World::notes();
    world.with_password("user", EMAIL, PASSWORD, &json!({}));
    world.with_password("client", "crawler", PASSWORD, &json!({ "scopes": ["notes:read", "members:read"] }));
    world
}

pub(super) fn login(world: &World) -> Reply {
    world.post("/auth/login", &json!({ "email": EMAIL, "password": PASSWORD })).send()
}

pub(super) fn refresh(world: &World, token: &str) -> Reply {
    world.post("/auth/refresh", &json!({ "refresh_token": token })).send()
}

pub(super) fn notes(world: &World, token: &str) -> Reply {
    world.get("/notes/7").bearer(token).send()
}

pub(super) fn basic(call: Call, name: &str, password: &str) -> Call {
    call.header("Authorization", format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes())))
}

pub(super) fn form(world: &World, target: &str, body: &str) -> Call {
    world.call("POST", target).header("Content-Type", "application/x-www-form-urlencoded").body(body)
}

/// A refusal as RFC 6749 section 5.2 wants it.
#[track_caller]
pub(super) fn oauth_error(reply: &Reply, status: u16, error: &str) {
    assert_eq!((reply.status, &reply.json()["error"]), (status, &json!(error)), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    if status == 401 {
        let challenges = reply.all("www-authenticate");
        assert!(challenges.iter().any(|c| c.starts_with("Basic ")), "{reply:?}");
    }
}

pub(super) fn machine_with(world: &World, more: &str) -> Reply {
    basic(form(world, "/oauth/token", &format!("grant_type=client_credentials{more}")), "crawler", PASSWORD).send()
}

/// An access token of the machine.
#[track_caller]
pub(super) fn machine(world: &World) -> String {
    text(&granted(&machine_with(world, ""))["access_token"])
}

#[test]
fn a_login_gives_tokens_by_the_standard_of_today() {
    let world = house();
    let body = granted(&login(&world));
    assert_eq!(members(&body), ["access_token", "refresh_token", "token_type", "expires_in"]);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
    let token = text(&body["access_token"]);
    let (header, claims) = decoded(&token);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    for claim in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "sid"] {
        assert!(!claims[claim].is_null(), "{claim} is not in {claims}");
    }
    notes(&world, &token).ok();
    assert_eq!(world.post("/members", &json!({})).bearer(&token).send().status, 403);
}

#[test]
fn the_keys_are_published_and_verify_the_tokens() {
    let world = house();
    let token = text(&granted(&login(&world))["access_token"]);
    let (header, _) = decoded(&token);
    let set = world.get("/.well-known/jwks.json").send().ok();
    assert!(set.header("cache-control").is_some_and(|c| c.contains("max-age")), "{set:?}");
    let set = set.json();
    let key = set["keys"].as_array().expect("keys").iter().find(|key| key["kid"] == header["kid"]).expect("the key");
    assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("sig")));
    assert_eq!(key.get("d"), None, "only the public half");
    assert!(!Key::ed25519().verifies(Alg::EdDSA, &token), "nobody else's");

    let about = world.get("/.well-known/oauth-authorization-server").send().ok().json();
    let at = |path: &str| format!("https://api.notes.example{path}");
    assert_eq!(about["issuer"], "https://api.notes.example");
    assert_eq!(about["jwks_uri"], at("/.well-known/jwks.json"));
    assert_eq!(about["token_endpoint"], at("/oauth/token"));
    assert_eq!(about["revocation_endpoint"], at("/oauth/revoke"));
    assert_eq!(about["introspection_endpoint"], at("/oauth/introspect"));
}

#[test]
fn a_machine_gets_a_token_and_no_refresh_token() {
    let world = house();
    let body = granted(&machine_with(&world, ""));
    assert_eq!(body["token_type"].as_str().map(str::to_ascii_lowercase).as_deref(), Some("bearer"));
    assert_eq!(body["expires_in"], json!(900));
    assert_eq!(body.get("refresh_token"), None);
    let token = text(&body["access_token"]);
    notes(&world, &token).ok();
    let seen = world.app.seen();
    assert_eq!(seen.header("x-auth-client"), decoded(&token).1["client_id"].as_str());
    assert_eq!(world.post("/notes", &json!({})).bearer(&token).send().status, 403);
    // The id and the secret may stand in the body, too.
    let body =
        format!("grant_type=client_credentials&client_id=crawler&client_secret={}", PASSWORD.replace(' ', "%20"));
    granted(&form(&world, "/oauth/token", &body).send());
}

#[test]
fn a_machine_is_refused_in_the_words_of_the_standard() {
    let world = house();
    let ask = |body: &str| form(&world, "/oauth/token", body);
    let grant = "grant_type=client_credentials";
    oauth_error(&ask(grant).send(), 401, "invalid_client");
    oauth_error(&basic(ask(grant), "crawler", "not the password at all").send(), 401, "invalid_client");
    oauth_error(&basic(ask(grant), "nobody", PASSWORD).send(), 401, "invalid_client");
    oauth_error(&basic(ask(""), "crawler", PASSWORD).send(), 400, "invalid_request");
    oauth_error(&basic(ask("grant_type=password"), "crawler", PASSWORD).send(), 400, "unsupported_grant_type");
    oauth_error(&basic(ask(&format!("{grant}&{grant}")), "crawler", PASSWORD).send(), 400, "invalid_request");
    oauth_error(&machine_with(&world, "&scope=notes%3Awrite"), 400, "invalid_scope");
    granted(&machine_with(&world, "&unknown=1"));
}

#[test]
fn inside_the_grace_an_old_refresh_token_is_answered_with_the_same_successor() {
    let world = house();
    let first = text(&granted(&login(&world))["refresh_token"]);
    let second = text(&granted(&refresh(&world, &first))["refresh_token"]);
    world.pass_secs(5);
    assert_eq!(text(&granted(&refresh(&world, &first))["refresh_token"]), second);
    let third = text(&granted(&refresh(&world, &second))["refresh_token"]);
    assert_eq!(refresh(&world, &first).status, 401, "only the one before the last");
    world.pass_secs(11);
    assert_eq!(refresh(&world, &second).status, 401);
    assert_eq!(refresh(&world, &third).status, 401, "that was reuse");
}

#[test]
fn of_twenty_refreshes_at_once_all_get_the_same() {
    let world = house();
    let first = text(&granted(&login(&world))["refresh_token"]);
    let mut successors: Vec<_> = at_once(20, |_| text(&granted(&refresh(&world, &first))["refresh_token"]));
    successors.sort();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    granted(&refresh(&world, &successors[0]));
}

#[test]
fn a_session_ends_after_ninety_days_however_often_it_is_refreshed() {
    let world = house();
    let mut token = text(&granted(&login(&world))["refresh_token"]);
    for _ in 0..4 {
        world.pass_secs(20 * 86_400);
        token = text(&granted(&refresh(&world, &token))["refresh_token"]);
    }
    world.pass_secs(11 * 86_400);
    assert_eq!(refresh(&world, &token).status, 401);
}

#[test]
fn a_logout_ends_this_session_only() {
    let world = house();
    let (first, second) = (granted(&login(&world)), granted(&login(&world)));
    let access = |pair: &Value| text(&pair["access_token"]);
    let reply = world.call("POST", "/auth/logout").bearer(&access(&first)).send();
    assert_eq!((reply.status, reply.body.len()), (204, 0), "{reply:?}");
    assert_eq!(notes(&world, &access(&first)).status, 401);
    assert_eq!(refresh(&world, &text(&first["refresh_token"])).status, 401);
    notes(&world, &access(&second)).ok();
}

#[test]
fn a_token_that_is_live_is_told_of_and_any_other_is_inactive() {
    let world = house();
    let ask = |token: &str| basic(form(&world, "/oauth/introspect", &format!("token={token}")), "crawler", PASSWORD);
    let token = machine(&world);
    let told = granted(&ask(&token).send());
    assert_eq!(told["active"], json!(true), "{told}");
    assert_eq!(told["iss"], "https://api.notes.example");
    assert_eq!(told["jti"], decoded(&token).1["jti"]);
    assert!(told["exp"].is_i64() && told["scope"].is_string(), "{told}");
    for other in ["rubbish", "", "a.b.c"] {
        let reply = ask(other).send();
        if !other.is_empty() {
            assert_eq!(granted(&reply), json!({ "active": false }));
        }
    }
    oauth_error(&form(&world, "/oauth/introspect", &format!("token={token}")).send(), 401, "invalid_client");
    world.pass_secs(901);
    assert_eq!(granted(&ask(&token).send()), json!({ "active": false }));
}
