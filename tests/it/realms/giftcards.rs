//! B2B gift cards: credentials for a pair of tokens, address lists that hold at once, a logout that ends everything.

use serde_json::{Value, json};

use super::{DOCUMENTED_HEADER, PASSWORD, World, decoded, granted, members, text};
use crate::support::NOW;
use crate::support::caller::{Call, Reply};

const USERNAME: &str = "acme_api";
const CLIENT_ID: u64 = 123_456;
const LISTED: &str = "203.0.113.9";
const ELSEWHERE: &str = "198.51.100.1";

#[derive(Clone, Debug)]
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    #[track_caller]
    fn of(reply: &Reply) -> Self {
        let body = granted(reply);
        Self { access: text(&body["data"]["access_token"]), refresh: text(&body["data"]["refresh_token"]) }
    }
}

struct House {
    world: World,
    client: String,
}

impl std::ops::Deref for House {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// A gateway behind a load balancer at 127.0.0.1, with one client whose list has these networks.
fn house_with(networks: &[&str]) -> House {
    let world = World::with("giftcards", |builder| builder.server_toml("trusted_proxies = [\"127.0.0.1/32\"]"));
    let client = client(&world, USERNAME, CLIENT_ID, networks);
    House { world, client }
}

fn house() -> House {
    house_with(&[])
}

fn client(world: &World, username: &str, number: u64, networks: &[&str]) -> String {
    let more = json!({ "attributes": { "client_id": number }, "ip_allowlist": networks });
    world.with_password("client", username, PASSWORD, &more)
}

fn login_as(world: &World, username: &str, password: &str) -> Call {
    world.post("/auth/login", &json!({ "username": username, "password": password }))
}

impl House {
    fn login(&self) -> Reply {
        login_as(self, USERNAME, PASSWORD).send()
    }

    fn pair(&self) -> Pair {
        Pair::of(&self.login())
    }

    fn refresh(&self, token: &str) -> Reply {
        self.post("/auth/refresh", &json!({ "refresh_token": token })).send()
    }

    fn products(&self, access: &str) -> Call {
        self.get("/api/v1/products").bearer(access).header("Content-Type", "application/json")
    }

    fn logout(&self, access: &str) -> Reply {
        self.call("POST", "/auth/logout").bearer(access).send()
    }
}

/// A refusal in the dialect: no `success` in it.
#[track_caller]
fn error(world: &World, reply: &Reply, status: u16, name: &str, code: &str) -> String {
    let body = world.refused(reply, status);
    assert_eq!(members(&body), ["error"], "{body}");
    assert_eq!(members(&body["error"]), ["name", "code", "message"], "{body}");
    assert_eq!((&body["error"]["name"], &body["error"]["code"]), (&json!(name), &json!(code)), "{body}");
    text(&body["error"]["message"])
}

#[track_caller]
fn unauthorized(world: &World, reply: &Reply) -> String {
    error(world, reply, 401, "UnauthorizedError", "UNAUTHORIZED")
}

#[track_caller]
fn not_from_here(world: &World, reply: &Reply) {
    let body = world.refused(reply, 403);
    let wanted = json!({ "name": "ForbiddenError", "code": "FORBIDDEN", "message": "IP address not authorized" });
    assert_eq!(body, json!({ "error": wanted }));
}

#[test]
fn b01_a_login_answers_the_documented_envelope() {
    let house = house();
    let body = granted(&house.login());
    assert_eq!(members(&body), ["success", "data"]);
    assert_eq!(body["success"], json!(true));
    let wanted = ["access_token", "refresh_token", "access_expires_at", "refresh_expires_at", "client_id"];
    assert_eq!(members(&body["data"]), wanted);
    assert_eq!(body["data"]["client_id"], json!(CLIENT_ID), "a number");
}

#[test]
fn b02_times_are_those_of_the_tokens() {
    let house = house();
    let data = granted(&house.login())["data"].clone();
    for (kind, lifetime) in [("access", 3600), ("refresh", 604_800)] {
        let token = text(&data[format!("{kind}_token")]);
        assert!(token.starts_with(DOCUMENTED_HEADER), "{token}");
        let (_, claims) = decoded(&token);
        let end = claims["exp"].as_i64().expect("exp");
        assert_eq!(end, NOW.secs() + lifetime);
        let told = text(&data[format!("{kind}_expires_at")]);
        assert_eq!(told, jiff::Timestamp::from_second(end).expect("a time").to_string());
        assert_eq!((told.len(), told.ends_with('Z')), (20, true), "{told}");
    }
}

#[test]
fn b03_the_token_opens_the_api_even_with_a_type_and_no_body() {
    let house = house();
    let pair = house.pair();
    house.products(&pair.access).send().ok();
    let seen = house.app.seen();
    assert_eq!(seen.header("x-auth-subject"), decoded(&pair.access).1["sub"].as_str());
    // PHP before 8 speaks HTTP/1.0, also when it signs in.
    let reply = house.products(&pair.access).version("HTTP/1.0").send().ok();
    assert_eq!(reply.header("transfer-encoding"), None);
    let reply = login_as(&house, USERNAME, PASSWORD).version("HTTP/1.0").send();
    assert_eq!(reply.header("transfer-encoding"), None);
    granted(&reply);
}

const WRONG: &str = r#"{"error":{"name":"UnauthorizedError","code":"UNAUTHORIZED","message":"Invalid credentials"}}"#;

#[test]
fn b04_a_wrong_password_is_answered_as_documented() {
    let house = house();
    let reply = login_as(&house, USERNAME, "not the password at all").send();
    house.refused(&reply, 401);
    assert_eq!(reply.text(), WRONG);
}

#[test]
fn b05_nobody_and_somebody_who_is_off_are_answered_the_same() {
    let house = house();
    let off = client(&house, "ended_api", 7, &[]);
    house.admin().order(format!("/clients/{off}/disable")).is(200);
    for username in ["nobody_api", "ended_api"] {
        let reply = login_as(&house, username, PASSWORD).send();
        house.refused(&reply, 401);
        assert_eq!(reply.text(), WRONG, "{username}");
    }
}

#[test]
fn b06_a_login_that_is_no_json_is_a_syntax_error() {
    let house = house();
    let reply = house.post_text("/auth/login", "{\"username\":").send();
    assert_eq!(error(&house, &reply, 400, "SyntaxError", "SYNTAX_ERROR"), "Invalid request body");
}

#[test]
fn b07_a_login_without_its_fields_is_not_valid() {
    let house = house();
    for body in
        ["{}", r#"{"username":"a"}"#, r#"{"username":1,"password":"x"}"#, r#"{"username":"","password":""}"#, "[]"]
    {
        let reply = house.post_text("/auth/login", body).send();
        let message = error(&house, &reply, 400, "ValidationException", "VALIDATION_FAILURE");
        assert_eq!(message, "Username and password are required", "{body}");
    }
}

#[test]
fn b08_a_refresh_gives_a_new_pair() {
    let house = house();
    let first = house.pair();
    let reply = house.refresh(&first.refresh);
    let body = granted(&reply);
    assert_eq!(body["data"]["client_id"], json!(CLIENT_ID));
    assert_eq!(members(&body["data"]).len(), 5);
    let second = Pair::of(&reply);
    assert_ne!(first.access, second.access);
    assert_ne!(first.refresh, second.refresh);
    house.products(&second.access).send().ok();
}

#[test]
fn b09_the_old_refresh_token_is_refused_and_the_new_pair_lives() {
    let house = house();
    let first = house.pair();
    let second = Pair::of(&house.refresh(&first.refresh));
    assert_eq!(unauthorized(&house, &house.refresh(&first.refresh)), "Invalid refresh token");
    house.products(&second.access).send().ok();
    Pair::of(&house.refresh(&second.refresh));
}

#[test]
fn b10_a_minute_later_it_ends_the_session() {
    let house = house();
    let first = house.pair();
    let second = Pair::of(&house.refresh(&first.refresh));
    house.pass_secs(60);
    unauthorized(&house, &house.refresh(&first.refresh));
    unauthorized(&house, &house.refresh(&second.refresh));
    unauthorized(&house, &house.products(&second.access).send());
    house.pair();
}

#[test]
fn b11_a_refresh_token_ends_after_a_week() {
    let house = house();
    let pair = house.pair();
    house.pass_secs(604_801);
    assert_eq!(unauthorized(&house, &house.refresh(&pair.refresh)), "Invalid refresh token");
}

#[test]
fn b12_a_refresh_without_a_token_is_not_valid() {
    let house = house();
    let reply = house.post("/auth/refresh", &json!({})).send();
    let message = error(&house, &reply, 400, "ValidationException", "VALIDATION_FAILURE");
    assert_eq!(message, "Refresh token is required");
}

#[test]
fn b13_an_expired_access_token_is_unauthorized() {
    let house = house();
    let pair = house.pair();
    house.pass_secs(3601);
    unauthorized(&house, &house.products(&pair.access).send());
}

fn from(call: Call, address: &str) -> Reply {
    call.header("X-Forwarded-For", address).send()
}

#[test]
fn b14_from_a_listed_address_everything_works() {
    let house = house_with(&["203.0.113.0/24"]);
    let pair = Pair::of(&from(login_as(&house, USERNAME, PASSWORD), LISTED));
    from(house.products(&pair.access), LISTED).ok();
    Pair::of(&from(house.post("/auth/refresh", &json!({ "refresh_token": pair.refresh })), LISTED));
}

#[test]
fn b15_from_elsewhere_a_good_token_is_forbidden() {
    let house = house_with(&["203.0.113.0/24"]);
    let pair = Pair::of(&from(login_as(&house, USERNAME, PASSWORD), LISTED));
    not_from_here(&house, &from(house.products(&pair.access), ELSEWHERE));
    assert!(house.app.forwarded().is_empty());
    // And a refresh from there does not use the token up.
    let refresh = || house.post("/auth/refresh", &json!({ "refresh_token": pair.refresh }));
    not_from_here(&house, &from(refresh(), ELSEWHERE));
    Pair::of(&from(refresh(), LISTED));
}

#[test]
fn b16_from_elsewhere_nobody_learns_whether_a_password_was_right() {
    let house = house_with(&["203.0.113.0/24"]);
    let right = from(login_as(&house, USERNAME, PASSWORD), ELSEWHERE);
    let wrong = from(login_as(&house, USERNAME, "not the password at all"), ELSEWHERE);
    not_from_here(&house, &right);
    not_from_here(&house, &wrong);
    assert_eq!(right.body, wrong.body);
}

#[test]
fn b18_a_new_entry_holds_for_tokens_that_are_out() {
    let house = house();
    let pair = house.pair();
    from(house.products(&pair.access), ELSEWHERE).ok();
    let list = format!("/clients/{}/ip-allowlist", house.client);
    house.admin().post(&list, &json!({ "network": "203.0.113.0/24" })).is(201);
    not_from_here(&house, &from(house.products(&pair.access), ELSEWHERE));
    from(house.products(&pair.access), LISTED).ok();
}

#[test]
fn b19_when_the_last_entry_is_gone_everybody_may_call_again() {
    let house = house_with(&["203.0.113.0/24"]);
    let pair = Pair::of(&from(login_as(&house, USERNAME, PASSWORD), LISTED));
    let list = format!("/clients/{}/ip-allowlist", house.client);
    let entries = house.admin().get(&list).is(200).json();
    let entry = text(&entries["data"][0]["id"]);
    assert_ne!(house.admin().delete(format!("{list}/{entry}")).status, 204, "that opens the account: it asks");
    assert!(house.admin().delete(format!("{list}/{entry}?confirm=open")).status < 300);
    from(house.products(&pair.access), ELSEWHERE).ok();
}

#[test]
fn b21_a_peer_that_nobody_trusts_is_not_believed() {
    let house = house_with(&["203.0.113.0/24"]);
    let pair = Pair::of(&from(login_as(&house, USERNAME, PASSWORD), LISTED));
    let stranger = house.caller().from("127.0.0.2").get("/api/v1/products").bearer(&pair.access);
    not_from_here(&house, &from(stranger, LISTED));
    assert!(house.app.forwarded().is_empty());
}

#[test]
fn b23_a_logout_ends_every_session_of_the_client() {
    let house = house();
    let (first, second) = (house.pair(), house.pair());
    for pair in [&first, &second] {
        house.products(&pair.access).send().ok();
    }
    let body = granted(&house.logout(&first.access));
    assert_eq!(body, json!({ "success": true, "data": { "message": "Successfully logged out" } }));
    for pair in [&first, &second] {
        unauthorized(&house, &house.products(&pair.access).send());
        unauthorized(&house, &house.refresh(&pair.refresh));
        unauthorized(&house, &house.logout(&pair.access));
    }
    let missing = unauthorized(&house, &house.call("POST", "/auth/logout").send());
    assert_eq!(missing, "Authentication required");
    // A login in the same millisecond of the same clock is a new session.
    let third = house.pair();
    house.products(&third.access).send().ok();
}

#[test]
fn b26_another_client_is_not_touched() {
    let house = house();
    client(&house, "other_api", 7, &[]);
    let other = Pair::of(&login_as(&house, "other_api", PASSWORD).send());
    let pair = house.pair();
    granted(&house.logout(&pair.access));
    house.products(&other.access).send().ok();
    Pair::of(&house.refresh(&other.refresh));
}

#[test]
fn b30_ten_wrong_passwords_lock_for_a_while() {
    let house = house();
    client(&house, "other_api", 7, &[]);
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(login_as(&house, USERNAME, "not the password at all").send().status);
    }
    assert!(seen.iter().all(|status| matches!(status, 401 | 429)), "{seen:?}");
    let locked = house.login();
    error(&house, &locked, 429, "TooManyRequestsError", "TOO_MANY_REQUESTS");
    Pair::of(&login_as(&house, "other_api", PASSWORD).send());
    house.pass_secs(15 * 60);
    house.pair();
}

#[test]
fn two_sets_of_credentials_overlap_while_they_are_exchanged() {
    let house = house();
    let old = house.pair();
    client(&house, "acme_api_2", CLIENT_ID, &[]);
    let new = Pair::of(&login_as(&house, "acme_api_2", PASSWORD).send());
    granted(&house.logout(&old.access));
    house.products(&new.access).send().ok();
    let data: Value = granted(&login_as(&house, "acme_api_2", PASSWORD).send());
    assert_eq!(data["data"]["client_id"], json!(CLIENT_ID));
}
