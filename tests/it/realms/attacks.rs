//! What is tried against those who hand out tokens.

use std::collections::BTreeSet;

use portcullis::clock::Stopwatch;
use serde_json::json;

use super::affonso_embed::{self, PROGRAMME};
use super::affonso_portal::{self, AFFILIATE, PORTAL, TEAM, signed_in};
use super::own_api::{self, basic, form, oauth_error};
use super::{PASSWORD, World, at_once, decoded, granted, text};
use crate::support::NOW;
use crate::support::caller::{Call, Reply};

const EMAIL: &str = "ann@example.com";
const WRONG: &str = "not the password at all";

fn house() -> World {
    house_with(World::new("affilync"))
}

/// Behind a load balancer at 127.0.0.1.
fn balanced() -> World {
    house_with(World::with("affilync", |builder| builder.server_toml("trusted_proxies = [\"127.0.0.1/32\"]")))
}

fn house_with(world: World) -> World {
    world.with_password("user", EMAIL, PASSWORD, &json!({}));
    world
}

fn login(world: &World, email: &str, password: &str) -> Call {
    world.post("/api/auth/login", &json!({ "email": email, "password": password }))
}

fn pair(world: &World) -> (String, String) {
    pair_of(&login(world, EMAIL, PASSWORD).send())
}

#[track_caller]
fn pair_of(reply: &Reply) -> (String, String) {
    let body = granted(reply);
    (text(&body["access_token"]), text(&body["refresh_token"]))
}

fn refresh(world: &World, token: &str) -> Reply {
    world.post("/api/auth/refresh", &json!({ "refresh_token": token })).send()
}

fn campaigns(world: &World, token: &str) -> Reply {
    world.get("/api/campaigns").bearer(token).send()
}

fn from(call: Call, address: &str) -> Reply {
    call.header("X-Forwarded-For", address).send()
}

/// A team of affonso with an affiliate, a programme, and one token of each kind.
fn team() -> affonso_portal::House {
    let house = affonso_portal::house();
    house.app.programme(PROGRAMME, TEAM, true, false);
    house
}

#[test]
fn t04_a_stolen_refresh_token_ends_the_session_whoever_comes_first() {
    let world = house();
    for steps in [1, 3] {
        let (_, stolen) = pair(&world);
        // One of the two goes on for a while, the other comes with what it has.
        let (mut access, mut last) = (String::new(), stolen.clone());
        for _ in 0..steps {
            world.pass_secs(60);
            (access, last) = pair_of(&refresh(&world, &last));
        }
        world.pass_secs(60);
        assert_eq!(refresh(&world, &stolen).status, 401);
        assert_eq!(refresh(&world, &last).status, 401, "and whoever was first is out, too");
        assert_eq!(campaigns(&world, &access).status, 401);
    }
}

#[test]
fn t05_a_lost_answer_leaves_no_two_live_successors() {
    let world = house();
    let (_, first) = pair(&world);
    // The answer is lost: the client sends the same again.
    world.post("/api/auth/refresh", &json!({ "refresh_token": first })).send_and_leave();
    world.metric_becomes("portcullis_grants_total", &[("grant", "/api/auth/refresh")], 1.0);
    let again = refresh(&world, &first);
    assert_eq!(again.status, 401, "this realm has no grace: {again:?}");
    pair(&world); // a login helps

    let notes = own_api::house();
    let first = text(&granted(&own_api::login(&notes))["refresh_token"]);
    let lost = text(&granted(&own_api::refresh(&notes, &first))["refresh_token"]);
    let again = text(&granted(&own_api::refresh(&notes, &first))["refresh_token"]);
    assert_eq!(lost, again, "the same successor, not another one");
    let third = granted(&own_api::refresh(&notes, &again));
    own_api::notes(&notes, &text(&third["access_token"])).ok();
}

#[test]
fn t07_a_token_of_one_kind_is_not_spent_by_another() {
    let house = team();
    let (portal, other) = (house.token(), house.token());
    let embed = affonso_embed::token(&house, PROGRAMME);
    let jti = |token: &str| text(&decoded(token).1["jti"]);
    signed_in(&house.open("GET", &portal));
    // Replacing and presenting tokens of the other kind revives nothing.
    let newer = affonso_embed::token(&house, PROGRAMME);
    for named in [jti(&portal), jti(&other), embed.clone(), newer.clone()] {
        assert_eq!(house.open("GET", &named).status, 401);
        assert_eq!(house.get(&format!("/v1/embed/data?token={named}")).send().status == 200, named == newer);
    }
    assert_eq!(house.open("GET", &portal).status, 401);
    signed_in(&house.open("GET", &other));
}

#[test]
fn t08_what_is_spent_stays_spent_whatever_the_clock_says() {
    let house = team();
    let token = house.token();
    let second = house.second_node();
    signed_in(&house.open("GET", &token));
    let there = || second.caller().host(PORTAL).get(&format!("/auth/token?token={token}")).send().status;
    assert_eq!(there(), 401, "another node reads the same store");
    for secs in [-600, 0, 1, 299, 300, 301, 330, 360, 86_400] {
        house.gw.clock.set(portcullis::clock::UnixMillis(NOW.0 + secs * 1000));
        assert_eq!(house.open("GET", &token).status, 401, "{secs} seconds after");
    }
}

/// How many attempts it takes until `call` is told to wait; none when it never is.
fn until_throttled(most: usize, call: impl Fn(usize) -> Reply) -> Option<usize> {
    (0..most).find(|number| {
        let reply = call(*number);
        match reply.status {
            401 => false,
            429 => {
                let wait = reply.header("retry-after").and_then(|v| v.parse::<u64>().ok());
                assert!(wait.is_some_and(|secs| secs > 0), "{reply:?}");
                true
            }
            _ => panic!("{reply:?}"),
        }
    })
}

/// NIST SP 800-63B: a hundred failures in a row at most.
const PATIENCE: usize = 100;

#[test]
fn t10_one_account_is_tried_from_many_addresses() {
    let world = balanced();
    let throttled = until_throttled(PATIENCE, |n| from(login(&world, EMAIL, WRONG), &format!("203.0.113.{n}")));
    assert!(throttled.is_some(), "a hundred addresses try one account unhindered");
}

#[test]
fn t10_many_accounts_are_tried_from_one_address() {
    let world = balanced();
    let somebody = |n: usize| format!("user{n}@example.com");
    let throttled = until_throttled(PATIENCE, |n| from(login(&world, &somebody(n), WRONG), "203.0.113.9"));
    assert!(throttled.is_some(), "one address tries a hundred accounts unhindered");
}

#[test]
fn t10_all_addresses_of_a_network_of_v6_are_one() {
    let world = balanced();
    let throttled = until_throttled(PATIENCE, |n| {
        from(login(&world, &format!("user{n}@example.com"), WRONG), &format!("2001:db8:1:2::{n:x}"))
    });
    assert!(throttled.is_some(), "a /64 is somebody's own: it tries a hundred accounts unhindered");
}

#[test]
fn t10_an_address_that_nobody_vouches_for_is_not_believed() {
    let world = balanced();
    let throttled = until_throttled(PATIENCE, |n| {
        let body = json!({ "email": format!("user{n}@example.com"), "password": WRONG }).to_string();
        let call = world.caller().from("127.0.0.2").call("POST", "/api/auth/login");
        from(call.header("Content-Type", "application/json").body(body), &format!("203.0.113.{n}"))
    });
    assert!(throttled.is_some(), "a made-up address counts as another");
}

#[test]
fn t11_a_lock_is_no_weapon() {
    let world = balanced();
    let (home, attacker) = ("203.0.113.9", "198.51.100.1");
    pair_of(&from(login(&world, EMAIL, PASSWORD), home));
    for _ in 0..12 {
        from(login(&world, EMAIL, WRONG), attacker);
    }
    assert_eq!(from(login(&world, EMAIL, PASSWORD), attacker).status, 429, "it is locked");
    pair_of(&from(login(&world, EMAIL, PASSWORD), home));
    // And it ends by itself, however long it went on.
    for _ in 0..5 {
        world.pass_secs(60);
        from(login(&world, EMAIL, WRONG), attacker);
    }
    world.pass_secs(15 * 60);
    pair_of(&from(login(&world, EMAIL, PASSWORD), "192.0.2.7"));
}

#[test]
fn t11_nobody_learns_from_a_lock_who_is_there() {
    let world = balanced();
    let statuses = |email: &str, network: &str| -> Vec<(u16, Vec<u8>)> {
        let attempt = |n| {
            let reply = from(login(&world, email, WRONG), &format!("{network}.{n}"));
            (reply.status, reply.body)
        };
        (0..12).map(attempt).collect()
    };
    assert_eq!(statuses(EMAIL, "203.0.113"), statuses("nobody@example.com", "198.51.100"));
}

#[test]
fn t13_somebody_who_is_locked_out_in_between_gets_nothing_any_more() {
    let world = house();
    let (access, again) = pair(&world);
    let id = text(&decoded(&access).1["sub"]);
    world.admin().order(format!("/clients/{id}/disable")).is(200);
    assert_eq!(refresh(&world, &again).status, 401);
    assert_eq!(campaigns(&world, &access).status, 401);
    assert_eq!(login(&world, EMAIL, PASSWORD).send().status, 401);
    world.admin().order(format!("/clients/{id}/enable")).is(200);
    pair(&world);

    let house = team();
    let token = house.token();
    house.app.affiliate(TEAM, AFFILIATE, "SUSPENDED");
    let reply = house.open("GET", &token);
    assert!(matches!(reply.status, 401 | 403) && reply.all("set-cookie").is_empty(), "{reply:?}");
    house.app.affiliate(TEAM, AFFILIATE, "ACTIVE");
    let token = house.token();
    house.admin().order(format!("/clients/{}/disable", house.owner)).is(200);
    assert_eq!(house.ask(AFFILIATE).status, 401, "its keys are off");
    let reply = house.open("GET", &token);
    assert!(matches!(reply.status, 401 | 403) && reply.all("set-cookie").is_empty(), "{reply:?}");
}

#[test]
fn t14_every_failed_login_looks_the_same_and_takes_as_long() {
    let world = house();
    let off = world.with_password("user", "off@example.com", PASSWORD, &json!({}));
    world.admin().order(format!("/clients/{off}/disable")).is(200);
    world.client("user", "without@example.com", &json!({})); // has no password
    let cases = [
        ("wrong", EMAIL, WRONG),
        ("unknown", "nobody@example.com", PASSWORD),
        ("disabled", "off@example.com", PASSWORD),
        ("without a password", "without@example.com", PASSWORD),
    ];
    let mut looks = BTreeSet::new();
    let mut times = [u128::MAX; 4];
    // The fastest of each, as often as it takes on a machine that does other things as well.
    for round in 0..40 {
        let alike = times.iter().max() < times.iter().min().map(|least| least * 2).as_ref();
        if round >= 4 && alike {
            break;
        }
        world.pass_secs(3600); // nobody is locked
        for (at, (what, email, password)) in cases.iter().enumerate() {
            let watch = Stopwatch::start();
            let reply = login(&world, email, password).send();
            times[at] = times[at].min(watch.elapsed().as_micros());
            assert_eq!(reply.status, 401, "{what}: {reply:?}");
            let mut headers = reply.headers.clone();
            headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case("x-request-id") && !name.eq_ignore_ascii_case("date"));
            looks.insert((headers, reply.body));
        }
    }
    assert_eq!(looks.len(), 1, "{looks:?}");
    let (least, most) = (times.iter().min().expect("four"), times.iter().max().expect("four"));
    assert!(most < &(least * 2), "the fastest of each: {times:?} µs");

    let empty = world.refused(&login(&world, EMAIL, "").send(), 422);
    assert_eq!(empty["error_code"], "VALIDATION_ERROR");
    let huge = login(&world, EMAIL, &"p".repeat(1024 * 1024)).send();
    world.refused(&huge, 413);
}

/// What JSONTestSuite has under `n_`, a few of each sort.
const NO_JSON: &[&str] = &[
    "",
    " ",
    "[",
    "]",
    "{",
    "}",
    "[1",
    "[1,",
    "[,1]",
    "[1,]",
    "[1,,2]",
    "[1 2]",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":1}}",
    "{\"a\":1}x",
    "{}{}",
    "[1]x",
    "nul",
    "NULL",
    "True",
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    "-",
    "01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "1_000",
    "--1",
    "\"",
    "\"abc",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\t\"",
    "\"\n\"",
    "/*c*/{}",
    "{}//",
    "\u{feff}{}",
    "\u{a0}{}",
    "[\"a\" \"b\"]",
    "{\"a\":1 \"b\":2}",
    "{1:1}",
    "{null:null}",
    "<null>",
    "*",
    "undefined",
    "{\"x\"::1}",
    "[\u{0}1]",
];

#[test]
fn t16_what_is_no_json_is_a_syntax_error_and_never_a_fault() {
    let world = house();
    let mut bodies: Vec<Vec<u8>> = NO_JSON.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.push(b"\xff\xfe{\x00}\x00".to_vec()); // UTF-16
    bodies.push(b"{\"email\":\"\xff\"}".to_vec());
    bodies.push(b"[".repeat(60_000));
    bodies.push(b"{\"a\":".repeat(10_000));
    for body in bodies {
        let call = world.call("POST", "/api/auth/login").header("Content-Type", "application/json");
        let reply = call.body(&body).send();
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(reply.status, 400, "{shown}: {reply:?}");
        assert_eq!(world.line_of(&reply)["reason"], "syntax_error", "{shown}");
    }
}

#[test]
fn t17_json_that_is_no_login_is_invalid() {
    let world = house();
    let pass = format!("\"password\":\"{PASSWORD}\"");
    let mail = format!("\"email\":\"{EMAIL}\"");
    let invalid = [
        "[]".to_owned(),
        format!("[\"{EMAIL}\",\"{PASSWORD}\"]"),
        "\"x\"".to_owned(),
        "1".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        "{}".to_owned(),
        format!("{{{mail}}}"),
        format!("{{{mail},\"password\":null}}"),
        format!("{{{mail},\"password\":5}}"),
        format!("{{{mail},\"password\":[\"{PASSWORD}\"]}}"),
        format!("{{{mail},\"password\":{{}}}}"),
        format!("{{{mail},{pass},{pass}}}"),
        format!("{{{mail},{mail},{pass}}}"),
        format!("{{{mail},{pass},\"x\":1,\"x\":2}}"),
        format!("{{\"Email\":\"{EMAIL}\",{pass}}}"),
    ];
    for body in invalid {
        let reply = world.post_text("/api/auth/login", &body).send();
        assert_eq!(reply.status, 422, "{body}: {reply:?}");
        assert_eq!(world.line_of(&reply)["reason"], "validation_failed", "{body}");
    }
    for good in [
        format!("{{{mail},{pass},\"remember\":true}}"),
        format!("{{{mail},{pass},\"__proto__\":{{\"admin\":true}}}}"),
        format!(" {{ {mail} ,\n {pass} }} "),
        format!("{{\"\\u0065mail\":\"{EMAIL}\",{pass}}}"),
    ] {
        granted(&world.post_text("/api/auth/login", &good).send());
    }
}

#[test]
fn t19_a_body_over_the_limit_is_not_read() {
    let world = house();
    let limit = 64 * 1024;
    let padded = |size: usize| {
        let body = json!({ "email": EMAIL, "password": PASSWORD }).to_string();
        let blanks = " ".repeat(size - body.len());
        body + &blanks
    };
    granted(&world.post_text("/api/auth/login", &padded(limit)).send());
    world.refused(&world.post_text("/api/auth/login", &padded(limit + 1)).send(), 413);
    let call = || world.call("POST", "/api/auth/login").header("Content-Type", "application/json");
    let (half, more) = (" ".repeat(40_000), padded(40_000));
    let chunked = call().chunked(&[&half, &more], &[]).send();
    world.refused(&chunked, 413);
    let small = padded(100);
    granted(&call().chunked(&[&small[..50], &small[50..]], &[]).send());
    for coding in ["gzip", "deflate", "br"] {
        let packed = call().header("Content-Encoding", coding).body(b"\x1f\x8b\x08\x00\x00").send();
        assert_eq!(packed.status, 415, "{coding}: {packed:?}");
    }
    pair(&world);
}

#[test]
fn t20_an_address_is_one_account_and_nobody_elses() {
    let world = house();
    for email in ["quack@example.com", "admin@example.com", "jose@example.com"] {
        world.with_password("user", email, PASSWORD, &json!({}));
    }
    let attempt = |email: &str| login(&world, email, PASSWORD).send();
    for same in ["ANN@EXAMPLE.COM", "Ann@Example.Com", "  ann@example.com ", "ann@example.com\n"] {
        granted(&attempt(same));
    }
    for other in [
        "quac\u{212a}@example.com", // KELVIN SIGN, whose lower case is k
        "adm\u{131}n@example.com",  // without its dot
        "jose\u{301}@example.com",
        "ann\u{ff20}example.com", // full width
        "ann\u{fe6b}example.com", // small
        "ann@@example.com",
        "ann@b@example.com",
        "\"ann\"@example.com",
        "ann@example.com.",
        "ann@example.com\u{200f}",
        "a\u{200d}nn@example.com",
        "ann@\u{ff45}xample.com",
        "ann@example.com\u{0}",
        "ann",
        "@example.com",
        "ann@",
    ] {
        let reply = attempt(other);
        assert!(matches!(reply.status, 401 | 422), "{other:?}: {reply:?}");
        world.pass_secs(1800);
    }
    let long = format!("{}@example.com", "a".repeat(300));
    assert!(matches!(attempt(&long).status, 401 | 422));
    let taken = json!({ "realm": "affilync", "kind": "user", "identifier": "ANN@example.com" });
    world.admin().post("/clients", &taken).is(409);
}

#[test]
fn t22_a_token_in_a_link_is_told_to_nobody_else() {
    let house = team();
    let token = house.token();
    let reply = house.open("GET", &token);
    signed_in(&reply);
    assert!(!format!("{reply:?}").contains(&token), "no redirection carries it on: {reply:?}");
    let again = house.open("GET", &token);
    assert_eq!(again.status, 401);
    assert_eq!(again.header("referrer-policy"), Some("no-referrer"));
    assert!(!again.text().contains(&token));
    for reply in [&reply, &again] {
        assert_eq!(house.line_of(reply)["path"], "/auth/token");
    }
    let link = house
        .caller()
        .host(PORTAL)
        .get("/dashboard")
        .header("Referer", format!("https://{PORTAL}/auth/token?token={token}"));
    house.line_of(&link.send());
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!house.log().text().contains(signature));
    assert!(!house.metrics().contains(signature));
    assert!(!house.admin().get("/audit?limit=200").is(200).text().contains(signature));
}

#[test]
fn t23_a_revocation_says_nothing_and_ends_only_ones_own() {
    let world = own_api::house();
    world.with_password("client", "other", PASSWORD, &json!({ "scopes": ["notes:read"] }));
    let revoke = |name: &str, body: &str| basic(form(&world, "/oauth/revoke", body), name, PASSWORD).send();
    let token = own_api::machine(&world);
    let expired = own_api::machine(&world);
    for body in ["token=rubbish", "token=a.b.c", "token=ses_00000000000000000000000000&token_type_hint=strange"] {
        assert_eq!(revoke("crawler", body).status, 200, "{body}");
    }
    assert_eq!(revoke("other", &format!("token={token}")).status, 200);
    own_api::notes(&world, &token).ok(); // somebody else's word ends nothing

    oauth_error(&form(&world, "/oauth/revoke", &format!("token={token}")).send(), 401, "invalid_client");
    oauth_error(&basic(form(&world, "/oauth/revoke", "token=x"), "crawler", WRONG).send(), 401, "invalid_client");
    oauth_error(&revoke("crawler", ""), 400, "invalid_request");

    // A wrong hint does not matter.
    assert_eq!(revoke("crawler", &format!("token={token}&token_type_hint=refresh_token")).status, 200);
    assert_eq!(own_api::notes(&world, &token).status, 401);
    assert_eq!(revoke("crawler", &format!("token={token}")).status, 200);
    world.pass_secs(901);
    assert_eq!(revoke("crawler", &format!("token={expired}")).status, 200);
}

#[test]
fn t25_a_refresh_gives_no_more_than_there_is_now() {
    let world = house();
    let id = text(&decoded(&pair(&world).0).1["sub"]);
    let asked = json!({ "refresh_token": pair(&world).1, "scope": "*", "roles": ["root"], "sub": "root" });
    let (access, _) = pair_of(&world.post("/api/auth/refresh", &asked).send());
    assert_eq!(decoded(&access).1["sub"], json!(id));
    campaigns(&world, &access).ok();

    // What somebody may is read when it is needed: taking it away takes it from the tokens that are out.
    let world = own_api::house();
    let roles = |roles: &str| json!({ "roles": [roles] });
    let chief = world.with_password("user", "chief@notes.example", PASSWORD, &roles("admin"));
    let body = json!({ "email": "chief@notes.example", "password": PASSWORD });
    let (access, again) = pair_of(&world.post("/auth/login", &body).send());
    let invite = |token: &str| world.post("/members", &json!({})).bearer(token).send().status;
    assert_eq!(invite(&access), 200);
    world.admin().patch(format!("/clients/{chief}"), &roles("member")).is(200);
    let (fresh, _) = pair_of(&own_api::refresh(&world, &again));
    assert_eq!([&access, &fresh].map(|token| invite(token)), [403, 403]);
    own_api::notes(&world, &access).ok();

    let narrow = text(&granted(&own_api::machine_with(&world, "&scope=members%3Aread"))["access_token"]);
    assert_eq!(own_api::notes(&world, &narrow).status, 403);
    world.get("/members").bearer(&narrow).send().ok();
    oauth_error(&own_api::machine_with(&world, "&scope=members%3Aread%20members%3Awrite"), 400, "invalid_scope");
    let whole = own_api::machine(&world);
    own_api::notes(&world, &whole).ok();
    let list = world.admin().get("/clients?identifier=crawler").is(200).json();
    let id = text(&list["data"][0]["id"]);
    world.admin().patch(format!("/clients/{id}"), &json!({ "scopes": ["members:read"] })).is(200);
    assert_eq!(own_api::notes(&world, &whole).status, 403);
}

#[test]
fn t26_nothing_that_is_secret_can_be_foretold() {
    let house = team();
    let tokens = at_once(8, |_| (0..40).map(|_| affonso_embed::token(&house, PROGRAMME)).collect::<Vec<_>>()).concat();
    let heads: BTreeSet<_> = tokens.iter().map(|token| &token[..8]).collect();
    let tails: BTreeSet<_> = tokens.iter().map(|token| &token[56..]).collect();
    assert_eq!((heads.len(), tails.len()), (tokens.len(), tokens.len()), "no beginning and no end comes twice");
    let ones: u32 =
        tokens.iter().flat_map(|token| token.chars()).map(|c| c.to_digit(16).expect("hex").count_ones()).sum();
    let bits = u32::try_from(tokens.len() * 256).expect("few");
    assert!(ones.abs_diff(bits / 2) < bits / 50, "{ones} of {bits}");
    let ids: Vec<_> = (0..20).map(|_| text(&decoded(&house.token()).1["jti"])).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let cookies: BTreeSet<_> = (0..20).map(|_| signed_in(&house.open("GET", &house.token()))).collect();
    assert_eq!(cookies.len(), 20);
    assert!(cookies.iter().all(|cookie| cookie.len() >= "__Host-portal=".len() + 22), "128 bits: {cookies:?}");
}

#[test]
fn t28_what_a_token_endpoint_answers_is_kept_and_read_by_nobody_else() {
    let world = World::all();
    world.with_password("user", EMAIL, PASSWORD, &json!({}));
    let (access, again) = pair(&world);
    let house = team();
    let notes = own_api::house();
    let eager = |call: Call| call.header("Accept-Encoding", "gzip, br").header("Origin", "https://evil.example").send();
    let embed = affonso_embed::asked(PROGRAMME, EMAIL);
    let portal = house.call("POST", &format!("/v1/affiliates/{AFFILIATE}/portal-token")).bearer(&house.key.secret);
    let opened = house.caller().host(PORTAL).get(&format!("/auth/token?token={}", house.token()));
    let machine = basic(form(&notes, "/oauth/token", "grant_type=client_credentials"), "crawler", PASSWORD);
    let session = text(&granted(&own_api::login(&notes))["access_token"]);
    for reply in [
        eager(login(&world, EMAIL, PASSWORD)),
        eager(login(&world, EMAIL, WRONG)),
        eager(world.post("/api/auth/refresh", &json!({ "refresh_token": again }))),
        eager(house.post("/v1/embed/token", &embed).bearer(&house.key.secret)),
        eager(portal),
        eager(opened),
        eager(machine),
        eager(notes.call("POST", "/auth/logout").bearer(&session)),
    ] {
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        for name in ["etag", "access-control-allow-origin", "access-control-allow-credentials", "content-encoding"] {
            assert_eq!(reply.header(name), None, "{name} in {reply:?}");
        }
        assert_eq!(reply.header("server"), None);
    }
    campaigns(&world, &access).ok();
}

#[test]
fn j44_a_token_of_one_use_is_good_for_no_other() {
    let world = house();
    let (access, again) = pair(&world);
    assert_eq!(campaigns(&world, &again).status, 401);
    assert_eq!(refresh(&world, &access).status, 401);
    for strange in ["portal", "embed", "session", "id", "logout", "refresh", "", "Access"] {
        let token = world.reforge(&access, json!({ "token_use": strange }));
        assert_eq!(campaigns(&world, &token).status, 401, "{strange}");
        let token =
            world.reforge(&again, json!({ "token_use": if strange == "refresh" { "access" } else { strange } }));
        assert_eq!(refresh(&world, &token).status, 401, "{strange}");
    }
    campaigns(&world, &access).ok();
    granted(&refresh(&world, &again));

    let house = team();
    let (portal, embed) = (house.token(), affonso_embed::token(&house, PROGRAMME));
    let cookie = signed_in(&house.open("GET", &house.token()));
    let session = cookie.split_once('=').expect("a value").1;
    let key = &house.key.secret;
    let kinds = [("portal", portal.as_str()), ("embed", &embed), ("session", session), ("key", key)];
    for (kind, token) in kinds {
        let at_api = house.get("/v1/affiliates").bearer(token).send().status;
        let at_data = house.get(&format!("/v1/embed/data?token={token}")).send().status;
        let page = house.caller().host(PORTAL).get("/dashboard").header("Cookie", format!("__Host-portal={token}"));
        let at_page = page.send().status;
        let spent = house.post("/internal/tokens/redeem", &json!({ "token": token })).bearer(key);
        let at_redeem = if kind == "portal" { 401 } else { spent.send().status };
        let at_link = if kind == "portal" { 401 } else { house.open("GET", token).status };
        let good = |place: &str| if kind == place { 200 } else { 401 };
        assert_eq!(at_data, good("embed"), "{kind} as an embed token");
        assert_eq!(at_page, good("session"), "{kind} as a session");
        assert_eq!(at_api, good("key"), "{kind} as a key");
        assert_eq!((at_redeem, at_link), (401, 401), "{kind} as a portal token");
    }
    signed_in(&house.open("GET", &portal)); // nothing of it was spent on the way
}
