//! However many ask for whatever, the store is asked little, and good keys are not the ones to pay.

use super::*;

/// Waits for something that other tasks do; to a deadline.
pub(super) async fn eventually(done: impl Fn() -> bool) {
    let patience = Stopwatch::start();
    while !done() {
        assert!(patience.elapsed() < Duration::from_secs(10), "it does not happen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_who_wait_for_the_same_key_are_one_read() {
    let stage = Arc::new(Stage::new());
    let key = Arc::new(stage.key(|_| {}));
    stage.hold(true);
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let (stage, key) = (Arc::clone(&stage), Arc::clone(&key));
            tokio::spawn(async move { stage.ask(&key).await })
        })
        .collect();
    let reading = stage.keys.keys.reading.as_ref().unwrap();
    eventually(|| reading.places_left() == 4096 - 1000).await;
    stage.hold(false);
    for one in waiting {
        assert_eq!(one.await.unwrap(), "ok");
    }
    assert_eq!(stage.reads(), 1);
}

#[tokio::test]
async fn a_read_goes_on_when_the_one_who_asked_is_gone() {
    let stage = Arc::new(Stage::new());
    let key = Arc::new(stage.key(|_| {}));
    stage.hold(true);
    let (asking, asked) = (Arc::clone(&stage), Arc::clone(&key));
    let gone = tokio::spawn(async move { asking.ask(&asked).await });
    eventually(|| stage.reads() == 1).await;
    gone.abort();
    stage.hold(false);
    eventually(|| stage.keys.cached().0 == 1).await;
    assert_eq!(stage.ask(&key).await, "ok");
    assert_eq!(stage.reads(), 1);
}

#[tokio::test]
async fn more_texts_than_can_be_looked_up_are_too_much_work_and_come_again_in_a_second() {
    let stage = Arc::new(Stage::new());
    let (hot, cold) = (stage.key(|_| {}), stage.key(|_| {}));
    assert_eq!(stage.ask(&hot).await, "ok");
    stage.hold(true);
    let waiting: Vec<_> = (0..4096)
        .map(|_| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move { stage.ask(&text()).await })
        })
        .collect();
    let reading = stage.keys.keys.reading.as_ref().unwrap();
    eventually(|| reading.places_left() == 0).await;
    let denial = stage.permit(&cold).await.unwrap_err();
    assert_eq!(told(Err(denial.clone())), "overloaded: store_busy");
    assert_eq!(denial.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(stage.ask(&hot).await, "ok");
    // Who waits may go: what they asked for is still bounded.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    eventually(|| reading.places_left() == 4096).await;
    assert_eq!(stage.ask(&cold).await, "overloaded: store_busy");
    assert_eq!(stage.reads(), 1 + 64, "so many at a time");
    stage.hold(false);
    eventually(|| reading.texts() == 0).await;
    assert_eq!(stage.ask(&cold).await, "ok");
}

#[tokio::test]
async fn an_address_with_too_many_failures_reaches_the_store_no_more_and_known_keys_go_on() {
    let mut stage = Stage::new();
    stage.snapshot = snapshot(&["shop"], Some(once_a_day(LimitBy::Address)));
    let (known, unknown) = (stage.key(|_| {}), stage.key(|_| {}));
    assert_eq!(stage.ask(&known).await, "ok");
    assert_eq!(stage.ask(&text()).await, "key_unknown: unknown");
    let before = stage.reads();
    for _ in 0..3 {
        assert_eq!(stage.ask(&text()).await, "rate_limited: failure_limit");
        assert_eq!(stage.ask(&unknown).await, "rate_limited: failure_limit");
        assert_eq!(stage.ask(&known).await, "ok");
    }
    assert_eq!(stage.reads(), before);
    stage.tell(ChangeKind::Key, "key_1");
    assert_eq!(stage.ask(&known).await, "ok", "it is known, only how it is now is not");
}

#[tokio::test]
async fn k14_a_flood_of_bad_keys_pushes_no_good_one_out() {
    // Room for the good ones and few more.
    let stage = Stage::keeping(Keeping { cache_bytes: 500 * 4096, ..KEEPING });
    let good: Vec<_> = (0..400).map(|n| stage.key(|record| record.key.id = format!("key_{n}"))).collect();
    for key in &good {
        assert_eq!(stage.ask(key).await, "ok");
    }
    let (mut hits, mut asked) = (0, 0);
    let flood = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    for n in 0..flood {
        assert_eq!(stage.ask(&text()).await, "key_unknown: unknown");
        let mut trail = Trail::default();
        assert!(stage.decide("shop", "/orders", good[n % 400].expose(), &mut trail).await.is_ok());
        asked += 1;
        hits += usize::from(trail.key_cache == Some(true));
    }
    assert!(hits * 100 >= asked * 99, "{hits} of {asked}");
    assert_eq!(stage.keys.cached().0, 400);
}

#[test]
fn f19_what_is_remembered_of_bad_keys_is_bounded() {
    let caches = Caches::<Entry>::new(64 << 20);
    let sought = |n: u64| Sought {
        digest: CredentialDigest::of(&n.to_be_bytes()),
        realm: "shop".into(),
        number: Realm::number_of("shop"),
        id: None,
    };
    for n in 0..120_000 {
        assert!(caches.keep(&sought(n), None, 0).is_none());
    }
    let (keys, unknown) = caches.entries();
    assert!(keys == 0 && (50_000..=100_000).contains(&unknown), "{unknown}");
}

#[test]
fn the_cache_of_keys_keeps_to_its_bytes() {
    let caches = Caches::<Entry>::new(1 << 20);
    for n in 0..2000_u64 {
        let sought = Sought {
            digest: CredentialDigest::of(&n.to_be_bytes()),
            realm: "shop".into(),
            number: Realm::number_of("shop"),
            id: None,
        };
        let entry = caches.keep(&sought, Some(record("shop", &format!("key_{n}"), "own_1")), 0);
        assert!(entry.is_some());
    }
    let (keys, _) = caches.entries();
    assert!((300..600).contains(&keys), "{keys}");
}
