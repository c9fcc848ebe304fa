//! The documented APIs in `config/realms`, case by case, over real HTTP: every test begins with the number of its case.
//! One file a document; `cross_cutting` has what holds in all of them, `attacks` what is tried against them, `races` what
//! two nodes must not do at once, `demos` the demos, `numbers` sees that no case is forgotten.

mod affilync;
mod affonso_embed;
mod affonso_portal;
mod application;
mod attacks;
mod convertly;
mod cross_cutting;
mod demos;
mod giftcards;
mod numbers;
mod own_api;
mod races;

use std::ops::Deref;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use portcullis::clock::Clock;
use portcullis::jwt::{self, OwnKey};
use serde_json::{Value, json};

use self::application::{Application, SECRET};
use crate::support::administrator::{Administrator, Made};
use crate::support::caller::{Call, Caller, Reply};
use crate::support::gateway::{Builder, Gateway};
use crate::support::token::parts;

/// A password that is good enough for everybody.
const PASSWORD: &str = "correct horse battery staple";

/// A gateway with one shipped realm, its application, and somebody who administers it.
struct World {
    gw: Gateway,
    app: Application,
    realm: &'static str,
    host: &'static str,
}

impl Deref for World {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gw
    }
}

/// Realms and their hosts.
const HOSTS: &[(&str, &str)] = &[
    ("affilync", "api.affilync.com"),
    ("convertly", "api.convertlyhq.com"),
    ("affonso", "api.affonso.io"),
    ("giftcards", "rewards.example.com"),
    ("notes", "api.notes.example"),
];

fn secrets(builder: Builder) -> Builder {
    builder.env("CONVERTLY_CALLBACK_SECRET", SECRET).env("AFFONSO_CALLBACK_SECRET", SECRET)
}

impl World {
    fn new(realm: &'static str) -> Self {
        Self::with(realm, |builder| builder)
    }

    fn with(realm: &'static str, more: impl FnOnce(Builder) -> Builder) -> Self {
        Self::changed(realm, |text| text, more)
    }

    /// With another file than the shipped one, or a gateway with something special.
    fn changed(
        realm: &'static str,
        change: impl FnOnce(String) -> String,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let app = Application::start();
        let builder = Gateway::builder().shipped_realm_with(realm, change).upstream(&app);
        let gw = more(secrets(builder)).start();
        Self { gw, app, realm, host: host_of(realm) }
    }

    /// All four documented realms in one gateway, in front of one application; what is asked is asked of affilync.
    fn all() -> Self {
        Self::with("affilync", |builder| {
            builder.shipped_realm("convertly").shipped_realm("affonso").shipped_realm("giftcards")
        })
    }

    /// The example of an API of one's own.
    fn notes() -> Self {
        let app = Application::start();
        let gw = Gateway::builder().realm_toml(&own_api()).upstream(&app).start();
        Self { gw, app, realm: "notes", host: host_of("notes") }
    }

    /// Another node on the same store, in front of the same application.
    fn second_node(&self) -> Gateway {
        let builder = Gateway::builder().shipped_realm(self.realm).upstream(&self.app).store_of(&self.gw);
        secrets(builder).start()
    }

    fn caller(&self) -> Caller {
        self.gw.caller().host(self.host)
    }

    fn call(&self, method: &str, target: &str) -> Call {
        self.caller().call(method, target)
    }

    fn get(&self, target: &str) -> Call {
        self.call("GET", target)
    }

    /// A POST with a JSON body.
    fn post(&self, target: &str, body: &Value) -> Call {
        self.post_text(target, &body.to_string())
    }

    /// A POST with a body that says that it is JSON.
    fn post_text(&self, target: &str, body: &str) -> Call {
        self.call("POST", target).header("Content-Type", "application/json").body(body)
    }

    fn admin(&self) -> &Administrator {
        self.gw.admin()
    }

    fn pass_secs(&self, secs: u64) {
        self.gw.pass(Duration::from_secs(secs));
    }

    /// Makes somebody in the realm's store; returns the id.
    #[track_caller]
    fn client(&self, kind: &str, identifier: &str, more: &Value) -> String {
        let asked = merged(json!({ "realm": self.realm, "kind": kind, "identifier": identifier }), more);
        text(&self.admin().post("/clients", &asked).is(201).json()["id"])
    }

    /// The same, with a password.
    #[track_caller]
    fn with_password(&self, kind: &str, identifier: &str, password: &str, more: &Value) -> String {
        let id = self.client(kind, identifier, more);
        self.admin().post(format!("/clients/{id}/password"), &json!({ "password": password })).is(200);
        id
    }

    /// Makes a key of an owner.
    #[track_caller]
    fn key(&self, owner_id: &str, more: &Value) -> Made {
        self.admin().key(owner_id, &merged(json!({ "realm": self.realm }), more))
    }

    /// The newest event with this action, if there is one.
    #[track_caller]
    fn audited(&self, action: &str) -> Option<Value> {
        let list = self.admin().get(format!("/audit?action={action}&limit=1")).is(200).json();
        list["data"].as_array().expect("a list").first().cloned()
    }

    /// A refusal in the realm's dialect, with everything that a refusal of a realm must carry.
    #[track_caller]
    fn refused(&self, reply: &Reply, status: u16) -> Value {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        assert!(!reply.request_id().is_empty());
        let challenges = reply.all("www-authenticate");
        if status == 401 {
            let bearer = format!("Bearer realm=\"{}\"", self.realm);
            assert!(challenges.iter().any(|challenge| challenge.starts_with(&bearer)), "{reply:?}");
        }
        if matches!(status, 429 | 503) {
            let seconds = reply.header("retry-after").and_then(|v| v.parse::<u64>().ok());
            assert!(seconds.is_some_and(|secs| secs > 0), "no Retry-After in {reply:?}");
        }
        reply.json()
    }

    /// The key that the realm signs with now.
    fn signing_key(&self) -> std::sync::Arc<OwnKey> {
        self.signing_key_of(self.realm)
    }

    fn signing_key_of(&self, realm: &str) -> std::sync::Arc<OwnKey> {
        let live = self.gw.engine().live.load();
        let realm =
            live.issuing.realms.iter().flatten().find(|found| *found.realm == *realm).expect("it issues tokens");
        let keys = &realm.keys;
        let now = self.gw.clock.now();
        let algorithm = keys.all().first().expect("a key").algorithm;
        keys.signing(algorithm, now).expect("a key that signs")
    }

    /// Somebody who holds the realm's own key: signs what no honest realm would.
    fn forge(&self, header: &Value, claims: &Value) -> String {
        let key = self.signing_key();
        jwt::sign(&header.to_string(), &claims.to_string(), &key.signing, key.algorithm).expect("a token")
    }

    /// The token with other claims, signed with the realm's own key: null takes a claim out.
    fn reforge(&self, token: &str, change: Value) -> String {
        let (header, mut claims) = decoded(token);
        for (name, value) in change.as_object().expect("an object") {
            if value.is_null() {
                claims.as_object_mut().expect("claims").shift_remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        self.forge(&header, &claims)
    }
}

/// The realm of `config/examples/own-api.toml` as a file of its own.
fn own_api() -> String {
    let text = std::fs::read_to_string("config/examples/own-api.toml").expect("the example");
    let (_, realm) = text.split_once("[realms.notes]\n").expect("its realm");
    let tables = realm.replace("[realms.notes.", "[").replace("127.0.0.1:8000", "{upstream}");
    format!("realm = \"notes\"\n{tables}")
}

fn host_of(realm: &str) -> &'static str {
    HOSTS.iter().find(|(name, _)| *name == realm).expect("a realm of ours").1
}

/// An answer with a token in it: JSON that nobody keeps.
#[track_caller]
fn granted(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
    reply.json()
}

fn merged(mut asked: Value, more: &Value) -> Value {
    let members = more.as_object().expect("an object").clone();
    asked.as_object_mut().expect("an object").extend(members);
    asked
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Names of the members of an object, in order.
#[track_caller]
fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object")).keys().map(String::as_str).collect()
}

/// Header and claims of a token.
#[track_caller]
fn decoded(token: &str) -> (Value, Value) {
    let part = |part: &str| {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let [header, claims, _] = parts(token);
    (part(header), part(claims))
}

/// The header that the documents show, and no other.
const DOCUMENTED_HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";

/// Prefixes of keys, put together here, so that no scanner takes them for leaked ones.
fn afk() -> String {
    ["afk", "_live_"].concat()
}

fn sk() -> String {
    ["sk", "_live_"].concat()
}

/// Another letter case of the first letter after `from`.
fn other_case(key: &str, from: usize) -> String {
    let at = key[from..].find(|c: char| c.is_ascii_alphabetic()).expect("a letter") + from;
    let letter = key.as_bytes()[at];
    let other = if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
    format!("{}{}{}", &key[..at], char::from(other), &key[at + 1..])
}

/// Runs `work` on so many threads, started at once; what came of each.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it ran")).collect()
    })
}
