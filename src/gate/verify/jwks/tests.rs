//! The promises of the engine as a whole, with a fake network and a clock that is set.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::state::MOST_WAITERS;
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
        let in_force = Arc::clone(&set);
        let engine = tokio::spawn(maintain(
            move || vec![Arc::clone(&in_force)],
            Arc::clone(&network) as Arc<dyn Fetch>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        ));
        settle().await;
        Self { set, network, clock, engine }
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
        self.set.state.load().nudge();
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

#[tokio::test]
async fn a_flood_of_unknown_key_ids_costs_one_fetch_per_cool_down() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    for round in 1..=3 {
        for n in 0..2000 {
            found!(stage, &format!("bogus-{round}-{n}"), "unknown");
        }
        found!(stage, "k1", "k1");
        assert_eq!(stage.calls(), round);
        stage.pass(COOLDOWN).await;
    }
}

#[tokio::test]
async fn an_empty_set_holds_the_cool_down_too() {
    let stage = Stage::new(at_url(), |_| Ok(br#"{"keys":[]}"#.to_vec())).await;
    for round in 1..=3 {
        for n in 0..500 {
            found!(stage, &format!("bogus-{round}-{n}"), "unknown");
        }
        assert_eq!(stage.calls(), round);
        stage.pass(COOLDOWN).await;
    }
}

#[tokio::test]
async fn a_failed_fetch_arms_the_cool_down_and_unknown_key_ids_are_an_outage() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.answers(down);
    stage.clock.advance(COOLDOWN);
    for n in 0..500 {
        found!(stage, &format!("bogus-{n}"), "key_set_failing");
    }
    found!(stage, "k1", "k1");
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn a_set_that_was_never_loaded_is_not_fetched_more_often_because_many_ask() {
    let stage = Stage::new(at_url(), down).await;
    for n in 0..500 {
        found!(stage, &format!("kid-{n}"), "key_set_never_loaded");
    }
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_hundred_first_look_ups_share_one_fetch_and_are_all_released_when_it_fails() {
    let stage = Stage::held(at_url(), true, down).await;
    let lookups = stage.find_many((0..100).map(|n| format!("kid-{n}")));
    settle().await;
    assert_eq!(stage.calls(), 1);
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["key_set_never_loaded"; 100]);
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_hundred_first_look_ups_share_one_fetch_and_find_their_key() {
    let stage = Stage::held(at_url(), true, serves(&[&key("k1")])).await;
    let lookups = stage.find_many((0..100).map(|_| "k1".to_owned()));
    settle().await;
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["k1"; 100]);
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn known_keys_are_answered_while_a_fetch_hangs() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.hold(true);
    stage.clock.advance(COOLDOWN);
    let lookups = stage.find_many(["bogus".to_owned()]);
    settle().await;
    assert_eq!(stage.calls(), 2);
    // Ready at the first poll: nothing of it waits.
    let now = stage.clock.now();
    let mut known = std::pin::pin!(stage.set.find(Some("k1"), Algorithm::EdDSA, now));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(known.as_mut().poll(&mut context).is_ready());
    stage.hold(false);
    assert_eq!(all(lookups).await, ["unknown"]);
}

#[tokio::test]
async fn those_who_wait_are_bounded_and_the_rest_is_turned_away_at_once() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.hold(true);
    stage.clock.advance(COOLDOWN);
    let mut lookups = stage.find_many((0..MOST_WAITERS + 44).map(|n| format!("bogus-{n}")));
    settle().await;
    let mut turned_away = Vec::new();
    while let Some(lookup) = lookups.try_join_next() {
        turned_away.push(short(&lookup.unwrap()));
    }
    assert_eq!(turned_away, vec!["key_set_failing"; 44]);
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["unknown"; MOST_WAITERS]);
    assert_eq!(stage.calls(), 2);

    stage.pass(COOLDOWN).await;
    stage.hold(true);
    let again = stage.find_many((0..MOST_WAITERS).map(|n| format!("other-{n}")));
    settle().await;
    stage.hold(false);
    assert_eq!(all(again).await, vec!["unknown"; MOST_WAITERS], "every seat was given back");
}

#[tokio::test]
async fn a_wait_ends_with_the_timeout_of_the_set() {
    let timeout = Duration::from_millis(20);
    let stage = Stage::held(RemoteSpec { timeout, ..at_url() }, true, down).await;
    found!(stage, "k1", "key_set_never_loaded");
    let status = stage.set.status();
    assert!(status.failed <= 1, "{status:?}");
}

#[tokio::test]
async fn a_rotation_costs_one_fetch_and_no_refusal() {
    let (k1, k2) = (key("k1"), key("k2"));
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    let before = stage.set.generation();
    stage.answers(serves(&[&k1, &k2]));
    stage.clock.advance(COOLDOWN);
    let lookups = stage.find_many((0..50).map(|_| "k2".to_owned()));
    assert_eq!(all(lookups).await, vec!["k2"; 50]);
    found!(stage, "k1", "k1");
    assert_eq!(stage.calls(), 2);
    assert_ne!(stage.set.generation(), before);
}

#[tokio::test]
async fn a_removed_key_is_gone_with_the_next_refresh() {
    let (k1, k2) = (key("k1"), key("k2"));
    let stage = Stage::new(at_url(), serves(&[&k1, &k2])).await;
    stage.answers(serves(&[&k2]));
    stage.pass(REFRESH).await;
    found!(stage, "k1", "unknown");
    found!(stage, "k2", "k2");
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn another_key_under_the_same_id_is_a_change() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let before = stage.set.generation();
    stage.answers(serves(&[&key("k1")]));
    stage.pass(REFRESH).await;
    assert_ne!(stage.set.generation(), before);
}

#[tokio::test]
async fn a_refresh_that_brings_the_same_changes_no_generation() {
    let (k1, k2) = (key("k1"), key("k2"));
    let stage = Stage::new(at_url(), serves(&[&k1, &k2])).await;
    let before = stage.set.generation();
    assert_ne!(before, 0);
    stage.answers(serves(&[&k2, &k1]));
    stage.pass(REFRESH).await;
    assert_eq!((stage.set.generation(), stage.set.status().refreshed), (before, 2));
}

#[tokio::test]
async fn keys_outlive_an_outage_up_to_max_stale_and_the_set_recovers_by_itself() {
    let k1 = key("k1");
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    let generation = stage.set.generation();
    stage.answers(down);
    stage.pass(REFRESH).await;
    assert_eq!(stage.set.status().failed, 1);
    stage.pass(MAX_STALE - REFRESH - Duration::from_millis(1)).await;
    found!(stage, "k1", "k1");
    stage.pass(Duration::from_millis(1)).await;
    assert!(!stage.set.usable(stage.clock.now()));
    found!(stage, "k1", "key_set_stale");
    found!(stage, "bogus", "key_set_stale");

    stage.answers(serves(&[&k1]));
    stage.pass(COOLDOWN * 2).await;
    found!(stage, "k1", "k1");
    assert_eq!(stage.set.generation(), generation);
    assert_eq!(stage.set.status().last_error, None);
}

#[tokio::test]
async fn a_set_that_was_down_at_the_start_is_there_seconds_after_it_came_back() {
    let stage = Stage::new(at_url(), down).await;
    found!(stage, "k1", "key_set_never_loaded");
    assert_eq!(stage.set.status().last_error.as_deref(), Some("connection refused"));
    stage.answers(serves(&[&key("k1")]));
    stage.pass(Duration::from_secs(1)).await;
    found!(stage, "k1", "k1");
}

#[tokio::test]
async fn a_document_that_is_no_key_set_is_a_failure_and_the_keys_stay() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.answers(|_| Ok(b"<html>maintenance</html>".to_vec()));
    stage.pass(REFRESH).await;
    found!(stage, "k1", "k1");
    let status = stage.set.status();
    assert_eq!((status.refreshed, status.failed, status.keys), (1, 1, 1));
    assert!(!status.last_error.unwrap().contains("maintenance"));
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_counted_and_the_others_serve() {
    let odd = r#"{"kty":"AKP","kid":"odd"}"#.to_owned();
    let stage = Stage::new(at_url(), serves(&[&odd, &key("k1")])).await;
    found!(stage, "k1", "k1");
    found!(stage, "odd", "unknown");
    let status = stage.set.status();
    assert_eq!((status.keys, status.skipped.iter().map(|(_, count)| count).sum::<u64>()), (1, 1));
}

#[tokio::test]
async fn a_panicking_fetch_is_a_failure_that_releases_all_and_is_tried_again() {
    let stage = Stage::held(at_url(), true, |_| panic!("a fault of the fetcher")).await;
    let lookups = stage.find_many((0..10).map(|n| format!("kid-{n}")));
    settle().await;
    stage.hold(false);
    assert_eq!(all(lookups).await, vec!["key_set_never_loaded"; 10]);
    assert_eq!(stage.set.status().failed, 1);
    *stage.network.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Box::new(serves(&[&key("k1")]));
    stage.pass(Duration::from_secs(1)).await;
    found!(stage, "k1", "k1");
}

#[tokio::test]
async fn the_end_of_the_engine_releases_all() {
    let stage = Stage::held(at_url(), true, down).await;
    let lookups = stage.find_many((0..10).map(|n| format!("kid-{n}")));
    settle().await;
    stage.engine.abort();
    assert_eq!(all(lookups).await, vec!["key_set_never_loaded"; 10]);
}

#[tokio::test]
async fn a_key_id_that_proved_to_be_unknown_asks_again_after_four_cool_downs_or_a_change_of_keys() {
    let k1 = key("k1");
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    stage.clock.advance(COOLDOWN);
    found!(stage, "k2", "unknown");
    assert_eq!(stage.calls(), 2);
    stage.clock.advance(COOLDOWN * 2);
    found!(stage, "k2", "unknown");
    assert_eq!(stage.calls(), 2);

    stage.answers(serves(&[&k1, &key("k2")]));
    found!(stage, "k3", "unknown");
    assert_eq!(stage.calls(), 3);
    found!(stage, "k2", "k2");

    stage.clock.advance(COOLDOWN * 4);
    found!(stage, "k3", "unknown");
    assert_eq!(stage.calls(), 4);
}

#[tokio::test]
async fn a_look_up_during_a_fetch_proves_nothing_about_a_key_that_is_published_after_it() {
    let k1 = key("k1");
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    stage.hold(true);
    stage.pass(REFRESH).await;
    let early = stage.find_many(["k2".to_owned()]);
    settle().await;
    stage.hold(false);
    assert_eq!(all(early).await, ["unknown"]);
    stage.answers(serves(&[&k1, &key("k2")]));
    stage.clock.advance(COOLDOWN);
    found!(stage, "k2", "k2");
}

#[tokio::test]
async fn an_oversized_key_id_is_unknown_without_any_effort() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.clock.advance(COOLDOWN);
    found!(stage, &"k".repeat(257), "unknown");
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_token_without_a_key_id_may_use_any_key_of_its_algorithm() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let lookup = stage.set.find(None, Algorithm::EdDSA, stage.clock.now()).await;
    assert_eq!(short(&lookup), "k1");
}

#[tokio::test]
async fn a_reload_that_changes_nothing_keeps_the_keys_and_fetches_nothing() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let reloaded = RemoteKeySet::new(at_url());
    assert!(reloaded.share_state_of(&stage.set));
    assert_eq!(reloaded.generation(), stage.set.generation());
    assert_eq!(short(&reloaded.find(Some("k1"), Algorithm::EdDSA, stage.clock.now()).await), "k1");
    stage.pass(REFRESH).await;
    assert_eq!((reloaded.status().refreshed, stage.calls()), (2, 2));

    let other = RemoteKeySet::new(RemoteSpec { algorithms: vec![Algorithm::ES256], ..at_url() });
    assert!(!other.share_state_of(&stage.set));
    assert!(!other.usable(stage.clock.now()));
}

const ISSUER: &str = "https://id.example/realms/a";

fn discovery(issuer: &'static str, keys: &str) -> impl Fn(&str) -> Result<Vec<u8>, String> + Send + use<> {
    let (keys, set) = (keys.to_owned(), document(&[&key("k1")]));
    move |url| match url {
        "https://id.example/realms/a/.well-known/openid-configuration" => {
            Ok(format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#).into_bytes())
        }
        "https://keys.example/a" => Ok(set.clone()),
        other => Err(format!("nothing at {other}")),
    }
}

#[tokio::test]
async fn discovery_leads_to_the_keys_in_one_attempt() {
    let stage = Stage::new(spec(Location::Discovery(ISSUER.into())), discovery(ISSUER, "https://keys.example/a")).await;
    found!(stage, "k1", "k1");
    assert_eq!(stage.set.status().refreshed, 1);
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_or_with_a_bad_url_leads_nowhere() {
    for (issuer, url) in [
        ("https://id.example/realms/b", "https://keys.example/a"),
        ("https://id.example/realms/a/", "https://keys.example/a"),
        (ISSUER, "http://169.254.169.254/keys"),
        (ISSUER, "http://127.0.0.1/keys"),
        (ISSUER, "file:///etc/passwd"),
    ] {
        let stage = Stage::new(spec(Location::Discovery(ISSUER.into())), discovery(issuer, url)).await;
        found!(stage, "k1", "key_set_never_loaded");
        assert_eq!(stage.calls(), 1, "{issuer} {url}");
        assert!(stage.set.status().last_error.unwrap().starts_with("discovery: "));
    }
}

#[tokio::test]
async fn a_url_that_is_not_acceptable_is_never_asked() {
    let stage = Stage::new(spec(Location::Url("http://id.example/keys".into())), down).await;
    assert_eq!((stage.calls(), stage.set.status().failed), (0, 1));
    assert_eq!(*stage.network.asked.lock().unwrap(), [""; 0]);
}
