//! Administration with the real binary: on the store of this machine, and through the admin API of a running gateway.
//! What the words become is tested beside them; here is what becomes of the store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::support::gateway::Gateway;
use super::support::process::{Ended, Run, Served};
use super::support::upstream::Upstream;

const REALM: &str = r#"
realm = "shop"
hosts = ["shop.test"]
scopes = { "orders:read" = "See orders", "orders:write" = "Change orders" }

[[api_keys]]
prefix = "sk_live_"

[upstreams.app]
servers = ["{upstream}"]

[roles]
partner = ["orders:*"]

[clients.declared]
keys = [{ id = "first", sha256 = "{digest}" }]

[[routes]]
path = "/orders/**"
auth = ["api_key"]
scopes = ["orders:read"]
upstream = "app"
"#;

const SHADOW: &str = r#"
realm = "shadow"
hosts = ["shadow.test"]
upstream = "http://127.0.0.1:9"
enforce = false

[[api_keys]]
prefix = "sk_shadow_"

[[routes]]
path = "/closed"
auth = ["api_key"]

[[routes]]
path = "/open"
auth = ["public"]
"#;

/// A configuration whose store does not exist yet, and who administers it.
struct House {
    directory: TempDir,
    state: TempDir,
    _upstream: Upstream,
    env: HashMap<String, String>,
}

impl House {
    fn new() -> Self {
        let upstream = Upstream::start();
        let realm = REALM.replace("{digest}", &"ab".repeat(32));
        let directory = Gateway::builder().realm_toml(&realm).upstream(&upstream).write();
        let state = TempDir::new().expect("a directory");
        let place = state.path().to_str().expect("UTF-8").to_owned();
        let env = HashMap::from([("USER".to_owned(), "anna".to_owned()), ("STATE_DIRECTORY".to_owned(), place)]);
        Self { directory, state, _upstream: upstream, env }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(words).config(self.path()).envs(&self.env)
    }

    /// Runs words that shall succeed.
    #[track_caller]
    fn done(&self, words: &[&str]) -> Ended {
        let ended = self.command(words.iter().copied()).end();
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        ended
    }

    /// The JSON of words that shall succeed.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let ended = self.done(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error} in {}", ended.out))
    }

    /// The secret of words that make one.
    #[track_caller]
    fn secret(&self, words: &[&str]) -> String {
        let ended = self.done(&[words, &["--output", "secret"]].concat());
        assert_eq!(ended.out.lines().count(), 1, "{ended:?}");
        assert!(!ended.err.contains(ended.out.trim()), "{ended:?}");
        ended.out.trim().to_owned()
    }

    /// What is said of words that shall fail with this exit code.
    #[track_caller]
    fn fails(&self, code: i32, words: &[&str]) -> String {
        let ended = self.command(words.iter().copied()).end();
        assert_eq!(ended.code, code, "{words:?}: {ended:?}");
        ended.err
    }

    fn verify(&self, key: &str) -> Ended {
        self.command(["key", "verify", "--realm", "shop"]).input(key).end()
    }
}

/// The life of a key, told by the same words wherever they are done.
fn live_a_life(house: &House, via: &[&str]) {
    let with =
        |words: &[&'static str]| -> Vec<String> { words.iter().chain(via).map(|word| (*word).to_owned()).collect() };
    let done = |words: &[&'static str]| house.done(&with(words).iter().map(String::as_str).collect::<Vec<_>>());
    let json = |words: &[&'static str]| house.json(&with(words).iter().map(String::as_str).collect::<Vec<_>>());
    let secret = |words: &[&'static str]| house.secret(&with(words).iter().map(String::as_str).collect::<Vec<_>>());
    let fails =
        |code, words: &[&'static str]| house.fails(code, &with(words).iter().map(String::as_str).collect::<Vec<_>>());

    let client =
        json(&["client", "create", "team_42", "--kind", "owner", "--role", "partner", "--attribute", "seats:=12"]);
    assert_eq!((&client["realm"], &client["attributes"]["seats"]), (&"shop".into(), &12.into()));
    let taken = fails(1, &["client", "create", "TEAM_42"]);
    assert!(taken.contains("TEAM_42") && taken.contains(client["id"].as_str().expect("an id")), "{taken}");
    let wrong = fails(1, &["client", "create", "x", "--role", "partnr", "--scope", "orders:raed"]);
    assert!(wrong.contains("roles[0]: ") && wrong.contains("scopes[0]: "), "{wrong}");

    let key = secret(&["key", "create", "--owner", "team_42", "--name", "CRM", "--scope", "orders:read"]);
    assert!(key.starts_with("sk_live_"));
    assert_eq!(house.verify(&key).code, 0);
    let listed = json(&["key", "list", "--owner", "team_42"]);
    let id = listed["data"][0]["id"].as_str().expect("an id").to_owned();
    assert!(!listed.to_string().contains(&key));
    let table = done(&["key", "list"]).out;
    assert!(table.starts_with("ID "), "{table}");
    assert!(table.contains(&format!("sk_live_…{}", &key[key.len() - 4..])), "{table}");
    assert!(table.contains("in 90 d") && table.contains("realms/realm0.toml:"), "{table}");

    let words = |words: &[&str]| [words, via].concat().iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let run = |given: &[&str]| {
        let given = words(given);
        house.command(given.iter().map(String::as_str)).end()
    };
    let updated = run(&["key", "update", &id, "--scope", "orders:*", "--json"]);
    assert_eq!(updated.code, 0, "{updated:?}");

    let declined = run(&["key", "rotate", &id, "--overlap", "0"]);
    assert_eq!(declined.code, 2, "{declined:?}");
    assert!(declined.err.contains("ends the present text") && declined.err.contains("--yes"), "{declined:?}");
    let rotated = run(&["key", "rotate", &id, "--overlap", "24h", "--output", "secret"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    assert!(rotated.err.contains("The old text works until"), "{rotated:?}");
    let new = rotated.out.trim();
    assert_eq!((house.verify(&key).code, house.verify(new).code), (0, 0));
    assert!(done(&["key", "list"]).out.contains("old text ends in 24 h"));
    let declined = run(&["key", "rotate", &id]);
    assert_eq!(declined.code, 2, "{declined:?}");
    let older = format!("the older text of {id} (…{}) ends at once", &key[key.len() - 4..]);
    assert!(declined.err.contains(&older), "{declined:?}");

    let loose = run(&["ip", "add", "203.0.113.7/24", "--key", &id]);
    assert_eq!(loose.code, 1);
    assert!(loose.err.contains("203.0.113.0/24"), "{loose:?}");
    assert_eq!(run(&["ip", "add", "203.0.113.0/24", "--key", &id, "--note", "Lisbon"]).code, 0);
    assert_eq!(run(&["ip", "test", "203.0.113.9", "--key", &id]).code, 0);
    assert_eq!(run(&["ip", "test", "198.51.100.1", "--key", &id]).code, 1);
    assert!(run(&["ip", "list", "--key", &id]).out.contains("Lisbon"));
    let last = run(&["ip", "remove", "203.0.113.0/24", "--key", &id]);
    assert_eq!(last.code, 2);
    assert!(last.err.contains("every address may use this key"), "{last:?}");
    assert!(run(&["ip", "list", "--key", &id]).out.contains("203.0.113.0/24"), "it is still there");
    assert_eq!(run(&["ip", "remove", "203.0.113.0/24", "--key", &id, "--yes"]).code, 0);

    let refused = run(&["client", "disable", "team_42"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("ends 1 key, 0 used in the last hour"), "{refused:?}");
    assert_eq!(house.verify(new).code, 0);
    assert_eq!(run(&["client", "disable", "team_42", "--yes"]).code, 0);
    assert_eq!(house.verify(new).code, 1);
    done(&["client", "enable", "team_42"]);
    assert_eq!(run(&["key", "revoke", &id, "--reason", "leaked", "--yes"]).code, 0);
    let dead = house.verify(new);
    assert_eq!(dead.code, 1);
    assert!(dead.out.contains("REVOKED") && dead.out.contains(&id), "{dead:?}");

    let read_only = run(&["key", "revoke", "cfg:declared/first", "--yes"]);
    assert_eq!(read_only.code, 1);
    assert!(read_only.err.contains("realms/realm0.toml:"), "{read_only:?}");

    let trail = json(&["audit", "list", "--all"]);
    let actions: Vec<_> = trail["data"].as_array().expect("a list").iter().map(|e| e["action"].as_str()).collect();
    for action in ["client.created", "key.created", "key.updated", "key.rotated", "key.revoked", "client.disabled"] {
        assert!(actions.contains(&Some(action)), "{action} is not in {actions:?}");
    }
    assert!(!trail.to_string().contains(&key) && !trail.to_string().contains(new));
    assert!(done(&["audit", "verify"]).out.contains("is whole"));
    assert!(done(&["scope", "list"]).out.contains("See orders"));
    assert!(done(&["role", "list"]).out.contains("partner"));
    assert_eq!(run(&["client", "delete", "team_42", "--yes"]).code, 0);
    assert_eq!(run(&["client", "show", "team_42"]).code, 1);
}

#[test]
fn a_key_lives_and_ends_on_the_store_of_a_machine_without_a_gateway() {
    let house = House::new();
    let missing = house.fails(2, &["key", "list"]);
    assert!(missing.contains("store migrate"), "{missing}");
    live_a_life(&house, &[]);
    let trail = house.json(&["audit", "list", "--action", "key."]);
    assert!(trail["data"][0]["actor"]["id"].as_str().is_some_and(|id| id.ends_with("(anna)")));
}

#[test]
fn a_key_lives_and_ends_through_the_admin_api_in_the_same_words() {
    let mut house = House::new();
    let token = house.secret(&[
        "admin-token",
        "create",
        "tests",
        "--scope",
        "admin:read",
        "--scope",
        "admin:clients",
        "--scope",
        "admin:keys",
    ]);
    let (served, url) = house.serve();
    let file = house.file("token.txt", &format!("{token}\n"));
    live_a_life(&house, &["--admin", &url, "--token-file", file.to_str().expect("UTF-8")]);

    house.env.insert("PORTCULLIS_ADMIN_TOKEN".to_owned(), token);
    house.done(&["client", "list", "--admin", &url]);
    house.env.insert("PORTCULLIS_ADMIN_TOKEN".to_owned(), "pca_nonsense".to_owned());
    assert!(house.fails(1, &["client", "list", "--admin", &url]).contains("token"));
    house.env.remove("PORTCULLIS_ADMIN_TOKEN");
    assert!(house.fails(2, &["client", "list", "--admin", &url]).contains("--token-file"));
    assert!(house.fails(2, &["client", "list", "--admin", "http://192.0.2.1:9901"]).contains("https"));
    house.done(&["admin-token", "revoke", "tests", "--yes"]);
    let path = file.to_str().expect("UTF-8");
    super::support::eventually("the token is dead", || {
        let words = ["client", "list", "--admin", &url, "--token-file", path];
        (house.command(words).end().code == 1).then_some(())
    });
    drop(served);
}

impl House {
    /// Starts a gateway on a copy of the configuration with the same store; returns the URL of its admin API.
    fn serve(&self) -> (Served, String) {
        let copy = TempDir::new().expect("a directory");
        std::fs::create_dir(copy.path().join("realms")).expect("made");
        let realms = std::fs::read_dir(self.path().join("realms")).expect("realms");
        let realms = realms.map(|realm| Path::new("realms").join(realm.expect("an entry").file_name()));
        for name in realms.chain([PathBuf::from("portcullis.toml")]) {
            std::fs::copy(self.path().join(&name), copy.path().join(&name)).expect("copied");
        }
        let served = Served::start(copy, &self.env);
        let url = format!("http://{}", served.admin);
        (served, url)
    }
}

#[test]
fn keys_from_elsewhere_are_taken_over_whole_batches_at_a_time_and_known_ones_are_left() {
    let house = House::new();
    house.done(&["client", "create", "legacy", "--kind", "owner"]);
    let digests: Vec<_> = (0..2500).map(|n| digest(&format!("old-{n}"))).collect();
    let file = house.file("digests.txt", &(digests.join("\r\n") + "\n\n"));
    let path = file.to_str().expect("UTF-8");
    let import = ["key", "import", path, "--owner", "legacy"];
    assert!(house.done(&import).out.starts_with("2,500 keys added, 0 known already"), "{path}");
    let again = house.json(&import);
    assert_eq!((&again["added"], &again["known"]), (&0.into(), &2500.into()));

    // One batch is good, the next has two faults: that batch leaves nothing.
    let mut lines: Vec<_> = (0..1800).map(|n| digest(&format!("new-{n}"))).collect();
    lines[1203] = "not a digest".to_owned();
    lines[1500] = "ab".to_owned();
    house.file("digests.txt", &lines.join("\n"));
    let stopped = house.command(import).end();
    assert_eq!(stopped.code, 1, "{stopped:?}");
    for part in [
        "line 1204: sha256 ",
        "line 1501: sha256 ",
        "Nothing of the lines 1001 to 1800 was written.",
        "1,000 keys added",
        "run it again",
    ] {
        assert!(stopped.err.contains(part), "{part:?} is not in {}", stopped.err);
    }
    assert!(!stopped.err.contains("not a digest"), "what may be a key is not repeated: {}", stopped.err);
    lines[1203] = digest("new-1203");
    lines[1500] = digest("new-1500");
    house.file("digests.txt", &lines.join("\n"));
    let rest = house.json(&import);
    assert_eq!((&rest["added"], &rest["known"], &rest["lines"]), (&800.into(), &1000.into(), &1800.into()));
    assert!(house.done(&["audit", "verify"]).out.contains("is whole"));
}

#[test]
fn keys_in_the_clear_and_rows_with_their_owners_come_through_a_pipe() {
    let house = House::new();
    house.done(&["client", "create", "a"]);
    house.done(&["client", "create", "b"]);
    let key = house.secret(&["key", "create", "--owner", "a", "--name", "model"]);
    let other = Run::new(["key", "generate", "--prefix", "sk_live_", "--json"]).end();
    let other: Value = serde_json::from_str(&other.out).expect("JSON");
    let text = other["key"].as_str().expect("a key");
    let plain = ["key", "import", "-", "--owner", "a", "--format", "plain", "--prefix", "sk_live_"];
    let taken = house.command(plain).input(format!("{key}\n{text}\n")).end();
    assert_eq!(taken.code, 0, "{taken:?}");
    assert!(taken.out.starts_with("1 key added, 1 known already"), "{taken:?}");
    assert_eq!(house.verify(text).code, 0);

    let row =
        |owner: &str, n: u32| format!(r#"{{"sha256":"{}","owner":"{owner}","name":"n{n}"}}"#, digest(&n.to_string()));
    let rows = [row("a", 1), "{".to_owned(), "[]".to_owned()].join("\n");
    let faulty = house.command(["key", "import", "-", "--format", "jsonl"]).input(rows).end();
    assert!(
        faulty.err.contains("line 2: is no JSON") && faulty.err.contains("line 3: is no JSON object"),
        "{faulty:?}"
    );
    let strange = [row("a", 1), row("nobody", 2)].join("\n");
    let faulty = house.command(["key", "import", "-", "--format", "jsonl"]).input(strange).end();
    assert!(faulty.err.contains("line 2: owner ") && faulty.code == 1, "{faulty:?}");
    let good = [row("a", 1), row("b", 2)].join("\n");
    let good = house.command(["key", "import", "-", "--format", "jsonl", "--json"]).input(good).end();
    assert_eq!(good.code, 0, "{good:?}");
    assert_eq!(house.json(&["key", "list", "--owner", "b"])["data"][0]["name"], "n2");

    let prefixed = house.command(["key", "import", "-", "--owner", "a", "--prefix", "x"]).end();
    assert_eq!(prefixed.code, 2, "{prefixed:?}");
    assert_eq!(house.command(["key", "import", "-"]).end().code, 2);
}

fn digest(text: &str) -> String {
    portcullis::secret::CredentialDigest::of(text.as_bytes()).to_hex()
}

#[test]
fn what_is_not_enforced_is_explained_so_here_and_from_the_gateway() {
    let mut house = House::new();
    house.file("realms/shadow.toml", SHADOW);
    let token = house.secret(&["admin-token", "create", "tests", "--scope", "admin:read"]);
    house.env.insert("PORTCULLIS_ADMIN_TOKEN".to_owned(), token);
    let (served, url) = house.serve();
    for (target, verdict, code) in [
        ("http://shadow.test/closed", "refused: 401 missing_credentials", 1),
        ("http://shadow.test/open", "allowed: goes to 127.0.0.1:9", 0),
    ] {
        let words = ["explain", "GET", target];
        for via in [&["--admin", url.as_str()][..], &[]] {
            let told = house.command(words.iter().chain(via).copied()).end();
            let lines: Vec<_> = told.out.lines().rev().take(2).collect();
            let expected = "not enforced (`enforce = false`): it goes on as it came, without identity headers";
            assert!(lines[0] == expected && lines[1].starts_with(verdict), "{told:?}");
            assert_eq!(told.code, code, "{told:?}");
        }
    }
    // What binds in any case is not said to go on.
    for (method, target, reason) in [
        ("GET", "http://shadow.test/a//b", "path_ambiguous"),
        ("TRACE", "http://shadow.test/closed", "method_not_allowed"),
        ("GET", "http://nobody.test/closed", "unknown_host"),
    ] {
        let told = house.command(["explain", method, target]).end();
        assert!(told.code == 1 && told.out.contains(reason) && !told.out.contains("not enforced"), "{told:?}");
        assert_eq!(served.get("/a//b").host("shadow.test").send().status, 400);
    }
}

#[test]
fn a_refused_request_is_explained_by_its_id_from_the_gateway_and_from_its_log() {
    let mut house = House::new();
    house.done(&["client", "create", "team_42", "--role", "partner"]);
    let key = house.secret(&["key", "create", "--owner", "team_42", "--name", "CRM"]);
    let token = house.secret(&["admin-token", "create", "tests", "--scope", "admin:read"]);
    house.env.insert("PORTCULLIS_ADMIN_TOKEN".to_owned(), token);
    let (served, url) = house.serve();
    let call = || served.get("/orders/7").host("shop.test").header("authorization", format!("Bearer {key}")).send();
    assert_eq!(call().status, 200);
    let words = ["explain", "GET", "http://shop.test/orders/7", "-H", "@-", "--admin", &url];
    let asked = house.command(words).input(format!("X-API-Key: {key}\n")).end();
    assert!(asked.code == 0 && asked.out.contains("allowed: goes to app"), "{asked:?}");

    let id = house.json(&["key", "list", "--owner", "team_42"])["data"][0]["id"].as_str().expect("an id").to_owned();
    house.done(&["key", "revoke", &id, "--reason", "found in a log", "--yes"]);
    let refused = super::support::eventually("the key is dead", || {
        let reply = call();
        (reply.status == 401).then_some(reply)
    });
    let request_id = refused.header("x-request-id").expect("an id").to_owned();
    let log = served.process.out.line_for(&request_id);
    let log = house.file("access.log", &format!("no JSON {request_id}\n{log}\n"));

    let place = log.to_str().expect("UTF-8");
    for from in [["--admin", url.as_str()], ["--log", place]] {
        let words = ["explain", "--request-id", &request_id, from[0], from[1]];
        let told = house.command(words).end();
        assert_eq!(told.code, 1, "{told:?}");
        for part in ["GET /orders/7 from 127.0.0.1", "api_key", "NO  verify", "401 key_revoked (revoked: "] {
            assert!(told.out.contains(part), "{part:?} is not in {}", told.out);
        }
        for part in [id.as_str(), "is revoked since", "because: found in a log"] {
            assert!(told.out.contains(part), "{part:?} is not in {}", told.out);
        }
        assert!(!told.out.contains(&key));
        let json = house.command(words.into_iter().chain(["--json"])).end();
        let json: Value = serde_json::from_str(&json.out).expect("JSON");
        assert_eq!((&json["reason"], &json["request"]["path"]), (&"key_revoked".into(), &"/orders/7".into()));
    }
    assert!(house.fails(1, &["explain", "--request-id", "r-unknown", "--log", place]).contains("r-unknown"));
    assert!(house.fails(1, &["explain", "--request-id", "r-unknown", "--admin", &url]).contains("remembers no"));
    assert!(house.fails(2, &["explain", "--request-id", "r-unknown"]).contains("--log"));
}

#[test]
fn whoever_follows_the_audit_trail_sees_what_happens_next() {
    let house = House::new();
    house.done(&["client", "create", "early"]);
    let tail = house.command(["audit", "tail", "--json"]).start();
    tail.out.line_where("what was there", |line| line["action"] == "client.created");
    house.done(&["client", "create", "late"]);
    let late = tail.out.line_where("what came", |line| line["detail"]["identifier"] == "late");
    assert!(late["actor"]["id"].as_str().is_some_and(|id| id.ends_with("(anna)")));
    tail.signal("TERM");
}

#[test]
fn a_store_is_made_copied_checked_and_its_realm_renamed() {
    let house = House::new();
    assert!(house.done(&["store", "migrate"]).out.contains("schema is at version"));
    house.done(&["client", "create", "a"]);
    house.secret(&["key", "create", "--owner", "a", "--name", "k"]);
    let copy = house.path().join("copy.db");
    let made = house.done(&["store", "backup", copy.to_str().expect("UTF-8")]);
    let pepper = house.state.path().join("portcullis.db.pepper");
    assert!(made.err.contains(pepper.to_str().expect("UTF-8")) && made.err.contains("seal key: "), "{made:?}");
    assert!(pepper.exists() && copy.exists());
    let refused = house.fails(1, &["store", "backup", copy.to_str().expect("UTF-8")]);
    assert!(refused.contains("copy.db: is there already"), "{refused}");
    assert!(house.done(&["store", "check"]).out.contains(": good, schema version"));

    assert!(house.fails(1, &["store", "rename-realm", "shop", "store"]).contains("rename it there first"));
    let realm = house.path().join("realms/realm0.toml");
    let text = std::fs::read_to_string(&realm).expect("read").replace("realm = \"shop\"", "realm = \"store\"");
    std::fs::write(&realm, text).expect("written");
    assert!(house.fails(1, &["store", "rename-realm", "nothing", "store"]).contains("nothing is stored"));
    let asked = house.fails(2, &["store", "rename-realm", "shop", "store"]);
    assert!(asked.contains("1 client and 1 key of shop go to store"), "{asked}");
    let moved = house.json(&["store", "rename-realm", "shop", "store", "--yes"]);
    assert_eq!((&moved["clients"], &moved["keys"]), (&1.into(), &1.into()));
    assert_eq!(house.json(&["client", "show", "a"])["realm"], "store");
    assert_eq!(house.json(&["audit", "list", "--action", "realm.renamed"])["data"][0]["detail"]["from"], "shop");

    let old = house.fails(2, &["audit", "prune", "--older-than", "0"]);
    assert!(old.contains("removes 4 events"), "{old}");
    assert_eq!(house.json(&["audit", "prune", "--older-than", "0", "--yes"])["removed"], 4);
    assert!(house.done(&["audit", "verify"]).out.contains("is whole"));
    assert_eq!(house.json(&["audit", "list"])["data"][0]["action"], "audit.pruned");
}

#[test]
fn a_store_that_is_switched_off_or_not_fit_says_so_with_exit_code_two() {
    let house = House::new();
    house.done(&["client", "create", "a"]);
    std::fs::write(house.state.path().join("portcullis.db.pepper"), "x".repeat(44)).expect("written");
    assert!(house.fails(2, &["client", "list"]).contains("pepper"));
    let main = house.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&main).expect("read");
    std::fs::write(&main, format!("{text}\n[store]\nurl = \"none\"\n")).expect("written");
    assert!(house.fails(2, &["client", "list"]).contains("store.url"));
    std::fs::write(&main, "nonsense = 1\n").expect("written");
    assert!(house.fails(2, &["client", "list"]).contains("nonsense"));
}

#[test]
fn passwords_come_from_standard_input_and_go_nowhere() {
    let house = House::new();
    house.done(&["client", "create", "alice", "--kind", "user"]);
    let text = "correct horse battery staple";
    let set = house.command(["client", "set-password", "alice", "--json"]).input(format!("{text}\n")).end();
    assert!(set.code == 0 && set.out.contains("\"has_password\":true") && !set.out.contains(text), "{set:?}");
    let short = house.command(["client", "set-password", "alice"]).input("short").end();
    assert!(short.code == 1 && short.err.contains("password") && !short.err.contains("short\n"), "{short:?}");
    assert_eq!(house.command(["client", "set-password", "alice"]).end().code, 2, "nothing is no password");
    let made = house.secret(&["client", "set-password", "alice", "--generate"]);
    assert!(made.len() >= 15 && !house.json(&["audit", "list"]).to_string().contains(&made));
}

#[test]
fn hashes_that_were_made_elsewhere_come_from_standard_input_and_go_nowhere() {
    let house = House::new();
    let hash = "$2b$05$HF3CnzWksCsKisqrZ9i82uYt4qdA4Wp.ZLbeqIX7dIe1PDN2RnEzG";
    let create = ["client", "create", "alice", "--kind", "user", "--password-hash", "-", "--json"];
    let made = house.command(create).input(format!("{hash}\n")).end();
    assert!(made.code == 0 && made.out.contains("\"has_password\":true") && !made.out.contains(hash), "{made:?}");
    let set = house.command(["client", "set-password", "alice", "--password-hash", "-"]).input(hash).end();
    assert!(set.code == 0 && !set.out.contains(hash), "{set:?}");
    let bad = house.command(["client", "set-password", "alice", "--password-hash", "-"]).input("hunter2").end();
    assert!(bad.code == 1 && bad.err.contains("password_hash") && !bad.err.contains("hunter2"), "{bad:?}");
    house.fails(2, &["client", "set-password", "alice", "--password-hash", hash]);
    house.fails(2, &["client", "set-password", "alice", "--password-hash", "-", "--generate"]);
    assert!(!house.json(&["audit", "list"]).to_string().contains("$2b$"));
}
