//! A connection was made for one host, and a request over it asks for another (RFC 9110 section 15.5.20).

use super::{gateway, realm};
use crate::support::gateway::Gateway;
use crate::support::tls::{Authority, TlsCaller};
use crate::support::upstream::Upstream;

/// Realms for `api.test` and `www.api.test`, for `other.test`, and a certificate for all of them.
fn two_realms(upstream: &Upstream, rest: &str) -> Gateway {
    let pair = Authority::new("one").server(&["api.test", "www.api.test", "other.test", "nobody.test", "any.test"]);
    let builder = gateway(upstream, &[&pair], "");
    let builder = builder
        .realm_toml(&realm("other", "\"other.test\""))
        .realm_toml(&realm("more", "\"www.api.test\", \"alias.test\""));
    if rest.is_empty() { builder.start() } else { builder.realm_toml(&realm("rest", rest)).start() }
}

#[test]
fn h50_a_request_for_another_realm_than_its_connection_is_misdirected() {
    let upstream = Upstream::start();
    let gw = two_realms(&upstream, "");
    let caller = TlsCaller::new(gw.addr());
    for (named, host, status) in [
        ("api.test", "api.test", 200),
        ("api.test", "API.test.:443", 200),
        ("API.test", "api.test:8443", 200),
        ("api.test", "other.test", 421),
        ("other.test", "api.test", 421),
        ("other.test", "other.test", 200),
        ("www.api.test", "api.test", 421),
        // Another host of the same realm.
        ("www.api.test", "alias.test", 200),
        ("alias.test", "www.api.test", 200),
        // A name of nobody's and no name tell nothing: the host is judged as it is.
        ("nobody.test", "api.test", 200),
        ("127.0.0.1", "other.test", 200),
        ("127.0.0.1", "unknown.test", 404),
        ("nobody.test", "unknown.test", 404),
        // The client may have better luck with another connection.
        ("api.test", "unknown.test", 421),
        ("api.test", "not a host", 400),
    ] {
        assert_eq!(caller.get(named, host, "/x").expect("an answer"), status, "{named} -> {host}");
    }
}

#[test]
fn it_is_told_in_the_body_and_the_connection_serves_on() {
    let upstream = Upstream::start();
    let gw = two_realms(&upstream, "");
    let mut connection = TlsCaller::new(gw.addr()).connect("api.test").expect("a connection");
    let answer = connection.get("other.test", "/x").expect("an answer");
    assert_eq!(answer.status, 421);
    assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
    assert!(answer.body.contains("\"code\":\"misdirected_request\""), "{}", answer.body);
    assert!(!answer.body.contains("api"), "no realm is named: {}", answer.body);
    upstream.assert_untouched();
    assert_eq!(connection.get("api.test", "/x").expect("an answer").status, 200);
    gw.metric_becomes("portcullis_denials_total", &[("realm", "-"), ("reason", "misdirected_request")], 1.0);
}

#[test]
fn a_realm_for_all_other_hosts_is_a_realm_like_any_other() {
    let upstream = Upstream::start();
    let gw = two_realms(&upstream, "\"*\"");
    let caller = TlsCaller::new(gw.addr());
    for (named, host, status) in [
        ("any.test", "some.test", 200),
        ("any.test", "api.test", 421),
        ("api.test", "some.test", 421),
        ("127.0.0.1", "api.test", 200),
    ] {
        assert_eq!(caller.get(named, host, "/x").expect("an answer"), status, "{named} -> {host}");
    }
}

#[test]
fn http_2_is_judged_alike() {
    let upstream = Upstream::start();
    let gw = two_realms(&upstream, "");
    let port = gw.addr().port();
    let ask = |host: &str| {
        let told = std::process::Command::new("curl")
            .args([
                "-sS",
                "-k",
                "--http2",
                "--max-time",
                "20",
                "--noproxy",
                "*",
                "-o",
                "/dev/null",
                "-w",
                "%{http_version} %{http_code}",
            ])
            .args(["--resolve", &format!("api.test:{port}:127.0.0.1"), "-H", &format!("Host: {host}")])
            .arg(format!("https://api.test:{port}/x"))
            .output()
            .expect("curl can be run");
        String::from_utf8(told.stdout).expect("ASCII")
    };
    assert_eq!(ask("api.test"), "2 200");
    assert_eq!(ask("other.test"), "2 421");
}
