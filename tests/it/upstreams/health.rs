//! Servers that are sick: found by checks, or by requests.

use std::net::TcpListener;
use std::time::Duration;

use super::{Counted, becomes_healthy};
use crate::forwarding::{gateway_to, nowhere};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::scripted::Scripted;

const CHECK: &str =
    "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"1s\", healthy = 2, unhealthy = 2 }";

fn two(one: &Counted, two: &Counted, more: &str) -> Gateway {
    let places = [("one", one.server.addr()), ("two", two.server.addr())];
    gateway_to(&format!("servers = [\"{{one}}\", \"{{two}}\"]\n{more}"), "", &places)
}

#[test]
fn a_sick_server_is_taken_out_and_brought_back() {
    let (sick, well) = (Counted::start(), Counted::start());
    let gateway = two(&sick, &well, CHECK);
    becomes_healthy(&gateway, sick.server.addr(), true);
    sick.is_sick(true);
    becomes_healthy(&gateway, sick.server.addr(), false);
    let before = sick.requests();
    for _ in 0..10 {
        gateway.get("/x/1").send().ok();
    }
    assert_eq!((sick.requests(), well.requests()), (before, 10));
    sick.is_sick(false);
    becomes_healthy(&gateway, sick.server.addr(), true);
    for _ in 0..10 {
        gateway.get("/x/1").send().ok();
    }
    assert_eq!(sick.requests(), before + 5);
}

#[test]
fn without_a_healthy_server_requests_are_refused_at_once_and_the_gateway_stays_ready() {
    let (one, other) = (Counted::start(), Counted::start());
    [&one, &other].iter().for_each(|server| server.is_sick(true));
    let gateway = two(&one, &other, CHECK);
    // The first check takes them out alone.
    [&one, &other].iter().for_each(|server| becomes_healthy(&gateway, server.server.addr(), false));
    gateway.call("POST", "/x/1").body("hello").send().denied("upstream_unavailable");
    assert_eq!(one.requests() + other.requests(), 0);
    // Another gateway would find them just as sick, and other realms are served here.
    gateway.admin_get("/readyz").is(200);
}

#[test]
fn what_checks_found_outlives_a_reload_and_ends_with_them() {
    let (sick, well) = (Counted::start(), Counted::start());
    sick.is_sick(true);
    let gateway = two(&sick, &well, CHECK);
    becomes_healthy(&gateway, sick.server.addr(), false);
    let text = gateway.realm_file();
    gateway.rewrite("realms/realm0.toml", &(text.clone() + "\n[limits.unused]\nby = \"address\"\nrate = \"1/s\"\n"));
    gateway.reload().expect("a good configuration");
    for _ in 0..4 {
        gateway.get("/x/1").send().ok();
    }
    assert_eq!((sick.requests(), well.requests()), (0, 4));
    gateway.rewrite("realms/realm0.toml", &text.replace(CHECK, ""));
    gateway.reload().expect("a good configuration");
    becomes_healthy(&gateway, sick.server.addr(), true);
    for _ in 0..4 {
        gateway.get("/x/1").send().ok();
    }
    assert_eq!(sick.requests(), 2);
    let checks = sick.checks();
    gateway.rewrite("realms/realm0.toml", &text);
    gateway.reload().expect("a good configuration");
    becomes_healthy(&gateway, sick.server.addr(), false);
    assert!(sick.checks() > checks);
}

#[test]
fn a_server_that_does_not_answer_its_check_or_redirects_it_is_sick() {
    let mute = Scripted::start(|line, _| line.until_closed());
    let elsewhere = Scripted::answering("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n");
    for server in [&mute, &elsewhere] {
        let check = "health = { path = \"/\", interval = \"100ms\", timeout = \"100ms\" }";
        let gateway = gateway_to(&format!("servers = [\"{{main}}\"]\n{check}"), "", &[("main", server.addr())]);
        becomes_healthy(&gateway, server.addr(), false);
    }
    let check = "health = { path = \"/\", status = [302], interval = \"100ms\", host = \"check.example\" }";
    let gateway = gateway_to(&format!("servers = [\"{{main}}\"]\n{check}"), "", &[("main", elsewhere.addr())]);
    let checked = elsewhere.connections();
    eventually("another check", || (elsewhere.connections() > checked + 1).then_some(()));
    becomes_healthy(&gateway, elsewhere.addr(), true);
}

#[test]
fn a_port_that_nobody_listens_on_is_found_and_found_again() {
    let place = nowhere();
    let check = "health = { tcp = true, interval = \"100ms\", healthy = 1, unhealthy = 1 }";
    let gateway = gateway_to(&format!("servers = [\"{{main}}\"]\n{check}"), "", &[("main", place)]);
    becomes_healthy(&gateway, place, false);
    let Ok(listener) = TcpListener::bind(place) else { return }; // somebody else took the port
    becomes_healthy(&gateway, place, true);
    drop(listener);
    becomes_healthy(&gateway, place, false);
}

/// Takes a request, and ends the connection.
fn breaking() -> Scripted {
    Scripted::start(|line, _| drop(line.request()))
}

#[test]
fn a_server_that_fails_requests_is_left_alone_for_a_while() {
    let (broken, well) = (breaking(), Counted::start());
    let gateway = gateway_to(
        "servers = [\"{broken}\", \"{well}\"]\neject = { failures = 2, for = \"10s\" }",
        "",
        &[("broken", broken.addr()), ("well", well.server.addr())],
    );
    let send = |count: usize| (0..count).filter(|_| gateway.call("POST", "/x/1").send().status == 502).count();
    assert_eq!(send(20), 2);
    becomes_healthy(&gateway, broken.addr(), false);
    assert_eq!(broken.connections(), 2);
    // Then it has another chance, of as many.
    gateway.pass(Duration::from_secs(10));
    becomes_healthy(&gateway, broken.addr(), true);
    assert_eq!(send(20), 2);
}

#[test]
fn statuses_are_failures_only_where_that_is_said() {
    let busy = Scripted::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    for (statuses, expected) in [("", 10), (", statuses = [503]", 3)] {
        let well = Counted::start();
        let gateway = gateway_to(
            &format!("servers = [\"{{busy}}\", \"{{well}}\"]\neject = {{ failures = 3{statuses} }}"),
            "",
            &[("busy", busy.addr()), ("well", well.server.addr())],
        );
        let busy = (0..20).filter(|_| gateway.get("/x/1").send().status == 503).count();
        assert_eq!(busy, expected, "{statuses}");
    }
}

#[test]
fn the_last_server_is_never_left_alone() {
    let broken = [breaking(), breaking()];
    let gateway = gateway_to(
        "servers = [\"{one}\", \"{two}\"]\neject = { failures = 1 }",
        "",
        &[("one", broken[0].addr()), ("two", broken[1].addr())],
    );
    for _ in 0..20 {
        gateway.call("POST", "/x/1").send().denied("upstream_unavailable");
    }
    // Each was asked again and again: nobody else was there.
    assert!(broken.iter().all(|server| server.connections() > 2));
    assert_eq!(broken.iter().map(Scripted::connections).sum::<usize>(), 20);
}
