//! Good and bad requests: what the strict check of HTTP/1 guarantees is guaranteed here.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;

use super::frames::{self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block, frame, request};
use super::{Client, call, get, give, house, house_with, read, with};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::{Respond, Upstream};

const PROTOCOL_ERROR: u32 = 1;
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_of_both_versions_are_served_on_one_listener() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let token = house.standard.alice().sign();
    let asked = with(get("/me/x?y=1"), "authorization", &format!("Bearer {token}"));
    let answer = client.ask(asked).await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, JSON));
    let seen = house.upstream.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.version.as_str()), ("GET", "/me/x?y=1", "HTTP/1.1"));
    assert_eq!(seen.header("host"), Some("api.test"));
    assert_eq!(seen.header("x-forwarded-host"), Some("api.test"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("authorization"), None);
    let line = house.gateway.log().line_for(answer.header("x-request-id"));
    assert_eq!((line["http_version"].as_str(), line["status"].as_u64()), (Some("2"), Some(200)));
    house.gateway.get("/public/x").send().is(200);
    let body = Bytes::from(vec![b'x'; 2_000_000]);
    let answer = client.send(call("POST", "/public/up"), Some(body)).await.unwrap();
    assert_eq!((answer.status, house.upstream.last().body.len()), (200, 2_000_000));
    let answer = client.ask(call("HEAD", "/public/x")).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[test]
fn h14_without_the_key_the_preface_is_no_request() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let gateway = Gateway::standard(&standard, &upstream);
    let reply = gateway.caller().send_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(reply.status, 400);
    upstream.assert_untouched();
}

#[test]
fn curl_is_served() {
    let house = house();
    let url = format!("http://{}/public/x", house.gateway.addr());
    let out = |arguments: &[&str]| {
        let curl =
            Command::new("curl").args(["-sS", "--max-time", "10", "-H", "Host: api.test"]).args(arguments).output();
        let output = curl.expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
    assert_eq!(out(&[&["--http2-prior-knowledge", &url], &told[..]].concat()), "2 200");
    assert_eq!(out(&[&["--http2-prior-knowledge", "-d", "a=b", &url], &told[..]].concat()), "2 200");
    assert_eq!(out(&[&["--http1.1", &url], &told[..]].concat()), "1.1 200");
    // An upgrade to h2c is not made: it is answered as the request that it is.
    assert_eq!(out(&[&["--http2", &url], &told[..]].concat()), "1.1 200");
}

/// Sends a request with this header block; the status or the code of the reset, and the upstream is not touched.
fn refused(house: &super::House, head: &[u8]) -> Result<String, u32> {
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head));
    let answer = loop {
        let received = frames.next().expect("the connection goes on");
        match received.kind {
            HEADERS => break Ok(status(&received.payload)),
            frames::RST_STREAM => break Err(received.code()),
            _ => {}
        }
    };
    house.upstream.assert_untouched();
    frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, request("/public/next", &[])));
    assert_eq!(status(&frames.until(HEADERS).payload), "200", "one bad request ends nothing else");
    house.upstream.forget();
    answer
}

/// The status is the first field; a decoder for the rest is not needed.
fn status(block: &[u8]) -> String {
    match block.first() {
        Some(0x88) => "200".into(),
        Some(0x8c) => "400".into(),
        Some(0x8d) => "404".into(),
        _ => {
            let mut decoded = Vec::new();
            let text = &block[1..];
            // `:status` literally, by the index of its name: a length, and digits perhaps in Huffman coding.
            let coded = text.first().is_some_and(|first| first & 128 != 0);
            let length = usize::from(text[0] & 127);
            if coded {
                huffman_digits(&text[1..=length], &mut decoded)
            } else {
                decoded.extend(&text[1..=length])
            }
            String::from_utf8(decoded).expect("digits")
        }
    }
}

/// Digits in Huffman coding: five bits for 0, 1 and 2, six for the others (RFC 7541 appendix B).
fn huffman_digits(bytes: &[u8], decoded: &mut Vec<u8>) {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let mut rest = bits.as_slice();
    while decoded.len() < 3 {
        let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
        let short = number(&rest[..5]);
        let (digit, used) = if short < 3 { (short, 5) } else { (number(&rest[..6]) - 0x19 + 3, 6) };
        decoded.push(b'0' + digit);
        rest = &rest[used..];
    }
}

#[test]
fn h23_what_a_request_is_for_is_said_in_one_way() {
    let house = house();
    let pseudo = |method, scheme, authority, path| {
        let fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
        block(&fields.into_iter().filter(|(_, value)| *value != "-").collect::<Vec<_>>())
    };
    let and = |head: Vec<u8>, name, value| [head, frames::field(name, value)].concat();
    let plain = || pseudo("GET", "http", "api.test", "/public/x");
    for (head, status) in [
        (and(plain(), "host", "other.test"), "400"),
        (and(and(plain(), "host", "api.test"), "host", "api.test"), "400"),
        (pseudo("GET", "http", "-", "/public/x"), "400"),
        (pseudo("GET", "http", "user@api.test", "/public/x"), "400"),
        (pseudo("GET", "http", "api.test", "*"), "400"),
        (pseudo("OPTIONS", "http", "api.test", "*"), "400"),
        (pseudo("GET", "http", "api.test", "/public/a\\b"), "400"),
        (pseudo("GET", "http", "api.test", "/public/../admin/x"), "400"),
        (pseudo("CONNECT", "-", "api.test:443", "-"), "405"),
        (and(plain(), "authorization", " Bearer x"), "400"),
    ] {
        assert_eq!(refused(&house, &head).as_deref(), Ok(status), "{}", head.escape_ascii());
    }
    for head in [
        pseudo("GET", "http", "api.test", ""),
        pseudo("GET", "http", "api.test", "-"),
        pseudo("GET", "http", "api.test", "http://api.test/public/x"),
        pseudo("GET", "-", "api.test", "/public/x"),
        pseudo("GET", "http", "api.test", "/public/a b"),
        pseudo("-", "http", "api.test", "/public/x"),
        and(plain(), ":path", "/admin/x"),
        and(pseudo("CONNECT", "http", "api.test", "/public/x"), ":protocol", "websocket"),
        and(plain(), "connection", "x-auth-subject"),
        and(plain(), "transfer-encoding", "chunked"),
        and(plain(), "upgrade", "websocket"),
        and(plain(), "keep-alive", "timeout=5"),
        and(plain(), "proxy-connection", "keep-alive"),
        and(plain(), "te", "gzip"),
        and(plain(), "content-length", "5"),
        and(and(plain(), "content-length", "5"), "content-length", "6"),
    ] {
        assert_eq!(refused(&house, &head), Err(PROTOCOL_ERROR), "{}", head.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h23_the_scheme_of_a_request_grants_nothing() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let mut request = with(get("/public/x"), "te", "trailers");
    *request.uri_mut() = "https://api.test/public/x".parse().unwrap();
    assert_eq!(client.ask(request).await.unwrap().status, 200);
    let seen = house.upstream.only();
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("te")), (Some("http"), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h65_only_a_trusted_front_says_that_a_request_may_be_a_replay() {
    for (trusted, seen) in [("", None), ("trusted_proxies = [\"127.0.0.1\"]\n", Some("1"))] {
        let house = house_with(trusted);
        let mut client = Client::connect(house.gateway.addr()).await;
        assert_eq!(client.ask(with(get("/public/x"), "early-data", "1")).await.unwrap().status, 200);
        assert_eq!(house.upstream.only().header("early-data"), seen);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h52_heads_have_the_bounds_of_http_1() {
    let house = house_with("max_target = \"1KiB\"\nmax_headers = \"4KiB\"\n");
    let mut client = Client::connect(house.gateway.addr()).await;
    let target = |length: usize| format!("/public/{}", "x".repeat(length - "/public/".len()));
    for (length, status) in [(1024, 200), (1025, 414)] {
        let answer = client.ask(get(&target(length))).await.unwrap();
        assert_eq!(answer.status, status);
        if status != 200 {
            let line = house.gateway.log().line_for(answer.header("x-request-id"));
            assert_eq!((line["reason"].as_str(), line["http_version"].as_str()), (Some("uri_too_long"), Some("2")));
        }
    }
    for (bytes, status) in [(4096, 200), (4097, 431), (40_000, 431)] {
        let request = with(get("/public/x"), "x", &"y".repeat(bytes - 5));
        assert_eq!(client.ask(request).await.unwrap().status, status, "{bytes}");
    }
    for (count, status) in [(100, 200), (101, 431)] {
        let request = (0..count).fold(get("/public/x"), |request, _| with(request, "x", "y"));
        assert_eq!(client.ask(request).await.unwrap().status, status, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pieces_of_a_cookie_are_judged_and_forwarded_as_one() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let session = format!("session={}", house.standard.alice().sign());
    let crumbs = |pieces: &[&str]| pieces.iter().fold(get("/query/x"), |request, piece| with(request, "cookie", piece));
    let answer = client.ask(crumbs(&["a=b", &session, "c=d; e=f"])).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(house.upstream.only().header("cookie"), Some("a=b; c=d; e=f"));
    house.upstream.forget();
    assert_eq!(client.ask(crumbs(&[&session, "a=b", &session])).await.unwrap().status, 400);
    assert_eq!(client.ask(crumbs(&["a=b", "session=x"])).await.unwrap().status, 401);
    house.upstream.assert_untouched();
}

#[test]
fn h07_trailers_of_a_request_go_nowhere() {
    let house = house();
    for trailers in [
        &[("authorization", "Bearer x"), ("x-auth-subject", "root"), ("host", "other.test"), ("content-length", "9")][..],
        &[(":path", "/admin/x"), ("x-auth-subject", "root")],
    ] {
        let mut frames = Frames::hello(house.gateway.addr(), &[]);
        frames.send(frame(HEADERS, END_HEADERS, 1, request("/optional/x", &[])));
        frames.send(frame(DATA, 0, 1, b"body"));
        frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(trailers)));
        let answer = loop {
            let received = frames.next().expect("the connection goes on");
            match received.kind {
                HEADERS => break status(&received.payload),
                frames::RST_STREAM => break "reset".into(),
                _ => {}
            }
        };
        assert!(["200", "reset"].contains(&answer.as_str()), "{answer}");
        for seen in house.upstream.requests() {
            assert_eq!((seen.target.as_str(), &seen.body[..]), ("/optional/x", &b"body"[..]));
            assert!(seen.aliases("x-auth-subject").is_empty() && seen.header("authorization").is_none());
            assert_eq!(seen.header("host"), Some("api.test"));
            assert!(seen.trailers.is_empty(), "{seen:?}");
        }
        house.upstream.forget();
    }
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_reaches_nobody_whole() {
    let house = house();
    for parts in [&[&b"123"[..]][..], &[b"123456"], &[b"123", b"456"]] {
        let mut frames = Frames::hello(house.gateway.addr(), &[]);
        let head = request("/public/x", &[("content-length", "5")]);
        frames.send(frame(HEADERS, END_HEADERS, 1, head));
        for (n, part) in parts.iter().enumerate() {
            let end = if n + 1 == parts.len() { END_STREAM } else { 0 };
            frames.send(frame(DATA, end, 1, part));
        }
        assert_eq!(frames.reset_of(1), PROTOCOL_ERROR, "{parts:?}");
        frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, request("/public/next", &[])));
        assert_eq!(status(&frames.until(HEADERS).payload), "200");
        let seen: Vec<_> = house.upstream.requests().into_iter().map(|seen| seen.target).collect();
        assert_eq!(seen, ["/public/next"], "{parts:?}");
        house.upstream.forget();
    }
}

/// Clients that do not know the length of a body beforehand end it with a frame of nothing. In chunks, a part of nothing is
/// the end: said twice, the second would be taken for the next request, which is somebody else's.
#[test]
fn h16_a_body_that_ends_with_nothing_ends_once_at_the_upstream() {
    let house = house();
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "api.test"), (":path", "/public/x")];
    for stream in [1, 3, 5] {
        frames.send(frame(HEADERS, END_HEADERS, stream, block(&head)));
        frames.send(frame(DATA, 0, stream, "abc"));
        frames.send(frame(DATA, END_STREAM, stream, ""));
        assert_eq!(status(&frames.until(HEADERS).payload), "200");
    }
    // It fails here when it could not read what it got.
    let requests = house.upstream.requests();
    assert!(requests.len() == 3 && requests.iter().all(|request| request.body == b"abc"));
}

#[test]
fn a_head_may_come_in_several_frames() {
    let house = house();
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    let head = request("/public/x", &[("x-a", "1"), ("x-b", "2")]);
    let (first, rest) = head.split_at(head.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    frames.send(frame(HEADERS, END_STREAM, 1, first));
    frames.send(frame(CONTINUATION, 0, 1, second));
    frames.send(frame(CONTINUATION, END_HEADERS, 1, third));
    assert_eq!(status(&frames.until(HEADERS).payload), "200");
    assert_eq!(house.upstream.only().header("x-b"), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h11_a_refusal_leaves_the_connection_and_its_other_requests_alone() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    house.upstream.respond(Respond::Hold);
    let (other, _) = client.begin(get("/public/held"), true).await.unwrap();
    for declared in [Some("10485760"), Some("20000000"), None] {
        let request = call("POST", "/jwt/x");
        let request = declared.map_or(request.clone(), |length| with(request, "content-length", length));
        let (answer, mut body) = client.begin(request, false).await.unwrap();
        // The client is told to stop, or notices when it goes on.
        drop(give(&mut body, Bytes::from_static(b"GET /admin HTTP/1.1\r\n\r\n"), false).await);
        let answer = read(answer).await.unwrap();
        assert_eq!((answer.status, answer.header("www-authenticate").is_empty()), (401, false));
        let line = house.gateway.log().line_for(answer.header("x-request-id"));
        assert_eq!(line["reason"], "missing_credentials");
    }
    let large = with(call("POST", "/public/x"), "content-length", "20000000");
    let (answer, _body) = client.begin(large, false).await.unwrap();
    assert_eq!(read(answer).await.unwrap().status, 413);
    house.upstream.release();
    assert_eq!(read(other).await.unwrap().status, 200);
    assert_eq!(client.ask(get("/public/after")).await.unwrap().status, 200);
    let seen: Vec<_> = house.upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ["/public/held", "/public/after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_without_a_length_is_refused_where_it_grows_too_large() {
    let house = house_with("max_body = \"100KiB\"\n");
    let mut client = Client::connect(house.gateway.addr()).await;
    let body = |length| Some(Bytes::from(vec![b'x'; length]));
    assert_eq!(client.send(call("POST", "/public/x"), body(100 << 10)).await.unwrap().status, 200);
    let (answer, mut stream) = client.begin(call("POST", "/public/x"), false).await.unwrap();
    drop(give(&mut stream, body(200 << 10).unwrap(), false).await);
    assert_eq!(read(answer).await.unwrap().status, 413);
    assert_eq!(house.upstream.requests().len(), 1, "the other was not complete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h61_a_client_that_stops_sending_its_body_is_to_blame_and_not_the_upstream() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let (answer, mut body) = client.begin(call("POST", "/slow/x"), false).await.unwrap();
    give(&mut body, Bytes::from_static(b"some"), false).await.unwrap();
    let answer = read(answer).await.unwrap();
    assert_eq!(answer.status, 408);
    // One byte at a time is no faster.
    let (answer, mut body) = client.begin(call("POST", "/slow/x"), false).await.unwrap();
    let trickling = async {
        while give(&mut body, Bytes::from_static(b"x"), false).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::select! {
        answer = read(answer) => answer.unwrap(),
        () = trickling => panic!("nothing was answered"),
    };
    assert_eq!(answer.status, 408);
    // An upstream that does not answer is another thing.
    house.upstream.respond(Respond::Hold);
    assert_eq!(client.ask(get("/slow/x")).await.unwrap().status, 504);
    house.upstream.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn interim_answers_do_not_disturb() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let last =
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\r\nok";
    house.upstream.respond(Respond::Raw([&interim[..], last].concat()));
    let request = with(call("POST", "/public/x"), "expect", "100-continue");
    let answer = client.send(request, Some(Bytes::from_static(b"body"))).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    assert_eq!((answer.header("x-hop"), answer.header("keep-alive"), answer.header("connection")), ("", "", ""));
    assert_eq!(house.upstream.last().header("expect"), None, "nobody would pass its 100 on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_breaks_off_breaks_off_one_answer() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    house.upstream.respond(Respond::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123".to_vec()));
    client.ask(get("/public/x")).await.expect_err("a whole answer would be a lie");
    house.upstream.respond(Respond::Close);
    assert_eq!(client.ask(get("/public/x")).await.unwrap().status, 502);
    house.upstream.respond(Respond::Echo);
    assert_eq!(client.ask(get("/public/x")).await.unwrap().status, 200);
    eventually("three lines", || (house.gateway.log().lines().len() == 3).then_some(()));
}
