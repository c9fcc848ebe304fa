//! The commands of the real binary that end by themselves: `check`, `schema`, `explain`, `key`. What they print, where,
//! and the exit code. `serve` and `demo` are in `serving.rs`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::coverage::properties;
use super::support::caller::status_of;
use super::support::gateway::Gateway;
use super::support::issuer::{Answer, Issuer, JWKS};
use super::support::process::{Ended, Run};
use super::support::realms::{HOUSE_SECRET, Standard, api_key, key_digest, key_prefix};
use super::support::token::{Issues, Token};
use super::support::upstream::Upstream;

/// The time of the tokens in these tests.
const AT: &str = "2025-11-20T23:45:54Z";

#[test]
fn a_good_configuration_passes_with_a_word_on_standard_output() {
    let house = House::new();
    let checked = house.run(&["check"]).end();
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.err.lines().all(|line| line.contains(": warning: ")), "{checked:?}");
    let heading = format!("{}: good: 1 realm, 10 routes\n", house.path().display());
    assert!(checked.out.starts_with(&heading), "{}", checked.out);
    let route =
        |line: &str| line.contains("/campaigns/**") && line.contains("jwt,api_key") && line.contains("{access}");
    assert!(checked.out.lines().any(route), "{}", checked.out);
}

#[test]
fn a_machine_without_the_secrets_can_check_all_but_the_secrets() {
    let house = House::new();
    let checked = Run::new(["check"]).config(house.path()).end();
    assert_eq!((checked.code, checked.out.as_str()), (2, ""), "{checked:?}");
    assert!(checked.err.contains(HOUSE_SECRET), "{}", checked.err);
    assert_eq!(Run::new(["check", "--no-secrets"]).config(house.path()).end().code, 0);
}

#[test]
fn every_problem_is_printed_with_its_place_and_none_shows_the_line() {
    let house = House::new();
    let realm = house.path().join("realms/realm0.toml");
    let text = fs::read_to_string(&realm).expect("the realm");
    let text = text.replace("rate = \"3/m\"", "rate = \"three\"").replace("auth = [\"public\"]", "auht = [\"public\"]");
    fs::write(&realm, text + "\n[nonsense]\npassword = \"hunter2\"\n").expect("written");
    let checked = house.run(&["check"]).end();
    assert_eq!((checked.code, checked.out.as_str()), (2, ""), "{checked:?}");
    let lines: Vec<_> = checked.err.lines().collect();
    for key in ["limits.tight.rate", "routes[0].auht", "routes[0].auth", "nonsense"] {
        let line = lines.iter().find(|line| line.contains(&format!(" {key}: ")));
        let line = line.unwrap_or_else(|| panic!("nothing about {key} in\n{}", checked.err));
        let place = line.strip_prefix(&format!("{}:", realm.display())).expect("the file");
        assert!(place.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    }
    assert!(!checked.err.contains("hunter2") && !checked.err.contains("password"), "{}", checked.err);
}

#[test]
fn serve_and_explain_refuse_a_bad_configuration_in_the_words_of_check() {
    let house = House::new();
    fs::write(house.path().join("realms/realm0.toml"), "realm = \"api\"\nhots = []\n").expect("written");
    let checked = house.run(&["check"]).end();
    for command in [&["serve"][..], &["demo"], &["explain", "GET", "http://api.test/"]] {
        let ended = house.run(command).end();
        assert_eq!((ended.code, ended.out, ended.err), (2, String::new(), checked.err.clone()), "{command:?}");
    }
    let missing = Run::new(["serve"]).config(Path::new("no/such/place")).end();
    assert_eq!((missing.code, missing.err.as_str()), (2, "no/such/place: does not exist\n"));
}

#[test]
fn every_configuration_that_is_shipped_passes() {
    let shipped = shipped(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config")));
    assert!(shipped.len() >= 4, "{shipped:?}");
    for path in shipped {
        let checked = Run::new(["check", "--no-secrets"]).config(&path).end();
        assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{}", path.display());
    }
}

/// Directories with a `portcullis.toml`, and files that are a configuration of their own.
fn shipped(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let is_one = directory.join("portcullis.toml").exists();
    if is_one {
        found.push(directory.to_owned());
    }
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            // What is in `realms` belongs to the directory above.
            if !is_one || !path.ends_with("realms") {
                found.extend(shipped(&path));
            }
        } else if !is_one && path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn bash_completes_commands_options_and_values() {
    let script = Run::new(["completions", "bash"]).end();
    assert_eq!(script.code, 0, "{script:?}");
    let complete = |words: &str| {
        let ask = "source /dev/stdin; COMP_WORDS=($1 \"\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                   _portcullis portcullis \"\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("/bin/bash");
        bash.args(["-c", ask, "bash", words]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut bash = bash.spawn().expect("bash");
        bash.stdin.take().expect("its input").write_all(script.out.as_bytes()).expect("it reads");
        let told = bash.wait_with_output().expect("it ends");
        String::from_utf8(told.stdout).expect("text").split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |words: &str, expected: &[&str]| {
        let found = complete(words);
        assert!(expected.iter().all(|word| found.iter().any(|other| other == word)), "{words}: {found:?}");
    };
    has("portcullis", &["serve", "check", "explain", "key", "client", "--config"]);
    has("portcullis key", &["create", "revoke", "list"]);
    has("portcullis key create", &["--owner", "--scope", "--expires"]);
    has("portcullis completions", &["bash", "elvish", "fish", "powershell", "zsh"]);
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        let script = Run::new(["completions", shell]).end();
        assert!(script.code == 0 && script.out.contains("portcullis"), "{script:?}");
    }
    assert_eq!(Run::new(["completions", "tcsh"]).end().code, 2);
}

#[test]
fn the_schema_is_json_and_knows_every_key_of_the_reference() {
    let ended = Run::new(["schema"]).end();
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&ended.out).expect("JSON");
    let mut known = BTreeSet::new();
    properties(&schema, &mut known);
    let page = portcullis::config::reference();
    let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(rows.len() > 80, "{}", rows.len());
    for row in rows {
        // A name that whoever writes the file chooses is in no schema.
        let chosen = |step: &&str| ["NAME", "WORD", "KIND"].contains(step);
        let Some(last) = row.rsplit('.').map(|step| step.trim_end_matches("[]")).find(|step| !chosen(step)) else {
            continue;
        };
        assert!(known.contains(last), "{row} is not in the schema");
    }
}

#[test]
fn wrong_usage_has_exit_code_2_and_says_what_is_right() {
    for (arguments, text) in [
        (&[][..], "Usage: portcullis"),
        (&["nonsense"], "unrecognized subcommand"),
        (&["serve", "--port", "1"], "--port"),
        (&["explain"], "<METHOD>"),
        (&["explain", "GET", "/x", "--at", "yesterday"], "2026-01-31T12:00:00Z"),
        (&["explain", "GET", "/x", "--ip", "1.2.3"], "--ip"),
        (&["explain", "GET", "/x"], "the host is missing"),
        (&["explain", "GET", "ftp://a/x"], "neither an http(s) URL nor a path"),
        (&["explain", "G T", "http://a/x"], "is no method"),
        (&["explain", "GET", "http://a/x", "--certificate", "billing"], "expected uri:URI"),
        (&["explain", "GET", "http://a/x", "-H", "no-colon"], "Name: value"),
        (&["key", "generate"], "--prefix"),
        (&["key", "generate", "--prefix", "a b"], "0-9 A-Z a-z _"),
        (&["key", "hash"], "one key on standard input"),
    ] {
        let ended = Run::new(arguments).end();
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(text), "{arguments:?}: {}", ended.err);
    }
    assert_eq!(Run::new(["--help"]).end().code, 0);
    assert!(Run::new(["--version"]).end().out.starts_with("portcullis "));
}

/// The standard realm as files, and what is never to be printed.
struct House {
    standard: Standard,
    directory: TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(Standard::new(), "")
    }

    fn with(standard: Standard, more: &str) -> Self {
        let upstream = Upstream::start();
        let directory = Gateway::builder().standard_with(&standard, more).upstream(&upstream).write();
        Self { standard, directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let env = HashMap::from([(HOUSE_SECRET.to_owned(), self.standard.secret())]);
        Run::new(arguments).config(self.path()).envs(&env)
    }

    /// Asks about one request, as text and as JSON; both must tell the same and no secret.
    #[track_caller]
    fn explain(&self, method: &str, url: &str, headers: &str, more: &[&str]) -> (Ended, Value) {
        let mut arguments = vec!["explain", method, url, "-H", "@-", "--at", AT];
        arguments.extend(more);
        let text = self.run(&arguments).input(headers).end();
        arguments.push("--json");
        let json = self.run(&arguments).input(headers).end();
        for printed in [&text.out, &text.err, &json.out, &json.err] {
            for line in headers.lines() {
                for part in line.split([':', ' ', '.', ';', '=']).filter(|part| part.len() > 20) {
                    assert!(!printed.contains(part), "{part} in {printed}");
                }
            }
            assert!(!printed.contains(&self.standard.secret()), "{printed}");
        }
        let verdict: Value = serde_json::from_str(&json.out).unwrap_or_else(|e| panic!("{e} in {json:?}"));
        assert_eq!((text.code, text.err.as_str()), (json.code, ""), "{text:?} {json:?}");
        assert_eq!(verdict["allowed"], text.code == 0, "{verdict}");
        (text, verdict)
    }
}

#[test]
fn an_allowed_request_is_explained_to_the_headers_that_the_upstream_gets() {
    let house = House::new();
    let token = house.standard.alice().scope("campaigns:read").sign();
    let bearer = format!("Authorization: Bearer {token}\r\nX-Auth-Subject: root\n");
    let (text, verdict) = house.explain("GET", "https://api.test/campaigns/7?page=2", &bearer, &[]);
    assert_eq!(text.code, 0, "{text:?}");
    assert!(text.out.contains("\nallowed: goes to "), "{}", text.out);
    assert!(text.out.contains("\n  x-auth-subject: alice\n"), "{}", text.out);
    assert!(!text.out.contains("\\\""), "quotation marks are not escaped: {}", text.out);
    assert_eq!((&verdict["realm"], &verdict["route"]), (&"api".into(), &"campaigns".into()));
    assert_eq!((&verdict["reason"], &verdict["status"]), (&Value::Null, &Value::Null));
    assert_eq!(verdict["identity_headers"]["x-auth-scopes"], "campaigns:read");
    assert!(
        verdict["steps"].as_array().is_some_and(|steps| steps.len() > 4 && steps.iter().all(|s| s["passed"] == true))
    );

    let key = format!("X-API-Key: {}", house.standard.partner_key);
    let (_, verdict) = house.explain("POST", "http://api.test/campaigns/7", &key, &[]);
    assert_eq!(verdict["identity_headers"]["x-auth-credential-id"], "k-partner");
}

#[test]
fn whoever_asks_about_the_endpoint_for_questions_is_told_what_to_ask_about() {
    let house = House::new();
    let endpoint = |house: &House| {
        let (_, verdict) = house.explain("GET", "http://api.test/ask?x", "", &[]);
        verdict["steps"].as_array().is_some_and(|steps| steps.iter().any(|step| step["step"] == "endpoint"))
    };
    assert!(!endpoint(&house));
    let file = house.path().join("portcullis.toml");
    let main = std::fs::read_to_string(&file).expect("the file");
    let main = main.replacen("[server]", "[decision]\npath = \"/ask\"\n[server]\ntrusted_proxies = [\"127.0.0.1\"]", 1);
    std::fs::write(&file, main).expect("written");
    assert!(endpoint(&house));
    let (text, verdict) = house.explain("GET", "http://api.test/asking", "", &[]);
    assert!(!text.out.contains("endpoint"), "{}", text.out);
    assert_eq!(verdict["reason"], "no_route");
}

#[test]
fn an_assertion_is_explained_by_its_claims_and_not_made() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let rules =
        "[identity_headers]\nprofile = \"kong\"\n[identity_headers.assertion]\nkey = { file = \"assertion.pem\" }\n";
    let house = House::with(Standard::new(), rules);
    std::fs::write(house.path().join("realms/assertion.pem"), key.serialize_pem()).expect("a file");
    let bearer = format!("Authorization: Bearer {}", house.standard.alice().sign());
    let (text, verdict) = house.explain("GET", "https://api.test/jwt/7?page=2", &bearer, &[]);
    assert!(text.out.contains("\n  x-authenticated-userid: alice\n"), "{}", text.out);
    assert!(text.out.contains("\n  x-auth-assertion: signed: {\"iss\":\"https://api.test\""), "{}", text.out);
    let shown = verdict["identity_headers"]["x-auth-assertion"].as_str().unwrap_or_default();
    assert!(shown.contains("\"htu\":\"/jwt/7\"") && !shown.contains("eyJ"), "{shown}");
    let (text, _) = house.explain("GET", "https://api.test/optional/7", "", &[]);
    assert!(text.out.contains("\n  x-anonymous-consumer: true\n"), "{}", text.out);
}

#[test]
fn a_question_may_come_with_a_client_certificate() {
    let rules = r#"
[clients.billing]
certificates = ["uri:spiffe://prod/billing"]

[[routes]]
path = "/mtls"
auth = ["mtls"]
"#;
    let house = House::with(Standard::new(), rules);
    let fingerprint = format!("sha256:{}", "ab".repeat(32));
    let names = ["--certificate", "uri:spiffe://prod/billing", "--certificate", &fingerprint];
    let (text, verdict) = house.explain("GET", "https://api.test/mtls", "", &names);
    assert!(
        text.out.contains("a client certificate with the names uri:spiffe://prod/billing; sha256:abab"),
        "{text:?}"
    );
    assert_eq!(verdict["identity_headers"]["x-auth-subject"], "billing");
    assert_eq!(verdict["identity_headers"]["x-auth-credential-id"], "ab".repeat(32));
    let (text, verdict) = house.explain("GET", "https://api.test/mtls", "", &["--certificate", "cn:nobody"]);
    assert_eq!((&verdict["reason"], &verdict["why"]), (&"token_invalid".into(), &"certificate".into()), "{text:?}");
    let (text, verdict) = house.explain("GET", "https://api.test/mtls", "", &[]);
    assert!(text.out.contains("the connection has no client certificate"), "{text:?}");
    assert_eq!(verdict["reason"], "missing_credentials");
}

#[test]
fn a_refused_request_is_explained_to_the_step_that_refused_it() {
    let house = House::new();
    let bearer = |token: String| format!("Authorization: Bearer {token}");
    let good = || bearer(house.standard.alice().sign());
    let key = format!("X-API-Key: {}", house.standard.partner_key);
    let unknown = format!("X-API-Key: {}", api_key(&key_prefix()));
    let forged = bearer(
        house.standard.alice().signed_with(&super::support::keys::Key::hmac(32), house.standard.house.alg).sign(),
    );
    for (method, url, headers, reason, why) in [
        ("GET", "http://elsewhere.test/me/x", good(), "unknown_host", None),
        ("GET", "http://api.test/nowhere", good(), "no_route", None),
        ("TRACE", "http://api.test/me/x", good(), "method_not_allowed", None),
        ("GET", "http://api.test/me/../x", good(), "path_ambiguous", Some("dot_segment")),
        ("GET", "http://api.test/me/x", String::new(), "missing_credentials", None),
        ("GET", "http://api.test/me/x", good() + "\n" + &key, "ambiguous_credential", Some("two_places")),
        ("GET", "http://api.test/me/x", bearer("rubbish".into()), "token_invalid", Some("format")),
        ("GET", "http://api.test/me/x", forged, "token_invalid", Some("signature")),
        (
            "GET",
            "http://api.test/me/x",
            bearer(house.standard.alice().expires_in(-1).sign()),
            "token_expired",
            Some("expired"),
        ),
        ("GET", "http://api.test/me/x", unknown, "key_unknown", Some("unknown")),
        ("GET", "http://api.test/me/x", format!("{key}x"), "key_malformed", Some("checksum")),
        ("GET", "http://api.test/admin/x", good(), "insufficient_scope", None),
        ("GET", "http://api.test/near/x", good(), "ip_denied", Some("not_listed")),
    ] {
        let (text, verdict) = house.explain(method, url, &headers, &[]);
        assert_eq!((text.code, &verdict["reason"]), (1, &reason.into()), "{}", text.out);
        assert_eq!(verdict["why"].as_str(), why, "{verdict}");
        assert_eq!(verdict["status"], status_of(reason), "{verdict}");
        assert!(text.out.contains(&format!("\nrefused: {} {reason}", status_of(reason))), "{}", text.out);
        let steps = verdict["steps"].as_array().expect("steps");
        assert_eq!(steps.iter().filter(|step| step["passed"] == false).count(), 1, "{verdict}");
        assert_eq!(steps.last().map(|step| &step["passed"]), Some(&Value::Bool(false)), "{verdict}");
    }
}

#[test]
fn the_address_and_the_time_of_the_question_decide() {
    let house = House::new();
    let bearer = format!("Authorization: Bearer {}", house.standard.alice().sign());
    assert_eq!(house.explain("GET", "http://api.test/near/x", &bearer, &["--ip", "127.0.0.2"]).0.code, 0);
    let now = house.run(&["explain", "GET", "http://api.test/me/x", "-H", "@-"]).input(bearer).end();
    assert_eq!(now.code, 1, "the token is of the past: {now:?}");
    assert!(now.out.contains("token_expired"), "{}", now.out);
}

#[test]
fn a_key_set_is_fetched_for_the_answer_whatever_the_time_of_the_question() {
    let issuer = Issuer::start();
    let house = House::with(Standard::new().with_jwks(&issuer), "");
    let bearer = |token: Token| format!("Authorization: Bearer {}", token.sign());
    let token = issuer.signer().token();
    let (text, verdict) = house.explain("GET", "http://api.test/me/x", &bearer(token.clone()), &[]);
    assert_eq!(text.code, 0, "{}", text.out);
    assert_eq!(verdict["identity_headers"]["x-auth-issuer"], "foreign");
    let late = house.run(&["explain", "GET", "http://api.test/me/x", "-H", "@-", "--at", "2040-01-01T00:00:00Z"]);
    let late = late.input(bearer(token.clone())).end();
    assert!(late.out.contains("refused: 401 token_expired"), "{late:?}");

    issuer.answer(JWKS, Answer::Status(500));
    let (text, verdict) = house.explain("GET", "http://api.test/me/x", &bearer(token), &[]);
    assert_eq!((text.code, &verdict["reason"]), (1, &"keys_unavailable".into()), "{}", text.out);
    assert_eq!((&verdict["status"], &verdict["why"]), (&503.into(), &"key_set_never_loaded".into()));
}

#[test]
fn a_generated_key_works_once_its_line_stands_in_the_configuration() {
    let generated = Run::new(["key", "generate", "--prefix", &key_prefix()]).end();
    assert_eq!((generated.code, generated.err.as_str()), (0, ""));
    let word = |name: &str| {
        let line = generated.out.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().to_owned()
    };
    let (key, sha256) = (word("key "), word("sha256 "));
    assert!(key.starts_with(&key_prefix()) && key_digest(&key) == sha256, "{}", generated.out);
    let hashed = Run::new(["key", "hash"]).input(format!("{key}\n")).end();
    assert_eq!((hashed.code, hashed.out.trim()), (0, sha256.as_str()));
    let line = generated.out.lines().find(|line| line.starts_with("keys = ")).expect("the line");

    let house = House::with(Standard::new(), &format!("[clients.fresh]\n{line}\n"));
    let (text, verdict) = house.explain("GET", "http://api.test/me/x", &format!("X-API-Key: {key}"), &[]);
    assert_eq!(text.code, 0, "{}", text.out);
    assert_eq!(verdict["identity_headers"]["x-auth-client"], "fresh");

    let json = Run::new(["key", "generate", "--prefix", "a_", "--json"]).end();
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["sha256"], key_digest(json["key"].as_str().expect("a key")));
}
