//! Affonso, embed tokens: a key is exchanged for an opaque token of a partner and a programme, the newest of which counts.

use std::collections::HashMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::affonso_portal::{House, TEAM, envelope, house};
use super::application::Application;
use super::{World, granted, host_of, members, secrets, sk, text};
use crate::support::NOW;
use crate::support::caller::Reply;
use crate::support::gateway::Gateway;
use crate::support::realms::api_key;
use crate::support::upstream::Respond;

const EMAIL: &str = "john@example.com";
pub(super) const PROGRAMME: &str = "cm7xutqbb0001yfkcrnpextmp";

fn programmes(house: House) -> House {
    house.app.programme(PROGRAMME, TEAM, true, false);
    house.app.programme("second", TEAM, true, false);
    house.app.programme("private", TEAM, true, true);
    house.app.programme("ended", TEAM, false, false);
    house.app.programme("of_others", "team_43", true, false);
    house
}

pub(super) fn asked(programme: &str, email: &str) -> Value {
    json!({ "programId": programme, "partner": { "email": email } })
}

fn ask(house: &House, body: &Value) -> Reply {
    house.post("/v1/embed/token", body).bearer(&house.key.secret).send()
}

#[track_caller]
pub(super) fn token(house: &House, programme: &str) -> String {
    text(&granted(&ask(house, &asked(programme, EMAIL)))["data"]["publicToken"])
}

fn data(house: &House, token: &str) -> Reply {
    house.get(&format!("/v1/embed/data?token={token}")).send()
}

#[test]
fn e01_a_key_gets_a_token_for_a_partner() {
    let house = programmes(house());
    let body = granted(&ask(&house, &asked(PROGRAMME, EMAIL)));
    assert_eq!(members(&body), ["success", "data"]);
    assert_eq!(body["success"], json!(true));
    assert_eq!(members(&body["data"]), ["publicToken", "expiresAt", "link", "partnershipStatus"]);
    assert_eq!(body["data"]["partnershipStatus"], "APPROVED");
    assert_eq!(body["data"]["link"], "https://yourcompany.com?via=john");
    assert_eq!(house.app.partners(), 1);
}

#[test]
fn e02_the_token_is_opaque_and_lives_half_an_hour() {
    let house = programmes(house());
    let data = granted(&ask(&house, &asked(PROGRAMME, EMAIL)))["data"].clone();
    let token = text(&data["publicToken"]);
    assert_eq!(token.len(), 64);
    assert!(token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{token}");
    let end = jiff::Timestamp::from_millisecond(NOW.0 + 30 * 60 * 1000).expect("a time");
    assert_eq!(data["expiresAt"], format!("{end:.3}"));
}

#[test]
fn e03_in_a_private_programme_the_partner_is_pending_and_the_token_works() {
    let house = programmes(house());
    let body = granted(&ask(&house, &asked("private", EMAIL)));
    assert_eq!(body["data"]["partnershipStatus"], "PENDING");
    data(&house, &text(&body["data"]["publicToken"])).ok();
}

#[test]
fn e04_the_same_partner_again_is_nobody_new() {
    let house = programmes(house());
    let first = token(&house, PROGRAMME);
    let second = text(&granted(&ask(&house, &asked(PROGRAMME, " John@Example.com ")))["data"]["publicToken"]);
    assert_ne!(first, second);
    assert_eq!(house.app.partners(), 1);
    for call in house.app.calls() {
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        let email = text(&body["partner"]["email"]);
        assert_eq!(email.to_ascii_lowercase(), EMAIL, "blanks are cut off: {email:?}");
    }
    // Letter case and blanks make no other person: there is still one live token.
    assert_eq!(data(&house, &first).status, 401);
    data(&house, &second).ok();
}

#[test]
fn e05_a_new_token_ends_the_one_before() {
    let house = programmes(house());
    let first = token(&house, PROGRAMME);
    data(&house, &first).ok();
    let second = token(&house, PROGRAMME);
    house.refused(&data(&house, &first), 401);
    data(&house, &second).ok();
}

#[test]
fn e06_two_programmes_have_a_token_each() {
    let house = programmes(house());
    let (first, second) = (token(&house, PROGRAMME), token(&house, "second"));
    data(&house, &first).ok();
    data(&house, &second).ok();
}

#[test]
fn e08_after_half_an_hour_it_is_over() {
    let house = programmes(house());
    let token = token(&house, PROGRAMME);
    house.pass_secs(30 * 60 - 1);
    data(&house, &token).ok();
    house.pass_secs(2);
    house.refused(&data(&house, &token), 401);
}

#[test]
fn e09_no_key_is_needed_and_the_upstream_knows_affiliate_and_programme() {
    let house = programmes(house());
    let token = token(&house, PROGRAMME);
    let call = house.get(&format!("/v1/embed/data?token={token}&page=2"));
    call.header("X-Auth-Program", "another").header("X-Auth-Subject", "another").send().ok();
    let seen = house.app.seen();
    let partner = house.app.partner(PROGRAMME, EMAIL).expect("a partner");
    assert_eq!(seen.aliases("X-Auth-Subject"), [("x-auth-subject", partner.id.as_str())]);
    assert_eq!(seen.aliases("X-Auth-Program"), [("x-auth-program", PROGRAMME)]);
    assert_eq!(seen.header("x-auth-method"), Some("opaque"));
    assert_eq!(seen.target, format!("/v1/embed/data?token={token}&page=2"), "the application repeats it");
}

#[test]
fn e11_an_api_key_is_no_embed_token() {
    let house = programmes(house());
    let reply = data(&house, &house.key.secret);
    house.refused(&reply, 401);
    house.line_of(&reply);
    assert!(!house.log().text().contains(&house.key.secret), "it is not logged");
}

#[test]
fn e12_a_programme_that_is_not_theirs_is_not_there() {
    let house = programmes(house());
    let replies = ["unknown", "ended", "of_others"].map(|programme| ask(&house, &asked(programme, EMAIL)));
    for reply in &replies {
        envelope(&house, reply, 404, "NOT_FOUND");
        assert_eq!(reply.body, replies[0].body);
    }
    assert_eq!(house.app.partners(), 0);
}

#[track_caller]
fn invalid(house: &House, body: &Value, field: &str) {
    let told = house.refused(&ask(house, body), 400);
    assert_eq!(told["success"], json!(false));
    assert_eq!(told["error"]["code"], "VALIDATION_ERROR", "{body}: {told}");
    let details = told["error"]["details"].as_array().unwrap_or_else(|| panic!("no details in {told}"));
    assert!(details.iter().any(|fault| fault["field"] == field), "{body}: {field} is not in {told}");
}

fn with_partner(partner: Value) -> Value {
    json!({ "programId": PROGRAMME, "partner": partner })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = asked(PROGRAMME, EMAIL);
    body[name] = value;
    body
}

#[test]
fn e13_what_is_missing_is_named() {
    let house = programmes(house());
    for (body, field) in [
        (json!({ "partner": { "email": EMAIL } }), "programId"),
        (json!({ "programId": PROGRAMME }), "partner"),
        (with_partner(json!({})), "partner.email"),
        (with_partner(json!({ "email": "nope" })), "partner.email"),
        (with_partner(json!({ "email": 7 })), "partner.email"),
        (with_partner(json!("john@example.com")), "partner"),
        (json!({ "programId": "", "partner": { "email": EMAIL } }), "programId"),
    ] {
        invalid(&house, &body, field);
    }
    assert!(house.app.calls().is_empty(), "nobody was asked");
}

#[test]
fn e14_a_picture_is_at_an_http_address() {
    let house = programmes(house());
    for image in
        ["not a url", "javascript:alert(1)", "data:image/png;base64,AAAA", "/avatar.jpg", "ftp://example.com/a"]
    {
        invalid(&house, &with_partner(json!({ "email": EMAIL, "image": image })), "partner.image");
    }
    granted(&ask(&house, &with_partner(json!({ "email": EMAIL, "image": "https://example.com/avatar.jpg" }))));
}

#[test]
fn e15_an_id_has_255_characters_at_most() {
    let house = programmes(house());
    granted(&ask(&house, &with("externalUserId", json!("ü".repeat(255)))));
    invalid(&house, &with("externalUserId", json!("ü".repeat(256))), "externalUserId");
}

#[test]
fn e16_metadata_is_an_object() {
    let house = programmes(house());
    granted(&ask(&house, &with("metadata", json!({ "plan": "pro" }))));
    invalid(&house, &with("metadata", json!([])), "metadata");
    invalid(&house, &with("metadata", json!("x")), "metadata");
}

#[test]
fn e17_the_application_gets_everything_and_changes_what_it_should() {
    let house = programmes(house());
    let mut body = with_partner(json!({ "email": EMAIL, "name": "John Doe" }));
    granted(&ask(&house, &body));
    body["partner"]["name"] = json!("Somebody Else");
    body["externalUserId"] = json!("user_7");
    body["metadata"] = json!({ "plan": "pro", "n": 1.5 });
    granted(&ask(&house, &body));
    let told: Value = serde_json::from_slice(&house.app.calls().pop().expect("a call").body).expect("JSON");
    assert_eq!(told, body);
    let partner = house.app.partner(PROGRAMME, EMAIL).expect("a partner");
    assert_eq!(partner.name.as_deref(), Some("John Doe"), "only used on creation");
    assert_eq!(partner.external_user_id.as_deref(), Some("user_7"));
    assert_eq!(partner.metadata, Some(json!({ "plan": "pro", "n": 1.5 })));
}

#[test]
fn e19_a_group_is_passed_on_as_it_came() {
    let house = programmes(house());
    granted(&ask(&house, &with("groupId", json!("cm8abc123vip_group_id"))));
    granted(&ask(&house, &asked(PROGRAMME, EMAIL)));
    let calls = house.app.calls();
    let group = |at: usize| -> Option<Value> {
        let body: Value = serde_json::from_slice(&calls[at].body).expect("JSON");
        body.get("groupId").cloned()
    };
    assert_eq!((group(0), group(1)), (Some(json!("cm8abc123vip_group_id")), None));
}

#[test]
fn e20_a_token_is_not_for_everybody() {
    let house = programmes(house());
    let reader = house.world.key(&house.owner, &json!({ "scopes": ["read:affiliates"] }));
    let body = asked(PROGRAMME, EMAIL);
    envelope(&house, &house.post("/v1/embed/token", &body).send(), 401, "MISSING_API_KEY");
    let with_key = |key: &str| house.post("/v1/embed/token", &body).bearer(key).send();
    envelope(&house, &with_key(&api_key(&sk())), 401, "INVALID_API_KEY");
    envelope(&house, &with_key(&reader.secret), 403, "INSUFFICIENT_PERMISSIONS");
    assert!(house.app.calls().is_empty());
}

#[test]
fn e21_a_body_that_is_no_json_is_a_validation_error() {
    let house = programmes(house());
    let reply = house.post_text("/v1/embed/token", "{").bearer(&house.key.secret).send();
    envelope(&house, &reply, 400, "VALIDATION_ERROR");
    let body = asked(PROGRAMME, EMAIL).to_string();
    let call = house.call("POST", "/v1/embed/token").header("Content-Type", "text/plain").body(body);
    granted(&call.bearer(&house.key.secret).send());
}

#[test]
fn e23_a_restart_revives_nothing_and_ends_nothing() {
    let app = Application::start();
    let state = TempDir::new().expect("a directory");
    let start = || {
        let builder = Gateway::builder().shipped_realm("affonso").upstream(&app);
        secrets(builder).env("STATE_DIRECTORY", state.path().to_str().expect("UTF-8")).start()
    };
    let world = World { gw: start(), app: Application::start(), realm: "affonso", host: host_of("affonso") };
    let owner = world.client("owner", TEAM, &json!({}));
    let key = world.key(&owner, &json!({ "scopes": ["write:affiliates"] }));
    app.programme(PROGRAMME, TEAM, true, false);
    let made = || {
        let reply = world.post("/v1/embed/token", &asked(PROGRAMME, EMAIL)).bearer(&key.secret).send();
        text(&granted(&reply)["data"]["publicToken"])
    };
    let (superseded, live) = (made(), made());
    drop(world);
    let gw = start();
    let status =
        |token: &str| gw.caller().host(host_of("affonso")).get(&format!("/v1/embed/data?token={token}")).send().status;
    assert_eq!((status(&live), status(&superseded)), (200, 401));
}

#[test]
fn e24_a_token_in_a_url_shows_up_nowhere() {
    let house = programmes(house());
    let token = token(&house, PROGRAMME);
    let mut replies = vec![data(&house, &token), data(&house, &format!("{token}0"))];
    replies.push(house.call("POST", &format!("/v1/embed/data?token={token}")).send());
    replies.push(house.get(&format!("/v1/affiliates?token={token}")).send());
    house.app.respond(Respond::Close);
    replies.push(data(&house, &token));
    house.app.respond(Respond::Echo);
    assert_eq!(replies.last().expect("a reply").status, 502);
    for reply in &replies {
        let line = house.line_of(reply);
        assert!(!line.to_string().contains("token="), "{line}");
        if reply.status != 200 {
            assert!(!format!("{reply:?}").contains(&token), "{reply:?}");
        }
    }
    assert!(!house.log().text().contains(&token));
    assert!(!house.metrics().contains(&token));
    let trail = house.admin().get("/audit?limit=200").is(200).text();
    assert!(!trail.contains(&token) && !trail.contains(&house.key.secret));
}

#[test]
fn e25_a_page_of_any_origin_may_show_the_dashboard_and_passes_no_address_on() {
    let house = programmes(house());
    let token = token(&house, PROGRAMME);
    // What the application says of its own pages is passed on; who may read them is the gateway's to say.
    let page = "HTTP/1.1 200 OK\r\nReferrer-Policy: no-referrer\r\nAccess-Control-Allow-Origin: https://one.example\r\n\
                Access-Control-Allow-Credentials: true\r\nContent-Length: 0\r\n\r\n";
    house.app.respond(Respond::Raw(page.into()));
    let reply = house.get(&format!("/v1/embed/data?token={token}")).header("Origin", "https://shop.example").send();
    assert_eq!((reply.status, reply.header("referrer-policy")), (200, Some("no-referrer")));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    let refused = data(&house, "rubbish");
    house.refused(&refused, 401);
    assert_eq!(refused.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    let asks = |path: &str| {
        let call = house.call("OPTIONS", path).header("Origin", "https://shop.example");
        call.header("Access-Control-Request-Method", "GET").send()
    };
    let seen = house.app.requests().len();
    let preflight = asks("/v1/embed/data").is(204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    // Keys are for servers: no page reads what they are answered.
    house.refused(&asks("/v1/affiliates"), 401);
    assert_eq!(house.app.requests().len(), seen);
}

#[test]
fn a_token_of_nobody_is_unauthorized() {
    let house = programmes(house());
    let statuses: HashMap<&str, u16> = ["", "x", "0", "../..", "a1b2c3d4e5f6789"]
        .into_iter()
        .map(|token| (token, data(&house, token).status))
        .collect();
    assert!(statuses.values().all(|status| *status == 401), "{statuses:?}");
    envelope(&house, &data(&house, &"0".repeat(64)), 401, "UNAUTHORIZED");
}
