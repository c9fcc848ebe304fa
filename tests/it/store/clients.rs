//! Principals.

use portcullis::password::Phc;
use portcullis::store::{
    ChangeKind, ClientChange, ClientFilter, ClientKind, ClientSource, ClientStatus, Fault, Holder, IdKind, NewClient,
    NewIssued, Page,
};
use serde_json::json;

use super::records::{
    REALM, add_address, add_client, add_issued, add_key, address, at_once, begin, client, digest, issued, key, later,
    object, sign_in_again, texts,
};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_principal_is_read_as_it_was_made,
    an_identifier_is_taken_in_its_realm_whatever_its_case,
    a_change_touches_what_it_names_and_nothing_else,
    a_change_to_another_version_changes_nothing,
    of_twenty_changes_to_one_version_one_is_made,
    deleting_a_principal_ends_its_keys_and_lists,
    a_principal_of_another_version_is_not_deleted,
    no_key_outlives_its_owner_however_they_race,
    a_list_holds_what_the_filter_asks_for,
    pages_show_each_principal_once_while_others_are_added,
    nothing_is_written_without_a_commit,
);

async fn a_principal_is_read_as_it_was_made(ground: Ground) {
    let store = ground.open().await;
    let new = NewClient {
        id: IdKind::Client.generate(NOW).unwrap(),
        kind: ClientKind::Client,
        roles: texts(&["admin", "say \"hi\""]),
        plan: Some("gold".to_owned()),
        tenant: Some("t'1".to_owned()),
        scopes: Some(texts(&["read:*"])),
        attributes: object(json!({ "z": 1, "a": [true, null, 1.5], "ü": "\u{1F512}" })),
        ..client("Team_42")
    };
    let id = add_client(&store, new.clone()).await;
    let read = store.client(&id).await.unwrap().unwrap();
    assert_eq!(read, store.client_called(REALM, "tEAM_42").await.unwrap().unwrap());
    assert_eq!(
        (read.id, read.realm, read.kind, read.identifier, read.status),
        (id, new.realm, ClientKind::Client, "Team_42".to_owned(), ClientStatus::Active)
    );
    assert_eq!((read.roles, read.plan, read.tenant, read.scopes), (new.roles, new.plan, new.tenant, new.scopes));
    assert_eq!(serde_json::to_string(&read.attributes).unwrap(), serde_json::to_string(&new.attributes).unwrap());
    assert_eq!((read.source, read.subject), (ClientSource::Local, None));
    assert_eq!((read.has_password, read.locked_until, read.last_login_at), (false, None, None));
    assert_eq!((read.created_by, read.created_at, read.updated_at, read.version), ("cli:root".to_owned(), NOW, NOW, 1));
    assert_eq!(store.client("own_nobody").await.unwrap(), None);
    assert_eq!(store.client_called("blog", "Team_42").await.unwrap(), None);
}

async fn an_identifier_is_taken_in_its_realm_whatever_its_case(ground: Ground) {
    let store = ground.open().await;
    add_client(&store, client("Ann@Example.org")).await;
    let mut write = begin(&store).await;
    let error = write.create_client(&client("ann@EXAMPLE.org")).await.unwrap_err();
    assert_eq!(error.fault, Fault::Conflict);
    assert!(!error.text.contains("ann@"), "{error}");
    drop(write);

    add_client(&store, NewClient { realm: "blog".to_owned(), ..client("ann@example.org") }).await;
    // Only ASCII: no language's rules are guessed.
    add_client(&store, client("Änn")).await;
    add_client(&store, client("änn")).await;

    let other = add_client(&store, client("bob")).await;
    let mut write = begin(&store).await;
    let change = ClientChange { identifier: Some("ANN@example.org".to_owned()), ..ClientChange::default() };
    assert_eq!(write.update_client(&other, None, &change, NOW).await.unwrap_err().fault, Fault::Conflict);
}

async fn a_change_touches_what_it_names_and_nothing_else(ground: Ground) {
    let store = ground.open().await;
    let new = NewClient {
        roles: texts(&["a"]),
        plan: Some("gold".to_owned()),
        scopes: Some(texts(&["read:x"])),
        ..client("bob")
    };
    let id = add_client(&store, new).await;
    let before = store.client(&id).await.unwrap().unwrap();

    let mut write = begin(&store).await;
    let change = ClientChange {
        identifier: Some("Robert".to_owned()),
        plan: Some(None),
        tenant: Some(Some("t1".to_owned())),
        attributes: Some(object(json!({ "n": 1 }))),
        status: Some(ClientStatus::Disabled),
        password_phc: Some(Some(Phc::stored("$argon2id$x"))),
        ..ClientChange::default()
    };
    assert!(write.update_client(&id, Some(1), &change, later(5)).await.unwrap());
    assert_eq!(write.client(&id).await.unwrap().unwrap().version, 2, "the transaction sees what it did");
    assert_eq!(store.client(&id).await.unwrap().unwrap(), before, "nobody else does");
    let seq = write.commit().await.unwrap().expect("a row in the feed");

    let after = store.client(&id).await.unwrap().unwrap();
    let expected = portcullis::store::Client {
        identifier: "Robert".to_owned(),
        plan: None,
        tenant: Some("t1".to_owned()),
        attributes: object(json!({ "n": 1 })),
        status: ClientStatus::Disabled,
        has_password: true,
        updated_at: later(5),
        version: 2,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(store.client_called(REALM, "robert").await.unwrap(), Some(after));
    assert_eq!(store.client_called(REALM, "bob").await.unwrap(), None);
    let change = store.changes_after(seq - 1, 10).await.unwrap().pop().unwrap();
    assert_eq!((change.realm, change.kind, change.value), (REALM.to_owned(), ChangeKind::Client, id.clone()));

    ground.sql("UPDATE principals SET locked_until = 5, failed_count = 9, first_failed_at = 1").await;
    let mut write = begin(&store).await;
    let change = ClientChange { scopes: Some(None), password_phc: Some(None), unlock: true, ..ClientChange::default() };
    assert!(write.update_client(&id, None, &change, later(6)).await.unwrap());
    write.commit().await.unwrap();
    let after = store.client(&id).await.unwrap().unwrap();
    assert_eq!((after.scopes, after.has_password, after.locked_until, after.version), (None, false, None, 3));
    assert_eq!(ground.number("SELECT CAST(failed_count AS BIGINT) FROM principals").await, 0);
}

async fn a_change_to_another_version_changes_nothing(ground: Ground) {
    let store = ground.open().await;
    let id = add_client(&store, client("bob")).await;
    let change = ClientChange { plan: Some(Some("gold".to_owned())), ..ClientChange::default() };
    for version in [0, 2, -1, i64::MIN, i64::MAX] {
        let mut write = begin(&store).await;
        assert!(!write.update_client(&id, Some(version), &change, NOW).await.unwrap(), "{version}");
        assert_eq!(write.commit().await.unwrap(), None, "nothing for the feed");
    }
    let mut write = begin(&store).await;
    assert!(!write.update_client("own_nobody", None, &change, NOW).await.unwrap());
    assert_eq!(store.client(&id).await.unwrap().unwrap().plan, None);
}

async fn of_twenty_changes_to_one_version_one_is_made(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let id = add_client(&store, client("bob")).await;
    let answers = at_once([&store, &other], 20, |store, n| {
        let id = id.clone();
        async move {
            let mut write = begin(&store).await;
            let change = ClientChange { plan: Some(Some(format!("plan {n}"))), ..ClientChange::default() };
            let won = write.update_client(&id, Some(1), &change, NOW).await.unwrap();
            write.commit().await.unwrap();
            won.then_some(n)
        }
    });
    let winners: Vec<_> = answers.await.into_iter().flatten().collect();
    let [winner] = winners[..] else { panic!("{winners:?}") };
    let client = store.client(&id).await.unwrap().unwrap();
    assert_eq!((client.plan, client.version), (Some(format!("plan {winner}")), 2));
}

async fn deleting_a_principal_ends_its_keys_and_lists(ground: Ground) {
    let store = ground.open().await;
    let (gone, stays) = (add_client(&store, client("gone")).await, add_client(&store, client("stays")).await);
    let mut keys = vec![add_key(&store, key(&gone, "k1")).await, add_key(&store, key(&gone, "k2")).await];
    keys.sort();
    let kept = add_key(&store, key(&stays, "k3")).await;
    for (holder, id) in
        [(Holder::Client, &gone), (Holder::Key, &keys[0]), (Holder::Client, &stays), (Holder::Key, &kept)]
    {
        add_address(&store, address(holder, id, "192.0.2.0/24")).await;
    }
    let mut sessions = Vec::new();
    for (id, key) in [(&gone, &keys[0]), (&stays, &kept)] {
        let (sid, _) = sign_in_again(&store, id).await;
        let text = |what: &str| format!("{what} {id}");
        add_issued(&store, NewIssued { sid: Some(sid.clone()), ..issued(&text("session")) }).await;
        add_issued(&store, NewIssued { owner_id: Some(id.clone()), ..issued(&text("owner")) }).await;
        add_issued(&store, NewIssued { issued_by: Some(key.clone()), ..issued(&text("key")) }).await;
        let mut write = begin(&store).await;
        write.revoke_jti(REALM, &sid, &format!("jti {id}"), NOW, NOW).await.unwrap();
        write.commit().await.unwrap();
        sessions.push(sid);
    }
    let newest = store.feed_span().await.unwrap().newest;

    let mut write = begin(&store).await;
    assert_eq!(write.delete_client(&gone, None, NOW).await.unwrap(), Some(keys.clone()));
    write.commit().await.unwrap();

    assert_eq!(store.client(&gone).await.unwrap(), None);
    assert_eq!(store.key_in_force(REALM, &digest("k1")).await.unwrap(), None);
    assert!(store.addresses(Holder::Client, &gone).await.unwrap().is_empty());
    assert!(store.addresses(Holder::Key, &keys[0]).await.unwrap().is_empty());
    let left = store.key_in_force(REALM, &digest("k3")).await.unwrap().unwrap();
    assert_eq!((left.key_addresses.len(), left.owner_addresses.len()), (1, 1));
    assert_eq!(store.session(&sessions[0]).await.unwrap(), None);
    let left = store.session_in_force(REALM, &sessions[1]).await.unwrap().unwrap();
    assert_eq!((left.session.revoked_at, left.revoked_tokens.len()), (None, 1));
    for (table, count) in [("sessions", 1), ("refresh_tokens", 1), ("revoked_tokens", 1), ("issued_tokens", 3)] {
        assert_eq!(ground.number(&format!("SELECT count(*) FROM {table}")).await, count, "{table}");
    }
    let changes = store.changes_after(newest, 10).await.unwrap();
    let told: Vec<_> = changes.iter().map(|change| (change.kind, change.value.as_str())).collect();
    assert_eq!(told, [(ChangeKind::Client, &*gone), (ChangeKind::Key, &*keys[0]), (ChangeKind::Key, &*keys[1])]);
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
    // Name and text are free again.
    let again = add_client(&store, client("GONE")).await;
    add_key(&store, key(&again, "k1")).await;
}

async fn a_principal_of_another_version_is_not_deleted(ground: Ground) {
    let store = ground.open().await;
    let id = add_client(&store, client("bob")).await;
    add_key(&store, key(&id, "k1")).await;
    for version in [2, -1] {
        let mut write = begin(&store).await;
        assert_eq!(write.delete_client(&id, Some(version), NOW).await.unwrap(), None);
        write.commit().await.unwrap();
    }
    assert!(store.key_in_force(REALM, &digest("k1")).await.unwrap().is_some());
    let mut write = begin(&store).await;
    assert_eq!(write.delete_client("own_nobody", None, NOW).await.unwrap(), None);
    assert!(write.delete_client(&id, Some(1), NOW).await.unwrap().is_some());
}

async fn no_key_outlives_its_owner_however_they_race(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    for round in 0..5 {
        let id = add_client(&store, client("bob")).await;
        let answers = at_once([&store, &other], 8, |store, n| {
            let id = id.clone();
            async move {
                let mut write = begin(&store).await;
                let done = if n == 4 {
                    write.delete_client(&id, None, NOW).await.map(|_| ())
                } else {
                    write.create_key(&key(&id, &format!("key {round} {n}"))).await
                };
                match done {
                    Ok(()) => write.commit().await.map(|_| ()),
                    Err(error) => Err(error),
                }
            }
        });
        let answers = answers.await;
        assert!(answers[4].is_ok(), "the deletion comes through: {:?}", answers[4]);
        for error in answers.into_iter().filter_map(Result::err) {
            assert_eq!(error.fault, Fault::Conflict, "{error}");
        }
        assert_eq!(store.client(&id).await.unwrap(), None);
        assert_eq!(ground.number("SELECT COUNT(*) FROM api_keys").await, 0);
        assert_eq!(ground.number("SELECT COUNT(*) FROM api_key_secrets").await, 0);
    }
}

async fn a_list_holds_what_the_filter_asks_for(ground: Ground) {
    let store = ground.open().await;
    let user = NewClient { id: IdKind::User.generate(NOW).unwrap(), kind: ClientKind::User, ..client("Ann") };
    let ann = add_client(&store, user).await;
    let roles = NewClient { roles: texts(&["editor", "chief-editor"]), ..client("bob") };
    let bob = add_client(&store, roles).await;
    let cyd = add_client(&store, NewClient { roles: texts(&["chief-editor"]), ..client("cyd") }).await;
    let dan = add_client(&store, NewClient { realm: "blog".into(), tenant: Some("t1".into()), ..client("dan") }).await;
    let mut write = begin(&store).await;
    let off = ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() };
    write.update_client(&cyd, None, &off, NOW).await.unwrap();
    write.commit().await.unwrap();

    let all = ClientFilter::default();
    let realms = |realms: &[&str]| ClientFilter { realms: Some(texts(realms)), ..ClientFilter::default() };
    let cases = [
        ("all", all.clone(), vec![&ann, &bob, &cyd, &dan]),
        ("one realm", realms(&["blog"]), vec![&dan]),
        ("two realms", realms(&["blog", REALM]), vec![&ann, &bob, &cyd, &dan]),
        ("no realm", realms(&[]), vec![]),
        ("identifier", ClientFilter { identifier: Some("aNN".into()), ..all.clone() }, vec![&ann]),
        (
            "ids",
            ClientFilter { ids: Some(vec![bob.clone(), dan.clone(), "cli_x".into()]), ..all.clone() },
            vec![&bob, &dan],
        ),
        ("no id", ClientFilter { ids: Some(Vec::new()), ..all.clone() }, vec![]),
        ("kind", ClientFilter { kind: Some(ClientKind::User), ..all.clone() }, vec![&ann]),
        ("status", ClientFilter { status: Some(ClientStatus::Disabled), ..all.clone() }, vec![&cyd]),
        ("tenant", ClientFilter { tenant: Some("t1".into()), ..all.clone() }, vec![&dan]),
        ("role", ClientFilter { role: Some("editor".into()), ..all.clone() }, vec![&bob]),
        ("role in another case", ClientFilter { role: Some("Editor".into()), ..all.clone() }, vec![]),
        ("part of a role", ClientFilter { role: Some("edit".into()), ..all.clone() }, vec![]),
        ("a pattern", ClientFilter { identifier: Some("%".into()), ..all.clone() }, vec![]),
    ];
    for (what, filter, mut expected) in cases {
        expected.sort();
        let found = store.clients(&filter, &Page { after: None, limit: 10 }).await.unwrap();
        assert_eq!(found.iter().map(|client| &client.id).collect::<Vec<_>>(), expected, "{what}");
    }
}

async fn pages_show_each_principal_once_while_others_are_added(ground: Ground) {
    let store = ground.open().await;
    let mut there = Vec::new();
    for n in 0..10 {
        there.push(add_client(&store, client(&format!("there {n}"))).await);
    }
    there.sort();
    let mut seen = Vec::new();
    let mut page = Page { after: None, limit: 3 };
    for n in 0.. {
        let part = store.clients(&ClientFilter::default(), &page).await.unwrap();
        assert!(part.len() <= 3);
        let Some(last) = part.last() else { break };
        page.after = Some(last.id.clone());
        seen.extend(part.into_iter().map(|client| client.id));
        if n < 5 {
            add_client(&store, client(&format!("new {n}"))).await;
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    seen.retain(|id| there.contains(id));
    assert_eq!(seen, there);
}

async fn nothing_is_written_without_a_commit(ground: Ground) {
    let store = ground.open().await;
    let new = client("bob");
    let mut write = begin(&store).await;
    write.create_client(&new).await.unwrap();
    write.create_key(&key(&new.id, "k1")).await.unwrap();
    drop(write);
    assert_eq!(store.client(&new.id).await.unwrap(), None);
    assert_eq!(store.feed_span().await.unwrap().newest, 0);
    add_client(&store, new).await;
}
