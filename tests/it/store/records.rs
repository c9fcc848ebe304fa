//! Records to write: as plain as they can be, each case changes what it is about.

use portcullis::clock::{Stopwatch, UnixMillis};
use portcullis::secret::CredentialDigest;
use portcullis::store::{
    AddressEntry, AuditEntry, AuditOutcome, ClientKind, Expected, Fault, Holder, IdKind, ImportedKey, NewClient,
    NewIssued, NewKey, NewRefresh, NewSession, Rotation, Store, Write, random_id,
};
use serde_json::{Map, Value, json};

use crate::support::{DEADLINE, NOW};

/// The realm of everything here, unless a case says otherwise.
pub(crate) const REALM: &str = "shop";

/// So many milliseconds later.
pub(crate) fn later(millis: i64) -> UnixMillis {
    UnixMillis(NOW.0 + millis)
}

pub(crate) fn digest(text: &str) -> CredentialDigest {
    CredentialDigest::of(text.as_bytes())
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub(crate) fn client(identifier: &str) -> NewClient {
    NewClient {
        id: IdKind::Owner.generate(NOW).expect("randomness"),
        realm: REALM.to_owned(),
        kind: ClientKind::Owner,
        identifier: identifier.to_owned(),
        roles: Vec::new(),
        plan: None,
        tenant: None,
        scopes: None,
        attributes: Map::new(),
        password_phc: None,
        created_by: "cli:root".to_owned(),
        at: NOW,
    }
}

pub(crate) fn key(owner_id: &str, text: &str) -> NewKey {
    NewKey {
        id: IdKind::Key.generate(NOW).expect("randomness"),
        realm: REALM.to_owned(),
        owner_id: owner_id.to_owned(),
        name: "nightly export".to_owned(),
        prefix: "sk_".to_owned(),
        hint: text.chars().skip(text.chars().count().saturating_sub(4)).collect(),
        digest: digest(text),
        scopes: None,
        attributes: Map::new(),
        expires_at: None,
        created_by: "cli:root".to_owned(),
        at: NOW,
    }
}

pub(crate) fn imported(owner_id: &str, text: &str) -> ImportedKey {
    ImportedKey {
        digest: digest(text),
        hint: String::new(),
        prefix: String::new(),
        owner_id: owner_id.to_owned(),
        name: "from before".to_owned(),
        scopes: None,
        attributes: Map::new(),
        expires_at: None,
    }
}

pub(crate) fn rotation(text: &str, old_until: UnixMillis) -> Rotation {
    Rotation {
        prefix: "sk_".to_owned(),
        hint: text.chars().skip(text.chars().count().saturating_sub(4)).collect(),
        digest: digest(text),
        old_until,
    }
}

pub(crate) fn address(holder: Holder, holder_id: &str, network: &str) -> AddressEntry {
    AddressEntry {
        id: IdKind::Address.generate(NOW).expect("randomness"),
        holder,
        holder_id: holder_id.to_owned(),
        network: network.parse().expect("a network"),
        note: None,
        expires_at: None,
        created_by: "cli:root".to_owned(),
        created_at: NOW,
    }
}

pub(crate) fn event(action: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        realm: Some(REALM.to_owned()),
        actor_kind: "cli".to_owned(),
        actor_id: "root".to_owned(),
        actor_ip: Some("192.0.2.7".parse().expect("an address")),
        action: action.to_owned(),
        target_kind: Some("key".to_owned()),
        target_id: Some("key_1".to_owned()),
        outcome: AuditOutcome::Ok,
        reason: None,
        request_id: Some("r-1".to_owned()),
        detail: object(json!({ "name": ["old", "new"] })),
    }
}

pub(crate) fn user(identifier: &str) -> NewClient {
    NewClient { id: IdKind::User.generate(NOW).expect("randomness"), kind: ClientKind::User, ..client(identifier) }
}

/// A session for an hour.
pub(crate) fn session(subject_id: &str) -> NewSession {
    NewSession {
        id: IdKind::Session.generate(NOW).expect("randomness"),
        realm: REALM.to_owned(),
        subject_id: subject_id.to_owned(),
        grant: "password".to_owned(),
        client_ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("curl/8".to_owned()),
        at: NOW,
        expires_at: later(HOUR),
        current_jti: None,
    }
}

/// A refresh token for an hour.
pub(crate) fn refresh(sid: &str, generation: i64) -> NewRefresh {
    NewRefresh {
        jti: random_id().expect("randomness"),
        sid: sid.to_owned(),
        generation,
        digest: None,
        issued_at: NOW,
        expires_at: later(HOUR),
    }
}

/// A token for an hour, about somebody of the application.
pub(crate) fn issued(text: &str) -> NewIssued {
    NewIssued {
        id: IdKind::Token.generate(NOW).expect("randomness"),
        realm: REALM.to_owned(),
        kind: "embed".to_owned(),
        digest: Some(digest(text)),
        slot: None,
        subject: "aff_1".to_owned(),
        issued_by: None,
        owner_id: None,
        sid: None,
        claims: Map::new(),
        issued_at: NOW,
        expires_at: later(HOUR),
    }
}

/// An hour in milliseconds.
pub(crate) const HOUR: i64 = 3_600_000;

/// Makes this principal, and returns its id.
pub(crate) async fn add_client(store: &Store, client: NewClient) -> String {
    let mut write = begin(store).await;
    write.create_client(&client).await.expect("a principal");
    write.commit().await.expect("commit");
    client.id
}

/// Makes this key, and returns its id.
pub(crate) async fn add_key(store: &Store, key: NewKey) -> String {
    let mut write = begin(store).await;
    write.create_key(&key).await.expect("a key");
    write.commit().await.expect("commit");
    key.id
}

/// Makes an owner and a key of it with this text; returns the ids of both.
pub(crate) async fn add_key_and_owner(store: &Store, text: &str) -> (String, String) {
    let owner = add_client(store, client(&format!("owner of {text}"))).await;
    let key = add_key(store, key(&owner, text)).await;
    (owner, key)
}

/// Makes a user and signs it in, with a refresh token; returns the ids of all three.
pub(crate) async fn sign_in(store: &Store, identifier: &str) -> (String, String, String) {
    let user = add_client(store, user(identifier)).await;
    let (sid, jti) = sign_in_again(store, &user).await;
    (user, sid, jti)
}

/// Begins a session with a refresh token; returns the ids of both.
pub(crate) async fn sign_in_again(store: &Store, user: &str) -> (String, String) {
    let session = session(user);
    let refresh = refresh(&session.id, 0);
    let mut write = begin(store).await;
    let begun = write.begin_session(&session, Some(&refresh), &Expected::default(), Some("192.0.2.7")).await;
    assert!(begun.expect("a session"));
    write.commit().await.expect("commit");
    (session.id, refresh.jti)
}

pub(crate) async fn add_issued(store: &Store, token: NewIssued) -> String {
    let mut write = begin(store).await;
    write.issue_token(&token).await.expect("a token");
    write.commit().await.expect("commit");
    token.id
}

pub(crate) async fn add_address(store: &Store, entry: AddressEntry) {
    let mut write = begin(store).await;
    write.add_address(REALM, &entry).await.expect("an entry");
    write.commit().await.expect("commit");
}

/// Begins to write. On a machine that is busy with other tests, a turn may be long in coming.
pub(crate) async fn begin(store: &Store) -> Write {
    let watch = Stopwatch::start();
    loop {
        match store.begin().await {
            Ok(write) => return write,
            Err(error) => {
                let late = matches!(error.fault, Fault::Unreachable | Fault::Locked);
                assert!(late && watch.elapsed() < DEADLINE, "{error}");
            }
        }
    }
}

/// Runs `one` so many times at once, half of them on each store; returns what they answered.
pub(crate) async fn at_once<T, F>(stores: [&Store; 2], times: usize, one: impl Fn(Store, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..times).map(|n| tokio::spawn(one(stores[n % 2].clone(), n))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a task"));
    }
    answers
}
