//! Path, host, routing (attacks section 3.4): what decides is byte for byte what is sent on, or the request is refused.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::caller::Reply;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

fn house() -> House {
    house_with("")
}

/// The standard realm with these keys of the realm itself.
fn house_with(keys: &str) -> House {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let realm = standard.toml().replacen("[[issuers]]", &format!("{keys}\n\n[[issuers]]"), 1);
    let gateway = Gateway::builder()
        .realm_toml(&realm)
        .env(crate::support::realms::HOUSE_SECRET, &standard.secret())
        .upstream(&upstream)
        .start();
    House { upstream, standard, gateway }
}

impl House {
    /// Sends this target as it is, without a credential.
    #[track_caller]
    fn send(&self, target: impl AsRef<[u8]>) -> Reply {
        let request = [b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: api.test\r\n\r\n"].concat();
        self.gateway.caller().send_raw(request)
    }

    #[track_caller]
    fn refused(&self, target: impl AsRef<[u8]>, reason: &str) {
        let shown = String::from_utf8_lossy(target.as_ref()).into_owned();
        let reply = self.send(target);
        assert_eq!(reply.json()["code"], reason, "{shown}: {reply:?}");
        reply.denied(reason);
        self.upstream.assert_untouched();
    }

    /// The target reaches the upstream as `expected`.
    #[track_caller]
    fn forwarded_as(&self, target: &str, expected: &str) {
        let reply = self.send(target);
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        assert_eq!(self.upstream.only().target, expected);
        self.upstream.forget();
    }

    #[track_caller]
    fn forwarded(&self, target: &str) {
        self.forwarded_as(target, target);
    }

    /// 400 for something that may not even be a request; the connection ends.
    #[track_caller]
    fn bad(&self, bytes: impl AsRef<[u8]>) {
        let shown = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let reply = self.gateway.caller().send_raw(bytes);
        assert_eq!(reply.status, 400, "{shown}: {reply:?}");
        self.upstream.assert_untouched();
    }

    fn with_host_line(&self, line: &str) -> Reply {
        self.gateway.caller().send_raw(format!("GET /public/x HTTP/1.1\r\n{line}\r\n"))
    }
}

#[test]
fn h40_dot_segments_are_refused_however_they_are_written() {
    let house = house();
    for target in [
        "/public/../admin/x",
        "/public/./x",
        "/public/..",
        "/public/.",
        "/..",
        "/.",
        "/public/%2e%2e/admin/x",
        "/public/%2E%2E/admin/x",
        "/public/.%2e/admin/x",
        "/public/%2e./admin/x",
        "/public/%2E/x",
        "/public/%2e",
    ] {
        house.refused(target, "path_ambiguous");
    }
    let reply = house.send("/public/%2e%2e/admin/x");
    assert_eq!(house.gateway.why(&reply), "path_ambiguous:dot_segment");
}

#[test]
fn h40_escapes_that_are_broken_or_not_utf8_are_refused() {
    let house = house();
    for target in [
        "/public/%c0%ae%c0%ae/admin",
        "/public/%e0%80%ae",
        "/public/%f0%80%80%ae",
        "/public/%ff",
        "/public/%c3",
        "/public/%ed%a0%80",
        "/public/%u002e%u002e/admin",
        "/public/%",
        "/public/%2",
        "/public/%zz",
        "/public/%2g",
    ] {
        house.refused(target, "path_ambiguous");
    }
    for target in ["/public/\u{ff0e}\u{ff0e}/admin".as_bytes(), "/public/ä".as_bytes(), b"/public/\xff"] {
        let reply = house.send(target);
        assert_eq!(reply.status, 400, "{reply:?}");
        house.upstream.assert_untouched();
    }
}

#[test]
fn h40_what_is_escaped_twice_stays_opaque_on_both_sides() {
    let house = house();
    for target in ["/public/%252e%252e/admin", "/public/%252f", "/public/%ef%bc%8e%ef%bc%8e/admin", "/public/%c3%a4"] {
        house.forwarded(target);
    }
}

#[test]
fn h41_encoded_separators_are_refused_and_other_escapes_stay() {
    let house = house();
    for target in
        ["/public/a%2fb", "/public/a%2Fb", "/public/a%5cb", "/public/a%5Cb", "/public/a\\b", "/public/..%2fadmin"]
    {
        house.refused(target, "path_ambiguous");
    }
    for target in ["/public/a%00b", "/public/a%0d%0ab", "/public/a%1fb", "/public/a%7fb"] {
        house.refused(target, "path_ambiguous");
    }
    for target in ["/public/a%3bb", "/public/a%25b", "/public/a%3Fb", "/public/a%23b", "/public/a%20b"] {
        house.forwarded(target);
    }
}

#[test]
fn h41_a_realm_may_take_encoded_slashes() {
    let house = house_with("allow_encoded_slash = true");
    house.forwarded("/public/a%2Fb");
    house.forwarded("/public/a%2fb");
    for target in
        ["/public/..%2fadmin", "/public/a%2f..%2fb", "/public/%2e%2e%2Fadmin", "/public/a%5cb", "/public/a\\b"]
    {
        house.refused(target, "path_ambiguous");
    }
    // An encoded slash separates nothing.
    assert_eq!(house.send("/admin%2Fx").status, 404);
    assert_eq!(house.send("/public%2Fx").status, 404);
    house.upstream.assert_untouched();
}

#[test]
fn h43_path_parameters_are_refused() {
    let house = house();
    for target in ["/admin;x", "/;/admin/x", "/admin;/x", "/public;/../admin/x", "/public/a;b=c", "/public/..;/admin"] {
        house.refused(target, "path_ambiguous");
    }
}

#[test]
fn h43_where_parameters_are_taken_they_do_not_change_the_rule() {
    let house = house_with("allow_path_parameters = true");
    house.forwarded("/public/a;v=1/b");
    for target in
        ["/public/..;x/admin", "/public/..;/admin", "/public/.;x", "/public/%2e%2e;x/admin", "/public;/../admin"]
    {
        house.refused(target, "path_ambiguous");
    }
    for target in ["/admin;x", "/admin;/x", "/;/admin/x", "/jwt;x/y"] {
        let reply = house.send(target);
        assert!(matches!(reply.status, 400 | 401 | 404), "{target}: {reply:?}");
        house.upstream.assert_untouched();
    }
}

#[test]
fn h44_unreserved_characters_are_decoded_once_for_both_sides() {
    let house = house();
    house.refused("/%61dmin/x", "missing_credentials");
    house.refused("/%61%64%6d%69%6E/x", "missing_credentials");
    let token = house.standard.alice().scope("admin").sign();
    house.gateway.get("/%61dmin/%7ex%2dy").bearer(&token).send().ok();
    assert_eq!(house.upstream.only().target, "/admin/~x-y");
    house.upstream.forget();
    house.forwarded_as("/%70ublic/%41%5f%30", "/public/A_0");
}

#[test]
fn h44_paths_are_case_sensitive_and_what_is_not_declared_is_not_there() {
    let house = house();
    for target in ["/ADMIN/x", "/Admin/x", "/%41dmin/x", "/PUBLIC/x", "/", "/nothing", "/publicx"] {
        house.refused(target, "no_route");
    }
    house.refused("/Admin%2Fx", "path_ambiguous");
}

#[test]
fn h44_empty_segments_are_refused() {
    let house = house();
    for target in ["//admin/x", "/public//x", "//", "/public/x//", "///public/x"] {
        house.refused(target, "path_ambiguous");
    }
    house.forwarded("/public/x/");
    house.forwarded("/public/");
    house.forwarded("/public");
}

#[test]
fn h46_only_the_path_is_matched() {
    let house = house();
    house.refused("/admin/x?/public", "missing_credentials");
    house.refused("/admin/x?x=/public/../public", "missing_credentials");
    house.forwarded("/public/x?../admin");
    house.forwarded("/public/x?a=/admin&b=%2e%2e%2f");
    house.forwarded("/public/x??");
    house.forwarded("/public/x?");
    house.refused("/admin%3f/public", "no_route");
    for target in ["/admin/x#/public", "/public/x#", "/public/x?a#b"] {
        let reply = house.send(target);
        assert_eq!(reply.status, 400, "{target}: {reply:?}");
        house.upstream.assert_untouched();
    }
}

#[test]
fn h47_targets_that_are_no_path_are_refused() {
    let house = house();
    for target in [
        "http://other.test/public/x",
        "https://other.test/public/x",
        "http:/\\other/public/x",
        "http://u@api.test/public/x",
        "http://u:p@other.test/public/x",
        "public/x",
        "*",
        "",
        "?/public/x",
        "api.test:80",
    ] {
        house.bad(format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
    }
    house.bad("OPTIONS */x HTTP/1.1\r\nHost: api.test\r\n\r\n");
    house.bad("GET /public/a b HTTP/1.1\r\nHost: api.test\r\n\r\n");
    house.bad("GET  /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
    house.bad("GET /public/\0x HTTP/1.1\r\nHost: api.test\r\n\r\n");
    house.forwarded("/public/x");
}

#[test]
fn h47_trace_and_connect_are_never_served() {
    let house = house();
    for method in ["TRACE", "CONNECT"] {
        let reply = house.gateway.call(method, "/public/x").send();
        assert_eq!(reply.status, 405, "{method}: {reply:?}");
        house.upstream.assert_untouched();
    }
}

#[test]
fn h49_a_host_that_is_missing_or_ambiguous_is_refused() {
    let house = house();
    for lines in [
        "",
        "Host:\r\n",
        "Host: api.test\r\nHost: api.test\r\n",
        "Host: api.test\r\nHost: other.test\r\n",
        "Host: api.test,other.test\r\n",
        "Host: api.test, api.test\r\n",
        "Host: api.test/x\r\n",
        "Host: api.test x\r\n",
        "Host: u@api.test\r\n",
        "Host: api.test:x\r\n",
        "Host: api.test:99999\r\n",
        "Host: api\0.test\r\n",
        "Host: äpi.test\r\n",
        "Host: [::1\r\n",
    ] {
        let reply = house.with_host_line(lines);
        assert_eq!(reply.status, 400, "{lines:?}: {reply:?}");
        house.upstream.assert_untouched();
    }
}

#[test]
fn h49_hosts_are_compared_without_case_port_and_one_dot() {
    let house = house();
    for host in ["api.test", "API.Test", "api.test.", "api.test:8080", "API.TEST.:80"] {
        house.with_host_line(&format!("Host: {host}\r\n")).ok();
    }
}

#[test]
fn h49_there_is_no_default_realm() {
    let house = house();
    for host in
        ["other.test", "api.test.other", "xapi.test", "test", "[::1]", "127.0.0.1", "xn--pi-uia.test", "sub.api.test"]
    {
        house.with_host_line(&format!("Host: {host}\r\n")).denied("unknown_host");
        house.upstream.assert_untouched();
    }
    let reply = house.with_host_line("Host: api.test..\r\n");
    assert!(matches!(reply.status, 400 | 404), "{reply:?}");
    house.upstream.assert_untouched();
}

#[test]
fn h49_hundreds_of_hosts_are_told_apart() {
    let upstream = Upstream::start();
    let realm = |name: &str, hosts: &str| {
        format!(
            "realm = \"{name}\"\nhosts = [{hosts}]\nupstream = \"http://{{upstream}}\"\n\n[[routes]]\nname = \"all\"\n\
             path = \"/{name}/**\"\nauth = [\"public\"]\n"
        )
    };
    let many: Vec<_> = (0..300).map(|n| format!("\"h{n}.many.test\"")).collect();
    let gateway = Gateway::builder()
        .realm_toml(&realm("many", &many.join(", ")))
        .realm_toml(&realm("wild", "\"*.many.test\""))
        .realm_toml(&realm("one", "\"many.test\""))
        .upstream(&upstream)
        .start();
    let status = |host: &str, realm: &str| gateway.get(&format!("/{realm}/x")).host(host).send().status;
    for n in [0, 100, 101, 150, 255, 256, 299] {
        assert_eq!(status(&format!("h{n}.many.test"), "many"), 200);
    }
    // An exact name beats the wildcard, which stands for one label.
    assert_eq!((status("h7.many.test", "wild"), status("h300.many.test", "wild")), (404, 200));
    assert_eq!((status("a.b.many.test", "wild"), status("many.test", "one")), (404, 200));
}

#[test]
fn h52_a_target_may_be_as_long_as_configured_and_no_longer() {
    let house = house();
    let target = |length: usize| format!("/public/{}", "a".repeat(length - "/public/".len()));
    house.forwarded(&target(8 * 1024));
    house.refused(target(8 * 1024 + 1), "uri_too_long");
    let query = |length: usize| format!("/public/?{}", "a".repeat(length - "/public/?".len()));
    house.forwarded(&query(8 * 1024));
    house.refused(query(8 * 1024 + 1), "uri_too_long");
    for kib in [64, 1000] {
        let request = house.gateway.get(&target(kib * 1024)).bytes();
        // Whoever refuses early may cut the rest off, answer included.
        if let Some(reply) = house.gateway.caller().try_send_raw(request) {
            assert!(matches!(reply.status, 414 | 431), "{kib} KiB: {reply:?}");
        }
        house.upstream.assert_untouched();
    }
}

#[test]
fn h52_header_fields_are_bounded_in_number_and_size() {
    let house = house();
    let many = |count: usize| {
        (0..count).fold(house.gateway.get("/public/x"), |call, n| call.header(&format!("X-N-{n}"), "1")).send()
    };
    many(50).ok();
    house.upstream.forget();
    for count in [257, 500] {
        let reply = many(count);
        assert_eq!(reply.status, 431, "{count} fields: {reply:?}");
        house.upstream.assert_untouched();
    }
    house.gateway.get("/public/x").header("X-Big", "a".repeat(30 * 1024)).send().ok();
    house.upstream.forget();
    let reply = house.gateway.get("/public/x").header("X-Big", "a".repeat(33 * 1024)).send();
    assert_eq!(reply.status, 431, "{reply:?}");
    for size in [64 * 1024, 1024 * 1024] {
        let request = house.gateway.get("/public/x").header("X-Big", "a".repeat(size)).bytes();
        if let Some(reply) = house.gateway.caller().try_send_raw(request) {
            assert_eq!(reply.status, 431, "{size} bytes: {reply:?}");
        }
    }
    house.upstream.assert_untouched();
    house.forwarded("/public/x");
}

/// The path after its unreserved characters were decoded once: what both sides are to use.
fn decoded_once(path: &str) -> String {
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let escape = rest.get(1..3).filter(|_| c == '%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape.map(char::from) {
            Some(plain) if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => {
                decoded.push(plain);
                rest = &rest[3..];
            }
            _ => {
                decoded.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    decoded
}

/// What the most careless upstream makes of a path: parameters cut, everything decoded, backslashes turned, empty and
/// dot segments resolved.
fn as_read_by_a_careless_upstream(path: &str) -> String {
    let cut: Vec<_> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    let cut = cut.join("/");
    let mut bytes = Vec::new();
    let mut rest = cut.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_lowercase()),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn whatever_the_path_the_rule_and_the_upstream_see_the_same_bytes() {
    let house = house();
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["public", "admin", "Admin", "a", "x.y", "~", "-_"]).prop_map(str::to_owned),
        3 => Just("/".to_owned()),
        2 => prop::sample::select(vec![".", "..", "%2e", "%2E%2e", "%2f", "%5c", "%61", "%41", "%25", "%252e", "%3b",
            "%00", "%c0%ae", "%c3%a4", "%ff", "%", "%u", ";", "\\", "//", "+", "@", ":", "%7e", "%2d"])
            .prop_map(str::to_owned),
        1 => "[!-~&&[^#? ]]".prop_map(|c| c),
    ];
    let path = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    let prefix = prop::sample::select(vec!["/public/", "/", "/public", "/admin/", "/%70ublic/"]);
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let connection = RefCell::new(house.gateway.caller().connect());
    let forwarded = Cell::new(0);
    TestRunner::new(config)
        .run(&(prefix, path), |(prefix, path)| {
            let target = format!("{prefix}{path}");
            house.upstream.forget();
            let request = format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n\r\n");
            let reply = connection.borrow_mut().try_send_raw(request);
            if reply.as_ref().is_none_or(Reply::says_close) {
                connection.replace(house.gateway.caller().connect());
            }
            let Some(reply) = reply else {
                house.upstream.assert_untouched();
                return Ok(());
            };
            if reply.status == 200 {
                forwarded.set(forwarded.get() + 1);
                let seen = house.upstream.only().target;
                prop_assert_eq!(&seen, &decoded_once(&target));
                let read = as_read_by_a_careless_upstream(&seen);
                prop_assert!(read == "/public" || read.starts_with("/public/"), "{} is read as {}", seen, read);
            } else {
                prop_assert!(matches!(reply.status, 400 | 401 | 404), "{}: {:?}", target, reply);
                house.upstream.assert_untouched();
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let forwarded = forwarded.get();
    assert!(forwarded > 20, "the paths were too wild to prove anything: {forwarded} were forwarded");
}

#[test]
fn the_careless_upstream_of_these_tests_is_careless() {
    for (path, read) in [
        ("/public/%2e%2e/admin", "/admin"),
        ("/public/..;x/Admin", "/admin"),
        ("/public\\..\\admin", "/admin"),
        ("//public/./a", "/public/a"),
        ("/public/%252e", "/public/%2e"),
    ] {
        assert_eq!(as_read_by_a_careless_upstream(path), read);
    }
    assert_eq!(decoded_once("/%61%2f%7E%252e%zz%4"), "/a%2f~%252e%zz%4");
}
