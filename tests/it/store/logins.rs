//! What a login needs of a principal, those of the store and those of the application.

use portcullis::password::Phc;
use portcullis::store::{
    ChangeKind, Client, ClientChange, ClientFilter, ClientKind, ClientSource, ClientStatus, DirectorySubject, Expected,
    Fault, Holder, IdKind, NewClient, Page, Store,
};
use serde_json::json;

use super::records::{
    REALM, add_address, add_client, address, at_once, begin, client, later, object, session, texts, user,
};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_login_reads_password_and_list_of_whoever_may_sign_in,
    a_hash_is_replaced_only_by_who_has_seen_it,
    a_principal_of_the_application_is_made_once_and_follows_what_is_told,
    of_twenty_first_logins_of_one_subject_one_principal_comes,
    subjects_that_differ_by_case_are_two_and_a_principal_of_the_store_comes_first,
    what_the_application_calls_a_principal_is_not_changed_here,
    a_principal_of_the_application_is_taken_over_with_everything,
    owners_are_found_by_an_attribute,
);

fn subject(subject: &str) -> DirectorySubject {
    DirectorySubject { subject: subject.to_owned(), ..DirectorySubject::default() }
}

/// Lets the application tell of somebody.
async fn tell(store: &Store, subject: &DirectorySubject, at: portcullis::clock::UnixMillis) -> (Client, bool) {
    let mut write = begin(store).await;
    let client = write.directory_principal(REALM, subject, "node:a", at).await.unwrap();
    (client, write.commit().await.unwrap().is_some())
}

async fn a_login_reads_password_and_list_of_whoever_may_sign_in(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("Ann@Example.org")).await;
    let record = store.login_record(REALM, "ann@EXAMPLE.org").await.unwrap().unwrap();
    assert_eq!((record.client, record.password_phc), (store.client(&ann).await.unwrap().unwrap(), None));

    let entry = address(Holder::Client, &ann, "192.0.2.0/24");
    add_address(&store, entry.clone()).await;
    let mut write = begin(&store).await;
    let change = ClientChange {
        password_phc: Some(Some(Phc::stored("$argon2id$x"))),
        status: Some(ClientStatus::Disabled),
        ..ClientChange::default()
    };
    assert!(write.update_client(&ann, None, &change, NOW).await.unwrap());
    write.commit().await.unwrap();
    let record = store.login_record(REALM, "ann@example.org").await.unwrap().unwrap();
    assert!(!format!("{record:?}").contains("argon2id"), "no hash in logs");
    assert_eq!(record.password_phc.unwrap().expose(), "$argon2id$x");
    assert_eq!((record.client.status, record.addresses), (ClientStatus::Disabled, vec![entry]));

    let machine = NewClient { id: IdKind::Client.generate(NOW).unwrap(), kind: ClientKind::Client, ..client("ci") };
    add_client(&store, machine).await;
    add_client(&store, client("team_42")).await;
    tell(&store, &subject("eve"), NOW).await;
    let found = async |realm, name| store.login_record(realm, name).await.unwrap().is_some();
    assert!(found(REALM, "CI").await);
    for (realm, name) in [(REALM, "team_42"), (REALM, "eve"), (REALM, "=eve"), (REALM, "nobody"), ("blog", "ci")] {
        assert!(!found(realm, name).await, "{realm} {name}");
    }
}

async fn a_hash_is_replaced_only_by_who_has_seen_it(ground: Ground) {
    let store = ground.open().await;
    let ann = add_client(&store, user("ann")).await;
    let set = async |old: Option<&str>, new: &str| {
        let mut write = begin(&store).await;
        let done = write.set_password_phc(&ann, old, new, NOW).await.unwrap();
        assert_eq!(write.commit().await.unwrap(), None, "nothing for the feed");
        done
    };
    assert!(!set(Some("$1"), "$2").await);
    assert!(set(None, "$1").await);
    assert!(!set(None, "$2").await);
    let mut write = begin(&store).await;
    let session = session(&ann);
    assert!(write.begin_session(&session, None, &Expected::default(), None).await.unwrap());
    write.commit().await.unwrap();
    assert!(set(Some("$1"), "$2").await);
    assert!(!set(Some("$1"), "$3").await);
    let record = store.login_record(REALM, "ann").await.unwrap().unwrap();
    assert_eq!((record.password_phc.unwrap().expose(), record.client.version), ("$2", 1));
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().revoked_at, None, "it is the same password");
}

async fn a_principal_of_the_application_is_made_once_and_follows_what_is_told(ground: Ground) {
    let store = ground.open().await;
    let told = DirectorySubject {
        subject: "abc 123".to_owned(),
        roles: texts(&["Brand Admin"]),
        plan: Some("Growth".to_owned()),
        tenant: None,
        attributes: object(json!({ "email": "you@yourbrand.com", "n": 1 })),
    };
    let (made, feed) = tell(&store, &told, NOW).await;
    assert!(!feed, "no node can know anything of it yet");
    assert!(IdKind::User.fits(&made.id));
    assert_eq!(
        (made.kind, made.source, made.subject.as_deref()),
        (ClientKind::User, ClientSource::Directory, Some("abc 123"))
    );
    assert_eq!((made.identifier.as_str(), made.status, made.version), ("abc 123", ClientStatus::Active, 1));
    assert_eq!(
        (&made.roles, &made.plan, &made.tenant, &made.attributes),
        (&told.roles, &told.plan, &told.tenant, &told.attributes)
    );
    assert_eq!((made.created_by.as_str(), made.created_at, made.updated_at), ("node:a", NOW, NOW));
    assert_eq!(store.client(&made.id).await.unwrap().as_ref(), Some(&made));

    assert_eq!(tell(&store, &told, later(5)).await, (made.clone(), false), "nothing is new");
    for other in [
        DirectorySubject { roles: Vec::new(), ..told.clone() },
        DirectorySubject { plan: None, ..told.clone() },
        DirectorySubject { tenant: Some("brand_456".to_owned()), ..told.clone() },
        DirectorySubject { attributes: object(json!({})), ..told.clone() },
    ] {
        let (client, feed) = tell(&store, &other, later(6)).await;
        assert!(feed, "{other:?}");
        assert_eq!((client.id.as_str(), client.version, client.updated_at), (made.id.as_str(), 1, later(6)));
        assert_eq!(
            (client.roles, client.plan, client.tenant, client.attributes),
            (other.roles, other.plan, other.tenant, other.attributes)
        );
        tell(&store, &told, later(6)).await;
    }
    // What an administrator has decided stays.
    let mut write = begin(&store).await;
    let off = ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() };
    assert!(write.update_client(&made.id, None, &off, NOW).await.unwrap());
    write.commit().await.unwrap();
    let newest = store.feed_span().await.unwrap().newest;
    let (client, _) = tell(&store, &DirectorySubject { plan: None, ..told }, later(7)).await;
    assert_eq!((client.status, client.plan, client.version), (ClientStatus::Disabled, None, 2));
    let change = store.changes_after(newest, 10).await.unwrap().remove(0);
    assert_eq!((change.kind, change.value), (ChangeKind::Client, made.id));
}

async fn of_twenty_first_logins_of_one_subject_one_principal_comes(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let answers = at_once([&store, &other], 20, |store, n| async move {
        let told = DirectorySubject { plan: Some(format!("plan {n}")), ..subject("abc") };
        tell(&store, &told, NOW).await.0.id
    });
    let mut ids = answers.await;
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(ground.number("SELECT count(*) FROM principals").await, 1);
}

async fn subjects_that_differ_by_case_are_two_and_a_principal_of_the_store_comes_first(ground: Ground) {
    let store = ground.open().await;
    let (lower, _) = tell(&store, &subject("ann"), NOW).await;
    let (upper, _) = tell(&store, &subject("ANN"), NOW).await;
    assert_ne!(lower.id, upper.id);
    let called = async |name| store.client_called(REALM, name).await.unwrap().map(|client| client.id);
    assert_eq!(called("ann").await, Some(lower.id.clone()));
    assert_eq!(called("ANN").await, Some(upper.id.clone()));
    assert_eq!((called("Ann").await, called("=ann").await), (None, None));

    let local = add_client(&store, user("Ann")).await;
    for name in ["ann", "ANN", "Ann"] {
        assert_eq!(called(name).await.as_ref(), Some(&local), "{name}");
    }
    let listed = async |name: &str| {
        let filter = ClientFilter { identifier: Some(name.to_owned()), ..ClientFilter::default() };
        let found = store.clients(&filter, &Page { after: None, limit: 10 }).await.unwrap();
        found.into_iter().map(|client| client.id).collect::<Vec<_>>()
    };
    let mut both = vec![local.clone(), lower.id];
    both.sort();
    assert_eq!(listed("ann").await, both);
    assert_eq!(listed("aNN").await, [local]);

    // One that is called as the store keeps a subject.
    add_client(&store, user("=bob")).await;
    let mut write = begin(&store).await;
    let error = write.directory_principal(REALM, &subject("bob"), "node:a", NOW).await.unwrap_err();
    assert_eq!(error.fault, Fault::Conflict);
}

async fn what_the_application_calls_a_principal_is_not_changed_here(ground: Ground) {
    let store = ground.open().await;
    let (ann, _) = tell(&store, &subject("ann"), NOW).await;
    let mut write = begin(&store).await;
    let change = ClientChange { identifier: Some("bob".to_owned()), ..ClientChange::default() };
    assert!(write.update_client(&ann.id, None, &change, NOW).await.unwrap());
    write.commit().await.unwrap();
    assert_eq!(store.client_called(REALM, "ann").await.unwrap().unwrap().id, ann.id);
    assert_eq!(store.client_called(REALM, "bob").await.unwrap(), None);
    assert_eq!(tell(&store, &subject("ann"), NOW).await.0.id, ann.id);
}

async fn a_principal_of_the_application_is_taken_over_with_everything(ground: Ground) {
    let store = ground.open().await;
    let (ann, _) = tell(&store, &subject("abc123"), NOW).await;
    let mut write = begin(&store).await;
    let session = session(&ann.id);
    assert!(write.begin_session(&session, None, &Expected::default(), None).await.unwrap());
    write.commit().await.unwrap();
    let adopt = async |id: &str, name: &str| {
        let mut write = begin(&store).await;
        let done = write.adopt_principal(id, name, "$argon2id$x", later(5)).await?;
        write.commit().await?;
        Ok::<_, portcullis::store::StoreError>(done)
    };
    add_client(&store, user("bob@example.org")).await;
    assert_eq!(adopt(&ann.id, "Bob@example.org").await.unwrap_err().fault, Fault::Conflict);
    assert!(adopt(&ann.id, "Ann@example.org").await.unwrap());
    assert!(!adopt(&ann.id, "ann@example.org").await.unwrap(), "it is of the store already");
    let record = store.login_record(REALM, "ann@example.org").await.unwrap().unwrap();
    assert_eq!((record.client.id, record.client.subject.as_deref()), (ann.id, Some("abc123")));
    assert_eq!((record.client.source, record.client.version), (ClientSource::Local, 2));
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().revoked_at, None);
    assert_eq!(store.client_called(REALM, "abc123").await.unwrap(), None);
}

async fn owners_are_found_by_an_attribute(ground: Ground) {
    let store = ground.open().await;
    let with = |name: &str, attributes| NewClient { attributes: object(attributes), ..client(name) };
    let mut expected = Vec::new();
    for (name, domain) in [("a", "a.example"), ("b", "b \"quoted\".example")] {
        let id = add_client(&store, with(name, json!({ "x": 1, "verified_domain": domain }))).await;
        expected.push((id, domain.to_owned()));
    }
    expected.sort();
    add_client(&store, with("number", json!({ "verified_domain": 5 }))).await;
    add_client(&store, with("value", json!({ "x": "verified_domain" }))).await;
    add_client(&store, with("inner", json!({ "x": { "verified_domain": "i.example" } }))).await;
    let off = add_client(&store, with("off", json!({ "verified_domain": "off.example" }))).await;
    let mut write = begin(&store).await;
    let change = ClientChange { status: Some(ClientStatus::Disabled), ..ClientChange::default() };
    assert!(write.update_client(&off, None, &change, NOW).await.unwrap());
    write.commit().await.unwrap();
    let ann = NewClient { attributes: object(json!({ "verified_domain": "u.example" })), ..user("ann") };
    add_client(&store, ann).await;
    add_client(&store, NewClient { realm: "blog".to_owned(), ..with("c", json!({ "verified_domain": "c.example" })) })
        .await;
    assert_eq!(store.owners_with_attribute(REALM, "verified_domain").await.unwrap(), expected);
    assert_eq!(store.owners_with_attribute(REALM, "say \"hi\"").await.unwrap(), []);

    // More than are read at a time.
    let mut write = begin(&store).await;
    for n in 0..1100 {
        write.create_client(&with(&format!("team {n}"), json!({ "d": n.to_string() }))).await.unwrap();
    }
    write.commit().await.unwrap();
    assert_eq!(store.owners_with_attribute(REALM, "d").await.unwrap().len(), 1100);
}
