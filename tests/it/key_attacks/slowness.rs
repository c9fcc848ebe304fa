//! F-02: the store is slow. Who needs it waits for a bounded time, nobody else waits, and nothing piles up.

use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::json;

use super::{House, with_key};
use crate::support::eventually;
use crate::support::postgres::Postgres;
use crate::support::realms::{api_key, key_prefix};
use crate::support::wire::Wire;

const SLOW: Duration = Duration::from_secs(5);

/// A request waits for the store for two seconds; the rest is for a machine that is busy.
const WAIT: Duration = Duration::from_secs(4);

fn behind_a_wire(store: &str) -> (House, Wire) {
    let server = Postgres::shared();
    let url = server.new_database();
    let wire = Wire::to(([127, 0, 0, 1], server.port()).into());
    let through = url.replace(&format!(":{}/", server.port()), &format!(":{}/", wire.addr().port()));
    (House::with(|builder| builder.database(&through).store_toml(store)), wire)
}

#[test]
fn f02_a_slow_store_is_waited_for_by_those_alone_who_need_it_and_not_without_end() {
    let (house, wire) = behind_a_wire("max_staleness = \"1h\"");
    let (remembered, unseen, token) = (house.key().secret, house.key().secret, house.token());
    house.call(&remembered).send().ok();
    let before = house.gw.store_tasks();
    wire.delay(SLOW);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..100)
            .map(|n| {
                let key = if n == 0 { unseen.clone() } else { api_key(&key_prefix()) };
                let house = &house;
                scope.spawn(move || {
                    let watch = Stopwatch::start();
                    let reply = house.call(&key).send();
                    (reply, watch.elapsed())
                })
            })
            .collect();
        // Meanwhile: tokens, keys in memory, and what is public do not wait.
        for _ in 0..20 {
            let watch = Stopwatch::start();
            house.gw.get("/jwt/x").bearer(&token).send().ok();
            house.gw.get("/public/x").send().ok();
            house.call(&remembered).send().ok();
            assert!(watch.elapsed() < Duration::from_secs(1), "{:?}", watch.elapsed());
        }
        for one in waiting {
            let (reply, taken) = one.join().expect("an answer");
            reply.denied("store_unavailable");
            assert!(taken < WAIT, "{taken:?}");
        }
    });
    // One look at the feed, and whatever is being read: not one task for each who has asked.
    assert!(house.gw.store_tasks() <= before + 80, "{} tasks, {before} before", house.gw.store_tasks());
    let watch = Stopwatch::start();
    let reply = house.admin().order(format!("/clients/{}/disable", house.team));
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("store_unavailable")), "{reply:?}");
    assert!(watch.elapsed() < Duration::from_secs(9), "{:?}", watch.elapsed());

    wire.flow();
    let watch = Stopwatch::start();
    eventually("keys are read again", || (house.call(&unseen).send().status == 200).then_some(()));
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    eventually("no task is left", || (house.gw.store_tasks() <= before + 4).then_some(()));
}

#[test]
fn f02_a_store_that_comes_and_goes_never_makes_a_good_key_a_bad_one() {
    let (house, wire) = behind_a_wire("max_staleness = \"1s\"");
    let key = house.key();
    house.call(&key.secret).send().ok();
    let (connections, watch) = (wire.connections(), Stopwatch::start());
    for turn in 0..6 {
        match turn % 3 {
            0 => wire.cut(),
            1 => wire.hold(),
            _ => wire.delay(Duration::from_millis(300)),
        }
        for _ in 0..3 {
            let reply = with_key(&house.gw.caller(), &key.secret).send();
            assert!(matches!(reply.status, 200 | 503), "{reply:?}");
            let reply = house.call(&api_key(&key_prefix())).send();
            assert!(reply.status == 503 || reply.json()["code"] == "key_unknown", "{reply:?}");
        }
        wire.flow();
        eventually("it works between two faults", || (house.call(&key.secret).send().status == 200).then_some(()));
    }
    // Whoever tries again does not do so without a pause.
    let tries = wire.connections() - connections;
    println!("{tries} connections in {:?}", watch.elapsed());
    assert!(tries < 300, "{tries} connections in {:?}", watch.elapsed());
}
