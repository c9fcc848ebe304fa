//! What is allowed is forwarded: to which server, how often, in which time, with which head; and how bodies, streams and
//! tunnels pass through.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use crate::support::caller::Reply;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::{Line, Scripted};
use crate::support::upstream::{Respond, Upstream};
use crate::support::{DEADLINE, eventually};

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address")
}

/// The standard realm with a route `/x/**` that goes to the upstream `main`, which has these keys.
fn gateway_to(upstream: &str, route: &str, places: &[(&str, SocketAddr)]) -> Gateway {
    let realm = format!(
        "\n[[routes]]\nname = \"x\"\npath = \"/x/**\"\nauth = [\"public\"]\nupstream = \"main\"\n{route}\n\
         [upstreams.main]\n{upstream}\n"
    );
    let mut builder = Gateway::builder().standard_with(&Standard::new(), &realm);
    for (name, address) in places {
        builder = builder.place(name, *address);
    }
    // Where nothing else was said.
    builder.place("upstream", nowhere()).start()
}

fn gateway_before(upstream: &Upstream) -> (Gateway, Standard) {
    let standard = Standard::new();
    (Gateway::standard(&standard, upstream), standard)
}

/// Answers with the number that it was started with, and counts.
fn numbered(number: usize) -> (Scripted, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let upstream = Scripted::start(move |line, _| {
        while line.request().is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
            line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"));
        }
    });
    (upstream, count)
}

#[test]
fn x08_an_upstream_that_is_down_is_a_bad_gateway_in_the_realms_words() {
    let realm = "\n[errors]\nbody = { error = '$code' }\n[errors.on.upstream_unavailable]\ncode = 'ORIGIN_DOWN'\n";
    let down = nowhere();
    let gateway = Gateway::builder().standard_with(&Standard::new(), realm).place("upstream", down).start();
    let reply = gateway.get("/public/x").send().is(502);
    assert_eq!(reply.json(), serde_json::json!({"error": "ORIGIN_DOWN"}));
    let line = gateway.line_of(&reply);
    assert_eq!((&line["outcome"], &line["reason"]), (&"error".into(), &"upstream_unavailable".into()));
    assert_eq!((&line["status"], &line["server"]), (&502.into(), &down.to_string().into()));

    let gateway = Gateway::builder().standard(&Standard::new()).place("upstream", down).start();
    let reply = gateway.get("/public/x").send();
    reply.clone().denied("upstream_unavailable");
    let shown = format!("{reply:?}");
    assert!(!shown.contains("127.0.0.1") && !shown.contains(&down.port().to_string()), "{shown}");
    gateway.get("/admin/x").send().denied("missing_credentials");
}

#[test]
fn x08_an_upstream_that_is_slow_is_a_gateway_timeout() {
    let upstream = Upstream::start();
    upstream.respond(Respond::Hold);
    let gateway = gateway_to(
        "servers = [\"{main}\"]",
        "timeouts = { read = \"100ms\" }\n",
        &[("main", upstream.addr()), ("upstream", upstream.addr())],
    );
    let watch = Stopwatch::start();
    let reply = gateway.get("/x/1").send();
    reply.clone().denied("upstream_timeout");
    assert!((Duration::from_millis(100)..Duration::from_secs(5)).contains(&watch.elapsed()), "{:?}", watch.elapsed());
    assert!(!reply.text().contains("127.0.0.1"));
    assert_eq!(gateway.line_of(&reply)["outcome"], "error");
    // The timeout is the route's: on another one the upstream may take longer.
    let mut patient = gateway.caller().connect();
    patient.write(gateway.get("/public/x").bytes());
    eventually("the second request is held", || (upstream.requests().len() == 2).then_some(()));
    gateway.get("/x/2").send().denied("upstream_timeout");
    upstream.release();
    assert_eq!(patient.read_reply(false).map(|reply| reply.status), Some(200));
}

#[test]
fn servers_take_turns() {
    let (one, two) = (numbered(1), numbered(2));
    let gateway = gateway_to("servers = [\"{one}\", \"{two}\"]", "", &[("one", one.0.addr()), ("two", two.0.addr())]);
    for _ in 0..10 {
        gateway.get("/x/1").send().ok();
    }
    assert_eq!([&one.1, &two.1].map(|count| count.load(Ordering::SeqCst)), [5, 5]);
}

#[test]
fn one_dead_server_is_noticed_by_nobody_and_avoided() {
    let (alive, count) = numbered(1);
    let gateway =
        gateway_to("servers = [\"{dead}\", \"{alive}\"]", "", &[("dead", nowhere()), ("alive", alive.addr())]);
    // POST too: nothing was sent to the dead one. All at once: who is asked again does not depend on the others.
    let start = Arc::new(Barrier::new(16));
    let callers: Vec<_> = (0..16)
        .map(|n| {
            let call = gateway.call(if n % 2 == 0 { "POST" } else { "GET" }, "/x/1").body("hello");
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                start.wait();
                call.send().ok()
            })
        })
        .collect();
    let replies: Vec<Reply> = callers.into_iter().map(|caller| caller.join().expect("an answer")).collect();
    assert_eq!(count.load(Ordering::SeqCst), 16);
    assert!(replies.iter().all(|reply| gateway.line_of(reply)["server"] == alive.addr().to_string()));

    let gateway = gateway_to("servers = [\"{one}\", \"{two}\"]", "", &[("one", nowhere()), ("two", nowhere())]);
    for _ in 0..4 {
        gateway.get("/x/1").send().denied("upstream_unavailable");
    }
}

#[test]
fn a_server_that_was_dead_is_used_again_after_a_while() {
    let (alive, count) = numbered(1);
    let dead = nowhere();
    let gateway = gateway_to("servers = [\"{dead}\", \"{alive}\"]", "", &[("dead", dead), ("alive", alive.addr())]);
    for _ in 0..4 {
        gateway.get("/x/1").send().ok();
    }
    let Ok(listener) = std::net::TcpListener::bind(dead) else { return }; // somebody else took the port
    let risen = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2").expect("a client");
    });
    let before = count.load(Ordering::SeqCst);
    gateway.get("/x/1").send().ok();
    gateway.get("/x/1").send().ok();
    assert_eq!(count.load(Ordering::SeqCst), before + 2);
    gateway.pass(Duration::from_secs(10));
    eventually("the risen server is asked", || {
        let text = gateway.get("/x/1").send().ok().text();
        (text == "2").then_some(())
    });
    risen.join().expect("it served");
}

/// An upstream whose connections die when they are used again: they answer once, read the next request, and end.
fn dying(seen: Arc<Mutex<Vec<String>>>) -> Scripted {
    Scripted::start(move |line, _| {
        for answers in [true, false] {
            let Some(head) = line.request() else { return };
            seen.lock().expect("no panic").push(head.split("\r\n").next().unwrap_or_default().to_owned());
            let length = head.lines().find_map(|field| field.strip_prefix("Content-Length: ")?.trim().parse().ok());
            line.take(length.unwrap_or(0));
            if answers {
                line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    })
}

#[test]
fn only_what_changes_nothing_is_asked_again_on_a_connection_that_died() {
    for (method, body, again) in [
        ("GET", "", true),
        ("HEAD", "", true),
        ("OPTIONS", "", true),
        ("GET", "hello", false),
        ("DELETE", "", false),
        ("PUT", "hello", false),
        ("PUT", "", false),
        ("POST", "hello", false),
        ("POST", "", false),
        ("PATCH", "hello", false),
        ("QUERY", "", true),
    ] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upstream = dying(Arc::clone(&seen));
        let gateway = gateway_to("servers = [\"{main}\"]", "", &[("main", upstream.addr())]);
        gateway.get("/x/first").send().ok();
        let call = gateway.call(method, "/x/second");
        let call = if body.is_empty() { call } else { call.body(body) };
        let reply = call.send();
        assert_eq!(reply.status, if again { 200 } else { 502 }, "{method} {body:?}");
        let times = seen.lock().expect("no panic").iter().filter(|line| line.contains("second")).count();
        assert_eq!(times, if again { 2 } else { 1 }, "{method} {body:?}");
    }
}

#[test]
fn nothing_is_asked_again_on_a_new_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let upstream = Scripted::start(move |line, _| {
        counted.fetch_add(usize::from(line.request().is_some()), Ordering::SeqCst);
    });
    let gateway = gateway_to("servers = [\"{main}\"]", "", &[("main", upstream.addr())]);
    gateway.get("/x/1").send().denied("upstream_unavailable");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_name_is_looked_up_and_an_address_of_it_that_is_dead_is_passed_over() {
    // `localhost` has an address of each family on most machines; here only one of them is served.
    for ip in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
        if std::net::TcpListener::bind((ip, 0)).is_err() {
            continue; // a machine without IPv6
        }
        let upstream = Scripted::start_on(ip, |line, _| {
            while line
                .request()
                .is_some_and(|head| head.contains("\r\nHost: localhost:") || head.contains("host: local"))
            {
                line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        let servers = format!("servers = [\"localhost:{}\"]\nhost = \"upstream\"", upstream.addr().port());
        let gateway = gateway_to(&servers, "", &[]);
        let reply = gateway.get("/x/1").send();
        if reply.status == 502 && ip.is_ipv6() {
            continue; // a machine that does not call ::1 localhost
        }
        reply.ok();
        for _ in 0..5 {
            gateway.get("/x/1").send().ok();
        }
        let line = gateway.log().line_where("a line", |line| line["status"] == 200);
        assert_eq!(line["server"], format!("localhost:{}", upstream.addr().port()));
    }
    let gateway = gateway_to("servers = [\"no-such-name.invalid:80\"]", "", &[]);
    gateway.get("/x/1").send().denied("upstream_unavailable");
}

#[test]
fn a_head_is_changed_as_the_route_says() {
    let upstream = Upstream::start();
    let main = [("main", upstream.addr())];
    let route = "strip_prefix = \"/x\"\nheaders = { add = { X-Team = \"blue\", Accept = \"text/plain\" }, remove = [\"X-Debug\"] }\n";
    let gateway = gateway_to("servers = [\"{main}\"]\nhost = \"upstream\"", route, &main);
    let call = gateway.get("/x/a%2Db/c?q=1&r=%2F").header("X-Debug", "1").header("x-debug", "2");
    call.header("Accept", "image/png").header("X-Team", "red").header("X-Other", "stays").send().ok();
    let seen = upstream.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a-b/c?q=1&r=%2F"));
    assert_eq!(seen.header("Host"), Some(&*upstream.addr().to_string()));
    assert_eq!(seen.header("X-Forwarded-Host"), Some("api.test"));
    assert_eq!((seen.header("X-Team"), seen.header("Accept")), (Some("blue"), Some("text/plain")));
    assert_eq!((seen.header("X-Debug"), seen.header("X-Other")), (None, Some("stays")));
    upstream.forget();
    gateway.get("/x").send().ok();
    assert_eq!(upstream.only().target, "/");

    upstream.forget();
    let gateway = gateway_to("servers = [\"{main}\"]", "", &main);
    gateway.get("/x/a?b").send().ok();
    assert_eq!((upstream.only().target.as_str(), upstream.only().header("Host")), ("/x/a?b", Some("api.test")));
}

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
