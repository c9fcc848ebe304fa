//! The gate on the test stand: a configuration from files, as in production, and requests as an API gets them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis::clock::Stopwatch;
use portcullis::config::{Sources, load};
use portcullis::gate::Gate;
use portcullis::gate::outcome::{Denial, Permit};
use portcullis::gate::policy::Snapshot;
use portcullis::gate::request::{ClientCertificate, Handshake, Request};
use portcullis::gate::trail::Trail;
use portcullis::gate::verify::api_key::PlainKey;
use portcullis::gate::verify::stored::{Keeping, KeySource, StoredKeys};
use portcullis::secret::CredentialDigest;
use portcullis::store::{
    Client, ClientKind, ClientSource, ClientStatus, Key as StoreKey, KeyInForce, KeyStatus, StoreError,
};
use tokio::runtime::Runtime;

use crate::NOW;
use crate::keys::{Alg, Key};
use crate::token::Signer;

const CACHE: u64 = 64 << 20;

/// The issuers, one an algorithm, all believed on the same routes.
pub(crate) static ISSUERS: LazyLock<HashMap<&'static str, Signer>> = LazyLock::new(|| {
    let signer = |alg: Alg| {
        let key = match alg {
            Alg::HS256 => Key::from_secret(data_encoding::HEXLOWER.encode(&crate::keys::random(32)).as_bytes()),
            other => other.key(),
        };
        (alg.name(), Signer::new(&format!("https://{}.idp.test", alg.name().to_lowercase()), key).by(alg))
    };
    [Alg::HS256, Alg::RS256, Alg::ES256, Alg::EdDSA].into_iter().map(signer).collect()
});

/// An API key of the only client.
pub(crate) static API_KEY: LazyLock<PlainKey> = LazyLock::new(|| PlainKey::generate(PREFIX).expect("randomness"));

pub(crate) const PREFIX: &str = "bench_";

/// Name of the only client that has certificates.
pub(crate) const WORKLOAD: &str = "spiffe://prod/billing";

/// What is configured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// Routes besides those that are asked for.
    pub(crate) routes: usize,
    /// Networks of which one holds the client.
    pub(crate) networks: usize,
    /// API keys besides the one that is used.
    pub(crate) keys: usize,
    /// API keys in the store.
    pub(crate) stored: usize,
    /// How many of them are in memory.
    pub(crate) hot: usize,
    /// Text for `[server]`.
    pub(crate) server: &'static str,
    /// Whether verified tokens are remembered.
    pub(crate) cache: bool,
    /// Whether upstreams get an assertion.
    pub(crate) asserts: bool,
}

/// A gate with a snapshot in force.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) gate: Gate,
    pub(crate) snapshot: Snapshot,
    /// Texts of the stored keys that are in memory.
    pub(crate) hot: Vec<PlainKey>,
}

impl Stand {
    /// Loads a configuration of this size. Stands for ever: closures of any lifetime may use it.
    pub(crate) fn new(size: Size) -> &'static Self {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
        std::fs::create_dir(directory.path().join("realms")).expect("a directory");
        write("portcullis.toml", &format!("[server]\n{}\n", size.server));
        write("realms/api.toml", &realm(size));
        write("realms/assertion.pem", &rcgen::KeyPair::generate().expect("a key").serialize_pem());
        for (name, signer) in ISSUERS.iter().filter(|(name, _)| !name.starts_with("HS")) {
            write(&format!("realms/{name}.pem"), &signer.key.pem());
        }
        // Never the client's own, but for the last one.
        let mut networks: String = (0..size.networks.saturating_sub(1))
            .map(|n| format!("{}/28\n", Ipv4Addr::from(0x0A00_0000 + (n as u32) * 16)))
            .collect();
        networks.push_str("203.0.113.0/24\n");
        write("realms/networks.txt", &networks);
        let secret = String::from_utf8(ISSUERS["HS256"].key.secret().to_vec()).expect("hex");
        let env = |name: &str| (name == "HOUSE_SECRET").then(|| secret.clone());
        let mut config = match load(directory.path(), &Sources { env: &env, secrets: true }) {
            Ok(config) => config,
            Err(problems) => panic!("{problems:#?}"),
        };
        config.snapshot.generation = 1;
        let tokens = if size.cache { CACHE } else { 0 };
        if size.stored == 0 {
            let gate = Gate::new(tokens, Arc::new(StoredKeys::none()));
            return Box::leak(Box::new(Self { gate, snapshot: config.snapshot, hot: Vec::new() }));
        }
        let (shelf, hot) = Shelf::new(size);
        let keeping = Keeping { cache_bytes: 1 << 30, max_staleness: Duration::from_secs(86_400) };
        let keys = Arc::new(StoredKeys::new(Arc::new(shelf), RUNTIME.handle().clone(), keeping));
        keys.ledger().restart(0);
        keys.ledger().confirm(Stopwatch::start());
        let stand = Self { gate: Gate::new(tokens, Arc::clone(&keys)), snapshot: config.snapshot, hot };
        for text in &stand.hot {
            let call = Call::get("/v1/orders/1").bearer(text.expose());
            let (request, mut trail) = (call.request(), Trail::default());
            let decision = stand.gate.decide(&stand.snapshot, &request, &mut trail);
            let permit = RUNTIME.block_on(decision).expect("a decision").permit().expect("a permit");
            assert!(permit.identity().is_some());
        }
        assert_eq!(keys.cached(), (size.hot as u64, 0));
        Box::leak(Box::new(stand))
    }

    /// Decides about a call.
    pub(crate) fn decide(&self, call: &Call, trail: &mut Trail) -> Result<Permit, Denial> {
        let request = call.request();
        let decision = pin!(self.gate.decide(&self.snapshot, &request, trail));
        match decision.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision.map(|decision| decision.permit().expect("a permit")),
            Poll::Pending => panic!("nothing here has to be waited for"),
        }
    }
}

fn realm(size: Size) -> String {
    let mut text = String::from(
        "realm = \"api\"\nhosts = [\"api.example.com\", \"api.test\"]\nupstream = \"http://127.0.0.1:9\"\n",
    );
    for (name, signer) in ISSUERS.iter() {
        let keys = if *name == "HS256" {
            "{ secret = { env = \"HOUSE_SECRET\" } }".to_owned()
        } else {
            format!("{{ public_key = {{ file = \"{name}.pem\" }} }}")
        };
        let issuer = &signer.issuer;
        write!(
            text,
            "[[issuers]]\nname = \"{name}\"\nissuer = \"{issuer}\"\naudience = [\"api\"]\nalgorithms = [\"{name}\"]\nkeys = {keys}\n",
        )
        .expect("memory");
    }
    let digest = API_KEY.digest().to_hex();
    write!(
        text,
        r#"
[[api_keys]]
prefix = "{PREFIX}"

[limits.generous]
by = "client"
rate = "1000000000/s"

[clients.partner]
scopes = ["orders:read", "orders:write"]
plan = "growth"
tenant = "acme"
keys = [{{ id = "k-partner", sha256 = "{digest}" }}]

[clients.crowd]
scopes = ["orders:read"]

[clients.billing]
scopes = ["orders:read", "orders:write"]
plan = "growth"
tenant = "acme"
certificates = ["uri:{WORKLOAD}"]
"#
    )
    .expect("memory");
    text.push_str("keys = [\n");
    for n in 0..size.keys {
        let digest = portcullis::secret::CredentialDigest::of(&n.to_be_bytes()).to_hex();
        writeln!(text, "{{ id = \"k{n}\", sha256 = \"{digest}\" }},").expect("memory");
    }
    text.push_str("]\n");
    if size.asserts {
        text.push_str("[identity_headers.assertion]\nkey = { file = \"assertion.pem\" }\n");
    }
    let mut route = |name: &str, path: &str, rest: &str| {
        write!(text, "[[routes]]\nname = \"{name}\"\npath = \"{path}\"\n{rest}\n").expect("memory");
    };
    let orders = "auth = [\"jwt\", \"api_key\", \"mtls\"]\nscopes = [\"orders:{access}\"]";
    route("orders", "/v1/orders/{id}", &format!("methods = [\"GET\", \"PUT\"]\n{orders}"));
    route("limited", "/v1/limited/{id}", &format!("{orders}\nlimits = [\"generous\"]"));
    route("near", "/v1/near/{id}", &format!("{orders}\nallow_ips_file = \"networks.txt\""));
    route("open", "/open/**", "auth = [\"public\"]");
    for n in 0..size.routes {
        route(&format!("r{n}"), &format!("/v1/resource{n}/{{id}}/items"), orders);
    }
    text
}

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: IpAddr,
    handshake: Option<Handshake>,
}

impl Call {
    fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: None,
            host: self.headers.get(HOST).and_then(|host| host.to_str().ok()),
            headers: &self.headers,
            peer: Some(self.peer),
            handshake: self.handshake.as_ref(),
            now: NOW,
        }
    }

    /// A GET request with the twelve fields of a browser behind a front end.
    pub(crate) fn get(path: &str) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "api.example.com"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
            ("accept", "application/json, text/plain, */*"),
            ("accept-language", "en-GB,en;q=0.5"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("referer", "https://app.example.com/orders"),
            ("origin", "https://app.example.com"),
            ("content-type", "application/json"),
            ("cache-control", "no-cache"),
            ("cookie", "theme=dark; consent=1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Self { method: Method::GET, path: path.to_owned(), headers, peer: [203, 0, 113, 9].into(), handshake: None }
    }

    /// Over a connection on which a certificate with this name was shown.
    pub(crate) fn certificate(mut self, name: &str) -> Self {
        let certificate = ClientCertificate {
            names: [name.into()].into(),
            fingerprint: CredentialDigest::of(name.as_bytes()).to_hex().into(),
            not_after: NOW.plus(Duration::from_secs(3600)),
        };
        self.handshake = Some(Handshake { server_name: None, certificate: Some(Arc::new(certificate)) });
        self
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.headers.insert(HOST, HeaderValue::from_static(host));
        self
    }

    pub(crate) fn peer(mut self, peer: [u8; 4]) -> Self {
        self.peer = peer.into();
        self
    }

    /// The twelfth field.
    pub(crate) fn bearer(mut self, credential: &str) -> Self {
        self.present(&bearer(credential));
        self
    }

    /// Presents another credential.
    pub(crate) fn present(&mut self, bearer: &HeaderValue) {
        self.headers.insert(AUTHORIZATION, bearer.clone());
    }
}

/// How a credential is presented.
pub(crate) fn bearer(credential: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {credential}")).expect("a field value")
}

/// Where stored keys are read, before anything is measured.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// A store that knows many keys, all of one owner.
#[derive(Debug)]
struct Shelf(HashSet<CredentialDigest>);

impl Shelf {
    /// And the texts of those that are to be in memory.
    fn new(size: Size) -> (Self, Vec<PlainKey>) {
        let mut digests = HashSet::with_capacity(size.stored);
        let mut hot = Vec::with_capacity(size.hot);
        for n in 0..size.stored {
            let text = PlainKey::generate(PREFIX).expect("randomness");
            digests.insert(text.digest());
            if n < size.hot {
                hot.push(text);
            }
        }
        (Self(digests), hot)
    }
}

#[async_trait]
impl KeySource for Shelf {
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        Ok(self.0.contains(&digest).then(|| record(realm, digest)))
    }
}

fn record(realm: &str, digest: CredentialDigest) -> KeyInForce {
    let owner = Client {
        id: "own_01KA9XW4V5N2J6M8Q0R3S7T9ZB".into(),
        realm: realm.into(),
        kind: ClientKind::Owner,
        identifier: "team_42".into(),
        subject: None,
        source: ClientSource::Local,
        status: ClientStatus::Active,
        roles: Vec::new(),
        plan: Some("growth".into()),
        tenant: Some("acme".into()),
        scopes: Some(vec!["orders:read".into(), "orders:write".into()]),
        attributes: serde_json::Map::new(),
        has_password: false,
        locked_until: None,
        last_login_at: None,
        created_by: "bench".into(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    let key = StoreKey {
        id: format!("key_{}", &digest.to_hex()[..26]),
        realm: realm.into(),
        owner_id: owner.id.clone(),
        owner: owner.identifier.clone(),
        name: "continuous integration".into(),
        prefix: PREFIX.into(),
        hint: "abcd".into(),
        scopes: None,
        attributes: serde_json::Map::new(),
        status: KeyStatus::Active,
        expires_at: Some(NOW.plus(Duration::from_secs(90 * 86_400))),
        revoked_at: None,
        revoke_reason: None,
        overlap: None,
        last_used_at: None,
        last_used_ip: None,
        use_count: 0,
        created_by: "bench".into(),
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    KeyInForce { key, owner, not_after: None, key_addresses: Vec::new(), owner_addresses: Vec::new() }
}
