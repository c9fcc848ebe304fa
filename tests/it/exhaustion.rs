//! Exhaustion and leakage (attacks H-52, H-61, H-64): bounds are exact, slow clients are ended and stop nobody else, refusals
//! tell nothing, and whatever happens to a request, it is written down exactly once.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::clock::Stopwatch;

use crate::support::caller::{Connection, Reply};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::{Respond, Upstream};

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

/// The standard realm with these keys in `[server]`, and a route `/slow/**` that waits 300 ms.
fn house(server: &str) -> House {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let slow = "\n[[routes]]\nname = \"slow\"\npath = \"/slow/**\"\nauth = [\"public\"]\n\
                timeouts = { read = \"300ms\", write = \"300ms\" }\n";
    let gateway = Gateway::builder().standard_with(&standard, slow).server_toml(server).upstream(&upstream).start();
    House { upstream, standard, gateway }
}

impl House {
    fn connect(&self) -> Connection {
        self.gateway.caller().connect()
    }

    #[track_caller]
    fn answer_to(&self, bytes: impl AsRef<[u8]>) -> u16 {
        let reply = self.gateway.caller().send_raw(bytes);
        assert_eq!(reply.status == 200, !reply.says_close(), "{reply:?}");
        reply.status
    }
}

fn with_target(length: usize) -> String {
    let path = "/public/";
    format!("GET {path}{} HTTP/1.1\r\nHost: api.test\r\n\r\n", "x".repeat(length - path.len()))
}

/// A request whose header lines have so many bytes in all, line ends included.
fn with_headers(bytes: usize) -> String {
    let host = "Host: api.test\r\n";
    format!("GET /public/x HTTP/1.1\r\n{host}X: {}\r\n\r\n", "y".repeat(bytes - host.len() - 5))
}

fn with_lines(count: usize) -> String {
    format!("GET /public/x HTTP/1.1\r\nHost: api.test\r\n{}\r\n", "X: y\r\n".repeat(count - 1))
}

#[test]
fn h52_heads_are_bounded_to_the_byte() {
    let house = house("max_target = \"1KiB\"\nmax_headers = \"4KiB\"\n");
    assert_eq!([1024, 1025].map(|length| house.answer_to(with_target(length))), [200, 414]);
    assert_eq!([4096, 4097].map(|bytes| house.answer_to(with_headers(bytes))), [200, 431]);
    assert_eq!([100, 101, 257].map(|count| house.answer_to(with_lines(count))), [200, 431, 431]);
    // A query counts too.
    assert_eq!(house.answer_to(with_target(1024).replacen("xx", "x?", 1)), 200);
    assert_eq!(house.answer_to(with_target(1025).replacen("xx", "x?", 1)), 414);
    let reply = house.gateway.caller().send_raw(with_target(1025));
    assert_eq!(house.gateway.line_of(&reply)["reason"], "uri_too_long");
    reply.denied("uri_too_long");
    house.gateway.caller().send_raw(with_headers(4097)).denied("headers_too_large");
}

#[test]
fn h52_heads_far_beyond_the_bounds_are_refused_without_being_read_to_their_end() {
    let house = house("");
    assert_eq!([8 << 10, 64 << 10, 1000 << 10].map(|length| house.answer_to(with_target(length))), [200, 414, 414]);
    assert_eq!([32 << 10, 64 << 10, 1 << 20].map(|bytes| house.answer_to(with_headers(bytes))), [200, 431, 431]);
    assert_eq!(house.answer_to(with_lines(100_000)), 431);
    assert_eq!(house.upstream.requests().len(), 2);
    // Nobody waits for an end that does not come.
    for endless in ["G".to_owned(), "GET /".to_owned(), "GET /public/x HTTP/1.1\r\nX: ".to_owned()] {
        let mut connection = house.connect();
        connection.write(endless + &"z".repeat(40 << 10));
        let status = connection.read_reply(false).expect("an answer").status;
        assert!(matches!(status, 414 | 431), "{status}");
    }
    // Limits are read with every request: a reload changes them.
    house.gateway.get("/public/x").send().ok();
}

#[test]
fn h61_a_head_must_be_complete_in_time_on_every_request_of_a_connection() {
    let house = house("header_timeout = \"300ms\"\n");
    for used in [false, true] {
        let mut connection = house.connect();
        if used {
            house.gateway.get("/public/x").send_on(&mut connection).ok();
        }
        let watch = Stopwatch::start();
        let slow = with_headers(1000);
        for byte in slow.as_bytes().chunks(1) {
            connection.write(byte);
            std::thread::sleep(Duration::from_millis(10));
            if watch.elapsed() > Duration::from_millis(400) {
                break;
            }
        }
        let reply = connection.read_reply(false).expect("an answer");
        assert!(reply.says_close());
        assert_eq!(house.gateway.line_of(&reply)["reason"], "request_timeout");
        reply.denied("request_timeout");
        connection.assert_closed();
        assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    }
}

#[test]
fn h61_an_idle_connection_ends_without_a_word() {
    let house = house("idle_timeout = \"200ms\"\n");
    let mut unused = house.connect();
    let mut used = house.connect();
    house.gateway.get("/public/x").send_on(&mut used).ok();
    unused.assert_closed();
    used.assert_closed();
    assert_eq!(house.gateway.log().lines().len(), 1);
}

#[test]
fn h61_a_body_that_stops_or_trickles_is_ended() {
    let house = house("");
    let head = "POST /slow/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000\r\n\r\n";
    let chunked = "POST /slow/x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (start, piece) in [(head, ""), (head, "x"), (chunked, ""), (chunked, "1\r\nx\r\n")] {
        let mut connection = house.connect();
        connection.write(start);
        let watch = Stopwatch::start();
        while !piece.is_empty() && watch.elapsed() < Duration::from_millis(600) {
            connection.write(piece);
            std::thread::sleep(Duration::from_millis(20));
        }
        let reply = connection.read_reply(false).expect("an answer");
        assert!(
            reply.says_close() && watch.elapsed() < Duration::from_secs(5),
            "{start} {piece}: {:?}",
            watch.elapsed()
        );
        assert_eq!(house.gateway.line_of(&reply)["reason"], "request_timeout");
        reply.denied("request_timeout");
    }
    assert!(house.upstream.requests().is_empty());
    // Steadily and fast enough, it may take longer than any one timeout.
    let mut connection = house.connect();
    connection.write("POST /slow/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 40000\r\n\r\n");
    for _ in 0..40 {
        connection.write([b'x'; 1000]);
        std::thread::sleep(Duration::from_millis(15));
    }
    connection.read_reply(false).expect("an answer").ok();
}

/// How many connections this process may still open, ours and the gateway's end of each.
fn affordable(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let soft = line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024);
    wanted.min(usize::saturating_sub(soft, 400) / 2)
}

#[test]
fn h61_a_thousand_that_do_not_go_on_stop_nobody_else() {
    let house = house("");
    let token = house.standard.alice().sign();
    let starts = [
        "",
        "GET /public/x HTT",
        "POST /public/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100\r\n\r\nabc",
        "POST /admin/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100\r\n\r\nabc",
    ];
    let waiting: Vec<_> = (0..affordable(1000))
        .map(|n| {
            let mut connection = house.connect();
            connection.write(starts[n % starts.len()]);
            connection
        })
        .collect();
    let watch = Stopwatch::start();
    for _ in 0..20 {
        house.gateway.get("/jwt/x").bearer(&token).send().ok();
        house.gateway.get("/admin/x").send().denied("missing_credentials");
    }
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    drop(waiting);
    house.gateway.get("/jwt/x").bearer(&token).send().ok();
}

#[test]
fn h64_refusals_repeat_nothing_and_are_not_kept() {
    let house = house("");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n\r\n");
    let nasty = [
        "/<script>alert(1)</script>",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/\"onmouseover=alert(1)",
        "/%22%27%0d%0aX-Injected:1",
        "/admin/'--\\",
        "/admin/{{7*7}}${7*7}",
        "/%00",
        "/admin/x?alert=<script>",
        "/admin/x?a=%3Cscript%3E",
        "/public/%2e%2e/alert",
    ];
    let mut replies: Vec<(u16, Reply)> = Vec::new();
    for target in nasty {
        let reply = house.gateway.caller().send_raw(get(target));
        let body = reply.text().to_ascii_lowercase();
        for echoed in ["script", "alert", "<", "onmouse", "injected", "7*7", "\\u003c", "127.0.0.1", "pingora"] {
            assert!(!body.contains(echoed), "{target}: {reply:?}");
        }
        assert_eq!(reply.header("x-injected"), None);
        replies.push((reply.status, reply));
    }
    let bad = house.standard.alice().claim("aud", "other").sign();
    let call = |method: &str, target: &str| house.gateway.call(method, target);
    for (status, reply) in [
        (400, call("GET", "/public/x").host("a,b").send()),
        (401, call("GET", "/jwt/x").bearer(&bad).send()),
        (401, call("GET", "/jwt/x").bearer("<script>alert(1)</script>").send()),
        (403, call("GET", "/admin/x").bearer(&house.standard.alice().sign()).send()),
        (404, call("GET", "/nowhere").send()),
        (400, call("GET", "/public/x").host("<script>.test").send()),
        (405, call("TRACE", "/public/x").send()),
        (405, house.gateway.caller().send_raw("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")),
        (413, call("POST", "/public/x").header("Content-Length", "99999999999").send()),
        (414, house.gateway.caller().send_raw(with_target(100_000))),
        (431, house.gateway.caller().send_raw(with_headers(100_000))),
    ] {
        assert!(!reply.text().contains("script"), "{reply:?}");
        replies.push((status, reply));
    }
    house.upstream.respond(Respond::Close);
    replies.push((502, call("GET", "/public/x").send()));
    house.upstream.respond(Respond::Hold);
    replies.push((504, call("GET", "/slow/x").send()));
    house.upstream.release();
    for (status, reply) in replies {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        assert_eq!((reply.header("server"), reply.header("via")), (None, None), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
        assert!(reply.header("date").is_some() && !reply.request_id().is_empty(), "{reply:?}");
    }
}

/// What a client can do to one request or several, and how many lines the log has for it.
fn deeds(house: &House, n: usize) -> usize {
    let good = "GET /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let refused = "GET /admin/x HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let upgrade = "GET /public/ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut connection = house.connect();
    let mut writer = connection.split();
    let mut answers = |bytes: &str, count: usize| {
        connection.write(bytes);
        for _ in 0..count {
            assert!(connection.read_reply(false).is_some(), "{n}: {bytes}");
        }
        count
    };
    match n % 14 {
        0 => answers(good, 1),
        1 => answers(refused, 1),
        2 => answers(&format!("{good}{refused}{good}"), 3),
        3 => answers(&format!("{good}GET / HTTP/9\r\n\r\n{good}"), 2),
        // Nothing, and half a head: no request.
        4 => answers("", 0),
        5 => answers("GET /public/x HTTP/1.1\r\nHost: ap", 0),
        // The client leaves before the answer, within a body, within an answer's beginning.
        6 => 1 + answers(good, 0),
        7 => 1 + answers("POST /public/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nabc", 0),
        8 => 1 + answers("POST /admin/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nabc", 0),
        9 => 1 + answers("POST /public/x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 0),
        10 => answers("POST /public/x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\nxyz", 1),
        11 => answers(upgrade, 1),
        12 => {
            writer.write(format!("{good}{refused}"));
            writer.finish();
            answers("", 2)
        }
        _ => answers("POST /admin/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99999\r\n\r\n", 1),
    }
}

#[test]
fn every_request_of_a_storm_is_written_down_exactly_once() {
    let house = house("");
    house.upstream.respond(Respond::WebSocket);
    let expected: usize = std::thread::scope(|scope| {
        let house = &house;
        let clients: Vec<_> = (0..8)
            .map(|client| scope.spawn(move || (0..84).map(|n| deeds(house, n + client)).sum::<usize>()))
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    let lines = eventually("all requests are written down", || {
        let lines = house.gateway.log().lines();
        assert!(lines.len() <= expected, "{} lines for {expected} requests", lines.len());
        (lines.len() == expected).then_some(lines)
    });
    let ids: HashSet<_> = lines.iter().map(|line| line["request_id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), expected);
    let counted = eventually("all requests are counted", || {
        let counted = house.gateway.metric("portcullis_requests_total", &[]);
        (counted >= f64::from(u32::try_from(expected).expect("few"))).then_some(counted)
    });
    assert!((counted - f64::from(u32::try_from(expected).expect("few"))).abs() < 0.5, "{counted}");
    assert!(lines.iter().all(|line| line["reason"] != "internal"));
    house.gateway.get("/public/x").send().ok();
}
