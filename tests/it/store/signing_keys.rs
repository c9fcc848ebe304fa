//! Keys that realms sign with: sealed where they lie, changed for all nodes at once.

use portcullis::secret::Secret;
use portcullis::store::{
    ChangeKind, Fault, IdKind, Location, NewSigningKey, Opening, SigningKeyChange, SigningKeyState, Store,
    StoreSettings,
};
use serde_json::json;

use super::records::{REALM, begin, later};
use super::{Ground, on_both};
use crate::support::NOW;

on_both!(
    a_signing_key_is_read_as_it_was_made,
    a_change_touches_what_it_names_and_nodes_are_told,
    no_secret_lies_open_in_the_database,
    a_sealed_key_opens_in_its_row_only,
    signing_keys_go_along_to_the_new_name_of_their_realm,
);

fn secret() -> Secret {
    Secret::new(b"a secret of thirty-two bytes....".to_vec())
}

fn key<'a>(realm: &str, private: &'a Secret) -> NewSigningKey<'a> {
    NewSigningKey {
        kid: IdKind::SigningKey.generate(NOW).unwrap(),
        realm: realm.to_owned(),
        alg: "HS256".to_owned(),
        state: SigningKeyState::Active,
        private,
        public_jwk: None,
        created_by: "node:a".to_owned(),
        at: NOW,
        activate_at: NOW,
        retire_at: None,
    }
}

async fn add(store: &Store, key: &NewSigningKey<'_>) -> String {
    let mut write = begin(store).await;
    write.add_signing_key(key).await.unwrap();
    write.commit().await.unwrap().expect("a row in the feed");
    key.kid.clone()
}

async fn a_signing_key_is_read_as_it_was_made(ground: Ground) {
    let store = ground.open().await;
    let (private, other) = (secret(), Secret::new(vec![0; 100]));
    let new = NewSigningKey {
        alg: "ES256".to_owned(),
        state: SigningKeyState::Next,
        public_jwk: Some(json!({ "kty": "EC", "x": "…" })),
        activate_at: later(5),
        retire_at: Some(later(9)),
        ..key(REALM, &private)
    };
    add(&store, &new).await;
    let older = add(&store, &key(REALM, &other)).await;
    let blogs = add(&store, &key("blog", &other)).await;
    let keys = store.signing_keys(Some(REALM)).await.unwrap();
    assert_eq!(keys.iter().map(|key| &key.kid).collect::<Vec<_>>(), [&older, &new.kid], "in the order of activation");
    assert_eq!((&keys[0].private, &keys[1].private), (&other, &private));
    let read = &keys[1];
    assert_eq!((&read.realm, &read.alg, read.state), (&new.realm, &new.alg, SigningKeyState::Next));
    assert_eq!((&read.public_jwk, &read.created_by, read.created_at), (&new.public_jwk, &new.created_by, NOW));
    assert_eq!((read.activate_at, read.retire_at), (later(5), Some(later(9))));
    assert!(!format!("{keys:?} {new:?}").contains("97, 32, 115"), "no secret in logs");
    assert_eq!(store.signing_keys(None).await.unwrap().len(), 3);
    assert_eq!(store.signing_keys(Some("blog")).await.unwrap()[0].kid, blogs);
    assert_eq!(store.signing_keys(Some("none")).await.unwrap(), []);
    let mut write = begin(&store).await;
    let again = NewSigningKey { kid: blogs, ..key(REALM, &private) };
    assert_eq!(write.add_signing_key(&again).await.unwrap_err().fault, Fault::Conflict);
}

async fn a_change_touches_what_it_names_and_nodes_are_told(ground: Ground) {
    let store = ground.open().await;
    let private = secret();
    let kid = add(&store, &key(REALM, &private)).await;
    let change = async |change: SigningKeyChange| {
        let mut write = begin(&store).await;
        assert!(write.change_signing_key(&kid, &change, later(1)).await.unwrap());
        let seq = write.commit().await.unwrap().expect("a row in the feed");
        let told = store.changes_after(seq - 1, 10).await.unwrap().remove(0);
        assert_eq!((told.realm.as_str(), told.kind, told.value.as_str()), (REALM, ChangeKind::SigningKeys, ""));
        let key = store.signing_keys(Some(REALM)).await.unwrap().remove(0);
        assert_eq!(key.private, private);
        (key.state, key.activate_at, key.retire_at)
    };
    let nothing = SigningKeyChange::default();
    let passive = SigningKeyChange { state: Some(SigningKeyState::Passive), ..nothing.clone() };
    assert_eq!(change(passive).await, (SigningKeyState::Passive, NOW, None));
    let ends = SigningKeyChange { retire_at: Some(Some(later(9))), ..nothing.clone() };
    assert_eq!(change(ends).await, (SigningKeyState::Passive, NOW, Some(later(9))));
    let begins = SigningKeyChange { activate_at: Some(later(7)), ..nothing.clone() };
    assert_eq!(change(begins).await, (SigningKeyState::Passive, later(7), Some(later(9))));
    let stays = SigningKeyChange { state: Some(SigningKeyState::Disabled), retire_at: Some(None), ..nothing };
    assert_eq!(change(stays).await, (SigningKeyState::Disabled, later(7), None));
    let mut write = begin(&store).await;
    assert!(!write.change_signing_key("sig_none", &SigningKeyChange::default(), NOW).await.unwrap());
    assert_eq!(write.commit().await.unwrap(), None);
}

async fn no_secret_lies_open_in_the_database(ground: Ground) {
    let store = ground.open().await;
    let private = secret();
    for _ in 0..2 {
        add(&store, &key(REALM, &private)).await;
    }
    let open = "SELECT count(*) FROM signing_keys WHERE length(private_sealed) <> 12 + 32 + 16";
    assert_eq!(ground.number(open).await, 0);
    assert_eq!(
        ground.number("SELECT count(DISTINCT private_sealed) FROM signing_keys").await,
        2,
        "never the same twice"
    );
    if let Location::Sqlite(path) = &ground.settings.location {
        store.close().await;
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(32).any(|part| part == private.expose()));
    }
}

async fn a_sealed_key_opens_in_its_row_only(ground: Ground) {
    let store = ground.open().await;
    let private = secret();
    let kid = add(&store, &key(REALM, &private)).await;
    let other = add(&store, &key(REALM, &private)).await;
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
    let swap = format!(
        "UPDATE signing_keys SET private_sealed = (SELECT private_sealed FROM signing_keys WHERE kid = '{other}') \
         WHERE kid = '{kid}'"
    );
    for change in [swap.as_str(), "UPDATE signing_keys SET alg = 'HS512'", "UPDATE signing_keys SET realm = 'blog'"] {
        ground.sql(change).await;
        assert_eq!(store.signing_keys(None).await.unwrap_err().fault, Fault::Corrupt, "{change}");
    }
    assert_eq!(store.check().await.unwrap().problems, ["signing keys that do not open: 2"]);
}

async fn signing_keys_go_along_to_the_new_name_of_their_realm(ground: Ground) {
    let store = ground.open().await;
    let private = secret();
    let kid = add(&store, &key(REALM, &private)).await;
    let blogs = add(&store, &key("blog", &private)).await;
    let mut write = begin(&store).await;
    write.rename_realm(REALM, "store-front", NOW).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(store.signing_keys(Some(REALM)).await.unwrap(), []);
    let key = store.signing_keys(Some("store-front")).await.unwrap().remove(0);
    assert_eq!((key.kid, key.private), (kid, private));
    assert_eq!(store.signing_keys(Some("blog")).await.unwrap()[0].kid, blogs);
}

#[test]
fn another_seal_key_opens_nothing() {
    super::run(async {
        let mut ground = Ground::postgres();
        let store = ground.open().await;
        add(&store, &key(REALM, &secret())).await;
        // Whoever puts the fingerprint aside gets in, and sees nothing.
        ground.sql("DELETE FROM meta WHERE name = 'seal_key_fingerprint'").await;
        let seal_key = Some(Secret::new(vec![9; 32]));
        ground.settings = StoreSettings { seal_key, ..ground.settings.clone() };
        let other = ground.try_open(Opening::Existing).await.unwrap();
        let error = other.signing_keys(None).await.unwrap_err();
        assert_eq!(error.fault, Fault::Corrupt);
        assert!(error.text.contains("another key"), "{error}");
        assert_eq!(store.signing_keys(None).await.unwrap()[0].private, secret());
    });
}
