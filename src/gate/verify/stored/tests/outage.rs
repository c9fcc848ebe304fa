//! The store is out of reach, or slow, or the feed has fallen silent: 503 where nothing can be told, never 401, and
//! nobody is let in on a memory that is too old.

use super::*;

#[tokio::test]
async fn what_is_in_memory_goes_on_and_the_rest_is_503_until_the_store_is_back() {
    let stage = Stage::new();
    let (hot, cold, unknown) = (stage.key(|_| {}), stage.key(|_| {}), text());
    assert_eq!((stage.ask(&hot).await, stage.ask(&unknown).await), ("ok".into(), "key_unknown: unknown".into()));
    stage.fail(true);
    for _ in 0..2 {
        assert_eq!(stage.ask(&hot).await, "ok");
        assert_eq!(stage.ask(&unknown).await, "key_unknown: unknown");
        assert_eq!(stage.ask(&cold).await, "store_unavailable: store_failing");
        assert_eq!(stage.ask(&text()).await, "store_unavailable: store_failing");
    }
    stage.fail(false);
    assert_eq!(stage.ask(&cold).await, "ok");
}

#[tokio::test]
async fn a_key_that_has_changed_is_503_while_it_cannot_be_read_again() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    stage.fail(true);
    stage.tell(ChangeKind::Client, "own_1");
    assert_eq!(stage.ask(&key).await, "store_unavailable: store_failing");
    stage.fail(false);
    assert_eq!(stage.ask(&key).await, "ok");
}

#[tokio::test]
async fn memory_is_believed_up_to_the_very_bound() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    let unknown = text();
    assert_eq!(stage.ask(&unknown).await, "key_unknown: unknown");
    let confirmed = Stopwatch::start();
    stage.keys.ledger().confirm(confirmed);
    let realm = &stage.snapshot.realms[0];
    let look = |text: &PlainKey, after| stage.keys.look(realm, text.digest(), confirmed.later(after));
    assert!(matches!(look(&key, MAX_STALENESS), Known::There(_)));
    assert!(matches!(look(&unknown, MAX_STALENESS), Known::Nothing));
    let beyond = MAX_STALENESS + Duration::from_nanos(1);
    assert!(matches!(look(&key, beyond), Known::Outdated { stale: true }));
    assert!(matches!(look(&unknown, beyond), Known::Unseen));
    assert_eq!(stage.keys.ledger().staleness(confirmed.later(beyond)), Some(beyond));
    // An older look at the feed takes nothing back.
    stage.keys.ledger().confirm(confirmed.later(beyond));
    stage.keys.ledger().confirm(confirmed);
    assert!(matches!(look(&key, beyond), Known::There(_)));
}

#[tokio::test]
async fn a_feed_that_never_spoke_makes_every_request_read_the_store() {
    let stage = Stage::new();
    let keys = Arc::new(StoredKeys::new(Arc::clone(&stage.source) as _, Handle::current(), KEEPING));
    assert_eq!(keys.ledger().staleness(Stopwatch::start()), None);
    let stage = Stage { gate: Gate::new(0, Arc::clone(&keys)), keys, ..stage };
    silent(&stage).await;
}

#[tokio::test]
async fn a_feed_that_has_fallen_silent_makes_every_request_read_the_store() {
    silent(&Stage::keeping(Keeping { max_staleness: Duration::ZERO, ..KEEPING })).await;
}

/// The store answers, and then it does not.
async fn silent(stage: &Stage) {
    let (key, unknown) = (stage.key(|_| {}), text());
    for n in 1..=3 {
        assert_eq!((stage.ask(&key).await, stage.ask(&unknown).await), ("ok".into(), "key_unknown: unknown".into()));
        assert_eq!(stage.reads(), 2 * n);
    }
    stage.alter(&key, |record| record.key.status = KeyStatus::Revoked); // and the feed does not tell
    assert_eq!(stage.ask(&key).await, "key_revoked: revoked");
    stage.alter(&key, |record| record.key.status = KeyStatus::Active);
    stage.fail(true);
    assert_eq!(stage.ask(&key).await, "store_unavailable: store_stale");
    assert_eq!(stage.ask(&unknown).await, "store_unavailable: store_failing");
    stage.fail(false);
    assert_eq!(stage.ask(&key).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_costs_two_seconds_and_no_more() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    stage.hold(true);
    let begun = tokio::time::Instant::now();
    assert_eq!(stage.ask(&key).await, "store_unavailable: store_slow");
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    stage.hold(false);
    assert_eq!(stage.ask(&key).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn during_an_outage_one_request_at_a_time_waits_for_the_store() {
    let stage = Arc::new(Stage::new());
    let keys: Vec<_> = (0..3).map(|_| stage.key(|_| {})).collect();
    stage.hold(true);
    assert_eq!(stage.ask(&keys[0]).await, "store_unavailable: store_slow");
    let begun = tokio::time::Instant::now();
    let waits = {
        let (stage, key) = (Arc::clone(&stage), keys[0].digest());
        tokio::spawn(async move { stage.keys.read(&stage.snapshot.realms[0], key).await.is_err() })
    };
    tokio::task::yield_now().await;
    for key in &keys {
        assert_eq!(stage.ask(key).await, "store_unavailable: store_failing", "at once, whatever the text");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    stage.hold(false);
    assert!(!waits.await.unwrap());
    for key in &keys {
        assert_eq!(stage.ask(key).await, "ok");
    }
}

#[test]
fn a_runtime_that_has_ended_is_an_outage() {
    let ended = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = Stage::new();
        let key = stage.key(|_| {});
        let keys = Arc::new(StoredKeys::new(Arc::clone(&stage.source) as _, ended.handle().clone(), KEEPING));
        let stage = Stage { gate: Gate::new(0, Arc::clone(&keys)), keys, ..stage };
        ended.shutdown_background();
        for _ in 0..3 {
            assert_eq!(stage.ask(&key).await, "store_unavailable: store_failing");
        }
    });
}

#[tokio::test]
async fn an_outage_is_no_failed_verification() {
    let mut stage = Stage::new();
    stage.snapshot = snapshot(&["shop"], Some(once_a_day(LimitBy::Address)));
    let key = stage.key(|_| {});
    stage.fail(true);
    for _ in 0..3 {
        assert_eq!(stage.ask(&key).await, "store_unavailable: store_failing");
    }
    stage.fail(false);
    assert_eq!(stage.ask(&key).await, "ok");
}
