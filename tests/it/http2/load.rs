//! Much work at once, by a client that others wrote.

use std::process::Command;

use super::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block, frame};
use super::house;

#[test]
fn everything_that_h2load_asks_is_answered() {
    let house = house();
    let url = format!("http://{}/public/x", house.gateway.addr());
    let run = |arguments: &[&str]| {
        let output = Command::new("h2load").args(["-H", ":authority: api.test"]).args(arguments).arg(&url).output();
        let output = output.expect("h2load is installed (scripts/setup)");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{text}");
        assert!(text.contains("status codes: 3000 2xx"), "{text}");
        println!("{}", text.lines().find(|line| line.starts_with("finished in")).unwrap_or_default());
    };
    run(&["-n", "3000", "-c", "4", "-m", "100"]);
    run(&["-n", "3000", "-c", "30", "-m", "10"]);
    run(&["-n", "3000", "-c", "4", "-m", "10", "--h1"]);
    assert_eq!(house.upstream.requests().len(), 9000);
    let lines = house.gateway.log().lines();
    assert!(lines.iter().all(|line| line["status"] == 200), "nobody was taken for an attacker");
}

/// Small messages, as a stream of gRPC has them: as many as may come before anything was heard of the gateway.
#[test]
fn a_body_of_very_many_small_parts_arrives_however_fast_it_comes() {
    let house = house();
    let mut frames = Frames::hello(house.gateway.addr(), &[]);
    let head = [block(&[(":method", "POST"), (":scheme", "http"), (":authority", "api.test"), (":path", "/public/x")])];
    let mut bytes = frame(HEADERS, END_HEADERS, 1, head.concat());
    for _ in 0..8_000 {
        bytes.extend(frame(DATA, 0, 1, "12345678"));
    }
    bytes.extend(frame(DATA, END_STREAM, 1, ""));
    frames.send(bytes);
    frames.until(HEADERS);
    assert_eq!(house.upstream.requests()[0].body.len(), 64_000);
}
