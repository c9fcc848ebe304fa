//! From the words of a command line to what is asked of the admin API, and from its answers to what is written.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use clap::Parser;
use http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::cli::{Cli, Command, KeyCommand};
use crate::clock::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_763_682_354_007);
const OWNER: &str = "own_01J9ZK8Q6D7V3W2X1Y0ZABCDEF";
const KEY: &str = "key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF";

/// Gives one answer after the other, and remembers what was asked.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Ask>>,
}

#[async_trait]
impl Way for Script {
    async fn put(&self, ask: Ask, _patience: Duration) -> Result<Answer, Stop> {
        self.asked.lock().unwrap().push(ask);
        Ok(self.answers.lock().unwrap().pop_front().expect("one more answer"))
    }
}

/// Somebody who says this, or nobody.
struct Sitting(Option<&'static str>);

impl Person for Sitting {
    fn is_there(&self) -> bool {
        self.0.is_some()
    }

    fn watches(&self) -> bool {
        false
    }

    fn secret(&mut self) -> Result<Zeroizing<String>, Stop> {
        Ok(Zeroizing::new("sk_live_secret".to_owned()))
    }

    fn line(&mut self) -> io::Result<String> {
        Ok(self.0.unwrap_or_default().to_owned())
    }
}

/// A pipe whose other end was closed.
struct Broken;

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Played {
    code: u8,
    asked: Vec<Ask>,
    out: String,
    err: String,
}

impl Played {
    /// The n-th request as `METHOD path?query`.
    fn request(&self, n: usize) -> String {
        let ask = &self.asked[n];
        let query = if ask.query.is_empty() { String::new() } else { format!("?{}", ask.query) };
        format!("{} {}{query}", ask.method, ask.path.trim_start_matches("/admin/v1"))
    }

    fn body(&self, n: usize) -> Value {
        serde_json::from_slice(&self.asked[n].body).expect("JSON")
    }
}

fn play_to(words: &[&str], answers: Vec<Answer>, mut person: Sitting, out: &mut dyn io::Write) -> Played {
    let words = std::iter::once("portcullis").chain(words.iter().copied());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let noun = match &cli.command {
        Command::Client(verb) => Noun::Client(verb),
        Command::Key(KeyCommand::Stored(verb)) => Noun::Key(verb),
        Command::Ip(verb) => Noun::Ip(verb),
        Command::Scope(verb) => Noun::Scope(verb),
        Command::Role(verb) => Noun::Role(verb),
        Command::Audit(verb) => Noun::Audit(verb),
        Command::AdminToken(verb) => Noun::AdminToken(verb),
        Command::Session(verb) => Noun::Session(verb),
        Command::Token(verb) => Noun::Token(verb),
        Command::SigningKey(verb) => Noun::SigningKey(verb),
        other => panic!("{other:?} is no administration"),
    };
    let script = Script { answers: Mutex::new(answers.into()), asked: Mutex::default() };
    let mut err = Vec::new();
    let json = noun.via().json;
    let mut desk = Desk {
        way: &script,
        shown: Shown::of(json, noun.showing()),
        out,
        err: &mut err,
        person: &mut person,
        now: NOW,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(noun.run(&mut desk, None));
    let code = end(outcome, json, out, &mut err);
    assert!(script.answers.lock().unwrap().is_empty(), "not every answer was asked for");
    let asked = script.asked.into_inner().unwrap();
    Played { code, asked, out: String::new(), err: String::from_utf8(err).unwrap() }
}

fn play(words: &[&str], answers: Vec<Answer>, person: Sitting) -> Played {
    let mut out = Vec::new();
    let played = play_to(words, answers, person, &mut out);
    Played { out: String::from_utf8(out).unwrap(), ..played }
}

fn nobody() -> Sitting {
    Sitting(None)
}

fn list(data: Value) -> Answer {
    Answer::ok(json!({ "data": data, "next_cursor": null }))
}

fn owner() -> Value {
    json!({ "id": OWNER, "realm": "shop", "identifier": "team_42", "version": 4, "attributes": { "a": 1, "b": 2 } })
}

fn key() -> Value {
    json!({
        "id": KEY, "name": "CRM", "prefix": "sk_live_", "hint": "91c4", "owner": "team_42", "status": "active",
        "last_used_at": UnixMillis(NOW.0 - 180_000).to_string(), "overlap": null,
    })
}

#[test]
fn an_owner_is_named_by_its_identifier_and_a_key_lives_ninety_days_unless_told_otherwise() {
    let made = json!({ "id": KEY, "secret": "sk_live_text", "name": "CRM" });
    let words = ["key", "create", "--owner", "team_42", "--name", "CRM", "--scope", "a:b", "--scope", "c:*"];
    let more = ["--attribute", "tier:=3", "--ip", "203.0.113.0/24"];
    let played = play(&[&words[..], &more].concat(), vec![list(json!([owner()])), Answer::ok(made)], nobody());
    assert_eq!(played.code, FINE, "{}", played.err);
    assert_eq!(played.request(0), "GET /clients?identifier=team_42&limit=200");
    assert_eq!(played.request(1), "POST /keys");
    let expected = json!({
        "realm": "shop", "owner_id": OWNER, "name": "CRM", "scopes": ["a:b", "c:*"], "attributes": { "tier": 3 },
        "expires_at": NOW.plus(Duration::from_secs(90 * 86_400)).to_string(), "ip_allowlist": ["203.0.113.0/24"],
    });
    assert_eq!(played.body(1), expected);
    assert!(played.out.starts_with("sk_live_text\n"), "{}", played.out);
    assert_eq!(played.out.matches("sk_live_text").count(), 1);

    let never = ["key", "create", "--owner", OWNER, "--name", "CRM", "--expires", "never", "--output", "secret"];
    let made = json!({ "id": KEY, "secret": "sk_live_text", "name": "CRM" });
    let played = play(&never, vec![Answer::ok(made)], nobody());
    assert_eq!(played.body(0)["expires_at"], Value::Null);
    assert_eq!(played.out, "sk_live_text\n");
    assert!(played.err.contains(KEY) && !played.err.contains("sk_live_text"), "{}", played.err);
}

#[test]
fn what_is_asked_for_again_under_its_idempotency_key_is_the_same_request() {
    let words = ["key", "create", "--owner", OWNER, "--name", "CRM", "--idempotency-key", "once"];
    let made = json!({ "id": KEY, "secret": "sk_live_text", "name": "CRM" });
    let played = play(&words, vec![Answer::ok(made)], nobody());
    assert_eq!(played.asked[0].idempotency_key.as_deref(), Some("once"));
    assert!(played.body(0).get("expires_at").is_none(), "the API's ninety days, not a time that differs at each call");

    let played = play(&[&words[..], &["--expires", "30d"]].concat(), Vec::new(), nobody());
    assert_eq!((played.code, played.asked.len()), (WRONG, 0), "{}", played.err);
    assert!(played.err.contains("--expires a time"), "{}", played.err);
}

#[test]
fn an_ambiguous_name_is_told_with_what_it_could_mean_and_nothing_is_done() {
    let other = json!({ "id": "cli_01J9ZK8Q6D7V3W2X1Y0ZABCDEF", "realm": "blog", "identifier": "Team_42" });
    let played = play(&["client", "show", "team_42"], vec![list(json!([owner(), other]))], nobody());
    assert_eq!(played.code, FAILED);
    for part in ["more than one client", OWNER, "cli_01J9ZK8Q6D7V3W2X1Y0ZABCDEF", "shop", "blog"] {
        assert!(played.err.contains(part), "{}", played.err);
    }
    let played = play(&["client", "show", "nobody", "--realm", "shop"], vec![list(json!([]))], nobody());
    assert_eq!(played.request(0), "GET /clients?identifier=nobody&realm=shop&limit=200");
    assert!(played.err.contains("no client \"nobody\" in the realm shop"), "{}", played.err);
}

#[test]
fn an_attribute_changes_alone_and_only_if_nobody_else_was_faster() {
    let words = ["client", "update", OWNER, "--attribute", "b=x", "--remove-attribute", "a", "--no-plan"];
    let played = play(&words, vec![Answer::ok(owner()), Answer::ok(owner())], nobody());
    assert_eq!(played.asked[1].method, Method::PATCH);
    assert_eq!(played.body(1), json!({ "plan": null, "attributes": { "b": "x" } }));
    assert_eq!(played.asked[1].if_match.as_deref(), Some("\"4\""));
    assert_eq!(play(&["key", "update", KEY], vec![], nobody()).code, WRONG);
}

#[test]
fn what_ends_is_told_and_asked_for() {
    let keys = || {
        let old = json!({ "last_used_at": UnixMillis(NOW.0 - 3_700_000).to_string(), "expired": false });
        list(json!([key(), old, { "expired": true }]))
    };
    let sessions = || list(json!([{ "id": "ses_1" }, { "id": "ses_2" }]));
    let before = || vec![Answer::ok(owner()), keys(), sessions()];
    let refused = play(&["client", "delete", OWNER], before(), nobody());
    assert_eq!(refused.code, WRONG);
    assert!(
        refused.err.contains("ends 2 keys, 1 used in the last hour, and 2 live sessions; it cannot"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(refused.request(1), format!("GET /keys?owner_id={OWNER}&status=active&limit=200"));
    assert_eq!(refused.request(2), format!("GET /sessions?live=true&limit=200&client={OWNER}"));

    let declined = play(&["client", "disable", OWNER], before(), Sitting(Some("\n")));
    assert_eq!((declined.code, declined.asked.len()), (FAILED, 3));
    assert!(declined.err.contains("[y/N]") && declined.err.contains("nothing was changed"), "{}", declined.err);

    let gone = [before(), vec![Answer::ok(json!({ "deleted": OWNER }))]].concat();
    let done = play(&["client", "delete", OWNER], gone, Sitting(Some("y\n")));
    assert_eq!((done.code, done.request(3)), (FINE, format!("DELETE /clients/{OWNER}")));

    let revoked = play(&["key", "revoke", KEY, "--yes"], vec![Answer::ok(key()), Answer::ok(key())], nobody());
    assert_eq!((revoked.code, revoked.body(1)), (FINE, json!({})));
    assert!(revoked.err.contains("(CRM, sk_live_…91c4) of team_42, last used 3 min ago"), "{}", revoked.err);
}

fn session() -> Value {
    json!({
        "id": "ses_1", "realm": "shop", "client": "ann\u{1b}", "client_id": OWNER, "grant": "password",
        "client_ip": "192.0.2.7", "last_seen_at": UnixMillis(NOW.0 - 180_000).to_string(),
    })
}

#[test]
fn a_session_is_told_before_it_ends_and_of_several_one_must_be_meant() {
    let words = ["session", "revoke", "ses_1", "--reason", "lost & found"];
    let asked = play(&words, vec![Answer::ok(session())], nobody());
    assert_eq!((asked.code, asked.request(0).as_str()), (WRONG, "GET /sessions/ses_1"));
    let told =
        "ends the session ses_1 of ann\\u{1b} (password, from 192.0.2.7, last seen 3 min ago), with all its tokens";
    assert!(asked.err.contains(told), "{}", asked.err);
    let meant = play(&words, vec![Answer::ok(session()), Answer::ok(session())], Sitting(Some("y")));
    assert_eq!((meant.code, meant.request(1).as_str()), (FINE, "DELETE /sessions/ses_1?reason=lost%20%26%20found"));

    let words = ["session", "revoke", "--client", OWNER];
    let several = play(&words, vec![list(json!([session(), session()]))], nobody());
    assert_eq!(several.code, FAILED);
    assert!(several.err.contains("more than one live session") && several.err.contains("--all"), "{}", several.err);
    let none = play(&words, vec![list(json!([]))], nobody());
    assert!(none.code == FAILED && none.err.contains("no live session"), "{}", none.err);
    let all = [&words[..], &["--all", "--yes"]].concat();
    let ended = json!({ "client_id": OWNER, "sessions_ended": 2 });
    let all = play(&all, vec![list(json!([session(), session()])), Answer::ok(ended)], nobody());
    assert_eq!((all.code, all.request(1)), (FINE, format!("POST /clients/{OWNER}/revoke-sessions")));
    assert!(all.err.contains("ends 2 live sessions"), "{}", all.err);
}

#[test]
fn a_token_goes_into_a_body_and_nowhere_else() {
    let state = |active: bool| {
        Answer::ok(json!({ "active": active, "what": "access_token", "code": "VALID", "id": "j", "client": "ann" }))
    };
    let good = play(&["token", "introspect", "--realm", "shop"], vec![state(true)], nobody());
    assert_eq!((good.code, good.request(0).as_str()), (FINE, "POST /tokens/introspect"));
    assert_eq!(good.body(0), json!({ "token": "sk_live_secret", "realm": "shop" }));
    assert!(!good.out.contains("sk_live_secret") && !good.err.contains("sk_live_secret"));
    assert_eq!(play(&["token", "introspect"], vec![state(false)], nobody()).code, FAILED);
    let asked = play(&["token", "revoke"], vec![state(true)], nobody());
    assert_eq!((asked.code, asked.asked.len()), (WRONG, 1));
    let done = play(&["token", "revoke", "--yes"], vec![state(true), Answer::ok(json!({ "ended": true }))], nobody());
    assert_eq!((done.code, done.request(1).as_str()), (FINE, "POST /tokens/revoke"));
    let inspected = play(&["token", "inspect"], vec![state(true)], nobody());
    assert!(inspected.code == FINE && !inspected.out.contains("Header"), "{}", inspected.out);
}

#[test]
fn a_rotation_asks_only_where_a_text_ends_at_once() {
    let rotated = || {
        let end = NOW.plus(Duration::from_secs(7200)).to_string();
        Answer::ok(json!({ "id": KEY, "secret": "new", "old_expires_at": end }))
    };
    let overlapping = play(&["key", "rotate", KEY, "--overlap", "2h"], vec![Answer::ok(key()), rotated()], nobody());
    assert_eq!((overlapping.code, overlapping.body(1)), (FINE, json!({ "overlap_seconds": 7200 })));
    assert!(overlapping.out.contains("The old text works until") && overlapping.out.contains("(in 2 h)"));

    let at_once = play(&["key", "rotate", KEY, "--overlap", "0"], vec![Answer::ok(key())], nobody());
    assert_eq!(at_once.code, WRONG, "{}", at_once.err);

    let mut under_way = key();
    under_way["overlap"] = json!({ "until": NOW.plus(Duration::from_secs(3600)).to_string() });
    let again = play(&["key", "rotate", KEY], vec![Answer::ok(under_way)], nobody());
    assert_eq!(again.code, WRONG, "{}", again.err);
}

#[test]
fn the_last_entry_of_a_list_goes_only_when_that_is_meant() {
    let asks = || Answer::problem(409, "confirmation_required", "it is the last", "r");
    let words = ["ip", "remove", "203.0.113.0/24", "--key", KEY];
    let refused = play(&words, vec![asks()], nobody());
    assert_eq!((refused.code, refused.asked.len()), (WRONG, 1));
    assert!(refused.err.contains("every address may use this key"), "{}", refused.err);
    let meant = play(&words, vec![asks(), Answer::ok(json!({ "open": true }))], Sitting(Some("yes\n")));
    assert_eq!(meant.code, FINE);
    assert_eq!(meant.request(1), format!("DELETE /keys/{KEY}/ip-allowlist/203.0.113.0%2F24?confirm=open"));
    let another = play(&words, vec![Answer::ok(json!({ "open": false }))], nobody());
    assert_eq!(another.code, FINE, "one of several is not asked about");
}

#[test]
fn a_refusal_is_told_in_words_with_its_fields_and_as_it_is_in_json() {
    let body = json!({
        "detail": "2 things are wrong with the request", "code": "validation_failed",
        "errors": [{ "field": "scopes[0]", "message": "is \u{1b}[31mno scope" }, { "field": "plan", "message": "is long" }],
    });
    let refusal = || Answer { status: 400, ..Answer::ok(body.clone()) };
    let words = ["client", "create", "bob", "--realm", "shop", "--json"];
    let told = play(&words, vec![refusal()], nobody());
    assert_eq!(told.code, FAILED);
    let expected =
        "portcullis: 2 things are wrong with the request\n  scopes[0]: is \\u{1b}[31mno scope\n  plan: is long\n";
    assert_eq!(told.err, expected);
    assert_eq!(serde_json::from_str::<Value>(&told.out).unwrap(), body);
    assert_eq!(play(&words[..5], vec![refusal()], nobody()).out, "");
}

#[test]
fn a_list_is_read_to_its_end_when_all_of_it_is_wanted() {
    let part = |id: &str, next: Value| Answer::ok(json!({ "data": [{ "id": id }], "next_cursor": next }));
    let two = || vec![part("a", json!("a")), part("b", Value::Null)];
    let all = play(&["client", "list", "--all"], two(), nobody());
    assert_eq!([all.request(0), all.request(1)], ["GET /clients?limit=200", "GET /clients?limit=200&cursor=a"]);
    assert_eq!(all.out.lines().count(), 3, "{}", all.out);
    assert_eq!(play(&["client", "list", "--all", "--json"], two(), nobody()).out.lines().count(), 2);
    let first = play(&["client", "list"], vec![part("a", json!("a"))], nobody());
    assert!(first.err.contains("--cursor a"), "{}", first.err);
    let stuck = play(&["client", "list", "--all"], vec![part("a", json!("a")), part("a", json!("a"))], nobody());
    assert_eq!(stuck.code, FAILED);
}

#[test]
fn whoever_stops_reading_a_list_has_read_enough_but_a_lost_secret_is_told() {
    let read = play_to(&["client", "list"], vec![list(json!([owner()]))], nobody(), &mut Broken);
    assert_eq!((read.code, read.err.as_str()), (FINE, ""));
    let made = Answer::ok(json!({ "id": KEY, "secret": "sk_live_text" }));
    let words = ["key", "create", "--owner", OWNER, "--name", "x", "--output", "secret"];
    let lost = play_to(&words, vec![made], nobody(), &mut Broken);
    assert_eq!(lost.code, FAILED);
    assert!(lost.err.contains(KEY) && !lost.err.contains("sk_live_text"), "{}", lost.err);
}

#[test]
fn a_key_that_is_not_valid_is_a_failure_and_its_text_is_never_repeated() {
    let verdict =
        |valid: bool| Answer::ok(json!({ "valid": valid, "code": "REVOKED", "key_id": KEY, "owner": "team_42" }));
    let played = play(&["key", "verify", "--realm", "shop", "--ip", "203.0.113.7"], vec![verdict(false)], nobody());
    assert_eq!((played.code, played.out.as_str()), (FAILED, &*format!("not valid: REVOKED ({KEY} of team_42)\n")));
    assert_eq!(played.body(0), json!({ "key": "sk_live_secret", "realm": "shop", "ip": "203.0.113.7" }));
    assert!(!played.err.contains("sk_live_secret"));
    assert_eq!(play(&["key", "verify"], vec![verdict(true)], nobody()).code, FINE);
}

#[test]
fn a_broken_chain_is_a_failure_that_names_the_row() {
    let broken = json!({ "intact": false, "events": 9, "chains": 2, "broken": "chain a, position 7" });
    let played = play(&["audit", "verify"], vec![Answer::ok(broken)], nobody());
    assert_eq!(played.code, FAILED);
    assert!(played.err.contains("position 7"), "{}", played.err);
    let whole = json!({ "intact": true, "events": 9, "chains": 2, "broken": null });
    let played = play(&["audit", "verify"], vec![Answer::ok(whole)], nobody());
    assert_eq!((played.code, played.out.as_str()), (FINE, "the audit trail is whole: 9 events in 2 chains\n"));
}

#[test]
fn usage_that_cannot_be_meant_is_refused_before_anything_is_asked() {
    for words in [
        &["key", "create", "--name", "x"][..],
        &["key", "rotate", KEY, "--overlap", "soon"],
        &["key", "list", "--limit", "201"],
        &["key", "list", "--cursor", "a", "--all"],
        &["key", "create", "--owner", "a", "--name", "b", "--json", "--output", "secret"],
        &["ip", "add", "10.0.0.0/8"],
        &["ip", "add", "10.0.0.0/8", "--client", "a", "--key", "b"],
        &["ip", "test", "10.0.0", "--client", "a"],
        &["client", "create", "a", "--attribute", "n:=nope"],
        &["client", "update", "a", "--role", "r", "--no-roles"],
        &["client", "list", "--token-file", "x"],
        &["admin-token", "create", "ci"],
        &["admin-token", "create", "ci", "--scope", "admin:everything"],
        &["admin-token", "list", "--admin", "http://127.0.0.1"],
        &["session", "revoke"],
        &["session", "revoke", "ses_1", "--client", "a"],
        &["session", "revoke", "ses_1", "--all"],
        &["signing-key", "rotate", "--activate-in", "soon"],
        &["signing-key", "disable"],
        &["token", "introspect", "a.b.c"],
        &["audit", "prune"],
        &["explain", "GET"],
        &["explain", "--log", "x", "GET", "http://a/"],
        &["explain", "GET", "http://a/", "--request-id", "r"],
    ] {
        let parsed = Cli::try_parse_from(std::iter::once("portcullis").chain(words.iter().copied()));
        assert_eq!(parsed.map(|cli| format!("{cli:?}")).unwrap_err().exit_code(), 2, "{words:?}");
    }
}
