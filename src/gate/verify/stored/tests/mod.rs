//! The promises of stored keys, at the gate as a whole and with a store that does as it is told.

mod changes;
mod judged;
mod load;
mod outage;
mod uses;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Map;
use tokio::sync::watch;

use load::eventually;

use super::caches::Caches;
use super::ledger::Tick;
use super::*;
use crate::gate::Gate;
use crate::gate::credential::Place;
use crate::gate::dialect::nameless;
use crate::gate::headers::IdentityHeaders;
use crate::gate::limit::{LimitBy, LimitHeaders, LimitSpec, Limiter, Rate};
use crate::gate::outcome::{Denial, Permit};
use crate::gate::policy::{
    Auth, Roles, Route, RoutePlace, ScopePart, ScopeTemplate, Sizes, Snapshot, Timeouts, Upstream,
};
use crate::gate::request::Request;
use crate::gate::route::{HostTable, Pattern, RouteTable};
use crate::gate::trail::Trail;
use crate::gate::verify::api_key::{ApiKeyForm, PlainKey};
use crate::identity::ScopeSet;
use crate::store::{
    AddressEntry, Change, ChangeKind, Client, ClientKind, ClientSource, ClientStatus, Fault, Holder, Key, KeyStatus,
};

const NOW: UnixMillis = UnixMillis(1_763_682_354_000);
const MAX_STALENESS: Duration = Duration::from_secs(30);
const KEEPING: Keeping = Keeping { cache_bytes: 64 << 20, max_staleness: MAX_STALENESS };
const IP: [u8; 4] = [203, 0, 113, 9];

/// A store that counts how often it is asked, and fails or holds its answers back when it is told to.
#[derive(Debug)]
struct Script {
    keys: Mutex<HashMap<(String, CredentialDigest), KeyInForce>>,
    reads: AtomicUsize,
    failing: AtomicBool,
    held: watch::Sender<bool>,
}

#[async_trait]
impl KeySource for Script {
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        // As a database does: what is told is how it was when the read began.
        let found = self.keys.lock().unwrap().get(&(realm.to_owned(), digest)).cloned();
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        if self.failing.load(Ordering::SeqCst) {
            return Err(StoreError::new(Fault::Unreachable, "as it was told"));
        }
        Ok(found)
    }
}

/// A gate in front of two realms, `shop` and `bank`, that are configured alike.
struct Stage {
    source: Arc<Script>,
    keys: Arc<StoredKeys>,
    gate: Gate,
    snapshot: Snapshot,
    now: AtomicI64,
}

impl Stage {
    fn new() -> Self {
        Self::keeping(KEEPING)
    }

    /// Its ledger is up to date.
    fn keeping(keeping: Keeping) -> Self {
        let source = Arc::new(Script {
            keys: Mutex::default(),
            reads: AtomicUsize::default(),
            failing: AtomicBool::default(),
            held: watch::Sender::new(false),
        });
        let runtime = Handle::current();
        let keys = Arc::new(StoredKeys::new(Arc::clone(&source) as Arc<dyn KeySource>, runtime, keeping));
        keys.ledger().restart(0);
        keys.ledger().confirm(Stopwatch::start());
        let gate = Gate::new(0, Arc::clone(&keys));
        Self { source, keys, gate, snapshot: snapshot(&["shop", "bank"], None), now: AtomicI64::new(NOW.0) }
    }

    /// Puts a new key of the realm into the store, after `change` was made to it; nobody is told.
    fn put(&self, realm: &str, text: &PlainKey, change: impl FnOnce(&mut KeyInForce)) {
        let mut record = record(realm, "key_1", "own_1");
        change(&mut record);
        self.source.keys.lock().unwrap().insert((realm.to_owned(), text.digest()), record);
    }

    /// A new key of `shop`.
    fn key(&self, change: impl FnOnce(&mut KeyInForce)) -> PlainKey {
        let text = text();
        self.put("shop", &text, change);
        text
    }

    /// Changes a key of `shop` in the store; nobody is told.
    fn alter(&self, text: &PlainKey, change: impl FnOnce(&mut KeyInForce)) {
        change(self.source.keys.lock().unwrap().get_mut(&("shop".to_owned(), text.digest())).unwrap());
    }

    /// The feed tells.
    fn tell(&self, kind: ChangeKind, value: &str) {
        self.keys.ledger().apply(&[change(self.keys.ledger().position() + 1, kind, value)]);
        self.keys.ledger().confirm(Stopwatch::start());
    }

    fn at(&self, now: UnixMillis) -> &Self {
        self.now.store(now.0, Ordering::SeqCst);
        self
    }

    fn reads(&self) -> usize {
        self.source.reads.load(Ordering::SeqCst)
    }

    fn fail(&self, failing: bool) {
        self.source.failing.store(failing, Ordering::SeqCst);
    }

    fn hold(&self, held: bool) {
        self.source.held.send_replace(held);
    }

    async fn decide(&self, host: &str, path: &str, text: &str, trail: &mut Trail) -> Result<Permit, Denial> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {text}")).unwrap());
        let request = Request {
            method: &Method::GET,
            path,
            query: None,
            host: Some(host),
            headers: &headers,
            peer: Some(IP.into()),
            handshake: None,
            now: UnixMillis(self.now.load(Ordering::SeqCst)),
        };
        let decision = self.gate.decide(&self.snapshot, &request, trail).await;
        decision.map(|decision| decision.permit().expect("no preflight"))
    }

    async fn permit(&self, text: &PlainKey) -> Result<Permit, Denial> {
        self.decide("shop", "/orders", text.expose(), &mut Trail::default()).await
    }

    /// `ok`, or reason and cause.
    async fn ask(&self, text: &PlainKey) -> String {
        told(self.permit(text).await)
    }
}

fn told(decision: Result<Permit, Denial>) -> String {
    match decision {
        Ok(_) => "ok".to_owned(),
        Err(denial) => format!("{}: {}", denial.reason, denial.why.map_or("", |why| why.as_str())),
    }
}

fn text() -> PlainKey {
    PlainKey::generate("sk_").unwrap()
}

fn change(seq: i64, kind: ChangeKind, value: &str) -> Change {
    Change { seq, realm: "shop".into(), kind, value: value.into(), at: NOW }
}

fn record(realm: &str, id: &str, owner_id: &str) -> KeyInForce {
    let owner = Client {
        id: owner_id.into(),
        realm: realm.into(),
        kind: ClientKind::Owner,
        identifier: "team_42".into(),
        subject: None,
        source: ClientSource::Local,
        status: ClientStatus::Active,
        roles: vec![],
        plan: Some("growth".into()),
        tenant: Some("acme".into()),
        scopes: Some(vec!["orders:*".into()]),
        attributes: Map::new(),
        has_password: false,
        locked_until: None,
        last_login_at: None,
        created_by: "test".into(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    let key = Key {
        id: id.into(),
        realm: realm.into(),
        owner_id: owner_id.into(),
        owner: owner.identifier.clone(),
        name: "CI".into(),
        prefix: "sk_".into(),
        hint: "abcd".into(),
        scopes: None,
        attributes: Map::new(),
        status: KeyStatus::Active,
        expires_at: None,
        revoked_at: None,
        revoke_reason: None,
        overlap: None,
        last_used_at: None,
        last_used_ip: None,
        use_count: 0,
        created_by: "test".into(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    KeyInForce { key, owner, not_after: None, key_addresses: vec![], owner_addresses: vec![] }
}

fn address(network: &str, expires_at: Option<UnixMillis>) -> AddressEntry {
    AddressEntry {
        id: "ip_1".into(),
        holder: Holder::Key,
        holder_id: "key_1".into(),
        network: network.parse().unwrap(),
        note: None,
        expires_at,
        created_by: "test".into(),
        created_at: NOW,
    }
}

/// Realms called `names`, each serving the host of its name: `/orders` needs `orders:read`, `/scarce` is limited to one
/// request a day for each key.
fn snapshot(names: &[&str], failure_limit: Option<LimitSpec>) -> Snapshot {
    let mut hosts = HostTable::default();
    for (index, name) in names.iter().enumerate() {
        hosts.insert(name, index).unwrap();
    }
    Snapshot {
        generation: 1,
        realms: names.iter().enumerate().map(|(index, name)| realm(index, name)).collect(),
        hosts,
        owned_hosts: Default::default(),
        trusted_proxies: Default::default(),
        sizes: Sizes { target: 8192, headers: 65_536, body: 1 << 20, token: 8192 },
        clock_skew: Duration::ZERO,
        failure_limit: failure_limit.map(|spec| Arc::new(Limiter::new(spec))),
        dialect: nameless(),
        decision: None,
    }
}

fn realm(index: usize, name: &str) -> Arc<Realm> {
    let upstream = Arc::new(Upstream::of("api", 0, vec![]));
    let route = |index: usize, name: &str, limits| {
        Arc::new(Route {
            view: Default::default(),
            name: name.into(),
            index,
            auth: Auth { public: false, anonymous: false, jwt: false, api_key: true, mtls: false, opaque: None },
            places: vec![RoutePlace {
                place: Place::parse("header:authorization").unwrap(),
                jwt: false,
                api_keys: vec![0],
                opaque: false,
            }],
            issuers: vec![],
            scopes: vec![ScopeTemplate(vec![ScopePart::Text("orders:read".into())])],
            scopes_any: vec![],
            roles: vec![],
            plans: vec![],
            attributes: vec![],
            allow_ips: None,
            deny_ips: None,
            limits,
            upstream: Some(Arc::clone(&upstream)),
            grant: None,
            enforce: true,
            cors: None,
            document: None,
            standard: false,
            strip_prefix: None,
            timeouts: Timeouts::default(),
            max_body: 0,
            forward_credential: false,
            add_headers: vec![],
            remove_headers: vec![],
        })
    };
    let mut table = RouteTable::default();
    for (index, path) in ["/orders", "/scarce"].into_iter().enumerate() {
        table.insert(&Pattern::parse(path).unwrap(), &[], index).unwrap();
    }
    let scarce = Arc::new(Limiter::new(once_a_day(LimitBy::Key)));
    Arc::new(Realm {
        unmatched: None,
        cors: None,
        name: name.into(),
        number: Realm::number_of(name),
        index,
        dialect: nameless(),
        oauth_dialect: nameless(),
        path_rules: Default::default(),
        table,
        host_tables: vec![],
        own: None,
        hosts_from: None,
        routes: vec![route(0, "orders", vec![]), route(1, "scarce", vec![scarce])],
        issuers: vec![],
        api_keys: vec![ApiKeyForm { prefix: "sk_".into(), checksum: true, from: vec![] }],
        declared: Default::default(),
        certificates: Default::default(),
        identity_headers: IdentityHeaders::default(),
        roles: Roles([("clerk".into(), ScopeSet::patterns(["orders:read"]))].into_iter().collect()),
        upstreams: vec![upstream],
        view: Default::default(),
    })
}

fn once_a_day(by: LimitBy) -> LimitSpec {
    LimitSpec {
        name: "scarce".into(),
        by,
        rate: Rate::parse("1/d").unwrap(),
        plans: vec![],
        burst: None,
        headers: LimitHeaders::default(),
    }
}
