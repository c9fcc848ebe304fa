//! The admin API on a real store, by its own dispatcher and over HTTP. One file a subject.

mod access;
mod issuing;
mod nouns;
mod repeats;
mod trail;
mod transport;
mod views;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use portcullis::admin::api::{Actor, Admin, Answer, Ask, ENDPOINTS, Endpoint, Surroundings, fits};
use portcullis::clock::{SettableClock, UnixMillis};
use portcullis::config::{self, Sources};
use portcullis::gate::policy::Realm;
use portcullis::gate::request::RequestId;
use portcullis::password::Hasher;
use portcullis::store::{AuditEvent, AuditFilter, Store};
use portcullis::tokens::policy::Issuing;
use serde_json::{Value, json};

use crate::store::{Ground, run};
use crate::support::NOW;

/// Two realms: `shop` lists its scopes and has a declared client, `links` does neither.
const CONFIGURATION: &str = r#"
[realms.shop]
hosts = ["shop.test"]
upstream = "http://127.0.0.1:9"
scopes = { "orders:read" = "See orders", "orders:write" = "Change orders" }
roles = { clerk = ["orders:*"] }
api_keys = [{ prefix = "shop_test_" }]

[realms.shop.clients.partner]
roles = ["clerk"]
scopes = ["orders:read"]
keys = [{ id = "main", sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }]

[[realms.shop.routes]]
path = "/orders/**"
methods = ["GET"]
auth = ["api_key"]
scopes = ["orders:read"]

[realms.links]
hosts = ["links.test"]
upstream = "http://127.0.0.1:9"
api_keys = [{ prefix = "links_test_" }]

[[realms.links.routes]]
path = "/links/**"
auth = ["api_key"]
scopes = ["links:read"]
"#;

/// What the admin API is given instead of a gateway.
#[derive(Default)]
pub(crate) struct Around {
    realms: Vec<Arc<Realm>>,
    issuing: Arc<Issuing>,
    applied: Mutex<Vec<i64>>,
    /// What was waited for of signing keys.
    signing_keys: Mutex<Vec<i64>>,
    refused: Mutex<HashMap<String, Value>>,
    /// What a reload says; none = fine.
    broken: Mutex<Option<Vec<String>>>,
    generation: AtomicU64,
}

#[async_trait]
impl Surroundings for Around {
    fn realms(&self) -> Vec<Arc<Realm>> {
        self.realms.clone()
    }

    fn issuing(&self) -> Arc<Issuing> {
        Arc::clone(&self.issuing)
    }

    fn generation(&self) -> Option<u64> {
        Some(self.generation.load(Ordering::SeqCst))
    }

    async fn reload(&self) -> Result<u64, Vec<String>> {
        match self.broken.lock().unwrap().clone() {
            Some(problems) => Err(problems),
            None => Ok(self.generation.fetch_add(1, Ordering::SeqCst) + 1),
        }
    }

    /// Shows what was asked: the engine has tests of its own.
    async fn explain(&self, question: Value) -> Result<Value, String> {
        let url = question["url"].as_str().unwrap_or_default();
        let realm = ["shop", "links"].into_iter().find(|realm| url.contains(&format!("//{realm}.test/")));
        if url.contains(' ') {
            return Err("a blank".to_owned());
        }
        Ok(json!({
            "allowed": true, "enforced": true, "status": null, "reason": null, "why": null, "realm": realm, "route": null, "upstream": "u",
            "preflight": null, "identity_headers": {}, "steps": [{ "step": "question", "passed": true, "saw": question.to_string() }],
        }))
    }

    fn refused(&self, request_id: &str) -> Option<Value> {
        self.refused.lock().unwrap().get(request_id).cloned()
    }

    async fn applied(&self, seq: i64) {
        self.applied.lock().unwrap().push(seq);
    }

    async fn signing_keys_applied(&self, seq: i64) {
        self.signing_keys.lock().unwrap().push(seq);
    }

    fn propagation(&self) -> Duration {
        Duration::from_millis(1500)
    }
}

/// An admin API on a store of its own.
pub(crate) struct Desk {
    pub(crate) admin: Arc<Admin>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<SettableClock>,
    pub(crate) around: Arc<Around>,
    /// Somebody on the machine.
    pub(crate) root: Actor,
    _ground: Ground,
}

impl Desk {
    pub(crate) async fn open(ground: Ground) -> Self {
        Self::with(ground, CONFIGURATION).await
    }

    /// With another configuration.
    async fn with(ground: Ground, configuration: &str) -> Self {
        let store = ground.open().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.toml");
        std::fs::write(&path, configuration).unwrap();
        let config = load_whole(&path);
        let (realms, issuing) = (config.snapshot.realms, Arc::new(config.issuing));
        let around = Arc::new(Around { realms, issuing, ..Around::default() });
        let clock = Arc::new(SettableClock::new(NOW));
        let surroundings = Arc::clone(&around) as Arc<dyn Surroundings>;
        let admin = Arc::new(Admin::new(store.clone(), surroundings, Arc::clone(&clock) as _, Hasher::new()));
        Self { admin, store, clock, around, root: Actor::on_the_machine("root"), _ground: ground }
    }

    /// Asks, and holds the answer against the documentation.
    pub(crate) async fn ask(&self, actor: &Actor, ask: Ask) -> Answer {
        let endpoint = endpoint_of(&ask);
        let shown = format!("{ask:?}");
        let answer = self.admin.dispatch(ask, actor).await;
        match endpoint {
            Some(endpoint) => assert_eq!(fits(endpoint, &answer), Ok(()), "{shown}: {answer:#?}"),
            None => assert!(answer.status == 404 || answer.status == 405, "{shown}: {answer:#?}"),
        }
        answer
    }

    /// A token with these scopes, made as it always is.
    pub(crate) async fn token(&self, scopes: &[&str], realms: Option<&[&str]>) -> String {
        let body = json!({ "name": "test", "scopes": scopes, "realms": realms });
        let answer = self.ask(&self.root, post("/admin/v1/admin-tokens", &body)).await;
        body_of(&answer)["secret"].as_str().expect("a secret").to_owned()
    }

    /// Ends the token with this text.
    pub(crate) async fn revoke(&self, token: &str) {
        let list = self.ask(&self.root, get("/admin/v1/admin-tokens")).await;
        let mut tokens = body_of(&list)["data"].as_array().unwrap().iter();
        let token = tokens.find(|one| token.ends_with(one["hint"].as_str().unwrap())).expect("the token");
        let path = format!("/admin/v1/admin-tokens/{}/revoke", token["id"].as_str().unwrap());
        assert_eq!(self.ask(&self.root, post(&path, &Value::Null)).await.status, 200);
    }

    /// Who has such a token.
    pub(crate) async fn actor(&self, scopes: &[&str], realms: Option<&[&str]>) -> Actor {
        let token = self.token(scopes, realms).await;
        self.admin.authenticate(Some(&format!("Bearer {token}")), None, "r").await.expect("let in")
    }

    /// The whole trail, oldest first.
    pub(crate) async fn trail(&self) -> Vec<AuditEvent> {
        let mut events = self.store.audit_events(&AuditFilter::default(), 1000).await.unwrap();
        events.reverse();
        events
    }

    pub(crate) async fn last_event(&self) -> AuditEvent {
        self.trail().await.pop().expect("an event")
    }
}

fn load(path: &Path) -> Vec<Arc<Realm>> {
    load_whole(path).snapshot.realms
}

fn load_whole(path: &Path) -> config::Config {
    let sources = Sources { env: &|_| None, secrets: true };
    config::load(path, &sources).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(crate) fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().copied().flatten()
}

/// The endpoint whose pattern fits, segment by segment.
fn endpoint_of(ask: &Ask) -> Option<&'static Endpoint> {
    let fits = |pattern: &str| {
        let (a, b): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), ask.path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.starts_with('{') || a == b)
    };
    let named = |one: &&Endpoint| one.method == ask.method && fits(one.path);
    endpoints().filter(named).min_by_key(|one| one.path.matches('{').count())
}

pub(crate) fn ask(method: Method, target: &str, body: &Value) -> Ask {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ask {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        idempotency_key: None,
        if_match: None,
        request_id: RequestId::generate(NOW).to_string(),
    }
}

pub(crate) fn get(target: &str) -> Ask {
    ask(Method::GET, target, &Value::Null)
}

pub(crate) fn post(target: &str, body: &Value) -> Ask {
    ask(Method::POST, target, body)
}

pub(crate) fn body_of(answer: &Answer) -> &Value {
    answer.body.as_ref().expect("a body")
}

pub(crate) fn code_of(answer: &Answer) -> &str {
    body_of(answer)["code"].as_str().unwrap_or_default()
}

/// A case on a store in a file.
pub(crate) fn on_sqlite<F: Future<Output = ()>>(case: impl FnOnce(Desk) -> F) {
    run(async { case(Desk::open(Ground::sqlite()).await).await });
}

pub(crate) fn later(seconds: i64) -> UnixMillis {
    UnixMillis(NOW.0 + seconds * 1000)
}
