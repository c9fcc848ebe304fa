//! When and from where keys were used.

use portcullis::clock::UnixMillis;
use portcullis::store::{Fault, Key, KeyUse};

use super::records::{add_key_and_owner, at_once, begin, later, rotation};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    uses_are_added_and_the_last_one_is_shown,
    a_use_is_no_change,
    the_old_text_has_a_stamp_of_its_own,
    uses_of_many_keys_are_written_together,
    nodes_that_write_at_the_same_time_lose_nothing,
);

fn uses(key_id: &str, count: i64, at: UnixMillis, ip: &str) -> KeyUse {
    KeyUse { key_id: key_id.to_owned(), overlap: false, count, at, ip: Some(ip.parse().unwrap()) }
}

fn stamp(key: &Key) -> (i64, Option<UnixMillis>, Option<&str>) {
    (key.use_count, key.last_used_at, key.last_used_ip.as_deref())
}

async fn uses_are_added_and_the_last_one_is_shown(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    store.note_uses(&[]).await.unwrap();
    let steps = [
        (uses(&id, 3, later(10), "192.0.2.1"), (3, Some(later(10)), Some("192.0.2.1"))),
        // Of another node, and older.
        (uses(&id, 4, later(5), "192.0.2.2"), (7, Some(later(10)), Some("192.0.2.1"))),
        (uses(&id, 1, later(20), "2001:db8::1"), (8, Some(later(20)), Some("2001:db8::1"))),
        (KeyUse { ip: None, ..uses(&id, 1, later(30), "192.0.2.1") }, (9, Some(later(30)), None)),
    ];
    for (one, expected) in steps {
        store.note_uses(&[one, uses("key_nobody", 1, NOW, "192.0.2.9")]).await.unwrap();
        assert_eq!(stamp(&store.key(&id).await.unwrap().unwrap()), expected);
    }
    let many = [
        uses(&id, 1, later(41), "192.0.2.4"),
        KeyUse { overlap: true, ..uses(&id, 2, later(42), "192.0.2.5") },
        uses(&id, 3, later(40), "192.0.2.6"),
    ];
    store.note_uses(&many).await.unwrap();
    assert_eq!(stamp(&store.key(&id).await.unwrap().unwrap()), (15, Some(later(42)), Some("192.0.2.5")));
}

async fn a_use_is_no_change(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    let (before, span) = (store.key(&id).await.unwrap().unwrap(), store.feed_span().await.unwrap());
    store.note_uses(&[uses(&id, 1, later(10), "192.0.2.1")]).await.unwrap();
    let after = store.key(&id).await.unwrap().unwrap();
    assert_eq!((after.version, after.updated_at), (before.version, before.updated_at));
    assert_eq!(store.feed_span().await.unwrap(), span);
}

async fn the_old_text_has_a_stamp_of_its_own(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    let mut write = begin(&store).await;
    assert!(write.rotate_key(&id, None, &rotation("k2", later(5000)), later(1000)).await.unwrap());
    write.commit().await.unwrap();
    let old = async || store.key(&id).await.unwrap().unwrap().overlap.unwrap().last_used_at;

    store.note_uses(&[uses(&id, 1, later(1500), "192.0.2.1")]).await.unwrap();
    assert_eq!(old().await, None);
    store.note_uses(&[KeyUse { overlap: true, ..uses(&id, 1, later(1400), "192.0.2.1") }]).await.unwrap();
    assert_eq!(old().await, Some(later(1400)));
    store.note_uses(&[KeyUse { overlap: true, ..uses(&id, 1, later(1300), "192.0.2.1") }]).await.unwrap();
    assert_eq!(old().await, Some(later(1400)));

    let current = "SELECT last_used_at FROM api_key_secrets WHERE state = 'current'";
    assert_eq!(ground.number(current).await, later(1500).0);
    // Written late: a use from before the rotation was none of the new text.
    ground.sql("UPDATE api_key_secrets SET last_used_at = NULL").await;
    store.note_uses(&[uses(&id, 1, later(900), "192.0.2.1")]).await.unwrap();
    assert_eq!(ground.number("SELECT COUNT(*) FROM api_key_secrets WHERE last_used_at IS NOT NULL").await, 0);
}

async fn uses_of_many_keys_are_written_together(ground: Ground) {
    let store = ground.open().await;
    let (owner, _) = add_key_and_owner(&store, "k1").await;
    let keys: Vec<_> = (0..1200).map(|n| super::records::imported(&owner, &format!("k{n}"))).collect();
    let mut write = begin(&store).await;
    write.import_keys(super::records::REALM, &keys, "cli:root", NOW).await.unwrap();
    write.commit().await.unwrap();
    let page = portcullis::store::Page { after: None, limit: 2000 };
    let all = store.keys(&portcullis::store::KeyFilter::default(), &page).await.unwrap();
    assert_eq!(all.len(), 1200);
    let batch: Vec<_> = all.iter().map(|key| uses(&key.id, 2, later(1), "192.0.2.1")).collect();
    store.note_uses(&batch).await.unwrap();
    let counted = "SELECT COUNT(*) FROM api_keys k JOIN api_key_secrets s ON s.key_id = k.id \
                   WHERE k.use_count = 2 AND s.last_used_at = k.last_used_at";
    assert_eq!(ground.number(counted).await, 1200);

    // All or none: a number that has no room spoils the whole batch.
    let mut broken = batch;
    broken[1100].at = UnixMillis(0);
    ground.sql(&format!("UPDATE api_keys SET use_count = 7 WHERE id = '{}'", broken[1100].key_id)).await;
    if ground.is_sqlite() {
        ground
            .sql("CREATE TRIGGER no BEFORE UPDATE ON api_keys WHEN OLD.use_count = 7 BEGIN SELECT RAISE(ABORT, 'no'); END")
            .await;
    } else {
        ground.sql("ALTER TABLE api_keys ADD CHECK (use_count < 8)").await;
    }
    let error = store.note_uses(&broken).await.unwrap_err();
    assert_ne!(error.fault, Fault::Locked, "{error}");
    assert_eq!(ground.number("SELECT COUNT(*) FROM api_keys WHERE use_count = 2").await, 1199);
}

async fn nodes_that_write_at_the_same_time_lose_nothing(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(add_key_and_owner(&store, &format!("k{n}")).await.1);
    }
    let answers = at_once([&store, &other], 20, |store, n| {
        let mut ids = ids.clone();
        if n % 2 == 0 {
            ids.reverse();
        }
        async move {
            let batch: Vec<_> = ids.iter().map(|id| uses(id, 1, NOW, "192.0.2.1")).collect();
            store.note_uses(&batch).await
        }
    });
    for answer in answers.await {
        answer.unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(ground.number("SELECT COUNT(*) FROM api_keys WHERE use_count = 20").await, 10);
}
