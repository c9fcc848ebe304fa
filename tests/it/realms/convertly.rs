//! Convertly: users of the application, one token that renews itself, roles and plans as they are at the moment.

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};

use super::application::Mood;
use super::{DOCUMENTED_HEADER, PASSWORD, World, at_once, decoded, granted, members, text};
use crate::support::caller::Reply;
use crate::support::eventually;

const EMAIL: &str = "you@yourbrand.com";

/// Somebody who is an admin of a brand on Growth.
fn house() -> World {
    let world = World::new("convertly");
    world.app.person(EMAIL, PASSWORD, |_| {});
    world
}

fn login(world: &World) -> Reply {
    world.post("/v1/auth/brand/login", &json!({ "email": EMAIL, "password": PASSWORD })).send()
}

fn token_of(reply: &Reply) -> String {
    text(&granted(reply)["data"]["accessToken"])
}

fn token(world: &World) -> String {
    token_of(&login(world))
}

fn refresh(world: &World, token: &str) -> Reply {
    world.call("POST", "/v1/auth/refresh").bearer(token).send()
}

fn affiliates(world: &World, token: &str) -> Reply {
    world.get("/v1/affiliates").bearer(token).send()
}

#[track_caller]
fn in_dialect(world: &World, reply: &Reply, status: u16, error: &str) -> Value {
    let body = world.refused(reply, status);
    assert_eq!(members(&body), ["statusCode", "message", "error"], "{body}");
    assert_eq!(body["statusCode"], json!(status));
    assert_eq!(body["error"], error);
    assert!(body["message"].is_string(), "{body}");
    body
}

#[test]
fn c01_a_login_answers_a_token_and_who_it_is() {
    let world = house();
    let body = granted(&login(&world));
    assert_eq!(members(&body), ["data"]);
    assert_eq!(members(&body["data"]), ["accessToken", "user"]);
    assert_eq!(body["data"]["user"], json!({ "id": "abc123", "email": EMAIL, "brandId": "brand_456" }));
    assert_eq!(members(&body["data"]["user"]), ["id", "email", "brandId"]);
    let calls = world.app.calls();
    assert_eq!(calls.iter().filter(|call| call.target == "/internal/auth/verify").count(), 1);
}

#[test]
fn c02_the_token_has_the_documented_header_and_lives_a_day() {
    let world = house();
    let token = token(&world);
    assert!(token.starts_with(DOCUMENTED_HEADER), "{token}");
    let (_, claims) = decoded(&token);
    assert_eq!(claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat"), 86_400);
    assert_eq!(claims["sub"], "abc123");
    for role_or_plan in ["role", "roles", "plan"] {
        assert_eq!(claims.get(role_or_plan), None, "these are read when they are needed");
    }
}

#[test]
fn c03_the_token_opens_the_api() {
    let world = house();
    affiliates(&world, &token(&world)).ok();
    assert_eq!(world.app.seen().target, "/v1/affiliates");
}

#[test]
fn c04_an_expired_token_is_answered_as_documented() {
    let world = house();
    let token = token(&world);
    world.pass_secs(86_401);
    let body = world.refused(&affiliates(&world, &token), 401);
    assert_eq!(body, json!({ "statusCode": 401, "message": "Token expired", "error": "Unauthorized" }));
    let body = world.refused(&refresh(&world, &token), 401);
    assert_eq!(body["message"], "Token expired", "only before it expires can it renew itself");
}

#[test]
fn c05_after_that_a_login_works_again() {
    let world = house();
    let old = token(&world);
    world.pass_secs(86_401);
    assert_eq!(affiliates(&world, &old).status, 401);
    affiliates(&world, &token(&world)).ok();
}

#[test]
fn c06_a_token_renews_itself_without_a_body() {
    let world = house();
    let first = token(&world);
    world.pass_secs(3600);
    let reply = refresh(&world, &first);
    let second = token_of(&reply);
    assert_ne!(first, second);
    let (old, new) = (decoded(&first).1, decoded(&second).1);
    assert_eq!(new["exp"].as_i64().expect("exp"), old["iat"].as_i64().expect("iat") + 3600 + 86_400);
    assert_eq!(granted(&reply)["data"]["user"]["brandId"], "brand_456");
}

#[test]
fn c07_the_old_token_is_dead_when_the_new_one_is_there() {
    let world = house();
    let first = token(&world);
    affiliates(&world, &first).ok();
    let second = token_of(&refresh(&world, &first));
    let body = in_dialect(&world, &affiliates(&world, &first), 401, "Unauthorized");
    assert_eq!(body["message"], "Invalid token");
    affiliates(&world, &second).ok();
    in_dialect(&world, &refresh(&world, &first), 401, "Unauthorized");
    affiliates(&world, &second).ok(); // an old token that comes back is no proof of a theft
}

#[test]
fn c10_of_twenty_renewals_at_once_one_succeeds() {
    let world = house();
    let first = token(&world);
    let replies = at_once(20, |_| refresh(&world, &first));
    let good: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(good.len(), 1, "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 401)));
    let second = token_of(good[0]);
    affiliates(&world, &second).ok();
    assert_eq!(affiliates(&world, &first).status, 401);
    affiliates(&world, &token_of(&refresh(&world, &second))).ok();
}

#[test]
fn c12_another_node_hears_of_a_renewal_within_two_seconds() {
    let world = house();
    let other = world.second_node();
    let there = |token: &str| other.caller().host(world.host).get("/v1/affiliates").bearer(token).send().status;
    let first = token(&world);
    affiliates(&world, &first).ok();
    assert_eq!(there(&first), 200);
    let second = token_of(&refresh(&world, &first));
    let watch = Stopwatch::start();
    assert_eq!(there(&second), 200, "a new token works everywhere at once");
    eventually("the other node hears of it", || (there(&first) == 401).then_some(()));
    assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
}

#[test]
fn c13_on_starter_one_signs_in_but_calls_nothing() {
    let world = house();
    world.app.change(EMAIL, |person| person.plan = "Starter".to_owned());
    let token = token(&world);
    in_dialect(&world, &affiliates(&world, &token), 403, "Forbidden");
    assert!(world.app.forwarded().is_empty());
}

#[test]
fn c14_a_plan_that_is_raised_opens_the_api_without_a_new_login() {
    let world = house();
    world.app.change(EMAIL, |person| person.plan = "Starter".to_owned());
    let token = token(&world);
    assert_eq!(affiliates(&world, &token).status, 403);
    world.app.change(EMAIL, |person| person.plan = "Growth".to_owned());
    world.pass_secs(31);
    affiliates(&world, &token).ok();
    assert_eq!(world.app.seen().header("x-auth-plan"), Some("Growth"));
}

#[test]
fn c15_a_plan_that_is_lowered_closes_it() {
    let world = house();
    let token = token(&world);
    affiliates(&world, &token).ok();
    world.app.change(EMAIL, |person| person.plan = "Starter".to_owned());
    world.pass_secs(31);
    in_dialect(&world, &affiliates(&world, &token), 403, "Forbidden");
}

/// A token of somebody who is only a member.
fn member(world: &World) -> String {
    world.app.change(EMAIL, |person| person.role = "Brand Member".to_owned());
    token(world)
}

#[test]
fn c16_a_member_reads_everything() {
    let world = house();
    let token = member(&world);
    for resource in ["campaigns", "creators", "affiliates", "orders"] {
        world.get(&format!("/v1/{resource}")).bearer(&token).send().ok();
    }
}

#[test]
fn c17_a_member_writes_campaigns_and_creators() {
    let world = house();
    let token = member(&world);
    for method in ["POST", "PATCH", "DELETE"] {
        for path in ["/v1/campaigns/7", "/v1/creators/7", "/v1/affiliates/7"] {
            world.call(method, path).bearer(&token).send().ok();
        }
    }
}

const ADMINS_ONLY: [(&str, &str); 2] = [("POST", "/v1/discounts"), ("DELETE", "/v1/orders/1")];

#[test]
fn c18_a_member_writes_nothing_else() {
    let world = house();
    let token = member(&world);
    for (method, path) in ADMINS_ONLY {
        in_dialect(&world, &world.call(method, path).bearer(&token).send(), 403, "Forbidden");
    }
    assert!(world.app.forwarded().is_empty());
}

#[test]
fn c19_an_admin_writes_everything() {
    let world = house();
    let token = token(&world);
    for (method, path) in ADMINS_ONLY {
        world.call(method, path).bearer(&token).send().ok();
    }
}

#[test]
fn c21_without_a_token_the_answer_has_its_three_members() {
    let world = house();
    in_dialect(&world, &world.get("/v1/affiliates").send(), 401, "Unauthorized");
    in_dialect(&world, &world.call("POST", "/v1/auth/refresh").send(), 401, "Unauthorized");
}

#[test]
fn c22_an_unknown_address_is_answered_like_a_wrong_password() {
    let world = house();
    let attempt = |email: &str, password: &str| {
        let reply = world.post("/v1/auth/brand/login", &json!({ "email": email, "password": password })).send();
        let body = in_dialect(&world, &reply, 401, "Unauthorized");
        assert_eq!(body["message"], "Invalid credentials");
        reply.body
    };
    let wrong = attempt(EMAIL, "not the password at all");
    assert_eq!(wrong, attempt("nobody@yourbrand.com", PASSWORD));
    world.app.change(EMAIL, |person| person.status = "suspended".to_owned());
    assert_eq!(wrong, attempt(EMAIL, PASSWORD), "nor does anybody learn that they are suspended");
}

#[test]
fn c23_a_login_that_makes_no_sense_is_a_bad_request() {
    let world = house();
    for body in ["{", "", "{}", "[]", r#"{"email":"you@yourbrand.com"}"#, r#"{"email":1,"password":"x"}"#] {
        let reply = world.post_text("/v1/auth/brand/login", body).send();
        let told = in_dialect(&world, &reply, 400, "Bad Request");
        assert_eq!(told["message"], "Validation failed", "{body}");
    }
    assert!(world.app.calls().is_empty(), "nobody was asked");
}

#[test]
fn c25_the_upstream_is_told_the_brand_and_no_client_can_say_another() {
    let world = house();
    let token = token(&world);
    let call = world.get("/v1/affiliates").bearer(&token);
    call.header("X-Auth-Tenant", "brand_999").header("x_auth_tenant", "brand_999").send().ok();
    let seen = world.app.seen();
    assert_eq!(seen.aliases("X-Auth-Tenant"), [("x-auth-tenant", "brand_456")]);
    assert_eq!(seen.header("x-auth-subject"), Some("abc123"));
    assert_eq!(seen.header("x-auth-roles"), Some("Brand%20Admin"));
}

#[test]
fn somebody_who_is_suspended_upstream_is_refused_within_the_cache_time() {
    let world = house();
    let token = token(&world);
    affiliates(&world, &token).ok();
    world.app.change(EMAIL, |person| person.status = "suspended".to_owned());
    world.pass_secs(31);
    let status = affiliates(&world, &token).status;
    assert!(matches!(status, 401 | 403), "{status}");
    assert_eq!(refresh(&world, &token).status, status);
}

#[test]
fn a_directory_that_says_something_else_is_an_outage() {
    let world = house();
    for said in ["", "{}", "[]", "{\"subject\":[7]}", "{\"subject\":\"\"}", "{\"subject\":\"abc123\""] {
        world.app.mood(Mood::Says(said.to_owned()));
        in_dialect(&world, &login(&world), 503, "Service Unavailable");
    }
    world.app.mood(Mood::Good);
    affiliates(&world, &token(&world)).ok();
}
