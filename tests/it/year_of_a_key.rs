//! A year in the life of a key, with the real command line and a real gateway: made, used, widened, rotated, found stale
//! beside others, revoked, explained. Told twice: on the store of the machine, and through the admin API.

use std::collections::HashMap;

use serde_json::Value;

use super::support::administrator::ALL_SCOPES;
use super::support::caller::Reply;
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::process::{Ended, Run, Served};
use super::support::upstream::Upstream;

const REALM: &str = r#"
realm = "shop"
hosts = ["api.test"]
upstream = "http://{upstream}"

[[api_keys]]
prefix = "shop_"

[scopes]
"orders:read" = "See orders"
"orders:write" = "Change orders"

[roles]
partner = ["orders:*"]

[[routes]]
path = "/orders/**"
auth = ["api_key"]
scopes = ["orders:{access}"]
"#;

/// The gateway, and where its administration is done.
struct House {
    served: Served,
    env: HashMap<String, String>,
    /// Through the admin API instead of on the store.
    remote: bool,
    /// What the access log said before a restart.
    log: String,
    _upstream: Upstream,
}

impl House {
    fn new(remote: bool) -> Self {
        let upstream = Upstream::start();
        let builder = Gateway::builder().upstream(&upstream).realm_toml(REALM);
        let env = HashMap::from([("USER".to_owned(), "anna".to_owned())]);
        let mut house = Self { served: builder.serve(), env, remote, log: String::new(), _upstream: upstream };
        let scopes = ALL_SCOPES.iter().flat_map(|scope| ["--scope", scope]);
        let words = ["admin-token", "create", "year", "--output", "secret"].into_iter().chain(scopes);
        let token = house.on_the_machine(words).out.trim().to_owned();
        house.env.insert("PORTCULLIS_ADMIN_TOKEN".to_owned(), token);
        house
    }

    fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(words).config(self.served.directory()).envs(&self.env)
    }

    #[track_caller]
    fn on_the_machine<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Ended {
        let ended = self.command(words).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }

    fn admin(&self) -> String {
        format!("http://{}", self.served.admin)
    }

    /// Runs a command where administration is done; it succeeds.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Ended {
        let admin = self.admin();
        let via: &[&str] = if self.remote { &["--admin", &admin] } else { &[] };
        self.on_the_machine(words.iter().chain(via).copied())
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let ended = self.run(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error} in {}", ended.out))
    }

    /// The text of a new key, which stands alone on standard output.
    #[track_caller]
    fn secret(&self, words: &[&str]) -> String {
        let out = self.run(&[words, &["--output", "secret"]].concat()).out;
        assert_eq!(out.lines().count(), 1, "{out}");
        out.trim().to_owned()
    }

    /// The names in a list of keys.
    #[track_caller]
    fn names(&self, words: &[&str]) -> Vec<String> {
        let list = self.json(&[&["key", "list"], words].concat());
        list["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|key| key["name"].as_str().unwrap_or("").to_owned())
            .collect()
    }

    fn call(&self, method: &str, key: &str, from: &str) -> Reply {
        self.served.caller().from(from).call(method, "/orders/7").header("X-API-Key", key).send()
    }

    /// Waits until the gateway answers so: other processes' changes reach it soon, its own at once.
    #[track_caller]
    fn becomes(&self, status: u16, method: &str, key: &str, from: &str) -> Reply {
        if self.remote {
            return self.call(method, key, from).is(status);
        }
        eventually(&format!("{method} from {from} is {status}"), || {
            Some(self.call(method, key, from)).filter(|reply| reply.status == status)
        })
    }

    /// The machine gets an update: the gateway ends in order, and starts again.
    fn restart(&mut self) {
        self.served.process.signal("TERM");
        assert_eq!(self.served.process.wait(), 0);
        self.log += &self.served.process.out.text();
        self.served.start_again(&self.env.clone());
    }
}

/// The ages of a key, one after the other.
fn live(remote: bool) {
    let mut house = House::new(remote);
    let client =
        house.json(&["client", "create", "team_42", "--kind", "owner", "--role", "partner", "--plan", "Growth"]);
    let owner = client["id"].as_str().expect("an id").to_owned();
    let made = ["--owner", "team_42", "--scope", "orders:read"];
    let key = house.secret(&[&["key", "create", "--name", "CRM sync", "--ip", "127.0.0.2"], &made[..]].concat());
    let forgotten = house.json(&[&["key", "create", "--name", "forgotten"], &made[..]].concat());
    house.secret(&[&["key", "create", "--name", "trial", "--expires", "7d"], &made[..]].concat());
    let id = house.json(&["key", "list", "--hint", &key[key.len() - 4..]])["data"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();

    // From its address, and no other; to read, and no more.
    house.call("GET", &key, "127.0.0.2").ok();
    house.call("GET", &key, "127.0.0.3").denied("ip_denied");
    house.call("POST", &key, "127.0.0.2").denied("insufficient_scope");
    house.run(&["key", "update", &id, "--scope", "orders:read", "--scope", "orders:write"]);
    house.becomes(200, "POST", &key, "127.0.0.2");
    house.run(&["ip", "add", "127.0.0.3", "--key", &id, "--note", "the second machine"]);
    house.becomes(200, "GET", &key, "127.0.0.3");

    // A new text; the old one goes on, and is seen to.
    let second = house.secret(&["key", "rotate", &id, "--overlap", "24h"]);
    let rotated = house.json(&["key", "show", &id]);
    assert_eq!(rotated["overlap"]["hint"], key[key.len() - 4..], "{rotated}");
    for _ in 0..2 {
        house.becomes(200, "POST", &second, "127.0.0.2");
        house.becomes(200, "POST", &key, "127.0.0.3");
        house.restart(); // what was used is written down, and what was rotated is known
    }
    let shown = house.json(&["key", "show", &id]);
    let time = |at: &Value| at.as_str().unwrap_or_else(|| panic!("no time in {shown}")).to_owned();
    assert!(
        time(&shown["overlap"]["last_used_at"]) >= time(&rotated["updated_at"]),
        "used after the rotation: {shown}"
    );
    assert_eq!((&shown["last_used_ip"], &shown["use_count"]), (&"127.0.0.3".into(), &7.into()), "{shown}");
    let told = house.run(&["key", "show", &id]).out;
    assert!(told.contains("overlap") && told.contains("last used at: "), "{told}");
    let table = house.run(&["key", "list", "--owner", "team_42"]).out;
    let line = table.lines().find(|line| line.contains("CRM sync")).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains("active, old text ends in 24 h, used "), "{line}");

    // Another one: the oldest text ends at once, the one before soon.
    let third = house.secret(&["key", "rotate", &id, "--overlap", "1s", "--yes"]);
    house.becomes(200, "POST", &third, "127.0.0.2");
    house.call("GET", &key, "127.0.0.2").denied("key_expired");
    eventually("the overlap ends", || (house.call("GET", &second, "127.0.0.2").status == 401).then_some(()));
    house.call("GET", &second, "127.0.0.2").denied("key_expired");
    house.call("GET", &third, "127.0.0.2").ok();
    assert_eq!(house.json(&["key", "show", &id])["overlap"], Value::Null);

    // Who would be missed, and who has to be told?
    let used = time(&shown["last_used_at"]);
    assert_eq!(house.names(&["--unused-since", &used]), ["forgotten", "trial"]);
    assert_eq!(house.names(&["--expiring-before", "14d"]), ["trial"]);
    let forgotten = forgotten["id"].as_str().expect("an id");
    house.run(&["key", "disable", forgotten]);
    assert_eq!(house.names(&["--status", "disabled"]), ["forgotten"]);

    // The end, and why.
    house.run(&["key", "revoke", &id, "--reason", "contract ended", "--yes"]);
    house.becomes(401, "GET", &third, "127.0.0.2");
    let refused = house.call("GET", &third, "127.0.0.2").denied("key_revoked");
    let line = house.served.process.out.line_for(refused.request_id());
    assert_eq!((&line["reason"], &line["credential_id"]), (&"key_revoked".into(), &id.as_str().into()), "{line}");
    explained(&house, &refused, &id);
    remembered(&house, &id, &owner);

    let everything = [house.log.clone(), house.served.process.out.text(), house.served.process.err.text()].concat();
    for text in [&key, &second, &third] {
        assert!(!everything.contains(&text["shop_".len()..]), "no log has a key");
    }
}

/// Why the last call was refused: the gateway remembers, and so does its log.
fn explained(house: &House, refused: &Reply, id: &str) {
    let log = house.served.directory().join("access.log");
    std::fs::write(&log, house.log.clone() + &house.served.process.out.text()).expect("written");
    let (admin, log) = (house.admin(), log.to_str().expect("UTF-8"));
    for from in [["--admin", admin.as_str()], ["--log", log]] {
        let told = house.command(["explain", "--request-id", refused.request_id(), from[0], from[1]]).end();
        assert_eq!(told.code, 1, "{told:?}");
        for part in
            ["GET /orders/7 from 127.0.0.2", "401 key_revoked", id, "is revoked since", "because: contract ended"]
        {
            assert!(told.out.contains(part), "{part:?} is not in {}", told.out);
        }
    }
}

/// All of it stands in the audit trail, in its order, and who did it.
fn remembered(house: &House, id: &str, owner: &str) {
    let trail = house.json(&["audit", "list", "--all"]);
    let mut events = trail["data"].as_array().expect("a list").clone();
    events.reverse(); // it begins with the newest
    let actions: Vec<_> = events.iter().filter_map(|event| event["action"].as_str()).collect();
    let expected = [
        "admin_token.created",
        "client.created",
        "key.created",
        "key.created",
        "key.created",
        "key.updated",
        "ip.added",
        "key.rotated",
        "key.rotated",
        "key.disabled",
        "key.revoked",
    ];
    assert_eq!(actions, expected, "{trail:#}");
    let of = |action: &str| events.iter().find(|event| event["action"] == action).expect("an event");
    assert_eq!(of("client.created")["target"]["id"], owner);
    assert_eq!(of("key.updated")["detail"]["scopes"]["new"][1], "orders:write", "{}", of("key.updated"));
    assert_eq!(of("key.revoked")["reason"], "contract ended");
    for event in &events[1..] {
        let actor = &event["actor"];
        let (kind, ip) = if house.remote { ("admin_token", "127.0.0.1".into()) } else { ("cli", Value::Null) };
        assert!(actor["kind"] == kind && actor["ip"] == ip, "{event}");
    }
    let of_key = house.json(&["audit", "list", "--target", id]);
    assert_eq!(of_key["data"].as_array().map(Vec::len), Some(6), "{of_key:#}");
    let verified = house.run(&["audit", "verify"]).out;
    assert!(verified.contains(&format!("is whole: {} events in ", events.len())), "{verified}");
}

#[test]
fn a_key_has_its_year_on_the_store_of_the_machine() {
    live(false);
}

#[test]
fn a_key_has_its_year_through_the_admin_api() {
    live(true);
}
