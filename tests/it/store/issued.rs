//! Tokens that are known one by one: spent once, replaced by the next of their slot, judged by everything that they
//! depend on.

use portcullis::store::{ChangeKind, ClientChange, Fault, Holder, IdKind, KeyChange, KeyStatus, NewIssued, Store};
use serde_json::json;

use super::records::{
    HOUR, REALM, add_address, add_client, add_issued, add_key, address, at_once, begin, client, digest, issued, key,
    later, object, sign_in,
};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_token_is_read_as_it_was_issued,
    a_token_is_read_with_everything_that_it_depends_on,
    a_token_is_spent_once_of_twenty_times,
    a_token_is_not_spent_when_it_has_ended,
    the_next_token_of_a_slot_takes_the_place_of_the_last,
    of_twenty_tokens_for_one_slot_one_is_left,
    tokens_without_a_slot_stand_for_themselves,
    a_token_is_ended_once_and_nodes_are_told,
    a_text_is_issued_once_in_a_realm,
);

async fn spent(store: &Store, id: &str, at: portcullis::clock::UnixMillis) -> bool {
    let mut write = begin(store).await;
    let done = write.spend_token(REALM, id, Some("192.0.2.7"), at).await.unwrap();
    write.commit().await.unwrap();
    done
}

async fn a_token_is_read_as_it_was_issued(ground: Ground) {
    let store = ground.open().await;
    let new = NewIssued { slot: Some("a|b".to_owned()), claims: object(json!({ "z": 1, "a": [null] })), ..issued("x") };
    let id = add_issued(&store, new.clone()).await;
    assert!(IdKind::Token.fits(&id));
    let found = store.issued_in_force(REALM, &digest("x")).await.unwrap().unwrap();
    assert_eq!(Some(&found), store.issued_token(REALM, &id).await.unwrap().as_ref());
    assert_eq!((found.key, found.key_gone, found.owner, found.session), (None, false, None, None));
    let token = found.token;
    assert_eq!((token.id, token.realm, token.kind, token.slot), (new.id, new.realm, new.kind, new.slot));
    assert_eq!(serde_json::to_string(&token.claims).unwrap(), serde_json::to_string(&new.claims).unwrap());
    assert_eq!((token.subject, token.issued_by, token.owner_id, token.sid), ("aff_1".to_owned(), None, None, None));
    assert_eq!((token.issued_at, token.expires_at), (NOW, later(HOUR)));
    assert_eq!((token.used_at, token.used_ip, token.revoked_at), (None, None, None));
    assert_eq!(store.issued_in_force("blog", &digest("x")).await.unwrap(), None);
    assert_eq!(store.issued_token("blog", &id).await.unwrap(), None);
    assert_eq!(store.issued_in_force(REALM, &digest("y")).await.unwrap(), None);
}

async fn a_token_is_read_with_everything_that_it_depends_on(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("team_42")).await;
    let key = add_key(&store, key(&owner, "sk")).await;
    let entry = address(Holder::Client, &owner, "192.0.2.0/24");
    add_address(&store, entry.clone()).await;
    let (_, sid, _) = sign_in(&store, "ann").await;
    let token = NewIssued {
        issued_by: Some(key.clone()),
        owner_id: Some(owner.clone()),
        sid: Some(sid.clone()),
        ..issued("x")
    };
    let id = add_issued(&store, token).await;
    let read = async || store.issued_token(REALM, &id).await.unwrap().unwrap();
    let found = read().await;
    assert_eq!((found.key, found.key_gone), (Some((KeyStatus::Active, None)), false));
    assert_eq!(found.owner, store.client(&owner).await.unwrap());
    assert_eq!((found.owner_addresses, found.session), (vec![entry], store.session(&sid).await.unwrap()));

    let mut write = begin(&store).await;
    let change = KeyChange { expires_at: Some(Some(later(9))), ..KeyChange::default() };
    assert!(write.update_key(&key, None, &change, NOW).await.unwrap());
    write.commit().await.unwrap();
    assert_eq!(read().await.key, Some((KeyStatus::Active, Some(later(9)))));
    let mut write = begin(&store).await;
    assert!(write.revoke_key(&key, None, NOW).await.unwrap());
    write.commit().await.unwrap();
    assert_eq!(read().await.key, Some((KeyStatus::Revoked, Some(later(9)))));
    ground.sql("DELETE FROM api_keys").await;
    let found = read().await;
    assert_eq!((found.key, found.key_gone), (None, true));
    // What is of another realm counts as gone.
    ground.sql("UPDATE principals SET realm = 'blog'; UPDATE sessions SET realm = 'blog'").await;
    let found = read().await;
    assert_eq!((found.owner, found.owner_addresses, found.session), (None, vec![], None));
}

async fn a_token_is_spent_once_of_twenty_times(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let id = add_issued(&store, issued("x")).await;
    let answers = at_once([&store, &other], 20, |store, _| {
        let id = id.clone();
        async move { spent(&store, &id, later(5)).await }
    });
    assert_eq!(answers.await.into_iter().filter(|spent| *spent).count(), 1);
    let token = store.issued_token(REALM, &id).await.unwrap().unwrap().token;
    assert_eq!((token.used_at, token.used_ip.as_deref()), (Some(later(5)), Some("192.0.2.7")));
    store.close().await;
    assert!(!spent(&ground.open().await, &id, later(6)).await, "a restart forgets nothing");
}

async fn a_token_is_not_spent_when_it_has_ended(ground: Ground) {
    let store = ground.open().await;
    let id = add_issued(&store, issued("x")).await;
    assert!(!spent(&store, &id, later(HOUR)).await);
    assert!(!spent(&store, "tok_none", NOW).await);
    let mut write = begin(&store).await;
    assert!(!write.spend_token("blog", &id, None, NOW).await.unwrap());
    assert!(write.revoke_token(REALM, &id, NOW).await.unwrap());
    write.commit().await.unwrap();
    assert!(!spent(&store, &id, later(1)).await);
}

async fn the_next_token_of_a_slot_takes_the_place_of_the_last(ground: Ground) {
    let store = ground.open().await;
    let slot = |text: &str| NewIssued { slot: Some("aff_1|program".to_owned()), ..issued(text) };
    let first = add_issued(&store, slot("first")).await;
    assert!(spent(&store, &first, later(1)).await);
    let mut write = begin(&store).await;
    assert!(write.revoke_token(REALM, &first, later(2)).await.unwrap());
    write.commit().await.unwrap();
    // Other kinds and realms have slots of their own.
    add_issued(&store, NewIssued { kind: "portal".to_owned(), ..slot("other kind") }).await;
    add_issued(&store, NewIssued { realm: "blog".to_owned(), ..slot("other realm") }).await;
    let newest = store.feed_span().await.unwrap().newest;

    let owner = add_client(&store, client("team_42")).await;
    let next = NewIssued {
        subject: "aff_2".to_owned(),
        owner_id: Some(owner.clone()),
        claims: object(json!({ "a": 1 })),
        issued_at: later(5),
        expires_at: later(9),
        ..slot("second")
    };
    let second = add_issued(&store, next.clone()).await;
    assert_eq!(store.issued_in_force(REALM, &digest("first")).await.unwrap(), None);
    assert_eq!(store.issued_token(REALM, &first).await.unwrap(), None);
    assert!(!spent(&store, &first, later(6)).await);
    let token = store.issued_in_force(REALM, &digest("second")).await.unwrap().unwrap().token;
    assert_eq!((token.id, token.subject, token.owner_id), (second.clone(), next.subject, Some(owner)));
    assert_eq!((token.claims, token.issued_at, token.expires_at), (next.claims, later(5), later(9)));
    assert_eq!((token.used_at, token.used_ip, token.revoked_at), (None, None, None));
    assert!(spent(&store, &second, later(6)).await);
    for (realm, text) in [(REALM, "other kind"), ("blog", "other realm")] {
        assert!(store.issued_in_force(realm, &digest(text)).await.unwrap().is_some());
    }
    let changes = store.changes_after(newest, 10).await.unwrap();
    let told: Vec<_> = changes.iter().map(|change| (change.kind, change.value.as_str())).collect();
    assert_eq!(told, [(ChangeKind::Token, "aff_1|program")]);
}

async fn of_twenty_tokens_for_one_slot_one_is_left(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let answers = at_once([&store, &other], 20, |store, n| async move {
        add_issued(&store, NewIssued { slot: Some("s".to_owned()), ..issued(&format!("text {n}")) }).await;
    });
    answers.await;
    assert_eq!(ground.number("SELECT count(*) FROM issued_tokens").await, 1);
    let mut found = 0;
    for n in 0..20 {
        found += usize::from(store.issued_in_force(REALM, &digest(&format!("text {n}"))).await.unwrap().is_some());
    }
    assert_eq!(found, 1);
}

async fn tokens_without_a_slot_stand_for_themselves(ground: Ground) {
    let store = ground.open().await;
    for n in 0..3 {
        add_issued(&store, issued(&format!("text {n}"))).await;
        add_issued(&store, NewIssued { digest: None, ..issued("") }).await;
    }
    assert_eq!(ground.number("SELECT count(*) FROM issued_tokens").await, 6);
    assert_eq!(store.feed_span().await.unwrap().newest, 0, "no node can know anything of them yet");
}

async fn a_token_is_ended_once_and_nodes_are_told(ground: Ground) {
    let store = ground.open().await;
    let id = add_issued(&store, issued("x")).await;
    let mut write = begin(&store).await;
    assert!(!write.revoke_token("blog", &id, later(5)).await.unwrap());
    assert!(!write.revoke_token(REALM, "tok_none", later(5)).await.unwrap());
    assert!(write.revoke_token(REALM, &id, later(5)).await.unwrap());
    assert!(!write.revoke_token(REALM, &id, later(6)).await.unwrap());
    let seq = write.commit().await.unwrap().unwrap();
    let change = store.changes_after(seq - 1, 10).await.unwrap().remove(0);
    assert_eq!((change.realm.as_str(), change.kind, change.value.as_str()), (REALM, ChangeKind::Token, id.as_str()));
    assert_eq!(seq, 1);
    assert_eq!(store.issued_token(REALM, &id).await.unwrap().unwrap().token.revoked_at, Some(later(5)));
    // A change of whoever has nothing to do with it ends nothing.
    let owner = add_client(&store, client("team_42")).await;
    let mut write = begin(&store).await;
    let change = ClientChange { password_phc: Some(None), ..ClientChange::default() };
    assert!(write.update_client(&owner, None, &change, later(7)).await.unwrap());
    write.commit().await.unwrap();
    assert_eq!(store.issued_token(REALM, &id).await.unwrap().unwrap().token.revoked_at, Some(later(5)));
}

async fn a_text_is_issued_once_in_a_realm(ground: Ground) {
    let store = ground.open().await;
    let id = add_issued(&store, issued("x")).await;
    add_issued(&store, NewIssued { realm: "blog".to_owned(), ..issued("x") }).await;
    for again in [issued("x"), NewIssued { slot: Some("s".to_owned()), ..issued("x") }, NewIssued { id, ..issued("y") }]
    {
        let mut write = begin(&store).await;
        assert_eq!(write.issue_token(&again).await.unwrap_err().fault, Fault::Conflict);
    }
}
