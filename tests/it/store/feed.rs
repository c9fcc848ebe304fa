//! The feed: what one node does, the others learn, all of it and in its order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::store::{Change, ClientChange, Span, Store};

use super::records::{REALM, add_client, add_key, begin, client, event, key, later};
use super::{Ground, at_last, on_both};
use crate::support::NOW;

on_both!(
    numbers_follow_commits_and_a_follower_misses_nothing,
    what_was_rolled_back_takes_no_number,
    rows_run_out_after_an_hour_from_the_beginning,
    a_follower_can_tell_that_it_came_too_late,
);

async fn touch(store: &Store, id: &str, at: portcullis::clock::UnixMillis) -> i64 {
    let mut write = begin(store).await;
    assert!(write.update_client(id, None, &ClientChange::default(), at).await.unwrap());
    write.commit().await.unwrap().expect("a row in the feed")
}

async fn numbers_follow_commits_and_a_follower_misses_nothing(ground: Ground) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 15;
    let (store, other, follower) = (ground.open_as("a").await, ground.open_as("b").await, ground.open().await);
    let busy = Arc::new(AtomicUsize::new(WRITERS));
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        let busy = busy.clone();
        let id = add_client(&store, client(&format!("{n}"))).await;
        writers.push(tokio::spawn(async move {
            let mut committed = BTreeMap::new();
            for round in 0..ROUNDS {
                let mut write = begin(&store).await;
                let mut rows = 1;
                write.update_client(&id, None, &ClientChange::default(), NOW).await.unwrap();
                if round % 5 == 1 {
                    write.update_client(&id, None, &ClientChange::default(), NOW).await.unwrap();
                    rows = 2;
                }
                if n % 4 < 2 {
                    write.audit(event("client.updated"));
                }
                if round % 3 == 2 {
                    // Rolled back, by a duplicate or by being dropped.
                    if n % 2 == 0 {
                        write.create_client(&client(&format!("{n}"))).await.unwrap_err();
                        write.commit().await.unwrap_err();
                    }
                    continue;
                }
                let last = write.commit().await.unwrap().expect("rows in the feed");
                for seq in last - rows + 1..=last {
                    committed.insert(seq, id.clone());
                }
            }
            busy.fetch_sub(1, Ordering::SeqCst);
            committed
        }));
    }
    let follow = tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        let mut position = 0;
        loop {
            let all_done = busy.load(Ordering::SeqCst) == 0;
            let changes = follower.changes_after(position, 7).await.unwrap();
            if changes.is_empty() && all_done {
                return seen;
            }
            for Change { seq, value, .. } in changes {
                assert_eq!(seq, position + 1, "a number that is not there yet must not come later");
                position = seq;
                seen.insert(seq, value);
            }
        }
    });
    let mut committed = BTreeMap::new();
    for writer in writers {
        for (seq, id) in writer.await.expect("a writer") {
            assert_eq!(committed.insert(seq, id), None, "{seq} was given twice");
        }
    }
    assert_eq!(follow.await.expect("the follower"), committed);
    let newest = i64::try_from(committed.len()).unwrap();
    assert_eq!(store.feed_span().await.unwrap(), Span { oldest: 1, newest });
    assert_eq!(committed.keys().copied().collect::<Vec<_>>(), (1..=newest).collect::<Vec<_>>());
}

async fn what_was_rolled_back_takes_no_number(ground: Ground) {
    let store = ground.open().await;
    assert_eq!(store.feed_span().await.unwrap(), Span { oldest: 1, newest: 0 });
    let id = add_client(&store, client("bob")).await;
    assert_eq!(touch(&store, &id, NOW).await, 1);
    let mut write = begin(&store).await;
    write.update_client(&id, None, &ClientChange::default(), NOW).await.unwrap();
    drop(write);
    let mut write = begin(&store).await;
    write.audit(event("nothing.changed"));
    assert_eq!(write.commit().await.unwrap(), None, "an audit event alone is no change");
    assert_eq!(touch(&store, &id, NOW).await, 2);
    assert_eq!(store.changes_after(0, 1).await.unwrap().len(), 1);
    assert_eq!(store.changes_after(1, 10).await.unwrap().len(), 1);
    assert_eq!(store.changes_after(2, 10).await.unwrap(), []);
}

async fn rows_run_out_after_an_hour_from_the_beginning(ground: Ground) {
    const HOUR: i64 = 3_600_000;
    let store = ground.open().await;
    let id = add_client(&store, client("bob")).await;
    // The third one was written by a node whose clock is late.
    for at in [0, 1000, -1000, 2000] {
        touch(&store, &id, later(at)).await;
    }
    let after = async |at, removed, oldest| {
        assert_eq!(store.prune_feed(later(at)).await.unwrap(), removed, "at {at}");
        assert_eq!(store.feed_span().await.unwrap(), Span { oldest, newest: 4 }, "at {at}");
        let left: Vec<_> = store.changes_after(0, 10).await.unwrap().iter().map(|change| change.seq).collect();
        assert_eq!(left, (oldest..=4).collect::<Vec<_>>(), "no gaps");
    };
    after(HOUR - 1, 0, 1).await;
    after(HOUR, 1, 2).await;
    after(HOUR + 999, 0, 2).await;
    after(HOUR + 1000, 2, 4).await;
    after(HOUR + 2000, 1, 5).await;
    after(HOUR + 2000, 0, 5).await;
    assert_eq!(touch(&store, &id, NOW).await, 5);
    assert_eq!(store.feed_span().await.unwrap(), Span { oldest: 5, newest: 5 });
}

async fn a_follower_can_tell_that_it_came_too_late(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    add_key(&store, key(&owner, "k1")).await;
    touch(&store, &owner, NOW).await;
    let position = 1;
    store.prune_feed(later(3_600_000)).await.unwrap();
    assert!(store.feed_span().await.unwrap().oldest > position + 1);
}

#[test]
fn a_node_is_woken_when_another_one_commits() {
    super::run(async {
        let ground = Ground::postgres();
        let (store, other) = (ground.open().await, ground.open().await);
        let id = add_client(&store, client("bob")).await;
        let woken = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn({
            let woken = woken.clone();
            async move {
                loop {
                    other.woken().await;
                    woken.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let count = || woken.load(Ordering::SeqCst);
        // Connecting counts as a notification.
        at_last("it listens", async || (count() > 0).then_some(())).await;
        let before = count();
        touch(&store, &id, NOW).await;
        at_last("it is woken", async || (count() > before).then_some(())).await;
        task.abort();
        assert_eq!(store.changes_after(0, 10).await.unwrap()[0].realm, REALM);
    });
}
