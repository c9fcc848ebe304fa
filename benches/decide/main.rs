//! What a decision costs, for each kind of credential and refusal, and what stands around it on the request path.
//!
//! First a table: time, allocations, and the ratio to the floor (one SHA-256 over the same credential and one look into
//! a cache like ours, which no design that looks a credential up by its digest can do without). Then the same cases in
//! criterion, which compares them with its last run. `cargo bench --bench decide -- TEXT` measures names with `TEXT` only;
//! `-- none` prints the whole table, and no more.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement that cannot go on shall stop

mod cases;
mod gauge;
#[allow(dead_code)] // made for the integration tests, which use all of it
#[path = "../../tests/it/support/keys.rs"]
mod keys;
mod stand;
#[allow(dead_code)] // as above
#[path = "../../tests/it/support/token.rs"]
mod token;

use std::alloc::System;
use std::time::Duration;

use criterion::Criterion;
use portcullis::clock::UnixMillis;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATIONS: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The time of all requests, and of the tokens made for them.
pub(crate) const NOW: UnixMillis = UnixMillis(1_763_682_354_000);

fn main() {
    let mut cases = cases::all();
    // Without it this is `cargo test --benches`: criterion runs each case once, and figures would mean nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        let named = |case: &gauge::Case| std::env::args().skip(1).any(|text| case.name.contains(&text));
        if cases.iter().any(named) {
            cases.retain(named);
        }
        gauge::table(&mut cases);
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for case in &mut cases {
        criterion.bench_function(&case.name, |bencher| bencher.iter(&mut case.run));
    }
    criterion.final_summary();
}
