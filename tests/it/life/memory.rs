//! What the process holds on to.

use std::collections::BTreeMap;

use serde_json::json;

use crate::key_attacks::sqlite_in;
use crate::support::administrator::Administrator;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// Logins at the same time.
const LOGINS: usize = 200;

/// What one hash takes, in KiB; the allocator may keep as much again before it gives anything back.
const HASH_KIB: u64 = 19 * 1024;

/// What everything else may take that was not there before: connections, sessions, caches.
const SLACK_KIB: u64 = 48 * 1024;

const PASSWORD: &str = "correct horse battery staple";

#[test]
fn a_storm_of_logins_leaves_no_more_memory_behind_than_the_seats_take() {
    let upstream = Upstream::start();
    let served = Gateway::builder().shipped_realm("affilync").upstream(&upstream).serve();
    let admin = Administrator::of_process(served.admin, &sqlite_in(served.directory()));
    let made = json!({ "realm": "affilync", "kind": "user", "identifier": "a@example.com" });
    let id = admin.post("/clients", &made).is(201).json()["id"].as_str().expect("an id").to_owned();
    admin.post(format!("/clients/{id}/password"), &json!({ "password": PASSWORD })).is(200);
    let login = || {
        let body = json!({ "email": "a@example.com", "password": PASSWORD }).to_string();
        let caller = served.caller().host("api.affilync.com");
        caller.post("/api/auth/login").header("Content-Type", "application/json").body(body).send().status
    };
    assert_eq!(login(), 200);

    let before = served.process.status("VmRSS");
    let mut statuses = BTreeMap::new();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..LOGINS).map(|_| scope.spawn(login)).collect();
            for one in running {
                *statuses.entry(one.join().expect("an answer")).or_insert(0) += 1;
            }
        });
    }
    let after = served.process.status("VmRSS");
    let seats = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    println!("{LOGINS} parallel logins, twice: {statuses:?}; {seats} seats; {before} KiB before, {after} KiB after");
    assert!(statuses[&200] > 4 && statuses.keys().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    let bound = u64::try_from(seats).expect("few") * 2 * HASH_KIB + SLACK_KIB;
    assert!(after < before + bound, "{before} KiB before, {after} KiB after, {bound} KiB allowed");
    assert_eq!(login(), 200);
}
