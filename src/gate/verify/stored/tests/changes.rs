//! What changes in the store counts here as soon as the feed tells, and nothing that was read before counts any longer.

use std::sync::atomic::AtomicU64;

use super::*;

#[tokio::test]
async fn a_cached_key_is_refused_as_soon_as_the_feed_tells_of_its_end() {
    let stage = Stage::new();
    let (key, other) = (stage.key(|_| {}), stage.key(|record| record.key.id = "key_2".into()));
    assert_eq!((stage.ask(&key).await, stage.ask(&other).await), ("ok".into(), "ok".into()));
    stage.alter(&key, |record| record.key.status = KeyStatus::Revoked);
    stage.tell(ChangeKind::Key, "key_1");
    assert_eq!(stage.ask(&key).await, "key_revoked: revoked");
    assert_eq!(stage.ask(&other).await, "ok");
    assert_eq!(stage.reads(), 3, "the other key was not read again");
}

#[tokio::test]
async fn a_change_of_the_owner_is_one_of_its_keys() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    stage.alter(&key, |record| record.owner.status = ClientStatus::Disabled);
    stage.tell(ChangeKind::Client, "own_1");
    assert_eq!(stage.ask(&key).await, "key_disabled: disabled");
}

#[tokio::test]
async fn what_is_told_of_sessions_tokens_and_signing_keys_has_no_key_read_again() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    for (kind, value) in [
        (ChangeKind::Session, "ses_1"),
        (ChangeKind::Token, "tok_1"),
        (ChangeKind::Token, "a slot"),
        (ChangeKind::SigningKeys, ""),
    ] {
        stage.tell(kind, value);
        assert_eq!(stage.ask(&key).await, "ok");
    }
    assert_eq!(stage.reads(), 1);
    // They are remembered where keys are: by the id, which tells them apart.
    let read = AtomicU64::new(stage.keys.ledger().now());
    let holds = |id: &str| stage.keys.ledger().holds(&read, "shop", &[id, "usr_1"]);
    assert!(holds("ses_2") && holds("tok_2") && holds("another slot"));
    for (kind, value) in
        [(ChangeKind::Session, "ses_2"), (ChangeKind::Token, "tok_2"), (ChangeKind::Token, "another slot")]
    {
        stage.tell(kind, value);
        assert!(!holds(value), "{value}");
    }
}

#[tokio::test]
async fn a_key_that_is_gone_is_unknown() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    stage.source.keys.lock().unwrap().clear();
    stage.tell(ChangeKind::Key, "key_1");
    assert_eq!(stage.ask(&key).await, "key_unknown: unknown");
    assert_eq!(stage.ask(&key).await, "key_unknown: unknown");
    assert_eq!(stage.reads(), 2);
    assert_eq!(stage.keys.cached(), (0, 1));
}

#[tokio::test]
async fn everything_of_a_realm_and_everything_before_a_restart_is_read_again() {
    let stage = Stage::new();
    let key = stage.key(|_| {});
    assert_eq!(stage.ask(&key).await, "ok");
    stage.tell(ChangeKind::Realm, "");
    assert_eq!(stage.ask(&key).await, "ok");
    assert_eq!(stage.reads(), 2);
    // Back to an older state of the store: positions go back, too.
    stage.keys.ledger().restart(-7);
    assert_eq!(stage.keys.ledger().position(), -7);
    assert_eq!(stage.ask(&key).await, "ok");
    assert_eq!(stage.ask(&key).await, "ok");
    assert_eq!(stage.reads(), 3);
}

#[tokio::test]
async fn a_rotated_text_works_to_the_end_of_its_overlap_and_the_new_one_at_once() {
    let stage = Stage::new();
    let old = stage.key(|_| {});
    assert_eq!(stage.ask(&old).await, "ok");
    let new = text();
    assert_eq!(stage.ask(&new).await, "key_unknown: unknown");
    let end = UnixMillis(NOW.0 + 5000);
    stage.alter(&old, |record| record.not_after = Some(end));
    stage.put("shop", &new, |_| {});
    stage.keys.ledger().apply(&[change(1, ChangeKind::Key, "key_1"), change(2, ChangeKind::KeysAdded, "")]);
    assert_eq!((stage.ask(&old).await, stage.ask(&new).await), ("ok".into(), "ok".into()));
    stage.at(end);
    assert_eq!((stage.ask(&old).await, stage.ask(&new).await), ("key_expired: rotated".into(), "ok".into()));
    assert_eq!(stage.reads(), 4);
}

#[tokio::test]
async fn k13_a_key_that_was_refused_before_it_existed_works_at_first_use() {
    let stage = Stage::new();
    let (key, other) = (text(), text());
    for _ in 0..2 {
        assert_eq!(stage.ask(&key).await, "key_unknown: unknown");
    }
    let elsewhere = stage.decide("bank", "/orders", other.expose(), &mut Trail::default()).await;
    assert_eq!(told(elsewhere), "key_unknown: unknown");
    assert_eq!(stage.reads(), 2);
    stage.put("shop", &key, |_| {});
    stage.tell(ChangeKind::KeysAdded, "");
    assert_eq!(stage.ask(&key).await, "ok");
    let mut trail = Trail::default();
    assert!(stage.decide("bank", "/orders", other.expose(), &mut trail).await.is_err());
    assert_eq!((trail.unknown_key_cache, stage.reads()), (Some(true), 3), "no key was added to the other realm");
}

#[tokio::test]
async fn what_a_read_missed_is_read_again_before_anybody_is_answered() {
    let stage = Arc::new(Stage::new());
    let key = Arc::new(stage.key(|_| {}));
    stage.hold(true);
    let (asking, asked) = (Arc::clone(&stage), Arc::clone(&key));
    let first = tokio::spawn(async move { asking.ask(&asked).await });
    eventually(|| stage.reads() == 1).await;
    // The read has begun and will tell of the key as it was.
    stage.alter(&key, |record| record.key.status = KeyStatus::Revoked);
    stage.tell(ChangeKind::Key, "key_1");
    stage.hold(false);
    assert_eq!(first.await.unwrap(), "key_revoked: revoked");
    assert_eq!(stage.ask(&key).await, "key_revoked: revoked");
    assert_eq!(stage.reads(), 2);
}

#[tokio::test]
async fn with_nothing_kept_every_request_is_told_how_it_is_now() {
    let stage = Stage::keeping(Keeping { cache_bytes: 0, ..KEEPING });
    let key = stage.key(|_| {});
    assert_eq!((stage.ask(&key).await, stage.ask(&key).await), ("ok".into(), "ok".into()));
    stage.alter(&key, |record| record.key.status = KeyStatus::Disabled);
    assert_eq!(stage.ask(&key).await, "key_disabled: disabled");
    assert_eq!((stage.reads(), stage.keys.cached()), (3, (0, 0)));
}

/// A key with its version in the store, and what was read of it.
#[derive(Debug, Default)]
struct World {
    stored: u64,
    ledger: Ledger,
    before: Tick,
    seen: u64,
    entry: Option<(u64, AtomicU64)>,
}

impl World {
    fn hit(&self) -> Option<u64> {
        let (seen, clean_at) = self.entry.as_ref()?;
        self.ledger.holds(clean_at, "shop", &["key_1", "own_1"]).then_some(*seen)
    }
}

type Step = fn(&mut World);

/// Whoever reads, and whoever changes the key twice while others ask for it: every order of their steps.
#[test]
fn no_order_of_steps_leaves_something_old_in_force() {
    let reader: [Step; 3] = [
        |world| world.before = world.ledger.now(),
        |world| world.seen = world.stored,
        |world| world.entry = Some((world.seen, AtomicU64::new(world.before))),
    ];
    let tell: Step = |world| {
        let seq = world.ledger.position() + 1;
        world.ledger.apply(&[change(seq, ChangeKind::Key, "key_1")]);
    };
    let writer: [Step; 4] = [|world| world.stored += 1, tell, |world| world.stored += 1, tell];
    let stranger: [Step; 2] = [
        |world| world.ledger.apply(&[change(world.ledger.position() + 1, ChangeKind::Client, "own_2")]),
        |world| world.ledger.restart(0),
    ];
    let asker: [Step; 2] = [|world| _ = world.hit(), |world| _ = world.hit()];
    let mut orders = 0;
    interleave(&[&reader, &writer, &stranger, &asker], &mut Vec::new(), &mut |order| {
        orders += 1;
        let mut world = World::default();
        order.iter().for_each(|step| step(&mut world));
        assert!(world.hit().is_none_or(|seen| seen == world.stored), "{order:?}");
    });
    assert_eq!(orders, 69_300);
}

/// Every order that keeps the order of each sequence.
fn interleave(sequences: &[&[Step]], order: &mut Vec<Step>, each: &mut impl FnMut(&[Step])) {
    if sequences.iter().all(|steps| steps.is_empty()) {
        return each(order);
    }
    for (n, steps) in sequences.iter().enumerate() {
        if let Some((first, rest)) = steps.split_first() {
            let mut left = sequences.to_vec();
            left[n] = rest;
            order.push(*first);
            interleave(&left, order, each);
            order.pop();
        }
    }
}

#[test]
fn a_ledger_that_grows_too_long_has_everything_read_again() {
    let ledger = Ledger::default();
    ledger.restart(0);
    let (before, clean_at) = (ledger.now(), AtomicU64::new(ledger.now()));
    let rows =
        |from: i64, to: i64| (from..to).map(|n| change(n, ChangeKind::Key, &format!("key_x{n}"))).collect::<Vec<_>>();
    ledger.apply(&rows(1, 100_001));
    assert!(ledger.holds(&clean_at, "shop", &["key_1", "own_1"]));
    ledger.apply(&rows(100_001, 100_002));
    assert!(!ledger.holds(&clean_at, "shop", &["key_1", "own_1"]));
    assert!(!ledger.holds_nothing(before, "shop"));
    assert!(ledger.holds(&AtomicU64::new(ledger.now()), "shop", &["key_1", "own_1"]));
    assert_eq!(ledger.position(), 100_001);
}

#[test]
fn an_empty_look_at_the_feed_changes_nothing() {
    let ledger = Ledger::default();
    ledger.restart(7);
    let tick = ledger.now();
    ledger.apply(&[]);
    assert_eq!((ledger.now(), ledger.position()), (tick, 7));
}
