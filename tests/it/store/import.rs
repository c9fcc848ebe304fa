//! Keys that exist elsewhere already.

use portcullis::store::{ChangeKind, Fault, Imported, ImportedKey, KeyFilter, NewClient, Page, Store, StoreError};
use serde_json::json;

use super::records::{REALM, add_client, add_key, at_once, begin, client, digest, imported, key, later, object, texts};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_batch_of_a_thousand_works_at_once_and_is_told_once,
    what_is_known_stays_as_it_is,
    a_text_twice_in_a_batch_is_one_key,
    a_batch_with_an_owner_who_is_gone_is_refused_as_a_whole,
    two_who_import_the_same_keys_at_once_make_them_once,
);

async fn import(store: &Store, keys: &[ImportedKey]) -> Result<Imported, StoreError> {
    let mut write = begin(store).await;
    let done = write.import_keys(REALM, keys, "cli:root", NOW).await?;
    write.commit().await?;
    Ok(done)
}

fn batch(owner: &str, numbers: impl Iterator<Item = usize>) -> Vec<ImportedKey> {
    numbers.map(|n| imported(owner, &format!("old key {n}"))).collect()
}

async fn a_batch_of_a_thousand_works_at_once_and_is_told_once(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    let mut keys = batch(&owner, 0..1000);
    keys[7] = ImportedKey {
        hint: "ey 7".to_owned(),
        prefix: "old".to_owned(),
        name: "seven".to_owned(),
        scopes: Some(texts(&["read:*"])),
        attributes: object(json!({ "b": 1, "a": 2 })),
        expires_at: Some(later(1000)),
        ..keys[7].clone()
    };
    assert_eq!(import(&store, &keys).await.unwrap(), Imported { added: 1000, known: 0 });
    for (n, new) in keys.iter().enumerate().filter(|(n, _)| n % 97 == 7) {
        let found = store.key_in_force(REALM, &new.digest).await.unwrap().unwrap_or_else(|| panic!("{n}"));
        assert_eq!((&found.key.name, &found.key.hint, &found.key.prefix), (&new.name, &new.hint, &new.prefix));
        assert_eq!((&found.key.scopes, found.key.expires_at), (&new.scopes, new.expires_at));
        assert_eq!((&found.key.attributes, &found.key.owner_id), (&new.attributes, &owner));
        assert_eq!((found.key.created_by.as_str(), found.key.created_at, found.not_after), ("cli:root", NOW, None));
    }
    let told = store.changes_after(0, 10).await.unwrap();
    assert_eq!(told.iter().map(|change| change.kind).collect::<Vec<_>>(), [ChangeKind::KeysAdded]);
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
}

async fn what_is_known_stays_as_it_is(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    let id = add_key(&store, key(&owner, "old key 3")).await;
    let before = store.key(&id).await.unwrap();
    assert_eq!(import(&store, &batch(&owner, 0..10)).await.unwrap(), Imported { added: 9, known: 1 });
    assert_eq!(store.key(&id).await.unwrap(), before);
    let newest = store.feed_span().await.unwrap().newest;
    assert_eq!(import(&store, &batch(&owner, 0..10)).await.unwrap(), Imported { added: 0, known: 10 });
    assert_eq!(store.feed_span().await.unwrap().newest, newest, "nothing happened");
    assert_eq!(import(&store, &batch(&owner, 5..15)).await.unwrap(), Imported { added: 5, known: 5 });
    assert_eq!(import(&store, &[]).await.unwrap(), Imported::default());
    let all = store.keys(&KeyFilter::default(), &Page { after: None, limit: 100 }).await.unwrap();
    assert_eq!(all.len(), 15);
}

async fn a_text_twice_in_a_batch_is_one_key(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    let keys = ["first", "second"].map(|name| ImportedKey { name: name.to_owned(), ..imported(&owner, "k1") });
    assert_eq!(import(&store, &keys).await.unwrap(), Imported { added: 1, known: 1 });
    assert_eq!(store.key_in_force(REALM, &digest("k1")).await.unwrap().unwrap().key.name, "first");
}

async fn a_batch_with_an_owner_who_is_gone_is_refused_as_a_whole(ground: Ground) {
    let store = ground.open().await;
    let owner = add_client(&store, client("bob")).await;
    let elsewhere = add_client(&store, NewClient { realm: "blog".to_owned(), ..client("bob") }).await;
    for gone in ["own_nobody", &elsewhere] {
        let mut keys = batch(&owner, 0..600);
        keys[599].owner_id = gone.to_owned();
        assert_eq!(import(&store, &keys).await.unwrap_err().fault, Fault::Conflict);
        assert_eq!(ground.number("SELECT COUNT(*) FROM api_keys").await, 0);
        assert_eq!(store.feed_span().await.unwrap().newest, 0);
    }
}

async fn two_who_import_the_same_keys_at_once_make_them_once(ground: Ground) {
    let (store, other) = (ground.open().await, ground.open().await);
    let owner = add_client(&store, client("bob")).await;
    for round in 0..3 {
        let numbers = round * 1000..round * 1000 + 600;
        let answers = at_once([&store, &other], 4, |store, n| {
            let mut keys = batch(&owner, numbers.clone());
            if n % 2 == 1 {
                keys.reverse();
            }
            async move { import(&store, &keys).await }
        });
        let mut sum = Imported::default();
        for answer in answers.await {
            let Imported { added, known } = answer.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(added + known, 600);
            sum.added += added;
            sum.known += known;
        }
        assert_eq!(sum, Imported { added: 600, known: 1800 });
    }
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
    assert_eq!(ground.number("SELECT COUNT(*) FROM api_keys").await, 1800);
}
