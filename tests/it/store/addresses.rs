//! Address lists.

use portcullis::store::{AddressEntry, ChangeKind, Fault, Holder};

use super::records::{REALM, add_address, add_key_and_owner, address, at_once, begin, later};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    an_entry_is_read_as_it_was_made,
    a_network_is_in_a_list_once,
    every_change_of_a_list_gives_its_holder_a_new_version_and_is_told,
    a_list_of_nobody_cannot_be_made,
    removing_tells_whether_anything_is_left_that_counts,
    of_two_who_remove_the_last_two_entries_one_learns_that_nothing_is_left,
);

async fn an_entry_is_read_as_it_was_made(ground: Ground) {
    let store = ground.open().await;
    let (owner, key) = add_key_and_owner(&store, "k1").await;
    let entry = AddressEntry {
        note: Some("the office's router".to_owned()),
        expires_at: Some(later(1000)),
        ..address(Holder::Key, &key, "2001:db8::/32")
    };
    let other = address(Holder::Client, &owner, "0.0.0.0/0");
    add_address(&store, entry.clone()).await;
    add_address(&store, other.clone()).await;
    assert_eq!(store.addresses(Holder::Key, &key).await.unwrap(), [entry]);
    assert_eq!(store.addresses(Holder::Client, &owner).await.unwrap(), [other]);
    assert!(store.addresses(Holder::Client, &key).await.unwrap().is_empty());
}

async fn a_network_is_in_a_list_once(ground: Ground) {
    let store = ground.open().await;
    let (owner, key) = add_key_and_owner(&store, "k1").await;
    add_address(&store, address(Holder::Key, &key, "192.0.2.0/24")).await;
    let mut write = begin(&store).await;
    let again = address(Holder::Key, &key, "192.0.2.99/24");
    assert_eq!(write.add_address(REALM, &again).await.unwrap_err().fault, Fault::Conflict);
    drop(write);
    add_address(&store, address(Holder::Key, &key, "192.0.2.0/25")).await;
    add_address(&store, address(Holder::Client, &owner, "192.0.2.0/24")).await;
}

async fn every_change_of_a_list_gives_its_holder_a_new_version_and_is_told(ground: Ground) {
    let store = ground.open().await;
    let (owner, key) = add_key_and_owner(&store, "k1").await;
    for (holder, id, kind) in [(Holder::Key, &key, ChangeKind::Key), (Holder::Client, &owner, ChangeKind::Client)] {
        let before = store.feed_span().await.unwrap().newest;
        let entry = AddressEntry { created_at: later(1), ..address(holder, id, "192.0.2.0/24") };
        add_address(&store, entry.clone()).await;
        let mut write = begin(&store).await;
        write.remove_address(holder, id, entry.network, later(2)).await.unwrap().unwrap();
        write.commit().await.unwrap();
        let told = store.changes_after(before, 10).await.unwrap();
        let told: Vec<_> = told.iter().map(|change| (change.kind, &change.value, change.at)).collect();
        assert_eq!(told, [(kind, id, later(1)), (kind, id, later(2))]);
    }
    let (owner, key) = (store.client(&owner).await.unwrap().unwrap(), store.key(&key).await.unwrap().unwrap());
    assert_eq!((owner.version, owner.updated_at, key.version, key.updated_at), (3, later(2), 3, later(2)));
}

async fn a_list_of_nobody_cannot_be_made(ground: Ground) {
    let store = ground.open().await;
    let (_, key) = add_key_and_owner(&store, "k1").await;
    let cases = [
        (REALM, address(Holder::Key, "key_nobody", "192.0.2.0/24")),
        (REALM, address(Holder::Client, &key, "192.0.2.0/24")),
        ("blog", address(Holder::Key, &key, "192.0.2.0/24")),
    ];
    for (realm, entry) in cases {
        let mut write = begin(&store).await;
        assert_eq!(write.add_address(realm, &entry).await.unwrap_err().fault, Fault::Conflict);
    }
}

async fn removing_tells_whether_anything_is_left_that_counts(ground: Ground) {
    let store = ground.open().await;
    let (_, key) = add_key_and_owner(&store, "k1").await;
    add_address(&store, address(Holder::Key, &key, "192.0.2.0/24")).await;
    add_address(&store, address(Holder::Key, &key, "2001:db8::1/128")).await;
    let run_out = AddressEntry { expires_at: Some(NOW), ..address(Holder::Key, &key, "198.51.100.0/24") };
    add_address(&store, run_out).await;
    let remove = async |network: &str, expected| {
        let mut write = begin(&store).await;
        let answer = write.remove_address(Holder::Key, &key, network.parse().unwrap(), NOW).await.unwrap();
        assert_eq!(answer, expected, "{network}");
        write.commit().await.unwrap();
    };
    remove("192.0.2.0/25", None).await;
    remove("192.0.2.0/24", Some(true)).await;
    remove("192.0.2.0/24", None).await;
    remove("2001:db8::1/128", Some(false)).await;
    remove("198.51.100.0/24", Some(false)).await;
    assert_eq!(store.key(&key).await.unwrap().unwrap().version, 7, "what removes nothing changes nothing");
}

async fn of_two_who_remove_the_last_two_entries_one_learns_that_nothing_is_left(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let (_, key) = add_key_and_owner(&store, "k1").await;
    let networks = ["192.0.2.0/24", "2001:db8::/32"];
    for _ in 0..10 {
        for network in networks {
            add_address(&store, address(Holder::Key, &key, network)).await;
        }
        let answers = at_once([&store, &other], 2, |store, n| {
            let key = key.clone();
            async move {
                let mut write = begin(&store).await;
                let network = networks[n].parse().unwrap();
                let left = write.remove_address(Holder::Key, &key, network, NOW).await.unwrap();
                write.commit().await.unwrap();
                left
            }
        });
        let mut answers = answers.await;
        answers.sort();
        assert_eq!(answers, [Some(false), Some(true)]);
    }
}
