//! Bounds of connections: who is inside is served, who is too many is closed at once, and places come free again.

use std::fs;

use super::{House, admitted, assert_refused, served};
use crate::support::caller::Caller;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::process::{Run, Served};
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

#[test]
fn one_connection_too_many_is_closed_at_once_and_a_place_comes_free_with_its_connection() {
    let house = House::with("127.0.0.1:0", "max_connections = 3");
    let caller = house.gateway.caller();
    let mut inside: Vec<_> = (0..3).map(|_| served(&caller, "")).collect();
    house.is_open(3);
    assert_refused(caller.connect());
    assert!(admitted(&caller, "").is_none());
    house.becomes_turned_away("max_connections", 2);
    for connection in &mut inside {
        caller.get("/public/x").send_on(connection).ok();
    }
    inside.pop();
    inside.push(eventually("a place comes free", || admitted(&caller, "")));
    drop(inside);
    house.is_open(0);
}

#[test]
fn the_bound_holds_for_all_listeners_together_and_not_for_the_admin_side() {
    let upstream = Upstream::start();
    let gateway = Gateway::builder()
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0")
        .standard(&Standard::new())
        .server_toml("max_connections = 2")
        .upstream(&upstream)
        .start();
    let callers = [0, 1].map(|n| Caller::new(gateway.addrs()[n]));
    let _inside = callers.each_ref().map(|caller| served(caller, ""));
    for (caller, address) in callers.iter().zip(gateway.addrs()) {
        assert_refused(caller.connect());
        let listener = address.to_string();
        gateway.metric_becomes("portcullis_connections_open", &[("listener", &listener)], 1.0);
        gateway.metric_becomes("portcullis_connections_refused_total", &[("listener", &listener)], 1.0);
    }
    gateway.admin_get("/readyz").is(200);
}

#[test]
fn a_thousand_connections_too_many_do_no_harm_to_those_inside() {
    let house = House::with("127.0.0.1:0", "max_connections = 5");
    let caller = house.gateway.caller();
    let mut inside: Vec<_> = (0..5).map(|_| served(&caller, "")).collect();
    for round in 0..10 {
        // All of them at once: none waits for another to be refused.
        let outside: Vec<_> = (0..100).map(|_| caller.connect()).collect();
        for connection in &mut inside {
            caller.get("/public/x").send_on(connection).ok();
        }
        for connection in outside {
            assert_refused(connection);
        }
        house.becomes_turned_away("max_connections", 100 * (round + 1));
    }
    house.is_open(5);
    drop(inside);
    eventually("there is room again", || admitted(&caller, ""));
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() {
    let house = House::with("127.0.0.1:0", "max_connections_per_address = 2\ntrusted_proxies = [\"127.0.0.9\"]");
    let caller = house.gateway.caller();
    let mut inside: Vec<_> = (0..2).map(|_| served(&caller, "")).collect();
    assert_refused(caller.connect());
    house.becomes_turned_away("max_connections_per_address", 1);
    let other = house.gateway.caller().from("127.0.0.2");
    inside.extend((0..2).map(|_| served(&other, "")));
    assert!(admitted(&other, "").is_none());
    // Behind a trusted proxy there are many clients.
    let proxy = house.gateway.caller().from("127.0.0.9");
    inside.extend((0..10).map(|_| served(&proxy, "")));
    house.is_open(14);
    inside.remove(0);
    let _next = eventually("a place comes free", || admitted(&caller, ""));
    assert!(house.turned_away("max_connections_per_address") >= 2.0);
}

#[test]
fn an_address_counts_that_a_header_tells() {
    let listener = "{ address = \"127.0.0.1:0\", proxy_protocol = true }";
    let house = House::with(listener, "max_connections_per_address = 2\ntrusted_proxies = [\"127.0.0.1\"]");
    let caller = house.gateway.caller();
    let header = |client: &str| format!("PROXY TCP6 {client} ::1 4711 443\r\n");
    let mut inside: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(|client| served(&caller, header(client))).into();
    assert!(admitted(&caller, header("2001:db8::3")).is_none(), "a /64 is one subscriber");
    inside.push(served(&caller, header("2001:db8:0:1::1")));
    // The proxy's own connections, which look after the gateway's health, are not counted.
    inside.extend((0..5).map(|_| served(&caller, "PROXY UNKNOWN\r\n")));
    inside.drain(..2);
    eventually("a place comes free", || admitted(&caller, header("2001:db8::3")));
}

/// Whatever the configuration says, there are no more connections than the process has descriptors for: without any it
/// could not even ask an upstream for those inside.
#[test]
fn descriptors_do_not_run_out_before_connections_do() {
    let upstream = Upstream::start();
    let builder = Gateway::builder().standard(&Standard::new()).upstream(&upstream).server_toml("threads = 1\nmax_connections = 20000");
    let (directory, env) = (builder.write(), builder.environment().clone());
    let process = Run::new(["serve"]).config(directory.path()).envs(&env).descriptors(300).start();
    let gateway = Served::of(process, directory);
    let line = gateway.says("may not have the descriptors that server.max_connections needs");
    assert_eq!((&line["max_connections"], &line["descriptors"]), (&20_000.into(), &300.into()), "{line}");
    let most = usize::try_from(line["lowered_to"].as_u64().expect("a number")).expect("small");
    assert!((1..150).contains(&most), "{line}");

    let caller = gateway.caller();
    let mut inside: Vec<_> = (0..most).map(|_| served(&caller, "")).collect();
    let outside: Vec<_> = (0..300).map(|_| caller.connect()).collect();
    for connection in outside {
        assert_refused(connection);
    }
    for connection in &mut inside {
        caller.get("/public/x").send_on(connection).ok();
    }
    let used = fs::read_dir(format!("/proc/{}/fd", gateway.process.id())).expect("its descriptors").count();
    assert!(used < 300, "{used}");
    let sample =
        format!("portcullis_connections_refused_total{{listener=\"{}\",why=\"max_connections\"}}", gateway.addrs[0]);
    let refused = gateway.metric(&sample).unwrap_or_default();
    assert!(refused >= 300.0, "{refused}");
    assert!(!gateway.process.err.text().contains("Accept() failed"));
}
