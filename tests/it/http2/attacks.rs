//! What only HTTP/2 makes possible (attacks section 3.2). Whatever one connection does, it ends with a word and one line in
//! the log, and others are served as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame, request,
};
use super::{House, house, house_with};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::scripted::Scripted;
use crate::support::upstream::Respond;

const NO_ERROR: u32 = 0;
const FLOW_CONTROL_ERROR: u32 = 3;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The line about a connection that was ended: nothing was answered.
fn line_about_the_end(house: &House, reason: &str) {
    let ended = |line: &serde_json::Value| line["status"] == 0 && line["path"] == "" && line["http_version"] == "2";
    let line = house.gateway.log().line_where("an ended connection", ended);
    assert_eq!(line["reason"], reason, "{line}");
    assert_eq!(house.gateway.log().lines().iter().filter(|line| ended(line)).count(), 1);
}

/// Latencies of another client, sorted.
fn others(house: &House, until: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut connection = house.gateway.caller().connect();
    let mut taken = Vec::new();
    while !until(taken.len()) {
        let watch = Stopwatch::start();
        let reply = connection.send_raw("GET /public/other HTTP/1.1\r\nHost: api.test\r\n\r\n");
        assert_eq!(reply.status, 200);
        taken.push(watch.elapsed());
    }
    taken.sort_unstable();
    taken
}

/// Attacks while another client works; what the other one waited at most, before and meanwhile, goes to the output.
fn while_others_work(what: &str, house: &House, attack: impl FnOnce()) {
    let calm = others(house, |done| done == 300);
    let over = AtomicBool::new(false);
    let meanwhile = std::thread::scope(|scope| {
        let other = scope.spawn(|| others(house, |done| done >= 300 && over.load(Ordering::SeqCst)));
        attack();
        over.store(true, Ordering::SeqCst);
        other.join().expect("the other client is served")
    });
    let p99 = |taken: &[Duration]| taken[taken.len() * 99 / 100];
    let ratio = p99(&meanwhile).as_secs_f64() / p99(&calm).as_secs_f64();
    println!("{what}: p99 of others {:?}, before {:?}: x{ratio:.1}", p99(&meanwhile), p99(&calm));
}

fn rapid_resets(streams: std::ops::Range<u32>) -> Vec<u8> {
    let head = request("/public/attack", &[]);
    let pair = |n: u32| {
        [frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head), frame(RST_STREAM, 0, 2 * n + 1, [0, 0, 0, 8])]
    };
    streams.flat_map(pair).flatten().collect()
}

#[test]
fn h19_rapid_resets_end_the_connection_and_do_not_storm_the_upstream() {
    let house = house();
    while_others_work("rapid reset, 50 000 at once", &house, || {
        let mut frames = Frames::hello(house.gateway.addr(), &[]);
        frames.try_send(rapid_resets(0..50_000));
        assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM);
    });
    line_about_the_end(&house, "rate_limited");
    let attacks = || house.upstream.requests().iter().filter(|seen| seen.target == "/public/attack").count();
    assert!(attacks() <= 100, "{} of 50000 reached the upstream", attacks());
}

#[test]
fn h19_rapid_resets_that_take_their_time_end_the_connection_too() {
    let house = house();
    while_others_work("rapid reset, one by one", &house, || {
        let mut frames = Frames::hello(house.gateway.addr(), &[]);
        // Each is accepted and on its way before it is cancelled.
        let sent = (0..20_000).find(|n| {
            std::thread::sleep(Duration::from_micros(500));
            !frames.try_send(rapid_resets(*n..n + 1))
        });
        assert!(sent.is_some_and(|sent| sent < 2000), "{sent:?}");
        assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM);
    });
    line_about_the_end(&house, "rate_limited");
    let attacks = house.upstream.requests().iter().filter(|seen| seen.target == "/public/attack").count();
    println!("{attacks} requests reached the upstream");
    assert!(attacks <= 300, "{attacks} reached the upstream");
}

#[test]
fn resets_that_the_client_makes_the_gateway_send_are_bounded_too() {
    let house = house();
    while_others_work("made you reset", &house, || {
        let mut frames = Frames::hello(house.gateway.addr(), &[]);
        let head = request("/public/attack", &[]);
        let wrong = |n: u32| {
            // The window of a stream grows by nothing (RFC 9113 section 6.9): an error of the stream.
            [frame(HEADERS, END_HEADERS, 2 * n + 1, &head), frame(WINDOW_UPDATE, 0, 2 * n + 1, [0; 4])]
        };
        frames.try_send((0..20_000).flat_map(wrong).flatten().collect::<Vec<u8>>());
        assert!([ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, 1].contains(&frames.ends_with()));
    });
    let attacks = house.upstream.requests().iter().filter(|seen| seen.target == "/public/attack").count();
    assert!(attacks <= 300, "{attacks} reached the upstream");
}

#[test]
fn h20_a_head_without_an_end_ends_the_connection() {
    let house = house();
    while_others_work("continuation flood", &house, || {
        let mut frames = Frames::hello(house.gateway.addr(), &[]);
        let mut flood = frame(HEADERS, END_STREAM, 1, request("/public/attack", &[]));
        flood.extend(frame(CONTINUATION, 0, 1, super::frames::field("x", "y")).repeat(100_000));
        frames.try_send(flood);
        assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM);
    });
    line_about_the_end(&house, "rate_limited");
    assert!(house.upstream.requests().iter().all(|seen| seen.target != "/public/attack"));
}

#[test]
fn h22_floods_of_frames_that_are_no_requests_end_the_connection() {
    for (what, flood) in [
        ("ping", frame(PING, 0, 0, [0; 8])),
        ("settings", frame(SETTINGS, 0, 0, [])),
        ("priority", frame(PRIORITY, 0, 3, [0, 0, 0, 5, 1])),
        ("window update", frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])),
        ("an unknown frame", frame(0xbe, 0, 0, [])),
    ] {
        let house = house();
        while_others_work(what, &house, || {
            let mut frames = Frames::hello(house.gateway.addr(), &[]);
            frames.try_send(flood.repeat(100_000));
            assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM, "{what}");
        });
        line_about_the_end(&house, "rate_limited");
    }
}

#[test]
fn h22_data_that_is_none_ends_the_connection() {
    let house = house();
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    frames.send(frame(HEADERS, END_HEADERS, 1, request("/public/attack", &[])));
    frames.try_send(frame(DATA, 0, 1, []).repeat(100_000));
    assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM);
    line_about_the_end(&house, "rate_limited");
}

#[test]
fn h22_a_head_that_unpacks_to_very_much_is_not_unpacked() {
    let house = house();
    // One field of 4 KiB in the table, and then one byte for each copy of it.
    let mut bomb = vec![0x40, 1, b'x', 127, 0x80, 30];
    bomb.extend(vec![b'y'; 127 + 30 * 128]);
    let indexed = |count: usize| vec![0x80 | 62; count];
    let head = |count| [request("/public/attack", &[]), bomb.clone(), indexed(count)].concat();
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head(10_000)));
    assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM);
    line_about_the_end(&house, "rate_limited");
    // A smaller one is refused alone.
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, head(15)));
    let answer = frames.until(HEADERS);
    assert_eq!((answer.stream, answer.flags & END_STREAM), (1, END_STREAM));
    assert!(house.upstream.requests().is_empty());
}

#[test]
fn h22_a_head_that_comes_byte_by_byte_ends_the_connection() {
    let house = house_with("header_timeout = \"500ms\"\n");
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    frames.until(SETTINGS);
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, request("/public/attack", &[("x", &"y".repeat(2000))]));
    let watch = Stopwatch::start();
    let sent = head.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        watch.elapsed() < Duration::from_secs(5) && frames.try_send([**byte])
    });
    let sent = sent.count();
    assert!(watch.elapsed() >= Duration::from_millis(500) && sent < 200, "{sent} bytes in {:?}", watch.elapsed());
    assert_eq!(frames.ends_with(), ENHANCE_YOUR_CALM);
    line_about_the_end(&house, "request_timeout");
    // So does one whose first byte is all that comes, and one that never says what it wants.
    for hello in [true, false] {
        let mut frames = Frames::silent(house.gateway.addr());
        frames.send(if hello { &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..] } else { b"PRI * HT" });
        while frames.next().is_some() {}
    }
}

#[test]
fn h22_no_more_than_a_hundred_requests_are_worked_on_at_once() {
    let house = house();
    house.upstream.respond(Respond::Hold);
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    let head = request("/public/held", &[]);
    let open = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head);
    frames.send((0..101).flat_map(open).collect::<Vec<u8>>());
    assert_eq!(frames.reset_of(201), REFUSED_STREAM);
    eventually("100 are at the upstream", || (house.upstream.requests().len() == 100).then_some(()));
    house.upstream.release();
    let answered = (0..100).map(|_| frames.until(HEADERS).stream).collect::<std::collections::HashSet<_>>();
    assert_eq!(answered.len(), 100);
    frames.send(open(101));
    assert_eq!(frames.until(HEADERS).stream, 203);
}

#[test]
fn h22_a_client_that_wants_nothing_of_its_answers_holds_up_nobody_else() {
    let house = house();
    // Windows of nothing: heads of answers come, bodies do not.
    let mut frames = Frames::hello(house.gateway.addr(), &[(4, 0)]);
    let head = request("/public/x", &[]);
    let open = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head);
    frames.send((0..20).flat_map(open).collect::<Vec<u8>>());
    for _ in 0..20 {
        frames.until(HEADERS);
    }
    assert_eq!(others(&house, |done| done == 100).len(), 100);
    // A window of one byte brings one byte.
    frames.send(frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]));
    assert_eq!(frames.until(DATA).payload.len(), 1);
    frames.send(frame(WINDOW_UPDATE, 0, 3, [0, 1, 0, 0]));
    let mut rest = frames.until(DATA);
    assert_eq!(rest.stream, 3);
    while rest.flags & END_STREAM == 0 {
        rest = frames.until(DATA);
    }
}

/// Answers of 64 MiB each, which nobody reads, take little memory: what waits for a client has a bound.
#[test]
fn h22_answers_that_nobody_reads_do_not_gather() {
    const STREAMS: u32 = 50;
    let upstream = Scripted::start(|line, _| {
        while line.request().is_some() {
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
            for _ in 0..1024 {
                if !line.send([b'x'; 65_536]) {
                    return;
                }
            }
        }
    });
    let realm = format!(
        "realm = \"api\"\nhosts = [\"api.test\"]\nupstream = \"http://{}\"\n\n[[routes]]\nname = \"public\"\n\
         path = \"/public/**\"\nauth = [\"public\"]\n",
        upstream.addr()
    );
    let served = Gateway::builder().listener_toml("http2 = true").realm_toml(&realm).serve();
    let before = served.process.status("VmRSS");
    // As much as there can be is wanted, and nothing is read.
    let mut frames = Frames::hello(served.addrs[0], &[(4, 0x7fff_ffff)]);
    frames.send(frame(WINDOW_UPDATE, 0, 0, [0x7f, 0xfe, 0, 0]));
    let head = request("/public/large", &[]);
    let open = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head);
    frames.send((0..STREAMS).flat_map(open).collect::<Vec<u8>>());
    eventually("all are under way", || (upstream.connections() >= STREAMS as usize).then_some(()));
    // Until it grows no more.
    let mut last = 0;
    eventually("memory settles", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = served.process.status("VmRSS");
        let settled = now <= last + 200;
        last = now;
        settled.then_some(())
    });
    let grown = last.saturating_sub(before);
    println!("{STREAMS} answers that nobody reads: {grown} kB");
    assert!(grown < 45 * 1024, "{grown} kB");
}

#[test]
fn a_connection_without_requests_is_told_goodbye() {
    let house = house_with("idle_timeout = \"300ms\"\n");
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, request("/public/x", &[])));
    assert_eq!(frames.ends_with(), NO_ERROR);
}
