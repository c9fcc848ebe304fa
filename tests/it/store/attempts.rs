//! Failed logins: none is lost, locks grow and end by themselves, and who is set free is free.

use std::time::Duration;

use portcullis::clock::UnixMillis;
use portcullis::store::{AttemptRule, Attempts, ClientChange, Store};

use super::records::{HOUR, REALM, add_client, at_once, begin, later, user};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    of_twenty_failures_at_once_none_is_lost,
    each_failure_locks_for_twice_as_long_up_to_the_longest,
    failures_are_forgotten_after_a_while_unless_a_lock_is_in_force,
    a_failure_is_taken_back_and_never_more_than_there_are,
    failures_and_known_addresses_are_read_together,
    an_account_that_is_set_free_is_free_and_no_other,
    a_lock_is_shown_for_people_and_changes_nothing_else,
);

const RULE: AttemptRule = AttemptRule {
    free: 5,
    first_lock: Duration::from_secs(1),
    longest_lock: Duration::from_secs(60),
    window: Duration::from_secs(3600),
};

/// Long before everything here.
const EVER: UnixMillis = UnixMillis(0);

async fn fail(store: &Store, key: &str, at: UnixMillis) -> Attempts {
    let mut write = begin(store).await;
    let attempts = write.note_failure(REALM, key, &RULE, at).await.unwrap();
    write.commit().await.unwrap();
    attempts
}

async fn seen(store: &Store, keys: &[&str]) -> Vec<Attempts> {
    store.attempts(REALM, keys, ("", ""), EVER).await.unwrap().attempts
}

async fn of_twenty_failures_at_once_none_is_lost(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let answers =
        at_once([&store, &other], 20, |store, _| async move { fail(&store, "account:ann", NOW).await.failed });
    let mut answers = answers.await;
    answers.sort_unstable();
    assert_eq!(answers, (1..=20).collect::<Vec<_>>());
    let [attempts] = &seen(&store, &["account:ann"]).await[..] else { panic!() };
    assert_eq!((attempts.failed, attempts.first_failed_at, attempts.locked_until), (20, NOW, Some(later(60_000))));
    store.close().await;
    assert_eq!(fail(&ground.open().await, "account:ann", NOW).await.failed, 21, "a restart forgets nothing");
}

async fn each_failure_locks_for_twice_as_long_up_to_the_longest(ground: Ground) {
    let store = ground.open().await;
    let mut locks = Vec::new();
    let mut at = NOW;
    for _ in 0..13 {
        let attempts = fail(&store, "account:ann", at).await;
        locks.push(attempts.locked_until.map(|until| (until.0 - at.0) / 1000));
        at = attempts.locked_until.unwrap_or(at);
    }
    let expected = [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60].map(|secs| Some(secs).filter(|secs| *secs > 0));
    assert_eq!(locks, expected);
    // By another node, whose clock is late: a lock is not made shorter.
    let before = seen(&store, &["account:ann"]).await.remove(0).locked_until;
    assert_eq!(fail(&store, "account:ann", NOW).await.locked_until, before);
    // A success forgets all.
    let mut write = begin(&store).await;
    write.clear_failures(REALM, "account:ann").await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(seen(&store, &["account:ann"]).await, []);
    assert_eq!(fail(&store, "account:ann", at).await.failed, 1);
}

async fn failures_are_forgotten_after_a_while_unless_a_lock_is_in_force(ground: Ground) {
    let store = ground.open().await;
    for n in 1..=4 {
        assert_eq!(fail(&store, "account:ann", later(n)).await.failed, u32::try_from(n).unwrap());
    }
    // Counted from the first, not from the last.
    assert_eq!(fail(&store, "account:ann", later(HOUR)).await.failed, 5, "not yet");
    assert_eq!(fail(&store, "account:ann", later(HOUR + 999)).await.failed, 6, "a lock is in force");
    let fresh = fail(&store, "account:ann", later(HOUR + 60_000)).await;
    assert_eq!((fresh.failed, fresh.first_failed_at, fresh.locked_until), (1, later(HOUR + 60_000), None));
}

async fn a_failure_is_taken_back_and_never_more_than_there_are(ground: Ground) {
    let store = ground.open().await;
    for _ in 0..2 {
        fail(&store, "address:192.0.2.7", NOW).await;
    }
    let mut write = begin(&store).await;
    for _ in 0..3 {
        write.forgive_one(REALM, "address:192.0.2.7").await.unwrap();
    }
    write.forgive_one(REALM, "address:nobody").await.unwrap();
    write.forgive_one("blog", "address:192.0.2.7").await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(seen(&store, &["address:192.0.2.7"]).await[0].failed, 0);
    assert_eq!(fail(&store, "address:192.0.2.7", NOW).await.failed, 1);
}

async fn failures_and_known_addresses_are_read_together(ground: Ground) {
    let store = ground.open().await;
    for key in ["account:ann", "address:192.0.2.7", "account:bob"] {
        fail(&store, key, NOW).await;
    }
    let mut write = begin(&store).await;
    write.know_address(REALM, "account:ann", "192.0.2.0/24", later(50)).await.unwrap();
    write.know_address(REALM, "account:ann", "192.0.2.0/24", later(40)).await.unwrap();
    write.commit().await.unwrap();
    let keys = ["address:192.0.2.7", "account:ann", "account:cyd"];
    let read = async |realm, account, network, since| {
        let seen = store.attempts(realm, &keys, (account, network), since).await.unwrap();
        (seen.attempts.into_iter().map(|one| (one.key, one.failed)).collect::<Vec<_>>(), seen.known_address)
    };
    let failures = vec![("account:ann".to_owned(), 1), ("address:192.0.2.7".to_owned(), 1)];
    let known = async |account, network, since| {
        let (attempts, known) = read(REALM, account, network, since).await;
        assert_eq!(attempts, failures);
        known
    };
    assert!(known("account:ann", "192.0.2.0/24", later(50)).await, "the last time counts");
    assert!(!known("account:ann", "192.0.2.0/24", later(51)).await);
    assert!(!known("account:ann", "198.51.100.0/24", EVER).await);
    assert!(!known("account:bob", "192.0.2.0/24", EVER).await);
    assert_eq!(read("blog", "account:ann", "192.0.2.0/24", EVER).await, (Vec::new(), false));
    assert_eq!(store.attempts(REALM, &[], ("", ""), EVER).await.unwrap().attempts, []);
}

async fn an_account_that_is_set_free_is_free_and_no_other(ground: Ground) {
    let store = ground.open().await;
    // Names that read like patterns, and like names with a network behind.
    let ann = add_client(&store, user("Ann")).await;
    for other in ["ann@example.org", "ann%", "ann_", "Ann@192.0.2.0"] {
        add_client(&store, user(other)).await;
    }
    let others = ["account:ann@example.org", "account:ann%", "account:ann_", "account:ann@192.0.2.0", "address:ann"];
    for key in others.into_iter().chain(["account:ann", "account:ann@192.0.2.0/24"]) {
        for _ in 0..6 {
            fail(&store, key, NOW).await;
        }
    }
    let mut write = begin(&store).await;
    write.know_address(REALM, "account:ann", "192.0.2.0/24", NOW).await.unwrap();
    write.mirror_lock(&ann, Some(later(9)), 6, NOW).await.unwrap();
    write.commit().await.unwrap();

    let mut write = begin(&store).await;
    let unlock = ClientChange { unlock: true, ..ClientChange::default() };
    assert!(write.update_client(&ann, None, &unlock, later(1)).await.unwrap());
    write.commit().await.unwrap();
    assert_eq!(seen(&store, &["account:ann", "account:ann@192.0.2.0/24"]).await, []);
    assert_eq!(seen(&store, &others).await.len(), others.len());
    assert_eq!(store.client(&ann).await.unwrap().unwrap().locked_until, None);
    let known = store.attempts(REALM, &[], ("account:ann", "192.0.2.0/24"), EVER).await.unwrap().known_address;
    assert!(known, "where it was used well is still known");

    let mut write = begin(&store).await;
    assert!(write.delete_client(&ann, None, later(2)).await.unwrap().is_some());
    write.commit().await.unwrap();
    assert_eq!(ground.number("SELECT count(*) FROM known_addresses").await, 0, "the next of that name starts anew");
    assert_eq!(seen(&store, &others).await.len(), others.len());
}

async fn a_lock_is_shown_for_people_and_changes_nothing_else(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let before = store.client(&ann).await.unwrap().unwrap();
    for (until, failed) in [(Some(later(9)), 6), (Some(later(19)), 7), (None, 0)] {
        let mut write = begin(&store).await;
        write.mirror_lock(&ann, until, failed, later(5)).await.unwrap();
        assert_eq!(write.commit().await.unwrap(), None, "nothing for the feed");
        let after = store.client(&ann).await.unwrap().unwrap();
        assert_eq!((after.locked_until, after.version), (until, before.version));
        let count = ground.number("SELECT CAST(failed_count AS BIGINT) FROM principals").await;
        assert_eq!(count, i64::from(failed));
    }
    assert_eq!(store.client(&ann).await.unwrap().unwrap(), before);
}
