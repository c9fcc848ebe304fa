//! Questions, asked by a trusted peer and by others.

use serde_json::json;

use super::{ENDPOINT, House, house, house_with, identity, identity_at};
use crate::support::caller::{Call, Caller};
use crate::support::gateway::Gateway;
use crate::support::realms::{Standard, api_key, key_prefix};
use crate::support::upstream::Upstream;

#[test]
fn who_is_allowed_is_told_as_the_upstream_would_be() {
    let house = house();
    let token = house.standard.alice().scope("campaigns:read").sign();
    for (method, target, proven) in [
        ("GET", "/me/x", true),
        ("GET", "/campaigns/7?page=2", true),
        ("HEAD", "/campaigns/7", true),
        ("GET", "/public/x", false),
        ("GET", "/optional/x", false),
        ("GET", "/near/x", true),
    ] {
        let with = |call: Call| if proven { call.bearer(&token) } else { call };
        with(house.gateway.caller().from("127.0.0.2").call(method, target)).send().ok();
        let told = identity_at(&house.upstream);
        let answer = with(house.question(method, target)).send().ok();
        assert_eq!(identity(&answer), told, "{method} {target}");
        assert_eq!((answer.header("Cache-Control"), answer.text().as_str()), (Some("no-store"), ""), "{answer:?}");
        assert!(!answer.request_id().is_empty());
    }
    let partner = house.question("PUT", "/campaigns/7").header("X-API-Key", &house.standard.partner_key).send().ok();
    let expected = ("x-auth-plan".to_owned(), "Growth".to_owned());
    assert!(identity(&partner).contains(&expected), "{partner:?}");
    house.upstream.assert_untouched();
}

#[test]
fn what_is_refused_is_refused_as_the_client_would_be() {
    let house = house();
    let (alice, stranger) = (house.standard.alice().sign(), api_key(&key_prefix()));
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    let mut requests = vec![
        ("GET", String::from("/me/x"), vec![]),
        ("GET", "/me/x".into(), vec![("X-API-Key", stranger)]),
        ("GET", "/me/x".into(), vec![bearer(&alice), ("X-API-Key", "a".into())]),
        ("GET", "/admin/x".into(), vec![bearer(&alice)]),
        ("DELETE", "/campaigns/x".into(), vec![bearer(&alice)]),
        ("GET", "/query/x?token=rubbish".into(), vec![]),
        ("GET", "/nowhere".into(), vec![]),
        ("TRACE", "/nowhere".into(), vec![]),
        ("GET", "/public/../me/x".into(), vec![]),
        ("GET", "/public/%2e%2e/me/x".into(), vec![]),
        ("GET", "/public//x".into(), vec![]),
        ("GET", "/public/a%2fb".into(), vec![]),
        ("GET", format!("/public/{}", "x".repeat(9000)), vec![]),
    ];
    for (_, token) in house.spoilt() {
        requests.push(("GET", "/jwt/x".into(), vec![bearer(&token)]));
    }
    for (method, target, fields) in requests {
        let with = |call: Call| fields.iter().fold(call, |call, (name, value)| call.header(name, value));
        let direct = with(house.gateway.caller().from("127.0.0.2").call(method, &target)).send();
        let asked = with(house.question(method, &target)).send();
        assert!(direct.status >= 400, "{method} {target}");
        assert_eq!(asked.status, direct.status, "{method} {target} {fields:?}: {asked:?}");
        assert!(identity(&asked).is_empty());
        for name in ["WWW-Authenticate", "Allow", "Retry-After", "Content-Type"] {
            assert_eq!(asked.header(name), direct.header(name), "{method} {target}");
        }
        if direct.status != 414 {
            let of = |reply: &crate::support::caller::Reply| reply.text().replace(reply.request_id(), "ID");
            assert_eq!(of(&asked), of(&direct), "{method} {target}");
        }
    }
    house.upstream.assert_untouched();
}

#[test]
fn whoever_is_not_trusted_gets_no_answer_whatever_it_presents() {
    let house = house();
    let question = |source: &str| {
        let caller = Caller::new(house.gateway.addr()).host("api.test").from(source);
        let call = caller.get(ENDPOINT).header("X-Forwarded-Method", "GET").header("X-Forwarded-Host", "api.test");
        call.header("X-Forwarded-Uri", "/public/x").header("X-Forwarded-For", "127.0.0.1")
    };
    question("127.0.0.1").send().ok();
    for call in [question("127.0.0.2"), question("127.0.0.2").bearer(&house.standard.alice().sign())] {
        let refused = call.send().denied("bad_request");
        assert_eq!(house.gateway.why(&refused), "bad_request:untrusted_peer");
    }
    house.upstream.assert_untouched();
}

#[test]
fn a_question_that_does_not_say_what_it_is_about_is_refused() {
    let house = house();
    let all = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Host", "api.test"),
        ("X-Forwarded-Uri", "/public/x"),
        ("X-Forwarded-For", "127.0.0.2"),
    ];
    let ask = |fields: &[(&str, &str)]| {
        fields.iter().fold(house.asker().get(ENDPOINT), |call, (name, value)| call.header(name, value)).send()
    };
    ask(&all).ok();
    let mut refused = vec![ask(&[])];
    for (missing, (name, value)) in all.into_iter().enumerate() {
        let others: Vec<_> = all.into_iter().filter(|(other, _)| *other != name).collect();
        refused.push(ask(&others));
        let empty: Vec<_> = others.iter().copied().chain([(name, "")]).collect();
        refused.push(ask(&empty));
        if missing < 3 {
            let twice: Vec<_> = all.into_iter().chain([(name, value)]).collect();
            refused.push(ask(&twice));
            // The other way says it: two ways are not mixed.
            let original = name.replace("Forwarded", "Original");
            let mixed: Vec<_> = others.iter().copied().chain([(original.as_str(), value)]).collect();
            refused.push(ask(&mixed));
        }
    }
    for reply in refused {
        assert_eq!(house.gateway.why(&reply), "bad_request:original", "{reply:?}");
        reply.denied("bad_request");
    }
}

#[test]
fn what_a_client_adds_to_a_question_cannot_change_what_it_is_about() {
    let house = house();
    let token = house.standard.alice().sign();
    for (name, value) in [
        ("X-Original-Uri", "/public/x"),
        ("X-Original-Url", "/public/x"),
        ("X-Original-Url", "http://api.test/public/x"),
        ("X-Original-Url", "http://other.test/admin/x"),
        ("X-Original-Url", "ftp://api.test/admin/x"),
        ("X-Original-Method", "OPTIONS"),
        ("X-Original-Host", "other.test"),
        ("X-Original-For", "127.0.0.9"),
        ("X-Forwarded-Uri", "/public/x"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Host", "other.test"),
    ] {
        let reply = house.question("GET", "/admin/x").header(name, value).bearer(&token).send();
        assert_eq!(house.gateway.why(&reply), "bad_request:original", "{name}: {value}");
    }
    for name in ["X-HTTP-Method-Override", "X-Http-Method", "X_Method_Override", "X-Rewrite-Url", "X_Original_Url"] {
        let reply = house.question("GET", "/public/x").header(name, "/admin/x").send();
        assert_eq!(house.gateway.why(&reply), "bad_request:override", "{name}");
    }
    // The last is told by nobody here: no proxy replaces it.
    for name in ["X_Auth_Subject", "X-Auth_Roles", "x.auth.tenant", "X-Auth-Assertion"] {
        let reply = house.question("GET", "/public/x").header(name, "root").send();
        assert_eq!(house.gateway.why(&reply), "bad_request:forged", "{name}");
    }
    // A proxy that passes it on would open a way for requests that nobody asks about.
    for protocol in ["h2c", "H2C", "websocket, h2c", "TLS/1.0"] {
        let reply = house.question("GET", "/public/x").header("Upgrade", protocol).send();
        assert_eq!(house.gateway.why(&reply), "bad_request:upgrade", "{protocol}");
    }
    house.question("GET", "/public/x").header("Upgrade", "WebSocket").send().ok();
    let posted = house.question("POST", "/public/x").header("Upgrade", "websocket").send();
    assert_eq!(house.gateway.why(&posted), "bad_request:upgrade", "no WebSocket is opened so");
    // The proxy replaces it by what it is told.
    let replaced = house.question("GET", "/me/x").header("X-Auth-Subject", "root").bearer(&token).send().ok();
    assert!(identity(&replaced).contains(&("x-auth-subject".into(), "alice".into())), "{replaced:?}");
    // What agrees does no harm.
    let agreeing =
        house.question("GET", "/admin/x").header("X-Original-Url", "https://api.test/admin/x").bearer(&token);
    agreeing.send().denied("insufficient_scope");
    for target in ["admin/x", "//admin/x", "http://api.test/admin/x", "/admin/x#y", "/admin x", "/admin/x\\y", ""] {
        house.question("GET", target).bearer(&token).send().is(400);
    }
    for host in ["api.test/x", "user@api.test", "api.test, api.test", "api test", ""] {
        let call = house.asker().get(ENDPOINT).header("X-Forwarded-Method", "GET").header("X-Forwarded-Host", host);
        call.header("X-Forwarded-Uri", "/public/x").header("X-Forwarded-For", "127.0.0.2").send().is(400);
    }
    house.upstream.assert_untouched();
}

#[test]
fn the_ways_of_nginx_ingress_and_envoy_are_understood_too() {
    let house = house();
    let token = house.standard.alice().sign();
    let url = house.asker().get(ENDPOINT).header("X-Original-Method", "GET").header("X-Forwarded-For", "127.0.0.2");
    url.clone().header("X-Original-Url", "https://api.test/near/x?y=1").bearer(&token).send().ok();
    url.clone().header("X-Original-Url", "https://api.test").send().denied("no_route");
    url.clone().header("X-Original-Host", "api.test").header("X-Original-Uri", "/near/x").bearer(&token).send().ok();
    url.header("X-Original-Url", "https://api.test/admin/x").bearer(&token).send().denied("insufficient_scope");

    let alone = house.asker().get(ENDPOINT).header("X-Original-Method", "GET").header("X-Original-Host", "api.test");
    let alone = alone.header("X-Original-Uri", "/near/x").bearer(&token);
    alone.clone().header("X-Original-For", "127.0.0.2").send().ok();
    alone.clone().header("X-Original-For", "127.0.0.3").send().denied("ip_denied");
    alone.clone().header("X-Original-For", "127.0.0.2").header("X-Forwarded-For", "127.0.0.2").send().ok();
    alone.header("X-Original-For", "127.0.0.2").header("X-Forwarded-For", "127.0.0.3").send().denied("bad_request");

    let envoy = |method: &str, target: &str| {
        let caller = house.asker().host("api.test");
        caller.call(method, &format!("{ENDPOINT}{target}")).header("X-Forwarded-For", "127.0.0.2").bearer(&token)
    };
    envoy("GET", "/near/x?y=1").send().ok();
    envoy("POST", "/me/x").body("").send().ok();
    envoy("DELETE", "/campaigns/x").send().denied("insufficient_scope");
    envoy("HEAD", "/admin/x").send().is(403);
    envoy("GET", "/near/x").header("X-Forwarded-Uri", "/near/y").send().denied("bad_request");
    envoy("GET", "/../near/x").send().denied("path_ambiguous");
    house.upstream.assert_untouched();
}

#[test]
fn no_route_answers_what_stands_below_the_endpoint() {
    let all = "\n[[routes]]\npath = \"/_portcullis/{any}\"\nauth = [\"public\"]\n";
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let builder = Gateway::builder().standard_with(&standard, all).upstream(&upstream);
    let gateway = builder.server_toml("trusted_proxies = [\"127.0.0.1\"]\n[decision]").start();
    let asker = gateway.caller().from("127.0.0.1");
    for other in ["/_portcullis/other", "/_portcullis/decided", "/_portcullis/decide-x"] {
        asker.get(other).send().ok();
    }
    upstream.forget();
    for rest in ["*", "%2f", "*?x", "!"] {
        asker.call("OPTIONS", &format!("{ENDPOINT}{rest}")).send().denied("no_route");
    }
    upstream.assert_untouched();
}

#[test]
fn the_client_is_judged_by_its_own_address_and_limits() {
    let house = house();
    let token = house.standard.alice().sign();
    house.question_from("127.0.0.2", "GET", "/near/x").bearer(&token).send().ok();
    house.question_from("127.0.0.3", "GET", "/near/x").bearer(&token).send().denied("ip_denied");
    house.question_from("127.0.0.2, 127.0.0.3", "GET", "/near/x").bearer(&token).send().denied("ip_denied");
    house.question_from("127.0.0.2, unknown", "GET", "/near/x").bearer(&token).send().denied("ip_denied");
    for _ in 0..3 {
        let answer = house.question("GET", "/limited/x").bearer(&token).send().ok();
        assert_eq!(answer.header("RateLimit-Limit"), Some("3"), "{answer:?}");
    }
    let refused = house.question("GET", "/limited/x").bearer(&token).send().denied("rate_limited");
    assert!(refused.header("Retry-After").is_some(), "{refused:?}");
}

#[test]
fn log_and_metrics_are_about_the_request_that_was_asked_about() {
    let house = house();
    let token = house.standard.alice().sign();
    let answer = house.question("PATCH", "/me/x?secret=1").bearer(&token).send().ok();
    let line = house.gateway.line_of(&answer);
    for (name, value) in [
        ("outcome", json!("allowed")),
        ("method", json!("PATCH")),
        ("path", json!("/me/x")),
        ("realm", json!("api")),
        ("route", json!("me")),
        ("subject", json!("alice")),
        ("client_ip", json!("127.0.0.2")),
        ("peer_ip", json!("127.0.0.1")),
        ("status", json!(200)),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    assert_eq!(line["upstream"], json!(null), "{line}");
    house.question("GET", "/admin/x").bearer(&token).send().denied("insufficient_scope");
    let requests = |outcome| house.gateway.metric("portcullis_requests_total", &[("outcome", outcome)]);
    assert_eq!((requests("allowed"), requests("denied"), requests("forwarded")), (1.0, 1.0, 0.0));
}

#[test]
fn a_listener_for_questions_has_nothing_else_and_no_other_has_the_endpoint() {
    let house = house_with(|builder| {
        builder.listen("127.0.0.1:0").listen("{ address = \"127.0.0.1:0\", decision_only = true }")
    });
    let [requests, questions] = house.gateway.addrs() else { panic!("two listeners") };
    let ask = |address| {
        let caller = Caller::new(address).from("127.0.0.1").get(ENDPOINT);
        let caller = caller.header("X-Forwarded-Method", "GET").header("X-Forwarded-Host", "api.test");
        caller.header("X-Forwarded-Uri", "/public/x").header("X-Forwarded-For", "127.0.0.2")
    };
    ask(*questions).send().ok();
    ask(*requests).send().denied("no_route");
    Caller::new(*requests).get("/public/x").send().ok();
    house.upstream.forget();
    for path in ["/public/x", "/", "/_portcullis", "/_portcullis/decide%2f", "/metrics"] {
        Caller::new(*questions).from("127.0.0.1").get(path).send().denied("no_route");
    }
    house.upstream.assert_untouched();
}

#[test]
fn a_question_about_what_the_gateway_answers_itself_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::builder()
        .shipped_realm("affilync")
        .server_toml("trusted_proxies = [\"127.0.0.1\"]\n[decision]")
        .upstream(&upstream)
        .start();
    let ask = |method: &str, target: &str| {
        let call = gateway.caller().from("127.0.0.1").get(ENDPOINT).header("X-Forwarded-Method", method);
        let call = call.header("X-Forwarded-Host", "api.affilync.com").header("X-Forwarded-Uri", target);
        call.header("X-Forwarded-For", "127.0.0.2").send()
    };
    let refused = ask("POST", "/api/auth/login");
    assert_eq!(gateway.why(&refused), "no_route:grant", "{refused:?}");
    upstream.assert_untouched();
}

#[test]
fn a_question_about_a_preflight_is_never_answered_with_allowed() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let more = "\n[cors]\norigins = [\"https://app.test\"]\n";
    let builder = Gateway::builder().standard_with(&standard, more).upstream(&upstream);
    let gateway = builder.server_toml("trusted_proxies = [\"127.0.0.1\"]\n[decision]").start();
    let house = House { upstream, standard, gateway };
    let preflight = house.question("OPTIONS", "/me/x").header("Origin", "https://app.test");
    let refused = preflight.header("Access-Control-Request-Method", "GET").send();
    assert_eq!(house.gateway.why(&refused), "no_route:grant", "{refused:?}");
    assert_eq!(house.gateway.line_of(&refused)["outcome"], "denied");
    // A refusal that the proxy passes on can be read by the page that asked.
    let readable = house.question("GET", "/me/x").header("Origin", "https://app.test").send();
    let readable = readable.denied("missing_credentials");
    assert_eq!(readable.header("Access-Control-Allow-Origin"), Some("https://app.test"), "{readable:?}");
    house.upstream.assert_untouched();
}

#[test]
fn a_realm_in_shadow_allows_everything_and_names_nobody() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let realm = standard.toml().replacen("upstream =", "enforce = false\nupstream =", 1);
    let gateway = Gateway::builder()
        .realm_toml(&realm)
        .env(crate::support::realms::HOUSE_SECRET, &standard.secret())
        .server_toml("trusted_proxies = [\"127.0.0.1\"]\n[decision]")
        .upstream(&upstream)
        .start();
    let house = House { upstream, standard, gateway };
    for call in [
        house.question("GET", "/admin/x"),
        house.question("GET", "/me/x").bearer("rubbish"),
        house.question("GET", "/me/x").bearer(&house.standard.alice().sign()),
    ] {
        let answer = call.send().ok();
        assert!(identity(&answer).is_empty(), "{answer:?}");
        // The gateway sends it nowhere.
        assert_eq!(house.gateway.line_of(&answer)["upstream"], json!(null));
    }
    assert_eq!(house.gateway.metric("portcullis_would_denials_total", &[]), 2.0);
    // How a path is read is no matter of trust.
    house.question("GET", "/public/../x").send().denied("path_ambiguous");
}

#[test]
fn another_path_is_in_force_after_a_reload() {
    let house = house();
    let main = std::fs::read_to_string(house.gateway.directory().join("portcullis.toml")).expect("the file");
    house.question("GET", "/public/x").send().ok();
    let moved = main.replace("[decision]", "[decision]\npath = \"/ask\"");
    house.gateway.rewrite("portcullis.toml", &moved);
    house.gateway.reload_from_source().expect("it is good");
    house.question("GET", "/public/x").send().denied("unknown_host");
    let ask = house.asker().get("/ask").header("X-Forwarded-Method", "GET").header("X-Forwarded-Host", "api.test");
    ask.header("X-Forwarded-Uri", "/public/x").header("X-Forwarded-For", "127.0.0.2").send().ok();
}
