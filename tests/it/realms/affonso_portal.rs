//! Affonso, portal tokens: a key is exchanged for a token of an affiliate that signs in to the hosted portal, once.

use std::time::Duration;

use serde_json::{Value, json};

use super::application::Mood;
use super::{DOCUMENTED_HEADER, World, decoded, granted, members, sk, text};
use crate::support::NOW;
use crate::support::administrator::Made;
use crate::support::caller::Reply;
use crate::support::realms::api_key;

pub(super) const TEAM: &str = "team_42";
pub(super) const AFFILIATE: &str = "cmj8q1wau0003sb01lpvka478";
pub(super) const PORTAL: &str = "yourcompany.affonso.io";

/// A team with a key, and one affiliate.
pub(super) struct House {
    pub(super) world: World,
    pub(super) owner: String,
    pub(super) key: Made,
}

impl std::ops::Deref for House {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// A key of a new team that may write affiliates; the team has these attributes besides its subdomain.
pub(super) fn house_with(attributes: &Value) -> House {
    of(World::new("affonso"), attributes)
}

pub(super) fn of(world: World, attributes: &Value) -> House {
    let attributes = super::merged(json!({ "subdomain": "yourcompany" }), attributes);
    let owner = world.client("owner", TEAM, &json!({ "attributes": attributes }));
    let key = world.key(&owner, &json!({ "scopes": ["write:affiliates", "read:affiliates"] }));
    world.app.affiliate(TEAM, AFFILIATE, "ACTIVE");
    House { world, owner, key }
}

pub(super) fn house() -> House {
    house_with(&json!({}))
}

impl House {
    pub(super) fn ask(&self, id: &str) -> Reply {
        self.ask_with(id, &self.key.secret)
    }

    fn ask_with(&self, id: &str, key: &str) -> Reply {
        self.call("POST", &format!("/v1/affiliates/{id}/portal-token")).bearer(key).send()
    }

    /// A portal token of the affiliate.
    #[track_caller]
    pub(super) fn token(&self) -> String {
        text(&granted(&self.ask(AFFILIATE))["data"]["token"])
    }

    /// The browser follows the link.
    pub(super) fn open(&self, method: &str, token: &str) -> Reply {
        self.caller().host(PORTAL).call(method, &format!("/auth/token?token={token}")).send()
    }
}

/// The cookie of a reply that signs somebody in.
#[track_caller]
pub(super) fn signed_in(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{reply:?}");
    assert_eq!(reply.header("location"), Some("/"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    let cookie = reply.header("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once(';').expect("attributes");
    let attributes: Vec<_> = attributes.split(';').map(|a| a.trim().to_ascii_lowercase()).collect();
    for wanted in ["httponly", "secure", "samesite=lax", "path=/"] {
        assert!(attributes.iter().any(|a| a == wanted), "{wanted} is not in {cookie}");
    }
    assert!(!attributes.iter().any(|a| a.starts_with("domain")), "{cookie}");
    assert!(pair.starts_with("__Host-portal="), "{cookie}");
    pair.to_owned()
}

#[track_caller]
pub(super) fn envelope(world: &World, reply: &Reply, status: u16, code: &str) -> Value {
    let body = world.refused(reply, status);
    assert_eq!(body["success"], json!(false), "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
    assert_eq!(members(&body), ["success", "error"]);
    body
}

#[test]
fn p01_a_key_gets_a_token_for_an_active_affiliate() {
    let house = house();
    let body = granted(&house.ask(AFFILIATE));
    assert_eq!(members(&body), ["success", "data"]);
    assert_eq!(body["success"], json!(true));
    assert_eq!(members(&body["data"]), ["token", "portalUrl", "expiresAt"]);
    let calls = house.app.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].target, format!("/internal/teams/{TEAM}/affiliates/{AFFILIATE}"));
    assert!(house.app.forwarded().is_empty());
}

#[test]
fn p02_the_token_is_hs256_and_lives_five_minutes() {
    let house = house();
    let data = granted(&house.ask(AFFILIATE))["data"].clone();
    let token = text(&data["token"]);
    assert!(token.starts_with(DOCUMENTED_HEADER), "{token}");
    let (header, claims) = decoded(&token);
    assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
    assert_eq!(claims["exp"], json!(NOW.secs() + 300));
    assert_eq!(claims["sub"], AFFILIATE);
    assert_eq!(claims["token_use"], "portal");
    assert_eq!(claims["act"], json!({ "sub": house.key.id }));
    let end = jiff::Timestamp::from_second(NOW.secs() + 300).expect("a time");
    assert_eq!(data["expiresAt"], format!("{end:.3}"));
    assert!(text(&data["expiresAt"]).ends_with(".000Z"), "{data}");
}

#[test]
fn p03_the_link_is_that_of_the_teams_subdomain() {
    let house = house();
    let data = granted(&house.ask(AFFILIATE))["data"].clone();
    assert_eq!(data["portalUrl"], format!("https://{PORTAL}/auth/token?token={}", text(&data["token"])));
}

#[test]
fn p04_a_verified_domain_is_used() {
    let house = house_with(&json!({ "verified_domain": "partners.yourcompany.com" }));
    let data = granted(&house.ask(AFFILIATE))["data"].clone();
    let token = text(&data["token"]);
    assert_eq!(data["portalUrl"], format!("https://partners.yourcompany.com/auth/token?token={token}"));
    let reply = house.caller().host("partners.yourcompany.com").get(&format!("/auth/token?token={token}")).send();
    signed_in(&reply);
}

#[test]
fn p05_a_domain_that_is_not_verified_is_not() {
    let house = house_with(&json!({ "custom_domain": "partners.yourcompany.com" }));
    let url = text(&granted(&house.ask(AFFILIATE))["data"]["portalUrl"]);
    assert!(url.starts_with(&format!("https://{PORTAL}/")), "{url}");
    let token = house.token();
    let reply = house.caller().host("partners.yourcompany.com").get(&format!("/auth/token?token={token}")).send();
    assert_eq!(reply.status, 404, "nobody's host: {reply:?}");
}

#[test]
fn p06_who_is_not_active_gets_no_token() {
    let house = house();
    for status in ["SUSPENDED", "BANNED", "INACTIVE", "PENDING", "active", ""] {
        house.app.affiliate(TEAM, AFFILIATE, status);
        envelope(&house, &house.ask(AFFILIATE), 403, "FORBIDDEN");
    }
    assert_eq!(house.audited("token.minted"), None, "nothing was made");
}

#[test]
fn p07_an_affiliate_of_another_team_is_as_unknown_as_nobody() {
    let house = house();
    house.app.affiliate("team_43", "aff_of_others", "ACTIVE");
    let (unknown, others) = (house.ask("nobody"), house.ask("aff_of_others"));
    envelope(&house, &unknown, 404, "NOT_FOUND");
    envelope(&house, &others, 404, "NOT_FOUND");
    assert_eq!(unknown.body, others.body);
}

#[test]
fn p08_a_key_without_the_scope_learns_nothing() {
    let house = house();
    let reader = house.world.key(&house.owner, &json!({ "scopes": ["read:affiliates"] }));
    for id in [AFFILIATE, "nobody"] {
        envelope(&house, &house.ask_with(id, &reader.secret), 403, "INSUFFICIENT_PERMISSIONS");
    }
    assert!(house.app.calls().is_empty());
}

#[test]
fn p09_no_key_at_all_is_missing() {
    let house = house();
    let call = || house.call("POST", &format!("/v1/affiliates/{AFFILIATE}/portal-token"));
    for call in [
        call(),
        call().header("Authorization", "Bearer"),
        call().header("Authorization", "Bearer "),
        call().header("Authorization", "Basic dGVhbTpzZWNyZXQ="),
    ] {
        envelope(&house, &call.send(), 401, "MISSING_API_KEY");
    }
    assert!(house.app.calls().is_empty());
}

#[test]
fn p10_what_cannot_be_a_key_is_not_looked_up() {
    let house = house();
    let good = api_key(&sk());
    let digit = if good.ends_with('0') { '1' } else { '0' };
    for wrong in ["foo".to_owned(), format!("{}{digit}", &good[..good.len() - 1]), sk()] {
        let reply = house.ask_with(AFFILIATE, &wrong);
        envelope(&house, &reply, 401, "INVALID_API_KEY_FORMAT");
        assert_eq!(house.line_of(&reply)["reason"], "key_malformed");
    }
    assert!(house.app.calls().is_empty());
}

#[test]
fn p11_a_well_formed_key_of_nobody_is_invalid() {
    let house = house();
    envelope(&house, &house.ask_with(AFFILIATE, &api_key(&sk())), 401, "INVALID_API_KEY");
}

#[test]
fn p12_a_key_that_is_off_or_over_says_so() {
    let house = house();
    let until = jiff::Timestamp::from_second(NOW.secs() + 60).expect("a time").to_string();
    let short = house.world.key(&house.owner, &json!({ "scopes": ["write:affiliates"], "expires_at": until }));
    granted(&house.ask_with(AFFILIATE, &short.secret));
    house.pass_secs(61);
    envelope(&house, &house.ask_with(AFFILIATE, &short.secret), 401, "API_KEY_EXPIRED");
    house.admin().order(format!("/keys/{}/disable", house.key.id)).is(200);
    envelope(&house, &house.ask(AFFILIATE), 401, "API_KEY_DISABLED");
}

#[test]
fn p13_the_link_signs_in_and_the_cookie_opens_the_portal() {
    let house = house();
    let token = house.token();
    let cookie = signed_in(&house.open("GET", &token));
    let page = |cookie: &str| house.caller().host(PORTAL).get("/dashboard?tab=links").header("Cookie", cookie).send();
    page(&format!("theme=dark; {cookie}")).ok();
    let seen = house.app.seen();
    assert_eq!(seen.header("x-auth-subject"), Some(AFFILIATE));
    assert_eq!(seen.header("x-auth-method"), Some("opaque"));
    let kept = seen.header("cookie").unwrap_or_default();
    assert!(!kept.contains("__Host-portal"), "the session ends here: {kept}");
    assert_eq!(house.caller().host(PORTAL).get("/dashboard").send().status, 401);
    assert_eq!(page("__Host-portal=0123456789abcdef").status, 401);
    house.pass_secs(8 * 3600 + 1);
    assert_eq!(page(&cookie).status, 401);
}

#[test]
fn p14_a_token_signs_in_once() {
    let house = house();
    let token = house.token();
    signed_in(&house.open("GET", &token));
    for _ in 0..3 {
        let again = house.open("GET", &token);
        house.refused(&again, 401);
        assert!(again.all("set-cookie").is_empty(), "{again:?}");
    }
    assert!(house.audited("token.replayed").is_some(), "it is on record");
}

#[test]
fn p14_a_look_without_a_body_spends_nothing() {
    let house = house();
    let token = house.token();
    for _ in 0..2 {
        let reply = house.open("HEAD", &token);
        assert!(reply.all("set-cookie").is_empty(), "{reply:?}");
    }
    signed_in(&house.open("GET", &token));
}

#[test]
fn p16_a_token_that_was_left_lying_for_five_minutes_is_refused() {
    let house = house();
    let token = house.token();
    house.pass_secs(301);
    house.refused(&house.open("GET", &token), 401);
}

#[test]
fn p19_a_second_token_does_not_end_the_first() {
    let house = house();
    let (first, second) = (house.token(), house.token());
    assert_ne!(first, second);
    for token in [&first, &second] {
        signed_in(&house.open("GET", token));
    }
    for token in [&first, &second] {
        house.refused(&house.open("GET", token), 401);
    }
}

#[test]
fn p22_a_portal_token_is_no_api_key() {
    let house = house();
    let token = house.token();
    house.refused(&house.get("/v1/affiliates").bearer(&token).send(), 401);
    assert!(house.app.forwarded().is_empty());
    signed_in(&house.open("GET", &token));
}

#[test]
fn p23_a_body_is_not_looked_at() {
    let house = house();
    for body in [r#"{"anything":1}"#, "{", "\u{0}\u{1}", "[[[["] {
        let call = house.post_text(&format!("/v1/affiliates/{AFFILIATE}/portal-token"), body);
        granted(&call.bearer(&house.key.secret).send());
    }
}

#[test]
fn p24_a_post_without_a_length_is_fine() {
    let house = house();
    let lines = format!(
        "POST /v1/affiliates/{AFFILIATE}/portal-token HTTP/1.1\r\nHost: api.affonso.io\r\nUser-Agent: curl/8.5.0\r\n\
         Accept: */*\r\nAuthorization: Bearer {}\r\n\r\n",
        house.key.secret
    );
    granted(&house.caller().send_raw(lines));
}

#[test]
fn p25_when_the_application_fails_there_is_no_token() {
    let house = house();
    let moods = [Mood::Status(500), Mood::Says("nonsense".to_owned()), Mood::Slow(Duration::from_secs(3))];
    for mood in moods {
        house.app.mood(mood);
        let reply = house.ask(AFFILIATE);
        assert!(reply.status == 503, "{reply:?}");
        let body = house.refused(&reply, 503);
        assert_eq!(body["success"], json!(false), "{body}");
        assert_eq!(body.get("data"), None);
    }
    assert_eq!(house.audited("token.minted"), None, "nothing was made");
    house.app.mood(Mood::Good);
    house.token();
}

#[test]
fn the_status_is_asked_again_when_the_token_is_spent() {
    let house = house();
    let token = house.token();
    house.app.affiliate(TEAM, AFFILIATE, "BANNED");
    let reply = house.open("GET", &token);
    assert!(matches!(reply.status, 401 | 403), "{reply:?}");
    assert!(reply.all("set-cookie").is_empty());
}

#[test]
fn a_portal_with_a_back_end_of_its_own_redeems_with_its_key() {
    let house = house();
    let token = house.token();
    let redeem = |key: Option<&str>, token: &str| {
        let call = house.post("/internal/tokens/redeem", &json!({ "token": token }));
        key.into_iter().fold(call, |call, key| call.bearer(key)).send()
    };
    envelope(&house, &redeem(None, &token), 401, "MISSING_API_KEY");
    granted(&redeem(Some(&house.key.secret), &token));
    house.refused(&redeem(Some(&house.key.secret), &token), 401);
    house.refused(&house.open("GET", &token), 401);
}

#[test]
fn the_portals_pages_are_not_on_the_apis_host() {
    let house = house();
    let cookie = signed_in(&house.open("GET", &house.token()));
    assert_eq!(house.get("/dashboard").header("Cookie", &cookie).send().status, 404);
    let token = house.token();
    assert_eq!(house.get(&format!("/auth/token?token={token}")).send().status, 404);
    signed_in(&house.open("GET", &token));
}
