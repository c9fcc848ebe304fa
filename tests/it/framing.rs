//! Framing and desynchronisation (attacks section 3.1): where one request ends and the next begins is what the gateway
//! and the upstream agree on, or the request is refused and the connection ends. Every case is sent three ways: alone, in
//! front of a request for `/admin/x` that nobody may make, and at the end of a connection that was used before.

use std::time::Duration;

use crate::support::caller::{Connection, Reply};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::{Respond, Upstream};

const NEXT: &str = "GET /admin/x HTTP/1.1\r\nHost: api.test\r\n\r\n";
const GOOD: &str = "GET /public/good HTTP/1.1\r\nHost: api.test\r\n\r\n";

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

fn house() -> House {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::standard(&standard, &upstream);
    House { upstream, standard, gateway }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// All answers until the connection ends.
fn answers(connection: &mut Connection) -> Vec<Reply> {
    std::iter::from_fn(|| connection.read_reply(false)).collect()
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.status).collect()
}

impl House {
    fn connect(&self) -> Connection {
        self.gateway.caller().connect()
    }

    /// Every answer to these bytes, the client's side being ended behind them.
    fn exchange(&self, bytes: &[u8]) -> Vec<Reply> {
        let mut connection = self.connect();
        connection.write(bytes);
        connection.finish();
        answers(&mut connection)
    }

    /// The targets that the upstream saw since the last time, each with the length of its body.
    fn seen(&self) -> Vec<(String, usize)> {
        let seen = self.upstream.requests();
        self.upstream.forget();
        seen.into_iter().map(|request| (request.target, request.body.len())).collect()
    }

    fn untouched(&self, what: &[u8]) {
        for bytes in self.upstream.raw_bytes() {
            assert!(bytes.is_empty(), "{}: the upstream got {}", shown(what), shown(&bytes));
        }
    }

    /// Refused with this status, whichever way it is sent; the connection ends, and not a byte goes upstream.
    fn refused(&self, status: u16, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let last_of = |replies: &[Reply], expected: &[u16]| {
            assert_eq!(statuses(replies), expected, "{}", shown(bytes));
            assert!(replies.iter().last().is_some_and(Reply::says_close), "{}: {replies:?}", shown(bytes));
        };
        let mut alone = self.connect();
        alone.write(bytes);
        last_of(&answers(&mut alone), &[status]);
        self.untouched(bytes);

        last_of(&self.exchange(&[bytes, NEXT.as_bytes()].concat()), &[status]);
        self.untouched(bytes);

        let mut used = self.connect();
        used.send_raw(GOOD).ok();
        self.upstream.forget();
        used.write([bytes, NEXT.as_bytes()].concat());
        last_of(&answers(&mut used), &[status]);
        self.untouched(bytes);
    }

    /// Answered with 200, whichever way it is sent; the upstream sees it once, with a body of this length, and what
    /// follows is judged on its own.
    fn taken(&self, bytes: impl AsRef<[u8]>, target: &str, body: usize) {
        let bytes = bytes.as_ref();
        let once = [(target.to_owned(), body)];
        assert_eq!(statuses(&self.exchange(bytes)), [200], "{}", shown(bytes));
        assert_eq!(self.seen(), once, "{}", shown(bytes));

        let replies = self.exchange(&[bytes, NEXT.as_bytes()].concat());
        assert_eq!(statuses(&replies), [200, 401], "{}", shown(bytes));
        assert_eq!(self.seen(), once, "{}", shown(bytes));

        let mut used = self.connect();
        used.send_raw(GOOD).ok();
        self.upstream.forget();
        used.write(bytes);
        assert_eq!(used.read_reply(false).map(|reply| reply.status), Some(200), "{}", shown(bytes));
        used.send_raw(NEXT).denied("missing_credentials");
        used.send_raw(GOOD).ok();
        assert_eq!(self.seen(), [once[0].clone(), ("/public/good".to_owned(), 0)], "{}", shown(bytes));
    }

    /// Either [`House::refused`] or [`House::taken`] with a body of `length` bytes that hides another request.
    fn harmless(&self, head: &[u8], body: &[u8]) {
        let bytes = [head, b"\r\n\r\n", body].concat();
        let mut used = self.connect();
        used.send_raw(GOOD).ok();
        self.upstream.forget();
        used.write(&bytes);
        used.write(NEXT);
        used.finish();
        let got = statuses(&answers(&mut used));
        match got.as_slice() {
            [400] => self.untouched(&bytes),
            [200, 401] => assert_eq!(self.seen(), [("/public/x".to_owned(), body.len())], "{}", shown(&bytes)),
            _ => panic!("{}: {got:?}", shown(&bytes)),
        }
    }
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /public/x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n\r\n{body}")
}

/// A body that is another request for whoever stops reading at its first chunk.
const SMUGGLED: &str = "0\r\n\r\nGET /admin/smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";

#[test]
fn h01_a_length_beside_a_transfer_coding_is_refused() {
    let house = house();
    for length in [0, 5, SMUGGLED.len()] {
        let (length, chunked) = (format!("Content-Length: {length}"), "Transfer-Encoding: chunked");
        house.refused(400, post(&format!("{length}\r\n{chunked}"), SMUGGLED));
        house.refused(400, post(&format!("{chunked}\r\n{length}"), SMUGGLED));
        house.refused(400, post(&format!("{length}\r\nX: y\r\n{chunked}"), "5\r\nhello\r\n0\r\n\r\n"));
    }
}

#[test]
fn h02_no_spelling_of_the_transfer_coding_parts_gateway_and_upstream() {
    let house = house();
    let plain = [
        " Transfer-Encoding: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding\t:\tchunked",
        "Transfer Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer Encoding:chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding: chunked, cow",
        "Transfer-Encoding: cow, chunked",
        "Content-Encoding: chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunk",
        "TrAnSFer-EnCODinG: cHuNkeD",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer\r-Encoding: chunked",
        "Transfer-Encoding: cow chunked bar",
        "X:X\rTransfer-Encoding: chunked",
        "X:X\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "\u{0}Transfer-Encoding: chunked",
        "Foo: bar\r\n\rTransfer-Encoding: chunked",
    ];
    let mut spellings: Vec<Vec<u8>> = plain.iter().map(|spelling| spelling.as_bytes().to_vec()).collect();
    for byte in (0x01..0x20).chain(0x7f..=0xff) {
        for (before, after) in [
            ("Transfer-Encoding:", "chunked"),
            ("Transfer-Encoding", ": chunked"),
            ("", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", ""),
            ("X: X", "Transfer-Encoding: chunked"),
        ] {
            spellings.push([before.as_bytes(), &[byte], after.as_bytes()].concat());
        }
    }
    for spelling in &spellings {
        let length = format!("Content-Length: {}", SMUGGLED.len());
        let start = "POST /public/x HTTP/1.1\r\nHost: api.test\r\n".as_bytes();
        house.harmless(&[start, length.as_bytes(), b"\r\n", spelling].concat(), SMUGGLED.as_bytes());
        house.harmless(&[start, spelling, b"\r\n", length.as_bytes()].concat(), SMUGGLED.as_bytes());
    }
}

#[test]
fn h04_http_10_has_no_chunks_and_no_body_without_a_length() {
    let house = house();
    for connection in ["close", "keep-alive"] {
        house.refused(
            400,
            format!(
                "POST /public/x HTTP/1.0\r\nHost: api.test\r\nConnection: {connection}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{SMUGGLED}"
            ),
        );
    }
    // What follows a head without a length is no body, and on a connection that ends it is nothing at all.
    let replies = house.exchange(format!("POST /public/x HTTP/1.0\r\nHost: api.test\r\n\r\n{NEXT}").as_bytes());
    assert_eq!(statuses(&replies), [200]);
    assert!(replies[0].says_close());
    assert_eq!(house.seen(), [("/public/x".to_owned(), 0)]);
    // Kept alive, with a length.
    let call = "POST /public/x HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    house.taken(call, "/public/x", 5);
}

#[test]
fn h05_a_length_is_one_plain_number() {
    let house = house();
    let body = "hello";
    for value in [
        "5, 6",
        "5, 5",
        "5,5",
        "+5",
        "-1",
        "-0",
        "0x5",
        "1_0",
        "5 5",
        "5;",
        "5.0",
        "5e0",
        "05",
        "",
        "12345678901234567890",
        "99999999999999999999",
        "18446744073709551621",
        "5\u{a0}",
        "\u{665}",
        "five",
    ] {
        house.refused(400, post(&format!("Content-Length: {value}"), body));
    }
    for (first, second) in [("5", "6"), ("6", "5"), ("5", "5"), ("", "43"), ("0", "5")] {
        house.refused(400, post(&format!("Content-Length: {first}\r\nContent-Length: {second}"), body));
        house.refused(400, post(&format!("Content-Length: {first}\r\nX: y\r\ncontent-length: {second}"), body));
    }
    // Blanks around a value are no part of it (RFC 9110 section 5.5).
    for value in ["5", "5 ", "\t5\t "] {
        house.taken(post(&format!("Content-Length: {value}"), body), "/public/x", 5);
    }
}

#[test]
fn h05_names_that_only_look_like_a_length_are_ordinary_headers() {
    let house = house();
    for name in ["Content_Length", "Content-Length-", "X-Content-Length", "Content.Length"] {
        house.taken(post(&format!("{name}: {}", NEXT.len()), ""), "/public/x", 0);
    }
    for name in ["Content-Length ", "Content Length", " Content-Length", "Content-Length\u{0}", "\u{b}Content-Length"] {
        house.refused(400, post(&format!("{name}: 5"), "hello"));
    }
}

#[test]
fn h07_trailers_are_dropped_and_bounded() {
    let house = house();
    for trailers in [
        "Authorization: Bearer x\r\n",
        "X-Auth-Subject: mallory\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: other.test\r\nConnection: close\r\n",
        "A: b\r\nC: d\r\nE: f\r\n",
    ] {
        let call = post("Transfer-Encoding: chunked\r\nTrailer: X-End", &format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
        house.taken(&call, "/public/x", 5);
        house.exchange(call.as_bytes());
        let seen = house.upstream.only();
        assert!(seen.trailers.is_empty(), "{seen:?}");
        assert_eq!(seen.header("host"), Some("api.test"));
        for name in ["Authorization", "X-Auth-Subject", "Trailer", "Content-Length"] {
            assert_eq!(seen.all(name), [""; 0], "{name}");
        }
        house.upstream.forget();
    }
    for (count, size) in [(1, 64 * 1024), (9000, 1)] {
        let trailers = format!("X: {}\r\n", "y".repeat(size)).repeat(count);
        house.broken(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    }
}

impl House {
    /// A chunked body that is refused where it breaks. What the upstream has seen of it is no whole request.
    fn broken(&self, body: &str) {
        let call = post("Transfer-Encoding: chunked", body);
        for before in ["", GOOD] {
            let replies = self.exchange(format!("{before}{call}{NEXT}").as_bytes());
            let expected = if before.is_empty() { vec![400] } else { vec![200, 400] };
            assert_eq!(statuses(&replies), expected, "{body:.200?}");
            assert!(replies.iter().last().is_some_and(Reply::says_close), "{body:.200?}");
            let seen = self.seen();
            assert!(seen.iter().all(|(target, _)| target == "/public/good"), "{body:.200?}: {seen:?}");
        }
    }
}

#[test]
fn a_chunked_body_is_framed_in_one_way_or_refused() {
    let house = house();
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;\u{0}\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
        "5\r\nhello\r\n0\r\n folded: x\r\n\r\n",
        "5\r\nhello\r\n0\r\n: x\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "100000000000000005\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "five\r\nhello\r\n0\r\n\r\n",
    ] {
        house.broken(body);
    }
    house.broken(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(9000)));
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        "005;name=\"value\";x\r\nhello\r\n000;last\r\n\r\n",
    ] {
        house.taken(post("Transfer-Encoding: chunked", body), "/public/x", 5);
    }
    let big = format!("{:X}\r\n{}\r\n0\r\n\r\n", 300_000, "b".repeat(300_000));
    house.taken(post("Transfer-Encoding: chunked", &big), "/public/x", 300_000);
    let many = "1\r\nx\r\n".repeat(20_000) + "0\r\n\r\n";
    house.taken(post("transfer-encoding: CHUNKED", &many), "/public/x", 20_000);
}

#[test]
fn h08_lines_and_fields_have_one_form() {
    let house = house();
    let get = |rest: &str| format!("GET /public/x HTTP/1.1\r\n{rest}");
    for rest in [
        "Host: api.test\nX: y\r\n\r\n",
        "Host: api.test\r\nX: y\n\r\n",
        "Host: api.test\r\nX: y\r\n\n",
        "Host: api.test\n\n",
        "Host: api.test\n\r\r\n\r\n",
        "Host: api.test\rX: y\r\n\r\n",
        "Host: api.test\r\nX: a\rb\r\n\r\n",
        "Host: api.test\r\nX: a\0b\r\n\r\n",
        "Host: api.test\r\nX: a\x1bb\r\n\r\n",
        "Host: api.test\r\nX: a\x7fb\r\n\r\n",
        "Host: api.test\r\nX-Auth-Subject: a\r\n b\r\n\r\n",
        "Host: api.test\r\nX-Auth-Subject: a\r\n\tb\r\n\r\n",
        "Host: api.test\r\nAuthorization: Bearer\r\n x\r\n\r\n",
        "Host: api.test\r\nAuthorization:\r\n Bearer x\r\n\r\n",
        " X: y\r\nHost: api.test\r\n\r\n",
        "\tHost: api.test\r\n\r\n",
        "Host: api.test\r\nX : y\r\n\r\n",
        "Host: api.test\r\nX\t: y\r\n\r\n",
        "Host: api.test\r\n: y\r\n\r\n",
        "Host: api.test\r\nX\r\n\r\n",
        "Host: api.test\r\nX;y: z\r\n\r\n",
        "Host: api.test\r\n\"X\": z\r\n\r\n",
        "Host: api.test\r\nX\u{e9}: z\r\n\r\n",
    ] {
        house.refused(400, get(rest));
    }
    for line in [
        "GET  /public/x HTTP/1.1",
        "GET /public/x  HTTP/1.1",
        "GET /public/x\tHTTP/1.1",
        "GET /public/x HTTP/1.1 ",
        " GET /public/x HTTP/1.1",
        "GET /public/x",
        "GET /public/x HTTP/1.1\r",
        "GET /public/x HTTP/1.2",
        "GET /public/x HTTP/2.0",
        "GET /public/x HTTP/0.9",
        "GET /public/x http/1.1",
        "GET /public/x HTTP/1.1 HTTP/1.1",
        "G(T /public/x HTTP/1.1",
    ] {
        house.refused(400, format!("{line}\r\nHost: api.test\r\n\r\n"));
    }
    for first in ["\r\n", "\n", "\r\n\r\n"] {
        house.refused(400, format!("{first}{}", get("Host: api.test\r\n\r\n")));
    }
}

#[test]
fn h11_a_body_that_nobody_reads_is_never_a_request() {
    let house = house();
    let hidden = NEXT.repeat(10 * 1024 * 1024 / NEXT.len());
    for framing in [format!("Content-Length: {}", hidden.len()), "Transfer-Encoding: chunked".to_owned()] {
        let mut body = hidden.clone();
        if framing.starts_with('T') {
            body = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        }
        let call = format!("POST /admin/x HTTP/1.1\r\nHost: api.test\r\n{framing}\r\n\r\n{body}");
        let mut connection = house.connect();
        // A client that reads only when all is sent gets its answer all the same.
        connection.write(call);
        let replies = answers(&mut connection);
        assert_eq!(statuses(&replies), [401], "{framing}");
        assert!(replies[0].says_close());
        house.untouched(framing.as_bytes());
    }
    // Up to 64 KiB are read and thrown away, and the connection goes on.
    let hidden = NEXT.repeat(64 * 1024 / NEXT.len());
    let call = format!("POST /admin/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let replies = house.exchange(format!("{call}{GOOD}{call}").as_bytes());
    assert_eq!(statuses(&replies), [401, 200, 401]);
    assert_eq!(house.seen(), [("/public/good".to_owned(), 0)]);
}

fn upgrade(target: &str, protocol: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

#[test]
fn h13_what_follows_an_upgrade_is_a_tunnel_only_when_the_upstream_agreed() {
    let house = house();
    // The upstream stays with HTTP: what follows is a request of its own.
    let replies = house.exchange(format!("{}{NEXT}{GOOD}", upgrade("/public/ws", "websocket", "")).as_bytes());
    assert_eq!(statuses(&replies), [200, 401, 200]);
    assert_eq!(house.seen(), [("/public/ws".to_owned(), 0), ("/public/good".to_owned(), 0)]);

    // It agrees: what follows was sent to it, and to nobody before.
    house.upstream.respond(Respond::WebSocket);
    let mut tunnel = house.connect();
    let reply = tunnel.send_raw(format!("{}{NEXT}", upgrade("/public/ws", "websocket", "")));
    assert_eq!(reply.status, 101);
    assert_eq!(tunnel.read_exactly(NEXT.len()), NEXT.as_bytes());
    assert_eq!(house.seen(), [("/public/ws".to_owned(), 0)]);

    // It says nothing at all: nothing more goes to it.
    house.upstream.respond(Respond::Hold);
    let mut held = house.connect();
    held.write(format!("{}{NEXT}", upgrade("/public/ws", "websocket", "")));
    crate::support::eventually("the upgrade is held", || (house.upstream.requests().len() == 1).then_some(()));
    let bytes: Vec<u8> = house.upstream.raw_bytes().concat();
    assert!(bytes.ends_with(b"\r\n\r\n") && !shown(&bytes).contains("/admin"), "{}", shown(&bytes));
    house.upstream.release();
    assert_eq!(held.read_reply(false).map(|reply| reply.status), Some(200));
    assert_eq!(held.read_reply(false).map(|reply| reply.status), Some(401));

    // It closes: 502, and the connection ends.
    house.upstream.respond(Respond::Close);
    let replies = house.exchange(format!("{}{NEXT}", upgrade("/public/ws", "websocket", "")).as_bytes());
    assert_eq!(statuses(&replies), [502]);
    assert!(!shown(&house.upstream.raw_bytes().concat()).contains("/admin"));
}

#[test]
fn h13_an_upgrade_that_is_refused_sends_nothing_upstream() {
    let house = house();
    house.upstream.respond(Respond::WebSocket);
    let replies = house.exchange(format!("{}{NEXT}", upgrade("/admin/ws", "websocket", "")).as_bytes());
    assert_eq!(statuses(&replies), [401]);
    house.untouched(b"an upgrade");
    // With a body, with another method, without `Connection: upgrade`, with several protocols: not as RFC 6455 has it.
    for call in [
        upgrade("/public/ws", "websocket", "Content-Length: 5\r\n") + "hello",
        upgrade("/public/ws", "websocket", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
        upgrade("/public/ws", "websocket", "").replacen("GET", "POST", 1),
        upgrade("/public/ws", "websocket", "").replacen("Connection: Upgrade", "Connection: keep-alive", 1),
        upgrade("/public/ws", "websocket", "Upgrade: h2c\r\n"),
    ] {
        house.refused(400, call);
    }
}

#[test]
fn h14_no_other_protocol_is_switched_to() {
    let house = house();
    // An upstream that agrees to everything.
    let eager = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    house.upstream.respond(Respond::Raw(eager.into()));
    for (protocol, more) in [
        ("h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"),
        ("H2C", ""),
        ("TLS/1.0", ""),
        ("websocket, h2c", ""),
        ("h2c, websocket", ""),
        ("websocket/13", ""),
        ("foo", ""),
        ("", ""),
    ] {
        let call = upgrade("/public/x", protocol, more);
        let replies = house.exchange(format!("{call}{NEXT}").as_bytes());
        assert_eq!(statuses(&replies), [200, 401], "{protocol}");
        let seen = house.upstream.only();
        for name in ["Upgrade", "Connection", "HTTP2-Settings"] {
            assert_eq!(seen.all(name), [""; 0], "{protocol}");
        }
        house.upstream.forget();
    }
    // Even an upstream that switches on its own gets nowhere.
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    house.upstream.respond(Respond::Raw(switch.into()));
    for call in [upgrade("/public/x", "h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"), GOOD.to_owned()] {
        let replies = house.exchange(format!("{call}{NEXT}").as_bytes());
        assert_eq!(statuses(&replies), [502]);
        assert!(!shown(&house.upstream.raw_bytes().concat()).contains("/admin"));
    }
    house.upstream.forget();
    house.upstream.respond(Respond::Echo);
    house.refused(400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
}

#[test]
fn h16_requests_sent_ahead_are_judged_one_by_one_and_answered_in_order() {
    let house = house();
    let bad = post("Content-Length: 5\r\nTransfer-Encoding: chunked", SMUGGLED);
    assert_eq!(statuses(&house.exchange(format!("{GOOD}{bad}{NEXT}").as_bytes())), [200, 400]);
    assert_eq!(statuses(&house.exchange(format!("{NEXT}{GOOD}{NEXT}").as_bytes())), [401, 200, 401]);
    assert_eq!(statuses(&house.exchange(format!("{bad}{GOOD}").as_bytes())), [400]);
    assert_eq!(house.seen(), [("/public/good".to_owned(), 0), ("/public/good".to_owned(), 0)]);

    let tokens: Vec<String> =
        (0..20).map(|n| house.standard.alice().claim("sub", format!("user-{n}")).sign()).collect();
    let mut all = String::new();
    for n in 0..1000 {
        all += &match n % 5 {
            0 => format!("GET /jwt/{n} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
            1 => format!("GET /jwt/{n} HTTP/1.1\r\nHost: other.test\r\nAuthorization: Bearer {}\r\n\r\n", tokens[0]),
            2 => format!(
                "POST /jwt/{n} HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                tokens[n % 20]
            ),
            3 => format!("GET /public/{n} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
            _ => format!(
                "PUT /jwt/{n} HTTP/1.1\r\nHost: API.test\r\nAuthorization: Bearer {}\r\nContent-Length: 5\r\n\r\nhello",
                tokens[n % 20]
            ),
        };
    }
    let mut connection = house.connect();
    let mut writer = connection.split();
    let sending = std::thread::spawn(move || writer.write(all));
    for n in 0..1000 {
        let reply = connection.read_reply(false).expect("an answer");
        let expected = match n % 5 {
            0 => 401,
            1 => 404,
            _ => 200,
        };
        assert_eq!(reply.status, expected, "{n}: {reply:?}");
        if expected == 200 {
            assert!(reply.json()["target"].as_str().is_some_and(|target| target.ends_with(&format!("/{n}"))), "{n}");
        }
    }
    sending.join().expect("all was sent");
    for request in house.upstream.requests() {
        let n: usize = request.target.rsplit('/').next().and_then(|n| n.parse().ok()).expect("a number");
        let expected = (n % 5 != 3).then(|| format!("user-{}", n % 20));
        assert_eq!(request.header("X-Auth-Subject"), expected.as_deref(), "{n}");
    }
}

#[test]
fn h16_a_request_behind_one_that_waits_is_not_lost() {
    let house = house();
    house.upstream.respond(Respond::Hold);
    let mut connection = house.connect();
    connection.write(GOOD);
    crate::support::eventually("the first is held", || (house.upstream.requests().len() == 1).then_some(()));
    connection.write(format!("{NEXT}{GOOD}"));
    house.upstream.release();
    let got: Vec<_> = (0..3).filter_map(|_| connection.read_reply(false)).map(|reply| reply.status).collect();
    assert_eq!(got, [200, 401, 200]);
}

#[test]
fn h17_a_method_does_not_change_how_a_body_is_framed() {
    let house = house();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "get", "PATCH", "QUERY", "X-ODD"] {
        let call = |target: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n{NEXT}", NEXT.len())
        };
        let mut connection = house.connect();
        connection.write(format!("{}{GOOD}", call("/public/x")));
        let first = connection.read_reply(method == "HEAD").expect("an answer");
        assert_eq!((first.status, first.body.is_empty()), (200, method == "HEAD"), "{method}");
        connection.read_reply(false).expect("an answer").ok();
        assert_eq!(house.seen(), [("/public/x".to_owned(), NEXT.len()), ("/public/good".to_owned(), 0)], "{method}");
        // The same authorisation, the same connection afterwards.
        connection.write(format!("{}{GOOD}", call("/jwt/x")));
        let refused = connection.read_reply(method == "HEAD").expect("an answer");
        assert_eq!((refused.status, refused.body.is_empty()), (401, method == "HEAD"), "{method}");
        connection.read_reply(false).expect("an answer").ok();
        assert_eq!(house.seen(), [("/public/good".to_owned(), 0)], "{method}");
    }
    let token = house.standard.alice().sign();
    house.gateway.call("DELETE", "/jwt/x").bearer(&token).body(NEXT).send().ok();
    assert_eq!(house.upstream.only().body, NEXT.as_bytes());
}

#[test]
fn a_client_that_ends_its_side_gets_its_answers() {
    let house = house();
    house.upstream.respond(Respond::Delay(Duration::from_millis(50)));
    assert_eq!(statuses(&house.exchange(format!("{GOOD}{NEXT}{GOOD}").as_bytes())), [200, 401, 200]);
    assert_eq!(statuses(&house.exchange(post("Content-Length: 5", "hello").as_bytes())), [200]);
    // Within a body it has broken its word: the upstream gets no whole request.
    house.upstream.forget();
    assert_eq!(statuses(&house.exchange(post("Content-Length: 6", "hello").as_bytes())), [0; 0]);
    assert_eq!(statuses(&house.exchange(post("Transfer-Encoding: chunked", "5\r\nhel").as_bytes())), [0; 0]);
    assert_eq!(house.seen(), []);
}
#[test]
fn a_tunnel_stays_open_however_fast_the_upstream_agrees() {
    let house = house();
    house.upstream.respond(Respond::WebSocket);
    for n in 0..300 {
        let mut tunnel = house.connect();
        let early = if n % 2 == 0 { NEXT } else { "" };
        assert_eq!(tunnel.send_raw(upgrade("/public/ws", "websocket", "") + early).status, 101);
        if early.is_empty() {
            tunnel.write(NEXT);
        }
        assert_eq!(tunnel.read_exactly(NEXT.len()), NEXT.as_bytes(), "{n}");
    }
}
