//! The proxies of the document, as Debian ships them, with the very configurations that stand there.

use std::fs;
use std::net::SocketAddr;

use super::{House, house_with, identity_at};
use crate::documents::blocks;
use crate::support::caller::Caller;
use crate::support::front::Front;
use crate::support::nginx::Nginx;

/// Where the document says that things are.
const PORTCULLIS: &str = "127.0.0.1:8081";
const APPLICATION: &str = "127.0.0.1:9000";

/// The configuration for a proxy from the document, with the places of this test.
fn configuration(language: &str, house: &House) -> String {
    let text = fs::read_to_string("docs/decision-endpoint.md").expect("the document");
    let [block] = &blocks(&text, language)[..] else { panic!("one block in {language}") };
    assert!(block.contains(PORTCULLIS) || block.contains(APPLICATION), "{block}");
    let asked = house.gateway.addrs().last().expect("a listener").to_string();
    block.replace(PORTCULLIS, &asked).replace(APPLICATION, &house.upstream.addr().to_string())
}

fn house() -> House {
    house_with(|builder| builder.listen("127.0.0.1:0").listen("{ address = \"127.0.0.1:0\", decision_only = true }"))
}

/// What every proxy that asks has to do: good requests reach the application with who asks, and nothing else does.
fn guards(house: &House, front: SocketAddr, shows_statuses: bool) {
    let caller = |source| Caller::new(front).host("api.test").from(source);
    let client = || caller("127.0.0.2");
    let House { standard, upstream, .. } = house;
    let token = standard.alice().scope("campaigns:read").sign();

    house.gateway.caller().from("127.0.0.2").get("/campaigns/7").bearer(&token).send().ok();
    let told = identity_at(upstream);
    assert!(told.contains(&("x-auth-subject".into(), "alice".into())), "{told:?}");
    let forged = |call: crate::support::caller::Call| {
        ["X-Auth-Subject", "X-Auth-Roles", "X-Auth-Tenant"]
            .into_iter()
            .fold(call, |call, name| call.header(name, "root"))
    };
    for call in [client().get("/campaigns/7?page=2"), forged(client().get("/campaigns/7"))] {
        call.bearer(&token).send().ok();
        let seen = upstream.last();
        assert_eq!((seen.header("Authorization"), seen.header("X-Api-Key")), (None, None), "{seen:?}");
        assert_eq!(identity_at(upstream), told);
    }
    // A client has no say in what of that arrives: hop-by-hop is what it has named so.
    let named = client().get("/campaigns/7").header("Connection", "X-Auth-Subject, X-Auth-Tenant, x-auth-scopes");
    named.bearer(&token).send().ok();
    assert_eq!(identity_at(upstream), told);
    // In another protocol it would go on with requests that nobody asks about.
    for path in ["/campaigns/7", "/public/x"] {
        let call = client().get(path).header("Connection", "Upgrade, HTTP2-Settings").header("Upgrade", "h2c");
        call.header("HTTP2-Settings", "AAMAAABkAAQAAP__").bearer(&token).send();
        for seen in upstream.requests() {
            assert_eq!((seen.header("Upgrade"), seen.header("Connection")), (None, None), "{seen:?}");
        }
        upstream.forget();
    }
    // A name that no answer tells is not among those that a proxy replaces.
    let reply = client().get("/public/x").header("X-Auth-Assertion", "ey.J.x").send();
    assert!(reply.status == 400 || identity_at(upstream).is_empty(), "{reply:?}");
    // More than any proxy passes on, and what it passes on with its own.
    for count in [80, 93, 96, 97, 98, 99, 100, 120] {
        let call = (0..count).fold(client().get("/jwt/x"), |call, at| call.header(&format!("X-Much-{at}"), "a"));
        let status = call.send().status;
        assert!((400..=503).contains(&status), "{count}: {status}");
    }
    for size in [8_000, 15_000, 15_200, 15_300, 20_000, 40_000] {
        let status = client().get("/jwt/x").header("X-Large", "a".repeat(size)).send().status;
        assert!((400..=503).contains(&status), "{size}: {status}");
    }
    upstream.assert_untouched();
    // Nobody is proven here: whatever says who asks is a forgery.
    forged(client().get("/public/x")).send().ok();
    assert_eq!(identity_at(upstream), []);
    client().call("PUT", "/campaigns/7").header("X-API-Key", &standard.partner_key).body("hello").send().ok();
    let seen = upstream.last();
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("PUT", &b"hello"[..]));
    assert_eq!(seen.header("X-Auth-Client"), Some("partner"), "{seen:?}");
    upstream.forget();
    client()
        .call("PUT", "/campaigns/7")
        .header("X-API-Key", &standard.partner_key)
        .chunked(&["hel", "lo"], &[])
        .send()
        .ok();
    assert_eq!(upstream.only().body, b"hello");
    upstream.forget();
    client().get("/near/x").bearer(&token).send().ok();
    upstream.forget();

    for (what, token) in house.spoilt() {
        assert_eq!(client().get("/jwt/x").bearer(&token).send().status, 401, "{what}");
    }
    let challenge = client().get("/jwt/x").send().is(401);
    assert!(challenge.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")), "{challenge:?}");
    client().get("/admin/x").bearer(&token).send().is(403);
    client().call("DELETE", "/campaigns/7").bearer(&token).send().is(403);
    caller("127.0.0.3").get("/near/x").bearer(&token).send().is(403);
    // What a client says of itself counts for nothing.
    let liar = client().get("/public/x").header("X-Forwarded-For", "192.0.2.6").header("Forwarded", "for=192.0.2.6");
    liar.send().ok();
    let seen = upstream.only();
    assert_eq!((seen.header("X-Forwarded-For"), seen.header("Forwarded")), (Some("127.0.0.2"), None), "{seen:?}");
    upstream.forget();
    let liar = caller("127.0.0.3").get("/near/x").bearer(&token).header("X-Forwarded-For", "127.0.0.2");
    liar.header("Forwarded", "for=127.0.0.2").send().is(403);
    for (name, value) in [
        ("X-Forwarded-Uri", "/public/x"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Host", "other.test"),
        ("X-Original-Uri", "/public/x"),
        ("X-Original-Url", "http://api.test/public/x"),
        ("X-Original-Method", "GET"),
        ("X-Original-For", "127.0.0.2"),
    ] {
        let reply = caller("127.0.0.3").call("POST", "/admin/x").bearer(&token).header(name, value).body("x").send();
        assert!(matches!(reply.status, 400 | 403), "{name}: {reply:?}");
    }
    for target in ["/public/../admin/x", "/public/%2e%2e/admin/x", "/nowhere"] {
        let status = client().get(target).bearer(&token).send().status;
        assert!((400..=500).contains(&status), "{target}: {status}");
    }
    if shows_statuses {
        client().get("/nowhere").send().is(404);
        let statuses: Vec<_> = (0..5).map(|_| client().get("/limited/x").bearer(&token).send().status).collect();
        assert_eq!(statuses, [200, 200, 200, 429, 429]);
        assert_eq!(upstream.requests().len(), 3);
        upstream.forget();
    }
    upstream.assert_untouched();
}

#[test]
fn nginx_asks_with_the_configuration_of_the_document() {
    let house = house();
    let text = configuration("nginx", &house).replacen("listen 80;", "listen {address};", 1);
    let nginx = Nginx::start(&text);
    guards(&house, nginx.address, true);
    Caller::new(nginx.address).host("api.test").get("/_portcullis/decide").send().is(404);
}

#[test]
fn haproxy_asks_with_the_configuration_of_the_document() {
    let house = house();
    let lua = configuration("lua", &house);
    let text = configuration("haproxy", &house).replacen("bind :80", "bind {address}", 1);
    let text = text.replace("/etc/haproxy/portcullis.lua", "{directory}/portcullis.lua");
    let files = [("portcullis.lua", lua.as_str()), ("haproxy.cfg", text.as_str())];
    let front = Front::start("/usr/sbin/haproxy", &["-db", "-f", "{directory}/haproxy.cfg"], &files);
    guards(&house, front.address, true);
}

#[test]
fn haproxy_lets_nobody_through_when_its_script_fails() {
    let house = house();
    let lua = configuration("lua", &house);
    let broken = lua.replacen("local question,", "error(\"broken\")\n  local question,", 1);
    assert_ne!(broken, lua);
    let text = configuration("haproxy", &house).replacen("bind :80", "bind {address}", 1);
    let text = text.replace("/etc/haproxy/portcullis.lua", "{directory}/portcullis.lua");
    let files = [("portcullis.lua", broken.as_str()), ("haproxy.cfg", text.as_str())];
    let front = Front::start("/usr/sbin/haproxy", &["-db", "-f", "{directory}/haproxy.cfg"], &files);
    Caller::new(front.address).host("api.test").get("/public/x").send().is(503);
    house.upstream.assert_untouched();
}

#[test]
fn caddy_asks_with_the_configuration_of_the_document() {
    let house = house();
    let text = configuration("caddyfile", &house).replacen("http://:80 {", "http://:{port} {\n\tbind 127.0.0.1", 1);
    // No second listener for its own administration, and none for the names of certificates.
    let text = format!("{{\n\tadmin off\n\tauto_https off\n}}\n{text}");
    let arguments = ["run", "--adapter", "caddyfile", "--config", "{directory}/Caddyfile"];
    let front = Front::start("/usr/bin/caddy", &arguments, &[("Caddyfile", &text)]);
    guards(&house, front.address, true);
}

#[test]
fn nobody_passes_while_portcullis_is_away() {
    let house = house();
    let nginx = Nginx::start(&configuration("nginx", &house).replacen("listen 80;", "listen {address};", 1));
    let lua = configuration("lua", &house);
    let text = configuration("haproxy", &house).replacen("bind :80", "bind {address}", 1);
    let text = text.replace("/etc/haproxy/portcullis.lua", "{directory}/portcullis.lua");
    let files = [("portcullis.lua", lua.as_str()), ("haproxy.cfg", text.as_str())];
    let haproxy = Front::start("/usr/sbin/haproxy", &["-db", "-f", "{directory}/haproxy.cfg"], &files);
    let House { upstream, gateway, standard } = house;
    drop(gateway);
    for front in [nginx.address, haproxy.address] {
        for call in
            [Caller::new(front).get("/public/x"), Caller::new(front).get("/me/x").bearer(&standard.alice().sign())]
        {
            call.send().is(503);
        }
    }
    upstream.assert_untouched();
}
