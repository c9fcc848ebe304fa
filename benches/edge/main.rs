//! What connections cost that ask for nothing, and what they do to those that ask: a gateway as a process of its own,
//! with 10,000 idle kept connections and 1,000 clients that send their head a byte at a time.
//!
//! Prints memory per connection, and the latency of good requests when it is quiet, with the idle ones, and with the slow
//! ones besides; as ratios to the quiet of the same run, for a machine has its moods. `cargo bench --bench edge`; the
//! binary is that of this build, or `PORTCULLIS_BIN`; `EDGE_IDLE`, `EDGE_SLOW`, `EDGE_REQUESTS` change the numbers.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement that cannot go on shall stop

mod clients;
mod stage;

use std::time::Duration;

use clients::{Latency, Slow, good, idle};
use stage::{Gateway, upstream};

/// How much of everything.
struct Scale {
    idle: usize,
    slow: usize,
    requests: usize,
}

impl Scale {
    fn chosen() -> Self {
        // Without it this is `cargo test --benches`, which shall prove that it works, and quickly.
        let full = std::env::args().any(|argument| argument == "--bench");
        let number = |name: &str, full_scale: usize, small: usize| {
            let given = stage::variable(name).and_then(|text| text.parse().ok());
            given.unwrap_or(if full { full_scale } else { small })
        };
        Self {
            idle: number("EDGE_IDLE", 10_000, 100),
            slow: number("EDGE_SLOW", 1_000, 20),
            requests: number("EDGE_REQUESTS", 20_000, 400),
        }
    }
}

/// One line of the table.
struct Row {
    name: &'static str,
    latency: Latency,
    kib: u64,
}

fn main() {
    stage::many_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(&Scale::chosen()));
}

async fn measure(scale: &Scale) {
    let gateway = Gateway::start(upstream().await);
    let address = gateway.address;
    good(address, scale.requests / 4).await; // what is made once is made by then
    let row = async |name| {
        let latency = good(address, scale.requests).await;
        Row { name, latency, kib: gateway.resident_kib() }
    };

    let mut rows = vec![row("quiet").await];
    let before = gateway.resident_kib();
    let held = idle(address, scale.idle).await;
    let with_idle = gateway.resident_kib();
    rows.push(row("idle connections").await);
    let slow = Slow::start(address, scale.slow).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // they are in the middle of their heads
    let with_slow = gateway.resident_kib();
    rows.push(row("idle and slow ones").await);
    let refused = slow.stop().await;
    let still_open = held.iter().filter(|connection| clients::is_open(connection)).count();
    drop(held);
    tokio::time::sleep(Duration::from_secs(1)).await; // their ends are noticed
    rows.push(row("quiet again").await);

    let quiet =
        |pick: fn(&Latency) -> u64| (pick(&rows[0].latency) + pick(&rows[rows.len() - 1].latency)).max(2) as f64 / 2.0;
    let (p50, p99) = (quiet(|latency| latency.p50), quiet(|latency| latency.p99));
    println!(
        "{:20} {:>9} {:>9} {:>8} {:>8} {:>7} {:>11}",
        "", "p50 µs", "p99 µs", "× p50", "× p99", "failed", "memory KiB"
    );
    for Row { name, latency, kib } in &rows {
        println!(
            "{name:20} {:>9} {:>9} {:>8.2} {:>8.2} {:>7} {kib:>11}",
            latency.p50,
            latency.p99,
            latency.p50 as f64 / p50,
            latency.p99 as f64 / p99,
            latency.failed
        );
    }
    let each = |kib: u64, count: usize| kib as f64 / count.max(1) as f64;
    println!(
        "{} idle connections ({still_open} open to the end): {:.1} KiB each; {} slow clients: {:.1} KiB each, {refused} heads ended by the gateway",
        scale.idle,
        each(with_idle.saturating_sub(before), scale.idle),
        scale.slow,
        each(with_slow.saturating_sub(with_idle), scale.slow),
    );
}
