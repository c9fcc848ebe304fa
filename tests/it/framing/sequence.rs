//! One request after another on a connection, and what a tunnel makes of it (H-11 to H-17).

use std::time::Duration;

use super::{GOOD, NEXT, SMUGGLED, answers, house, post, shown, statuses};
use crate::support::upstream::Respond;

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
