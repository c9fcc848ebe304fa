//! What is tried again, how long is waited, and what becomes of connections that are kept.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use super::Counted;
use crate::forwarding::{gateway_to, nowhere};
use crate::support::eventually;
use crate::support::scripted::Scripted;

#[test]
fn as_many_servers_are_tried_as_may_be() {
    for (retries, status) in [(0, 502), (2, 502), (3, 200)] {
        let alive = Counted::start();
        let places = [("a", nowhere()), ("b", nowhere()), ("c", nowhere()), ("alive", alive.server.addr())];
        let servers = format!("servers = [\"{{a}}\", \"{{b}}\", \"{{c}}\", \"{{alive}}\"]\nretries = {retries}");
        // The weights of the dead come first in every round.
        let gateway = gateway_to(&servers, "", &places);
        let reply = gateway.call("POST", "/x/1").body("hello").send();
        // Which server is the second is left to chance, as long as it was not tried before.
        if retries == 2 {
            assert!(matches!(reply.status, 200 | 502), "{reply:?}");
        } else {
            assert_eq!(reply.status, status, "{retries}");
        }
    }
}

#[test]
fn a_request_that_may_have_been_executed_is_not_sent_again_however_many_retries_there_are() {
    for method in ["POST", "PUT", "DELETE", "GET"] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let broken = Scripted::start(move |line, _| {
            counted.fetch_add(usize::from(line.request().is_some()), Ordering::SeqCst);
        });
        let well = Counted::start();
        let gateway = gateway_to(
            "servers = [\"{broken}\", \"{well}\"]\nretries = 10",
            "",
            &[("broken", broken.addr()), ("well", well.server.addr())],
        );
        gateway.call(method, "/x/1").send().denied("upstream_unavailable");
        assert_eq!((count.load(Ordering::SeqCst), well.requests()), (1, 0), "{method}");
    }
}

#[test]
fn connections_that_the_upstream_has_ended_meanwhile_cost_no_request() {
    // It answers once on each connection, says nothing about it, and ends it.
    let upstream = Scripted::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let gateway = gateway_to("servers = [\"{main}\"]\nretries = 1", "", &[("main", upstream.addr())]);
    for n in 0..200 {
        assert_eq!(gateway.get("/x/1").send().status, 200, "{n}");
    }
}

#[test]
fn an_unused_connection_is_ended_after_its_time() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let upstream = Scripted::start(move |line, _| {
        while line.request().is_some() {
            line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let main = [("main", upstream.addr())];
    let gateway = gateway_to("servers = [\"{main}\"]\ntimeouts = { idle = \"100ms\" }", "", &main);
    gateway.get("/x/1").send().ok();
    eventually("the connection is ended", || (ended.load(Ordering::SeqCst) == 1).then_some(()));
    gateway.get("/x/1").send().ok();
    assert_eq!(upstream.connections(), 2);
    // And not before: the same requests, a longer time.
    let gateway = gateway_to("servers = [\"{main}\"]\ntimeouts = { idle = \"1h\" }", "", &main);
    for _ in 0..3 {
        gateway.line_of(&gateway.get("/x/1").send().ok());
    }
    assert_eq!(upstream.connections(), 3);
}

/// A listener whose queue is full: whoever connects waits.
fn full() -> (std::net::TcpListener, Vec<TcpStream>, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        socket.listen(1).expect("a listener").into_std().expect("a listener")
    });
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue is never full");
    }
    (listener, waiting, address)
}

#[test]
fn a_connection_that_does_not_come_about_in_time_is_a_gateway_timeout() {
    let (_listener, _waiting, address) = full();
    let upstream = "servers = [\"{main}\"]\ntimeouts = { connect = \"100ms\" }\nretries = 0";
    let gateway = gateway_to(upstream, "", &[("main", address)]);
    let watch = Stopwatch::start();
    gateway.get("/x/1").send().denied("upstream_timeout");
    assert!((Duration::from_millis(100)..Duration::from_secs(5)).contains(&watch.elapsed()), "{:?}", watch.elapsed());
    // Another server is asked instead where there is one, in the same time each.
    let alive = Counted::start();
    let servers = "servers = [\"{full}\", \"{alive}\"]\ntimeouts = { connect = \"100ms\" }";
    let gateway = gateway_to(servers, "", &[("full", address), ("alive", alive.server.addr())]);
    for _ in 0..4 {
        gateway.call("POST", "/x/1").body("hello").send().ok();
    }
    assert_eq!(alive.requests(), 4);
}

#[test]
fn tries_end_with_the_time_for_an_answer() {
    let (_listener, _waiting, address) = full();
    let upstream = "servers = [\"{main}\"]\ntimeouts = { connect = \"200ms\", read = \"500ms\" }\nretries = 10";
    let gateway = gateway_to(upstream, "", &[("main", address)]);
    let watch = Stopwatch::start();
    gateway.get("/x/1").send().denied("upstream_timeout");
    // Three tries, where ten more would take two seconds.
    assert!(
        (Duration::from_millis(500)..Duration::from_millis(1900)).contains(&watch.elapsed()),
        "{:?}",
        watch.elapsed()
    );
}

#[test]
fn an_upstream_that_takes_nothing_of_a_body_is_a_gateway_timeout() {
    let upstream = Scripted::start(|line, _| {
        line.request();
        std::thread::sleep(crate::support::DEADLINE); // leaves the rest unread; ends with the connection's thread
    });
    let gateway = gateway_to(
        // It is given the time for an answer even then: it may have one ready.
        "servers = [\"{main}\"]\ntimeouts = { write = \"200ms\", read = \"1s\" }",
        "max_body = \"64MiB\"",
        &[("main", upstream.addr())],
    );
    let watch = Stopwatch::start();
    let mut connection = gateway.caller().connect();
    let body = vec![b'x'; 48 << 20];
    let mut sender = connection.split();
    let head = format!("POST /x/1 HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n", body.len());
    let sending = std::thread::spawn(move || {
        sender.write(head);
        sender.write(body);
    });
    let reply = connection.read_reply(false).expect("an answer");
    reply.denied("upstream_timeout");
    assert!(watch.elapsed() < Duration::from_secs(8), "{:?}", watch.elapsed());
    drop(connection);
    sending.join().ok();
}

#[test]
fn a_socket_of_this_machine_is_a_server_and_its_tunnels_work() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let check = "health = { path = \"/healthz\", interval = \"100ms\" }";
    let gateway = gateway_to(&format!("servers = [\"unix:{}\"]\n{check}", path.display()), "", &[]);
    let reply = gateway.get("/x/1").send().ok();
    assert_eq!(gateway.line_of(&reply)["server"], format!("unix:{}", path.display()));
    gateway.call("POST", "/x/1").send().ok();
    let mut tunnel = gateway.caller().connect();
    let call = gateway.get("/x/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
    call.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").send_on(&mut tunnel).is(101);
    tunnel.write("through a socket");
    assert_eq!(tunnel.read_exactly(16), b"through a socket");
    let label = format!("unix:{}", path.display());
    gateway.metric_becomes("portcullis_upstream_healthy", &[("server", &label)], 1.0);
    assert_eq!(gateway.get("/x/host").send().ok().text(), "api.test", "the client's Host is kept");
}

fn serve(mut stream: std::os::unix::net::UnixStream) {
    use std::io::Read;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) | Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.contains("websocket") {
            let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(agreed.as_bytes()).ok();
            let mut copy = stream.try_clone().expect("a socket");
            drop(std::io::copy(&mut stream, &mut copy));
            return;
        }
        let host =
            head.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("host")));
        let host = host.map_or("", |(_, host)| host);
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}", host.len()).as_bytes()).ok();
    }
}
