//! Nothing is forgotten: every reason that can be given is provoked over a real socket, every reason, cause and key is
//! in the documents.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::gate::outcome::{Reason, Why};
use serde_json::{Value, json};

use super::support::NOW;
use super::support::caller::{Call, Reply};
use super::support::gateway::Gateway;
use super::support::keys::Key;
use super::support::realms::{Standard, api_key, key_digest, key_prefix};
use super::support::token::Signer;
use super::support::upstream::{Respond, Upstream};

/// How it is shown that a reason is given.
enum Shown {
    /// By this request.
    By(fn(&World) -> Reply),
    /// By no request; why not.
    Never(&'static str),
    /// By the tests of this module: what it takes cannot be had over sockets.
    Beside(&'static str),
}

use Shown::{Beside, By, Never};

/// No wildcard: a new reason does not compile until it has its row.
fn shown(reason: Reason) -> Shown {
    match reason {
        Reason::BadRequest => By(|w| w.gw.caller().send_raw("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")),
        Reason::AmbiguousCredential => By(|w| w.gw.get("/me/x").bearer(&w.alice()).header("x-api-key", &w.late).send()),
        Reason::PathAmbiguous => By(|w| w.gw.get("/me/../x").send()),
        Reason::PayloadTooLarge => By(|w| w.gw.call("POST", "/small/x").body("12345678901").send()),
        Reason::UriTooLong => By(|w| w.gw.get(&format!("/{}", "x".repeat(9000))).send()),
        Reason::HeadersTooLarge => By(|w| w.gw.get("/me/x").header("x", "x".repeat(40_000)).send()),
        Reason::RequestTimeout => By(|w| w.gw.caller().send_raw("GET /me/x HTTP/1.1\r\nHost: api.test\r\n")),
        Reason::UnknownHost => By(|w| w.gw.get("/me/x").host("nobody.test").send()),
        // Only a connection that was made for another host gets it.
        Reason::MisdirectedRequest => Beside("listener_tls::hosts"),
        Reason::NoRoute => By(|w| w.gw.get("/nowhere").send()),
        Reason::MethodNotAllowed => By(|w| w.gw.call("TRACE", "/me/x").send()),
        Reason::MissingCredentials => By(|w| w.gw.get("/me/x").send()),
        Reason::TokenInvalid => By(|w| w.gw.get("/me/x").bearer("rubbish").send()),
        Reason::TokenExpired => By(|w| w.gw.get("/me/x").bearer(&w.standard.alice().expires_in(-1).sign()).send()),
        Reason::IssuerNotAllowed => By(|w| w.gw.get("/second/x").bearer(&w.alice()).send()),
        Reason::KeyUnknown => By(|w| w.with_key(&api_key(&key_prefix()))),
        Reason::KeyMalformed => By(|w| w.with_key("rubbish")),
        Reason::KeyDisabled => By(|w| w.with_key(&w.off)),
        Reason::KeyExpired => By(|w| w.with_key(&w.late)),
        Reason::InsufficientScope => By(|w| w.gw.get("/admin/x").bearer(&w.alice()).send()),
        Reason::RoleDenied => By(|w| w.gw.get("/role/x").bearer(&w.alice()).send()),
        Reason::PlanDenied => By(|w| w.gw.get("/plan/x").bearer(&w.alice()).send()),
        Reason::AttributeDenied => By(|w| w.gw.get("/attribute/x").bearer(&w.alice()).send()),
        Reason::IpDenied => By(|w| w.gw.get("/near/x").bearer(&w.alice()).send()),
        Reason::RateLimited => By(|w| {
            let call = w.gw.get("/limited/x").bearer(&w.alice());
            (0..3).for_each(|_| drop(call.send().ok()));
            call.send()
        }),
        Reason::KeysUnavailable => By(|w| w.gw.get("/me/x").bearer(&w.far.token().sign()).send()),
        Reason::UpstreamUnavailable => By(|w| w.gw.get("/dead/x").send()),
        Reason::UpstreamTimeout => By(|w| {
            w.upstream.respond(Respond::Hold);
            let reply = w.gw.get("/hasty/x").send();
            w.upstream.release();
            reply
        }),
        Reason::NotFound | Reason::Unavailable => Never("a parent of others"),
        // A fault of the program; more requests at once than a machine has sockets.
        Reason::Internal => Beside("proxy::guard, proxy::answer"),
        Reason::Overloaded => Beside("gate::verify::stored"),
        Reason::SyntaxError => By(|w| w.grant("/login", "{")),
        Reason::ValidationFailed => By(|w| w.grant("/login", "{}")),
        Reason::UnsupportedMediaType => {
            By(|w| w.grant_call("/login").header("Content-Encoding", "gzip").body("x").send())
        }
        Reason::InvalidCredentials => By(|w| w.login("nobody@api.test")),
        // Only the standard's endpoints give it, in the standard's own words.
        Reason::InvalidClient => Beside("realms::own_api"),
        Reason::LockedOut => By(|w| {
            (0..5).for_each(|_| drop(w.login("guessed@api.test")));
            w.login("guessed@api.test")
        }),
        Reason::RefreshInvalid => By(|w| w.refresh("rubbish")),
        Reason::RefreshExpired => By(|w| {
            let (_, token) = w.signed_in();
            w.later(7201, || w.refresh(&token))
        }),
        Reason::RefreshReused => By(|w| {
            let (_, token) = w.signed_in();
            w.refresh(&token).is(200);
            w.later(60, || w.refresh(&token))
        }),
        Reason::TokenRevoked => By(|w| {
            let (token, _) = w.signed_in();
            w.grant_call("/logout").bearer(&token).send().is(200);
            w.gw.get("/me").host("tokens.test").bearer(&token).send()
        }),
        Reason::KeyRevoked => By(|w| {
            let admin = w.gw.admin();
            let key = admin.key(&admin.owner("ended", &json!({})), &json!({}));
            admin.order(format!("/keys/{}/revoke", key.id)).is(200);
            w.with_key(&key.secret)
        }),
        Reason::SubjectNotFound => By(|w| w.ask_for("404 Not Found", "{}")),
        Reason::SubjectInactive => By(|w| w.ask_for("200 OK", "{\"status\":\"BANNED\"}")),
        // A token that no session stands behind has none to end.
        Reason::Forbidden => By(|w| {
            let call = |path: &str| w.gw.call("POST", path).host("stateless.test");
            let body = json!({ "email": "ann@api.test", "password": PASSWORD }).to_string();
            let made = call("/login").header("Content-Type", "application/json").body(&body).send().is(200).json();
            call("/logout").bearer(made["access_token"].as_str().expect("a token")).send()
        }),
        Reason::StoreUnavailable => By(|w| {
            let (here, away) = (w.gw.directory().join("portcullis.db"), w.gw.directory().join("away"));
            fs::rename(&here, &away).expect("renamed");
            let reply = w.with_key(&api_key(&key_prefix()));
            fs::rename(&away, &here).expect("renamed");
            reply
        }),
        Reason::DirectoryUnavailable => By(|w| w.ask_for("500 Internal Server Error", "{}")),
    }
}

/// A realm that issues tokens, in the built-in dialect.
const TOKENS: &str = r#"
realm = "tokens"
hosts = ["tokens.test"]
upstream = "http://{upstream}"

[directory]
type = "local"
identifier = "email"

[tokens.access]
ttl = "1h"

[tokens.refresh]
ttl = "2h"

[tokens.pass]
format = "opaque"
ttl = "5m"

[[api_keys]]
prefix = "tok_"

[subjects.friend]
url = "http://{upstream}/friends/{id}"
require = { status = "ACTIVE" }

[[grants]]
type = "password"
path = "/login"

[[grants]]
type = "refresh_token"
path = "/refresh"

[[grants]]
type = "logout"
path = "/logout"
revokes = "session"

[[grants]]
type = "delegate"
path = "/passes/{id}"
subject = "friend"
token = "pass"
response = "pass"

[[grants]]
type = "logout"
path = "/leave"
auth = ["opaque"]
token = "pass"
revokes = "session"

[responses.pass]
pass = "$token.pass"

[[routes]]
path = "/me"
auth = ["jwt"]
"#;

/// The same, with tokens whose claims alone decide.
fn stateless() -> String {
    TOKENS
        .replace("tokens.test", "stateless.test")
        .replace("realm = \"tokens\"", "realm = \"stateless\"")
        .replace("[tokens.access]\n", "[tokens.access]\nrevocable = false\n")
}

const PASSWORD: &str = "correct horse battery staple";

struct World {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
    far: Signer,
    late: String,
    off: String,
    /// An API key of the realm that issues tokens.
    issuing: String,
}

impl World {
    fn start() -> Self {
        let (upstream, standard, nobody) = (Upstream::start(), Standard::new(), nobody_listens());
        let (late, off) = (api_key(&key_prefix()), api_key(&key_prefix()));
        let far = Signer::new("https://far.test", Key::rsa2048()).kid("k1");
        let second = Key::ed25519();
        let rules = format!(
            r#"
[clients.other]
keys = [
    {{ id = "k-late", sha256 = "{}", expires = 2001-01-01T00:00:00Z }},
    {{ id = "k-off", sha256 = "{}", disabled = true }},
]

[[issuers]]
name = "far"
issuer = "{}"
audience = ["api"]
algorithms = ["RS256"]
keys = {{ jwks_url = "https://{nobody}/jwks" }}

[[issuers]]
name = "second"
issuer = "https://second.test"
audience = ["api"]
algorithms = ["EdDSA"]
keys = {{ public_key = {{ file = "second.pem" }} }}

[[routes]]
path = "/small/**"
auth = ["public"]
max_body = "10B"

[[routes]]
path = "/second/**"
auth = ["jwt"]
issuers = ["second"]

[[routes]]
path = "/role/**"
auth = ["jwt"]
roles = ["root"]

[[routes]]
path = "/plan/**"
auth = ["jwt"]
plan = ["Scale"]

[[routes]]
path = "/attribute/**"
auth = ["jwt"]
attributes = {{ region = "eu" }}

[[routes]]
path = "/dead/**"
auth = ["public"]
upstream = "http://{nobody}"

[[routes]]
path = "/hasty/**"
auth = ["public"]
timeouts = {{ read = "100ms" }}
"#,
            key_digest(&late),
            key_digest(&off),
            far.issuer,
        );
        let builder = Gateway::builder().server_toml("header_timeout = \"200ms\"").standard_with(&standard, &rules);
        let gw = builder.file("realms/second.pem", second.pem()).realm_toml(TOKENS);
        let gw = gw.realm_toml(&stateless()).upstream(&upstream).start();
        for realm in ["tokens", "stateless"] {
            let user = json!({ "realm": realm, "kind": "user", "identifier": "ann@api.test" });
            let user = gw.admin().post("/clients", &user).is(201).json();
            let path = format!("/clients/{}/password", user["id"].as_str().expect("an id"));
            gw.admin().post(path, &json!({ "password": PASSWORD })).is(200);
        }
        let issuing =
            gw.admin().key(&gw.admin().owner("team", &json!({ "realm": "tokens" })), &json!({ "realm": "tokens" }));
        Self { gw, upstream, standard, far, late, off, issuing: issuing.secret }
    }

    fn grant_call(&self, path: &str) -> Call {
        self.gw.call("POST", path).host("tokens.test")
    }

    fn grant(&self, path: &str, body: &str) -> Reply {
        self.grant_call(path).header("Content-Type", "application/json").body(body).send()
    }

    fn login(&self, email: &str) -> Reply {
        self.grant("/login", &json!({ "email": email, "password": PASSWORD }).to_string())
    }

    fn signed_in(&self) -> (String, String) {
        let body = self.login("ann@api.test").is(200).json();
        let text = |name: &str| body[name].as_str().expect("a token").to_owned();
        (text("access_token"), text("refresh_token"))
    }

    fn refresh(&self, token: &str) -> Reply {
        self.grant("/refresh", &json!({ "refresh_token": token }).to_string())
    }

    /// What comes of it so many seconds later; then it is now again.
    fn later(&self, secs: u64, act: impl FnOnce() -> Reply) -> Reply {
        self.gw.pass(Duration::from_secs(secs));
        let reply = act();
        self.gw.clock.set(NOW);
        reply
    }

    /// A token for somebody of whom the application says this.
    fn ask_for(&self, status: &str, body: &str) -> Reply {
        let length = body.len();
        let said = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.upstream.respond(Respond::Raw(said.into_bytes()));
        let reply = self.grant_call("/passes/7").bearer(&self.issuing).send();
        self.upstream.respond(Respond::Echo);
        reply
    }

    fn alice(&self) -> String {
        self.standard.alice().sign()
    }

    fn with_key(&self, key: &str) -> Reply {
        self.gw.get("/me/x").header("x-api-key", key).send()
    }
}

/// An address that refuses connections; no other test listens on this address.
fn nobody_listens() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::new(127, 99, 99, 99), 0)).expect("a port").local_addr().expect("an address")
}

#[test]
fn every_reason_that_can_be_given_is_given_to_a_real_request() {
    let world = World::start();
    for reason in Reason::ALL {
        let By(provoke) = shown(*reason) else { continue };
        let reply = provoke(&world).denied(reason.as_str());
        assert_eq!(world.gw.line_of(&reply)["reason"], reason.as_str(), "{reply:?}");
    }
}

#[test]
fn a_reason_that_no_request_shows_is_a_parent_or_shown_elsewhere() {
    let mut never = BTreeSet::new();
    for reason in Reason::ALL {
        match shown(*reason) {
            By(_) => {}
            Beside(place) => assert!(!place.is_empty()),
            Never(why) => {
                assert!(!why.is_empty());
                never.insert(format!("Reason::{reason:?}"));
            }
        }
    }
    for path in sources(Path::new("src")) {
        // These tables name them all.
        if path.ends_with("gate/outcome.rs")
            || path.ends_with("gate/dialect/standard.rs")
            || path.to_string_lossy().contains("tests")
        {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in &never {
            let mut found = code.match_indices(name.as_str()).map(|(at, _)| &code[at + name.len()..]);
            let given = found.any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
            assert!(!given, "{} gives {name}: show it in `shown`", path.display());
        }
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn every_reason_and_cause_is_documented() {
    let page = fs::read_to_string("docs/errors.md").expect("docs/errors.md: run `make docs`");
    let row = |name: &str| page.lines().any(|line| line.starts_with(&format!("| `{name}` |")));
    for name in Reason::ALL.iter().map(|r| r.as_str()).chain(Why::ALL.iter().map(|w| w.as_str())) {
        assert!(row(name), "{name} is not in docs/errors.md: run `make docs`");
    }
    for reason in Reason::ALL {
        let status = reason.public().status.to_string();
        let line = page.lines().find(|line| line.starts_with(&format!("| `{reason}` |"))).expect("its row");
        assert!(line.split(" | ").any(|cell| cell == status), "{line}");
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let page = fs::read_to_string("docs/configuration.md").expect("docs/configuration.md: run `make docs`");
    let mut documented = BTreeSet::new();
    for line in page.lines() {
        let row = line.strip_prefix("| `").or_else(|| line.strip_prefix("### `"));
        let name = row.and_then(|row| row.split('`').next()).unwrap_or_default();
        documented.extend(name.split('.').map(|step| step.trim_matches(['[', ']']).to_owned()));
    }
    let mut keys = BTreeSet::new();
    properties(&portcullis::config::schema(), &mut keys);
    assert!(keys.len() > 80, "{keys:?}");
    let missing: Vec<_> = keys.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:?} are not in docs/configuration.md: run `make docs`");
}

/// The names of all properties of a JSON Schema, at any depth.
pub(crate) fn properties(schema: &Value, known: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                known.extend(properties.keys().cloned());
            }
            members.values().for_each(|value| properties(value, known));
        }
        Value::Array(values) => values.iter().for_each(|value| properties(value, known)),
        _ => {}
    }
}
