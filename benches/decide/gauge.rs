//! Measuring: time over many short rounds, allocations as the allocator counts them.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use portcullis::clock::Stopwatch;
use portcullis::secret::{ByDigest, CredentialDigest};
use stats_alloc::Region;

use crate::ALLOCATIONS;

const ROUNDS: usize = 100;
/// Long enough that reading the clock does not count, short enough that most rounds are not interrupted.
const ROUND: Duration = Duration::from_millis(2);
/// So many runs are watched for allocations; caches that keep books now and then spread over them.
const WATCHED: usize = 4096;

/// One thing to measure.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What is looked up in turn, where something is.
    pub(crate) credentials: Vec<String>,
    /// Work that `run` does besides, only to be able to run again.
    pub(crate) overhead: Option<Box<dyn FnMut()>>,
    pub(crate) run: Box<dyn FnMut()>,
}

struct Figures {
    nanos: f64,
    allocations: f64,
    bytes: f64,
}

impl Figures {
    fn subtract(&mut self, other: &Self) {
        self.nanos -= other.nanos;
        self.allocations -= other.allocations;
        self.bytes -= other.bytes;
    }
}

/// Measures several things against each other: in turns, so that what the machine does besides meets all of them.
fn measure<const N: usize>(mut runs: [&mut dyn FnMut(); N]) -> [Figures; N] {
    let counts = runs.each_mut().map(|run| repetitions(*run));
    let mut rounds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for ((run, count), rounds) in runs.iter_mut().zip(counts).zip(&mut rounds) {
            rounds.push(time(*run, count).as_secs_f64() * 1e9 / f64::from(count));
        }
    }
    let mut rounds = rounds.into_iter();
    runs.map(|run| {
        let mut rounds = rounds.next().unwrap_or_default();
        rounds.sort_by(f64::total_cmp);
        let region = Region::new(ALLOCATIONS);
        for _ in 0..WATCHED {
            run();
        }
        let change = region.change();
        Figures {
            // Whatever else the machine does can only make a round longer: the lower quartile is what the work takes.
            nanos: rounds[ROUNDS / 4],
            allocations: (change.allocations + change.reallocations) as f64 / WATCHED as f64,
            bytes: change.bytes_allocated as f64 / WATCHED as f64,
        }
    })
}

/// How often `run` fits into a round.
fn repetitions(run: &mut dyn FnMut()) -> u32 {
    let mut runs = 1_u32;
    loop {
        let taken = time(run, runs);
        if taken >= ROUND / 4 {
            return (f64::from(runs) * ROUND.as_secs_f64() / taken.as_secs_f64()).ceil() as u32;
        }
        runs = runs.saturating_mul(4);
    }
}

fn time(run: &mut dyn FnMut(), runs: u32) -> Duration {
    let stopwatch = Stopwatch::start();
    for _ in 0..runs {
        run();
    }
    stopwatch.elapsed()
}

/// Nothing that looks a credential up by its digest can do without these.
struct Floor {
    credentials: Vec<String>,
    digests: Vec<CredentialDigest>,
    turn: Cell<usize>,
    cache: Cache<Key, (Arc<[u8; 512]>, u32), ByDigest>,
}

/// As many fields as ours, and hashed as ours.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    digest: CredentialDigest,
    rest: (usize, u64, u64),
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Key {
    fn of(digest: CredentialDigest) -> Self {
        Self { digest, rest: (0, 1, 0) }
    }
}

impl Floor {
    fn new(credentials: &[String]) -> Self {
        let cache = Cache::builder()
            .max_capacity(1 << 30)
            .weigher(|_, (_, weight): &(Arc<_>, u32)| *weight)
            .time_to_live(Duration::from_secs(600))
            .build_with_hasher(ByDigest::default());
        let digests = credentials.iter().map(|text| CredentialDigest::of(text.as_bytes())).collect();
        let floor = Self { credentials: credentials.to_vec(), digests, turn: Cell::default(), cache };
        for digest in &floor.digests {
            floor.cache.insert(Key::of(*digest), (Arc::new([0; 512]), 2048));
        }
        floor.cache.run_pending_tasks();
        floor
    }

    /// Whose turn it is.
    fn next(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(if turn + 1 < self.credentials.len() { turn + 1 } else { 0 });
        turn
    }

    fn digest(&self, turn: usize) -> CredentialDigest {
        CredentialDigest::of(black_box(self.credentials[turn].as_bytes()))
    }

    fn look_up(&self, digest: CredentialDigest) {
        black_box(self.cache.get(&black_box(Key::of(digest))).expect("it was inserted"));
    }
}

/// Measures every case and prints the table.
pub(crate) fn table(cases: &mut [Case]) {
    println!("{:<46} {:>9} {:>8} {:>8} {:>8} {:>7}", "", "ns/op", "allocs", "bytes", "floor", "ratio");
    for Case { name, credentials, overhead, run } in cases {
        let mut nothing = || {};
        let overhead: &mut dyn FnMut() = overhead.as_deref_mut().unwrap_or(&mut nothing);
        if credentials.is_empty() {
            let [mut all, besides] = measure([run, overhead]);
            all.subtract(&besides);
            print_row(name, &all);
            println!();
        } else {
            let floor = Floor::new(credentials);
            let [mut all, besides, both, one, other] = measure([
                run,
                overhead,
                &mut || floor.look_up(floor.digest(floor.next())),
                &mut || _ = black_box(floor.digest(floor.next())),
                &mut || floor.look_up(floor.digests[floor.next()]),
            ]);
            all.subtract(&besides);
            print_row(name, &all);
            println!(
                " {:>8.0} {:>7.2}  = digest {:.0} + cache {:.0}",
                both.nanos,
                all.nanos / both.nanos,
                one.nanos,
                other.nanos
            );
        }
    }
    println!();
}

fn print_row(name: &str, Figures { nanos, allocations, bytes }: &Figures) {
    print!("{name:<46} {nanos:>9.0} {allocations:>8.2} {bytes:>8.0}");
}
