//! API keys.

use portcullis::clock::UnixMillis;
use portcullis::store::{
    ChangeKind, Client, ClientChange, ClientStatus, Fault, Holder, Key, KeyChange, KeyFilter, KeyInForce, KeyStatus,
    KeyUse, NewClient, NewKey, Overlap, Page, Store,
};
use serde_json::json;

use super::records::{
    REALM, add_address, add_client, add_key, add_key_and_owner, address, at_once, begin, client, digest, key, later,
    object, rotation, texts,
};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_key_is_read_as_it_was_made,
    a_key_is_found_by_its_text_in_its_own_realm_only,
    a_text_is_taken_in_its_realm_for_good,
    a_key_belongs_to_somebody_of_its_realm,
    a_change_touches_what_it_names_and_nothing_else,
    a_revoked_key_stays_as_it_is,
    everything_that_decides_is_read_together_whatever_the_state,
    a_key_is_never_read_without_its_list,
    a_rotated_key_has_two_texts_at_most,
    an_overlap_of_nothing_ends_the_old_text_at_once,
    ended_texts_are_known_as_such_the_last_ten_of_them,
    only_a_key_that_works_is_rotated,
    of_twenty_writes_to_one_version_one_is_made,
    of_twenty_revocations_one_is_made,
    every_change_is_told,
    a_list_holds_what_the_filter_asks_for,
    pages_show_each_key_once_while_others_are_added,
);

async fn in_force(store: &Store, text: &str) -> Option<KeyInForce> {
    store.key_in_force(REALM, &digest(text)).await.unwrap()
}

async fn rotate(store: &Store, id: &str, text: &str, old_until: UnixMillis, at: UnixMillis) -> bool {
    let mut write = begin(store).await;
    let rotated = write.rotate_key(id, None, &rotation(text, old_until), at).await.unwrap();
    write.commit().await.unwrap();
    rotated
}

async fn update(store: &Store, id: &str, change: KeyChange) -> bool {
    let mut write = begin(store).await;
    let updated = write.update_key(id, None, &change, NOW).await.unwrap();
    write.commit().await.unwrap();
    updated
}

async fn a_key_is_read_as_it_was_made(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("Team_42")).await;
    let new = NewKey {
        scopes: Some(Vec::new()),
        attributes: object(json!({ "z": [1, 2], "a": "'" })),
        expires_at: Some(later(1000)),
        ..key(&owner, "sk_abcdef")
    };
    let id = add_key(&store, new.clone()).await;
    let expected = Key {
        id: id.clone(),
        realm: REALM.to_owned(),
        owner_id: owner,
        owner: "Team_42".to_owned(),
        name: new.name,
        prefix: "sk_".to_owned(),
        hint: "cdef".to_owned(),
        scopes: Some(Vec::new()),
        attributes: new.attributes,
        status: KeyStatus::Active,
        expires_at: Some(later(1000)),
        revoked_at: None,
        revoke_reason: None,
        overlap: None,
        last_used_at: None,
        last_used_ip: None,
        use_count: 0,
        created_by: "cli:root".to_owned(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    assert_eq!(store.key(&id).await.unwrap(), Some(expected.clone()));
    let mut write = begin(&store).await;
    assert_eq!(write.key(&id).await.unwrap(), Some(expected));
    assert_eq!(store.key("key_nobody").await.unwrap(), None);
}

async fn a_key_is_found_by_its_text_in_its_own_realm_only(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    let other = NewClient { realm: "blog".to_owned(), ..client("Team_42") };
    let owner = add_client(&store, other).await;
    let there = add_key(&store, NewKey { realm: "blog".to_owned(), ..key(&owner, "k1") }).await;
    assert_eq!(in_force(&store, "k1").await.unwrap().key.id, id);
    assert_eq!(store.key_in_force("blog", &digest("k1")).await.unwrap().unwrap().key.id, there);
    assert_eq!(store.key_in_force("news", &digest("k1")).await.unwrap(), None);
    for text in ["K1", "k1 ", "k", ""] {
        assert_eq!(in_force(&store, text).await, None, "{text:?}");
    }
    // What is stored is neither the text nor its plain digest.
    let plain = digest("k1").to_hex();
    let as_hex = if ground.is_sqlite() { "lower(hex(digest))" } else { "encode(digest, 'hex')" };
    let found = format!("SELECT COUNT(*) FROM api_key_secrets WHERE {as_hex} = '{plain}'");
    assert_eq!(ground.number(&found).await, 0);
}

async fn a_text_is_taken_in_its_realm_for_good(ground: Ground) {
    let store = ground.open().await;
    let (owner, id) = add_key_and_owner(&store, "k1").await;
    assert!(rotate(&store, &id, "k2", NOW, NOW).await);
    let mut write = begin(&store).await;
    assert!(write.revoke_key(&id, None, NOW).await.unwrap());
    write.commit().await.unwrap();
    for text in ["k1", "k2"] {
        let mut write = begin(&store).await;
        assert_eq!(write.create_key(&key(&owner, text)).await.unwrap_err().fault, Fault::Conflict, "{text}");
        assert!(write.commit().await.is_err(), "half a key must not be kept");
    }
    assert_eq!(ground.number("SELECT COUNT(*) FROM api_keys").await, 1);
}

async fn a_key_belongs_to_somebody_of_its_realm(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, NewClient { realm: "blog".to_owned(), ..client("bob") }).await;
    for owner in [&*owner, "own_nobody"] {
        let mut write = begin(&store).await;
        assert_eq!(write.create_key(&key(owner, "k1")).await.unwrap_err().fault, Fault::Conflict);
    }
    assert_eq!(in_force(&store, "k1").await, None);
}

async fn a_change_touches_what_it_names_and_nothing_else(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    let before = store.key(&id).await.unwrap().unwrap();
    let mut write = begin(&store).await;
    let change = KeyChange {
        name: Some("other".to_owned()),
        scopes: Some(Some(texts(&["read:*"]))),
        expires_at: Some(Some(later(9))),
        status: Some(KeyStatus::Disabled),
        ..KeyChange::default()
    };
    for version in [0, 2, -1, i64::MIN] {
        assert!(!write.update_key(&id, Some(version), &change, NOW).await.unwrap(), "{version}");
    }
    assert!(write.update_key(&id, Some(1), &change, later(5)).await.unwrap());
    write.commit().await.unwrap();
    let expected = Key {
        name: "other".to_owned(),
        scopes: Some(texts(&["read:*"])),
        expires_at: Some(later(9)),
        status: KeyStatus::Disabled,
        updated_at: later(5),
        version: 2,
        ..before
    };
    assert_eq!(store.key(&id).await.unwrap(), Some(expected.clone()));

    let mut write = begin(&store).await;
    let change = KeyChange {
        scopes: Some(None),
        attributes: Some(object(json!({ "n": 1 }))),
        expires_at: Some(None),
        status: Some(KeyStatus::Active),
        ..KeyChange::default()
    };
    assert!(write.update_key(&id, None, &change, later(6)).await.unwrap());
    assert!(!write.update_key("key_nobody", None, &change, later(6)).await.unwrap());
    write.commit().await.unwrap();
    let expected = Key {
        scopes: None,
        attributes: object(json!({ "n": 1 })),
        expires_at: None,
        status: KeyStatus::Active,
        updated_at: later(6),
        version: 3,
        ..expected
    };
    assert_eq!(store.key(&id).await.unwrap(), Some(expected));
}

async fn a_revoked_key_stays_as_it_is(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    let mut write = begin(&store).await;
    assert!(write.revoke_key(&id, Some("found in a log"), later(5)).await.unwrap());
    write.commit().await.unwrap();
    let revoked = store.key(&id).await.unwrap().unwrap();
    assert_eq!((revoked.status, revoked.version), (KeyStatus::Revoked, 2));
    assert_eq!((revoked.revoked_at, revoked.revoke_reason.as_deref()), (Some(later(5)), Some("found in a log")));

    let mut write = begin(&store).await;
    let change = KeyChange { status: Some(KeyStatus::Active), ..KeyChange::default() };
    assert!(!write.update_key(&id, None, &change, later(6)).await.unwrap());
    assert!(!write.rotate_key(&id, None, &rotation("k2", later(99)), later(6)).await.unwrap());
    assert!(!write.revoke_key(&id, None, later(6)).await.unwrap());
    assert!(!write.revoke_key("key_nobody", None, later(6)).await.unwrap());
    assert_eq!(write.commit().await.unwrap(), None);
    assert_eq!(store.key(&id).await.unwrap(), Some(revoked.clone()));
    assert_eq!(in_force(&store, "k1").await.unwrap().key, revoked);
    assert_eq!(in_force(&store, "k2").await, None);
}

async fn everything_that_decides_is_read_together_whatever_the_state(ground: Ground) {
    let store = ground.open().await;
    let rich = NewClient { roles: texts(&["admin"]), plan: Some("gold".to_owned()), ..client("Team_42") };
    let owner = add_client(&store, rich).await;
    let id = add_key(&store, NewKey { expires_at: Some(later(-1)), ..key(&owner, "k1") }).await;
    let found = in_force(&store, "k1").await.unwrap();
    assert_eq!((found.key_addresses, found.owner_addresses, found.not_after), (Vec::new(), Vec::new(), None));

    for network in ["192.0.2.0/24", "2001:db8::/32"] {
        add_address(&store, address(Holder::Key, &id, network)).await;
        add_address(&store, address(Holder::Client, &owner, network)).await;
    }
    let mut write = begin(&store).await;
    let off = ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() };
    assert!(write.update_client(&owner, None, &off, NOW).await.unwrap());
    write.commit().await.unwrap();
    assert!(update(&store, &id, KeyChange { status: Some(KeyStatus::Disabled), ..KeyChange::default() }).await);

    let found = in_force(&store, "k1").await.unwrap();
    assert_eq!(Some(&found.key), store.key(&id).await.unwrap().as_ref());
    assert_eq!(Some(&found.owner), store.client(&owner).await.unwrap().as_ref());
    assert_eq!((found.key.status, found.owner.status), (KeyStatus::Disabled, ClientStatus::Disabled));
    assert_eq!(found.key_addresses, store.addresses(Holder::Key, &id).await.unwrap());
    assert_eq!(found.owner_addresses, store.addresses(Holder::Client, &owner).await.unwrap());
    assert_eq!((found.key_addresses.len(), found.owner_addresses.len()), (2, 2));
}

async fn a_key_is_never_read_without_its_list(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..15 {
        let text = format!("k{round}");
        let (owner, id) = add_key_and_owner(&store, &text).await;
        add_address(&store, address(Holder::Key, &id, "192.0.2.0/24")).await;
        add_address(&store, address(Holder::Client, &owner, "192.0.2.0/24")).await;
        let reader = tokio::spawn({
            let store = other.clone();
            async move {
                while let Some(found) = in_force(&store, &text).await {
                    assert_eq!((found.key_addresses.len(), found.owner_addresses.len()), (1, 1));
                }
            }
        });
        let mut write = begin(&store).await;
        write.delete_client(&owner, None, NOW).await.unwrap().unwrap();
        write.commit().await.unwrap();
        reader.await.expect("the list is there as long as the key is");
    }
}

async fn a_rotated_key_has_two_texts_at_most(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "sk_first").await;
    let before = store.key(&id).await.unwrap().unwrap();
    assert!(rotate(&store, &id, "sk_second", later(1000), later(10)).await);
    let key = store.key(&id).await.unwrap().unwrap();
    let overlap = Overlap { hint: "irst".to_owned(), until: later(1000), last_used_at: None };
    let expected = Key { hint: "cond".to_owned(), overlap: Some(overlap), updated_at: later(10), version: 2, ..before };
    assert_eq!(key, expected);
    assert_eq!(in_force(&store, "sk_first").await.unwrap().not_after, Some(later(1000)));
    assert_eq!(in_force(&store, "sk_second").await.unwrap().not_after, None);
    assert_eq!(in_force(&store, "sk_first").await.unwrap().key, expected);

    assert!(rotate(&store, &id, "sk_third", later(2000), later(20)).await);
    let key = store.key(&id).await.unwrap().unwrap();
    let overlap = key.overlap.unwrap();
    assert_eq!((key.hint.as_str(), overlap.hint.as_str(), overlap.until), ("hird", "cond", later(2000)));
    assert_eq!(in_force(&store, "sk_first").await.unwrap().not_after, Some(UnixMillis(0)), "ended on every clock");
    assert_eq!(in_force(&store, "sk_second").await.unwrap().not_after, Some(later(2000)));
    assert_eq!(in_force(&store, "sk_third").await.unwrap().not_after, None);
}

async fn an_overlap_of_nothing_ends_the_old_text_at_once(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    for (text, old, old_until) in [("k2", "k1", later(10)), ("k3", "k2", later(9)), ("k4", "k3", UnixMillis(i64::MIN))]
    {
        assert!(rotate(&store, &id, text, old_until, later(10)).await);
        assert_eq!(in_force(&store, old).await.unwrap().not_after, Some(UnixMillis(0)), "{old}");
        assert_eq!(store.key(&id).await.unwrap().unwrap().overlap, None);
    }
}

async fn ended_texts_are_known_as_such_the_last_ten_of_them(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k0").await;
    let (_, bystander) = add_key_and_owner(&store, "b0").await;
    assert!(rotate(&store, &bystander, "b1", NOW, NOW).await);
    for n in 1..=12 {
        assert!(rotate(&store, &id, &format!("k{n}"), later(n), later(n)).await);
    }
    for n in 0..=1 {
        assert_eq!(in_force(&store, &format!("k{n}")).await, None, "k{n}");
    }
    for n in 2..=11 {
        assert_eq!(in_force(&store, &format!("k{n}")).await.unwrap().not_after, Some(UnixMillis(0)), "k{n}");
    }
    assert_eq!(in_force(&store, "k12").await.unwrap().not_after, None);
    assert!(in_force(&store, "b0").await.is_some());
}

async fn only_a_key_that_works_is_rotated(ground: Ground) {
    let store = ground.open().await;
    let (owner, id) = add_key_and_owner(&store, "k1").await;
    let expired = add_key(&store, NewKey { expires_at: Some(NOW), ..key(&owner, "e1") }).await;
    assert!(!rotate(&store, &expired, "e2", later(9), NOW).await);
    assert!(rotate(&store, &expired, "e2", later(9), later(-1)).await);
    let mut write = begin(&store).await;
    for version in [0, 2, -1] {
        assert!(!write.rotate_key(&id, Some(version), &rotation("k2", later(9)), NOW).await.unwrap(), "{version}");
    }
    drop(write);
    for status in [KeyStatus::Disabled, KeyStatus::Active] {
        assert!(update(&store, &id, KeyChange { status: Some(status), ..KeyChange::default() }).await);
        assert_eq!(rotate(&store, &id, "k2", later(9), NOW).await, status == KeyStatus::Active);
    }
    for text in ["k2", "k1", "e1"] {
        let mut write = begin(&store).await;
        let error = write.rotate_key(&id, None, &rotation(text, later(9)), NOW).await.unwrap_err();
        assert_eq!(error.fault, Fault::Conflict, "{text}");
        drop(write);
        assert_eq!(in_force(&store, "k2").await.unwrap().not_after, None, "nothing was written");
    }
}

async fn of_twenty_writes_to_one_version_one_is_made(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..3 {
        let text = |n: &str| format!("k{round} {n}");
        let (_, id) = add_key_and_owner(&store, &text("first")).await;
        let answers = at_once([&store, &other], 20, |store, n| {
            let (id, text) = (id.clone(), text(&n.to_string()));
            async move {
                let mut write = begin(&store).await;
                let won = if n % 3 == 0 {
                    let change = KeyChange { name: Some(text), ..KeyChange::default() };
                    write.update_key(&id, Some(1), &change, NOW).await.unwrap()
                } else {
                    write.rotate_key(&id, Some(1), &rotation(&text, later(1000)), NOW).await.unwrap()
                };
                write.commit().await.unwrap();
                won.then_some(n)
            }
        });
        let winners: Vec<_> = answers.await.into_iter().flatten().collect();
        let [winner] = winners[..] else { panic!("{winners:?}") };
        let key = store.key(&id).await.unwrap().unwrap();
        assert_eq!(key.version, 2);
        for n in 0..20 {
            let works = in_force(&store, &text(&n.to_string())).await.is_some();
            assert_eq!(works, n == winner && n % 3 != 0, "{n}");
        }
    }
    // Whoever does not say which version is let in one after the other: never more than two texts work.
    let (_, id) = add_key_and_owner(&store, "k").await;
    let answers = at_once([&store, &other], 20, |store, n| {
        let id = id.clone();
        async move { rotate(&store, &id, &format!("k {n}"), later(1000), NOW).await }
    });
    assert!(answers.await.into_iter().all(|rotated| rotated));
    let working = "SELECT COUNT(*) FROM api_key_secrets s JOIN api_keys k ON k.id = s.key_id \
                   WHERE k.version = 21 AND s.state <> 'ended'";
    assert_eq!(ground.number(working).await, 2);
}

async fn of_twenty_revocations_one_is_made(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let (_, id) = add_key_and_owner(&store, "k1").await;
    let answers = at_once([&store, &other], 20, |store, n| {
        let id = id.clone();
        async move {
            let mut write = begin(&store).await;
            let won = write.revoke_key(&id, Some(&format!("reason {n}")), NOW).await.unwrap();
            write.commit().await.unwrap();
            won.then_some(n)
        }
    });
    let winners: Vec<_> = answers.await.into_iter().flatten().collect();
    let [winner] = winners[..] else { panic!("{winners:?}") };
    let key = store.key(&id).await.unwrap().unwrap();
    assert_eq!((key.revoke_reason, key.version), (Some(format!("reason {winner}")), 2));
}

async fn every_change_is_told(ground: Ground) {
    let store = ground.open().await;
    let (_, id) = add_key_and_owner(&store, "k1").await;
    update(&store, &id, KeyChange::default()).await;
    rotate(&store, &id, "k2", later(9), NOW).await;
    let mut write = begin(&store).await;
    write.revoke_key(&id, None, later(3)).await.unwrap();
    assert_eq!(write.commit().await.unwrap(), Some(5));
    let told = store.changes_after(0, 10).await.unwrap();
    assert!(told.iter().all(|change| change.realm == REALM));
    let told: Vec<_> = told.iter().map(|change| (change.seq, change.kind, &*change.value, change.at)).collect();
    let expected = [
        (1, ChangeKind::KeysAdded, "", NOW),
        (2, ChangeKind::Key, &*id, NOW),
        (3, ChangeKind::Key, &*id, NOW),
        (4, ChangeKind::KeysAdded, "", NOW),
        (5, ChangeKind::Key, &*id, later(3)),
    ];
    assert_eq!(told, expected);
}

async fn a_list_holds_what_the_filter_asks_for(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    let used = add_key(&store, NewKey { at: later(-5000), ..key(&owner, "sk_used") }).await;
    let fresh = add_key(&store, key(&owner, "sk_frsh")).await;
    let stale = add_key(&store, NewKey { at: later(-5000), ..key(&owner, "sk_stal") }).await;
    let soon = add_key(&store, NewKey { expires_at: Some(later(100)), ..key(&owner, "sk_soon") }).await;
    let off = add_key(&store, NewKey { expires_at: Some(later(100)), ..key(&owner, "sk_off_") }).await;
    update(&store, &off, KeyChange { status: Some(KeyStatus::Disabled), ..KeyChange::default() }).await;
    let turned = add_key(&store, key(&owner, "sk_oldd")).await;
    rotate(&store, &turned, "sk_neww", later(1000), NOW).await;
    let other = add_client(&store, NewClient { realm: "blog".into(), ..client("ann") }).await;
    let there = add_key(&store, NewKey { realm: "blog".into(), ..key(&other, "sk_blog") }).await;
    let one = KeyUse { key_id: used.clone(), overlap: false, count: 1, at: later(-1000), ip: None };
    store.note_uses(&[one]).await.unwrap();

    let all = KeyFilter::default();
    let realms = |realms: &[&str]| KeyFilter { realms: Some(texts(realms)), ..KeyFilter::default() };
    let everything = vec![&used, &fresh, &stale, &soon, &off, &turned, &there];
    let cases = [
        ("all", all.clone(), everything.clone()),
        ("one realm", realms(&["blog"]), vec![&there]),
        ("two realms", realms(&["blog", REALM]), everything.clone()),
        ("no realm", realms(&[]), vec![]),
        ("owner", KeyFilter { owner_id: Some(other.clone()), ..all.clone() }, vec![&there]),
        ("owner elsewhere", KeyFilter { owner_id: Some(other.clone()), ..realms(&[REALM]) }, vec![]),
        ("hint", KeyFilter { hint: Some("neww".into()), ..all.clone() }, vec![&turned]),
        ("old hint", KeyFilter { hint: Some("oldd".into()), ..all.clone() }, vec![&turned]),
        ("status", KeyFilter { status: Some(KeyStatus::Disabled), ..all.clone() }, vec![&off]),
        ("unused", KeyFilter { unused_since: Some(later(-1000)), ..all.clone() }, vec![&stale]),
        (
            "unused or not used lately",
            KeyFilter { unused_since: Some(later(-999)), ..all.clone() },
            vec![&used, &stale],
        ),
        ("unused at all", KeyFilter { unused_since: Some(later(1)), ..all.clone() }, everything.clone()),
        ("expiring", KeyFilter { expiring_before: Some(later(101)), ..all.clone() }, vec![&soon]),
        ("not yet expiring", KeyFilter { expiring_before: Some(later(100)), ..all.clone() }, vec![]),
        ("in overlap", KeyFilter { in_overlap_at: Some(later(999)), ..all.clone() }, vec![&turned]),
        ("after the overlap", KeyFilter { in_overlap_at: Some(later(1000)), ..all.clone() }, vec![]),
    ];
    for (what, filter, mut expected) in cases {
        expected.sort();
        let found = store.keys(&filter, &Page { after: None, limit: 10 }).await.unwrap();
        assert_eq!(found.iter().map(|key| &key.id).collect::<Vec<_>>(), expected, "{what}");
    }
    let Client { version, .. } = store.client(&owner).await.unwrap().unwrap();
    assert_eq!(version, 1, "keys are no part of their owner");

    let mut write = begin(&store).await;
    write.revoke_key(&turned, None, NOW).await.unwrap();
    write.commit().await.unwrap();
    let filter = KeyFilter { in_overlap_at: Some(later(999)), ..all };
    assert_eq!(store.keys(&filter, &Page { after: None, limit: 10 }).await.unwrap(), []);
}

async fn pages_show_each_key_once_while_others_are_added(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    let mut there = Vec::new();
    for n in 0..10 {
        there.push(add_key(&store, key(&owner, &format!("there {n}"))).await);
    }
    there.sort();
    let filter =
        KeyFilter { realms: Some(texts(&[REALM, "blog"])), owner_id: Some(owner.clone()), ..KeyFilter::default() };
    let mut seen = Vec::new();
    let mut page = Page { after: None, limit: 3 };
    for n in 0.. {
        let part = store.keys(&filter, &page).await.unwrap();
        assert!(part.len() <= 3);
        let Some(last) = part.last() else { break };
        page.after = Some(last.id.clone());
        seen.extend(part.into_iter().map(|key| key.id));
        if n < 5 {
            add_key(&store, key(&owner, &format!("new {n}"))).await;
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    seen.retain(|id| there.contains(id));
    assert_eq!(seen, there);
}
