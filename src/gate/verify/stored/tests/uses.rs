//! Uses are counted for allowed requests only, written once a minute at most, and never lost to a cache.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn of(key_id: &str, count: i64, at: UnixMillis) -> KeyUse {
    KeyUse { key_id: key_id.into(), overlap: false, count, at, ip: Some(IP.into()) }
}

#[tokio::test]
async fn only_what_passed_every_check_is_a_use() {
    let stage = Stage::new();
    let good = stage.key(|_| {});
    let revoked = stage.key(|record| record.key.status = KeyStatus::Revoked);
    let poor = stage.key(|record| record.key.scopes = Some(vec![]));
    let elsewhere = stage.key(|record| record.key_addresses = vec![address("10.0.0.0/8", None)]);
    for key in [&revoked, &poor, &elsewhere, &text()] {
        assert_ne!(stage.ask(key).await, "ok");
    }
    assert!(stage.decide("shop", "/orders", good.expose(), &mut Trail::explaining()).await.is_ok());
    assert!(stage.keys.take_uses(NOW, true).is_empty());
    let mut scarce = Vec::new();
    for _ in 0..3 {
        scarce.push(told(stage.decide("shop", "/scarce", good.expose(), &mut Trail::default()).await));
    }
    assert_eq!(scarce, ["ok", "rate_limited: ", "rate_limited: "]);
    assert_eq!(stage.keys.take_uses(NOW, true), [of("key_1", 1, NOW)]);
}

#[tokio::test]
async fn uses_are_given_out_once_and_a_key_once_a_minute() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    for _ in 0..3 {
        assert_eq!(stage.ask(&key).await, "ok");
    }
    assert_eq!(stage.keys.take_uses(NOW, false), [of("key_1", 3, NOW)]);
    assert!(stage.keys.take_uses(NOW.plus(MINUTE), false).is_empty());
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(stage.at(later).ask(&key).await, "ok");
    assert!(stage.keys.take_uses(NOW.plus(MINUTE - Duration::from_millis(1)), false).is_empty());
    assert_eq!(stage.keys.take_uses(NOW.plus(MINUTE), false), [of("key_1", 1, later)]);
}

#[tokio::test]
async fn what_another_node_has_written_counts_for_the_minute() {
    let stage = Stage::new();
    let key = stage.key(|record| record.key.last_used_at = Some(NOW));
    assert_eq!(stage.ask(&key).await, "ok");
    assert!(stage.keys.take_uses(NOW.plus(MINUTE - Duration::from_millis(1)), false).is_empty());
    assert_eq!(stage.keys.take_uses(NOW.plus(MINUTE), false).len(), 1);
}

#[tokio::test]
async fn what_could_not_be_written_is_given_out_again_with_what_came_since() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    let given = stage.keys.take_uses(NOW, false);
    stage.keys.put_back(given);
    let later = NOW.plus(MINUTE);
    assert_eq!(stage.at(later).ask(&key).await, "ok");
    assert_eq!(stage.keys.take_uses(later, false), [of("key_1", 2, later)]);
    assert!(stage.keys.take_uses(later.plus(MINUTE), true).is_empty());
}

#[tokio::test]
async fn the_old_text_of_a_key_is_counted_apart() {
    let stage = Stage::new();
    let new = stage.key(|_| {});
    let old = stage.key(|record| record.not_after = Some(NOW.plus(MINUTE)));
    assert_eq!((stage.ask(&new).await, stage.ask(&old).await), ("ok".into(), "ok".into()));
    assert_eq!(
        stage.keys.take_uses(NOW, false),
        [of("key_1", 1, NOW), KeyUse { overlap: true, ..of("key_1", 1, NOW) }]
    );
}

#[tokio::test]
async fn uses_survive_a_change_of_the_key_and_a_cache_that_keeps_nothing() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    stage.tell(ChangeKind::Key, "key_1");
    assert_eq!(stage.ask(&key).await, "ok");
    assert_eq!(stage.keys.take_uses(NOW, false), [of("key_1", 2, NOW)]);

    let stage = Stage::keeping(Keeping { cache_bytes: 0, ..KEEPING });
    let key = stage.key(|_| {});
    assert_eq!((stage.ask(&key).await, stage.ask(&key).await), ("ok".into(), "ok".into()));
    assert_eq!(stage.keys.take_uses(NOW, false), [of("key_1", 2, NOW)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_use_is_lost_between_those_who_count_and_the_one_who_writes() {
    let stage = Arc::new(Stage::new());
    let key = Arc::new(stage.key(|_| {}));
    assert_eq!(stage.ask(&key).await, "ok");
    let using: Vec<_> = (0..4)
        .map(|_| {
            let (stage, key) = (Arc::clone(&stage), Arc::clone(&key));
            tokio::spawn(async move {
                for _ in 0..500 {
                    assert_eq!(stage.ask(&key).await, "ok");
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut written = 0;
    while !using.iter().all(tokio::task::JoinHandle::is_finished) {
        written += stage.keys.take_uses(NOW, true).iter().map(|one| one.count).sum::<i64>();
        tokio::task::yield_now().await;
    }
    written += stage.keys.take_uses(NOW, true).iter().map(|one| one.count).sum::<i64>();
    assert_eq!(written, 2001);
}
