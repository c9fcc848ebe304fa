//! Floods of bad keys (K-14, F-19): nobody who is known is pushed out, and nothing grows without end.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use portcullis::clock::Stopwatch;
use serde_json::json;

use super::sqlite_in;
use crate::support::administrator::Administrator;
use crate::support::caller::Caller;
use crate::support::gateway::Gateway;
use crate::support::process::Served;
use crate::support::realms::{Standard, api_key, key_prefix};
use crate::support::upstream::Upstream;

/// Bad keys in all.
const BAD: u32 = 100_000;
/// They come in so many rounds.
const ROUNDS: u32 = 5;
const GOOD: usize = 20;
/// Sent together on one connection.
const TOGETHER: u32 = 100;

struct Flood<'a> {
    served: &'a Served,
    good: &'a [String],
}

impl Flood<'_> {
    /// Sends bad keys, each of its own and from an address of its own, and a good one among each hundred of them. Half
    /// on each of two connections.
    fn pour(&self, addresses: std::ops::Range<u32>) {
        let middle = u32::midpoint(addresses.start, addresses.end);
        std::thread::scope(|scope| {
            for part in [addresses.start..middle, middle..addresses.end] {
                scope.spawn(move || self.pour_on_one(part));
            }
        });
    }

    fn pour_on_one(&self, addresses: std::ops::Range<u32>) {
        let mut connection = self.served.caller().connect();
        let mut address = addresses.start;
        let mut turn = 0;
        while address < addresses.end {
            let mut requests = Vec::new();
            let ask = |key: &str, from: u32| {
                let from = Ipv4Addr::from(from);
                format!("GET /me/x HTTP/1.1\r\nHost: api.test\r\nX-Forwarded-For: {from}\r\nX-API-Key: {key}\r\n\r\n")
            };
            let prefix = key_prefix();
            for n in 0..TOGETHER {
                write!(requests, "{}", ask(&api_key(&prefix), address + n)).expect("memory");
            }
            write!(requests, "{}", ask(&self.good[turn % self.good.len()], address)).expect("memory");
            connection.write(&requests);
            for n in 0..=TOGETHER {
                let status = connection.read_reply(false).expect("an answer").status;
                assert_eq!(status, if n == TOGETHER { 200 } else { 401 }, "request {n} at {address}");
            }
            (address, turn) = (address + TOGETHER, turn + 1);
        }
    }

    fn metric(&self, sample: &str) -> f64 {
        self.served.metric(sample).unwrap_or_default()
    }
}

#[test]
fn k14_f19_a_flood_of_bad_keys_from_everywhere_pushes_no_good_key_out_and_memory_is_bounded() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let served = Gateway::builder()
        .server_toml("trusted_proxies = [\"127.0.0.1\"]\nfailure_limit = \"100/m\"\n[log]\naccess = false\n")
        .standard(&standard)
        .upstream(&upstream)
        .serve();
    let admin = Administrator::of_process(served.admin, &sqlite_in(served.directory()));
    let team = admin.owner("team", &json!({}));
    let good: Vec<_> = (0..GOOD).map(|_| admin.key(&team, &json!({})).secret).collect();
    for key in &good {
        super::with_key(&served.caller(), key).send().ok();
    }
    let flood = Flood { served: &served, good: &good };
    let hits = "portcullis_cache_requests_total{cache=\"keys\",result=\"hit\"}";
    let memory = || served.process.status("VmRSS");
    let addresses = 0x0a00_0000..0x0a00_0000 + BAD / ROUNDS;
    let (watch, hits_before, mut after) = (Stopwatch::start(), flood.metric(hits), vec![memory()]);
    for _ in 0..ROUNDS {
        // Keys that were never sent before, from addresses that are known from the second time on.
        flood.pour(addresses.clone());
        after.push(memory());
    }
    println!("{BAD} bad keys in {:?}: {after:?} KiB", watch.elapsed());
    // What the first rounds have filled stays filled: whatever kept a little of each key would go on growing by as much
    // as they have.
    let (filled, growth) = (after[2] - after[0], after[ROUNDS as usize].saturating_sub(after[2]));
    assert!(growth < filled / 2, "{after:?} KiB");

    // Good keys were looked for once a hundred bad ones, and found.
    let asked = f64::from(BAD / TOGETHER);
    let found = flood.metric(hits) - hits_before;
    assert!(found >= asked * 0.99, "{found} of {asked}");
    assert!(flood.metric("portcullis_cache_entries{cache=\"unknown_keys\"}") <= 100_000.0);
    assert!(flood.metric("portcullis_cache_entries{cache=\"keys\"}") <= GOOD as f64);

    // No cliff: a good key is answered as quickly as before, and the admin side answers, too.
    let watch = Stopwatch::start();
    for key in &good {
        super::with_key(&served.caller(), key).send().ok();
    }
    admin.get("/keys?limit=200").is(200);
    assert!(watch.elapsed().as_secs() < 5, "{:?}", watch.elapsed());
}

/// Requests that are sent and whose answers nobody reads.
#[test]
fn f19_callers_that_do_not_wait_for_the_answer_leave_nothing_behind() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let gw = Gateway::builder().standard(&standard).upstream(&upstream).start();
    let team = gw.admin().owner("team", &json!({}));
    let key = gw.admin().key(&team, &json!({})).secret;
    let before = gw.store_tasks();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(gw.addr()).expect("a connection");
        let bad = api_key(&key_prefix());
        write!(stream, "GET /me/x HTTP/1.1\r\nHost: api.test\r\nX-API-Key: {bad}\r\n\r\n").expect("sent");
    }
    crate::support::eventually("all tasks have ended", || (gw.store_tasks() <= before).then_some(()));
    super::with_key(&Caller::new(gw.addr()), &key).send().ok();
}
