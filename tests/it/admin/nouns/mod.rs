//! Clients, keys, address lists and admin tokens: what is asked, by whom, and what is answered and left behind.

mod addresses;
mod clients;
mod import;
mod keys;
mod limits;
mod tokens;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use portcullis::admin::api::{Actor, ActorKind, Admin, Answer, Ask, fits};
use portcullis::clock::{Clock, SettableClock, UnixMillis};
use portcullis::gate::policy::Realm;
use portcullis::password::Hasher;
use portcullis::store::{AuditEvent, AuditFilter, Store};
use serde_json::{Value, json};

use super::{Around, endpoint_of, load};

use crate::store::Ground;
use crate::support::NOW;
use crate::support::realms::{api_key, key_digest};

/// What keys of both realms start with. Put together here, so that no scanner takes them for leaked keys.
fn prefix() -> String {
    ["shop", "_live_"].concat()
}

/// Imported keys of the shop start with it; they have no checksum.
fn old_prefix() -> String {
    ["shop", "_old_"].concat()
}

/// An administration with two realms: `shop`, which lists its scopes and declares a client, and `links`.
struct Desk {
    admin: Admin,
    store: Store,
    clock: Arc<SettableClock>,
    /// The text of the declared key.
    declared: String,
    /// Every body that was answered, and every secret that was shown once.
    told: Mutex<Vec<String>>,
    _ground: Ground,
}

impl Desk {
    async fn open() -> Self {
        Self::at(Ground::sqlite()).await
    }

    async fn at(ground: Ground) -> Self {
        let declared = api_key(&prefix());
        let clock = Arc::new(SettableClock::new(NOW));
        let store = ground.open().await;
        let surroundings = Arc::new(Around { realms: realms(&declared), ..Around::default() });
        let admin = Admin::new(store.clone(), surroundings, Arc::clone(&clock) as Arc<dyn Clock>, Hasher::new());
        Self { admin, store, clock, declared, told: Mutex::default(), _ground: ground }
    }

    /// Asks as somebody on the machine.
    async fn ask(&self, method: Method, target: &str, body: Value) -> Answer {
        self.ask_as(&Actor::on_the_machine("op"), method, target, body).await
    }

    async fn ask_as(&self, actor: &Actor, method: Method, target: &str, body: Value) -> Answer {
        self.dispatch(actor, ask(method, target, body)).await
    }

    async fn dispatch(&self, actor: &Actor, ask: Ask) -> Answer {
        let asked = format!("{} {}", ask.method, ask.path);
        let endpoint = endpoint_of(&ask);
        let answer = self.admin.dispatch(ask, actor).await;
        if let Some(endpoint) = endpoint {
            fits(endpoint, &answer).unwrap_or_else(|e| panic!("{asked}: {e}: {answer:?}"));
        }
        let body = answer.body.as_ref().map(Value::to_string).unwrap_or_default();
        self.told.lock().unwrap().push(body);
        answer
    }

    async fn get(&self, target: &str) -> Value {
        good(self.ask(Method::GET, target, Value::Null).await, 200)
    }

    async fn post(&self, target: &str, body: Value) -> Value {
        good(self.ask(Method::POST, target, body).await, 200)
    }

    async fn patch(&self, target: &str, body: Value) -> Value {
        good(self.ask(Method::PATCH, target, body).await, 200)
    }

    async fn create(&self, target: &str, body: Value) -> Value {
        good(self.ask(Method::POST, target, body).await, 201)
    }

    /// What a refused request is answered: status, code, and the whole.
    async fn refused(&self, method: Method, target: &str, body: Value) -> (u16, String, Value) {
        problem(self.ask(method, target, body).await)
    }

    /// A client of the shop.
    async fn client(&self, identifier: &str, more: Value) -> Value {
        let mut body = json!({ "realm": "shop", "identifier": identifier });
        merge(&mut body, more);
        self.create("/admin/v1/clients", body).await
    }

    /// A key of a client of the shop.
    async fn key(&self, owner: &Value, more: Value) -> Value {
        let mut body = json!({ "owner_id": owner["id"], "name": "CRM sync" });
        merge(&mut body, more);
        self.create("/admin/v1/keys", body).await
    }

    async fn verify(&self, key: &str, ip: Option<&str>) -> Value {
        let mut body = json!({ "realm": "shop", "key": key });
        if let Some(ip) = ip {
            merge(&mut body, json!({ "ip": ip }));
        }
        self.post("/admin/v1/keys/verify", body).await
    }

    async fn code(&self, key: &str) -> String {
        self.verify(key, None).await["code"].as_str().unwrap().to_owned()
    }

    /// The audit trail, oldest first.
    async fn trail(&self) -> Vec<AuditEvent> {
        let filter = AuditFilter { after: Some(0), ..AuditFilter::default() };
        self.store.audit_events(&filter, 10_000).await.unwrap()
    }

    async fn actions(&self) -> Vec<String> {
        self.trail().await.into_iter().map(|event| event.entry.action).collect()
    }

    /// The last event of the trail.
    async fn last_event(&self) -> AuditEvent {
        self.trail().await.pop().expect("an event")
    }
}

fn realms(declared: &str) -> Vec<Arc<Realm>> {
    let (prefix, old_prefix, digest) = (prefix(), old_prefix(), key_digest(declared));
    let text = format!(
        r#"
[realms.shop]
hosts = ["shop.test"]
upstream = "http://127.0.0.1:9"
api_keys = [{{ prefix = "{prefix}" }}, {{ prefix = "{old_prefix}", checksum = false }}]

[realms.shop.scopes]
"orders:read" = "See orders."
"orders:write" = "Change orders."
"stock:read" = "See the stock."

[realms.shop.roles]
reader = ["*:read"]
clerk = ["orders:read", "orders:write"]

[realms.shop.clients.legacy]
scopes = ["orders:read"]
ip_allowlist = ["10.0.0.0/8"]
keys = [{{ id = "k1", sha256 = "{digest}", ip_allowlist = ["10.1.0.0/16"] }}]

[[realms.shop.routes]]
path = "/**"
auth = ["api_key"]

[realms.links]
hosts = ["links.test"]
upstream = "http://127.0.0.1:9"
api_keys = [{{ prefix = "{prefix}" }}]

[[realms.links.routes]]
path = "/**"
auth = ["api_key"]
"#
    );
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("portcullis.toml");
    fs::write(&path, text).expect("written");
    load(&path)
}

fn ask(method: Method, target: &str, body: Value) -> Ask {
    super::ask(method, target, &body)
}

/// A token with these scopes, for these realms.
fn token(scopes: &[&str], realms: Option<&[&str]>) -> Actor {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Actor {
        kind: ActorKind::AdminToken,
        id: "adm_00000000000000000000000000".to_owned(),
        ip: None,
        scopes: owned(scopes),
        realms: realms.map(owned),
    }
}

#[track_caller]
fn good(answer: Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.body.expect("a body")
}

#[track_caller]
fn problem(answer: Answer) -> (u16, String, Value) {
    assert!(answer.status >= 400, "{answer:?}");
    let body = answer.body.expect("a body");
    (answer.status, text(&body["code"]), body)
}

/// The fields that are told to be wrong, each with the text.
fn faults(problem: &Value) -> Vec<(String, String)> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{problem}"));
    errors.iter().map(|error| (text(&error["field"]), text(&error["message"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

fn later(by: Duration) -> String {
    NOW.plus(by).to_string()
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn identifiers(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|one| text(&one["identifier"])).collect()
}

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|one| text(&one["id"])).collect()
}

fn at(by: Duration) -> UnixMillis {
    NOW.plus(by)
}
