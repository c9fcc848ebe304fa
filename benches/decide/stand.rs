//! The gate on the test stand: a configuration from files, as in production, and requests as an API gets them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis::config::{Sources, load};
use portcullis::gate::Gate;
use portcullis::gate::outcome::{Denial, Permit};
use portcullis::gate::policy::Snapshot;
use portcullis::gate::request::Request;
use portcullis::gate::trail::Trail;
use portcullis::gate::verify::api_key::PlainKey;
use portcullis::gate::verify::stored::StoredKeys;

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

/// What is configured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// Routes besides those that are asked for.
    pub(crate) routes: usize,
    /// Networks of which one holds the client.
    pub(crate) networks: usize,
    /// API keys besides the one that is used.
    pub(crate) keys: usize,
    /// Text for `[server]`.
    pub(crate) server: &'static str,
    /// Whether verified tokens are remembered.
    pub(crate) cache: bool,
}

/// A gate with a snapshot in force.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) gate: Gate,
    pub(crate) snapshot: Snapshot,
}

impl Stand {
    /// Loads a configuration of this size. Stands for ever: closures of any lifetime may use it.
    pub(crate) fn new(size: Size) -> &'static Self {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
        std::fs::create_dir(directory.path().join("realms")).expect("a directory");
        write("portcullis.toml", &format!("[server]\n{}\n", size.server));
        write("realms/api.toml", &realm(size));
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
        let gate = Gate::new(if size.cache { CACHE } else { 0 }, Arc::new(StoredKeys::none()));
        Box::leak(Box::new(Self { gate, snapshot: config.snapshot }))
    }

    /// Decides about a call.
    pub(crate) fn decide(&self, call: &Call, trail: &mut Trail) -> Result<Permit, Denial> {
        let request = Request {
            method: &call.method,
            path: &call.path,
            query: None,
            host: call.headers.get(HOST).and_then(|host| host.to_str().ok()),
            headers: &call.headers,
            peer: Some(call.peer),
            now: NOW,
        };
        let decision = pin!(self.gate.decide(&self.snapshot, &request, trail));
        match decision.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision,
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
"#
    )
    .expect("memory");
    text.push_str("keys = [\n");
    for n in 0..size.keys {
        let digest = portcullis::secret::CredentialDigest::of(&n.to_be_bytes()).to_hex();
        writeln!(text, "{{ id = \"k{n}\", sha256 = \"{digest}\" }},").expect("memory");
    }
    text.push_str("]\n");
    let mut route = |name: &str, path: &str, rest: &str| {
        write!(text, "[[routes]]\nname = \"{name}\"\npath = \"{path}\"\n{rest}\n").expect("memory");
    };
    let orders = "auth = [\"jwt\", \"api_key\"]\nscopes = [\"orders:{access}\"]";
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
}

impl Call {
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
        Self { method: Method::GET, path: path.to_owned(), headers, peer: [203, 0, 113, 9].into() }
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
        let value = HeaderValue::try_from(format!("Bearer {credential}")).expect("a field value");
        self.headers.insert(AUTHORIZATION, value);
        self
    }
}
