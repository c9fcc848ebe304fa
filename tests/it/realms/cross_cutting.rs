//! What holds in every realm.

use std::fs;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};

use super::application::Mood;
use super::{PASSWORD, World, at_once, decoded, granted, host_of, text};
use crate::support::administrator::Made;
use crate::support::caller::{Call, Reply};
use crate::support::keys::{Alg, Key};
use crate::support::process::Run;
use crate::support::upstream::Respond;
use crate::support::{NOW, eventually};

const EMAIL: &str = "ann@example.com";

fn house() -> World {
    peopled(World::new("affilync"))
}

fn peopled(world: World) -> World {
    world.with_password("user", EMAIL, PASSWORD, &json!({}));
    world
}

fn login(world: &World) -> Reply {
    login_with(world, PASSWORD).send()
}

fn login_with(world: &World, password: &str) -> Call {
    let body = json!({ "email": EMAIL, "password": password });
    let call = world.gw.caller().host(host_of("affilync")).call("POST", "/api/auth/login");
    call.header("Content-Type", "application/json").body(body.to_string())
}

#[track_caller]
fn access(world: &World) -> String {
    text(&granted(&login(world))["access_token"])
}

fn refresh(world: &World, token: &str) -> Reply {
    world.post("/api/auth/refresh", &json!({ "refresh_token": token })).send()
}

fn key(world: &World, scopes: &[&str]) -> Made {
    let owner = world.client("owner", "team_7", &json!({}));
    world.key(&owner, &json!({ "scopes": scopes }))
}

fn campaigns(world: &World, credential: &str) -> Reply {
    world.get("/api/campaigns").bearer(credential).send()
}

#[test]
fn x01_no_client_says_who_it_is() {
    let world = peopled(World::changed(
        "affilync",
        |text| text + "\n[[routes]]\npath = \"/open/**\"\nauth = [\"public\"]\n",
        |builder| builder,
    ));
    let token = access(&world);
    let names =
        ["subject", "client", "realm", "method", "credential-id", "issuer", "scopes", "roles", "plan", "tenant"];
    for target in ["/open/x", "/api/campaigns"] {
        let mut call = world.get(target);
        if target.starts_with("/api") {
            call = call.bearer(&token);
        }
        for name in names {
            for form in [format!("X-Auth-{name}"), format!("x_auth_{name}"), format!("X-AUTH_{name}").replace('-', "_")]
            {
                call = call.header(&form, "forged").header(&form, "forged again");
            }
        }
        call.send().ok();
        let seen = world.app.seen();
        for name in names {
            for (_, value) in seen.aliases(&format!("X-Auth-{name}")) {
                assert!(!value.contains("forged"), "{target}: {name}");
            }
        }
        if target == "/open/x" {
            assert!(seen.aliases("X-Auth-Subject").is_empty());
        }
    }
}

#[test]
fn x03_the_scheme_has_no_letter_case() {
    let world = house();
    let token = access(&world);
    for scheme in ["bearer ", "BEARER ", "Bearer  ", "bEaReR "] {
        world.get("/api/campaigns").header("authorization", format!("{scheme}{token}")).send().ok();
    }
}

#[test]
fn x04_a_token_that_is_not_ours_or_not_good_is_refused() {
    let world = peopled(World::all());
    let token = access(&world);
    let (header, claims) = decoded(&token);
    let with = |change: Value| world.reforge(&token, change);
    campaigns(&world, &with(json!({}))).ok(); // the forger can do it
    let strange = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        world.forge(&header, &claims)
    };
    let none = format!("{}.", Key::hmac(32).sign(json!({ "alg": "none" }), claims.clone()).rsplit_once('.').unwrap().0);
    let rsa = Key::rsa2048().sign_by(Alg::RS256, json!({ "alg": "RS256", "typ": "JWT" }), claims.clone());
    let confused = Key::from_secret(Key::rsa2048().pem().as_bytes()).sign(header.clone(), claims.clone());
    let now = NOW.secs();
    for (what, token) in [
        ("alg none", none),
        ("another algorithm", rsa),
        ("a public key as a secret", confused),
        ("unknown crit", strange("crit", json!(["x"]))),
        ("empty crit", strange("crit", json!([]))),
        ("unknown typ", strange("typ", json!("dpop+jwt"))),
        ("no exp", with(json!({ "exp": null }))),
        ("exp as a string", with(json!({ "exp": (now + 3600).to_string() }))),
        ("exp too far away", with(json!({ "exp": now + 400 * 86_400 }))),
        ("nbf in the future", with(json!({ "nbf": now + 3600 }))),
        ("iat in the future", with(json!({ "iat": now + 3600 }))),
        ("another issuer", with(json!({ "iss": "https://api.affilync.com/" }))),
        ("no issuer", with(json!({ "iss": null }))),
        ("another audience", with(json!({ "aud": "convertly" }))),
        ("no audience", with(json!({ "aud": null }))),
        ("no token_use", with(json!({ "token_use": null }))),
        ("another token_use", with(json!({ "token_use": "session" }))),
        ("no session", with(json!({ "sid": null }))),
        ("a session of nobody", with(json!({ "sid": "ses_00000000000000000000000000" }))),
    ] {
        let reply = campaigns(&world, &token);
        assert_eq!(reply.status, 401, "{what}: {reply:?}");
        world.refused(&reply, 401);
        let line = world.line_of(&reply);
        assert!(line["reason"].is_string(), "{what}: {line}");
        for told in ["crit", "issuer", "audience", "token_use", "signature", "kid"] {
            assert!(!reply.text().contains(told), "{what}: the reason is for the log only: {reply:?}");
        }
    }
    assert!(world.app.forwarded().len() == 1, "only the good one passed");
    // Who it is stands with the session, whatever the token says.
    let other = campaigns(&world, &with(json!({ "sub": "usr_00000000000000000000000000" })));
    if other.status == 200 {
        assert_eq!(world.app.seen().header("x-auth-subject"), claims["sub"].as_str());
    }
}

#[test]
fn x04_a_token_of_another_realm_opens_nothing() {
    let world = peopled(World::all());
    let more =
        json!({ "realm": "giftcards", "kind": "client", "identifier": "acme_api", "attributes": { "client_id": 1 } });
    let id = text(&world.admin().post("/clients", &more).is(201).json()["id"]);
    world.admin().post(format!("/clients/{id}/password"), &json!({ "password": PASSWORD })).is(200);
    let body = json!({ "username": "acme_api", "password": PASSWORD }).to_string();
    let gift = world.gw.caller().host(host_of("giftcards"));
    let reply = gift.call("POST", "/auth/login").header("Content-Type", "application/json").body(body).send();
    let (theirs, ours) = (text(&granted(&reply)["data"]["access_token"]), access(&world));
    gift.get("/api/v1/products").bearer(&theirs).send().ok();
    campaigns(&world, &ours).ok();
    assert_eq!(campaigns(&world, &theirs).status, 401);
    assert_eq!(gift.get("/api/v1/products").bearer(&ours).send().status, 401);
    // Keys, too: one made for one realm is none of another.
    let key = key(&world, &["campaigns:read"]);
    assert_eq!(gift.get("/api/v1/products").bearer(&key.secret).send().status, 401);
}

#[test]
fn x05_a_credential_in_the_url_is_not_one() {
    let world = house();
    let (token, key) = (access(&world), key(&world, &["campaigns:read"]));
    for credential in [&token, &key.secret] {
        for name in ["access_token", "token", "api_key", "apikey"] {
            let reply = world.get(&format!("/api/campaigns?{name}={credential}")).send();
            world.refused(&reply, 401);
            world.line_of(&reply);
        }
        world.get(&format!("/api/campaigns?token={credential}")).bearer(credential).send().ok();
        assert!(!world.log().text().contains(credential.as_str()));
    }
}

#[test]
fn x07_a_directory_that_is_down_is_an_outage_and_locks_nobody() {
    let world = World::new("convertly");
    world.app.person(EMAIL, PASSWORD, |_| {});
    let login =
        |password: &str| world.post("/v1/auth/brand/login", &json!({ "email": EMAIL, "password": password })).send();
    world.app.mood(Mood::Status(500));
    for password in [PASSWORD; 12].iter().chain(&["not the password at all"]) {
        let body = world.refused(&login(password), 503);
        assert_eq!(body["statusCode"], 503, "{body}");
    }
    world.app.mood(Mood::Good);
    let token = text(&granted(&login(PASSWORD))["data"]["accessToken"]);
    // What is known of somebody is not forgotten for an outage, and not believed for ever.
    world.get("/v1/affiliates").bearer(&token).send().ok();
    world.app.mood(Mood::Status(503));
    world.pass_secs(3600);
    let reply = world.get("/v1/affiliates").bearer(&token).send();
    world.refused(&reply, 503);
    world.app.mood(Mood::Good);
    world.get("/v1/affiliates").bearer(&token).send().ok();
}

#[test]
fn x08_an_upstream_that_is_down_or_slow_is_said_in_the_dialect() {
    let hasty = |text: String| {
        let route = "path = \"/api/{resource}/**\"\n";
        assert!(text.contains(route), "{text}");
        text.replace(route, &format!("{route}timeouts = {{ read = \"200ms\" }}\n"))
    };
    let world = peopled(World::changed("affilync", hasty, |builder| builder));
    let token = access(&world);
    for (respond, status) in [(Respond::Close, 502), (Respond::Hold, 504)] {
        world.app.respond(respond);
        let reply = campaigns(&world, &token);
        let body = world.refused(&reply, status);
        assert!(body["error_code"].is_string() && body["detail"].is_string(), "{body}");
        assert!(!reply.text().contains("127.0.0.1"), "{reply:?}");
        world.app.release();
    }
    campaigns(&world, &token).ok();
}

#[test]
fn x09_a_body_that_is_too_large_is_refused_unread() {
    let world = house();
    let large = |size: usize| {
        let filler = "x".repeat(size);
        world.post("/api/auth/login", &json!({ "email": EMAIL, "password": PASSWORD, "more": filler })).send()
    };
    granted(&large(1000));
    let body = world.refused(&large(64 * 1024), 413);
    assert!(body["error_code"].is_string(), "{body}");
    let long = "p".repeat(1025);
    let told = world.refused(&login_with(&world, &long).send(), 422);
    assert_eq!(told["error_code"], "VALIDATION_ERROR");
    assert_eq!(world.refused(&login_with(&world, &long[1..]).send(), 401)["error_code"], "INVALID_CREDENTIALS");
}

#[test]
fn x10_two_hundred_logins_at_once_do_not_hold_up_requests() {
    let world = house();
    let key = key(&world, &["campaigns:read"]);
    campaigns(&world, &key.secret).ok();
    let (logins, mut times) = std::thread::scope(|scope| {
        let logins = scope.spawn(|| at_once(200, |_| login(&world)));
        let mut times = Vec::new();
        while !logins.is_finished() || times.is_empty() {
            let watch = Stopwatch::start();
            campaigns(&world, &key.secret).ok();
            times.push(watch.elapsed());
        }
        (logins.join().expect("they ran"), times)
    });
    for reply in &logins {
        match reply.status {
            200 => drop(granted(reply)),
            429 | 503 => drop(world.refused(reply, reply.status)),
            _ => panic!("{reply:?}"),
        }
    }
    assert!(logins.iter().any(|reply| reply.status == 200));
    times.sort();
    let (count, median) = (times.len(), times[times.len() / 2]);
    println!("{count} requests meanwhile, median {median:?}, worst {:?}", times[times.len() - 1]);
    assert!(median < Duration::from_millis(500), "{count} requests, median {median:?}");
    granted(&login(&world));
}

#[test]
fn x12_a_rotated_signing_key_ends_nothing_before_its_time() {
    let world = house();
    let old = access(&world);
    let first = world.signing_key();
    let signed_by_ours = |token: &str| {
        let bytes = |part: &str| {
            String::from_utf8(data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url"))
                .expect("UTF-8")
        };
        let [header, claims, _] = crate::support::token::parts(token);
        let key = world.signing_key();
        let signed = portcullis::jwt::sign(&bytes(header), &bytes(claims), &key.signing, key.algorithm);
        signed.is_ok_and(|signed| signed == token)
    };
    assert!(signed_by_ours(&old));
    let ask = json!({ "realm": "affilync", "alg": "HS256", "activate_in_seconds": 0 });
    assert!(world.admin().post("/signing-keys/rotate", &ask).status < 300);
    let new = access(&world);
    assert_ne!(world.signing_key().kid, first.kid);
    assert!(signed_by_ours(&new) && !signed_by_ours(&old));
    campaigns(&world, &old).ok();
    campaigns(&world, &new).ok();
    let list = world.admin().get("/signing-keys?realm=affilync").is(200).json();
    let kids: Vec<_> = list["data"].as_array().expect("a list").iter().map(|key| text(&key["kid"])).collect();
    assert!(kids.contains(&first.kid.to_string()), "{list}");
    assert!(!list.to_string().contains("private"), "{list}");

    let reply = world.admin().post(format!("/signing-keys/{}/retire", first.kid), &json!({}));
    assert!(reply.status < 300, "{reply:?}");
    assert_eq!(campaigns(&world, &old).status, 401);
    campaigns(&world, &new).ok();
}

#[test]
fn x13_a_rotated_key_overlaps_with_its_successor() {
    let world = house();
    let old = key(&world, &["campaigns:read"]);
    campaigns(&world, &old.secret).ok();
    let path = format!("/keys/{}/rotate", old.id);
    let new = Made::of(&world.admin().post(path, &json!({ "overlap_seconds": 86_400 })).is(200).json());
    let shown = || world.admin().get(format!("/keys/{}", old.id)).is(200).json();
    assert_eq!(new.id, old.id, "the same key with another text");
    campaigns(&world, &old.secret).ok();
    campaigns(&world, &new.secret).ok();
    assert!(shown()["overlap"].is_object(), "{}", shown());
    world.pass_secs(86_399);
    campaigns(&world, &old.secret).ok();
    world.pass_secs(1);
    assert_eq!(campaigns(&world, &old.secret).status, 401);
    campaigns(&world, &new.secret).ok();
}

#[test]
fn x15_what_is_revoked_is_refused_although_it_was_just_verified() {
    let world = house();
    let (token, key) = (access(&world), key(&world, &["campaigns:read"]));
    for _ in 0..5 {
        campaigns(&world, &token).ok();
        campaigns(&world, &key.secret).ok();
    }
    world.admin().post(format!("/keys/{}/revoke", key.id), &json!({})).is(200);
    assert_eq!(campaigns(&world, &key.secret).status, 401);

    let client = text(&decoded(&token).1["sub"]);
    let sessions = world.admin().get(format!("/sessions?client={client}")).is(200).json();
    let list = sessions["data"].as_array().expect("a list");
    assert_eq!(list.len(), 1, "{sessions}");
    let other = access(&world);
    assert!(world.admin().delete(format!("/sessions/{}", text(&list[0]["id"]))).status < 300);
    assert_eq!(campaigns(&world, &token).status, 401);
    campaigns(&world, &other).ok();
    assert!(world.admin().post(format!("/clients/{client}/revoke-sessions"), &json!({})).status < 300);
    assert_eq!(campaigns(&world, &other).status, 401);
    campaigns(&world, &access(&world)).ok();
}

#[test]
fn x15_somebody_who_is_disabled_is_refused_by_the_next_request() {
    let world = house();
    let pair = granted(&login(&world));
    let (token, again) = (text(&pair["access_token"]), text(&pair["refresh_token"]));
    campaigns(&world, &token).ok();
    let client = text(&decoded(&token).1["sub"]);
    world.admin().order(format!("/clients/{client}/disable")).is(200);
    assert_eq!(campaigns(&world, &token).status, 401);
    assert_eq!(refresh(&world, &again).status, 401);
}

#[test]
fn x16_without_a_store_nothing_is_given_out_and_memory_is_believed_for_a_while() {
    let world = peopled(World::with("affilync", |builder| builder.store_toml("max_staleness = \"2s\"")));
    let pair = granted(&login(&world));
    let token = text(&pair["access_token"]);
    campaigns(&world, &token).ok();
    let (here, away) = (world.directory().join("portcullis.db"), world.directory().join("away"));
    fs::rename(&here, &away).expect("renamed");
    world.refused(&login(&world), 503);
    world.refused(&refresh(&world, &text(&pair["refresh_token"])), 503);
    eventually("memory is not believed for ever", || {
        let reply = campaigns(&world, &token);
        match reply.status {
            200 => None,
            503 => Some(world.refused(&reply, 503)),
            _ => panic!("{reply:?}"),
        }
    });
    fs::rename(&away, &here).expect("renamed");
    eventually("all is well again", || (campaigns(&world, &token).status == 200).then_some(()));
    granted(&refresh(&world, &text(&pair["refresh_token"])));
}

#[test]
fn x17_a_bad_file_changes_nothing_and_is_told_by_place() {
    let world = house();
    let token = access(&world);
    let good = world.realm_file();
    let bad = good.replace("response = \"pair\"", "response = \"pairs\"");
    let line = bad.lines().position(|line| line.contains("pairs")).expect("a line") + 1;
    world.rewrite("realms/realm0.toml", &bad);
    let before = world.generation();
    assert!(world.reload_from_source().is_err());
    assert_eq!(world.generation(), before);
    campaigns(&world, &token).ok();
    granted(&login(&world));
    assert!((world.metric("portcullis_config_last_reload_success", &[]) - 0.0).abs() < f64::EPSILON);

    let check = Run::new(["check"]).config(world.directory()).end();
    assert_eq!(check.code, 2, "{}", check.err);
    let place = format!("realm0.toml:{line}:");
    assert!(check.err.contains(&place) && check.err.contains("grants[0].response"), "{}", check.err);
    assert!(check.err.contains("did you mean `pair`?"), "{}", check.err);

    world.rewrite("realms/realm0.toml", &good);
    assert!(world.reload_from_source().is_ok());
    campaigns(&world, &token).ok();
}

#[test]
fn x19_a_head_is_a_get_and_an_options_is_nobody_special() {
    let world = house();
    let key = key(&world, &["campaigns:read"]);
    world.call("HEAD", "/api/campaigns").bearer(&key.secret).send().ok();
    assert_eq!(world.call("HEAD", "/api/campaigns").send().status, 401);
    assert_eq!(world.call("DELETE", "/api/campaigns").bearer(&key.secret).send().status, 403);
    let preflight = world.call("OPTIONS", "/api/campaigns").header("Origin", "https://shop.example");
    let preflight = preflight.header("Access-Control-Request-Method", "GET");
    let reply = preflight.send();
    world.refused(&reply, 401);
    assert_eq!(reply.header("access-control-allow-origin"), None);

    let with_cors =
        world.realm_file().replacen("upstream =", "cors = { origins = [\"https://shop.example\"] }\nupstream =", 1);
    world.rewrite("realms/realm0.toml", &with_cors);
    world.reload_from_source().expect("it is good");
    let reply = preflight.send().is(204);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://shop.example"));
    let bare = world.call("OPTIONS", "/api/campaigns").header("Origin", "https://shop.example").send();
    world.refused(&bare, 401);
}

#[test]
fn x20_every_refusal_can_be_found_again() {
    let world = peopled(World::all());
    let expired = access(&world);
    world.pass_secs(3601);
    let reader = key(&world, &["campaigns:read"]);
    let at = |realm: &str, method: &str, target: &str| world.gw.caller().host(host_of(realm)).call(method, target);
    let json = |call: Call, body: &str| call.header("Content-Type", "application/json").body(body);
    for (realm, call, reason) in [
        ("affilync", at("affilync", "GET", "/api/campaigns"), "missing_credentials"),
        ("affilync", at("affilync", "GET", "/api/campaigns").bearer("rubbish"), "token_invalid"),
        ("affilync", at("affilync", "GET", "/api/campaigns").bearer(&expired), "token_expired"),
        ("affilync", at("affilync", "POST", "/api/campaigns").bearer(&reader.secret), "insufficient_scope"),
        ("affilync", at("affilync", "GET", "/nowhere"), "no_route"),
        ("affilync", at("affilync", "GET", "/api/auth/login"), "method_not_allowed"),
        ("affilync", json(at("affilync", "POST", "/api/auth/login"), "{"), "syntax_error"),
        ("affilync", json(at("affilync", "POST", "/api/auth/login"), "{}"), "validation_failed"),
        ("affilync", login_with(&world, "not the password at all"), "invalid_credentials"),
        ("affilync", json(at("affilync", "POST", "/api/auth/refresh"), r#"{"refresh_token":"x"}"#), "refresh_invalid"),
        ("convertly", at("convertly", "POST", "/v1/auth/refresh"), "missing_credentials"),
        ("affonso", at("affonso", "POST", "/v1/embed/token").bearer("foo"), "key_malformed"),
        ("giftcards", json(at("giftcards", "POST", "/auth/refresh"), "{}"), "validation_failed"),
    ] {
        let before = world.metric("portcullis_denials_total", &[("realm", realm), ("reason", reason)]);
        let reply = call.send();
        let line = world.line_of(&reply);
        assert_eq!((&line["reason"], &line["realm"]), (&json!(reason), &json!(realm)), "{reply:?}");
        assert_eq!(line["outcome"], "denied", "{line}");
        assert_eq!(line["status"], json!(reply.status));
        world.metric_becomes("portcullis_denials_total", &[("realm", realm), ("reason", reason)], before + 1.0);
    }
}

#[test]
fn x20_grants_are_counted_by_their_path_and_result() {
    let world = house();
    access(&world);
    assert_eq!(login_with(&world, "not the password at all").send().status, 401);
    for (result, count) in [("ok", 1.0), ("invalid_credentials", 1.0)] {
        let labels = [("realm", "affilync"), ("grant", "/api/auth/login"), ("result", result)];
        world.metric_becomes("portcullis_grants_total", &labels, count);
    }
    let line = world.log().line_where("the login", |line| line["path"] == "/api/auth/login" && line["status"] == 200);
    assert_eq!(line["outcome"], "granted", "{line}");
}
