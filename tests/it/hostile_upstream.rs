//! What an upstream may do to the gateway and to its clients (attacks H-38): an answer is passed on without doubt, or it is
//! 502; and whatever happened, the next client gets its own answer.

use std::sync::{Arc, Barrier};

use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::{Line, Scripted};

/// A gateway before an upstream that answers `/public/bad` by this script, and everything else with its target.
fn before(script: impl Fn(&mut Line) -> bool + Send + Sync + 'static) -> (Gateway, Scripted) {
    let upstream = Scripted::start(move |line, _| {
        while let Some(head) = line.request() {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let go_on = if target == "/public/bad" {
                script(line)
            } else {
                line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()))
            };
            if !go_on {
                return;
            }
        }
    });
    let gateway = Gateway::builder().standard(&Standard::new()).place("upstream", upstream.addr()).start();
    (gateway, upstream)
}

fn answering(answer: impl Into<Vec<u8>>) -> (Gateway, Scripted) {
    let answer = answer.into();
    before(move |line| line.send(&answer))
}

/// Clients after it get what they asked for, on new connections and on an old one.
#[track_caller]
fn others_get_their_own(gateway: &Gateway) {
    let mut old = gateway.caller().connect();
    for n in 0..6 {
        let target = format!("/public/{n}");
        let call = gateway.get(&target);
        let reply = if n % 2 == 0 { call.send() } else { call.send_on(&mut old) };
        assert_eq!(reply.ok().text(), target);
    }
}

#[track_caller]
fn bad_gateway(gateway: &Gateway, what: &str) {
    let mut connection = gateway.caller().connect();
    let reply = connection.try_send_raw(gateway.get("/public/bad").bytes());
    let reply = reply.unwrap_or_else(|| panic!("{what}: no answer"));
    assert_eq!(reply.status, 502, "{what}: {reply:?}");
    assert!(!reply.text().contains("127.0.0.1"), "{what}: {reply:?}");
    reply.denied("upstream_unavailable");
    others_get_their_own(gateway);
}

#[test]
fn h38_identity_headers_of_an_upstream_do_not_reach_the_client() {
    let identity = "X-Auth-Subject: root\r\nx_auth_roles: root\r\nX.Auth.Scopes: *\r\n";
    let (gateway, _upstream) = answering(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n{identity}\r\n\
         HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Other: stays\r\n{identity}Keep-Alive: timeout=5\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: for the gateway only\r\nContent-Length: 2\r\n\r\nok"
    ));
    let mut connection = gateway.caller().connect();
    connection.write(gateway.get("/public/bad").bytes());
    let interim = connection.read_interim().expect("an interim answer");
    let reply = connection.read_reply(false).expect("an answer").ok();
    assert_eq!((interim.status, interim.header("link")), (103, Some("</a>; rel=preload")));
    for reply in [&interim, &reply] {
        let names: Vec<_> = reply.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert!(!names.iter().any(|name| name.contains("auth")), "{reply:?}");
    }
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((reply.header("x-other"), reply.text().as_str()), (Some("stays"), "ok"));
    assert_eq!((reply.header("keep-alive"), reply.header("x-hop")), (None, None));
    assert_eq!(reply.header("connection"), Some("keep-alive"));
    others_get_their_own(&gateway);
}

#[test]
fn h38_an_answer_that_is_no_http_is_a_bad_gateway() {
    for answer in [
        "not http at all\r\n\r\n",
        "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n: empty\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\rX-Auth-Subject: root\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\0b\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let (gateway, _upstream) = answering(answer);
        bad_gateway(&gateway, answer);
    }
}

#[test]
fn h38_a_folded_line_becomes_one_line() {
    let (gateway, _upstream) =
        answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n\tX-Auth-Subject: root\r\n\r\nok");
    let reply = gateway.get("/public/bad").send().ok();
    assert_eq!((reply.header("x"), reply.header("x-auth-subject")), (Some("a X-Auth-Subject: root"), None));
    others_get_their_own(&gateway);
}

#[test]
fn h38_a_length_that_is_none_is_a_bad_gateway() {
    for length in ["5, 6", "-1", "five", "0x5", "99999999999999999999", "", "5 5", "+5", "5\r\nContent-Length: 6"] {
        let (gateway, _upstream) = answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello"));
        bad_gateway(&gateway, length);
    }
}

#[test]
fn h38_a_length_beside_a_transfer_coding_does_not_count() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for fields in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 0".to_owned(),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", 16 + poison.len()),
    ] {
        let (gateway, _upstream) =
            answering(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{poison}"));
        let reply = gateway.get("/public/bad").send().ok();
        assert_eq!((reply.text().as_str(), reply.header("content-length")), ("hello", None), "{fields}");
        others_get_their_own(&gateway);
    }
}

#[test]
fn h38_what_an_upstream_sends_too_much_reaches_nobody() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 700\r\n\r\n",
    ] {
        let (gateway, _upstream) = answering(format!("{answer}{poison}"));
        assert!(!gateway.get("/public/bad").send().text().contains("poison"), "{answer}");
        others_get_their_own(&gateway);
        // Later, while the connection waits for its next request.
        let (answered, poisoned) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (gateway, _upstream) = before({
            let (answered, poisoned) = (Arc::clone(&answered), Arc::clone(&poisoned));
            move |line| {
                line.send(answer);
                answered.wait();
                line.send(poison);
                poisoned.wait();
                true
            }
        });
        gateway.get("/public/bad").send();
        answered.wait();
        poisoned.wait();
        others_get_their_own(&gateway);
    }
    let (gateway, _upstream) = answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    let reply = gateway.call("HEAD", "/public/bad").send().ok();
    assert_eq!((reply.header("content-length"), reply.text().as_str()), (Some("6"), ""));
    others_get_their_own(&gateway);
}

#[test]
fn h38_switching_protocols_unasked_is_a_bad_gateway() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let (gateway, _upstream) = answering(answer);
        bad_gateway(&gateway, answer);
    }
}

#[test]
fn h38_interim_answers_are_passed_on_but_not_without_end() {
    let interim = |count: usize| "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(count);
    let (gateway, _upstream) = answering(format!("{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", interim(10)));
    assert_eq!(gateway.get("/public/bad").send().ok().text(), "ok");
    let (gateway, _upstream) = before(move |line| {
        while line.send(interim(100)) {}
        false
    });
    bad_gateway(&gateway, "a flood of interim answers");
}

#[test]
fn h38_a_head_without_end_is_a_bad_gateway() {
    let (gateway, _upstream) = before(|line| {
        line.send("HTTP/1.1 200 OK\r\nX: ");
        while line.send([b'x'; 64 * 1024]) {}
        false
    });
    bad_gateway(&gateway, "one header");
    let (gateway, _upstream) = before(|line| {
        line.send("HTTP/1.1 200 OK\r\n");
        while line.send("X: y\r\n".repeat(1000)) {}
        false
    });
    bad_gateway(&gateway, "many headers");
}

#[test]
fn h38_an_upstream_that_leaves_before_its_answer_is_a_bad_gateway() {
    for begun in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (gateway, _upstream) = before(move |line| {
            line.send(begun);
            false
        });
        bad_gateway(&gateway, begun);
    }
    let upstream = Scripted::start(|line, _| line.until_something_arrives());
    let gateway = Gateway::builder().standard(&Standard::new()).place("upstream", upstream.addr()).start();
    gateway.get("/public/reset").send().denied("upstream_unavailable");
}

#[test]
fn h38_half_an_answer_is_never_a_whole_one() {
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhelXX0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nXYZ\r\n",
    ] {
        let (gateway, _upstream) = before(move |line| {
            line.send(half);
            false
        });
        let mut connection = gateway.caller().connect();
        connection.write(gateway.get("/public/bad").bytes());
        let raw = String::from_utf8(connection.read_to_end()).expect("ASCII");
        assert!(raw.starts_with("HTTP/1.1 200 ") && !raw.contains("HTTP/1.1 502"), "{half}: {raw}");
        assert!(!raw.ends_with("\r\n0\r\n\r\n") && !raw.ends_with("hello"), "{half}: {raw}");
        others_get_their_own(&gateway);
        let line = gateway.log().line_where("the half", |line| line["path"] == "/public/bad");
        assert_eq!((line["outcome"].as_str(), line["reason"].as_str()), (Some("error"), Some("upstream_unavailable")));
    }
}

#[test]
fn an_answer_of_an_old_upstream_is_passed_on() {
    // HTTP/1.0 that ends with the connection: chunks for clients that know them.
    let (gateway, _upstream) = before(|line| {
        line.send("HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\nuntil the end");
        false
    });
    let mut connection = gateway.caller().connect();
    for _ in 0..2 {
        let reply = gateway.get("/public/bad").send_on(&mut connection).ok();
        assert_eq!((reply.text().as_str(), reply.header("x-old")), ("until the end", Some("yes")));
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    }
    let old = gateway.get("/public/bad").version("HTTP/1.0").send().ok();
    assert_eq!((old.text().as_str(), old.header("transfer-encoding"), old.says_close()), ("until the end", None, true));
    others_get_their_own(&gateway);
}

#[test]
fn trailers_of_an_upstream_are_dropped() {
    let (gateway, _upstream) = answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Auth-Subject: root\r\nX-End: yes\r\n\r\n",
    );
    let mut connection = gateway.caller().connect();
    connection.write(gateway.get("/public/bad").header("Connection", "close").bytes());
    let raw = String::from_utf8(connection.read_to_end()).expect("ASCII");
    assert!(raw.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{raw}");
    others_get_their_own(&gateway);
}

#[test]
fn a_quick_answer_to_a_long_body_is_passed_on_and_nothing_of_the_body_is_a_request() {
    // The upstream answers at the head and reads nothing more.
    let upstream = Scripted::start(|line, _| {
        line.request();
        line.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
    });
    let gateway = Gateway::builder().standard(&Standard::new()).place("upstream", upstream.addr()).start();
    let hidden = "GET /admin/x HTTP/1.1\r\nHost: api.test\r\n\r\n".repeat(200_000);
    for _ in 0..5 {
        let mut connection = gateway.caller().connect();
        connection.write(gateway.call("POST", "/public/x").body(&hidden).bytes());
        // Which end is noticed first is a matter of luck.
        let reply = connection.read_reply(false);
        assert!(reply.as_ref().is_none_or(|reply| matches!(reply.status, 413 | 502)), "{reply:?}");
        drop(connection);
    }
    assert!(gateway.log().lines().iter().all(|line| line["path"] == "/public/x"));
}
