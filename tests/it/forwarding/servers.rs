//! Which server a request goes to, how often, in which time, and with which head.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use super::{gateway_to, nowhere};
use crate::support::caller::Reply;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::Scripted;
use crate::support::upstream::{Respond, Upstream};

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
        // Written down after the connection to the upstream was put aside.
        gateway.line_of(&gateway.get("/x/first").send().ok());
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
