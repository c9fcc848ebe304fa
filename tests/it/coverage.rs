//! Nothing is forgotten: every reason that can be given is provoked over a real socket, every reason, cause and key is
//! in the documents.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use portcullis::gate::outcome::{Reason, Why};
use serde_json::{Value, json};

use super::support::caller::Reply;
use super::support::gateway::Gateway;
use super::support::keys::Key;
use super::support::realms::{Standard, api_key, key_digest, key_prefix};
use super::support::token::Signer;
use super::support::upstream::{Respond, Upstream};

/// How it is shown that a reason is given.
enum Shown {
    /// By this request.
    By(fn(&World) -> Reply),
    /// Not yet: what gives it comes with this.
    Later(&'static str),
    /// By no request; why not.
    Never(&'static str),
    /// By the tests of this module: what it takes cannot be had over sockets.
    Beside(&'static str),
}

use Shown::{Beside, By, Later, Never};

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
        Reason::NotFound | Reason::Forbidden | Reason::Unavailable => Never("a parent of others"),
        // A fault of the program; more requests at once than a machine has sockets.
        Reason::Internal => Beside("proxy::guard, proxy::answer"),
        Reason::Overloaded => Beside("gate::verify::stored"),
        Reason::SyntaxError | Reason::ValidationFailed | Reason::UnsupportedMediaType => Later("grants"),
        Reason::InvalidCredentials | Reason::InvalidClient | Reason::LockedOut => Later("grants"),
        Reason::RefreshInvalid | Reason::RefreshExpired | Reason::RefreshReused => Later("grants"),
        Reason::TokenRevoked => Later("sessions"),
        Reason::KeyRevoked => By(|w| {
            let admin = w.gw.admin();
            let key = admin.key(&admin.owner("ended", &json!({})), &json!({}));
            admin.order(format!("/keys/{}/revoke", key.id)).is(200);
            w.with_key(&key.secret)
        }),
        Reason::SubjectNotFound | Reason::SubjectInactive => Later("subjects"),
        Reason::StoreUnavailable => By(|w| {
            let (here, away) = (w.gw.directory().join("portcullis.db"), w.gw.directory().join("away"));
            fs::rename(&here, &away).expect("renamed");
            let reply = w.with_key(&api_key(&key_prefix()));
            fs::rename(&away, &here).expect("renamed");
            reply
        }),
        Reason::DirectoryUnavailable => Later("directory"),
    }
}

struct World {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
    far: Signer,
    late: String,
    off: String,
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
        let gw = builder.file("realms/second.pem", second.pem()).upstream(&upstream).start();
        Self { gw, upstream, standard, far, late, off }
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
fn a_reason_that_is_said_to_come_later_is_given_by_nothing_today() {
    let mut later = BTreeSet::new();
    for reason in Reason::ALL {
        match shown(*reason) {
            By(_) => {}
            Beside(place) => assert!(!place.is_empty()),
            Later(why) | Never(why) => {
                assert!(!why.is_empty());
                later.insert(format!("Reason::{reason:?}"));
            }
        }
    }
    for path in sources(Path::new("src")) {
        // The table itself names them all.
        if path.ends_with("gate/outcome.rs") || path.to_string_lossy().contains("tests") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in &later {
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
