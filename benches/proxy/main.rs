//! What the gateway costs beside a proxy that checks nothing: processor time a request, as a ratio to a bare pingora that
//! passes everything on and sets one field. Each is a process of its own with one thread, before the same upstream, asked
//! over the same kept connections, in turns.
//!
//! `cargo bench --bench proxy`; the gateway is that of this build, or `PORTCULLIS_BIN`. `PROXY_REQUESTS` and `PROXY_ROUNDS`
//! change the numbers.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement that cannot go on shall stop

mod bare;
#[allow(dead_code)] // made for the integration tests, which use all of it
#[path = "../../tests/it/support/keys.rs"]
mod keys;
mod load;
mod stage;
#[allow(dead_code)] // as above
#[path = "../../tests/it/support/token.rs"]
mod token;

use portcullis::clock::UnixMillis;

use load::{Ask, Cost};
use stage::{Front, Standing};

/// Tokens are made for the time of the machine; this is what they are before that.
pub(crate) const NOW: UnixMillis = UnixMillis(1_763_682_354_000);

/// How much of everything.
struct Scale {
    requests: usize,
    rounds: usize,
    tokens: usize,
    keys: usize,
    networks: usize,
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
            requests: number("PROXY_REQUESTS", 40_000, 200),
            rounds: number("PROXY_ROUNDS", 4, 1),
            tokens: if full { 10_000 } else { 50 },
            keys: if full { 10_000 } else { 50 },
            networks: if full { 100_000 } else { 50 },
        }
    }
}

/// One row of the table.
struct Row {
    name: &'static str,
    front: Front,
    ask: Ask,
    /// Whether what is presented is told beforehand, so that it is known.
    known: bool,
    costs: Vec<Cost>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(bare::WORD) {
        bare::serve(&arguments.next().unwrap(), &arguments.next().unwrap());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(measure(&Scale::chosen()));
}

async fn measure(scale: &Scale) {
    let standing = Standing::new(scale.tokens, scale.keys, scale.networks).await;
    let row = |name, front, known, ask| Row { name, front, ask, known, costs: Vec::new() };
    let bearers = |alg| Ask::new("/v1/orders/7", standing.bearers(alg), 200);
    let mut rows = vec![
        row("bare pingora", Front::Bare, true, Ask::new("/open/x", Vec::new(), 200)),
        row("public route", Front::Gateway, true, Ask::new("/open/x", Vec::new(), 200)),
        row("HS256, known", Front::Gateway, true, bearers(keys::Alg::HS256)),
        row("RS256, known", Front::Gateway, true, bearers(keys::Alg::RS256)),
        row("API key", Front::Gateway, true, Ask::new("/v1/orders/7", standing.api_keys(), 200)),
        row("HS256, networks", Front::Gateway, true, Ask::new("/v1/near/7", standing.bearers(keys::Alg::HS256), 200)),
        row("bad signature", Front::Gateway, true, Ask::new("/v1/orders/7", standing.forged(), 401)),
        row("question, HS256", Front::Questions, true, standing.question("/v1/orders/7")),
        row("HS256, first sight", Front::Fresh, false, bearers(keys::Alg::HS256)),
        row("RS256, first sight", Front::Fresh, false, bearers(keys::Alg::RS256)),
    ];
    // `cargo bench --bench proxy -- TEXT` measures the floor and the rows with `TEXT` only.
    let named = |row: &Row| std::env::args().skip(1).any(|text| row.name.contains(&text));
    if rows.iter().any(named) {
        let mut first = true;
        rows.retain(|row| std::mem::take(&mut first) || named(row));
    }
    for round in 0..=scale.rounds {
        for row in &mut rows {
            let asked = if row.known { scale.requests } else { scale.requests.min(scale.tokens) };
            let place = standing.place(row.front).await;
            let cost = load::ask(&place, &row.ask, asked).await;
            assert_eq!(cost.failed, 0, "{} is not answered as it should be", row.name);
            // The first is for what is made once: connections, memory, what is known from then on.
            if round > 0 {
                row.costs.push(cost);
            }
        }
    }
    print(&rows);
    println!(
        "resident: bare {} KiB, gateway {} KiB",
        standing.resident_kib(Front::Bare),
        standing.resident_kib(Front::Gateway)
    );
}

fn print(rows: &[Row]) {
    let mean =
        |row: &Row, pick: fn(&Cost) -> f64| row.costs.iter().map(pick).sum::<f64>() / row.costs.len().max(1) as f64;
    let floor = mean(&rows[0], |cost| cost.cpu_us).max(0.001);
    println!("{:20} {:>9} {:>7} {:>8} {:>8} {:>8}", "", "CPU µs", "ratio", "spread", "p50 µs", "p99 µs");
    for row in rows {
        let each = row.costs.iter().map(|cost| cost.cpu_us);
        let spread = each.clone().fold(f64::MIN, f64::max) - each.fold(f64::MAX, f64::min);
        let cpu = mean(row, |cost| cost.cpu_us);
        println!(
            "{:20} {cpu:>9.1} {:>7.2} {:>7.0}% {:>8.0} {:>8.0}",
            row.name,
            cpu / floor,
            100.0 * spread / cpu.max(0.001),
            mean(row, |cost| cost.p50_us),
            mean(row, |cost| cost.p99_us),
        );
    }
}
