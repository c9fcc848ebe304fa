//! CORS: who answers a preflight, which pages may read which answers, and what an upstream has no say in any more.

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};

use crate::support::caller::{Call, Reply};
use crate::support::gateway::Gateway;
use crate::support::process::Run;
use crate::support::realms::{HOUSE_SECRET, Standard};
use crate::support::upstream::{Respond, Upstream};

const APP: &str = "https://app.test";
const SHOP: &str = "https://shop.apps.test";
const EVIL: &str = "https://evil.test";
const EXPOSED: &str = "X-Request-Id, WWW-Authenticate, Retry-After";

/// Of the whole realm.
const REALM: &str = r#"cors = { origins = ["https://app.test", "https://*.apps.test"], credentials = true, max_age = "5m" }
"#;

/// Routes that say it for themselves, and one that leads nowhere.
const ROUTES: &str = r#"
[[routes]]
path = "/open/**"
auth = ["public"]
cors = { origins = ["*"], expose = ["X-Total"] }

[[routes]]
path = "/none/**"
auth = ["jwt"]
cors = false

[[routes]]
name = "apart-get"
path = "/apart"
methods = ["GET"]
auth = ["jwt"]

[[routes]]
name = "apart-post"
path = "/apart"
methods = ["POST"]
auth = ["jwt"]
cors = false

[[routes]]
path = "/narrow/**"
methods = ["GET", "PUT", "PATCH"]
auth = ["public"]
cors = { origins = ["https://app.test"], methods = ["GET", "PUT"], headers = ["*"], max_age = "0s" }

[[routes]]
path = "/all-apart"
methods = ["GET"]
auth = ["jwt"]
cors = false

[[routes]]
path = "/dead/**"
auth = ["public"]
upstream = "http://127.0.0.1:1"
"#;

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

/// The standard realm with CORS, and these keys besides.
fn house_with(keys: &str) -> House {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let realm = standard.toml().replacen("upstream =", &format!("{keys}{REALM}upstream ="), 1) + ROUTES;
    let gateway = Gateway::builder()
        .realm_toml(&realm)
        .env(HOUSE_SECRET, &standard.secret())
        .server_toml("max_body = \"1KiB\"")
        .upstream(&upstream)
        .start();
    House { upstream, standard, gateway }
}

fn house() -> House {
    house_with("")
}

impl House {
    fn preflight(&self, target: &str, origin: &str, method: &str) -> Call {
        let call = self.gateway.call("OPTIONS", target).header("Origin", origin);
        call.header("Access-Control-Request-Method", method)
    }

    fn token(&self) -> String {
        self.standard.alice().sign()
    }
}

/// What an answer says of CORS: name in lower case, and value.
fn told(reply: &Reply) -> Vec<(String, &str)> {
    let lines = reply.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()));
    lines.filter(|(name, _)| name.starts_with("access-control-")).collect()
}

/// The answer may be read by pages of this origin, with credentials.
#[track_caller]
fn is_readable(reply: &Reply, origin: &str) {
    assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-credentials"), Some("true"), "{reply:?}");
    assert_eq!(reply.all("vary"), ["Origin"], "{reply:?}");
}

#[track_caller]
fn is_unreadable(reply: &Reply) {
    assert!(told(reply).is_empty(), "{reply:?}");
    assert_eq!(reply.all("vary"), ["Origin"], "{reply:?}");
}

#[test]
fn h35_only_a_full_preflight_of_a_route_with_cors_is_answered_and_none_is_forwarded() {
    let house = house();
    let options = |target: &str| house.gateway.call("OPTIONS", target);
    let asks = "Access-Control-Request-Method";
    for (what, call) in [
        ("bare", options("/jwt/x")),
        ("origin only", options("/jwt/x").header("Origin", APP)),
        ("method only", options("/jwt/x").header(asks, "DELETE")),
        ("two origins", house.preflight("/jwt/x", APP, "DELETE").header("Origin", EVIL)),
        ("the same twice", house.preflight("/jwt/x", APP, "DELETE").header("Origin", APP)),
        ("two methods", house.preflight("/jwt/x", APP, "DELETE").header(asks, "GET")),
        ("no method", house.preflight("/jwt/x", APP, "G T")),
        ("an empty method", house.preflight("/jwt/x", APP, "")),
        ("a method that is never served", house.preflight("/jwt/x", APP, "TRACE")),
        ("another method than OPTIONS", house.gateway.get("/jwt/x").header("Origin", APP).header(asks, "DELETE")),
        ("a POST", house.gateway.call("POST", "/jwt/x").header("Origin", APP).header(asks, "GET")),
        ("a route without", house.preflight("/none/x", APP, "DELETE")),
        ("a bad credential", options("/jwt/x").header("Origin", APP).bearer("rubbish")),
    ] {
        let reply = call.send();
        assert_eq!(reply.status, 401, "{what}: {reply:?}");
        assert_eq!(reply.header("access-control-allow-methods"), None, "{what}: {reply:?}");
    }
    assert_eq!(options("*").header("Origin", APP).header(asks, "GET").send().status, 400);
    for (target, reason) in
        [("/jwt/../none/x", "path_ambiguous"), ("/jwt//x", "path_ambiguous"), ("/nowhere", "no_route")]
    {
        house.preflight(target, APP, "GET").send().denied(reason);
    }
    house.preflight("/jwt/x", APP, "GET").host("elsewhere.test").send().denied("unknown_host");
    // The method that is asked for says which route it is.
    assert_eq!(house.preflight("/apart", APP, "GET").send().status, 204);
    house.preflight("/apart", APP, "POST").send().denied("method_not_allowed");
    house.preflight("/apart", APP, "DELETE").send().denied("method_not_allowed");

    for origin in [APP, SHOP, EVIL, "null", "", "https://app.test.evil.test", "https://xapp.test", "https://apps.test"]
    {
        for call in [
            house.preflight("/jwt/x", origin, "DELETE"),
            house.preflight("/jwt/x", origin, "DELETE").bearer(&house.token()),
            house.preflight("/jwt/x", origin, "DELETE").bearer("rubbish"),
            house.preflight("/public/x", origin, "DELETE").body("x"),
            house.preflight("/jwt/x", origin, "GET").header("X-HTTP-Method-Override", "GET"),
        ] {
            let reply = call.send().is(204);
            assert!(reply.body.is_empty() && reply.header("content-length").is_none(), "{reply:?}");
            assert_eq!(told(&reply).is_empty(), ![APP, SHOP].contains(&origin), "{origin}: {reply:?}");
        }
    }
    house.upstream.assert_untouched();
}

#[test]
fn a_preflight_is_told_what_the_route_allows() {
    let house = house();
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    let reply =
        house.preflight("/me/x", SHOP, "DELETE").header("Access-Control-Request-Headers", "authorization").send();
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE";
    let expected = [
        ("access-control-allow-origin", SHOP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", methods),
        ("access-control-allow-headers", "authorization, content-type, x-api-key, apikey"),
        ("access-control-max-age", "300"),
    ];
    assert_eq!(told(&reply), expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!((reply.header("vary"), reply.says_close()), (Some(vary), false));
    assert!(!reply.request_id().is_empty());
    let evil = house.preflight("/me/x", EVIL, "DELETE").send();
    assert_eq!((told(&evil), evil.header("vary")), (Vec::new(), Some(vary)));

    // What is asked for is not repeated, but where any field may be sent; then it has to be a list.
    let narrow =
        |list: &str| house.preflight("/narrow/x", APP, "PATCH").header("Access-Control-Request-Headers", list).send();
    let reply = narrow("authorization,x-trace");
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("authorization,x-trace"));
    assert_eq!(reply.header("access-control-max-age"), Some("0"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert_eq!(narrow("a: b").header("access-control-allow-headers"), None);
    assert_eq!(narrow(&"a,".repeat(4096)).header("access-control-allow-headers"), None);
    let private = house.preflight("/me/x", APP, "GET").header("Access-Control-Request-Private-Network", "true").send();
    assert_eq!(private.header("access-control-allow-private-network"), None);
    house.upstream.assert_untouched();
}

#[test]
fn a_list_of_headers_without_end_costs_nothing() {
    let house = house();
    let watch = Stopwatch::start();
    for _ in 0..200 {
        let call = house.preflight("/me/x", APP, "GET").header("Access-Control-Request-Headers", "a,".repeat(14_000));
        assert_eq!(call.send().status, 204);
    }
    assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
}

#[test]
fn the_gateway_alone_says_who_may_read_what_the_upstream_answers() {
    let house = house();
    let answer = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\naccess-control-allow-origin: null\r\n\
        Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: TRACE\r\nAccess-Control-Expose-Headers: X-Secret\r\n\
        Access-Control-Allow-Private-Network: true\r\nVary: Accept-Encoding\r\nX-Other: 1\r\nTransfer-Encoding: chunked\r\n\
        Trailer: Access-Control-Allow-Origin, X-Sum\r\n\r\n1\r\nx\r\n0\r\nAccess-Control-Allow-Origin: *\r\nX-Sum: 1\r\n\r\n";
    house.upstream.respond(Respond::Raw(answer.into()));
    let get = |method: &str, target: &str, origin: Option<&str>| {
        let call = house.gateway.call(method, target).bearer(&house.token());
        origin.map_or(call.clone(), |origin| call.header("Origin", origin)).send().ok()
    };
    let reply = get("GET", "/me/x", Some(APP));
    let expected = [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", EXPOSED),
    ];
    assert_eq!(told(&reply), expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!((reply.all("vary"), reply.header("x-other")), (vec!["Accept-Encoding", "Origin"], Some("1")));
    assert!(!reply.text().contains("Access-Control"), "nor in the trailers: {reply:?}");
    // Who keeps the answer has to know, also when nobody named an origin.
    for origin in [None, Some(EVIL), Some("null"), Some("https://app.test, https://evil.test")] {
        let reply = get("GET", "/me/x", origin);
        assert_eq!((told(&reply), reply.all("vary")), (vec![], vec!["Accept-Encoding", "Origin"]), "{origin:?}");
    }
    // It is for the browser to refuse; to others an origin is a header like any other.
    assert_eq!(house.upstream.last().header("Origin"), Some("https://app.test, https://evil.test"));
    let limited = get("GET", "/limited/x", Some(APP));
    let names = limited.header("access-control-expose-headers").unwrap_or_default();
    assert_eq!(names, format!("{EXPOSED}, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"));
    // What everybody may read is the same for everybody.
    for origin in [None, Some(APP), Some("null")] {
        let reply = get("GET", "/open/x", origin);
        let expected = [("access-control-allow-origin", "*"), ("access-control-expose-headers", "X-Total")];
        assert_eq!(told(&reply), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(reply.all("vary"), ["Accept-Encoding"]);
    }
    house.upstream.respond(Respond::Raw(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept, ORIGIN\r\nContent-Length: 0\r\n\r\n".into(),
    ));
    let reply = get("HEAD", "/me/x", Some(APP));
    assert_eq!(reply.header("access-control-allow-origin"), Some(APP), "HEAD as GET");
    assert_eq!(reply.all("vary"), ["Accept, ORIGIN"], "it says so already");
    // Without CORS of the gateway's own, the application's is passed on.
    let reply = get("GET", "/none/x", Some(EVIL));
    assert_eq!(told(&reply), [("access-control-allow-origin".to_owned(), "*")]);
    assert_eq!(reply.all("vary"), ["Accept, ORIGIN"]);
}

#[test]
fn what_the_upstream_says_before_its_answer_says_nothing_of_it_either() {
    let house = house();
    let answer = "HTTP/1.1 103 Early Hints\r\nAccess-Control-Allow-Origin: *\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    house.upstream.respond(Respond::Raw(answer.into()));
    let mut connection = house.gateway.caller().connect();
    connection.write(house.gateway.get("/public/x").header("Origin", EVIL).bytes());
    let hints = connection.read_interim().expect("an interim answer");
    assert_eq!((hints.status, hints.header("link"), told(&hints)), (103, Some("</a>"), vec![]));
    is_unreadable(&connection.read_reply(false).expect("an answer"));
}

#[test]
fn a_page_can_read_why_it_was_refused() {
    let house = house();
    let good = house.token();
    for _ in 0..3 {
        house.gateway.get("/limited/x").bearer(&good).send().ok();
    }
    house.upstream.respond(Respond::Close);
    let gw = &house.gateway;
    for (reason, call) in [
        ("missing_credentials", gw.get("/me/x")),
        ("token_invalid", gw.get("/me/x").bearer("rubbish")),
        ("ambiguous_credential", gw.get("/me/x").bearer(&good).header("X-API-Key", "x")),
        ("insufficient_scope", gw.get("/admin/x").bearer(&good)),
        ("ip_denied", gw.get("/near/x").bearer(&good)),
        ("no_route", gw.get("/nowhere")),
        ("path_ambiguous", gw.get("/me/../x")),
        ("method_not_allowed", gw.call("DELETE", "/apart").bearer(&good)),
        ("payload_too_large", gw.call("POST", "/public/x").body("x".repeat(2000))),
        ("payload_too_large", gw.call("POST", "/public/x").chunked(&[&"x".repeat(2000)], &[])),
        ("rate_limited", gw.get("/limited/x").bearer(&good)),
        ("upstream_unavailable", gw.get("/dead/x")),
        ("upstream_unavailable", gw.get("/public/x")),
    ] {
        for origin in [APP, SHOP] {
            let reply = call.clone().header("Origin", origin).send().denied(reason);
            is_readable(&reply, origin);
            assert!(reply.header("access-control-expose-headers").is_some_and(|names| names.starts_with(EXPOSED)));
        }
        is_unreadable(&call.clone().header("Origin", EVIL).send().denied(reason));
        is_unreadable(&call.send().denied(reason));
    }
    // Where no route stands behind it, and none of the realm's.
    let none = gw.get("/none/x").header("Origin", APP).send().denied("missing_credentials");
    assert!(told(&none).is_empty() && none.all("vary").is_empty(), "{none:?}");
    let apart = gw.call("PUT", "/all-apart").header("Origin", APP).send().denied("method_not_allowed");
    assert!(told(&apart).is_empty() && apart.all("vary").is_empty(), "{apart:?}");
    let elsewhere = gw.get("/me/x").host("elsewhere.test").header("Origin", APP).send().denied("unknown_host");
    assert!(told(&elsewhere).is_empty(), "{elsewhere:?}");
    let open = gw.call("POST", "/open/x").header("Origin", EVIL).body("x".repeat(2000)).send();
    assert_eq!(open.denied("payload_too_large").header("access-control-allow-origin"), Some("*"));
}

#[test]
fn the_refusal_of_a_wrong_method_is_readable_where_only_the_route_has_cors() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let more = "\n[[routes]]\npath = \"/own\"\nmethods = [\"POST\"]\nauth = [\"public\"]\ncors = { origins = [\"https://app.test\"], credentials = true }\n";
    let gateway = Gateway::builder().standard_with(&standard, more).upstream(&upstream).start();
    is_readable(&gateway.get("/own").header("Origin", APP).send().denied("method_not_allowed"), APP);
    is_unreadable(&gateway.get("/own").header("Origin", EVIL).send().denied("method_not_allowed"));
    let nowhere = gateway.get("/nowhere").header("Origin", APP).send().denied("no_route");
    assert!(told(&nowhere).is_empty() && nowhere.all("vary").is_empty(), "{nowhere:?}");
}

#[test]
fn what_a_dialect_says_of_cors_does_not_stand_beside_it() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let more =
        "\n[errors.status.401]\nheaders = { Access-Control-Allow-Origin = \"*\", Vary = \"Accept\", X-Own = \"1\" }\n";
    let realm = standard.toml().replacen("upstream =", &format!("{REALM}upstream ="), 1) + more;
    let builder = Gateway::builder().realm_toml(&realm).env(HOUSE_SECRET, &standard.secret());
    let reply = builder.upstream(&upstream).start().get("/me/x").header("Origin", EVIL).send().is(401);
    assert_eq!((told(&reply), reply.header("x-own")), (vec![], Some("1")));
    assert_eq!(reply.all("vary"), ["Accept", "Origin"]);
}

#[test]
fn addresses_and_limits_are_for_the_request_and_not_for_the_preflight() {
    let house = house();
    for _ in 0..5 {
        assert_eq!(house.preflight("/near/x", APP, "PUT").send().status, 204);
        assert_eq!(house.preflight("/limited/x", APP, "PUT").send().status, 204);
    }
    let reply = house.gateway.get("/near/x").header("Origin", APP).bearer(&house.token()).send();
    is_readable(&reply.denied("ip_denied"), APP);
    let left = house.gateway.get("/limited/x").bearer(&house.token()).send().ok();
    assert_eq!(left.header("ratelimit-remaining"), Some("2"));
}

#[test]
fn a_preflight_has_an_outcome_of_its_own() {
    let house = house();
    for origin in [APP, EVIL] {
        let reply = house.preflight("/me/x", origin, "DELETE").send().is(204);
        let line = house.gateway.line_of(&reply);
        assert_eq!(
            (&line["outcome"], &line["status"], &line["route"]),
            (&json!("preflight"), &json!(204), &json!("me"))
        );
        let nobody = [&line["reason"], &line["upstream"], &line["credential"], &line["subject"]];
        assert!(nobody.iter().all(|value| value.is_null()), "{line}");
    }
    let labels = [("realm", "api"), ("route", "me"), ("code", "204"), ("outcome", "preflight")];
    house.gateway.metric_becomes("portcullis_requests_total", &labels, 2.0);
    assert_eq!(house.gateway.metric("portcullis_denials_total", &[]), 0.0);
    assert_eq!(house.gateway.metric("portcullis_authentications_total", &[]), 0.0);
}

#[test]
fn in_shadow_mode_the_application_answers_as_before() {
    let house = house_with("enforce = false\n");
    let answer = "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://evil.test\r\nVary: X\r\n\r\n";
    house.upstream.respond(Respond::Raw(answer.into()));
    for (target, method) in [("/me/x", "DELETE"), ("/apart", "GET"), ("/nowhere", "GET")] {
        let reply = house.preflight(target, APP, method).send().is(204);
        assert_eq!(told(&reply), [("access-control-allow-origin".to_owned(), EVIL)]);
        assert_eq!(reply.all("vary"), ["X"]);
        let seen = house.upstream.only();
        assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.header("Origin")), ("OPTIONS", target, Some(APP)));
        house.upstream.forget();
        let outcome = house.gateway.line_of(&reply)["outcome"].clone();
        // What enforcement would answer itself is no refusal.
        assert_eq!(outcome, if target == "/nowhere" { "would_deny" } else { "forwarded" }, "{target}");
    }
    let reply = house.gateway.get("/me/x").header("Origin", APP).send().is(204);
    assert_eq!(told(&reply), [("access-control-allow-origin".to_owned(), EVIL)]);
    let dead = house.gateway.get("/dead/x").header("Origin", APP).send().denied("upstream_unavailable");
    assert!(told(&dead).is_empty() && dead.all("vary").is_empty(), "{dead:?}");
}

#[test]
fn an_application_with_preflights_of_its_own_gets_them_on_a_public_route() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let more = "\n[[routes]]\npath = \"/app/**\"\nmethods = [\"GET\", \"PUT\"]\nauth = [\"jwt\"]\n\
                [[routes]]\nname = \"preflights\"\npath = \"/app/**\"\nmethods = [\"OPTIONS\"]\nauth = [\"public\"]\n";
    let gateway = Gateway::builder().standard_with(&standard, more).upstream(&upstream).start();
    let preflight =
        gateway.call("OPTIONS", "/app/x").header("Origin", APP).header("Access-Control-Request-Method", "PUT");
    upstream.respond(Respond::Raw("HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\n\r\n".into()));
    assert_eq!(told(&preflight.send().is(204)), [("access-control-allow-origin".to_owned(), "*")]);
    assert_eq!(upstream.only().method, "OPTIONS");
}

/// People who sign in from a page.
const LOGINS: &str = r#"
realm = "tokens"
hosts = ["api.test"]
upstream = "http://{upstream}"
cors = { origins = ["https://app.test"], credentials = true }

[directory]
type = "local"
identifier = "email"

[tokens]
discovery = true
issuer = "https://api.test"

[tokens.access]
ttl = "1h"

[tokens.refresh]
ttl = "2h"

[[grants]]
type = "password"
path = "/login"

[[grants]]
type = "refresh_token"
path = "/refresh"
cors = false

[[grants]]
type = "client_credentials"
path = "/oauth/token"

[[routes]]
path = "/me"
auth = ["jwt"]
"#;

const PASSWORD: &str = "correct horse battery staple";

#[test]
fn somebody_signs_in_on_a_page_of_another_origin() {
    for enforce in [true, false] {
        let upstream = Upstream::start();
        let realm = LOGINS.replacen("upstream =", &format!("enforce = {enforce}\nupstream ="), 1);
        let gateway = Gateway::builder().realm_toml(&realm).upstream(&upstream).start();
        let admin = gateway.admin();
        let user = admin.post("/clients", &json!({ "realm": "tokens", "kind": "user", "identifier": "ann@api.test" }));
        let path = format!("/clients/{}/password", user.is(201).json()["id"].as_str().expect("an id"));
        admin.post(path, &json!({ "password": PASSWORD })).is(200);

        let preflight = |path: &str| {
            let call =
                gateway.call("OPTIONS", path).header("Origin", APP).header("Access-Control-Request-Method", "POST");
            call.header("Access-Control-Request-Headers", "content-type").send()
        };
        let asked = preflight("/login").is(204);
        assert_eq!(asked.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(asked.header("access-control-allow-headers"), Some("authorization, content-type"));
        assert_eq!(asked.header("access-control-allow-origin"), Some(APP));
        let login = |origin: &str, password: &str| {
            let call =
                gateway.call("POST", "/login").header("Origin", origin).header("Content-Type", "application/json");
            call.body(json!({ "email": "ann@api.test", "password": password }).to_string()).send()
        };
        let good = login(APP, PASSWORD).is(200);
        is_readable(&good, APP);
        assert_eq!(good.header("cache-control"), Some("no-store"));
        is_readable(&login(APP, "wrong").denied("invalid_credentials"), APP);
        is_readable(&gateway.call("POST", "/login").header("Origin", APP).body("{").send().is(400), APP);
        is_unreadable(&login(EVIL, PASSWORD).is(200));
        let standard = gateway.call("POST", "/oauth/token").header("Origin", APP).body("x").send();
        assert!(standard.status >= 400);
        is_readable(&standard, APP);
        upstream.assert_untouched();
        // Grants are counted when they are asked, and not when somebody asks whether he may ask.
        gateway.metric_becomes("portcullis_grants_total", &[("grant", "/login"), ("result", "ok")], 2.0);
        gateway.metric_becomes("portcullis_requests_total", &[("route", "/login"), ("outcome", "preflight")], 1.0);
        let keys = gateway.get("/.well-known/jwks.json").header("Origin", APP).send().ok();
        is_readable(&keys, APP);
        if enforce {
            preflight("/refresh").denied("method_not_allowed");
            let bearer = good.json()["access_token"].as_str().expect("a token").to_owned();
            is_readable(&gateway.get("/me").header("Origin", APP).bearer(&bearer).send().ok(), APP);
        }
    }
}

#[test]
fn a_preflight_is_explained() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let realm = standard.toml().replacen("upstream =", &format!("{REALM}upstream ="), 1) + ROUTES;
    let builder = Gateway::builder().realm_toml(&realm).env(HOUSE_SECRET, &standard.secret()).upstream(&upstream);
    let directory = builder.write();
    let explain = |target: &str, fields: &[(&str, &str)]| {
        let url = format!("https://api.test{target}");
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let mut arguments = vec!["explain", "OPTIONS", &url];
        lines.iter().for_each(|line| arguments.extend(["-H", line]));
        let env = builder.environment();
        let text = Run::new(&arguments).config(directory.path()).envs(env).end();
        arguments.push("--json");
        let verdict: Value =
            serde_json::from_str(&Run::new(&arguments).config(directory.path()).envs(env).end().out).expect("JSON");
        assert_eq!(verdict["allowed"], text.code == 0, "{text:?}");
        (text.out, verdict)
    };
    let asked = |origin, method, list| {
        explain(
            "/narrow/x",
            &[("Origin", origin), ("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", list)],
        )
    };
    let (text, verdict) = asked(APP, "PUT", "x-trace");
    assert!(text.contains("ok  preflight ") && text.ends_with("204; the browser goes on\n"), "{text}");
    assert_eq!((&verdict["preflight"], &verdict["status"]), (&json!("allowed"), &json!(204)));
    assert_eq!((&verdict["route"], &verdict["upstream"]), (&json!("/narrow/**"), &Value::Null));
    for (origin, method, list, why) in [
        (EVIL, "PUT", "", "the origin is not allowed"),
        ("null", "PUT", "", "the origin is not allowed"),
        (APP, "PATCH", "", "pages may not use PATCH"),
        (APP, "PUT", "a: b", "the list of headers is none"),
    ] {
        let (text, verdict) = asked(origin, method, list);
        assert!(text.contains("NO  preflight ") && text.contains(&format!("does not go on: {why}")), "{text}");
        assert!(verdict["preflight"].as_str().is_some_and(|told| told.contains(why)), "{verdict}");
    }
    let (text, _) = explain(
        "/me/x",
        &[("Origin", APP), ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-evil")],
    );
    assert!(text.contains("pages may not send the header \"x-evil\""), "{text}");
    let (text, verdict) = explain("/none/x", &[("Origin", APP), ("Access-Control-Request-Method", "PUT")]);
    assert!(text.contains("refused: 401 missing_credentials"), "{text}");
    assert_eq!(verdict["preflight"], Value::Null);
    // A running gateway says the same.
    let headers = [format!("Origin: {APP}"), "Access-Control-Request-Method: PATCH".to_owned()];
    let question = json!({ "method": "OPTIONS", "url": "https://api.test/narrow/x", "headers": headers });
    let told = builder.start().admin().post("/explain", &question).is(200).json();
    assert_eq!((&told["preflight"], &told["allowed"]), (&json!("pages may not use PATCH"), &json!(false)));
}
