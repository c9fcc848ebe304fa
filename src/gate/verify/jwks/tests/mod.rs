//! The promises of the engine as a whole, with a fake network and a clock that is set.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::clock::{Clock, SettableClock};

const COOLDOWN: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(600);
const MAX_STALE: Duration = Duration::from_secs(86_400);
const URL: &str = "https://id.example/keys";

type Answer = Box<dyn Fn(&str) -> Result<Vec<u8>, String> + Send>;

/// A network of one server.
struct Network {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<String>>,
    calls: AtomicUsize,
    held: watch::Sender<bool>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

#[async_trait::async_trait]
impl Fetch for Network {
    async fn fetch(&self, request: FetchRequest) -> Result<Vec<u8>, String> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(request.url.clone());
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        let answer = self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answer(&request.url)
    }
}

/// One key set, its network, its clock, and the running engine.
struct Stage {
    set: Arc<RemoteKeySet>,
    network: Arc<Network>,
    clock: Arc<SettableClock>,
    wake: Arc<Notify>,
    engine: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

fn spec(location: Location) -> RemoteSpec {
    RemoteSpec {
        name: "idp".into(),
        location,
        ca: None,
        refresh: REFRESH,
        cooldown: COOLDOWN,
        max_stale: MAX_STALE,
        timeout: Duration::from_secs(30),
        max_size: 1 << 19,
        algorithms: vec![Algorithm::EdDSA],
    }
}

fn at_url() -> RemoteSpec {
    spec(Location::Url(URL.into()))
}

impl Stage {
    async fn new(spec: RemoteSpec, answer: impl Fn(&str) -> Result<Vec<u8>, String> + Send + 'static) -> Self {
        Self::held(spec, false, answer).await
    }

    async fn held(
        spec: RemoteSpec,
        held: bool,
        answer: impl Fn(&str) -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Self {
        let network = Arc::new(Network {
            answer: Mutex::new(Box::new(answer)),
            asked: Mutex::default(),
            calls: AtomicUsize::new(0),
            held: watch::Sender::new(held),
        });
        let clock = Arc::new(SettableClock::new(UnixMillis(1_700_000_000_000)));
        let set = Arc::new(RemoteKeySet::new(spec));
        let (in_force, wake) = (Arc::clone(&set), Arc::new(Notify::new()));
        let engine = tokio::spawn(maintain(
            move || vec![Arc::clone(&in_force)],
            Arc::clone(&wake),
            Arc::clone(&network) as Arc<dyn Fetch>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        ));
        settle().await;
        Self { set, network, clock, wake, engine }
    }

    fn answers(&self, answer: impl Fn(&str) -> Result<Vec<u8>, String> + Send + 'static) {
        *self.network.answer.lock().unwrap() = Box::new(answer);
    }

    fn hold(&self, held: bool) {
        self.network.held.send_replace(held);
    }

    fn calls(&self) -> usize {
        self.network.calls.load(Ordering::SeqCst)
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.wake.notify_one();
        settle().await;
    }

    async fn find(&self, kid: &str) -> KeyLookup {
        self.set.find(Some(kid), Algorithm::EdDSA, self.clock.now()).await
    }

    fn find_many(&self, kids: impl IntoIterator<Item = String>) -> JoinSet<KeyLookup> {
        kids.into_iter()
            .map(|kid| {
                let (set, now) = (Arc::clone(&self.set), self.clock.now());
                async move { set.find(Some(&kid), Algorithm::EdDSA, now).await }
            })
            .collect()
    }
}

/// Lets everything happen that can happen without time passing: the test's runtime has one thread.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn key(kid: &str) -> String {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = data_encoding::BASE64URL_NOPAD.encode(pair.public_key().as_ref());
    format!(r#"{{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"{kid}","x":"{x}"}}"#)
}

fn document(keys: &[&String]) -> Vec<u8> {
    let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
}

fn serves(keys: &[&String]) -> impl Fn(&str) -> Result<Vec<u8>, String> + Send + use<> {
    let document = document(keys);
    move |_| Ok(document.clone())
}

fn down(_: &str) -> Result<Vec<u8>, String> {
    Err("connection refused".to_owned())
}

fn short(lookup: &KeyLookup) -> String {
    match lookup {
        KeyLookup::Keys(keys) => keys.iter().map(|key| key.kid().unwrap_or("-")).collect::<Vec<_>>().join("+"),
        KeyLookup::OtherAlgorithms => "other algorithms".to_owned(),
        KeyLookup::Unknown => "unknown".to_owned(),
        KeyLookup::Unavailable(why) => why.to_string(),
    }
}

async fn all(lookups: JoinSet<KeyLookup>) -> Vec<String> {
    lookups.join_all().await.iter().map(short).collect()
}

macro_rules! found {
    ($stage:expr, $kid:expr, $expected:expr) => {
        assert_eq!(short(&$stage.find($kid).await), $expected)
    };
}

// Behind the macro, which they use.
mod load;
mod outage;
mod rotation;
