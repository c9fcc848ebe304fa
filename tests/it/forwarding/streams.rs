//! How answers, bodies, streams and tunnels pass through, and what remains of a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::{gateway_before, gateway_to};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::{Line, Scripted};
use crate::support::upstream::{Respond, Upstream};
use crate::support::{DEADLINE, eventually};

#[test]
fn an_old_client_gets_an_answer_that_it_can_read() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let plain = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Scripted::start(move |line, _| {
        while let Some(head) = line.request() {
            line.send(if head.contains("/chunked") { chunked } else { plain });
        }
    });
    let gateway = gateway_to("servers = [\"{main}\"]", "", &[("main", upstream.addr())]);
    let mut connection = gateway.caller().connect();
    connection.write("GET /x/chunked HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\n");
    let raw = String::from_utf8(connection.read_to_end()).expect("ASCII");
    assert!(raw.ends_with("\r\n\r\nok") && !raw.to_ascii_lowercase().contains("transfer-encoding"), "{raw}");
    // With a length it may be kept; and nothing interim comes before.
    let mut connection = gateway.caller().connect();
    for _ in 0..2 {
        connection.write("GET /x/plain HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\n");
        assert!(connection.read_interim().is_none());
        let reply = connection.read_reply(false).expect("an answer").ok();
        assert_eq!((reply.text().as_str(), reply.says_close()), ("ok", false));
    }
    let once = gateway.get("/x/plain").version("HTTP/1.0").send().ok();
    assert!(once.says_close());
}

#[test]
fn whoever_waits_for_100_gets_it_from_the_upstream_and_a_refusal_without() {
    let upstream = Scripted::start(|line, _| {
        while let Some(head) = line.request() {
            if head.to_ascii_lowercase().contains("expect: 100-continue") {
                line.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            let body = line.take(5);
            assert_eq!(body.as_deref(), Some(b"hello".as_slice()));
            line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = Gateway::builder().standard(&Standard::new()).place("upstream", upstream.addr()).start();
    let head = |target: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    let mut connection = gateway.caller().connect();
    for _ in 0..2 {
        connection.write(head("/public/x"));
        assert_eq!(connection.read_interim().map(|reply| reply.status), Some(100));
        connection.write("hello");
        assert_eq!(connection.read_reply(false).expect("an answer").ok().text(), "ok");
    }
    // Refused: no 100, and as nobody can know whether the body will come, the connection ends.
    connection.write(head("/admin/x"));
    let reply = connection.read_interim();
    assert!(reply.is_none());
    let reply = connection.read_reply(false).expect("an answer");
    assert!(reply.says_close());
    reply.denied("missing_credentials");
    connection.assert_closed();
}

#[test]
fn an_upload_is_passed_on_as_it_comes_and_not_kept() {
    const SIZE: usize = 64 << 20;
    let (count, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let upstream = Scripted::start({
        let (count, go_on) = (Arc::clone(&count), Arc::clone(&go_on));
        move |line, _| {
            line.request();
            // As long as nobody reads here, not much is taken there.
            go_on.wait();
            for _ in 0..SIZE / (64 * 1024) {
                let Some(bytes) = line.take(64 * 1024) else { return };
                count.fetch_add(bytes.len(), Ordering::SeqCst);
            }
            line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = gateway_to("servers = [\"{main}\"]", "max_body = \"64MiB\"\n", &[("main", upstream.addr())]);
    let mut connection = gateway.caller().connect();
    connection.write(format!("POST /x/1 HTTP/1.1\r\nHost: api.test\r\nContent-Length: {SIZE}\r\n\r\n"));
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    loop {
        match connection.write_some(&piece, Duration::from_millis(300)) {
            0 => break,
            count => sent += count,
        }
        assert!(sent < SIZE / 2, "{sent} bytes were taken while nobody read them");
    }
    go_on.wait();
    while sent < SIZE {
        sent += connection.write_some(&piece[..piece.len().min(SIZE - sent)], DEADLINE);
    }
    assert_eq!(connection.read_reply(false).expect("an answer").ok().text(), "ok");
    assert_eq!(count.load(Ordering::SeqCst), SIZE);
}

#[test]
fn a_download_is_passed_on_as_it_comes_and_not_kept() {
    const SIZE: usize = 64 << 20;
    for chunked in [false, true] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let upstream = Scripted::start(move |line, _| {
            line.request();
            let framing =
                if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {SIZE}") };
            line.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            let piece = vec![b'y'; 64 * 1024];
            for _ in 0..SIZE / piece.len() {
                if chunked {
                    line.send(format!("{:x}\r\n", piece.len()));
                }
                line.send(&piece);
                if chunked {
                    line.send("\r\n");
                }
                counted.fetch_add(piece.len(), Ordering::SeqCst);
            }
            if chunked {
                line.send("0\r\n\r\n");
            }
        });
        let gateway = gateway_to("servers = [\"{main}\"]", "", &[("main", upstream.addr())]);
        let mut connection = gateway.caller().connect();
        connection.write(gateway.get("/x/1").bytes());
        // Until nothing more is taken of the upstream, although the client reads nothing.
        let mut last = usize::MAX;
        eventually("the upstream waits", || {
            std::thread::sleep(Duration::from_millis(100));
            let now = sent.load(Ordering::SeqCst);
            (std::mem::replace(&mut last, now) == now).then_some(())
        });
        assert!(last < SIZE / 2, "{last} bytes were taken while nobody read them");
        let reply = connection.read_reply(false).expect("an answer").ok();
        assert!(reply.body.len() == SIZE && reply.body.iter().all(|byte| *byte == b'y'));
    }
}

#[test]
fn events_arrive_as_they_are_sent() {
    let (told, heard) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let upstream = Scripted::start({
        let (told, heard) = (Arc::clone(&told), Arc::clone(&heard));
        move |line: &mut Line, _| {
            line.request();
            line.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for n in 0..5 {
                let event = format!("data: {n}\n\n");
                line.send(format!("{:x}\r\n{event}\r\n", event.len()));
                told.wait();
                heard.wait();
            }
            line.send("0\r\n\r\n");
        }
    });
    let gateway = gateway_to("servers = [\"{main}\"]", "", &[("main", upstream.addr())]);
    let mut connection = gateway.caller().connect();
    connection.write(gateway.get("/x/events").header("Accept", "text/event-stream").bytes());
    connection.read_head();
    for n in 0..5 {
        told.wait();
        // Nothing else comes before this was heard.
        let event = format!("9\r\ndata: {n}\n\n\r\n");
        assert_eq!(connection.read_exactly(event.len()), event.as_bytes());
        heard.wait();
    }
    assert_eq!(connection.read_exactly(5), b"0\r\n\r\n");
}

#[test]
fn a_tunnel_carries_what_both_sides_say_until_one_of_them_ends_it() {
    let upstream = Upstream::start();
    upstream.respond(Respond::WebSocket);
    let (gateway, standard) = gateway_before(&upstream);
    let upgrade = |target: &str| {
        let call = gateway.get(target).header("Connection", "keep-alive, Upgrade").header("Upgrade", "WebSocket");
        call.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    upgrade("/jwt/ws").send().denied("missing_credentials");
    assert_eq!(upstream.connections(), 0);
    let token = standard.alice().sign();
    let mut connection = gateway.caller().connect();
    let reply = upgrade("/jwt/ws").bearer(&token).send_on(&mut connection).is(101);
    assert_eq!(reply.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert!(reply.header("sec-websocket-accept").is_some() && reply.header("x-request-id").is_some());
    for size in [1, 125, 70_000, 1_000_000] {
        let message: Vec<u8> = (0..size).map(|n: u32| u8::try_from(n % 251).expect("a byte")).collect();
        let mut writer = connection.split();
        let sent = message.clone();
        let sending = std::thread::spawn(move || writer.write(sent));
        assert!(connection.read_exactly(message.len()) == message, "{size}");
        sending.join().expect("all was sent");
    }
    connection.finish();
    connection.assert_closed();
    let line = gateway.line_of(&reply);
    assert_eq!(
        (&line["status"], &line["outcome"], &line["subject"]),
        (&101.into(), &"forwarded".into(), &"alice".into())
    );
}

#[test]
fn a_refusal_leaves_the_connection_open() {
    let upstream = Upstream::start();
    let (gateway, standard) = gateway_before(&upstream);
    let token = standard.alice().sign();
    let mut connection = gateway.caller().connect();
    for _ in 0..2 {
        gateway.get("/jwt/x").send_on(&mut connection).denied("missing_credentials");
        gateway.get("/jwt/x").bearer("x.y.z").send_on(&mut connection).denied("token_invalid");
        gateway.get("/admin/x").bearer(&token).send_on(&mut connection).denied("insufficient_scope");
        gateway.get("/nowhere").send_on(&mut connection).denied("no_route");
        gateway.get("/public/../x").send_on(&mut connection).denied("path_ambiguous");
        gateway.get("/public/x").host("other.test").send_on(&mut connection).denied("unknown_host");
        gateway.call("TRACE", "/public/x").send_on(&mut connection).denied("method_not_allowed");
        gateway.call("POST", "/admin/x").body("a small body").send_on(&mut connection).denied("missing_credentials");
        gateway.call("POST", "/admin/x").body(vec![b'x'; 64 * 1024]).send_on(&mut connection).is(401);
        gateway.call("HEAD", "/admin/x").send_on(&mut connection).is(401);
        gateway.get("/jwt/x").bearer(&token).send_on(&mut connection).ok();
    }
    for _ in 0..4 {
        gateway.get("/limited/x").bearer(&token).send_on(&mut connection);
    }
    gateway.get("/limited/x").bearer(&token).send_on(&mut connection).denied("rate_limited");
    assert!(!gateway.get("/jwt/x").bearer(&token).send_on(&mut connection).ok().says_close());

    // A bigger body, one without a length, and one that is not allowed: the answer says that the connection ends.
    for call in [
        gateway.call("POST", "/admin/x").body(vec![b'x'; 64 * 1024 + 1]),
        gateway.call("POST", "/admin/x").chunked(&["hello"], &[]),
        gateway.call("POST", "/public/x").body(vec![b'x'; (10 << 20) + 1]),
    ] {
        let mut connection = gateway.caller().connect();
        let reply = call.send_on(&mut connection);
        assert!(matches!(reply.status, 401 | 413) && reply.says_close(), "{reply:?}");
        connection.assert_closed();
    }
    // A small body that never comes: the connection is not kept for it.
    let mut connection = gateway.caller().connect();
    connection.write("POST /admin/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(connection.read_reply(false).map(|reply| reply.status), Some(401));
    connection.assert_closed();
}

#[test]
fn a_body_without_a_length_is_bounded_too() {
    let upstream = Upstream::start();
    let gateway = gateway_to("servers = [\"{main}\"]", "max_body = \"1KiB\"\n", &[("main", upstream.addr())]);
    gateway.call("POST", "/x/1").body(vec![b'x'; 1024]).send().ok();
    gateway.call("POST", "/x/1").body(vec![b'x'; 1025]).send().denied("payload_too_large");
    let (half, more) = ("y".repeat(512), "z".repeat(513));
    gateway.call("POST", "/x/1").chunked(&[&half, &half], &[]).send().ok();
    gateway.call("POST", "/x/1").chunked(&[&half, &more], &[]).send().denied("payload_too_large");
    assert_eq!(upstream.requests().len(), 2);
}
