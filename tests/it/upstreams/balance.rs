//! Who gets a request, and how many there may be.

use std::collections::HashMap;

use super::Counted;
use crate::forwarding::gateway_to;
use crate::support::eventually;
use crate::support::upstream::{Respond, Upstream};

#[test]
fn each_server_gets_what_its_weight_says() {
    let [one, two, drained] = [Counted::start(), Counted::start(), Counted::start()];
    let places = [("one", one.server.addr()), ("two", two.server.addr()), ("drained", drained.server.addr())];
    let servers = "servers = [{ address = \"{one}\", weight = 3 }, \"{two}\", { address = \"{drained}\", weight = 0 }]";
    let gateway = gateway_to(servers, "", &places);
    for _ in 0..20 {
        gateway.get("/x/1").send().ok();
    }
    assert_eq!([&one, &two, &drained].map(Counted::requests), [15, 5, 0]);
}

#[test]
fn a_server_that_is_slow_gets_less_where_the_least_busy_one_is_chosen() {
    let (slow, fast) = (Upstream::start(), Counted::start());
    slow.respond(Respond::Hold);
    let gateway = gateway_to(
        "servers = [\"{slow}\", \"{fast}\"]\nbalance = \"least_connections\"",
        "",
        &[("slow", slow.addr()), ("fast", fast.server.addr())],
    );
    let mut waiting = gateway.caller().connect();
    waiting.write(gateway.get("/x/held").bytes());
    eventually("one is held", || (slow.requests().len() == 1).then_some(()));
    for _ in 0..10 {
        let reply = gateway.get("/x/1").send().ok();
        // It is on its way until it is written down.
        gateway.line_of(&reply);
    }
    assert_eq!((slow.requests().len(), fast.requests()), (1, 10));
    slow.release();
    assert_eq!(waiting.read_reply(false).map(|reply| reply.status), Some(200));
    // It has nothing to do any more: they take turns again.
    for _ in 0..10 {
        let reply = gateway.get("/x/1").send().ok();
        gateway.line_of(&reply);
    }
    assert_eq!(slow.requests().len(), 6);
}

#[test]
fn a_client_address_keeps_its_server_and_only_those_of_a_lost_server_move() {
    let servers: Vec<_> = (0..3).map(|_| Counted::start()).collect();
    let places: Vec<_> = ["a", "b", "c"].into_iter().zip(servers.iter().map(|counted| counted.server.addr())).collect();
    let text = "servers = [\"{a}\", \"{b}\", { address = \"{c}\", weight = 1 }]\nbalance = \"hash_address\"";
    let gateway = gateway_to(text, "", &places);
    let homes = || -> HashMap<u8, String> {
        let home = |client: u8| {
            let reply = gateway.caller().from(&format!("127.0.1.{client}")).get("/x/1").send().ok();
            (client, gateway.line_of(&reply)["server"].as_str().expect("a server").to_owned())
        };
        (1..=30).map(home).collect()
    };
    let before = homes();
    assert_eq!(homes(), before);
    let lost = places[2].1.to_string();
    let count = before.values().filter(|server| **server == lost).count();
    assert!((1..30).contains(&count), "{before:?}");
    gateway.rewrite("realms/realm0.toml", &gateway.realm_file().replace("weight = 1", "weight = 0"));
    gateway.reload().expect("a good configuration");
    let after = homes();
    for (client, server) in &before {
        assert!(after[client] == *server || *server == lost, "{client} moved without need");
    }
    assert!(after.values().all(|server| *server != lost));
}

#[test]
fn no_more_requests_are_on_their_way_than_may_be() {
    let upstream = Upstream::start();
    upstream.respond(Respond::Hold);
    let gateway = gateway_to("servers = [\"{main}\"]\nmax_connections = 2", "", &[("main", upstream.addr())]);
    let held = |count: usize| {
        eventually("they are held", || (upstream.requests().len() == count).then_some(()));
    };
    let mut first: Vec<_> = (0..2).map(|_| gateway.caller().connect()).collect();
    first.iter_mut().for_each(|connection| connection.write(gateway.get("/x/held").bytes()));
    held(2);
    let full = gateway.get("/x/1").send();
    assert_eq!(full.header("retry-after"), Some("1"));
    assert_eq!(gateway.line_of(&full)["outcome"], "denied");
    full.denied("overloaded");
    assert_eq!(upstream.requests().len(), 2);
    // A client that leaves gives its place back.
    drop(first.pop());
    upstream.release();
    assert_eq!(first[0].read_reply(false).map(|reply| reply.status), Some(200));
    eventually("there is room again", || (gateway.get("/x/1").send().status == 200).then_some(()));
    for _ in 0..5 {
        gateway.line_of(&gateway.get("/x/1").send().ok());
    }
}

#[test]
fn a_tunnel_takes_a_place_until_it_ends() {
    let upstream = Upstream::start();
    upstream.respond(Respond::WebSocket);
    let gateway = gateway_to("servers = [\"{main}\"]\nmax_connections = 1", "", &[("main", upstream.addr())]);
    let mut tunnel = gateway.caller().connect();
    let call = gateway.get("/x/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
    call.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").send_on(&mut tunnel).is(101);
    gateway.get("/x/1").send().denied("overloaded");
    drop(tunnel);
    eventually("the place is free", || (gateway.get("/x/1").send().status == 200).then_some(()));
}
