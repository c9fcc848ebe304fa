//! What the store costs while it grows to a million keys. At each size the same is measured: filling it, finding a key,
//! pages of the list, writing uses down, ending a key. At the end: keys that are in use, as the gate holds them.
//!
//! `cargo bench --bench store` fills a new file of SQLite; `cargo bench --bench store -- postgres` a new database of a
//! PostgreSQL of its own. A number among the arguments is the largest size.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement that cannot go on shall stop

mod filling;
mod hot;
mod place;
#[allow(dead_code)] // made for the integration tests, which use all of it
#[path = "../../tests/it/support/postgres.rs"]
mod postgres;

use std::future::Future;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use tokio::runtime::{Builder, Runtime};

use filling::Filled;
use place::Place;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Keys that are in use.
const HOT: usize = 100_000;

fn main() {
    // Without it this is `cargo test --benches`: a small store then, and figures that mean nothing.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let wanted = std::env::args().find_map(|argument| argument.parse().ok());
    let largest = wanted.unwrap_or(if is_bench { 1_000_000 } else { 1_000 });
    let place =
        if std::env::args().any(|argument| argument == "postgres") { Place::postgres() } else { Place::sqlite() };
    // As many threads as the gateway has for its store.
    let runtime: Runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut filled = runtime.block_on(Filled::new(&place));
    for size in SIZES.into_iter().filter(|size| *size <= largest) {
        runtime.block_on(filled.grow_to(size));
        runtime.block_on(filled.measure());
    }
    runtime.block_on(filled.measure_whole());
    hot::measure(&runtime, &filled);
    runtime.block_on(filled.store.close());
}

/// Median and 99th percentile of `times` runs, one after the other.
async fn latency<T, F: Future<Output = T>>(times: usize, mut run: impl FnMut(usize) -> F) -> Latency {
    let mut all = Vec::with_capacity(times);
    for n in 0..times {
        let watch = Stopwatch::start();
        run(n).await;
        all.push(watch.elapsed());
    }
    all.sort_unstable();
    Latency { median: all[times / 2], high: all[times * 99 / 100] }
}

struct Latency {
    median: Duration,
    high: Duration,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:>8.0} µs, p99 {:>8.0} µs", self.median.as_secs_f64() * 1e6, self.high.as_secs_f64() * 1e6)
    }
}

/// What `postgres` waits with.
fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(60), what, probe)
}

/// The same, until it takes too long.
fn within<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(watch.elapsed() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
