//! Whoever administers: a caller of the admin API with a token, and what tests of stored keys begin with.

use std::fmt::Display;

use portcullis::clock::{Clock, SystemClock, UnixMillis};
use portcullis::gate::verify::api_key::PlainKey;
use portcullis::store::{IdKind, NewAdminToken, Opening, Store, StoreSettings};
use serde_json::{Value, json};

use super::caller::{Call, Caller, Reply};

/// What a token starts with. Put together here, so that no scanner takes it for a leaked one.
fn token_prefix() -> String {
    ["pc", "a_"].concat()
}

/// Every scope that a token can have.
pub(crate) const ALL_SCOPES: &[&str] =
    &["admin:read", "admin:clients", "admin:keys", "admin:sessions", "admin:signing", "admin:reload"];

/// A caller of the admin API.
#[derive(Clone, Debug)]
pub(crate) struct Administrator {
    caller: Caller,
    /// The token; a secret.
    pub(crate) token: String,
    /// The token's id.
    pub(crate) id: String,
}

/// A key as it was just made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// `key_…`.
    pub(crate) id: String,
    /// Its text.
    pub(crate) secret: String,
}

/// Makes a token in the store; returns its text and its id. Only somebody on the machine can do this.
pub(crate) async fn new_token(
    store: Store,
    scopes: &[&str],
    realms: Option<&[&str]>,
    now: UnixMillis,
) -> (String, String) {
    let token = PlainKey::generate(&token_prefix()).expect("randomness");
    let id = IdKind::AdminToken.generate(now).expect("randomness");
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let made = NewAdminToken {
        id: id.clone(),
        name: "test".to_owned(),
        hint: token.expose().chars().skip(token.expose().len() - 4).collect(),
        digest: token.digest(),
        scopes: texts(scopes),
        realms: realms.map(texts),
        expires_at: None,
        created_by: "test".to_owned(),
        at: now,
    };
    let mut write = store.begin().await.expect("a store");
    write.create_admin_token(&made).await.expect("a token");
    write.commit().await.expect("a token that lasts");
    (token.expose().to_owned(), id)
}

/// Opens a store that somebody else has made, and works on it, on a runtime of its own.
#[track_caller]
pub(crate) fn on_store<T, F: Future<Output = T>>(settings: &StoreSettings, work: impl FnOnce(Store) -> F) -> T {
    open_and(settings, Opening::Existing, work)
}

/// Makes a store, and in it a token that may do everything; returns its text and its id.
#[track_caller]
pub(crate) fn made_store(settings: &StoreSettings) -> (String, String) {
    let made = |store| async { new_token(store, ALL_SCOPES, None, SystemClock.now()).await };
    open_and(settings, Opening::Create, made)
}

#[track_caller]
fn open_and<T, F: Future<Output = T>>(settings: &StoreSettings, opening: Opening, work: impl FnOnce(Store) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(settings, opening, SystemClock.now()).await;
        let store = store.unwrap_or_else(|e| panic!("{e}"));
        let done = work(store.clone()).await;
        store.close().await;
        done
    })
}

impl Administrator {
    /// Somebody who may administer everything at a gateway that is a process of its own, with the machine's time.
    #[track_caller]
    pub(crate) fn of_process(admin: std::net::SocketAddr, settings: &StoreSettings) -> Self {
        let made = |store| async { new_token(store, ALL_SCOPES, None, SystemClock.now()).await };
        let (token, id) = on_store(settings, made);
        Self::new(Caller::new(admin).host(&admin.to_string()), token, id)
    }

    /// The same person at another listener, or at the same after a restart.
    pub(crate) fn at(&self, admin: std::net::SocketAddr) -> Self {
        Self::new(Caller::new(admin).host(&admin.to_string()), self.token.clone(), self.id.clone())
    }

    /// With this token, at this listener.
    pub(crate) fn new(caller: Caller, token: String, id: String) -> Self {
        Self { caller, token, id }
    }

    /// A call to be made; `path` from `/admin/v1` on, which is left out.
    pub(crate) fn call(&self, method: &str, path: impl Display) -> Call {
        self.caller.call(method, &format!("/admin/v1{path}")).bearer(&self.token)
    }

    /// A call with a body.
    pub(crate) fn call_with(&self, method: &str, path: impl Display, body: &Value) -> Call {
        self.call(method, path).header("Content-Type", "application/json").body(body.to_string())
    }

    /// GET.
    #[track_caller]
    pub(crate) fn get(&self, path: impl Display) -> Reply {
        self.call("GET", path).send()
    }

    /// POST.
    #[track_caller]
    pub(crate) fn post(&self, path: impl Display, body: &Value) -> Reply {
        self.call_with("POST", path, body).send()
    }

    /// POST without a body.
    #[track_caller]
    pub(crate) fn order(&self, path: impl Display) -> Reply {
        self.call("POST", path).send()
    }

    /// PATCH.
    #[track_caller]
    pub(crate) fn patch(&self, path: impl Display, body: &Value) -> Reply {
        self.call_with("PATCH", path, body).send()
    }

    /// DELETE.
    #[track_caller]
    pub(crate) fn delete(&self, path: impl Display) -> Reply {
        self.call("DELETE", path).send()
    }

    /// Makes an owner of keys in the standard realm; `more` is added to what is asked. Returns its id.
    #[track_caller]
    pub(crate) fn owner(&self, identifier: &str, more: &Value) -> String {
        let asked = merged(json!({ "realm": "api", "kind": "owner", "identifier": identifier }), more);
        let made = self.post("/clients", &asked).is(201).json();
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Makes a key of an owner in the standard realm; `more` is added to what is asked.
    #[track_caller]
    pub(crate) fn key(&self, owner_id: &str, more: &Value) -> Made {
        let asked = merged(json!({ "realm": "api", "owner_id": owner_id, "name": "test" }), more);
        Made::of(&self.post("/keys", &asked).is(201).json())
    }
}

impl Made {
    /// Out of the answer to a creation or a rotation.
    #[track_caller]
    pub(crate) fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned();
        Self { id: text("id"), secret: text("secret") }
    }
}

fn merged(mut asked: Value, more: &Value) -> Value {
    let members = more.as_object().expect("an object").clone();
    asked.as_object_mut().expect("an object").extend(members);
    asked
}
