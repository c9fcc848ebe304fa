//! Sessions, signing keys and tokens with the real binary: on the store of this machine while a gateway runs on it, and
//! through that gateway's admin API, in the same words.

use std::collections::HashMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::process::{Ended, Run, Served};
use super::support::upstream::Upstream;

const EMAIL: &str = "ann@example.org";
const PASSWORD: &str = "correct horse battery staple";

/// A served realm, people who sign in to it, and whoever administers it from the machine or from afar.
struct House {
    served: Served,
    env: HashMap<String, String>,
    /// The directory of the configuration that commands go by; the store is in it.
    directory: TempDir,
    via: Vec<String>,
    _upstream: Upstream,
}

impl House {
    fn new(from_afar: bool) -> Self {
        let upstream = Upstream::start();
        let write = || Gateway::builder().shipped_realm("affilync").upstream(&upstream).write();
        let directory = write();
        let state = directory.path().to_str().expect("UTF-8").to_owned();
        let env = HashMap::from([("USER".to_owned(), "anna".to_owned()), ("STATE_DIRECTORY".to_owned(), state)]);
        let served = Served::start(write(), &env);
        let mut house = Self { served, env, directory, via: Vec::new(), _upstream: upstream };
        house.done(&["client", "create", EMAIL, "--kind", "user"]);
        let set = house.command(&["client", "set-password", EMAIL]).input(PASSWORD).end();
        assert_eq!(set.code, 0, "{set:?}");
        if from_afar {
            let scopes = ["admin:read", "admin:sessions", "admin:signing"].map(|scope| ["--scope", scope]);
            let words = [&["admin-token", "create", "tests"][..], &scopes.concat(), &["--output", "secret"]].concat();
            let token = house.done(&words).out.trim().to_owned();
            house.env.insert("PORTCULLIS_ADMIN_TOKEN".to_owned(), token);
            house.via = vec!["--admin".to_owned(), format!("http://{}", house.served.admin)];
        }
        house
    }

    fn command(&self, words: &[&str]) -> Run {
        let words = words.iter().copied().chain(self.via.iter().map(String::as_str));
        Run::new(words).config(self.directory.path()).envs(&self.env)
    }

    fn end(&self, words: &[&str]) -> Ended {
        self.command(words).end()
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> Ended {
        let ended = self.end(words);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        ended
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let ended = self.done(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error} in {}", ended.out))
    }

    /// Words that read a token.
    fn with_token(&self, words: &[&str], token: &str) -> Ended {
        let ended = self.command(words).input(token).end();
        assert!(!ended.out.contains(token) && !ended.err.contains(token), "{ended:?}");
        ended
    }

    fn post(&self, path: &str, body: &Value) -> super::support::caller::Reply {
        let call = self.served.caller().host("api.affilync.com").call("POST", path);
        call.header("Content-Type", "application/json").body(body.to_string()).send()
    }

    /// Signs in; an access and a refresh token.
    #[track_caller]
    fn sign_in(&self) -> (String, String) {
        let pair = self.post("/api/auth/login", &json!({ "email": EMAIL, "password": PASSWORD })).is(200).json();
        let text = |name: &str| pair[name].as_str().expect("a token").to_owned();
        (text("access_token"), text("refresh_token"))
    }

    fn status(&self, token: &str) -> u16 {
        self.served.get("/api/campaigns").host("api.affilync.com").bearer(token).send().status
    }

    fn until_refused(&self, token: &str) {
        eventually("the token is refused", || (self.status(token) == 401).then_some(()));
    }

    fn live(&self) -> Vec<String> {
        let list = self.json(&["session", "list", "--client", EMAIL, "--live"]);
        let ids = list["data"].as_array().expect("a list").iter();
        ids.map(|session| session["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Name and state of each key.
    fn keys(&self) -> Vec<(String, String)> {
        let list = self.json(&["signing-key", "list", "--realm", "affilync"]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let keys = list["data"].as_array().expect("a list").iter();
        keys.map(|key| (text(&key["kid"]), text(&key["state"]))).collect()
    }
}

/// The resolver of identifiers asks for clients, which takes `admin:read` from afar.
fn sessions_come_and_go(house: &House) {
    let (first, _) = house.sign_in();
    let (second, refresh) = house.sign_in();
    assert_eq!((house.status(&first), house.status(&second)), (200, 200));
    let table = house.done(&["session", "list", "--client", EMAIL]).out;
    assert!(table.starts_with("ID ") && table.contains(EMAIL) && table.contains("live"), "{table}");
    let ids = house.live();
    assert_eq!(ids.len(), 2);
    assert!(house.done(&["session", "show", &ids[0]]).out.contains("password"));

    let several = house.end(&["session", "revoke", "--client", EMAIL]);
    assert_eq!(several.code, 1, "{several:?}");
    assert!(several.err.contains(&ids[0]) && several.err.contains("--all"), "{several:?}");
    let asked = house.end(&["session", "revoke", &ids[0]]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains(&format!("ends the session {}", ids[0])) && asked.err.contains("--yes"), "{asked:?}");
    assert_eq!(house.status(&first), 200);
    let ended = house.json(&["session", "revoke", &ids[0], "--reason", "lost laptop", "--yes"]);
    assert_eq!((&ended["ended"], &ended["revoke_reason"]), (&json!(true), &json!("lost laptop")));
    house.until_refused(&first);
    assert_eq!(house.status(&second), 200);

    let asked = house.end(&["client", "revoke-sessions", EMAIL]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("ends 1 live session,"), "{asked:?}");
    let disabling = house.end(&["client", "disable", EMAIL]);
    assert!(disabling.err.contains("ends no key that works, and 1 live session until"), "{disabling:?}");
    house.done(&["client", "revoke-sessions", EMAIL, "--yes"]);
    house.until_refused(&second);
    assert_eq!(house.post("/api/auth/refresh", &json!({ "refresh_token": refresh })).status, 401);
    let (third, _) = house.sign_in();
    house.done(&["session", "revoke", "--client", EMAIL, "--yes"]);
    house.until_refused(&third);
    house.sign_in();
    let all = house.json(&["session", "revoke", "--client", EMAIL, "--all", "--yes"]);
    assert_eq!(all["sessions_ended"], 1);
    assert!(house.live().is_empty());
    assert_eq!(house.end(&["session", "show", "ses_x"]).code, 1);
}

fn keys_follow_each_other(house: &House) {
    let (old, _) = house.sign_in();
    let first = house.keys()[0].0.clone();
    let only = house.end(&["signing-key", "retire", &first, "--yes"]);
    assert!(only.code == 1 && only.err.contains("rotate first"), "{only:?}");

    let next = house.done(&["signing-key", "rotate", "--realm", "affilync", "--activate-in", "1h"]);
    assert!(next.out.contains(&format!("{first} verifies until")), "{next:?}");
    let (second, state) = house.keys()[1].clone();
    assert_eq!(state, "next");
    house.done(&["signing-key", "activate", &second]);
    assert_eq!(house.keys(), [(first.clone(), "passive".to_owned()), (second.clone(), "active".to_owned())]);
    // With an algorithm of its own, the key that signed is found by trying: both tokens are good.
    eventually("the next key signs", || {
        let (new, _) = house.sign_in();
        let inspected = house.with_token(&["token", "inspect", "--json"], &new);
        let told: Value = serde_json::from_str(&inspected.out).ok()?;
        (told["verified"] == true && house.status(&new) == 200).then_some(())
    });
    assert_eq!(house.status(&old), 200);

    let asked = house.end(&["signing-key", "retire", &first]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("the passive HS256 key") && asked.err.contains("live session"), "{asked:?}");
    house.done(&["signing-key", "retire", &first, "--at", "24h", "--yes"]);
    assert_eq!(house.status(&old), 200);
    house.done(&["signing-key", "retire", &first, "--yes"]);
    house.until_refused(&old);

    let (stolen, _) = eventually("what the second key signs is good", || {
        let pair = house.sign_in();
        (house.status(&pair.0) == 200).then_some(pair)
    });
    let refused = house.end(&["signing-key", "disable", &second, "--yes"]);
    assert!(refused.code == 1 && refused.err.contains("force"), "{refused:?}");
    assert_eq!(house.status(&stolen), 200);
    let off = house.json(&["signing-key", "disable", &second, "--force", "--yes"]);
    assert_eq!(off["state"], "disabled");
    house.until_refused(&stolen);
    let table = house.done(&["signing-key", "list"]).out;
    assert!(table.starts_with("KID ") && table.contains(off["replaced_by"].as_str().expect("a key")), "{table}");
    eventually("its successor signs", || (house.status(&house.sign_in().0) == 200).then_some(()));
    let trail = house.json(&["audit", "list", "--action", "signing_key."]);
    let actions: Vec<_> = trail["data"].as_array().expect("a list").iter().map(|e| e["action"].as_str()).collect();
    for action in ["rotated", "activated", "retired", "disabled"] {
        assert!(actions.contains(&Some(&*format!("signing_key.{action}"))), "{action} is not in {actions:?}");
    }
}

fn tokens_are_told_and_ended(house: &House) {
    let (access, refresh) = house.sign_in();
    let inspected = house.with_token(&["token", "inspect"], &access);
    assert_eq!(inspected.code, 0, "{inspected:?}");
    for part in ["Header", "HS256", "Claims (verified by a key of the realm)", "token use", "State", EMAIL] {
        assert!(inspected.out.contains(part), "{part:?} is not in {}", inspected.out);
    }
    let forged = format!("{}{}", &access[..access.len() - 2], if access.ends_with("AA") { "BB" } else { "AA" });
    let inspected = house.with_token(&["token", "inspect"], &forged);
    assert!(inspected.out.contains("NOT verified") && inspected.out.contains("NOT_FOUND"), "{inspected:?}");

    let told = house.with_token(&["token", "introspect", "--json"], &access);
    let told: Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!((&told["active"], &told["client"]), (&json!(true), &json!(EMAIL)));
    assert_eq!(house.with_token(&["token", "introspect"], &forged).code, 1);
    let nameless = house.with_token(&["token", "introspect", "--realm", "affilync"], "no token at all");
    assert!(nameless.code == 1 && nameless.out.contains("unknown"), "{nameless:?}");

    let asked = house.with_token(&["token", "revoke"], &access);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("ends the access token") && asked.err.contains("--yes"), "{asked:?}");
    assert_eq!(house.status(&access), 200);
    assert_eq!(house.with_token(&["token", "revoke", "--yes"], &access).code, 0);
    house.until_refused(&access);
    assert_eq!(house.with_token(&["token", "introspect"], &access).code, 1);
    let renewed = house.post("/api/auth/refresh", &json!({ "refresh_token": refresh })).is(200).json();
    let (access, refresh) = (renewed["access_token"].as_str().unwrap(), renewed["refresh_token"].as_str().unwrap());
    let asked = house.with_token(&["token", "revoke"], refresh);
    assert!(asked.err.contains("ends the session ses_"), "{asked:?}");
    assert_eq!(house.with_token(&["token", "revoke", "--reason", "leak", "--yes"], refresh).code, 0);
    house.until_refused(access);
    assert_eq!(house.with_token(&["token", "revoke", "--yes"], &forged).code, 1);
}

#[test]
fn sessions_are_administered_on_the_machine() {
    sessions_come_and_go(&House::new(false));
}

#[test]
fn signing_keys_are_administered_on_the_machine() {
    keys_follow_each_other(&House::new(false));
}

#[test]
fn tokens_are_looked_at_and_ended_on_the_machine() {
    tokens_are_told_and_ended(&House::new(false));
}

#[test]
fn the_same_is_done_from_afar() {
    let house = House::new(true);
    sessions_come_and_go(&house);
    keys_follow_each_other(&house);
    tokens_are_told_and_ended(&house);
}

#[test]
fn a_realm_gets_its_first_key_without_a_gateway() {
    let upstream = Upstream::start();
    let directory = Gateway::builder().shipped_realm("affilync").upstream(&upstream).write();
    let run = |words: &[&str]| Run::new(words.iter().copied()).config(directory.path()).end();
    assert_eq!(run(&["signing-key", "list"]).code, 2, "there is no store");
    let made = run(&["signing-key", "rotate", "--json"]);
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.out).expect("JSON");
    assert_eq!(
        (&made["state"], &made["realm"], &made["replaces"]),
        (&json!("active"), &json!("affilync"), &Value::Null)
    );
    assert_eq!(made["effective"]["this_node"], Value::Null);
    let unknown = run(&["signing-key", "retire", "-no_such_key", "--yes"]);
    assert!(unknown.code == 1 && unknown.err.contains("there is no signing key"), "{unknown:?}");
}
