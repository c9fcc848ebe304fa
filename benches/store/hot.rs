//! Keys in use: what it takes to get them into memory, what they take there, what a hit costs, and how a key that is
//! ended meanwhile is refused.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method};
use portcullis::clock::{Clock, Stopwatch, SystemClock, UnixMillis};
use portcullis::config::{Sources, load};
use portcullis::gate::Gate;
use portcullis::gate::outcome::{Denial, Permit, Reason};
use portcullis::gate::policy::Snapshot;
use portcullis::gate::request::Request;
use portcullis::gate::trail::Trail;
use portcullis::gate::verify::stored::{Keeping, StoredKeys};
use portcullis::store::Store;
use tokio::runtime::Runtime;

use crate::filling::{Filled, PREFIX, REALM, row};

const CACHE: u64 = 1 << 40;

pub(crate) fn measure(runtime: &Runtime, filled: &Filled<'_>) {
    let store = &filled.store;
    let keeping = Keeping { cache_bytes: CACHE, max_staleness: Duration::from_secs(86_400) };
    let keys = Arc::new(StoredKeys::new(Arc::new(store.clone()), runtime.handle().clone(), keeping));
    let gate = Gate::new(0, Arc::clone(&keys));
    let desk = Desk { gate: &gate, snapshot: &snapshot(), now: SystemClock.now() };
    runtime.block_on(follow(store, &keys, true));
    println!("\n{} keys in use", filled.hot.len());

    let requests: Vec<_> = filled.hot.iter().map(|text| headers(text.expose())).collect();
    let before = resident();
    let watch = Stopwatch::start();
    let good = runtime.block_on(async {
        let mut good = Vec::with_capacity(requests.len());
        for (n, headers) in requests.iter().enumerate() {
            if desk.decide_patiently(headers).await.is_ok() {
                good.push(n);
            }
        }
        good
    });
    let taken = watch.elapsed().as_secs_f64();
    row("first use, one after the other", format!("{:.0} keys/s", requests.len() as f64 / taken));
    let (entries, _) = keys.cached();
    let each = resident().saturating_sub(before) as f64 / entries as f64;
    row("in memory", format!("{:.0} bytes a key, allocator included ({entries} keys)", each));

    let watch = Stopwatch::start();
    for n in &good {
        desk.decide(&requests[*n]).expect("a permit");
    }
    row("use after that", format!("{:.2} µs each", watch.elapsed().as_secs_f64() * 1e6 / good.len() as f64));

    let watch = Stopwatch::start();
    let uses = keys.take_uses(desk.now, true);
    let taken = watch.elapsed();
    runtime.block_on(store.note_uses(&uses)).expect("written");
    let (all, taken) = (watch.elapsed().as_secs_f64(), taken.as_secs_f64());
    row("their uses, written down", format!("{} in {all:.2} s, {:.3} s of it to collect them", uses.len(), taken));

    let ended = &requests[good[good.len() / 2]];
    let permit = desk.decide(ended).expect("a permit");
    let id = permit.identity().expect("somebody").principal.credential_id.clone();
    let watch = Stopwatch::start();
    runtime.block_on(async {
        let mut write = store.begin().await.expect("a transaction");
        let id = id.expect("a key has an id");
        assert!(write.revoke_key(&id, None, desk.now).await.expect("an answer"));
        write.commit().await.expect("a commit");
    });
    let written = watch.elapsed().as_secs_f64() * 1e3;
    runtime.block_on(follow(store, &keys, false));
    let refused = runtime.block_on(desk.decide_patiently(ended)).map(drop).map_err(|denial| denial.reason);
    assert_eq!(refused, Err(Reason::KeyRevoked));
    let all = watch.elapsed().as_secs_f64() * 1e3;
    row("ended, until it is refused here", format!("{all:.1} ms, {written:.1} ms of it to write that down"));
    let watch = Stopwatch::start();
    for n in good.iter().filter(|n| !std::ptr::eq(&requests[**n], ended)) {
        desk.decide(&requests[*n]).expect("a permit");
    }
    let each = watch.elapsed().as_secs_f64() * 1e6 / good.len() as f64;
    row("first use of all others after it", format!("{each:.2} µs each"));
}

/// What the gateway does in the background.
async fn follow(store: &Store, keys: &StoredKeys, first: bool) {
    let begun = Stopwatch::start();
    let span = store.feed_span().await.expect("an answer");
    if first {
        keys.ledger().restart(span.newest);
    } else {
        let changes = store.changes_after(keys.ledger().position(), 1000).await.expect("an answer");
        keys.ledger().apply(&changes);
    }
    keys.ledger().confirm(begun);
}

struct Desk<'d> {
    gate: &'d Gate,
    snapshot: &'d Snapshot,
    now: UnixMillis,
}

impl Desk<'_> {
    fn request<'r>(&self, headers: &'r HeaderMap) -> Request<'r> {
        Request {
            method: &Method::GET,
            path: "/orders/7",
            query: None,
            host: Some("api.example.com"),
            headers,
            peer: Some([203, 0, 113, 9].into()),
            handshake: None,
            now: self.now,
        }
    }

    fn decide(&self, headers: &HeaderMap) -> Result<Permit, Denial> {
        let (request, mut trail) = (self.request(headers), Trail::default());
        let decision = pin!(self.gate.decide(self.snapshot, &request, &mut trail));
        match decision.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision.map(|decision| decision.permit().expect("a permit")),
            Poll::Pending => panic!("it is in memory"),
        }
    }

    async fn decide_patiently(&self, headers: &HeaderMap) -> Result<Permit, Denial> {
        let decision = self.gate.decide(self.snapshot, &self.request(headers), &mut Trail::default()).await;
        decision.map(|decision| decision.permit().expect("a permit"))
    }
}

fn snapshot() -> Snapshot {
    let directory = tempfile::tempdir().expect("a directory");
    let realm = format!(
        "realm = \"{REALM}\"\nhosts = [\"api.example.com\"]\nupstream = \"http://127.0.0.1:9\"\n[[api_keys]]\n\
         prefix = \"{PREFIX}\"\n[[routes]]\npath = \"/orders/{{id}}\"\nauth = [\"api_key\"]\nscopes = [\"orders:read\"]\n"
    );
    std::fs::create_dir(directory.path().join("realms")).expect("a directory");
    std::fs::write(directory.path().join("portcullis.toml"), "").expect("a file");
    std::fs::write(directory.path().join("realms/api.toml"), realm).expect("a file");
    let sources = Sources { env: &|_| None, secrets: true };
    load(directory.path(), &sources).unwrap_or_else(|problems| panic!("{problems:#?}")).snapshot
}

fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("api.example.com"));
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {text}")).expect("a value"));
    headers
}

/// Bytes of memory that this process takes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() * 1024
}
