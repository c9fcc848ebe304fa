//! A server that others have written: nginx of Debian, with its own ideas of when a connection ends. Killed and started
//! again while requests come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::forwarding::gateway_to;
use crate::support::eventually;
use crate::support::nginx::Nginx;

/// A server that tells what it saw.
fn serve(listen: &str, more: &str) -> Nginx {
    Nginx::start(&format!(
        "server {{\nlisten {{address}}{listen};\n{more}\n\
         location / {{ add_header X-Seen \"$request_method $server_protocol $host $http_x_forwarded_for\" always; return 200 \"nginx $request_uri\"; }}\n\
         location /x/status/ {{ return 418; }}\n}}"
    ))
}

#[test]
fn nginx_is_served_from_over_both_protocols() {
    for (listen, protocol, spoken) in [("", "http1", "HTTP/1.1"), (" http2", "http2", "HTTP/2.0")] {
        let nginx = serve(listen, "");
        let servers = format!("servers = [\"{{main}}\"]\nprotocol = \"{protocol}\"");
        let gateway = gateway_to(&servers, "max_body = \"10MiB\"", &[("main", nginx.address)]);
        let reply = gateway.get("/x/a?b=%2F").send().ok();
        assert_eq!(reply.text(), "nginx /x/a?b=%2F");
        assert_eq!(reply.header("x-seen"), Some(&*format!("GET {spoken} api.test 127.0.0.1")));
        assert_eq!(gateway.call("HEAD", "/x/a").send().ok().text(), "");
        for size in [0, 5, 100_000, 5_000_000] {
            gateway.call("POST", "/x/b").body(vec![b'x'; size]).send().ok();
        }
        gateway.get("/x/status/").send().is(418);
    }
}

#[test]
fn connections_that_nginx_ends_by_its_own_rules_cost_no_request() {
    // After three requests each, and after a tenth of a second.
    let nginx = serve("", "keepalive_requests 3; keepalive_timeout 100ms;");
    let gateway = gateway_to("servers = [\"{main}\"]", "", &[("main", nginx.address)]);
    let mut connection = gateway.caller().connect();
    for n in 0..300 {
        let call = gateway.get("/x/1");
        assert_eq!(call.send_on(&mut connection).status, 200, "{n}");
    }
}

/// Sends requests on `clients` threads while `meanwhile` runs; tells how many went well and how many did not.
fn under_load(address: SocketAddr, clients: usize, meanwhile: impl FnOnce(&AtomicUsize)) -> (usize, usize) {
    let (stop, good, bad) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (stop, good, bad) = (Arc::clone(&stop), Arc::clone(&good), Arc::clone(&bad));
            // Named like a test's thread: the gateway is not to blame for what fails here.
            let thread = std::thread::Builder::new().name("it-client::load".to_owned());
            let run = move || {
                let call = crate::support::caller::Caller::new(address).host("api.test").get("/x/1");
                while !stop.load(Ordering::SeqCst) {
                    let counter = if call.send().status == 200 { &good } else { &bad };
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            };
            thread.spawn(run).expect("a thread")
        })
        .collect();
    meanwhile(&good);
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("a client ran"));
    (good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst))
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_no_more_than_what_it_had_begun() {
    const CLIENTS: usize = 4;
    const KILLS: usize = 3;
    let (mut one, two) = (serve("", ""), serve("", ""));
    let health = "health = { path = \"/healthz\", interval = \"100ms\", unhealthy = 1, healthy = 1 }";
    let gateway = gateway_to(
        &format!("servers = [\"{{one}}\", \"{{two}}\"]\nretries = 2\n{health}"),
        "",
        &[("one", one.address), ("two", two.address)],
    );
    let answers = |good: &AtomicUsize, count: usize| {
        let aim = good.load(Ordering::SeqCst) + count;
        eventually("more answers", || (good.load(Ordering::SeqCst) >= aim).then_some(()));
    };
    let (good, bad) = under_load(gateway.addr(), CLIENTS, |good| {
        for _ in 0..KILLS {
            answers(good, 50);
            one.kill();
            answers(good, 50);
            one.again();
            super::becomes_healthy(&gateway, one.address, true);
        }
        answers(good, 50);
    });
    println!("{good} requests went well, {bad} did not, while one of two servers was killed {KILLS} times");
    // Each client has at most one request at the server when that dies; on a connection that was new, nobody knows whether
    // it was executed.
    assert!(good >= 7 * 50 && bad <= CLIENTS * KILLS, "{good} {bad}");
    assert_eq!(gateway.get("/x/1").send().status, 200);
}
