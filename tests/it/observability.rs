//! What an operator sees: metrics, the access log, the operational log. And what nobody may see in them.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use portcullis::clock::{Clock, Stopwatch, SystemClock};
use serde_json::{Value, json};

use super::support::caller::{Call, Caller, Reply};
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::issuer::{Answer, Issuer, JWKS};
use super::support::keys::{Key, unusable_rsa_jwk};
use super::support::log::Log;
use super::support::process::{Run, Served};
use super::support::realms::{HOUSE_SECRET, Standard, api_key, key_prefix};
use super::support::token::Issues;
use super::support::upstream::{Respond, Upstream};

struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
}

impl House {
    fn start() -> Self {
        Self::with("")
    }

    fn with(server: &str) -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let gw = Gateway::builder().server_toml(server).standard(&standard).upstream(&upstream).start();
        Self { gw, upstream, standard }
    }

    fn alice(&self) -> String {
        self.standard.alice().sign()
    }

    fn line(&self, call: &Call) -> Value {
        self.gw.line_of(&call.send())
    }
}

#[test]
fn every_metric_of_the_contract_counts_real_traffic_under_its_labels() {
    let (upstream, issuer, standard) = (Upstream::start(), Issuer::start(), Standard::new());
    issuer.publish([Key::rsa2048().jwk("k1"), unusable_rsa_jwk("weak", 1024)]);
    let standard = standard.with_jwks(&issuer);
    let gw = Gateway::standard(&standard, &upstream);
    let (alice, foreign) = (standard.alice().sign(), issuer.signer().token().sign());
    gw.get("/public/x").send().ok();
    // First, because a key set that arrives changes what earlier tokens were remembered under.
    gw.get("/me/x").bearer(&foreign).send().ok();
    gw.get("/me/x").bearer(&alice).send().ok();
    gw.get("/me/x").bearer(&alice).send().ok();
    gw.get("/me/x").bearer("rubbish").send().denied("token_invalid");
    gw.get("/me/x").header("x-api-key", api_key(&key_prefix())).send().denied("key_unknown");
    gw.get("/admin/x").bearer(&alice).send().denied("insufficient_scope");
    for _ in 0..3 {
        gw.get("/limited/x").header("x-api-key", &standard.partner_key).send().ok();
    }
    gw.get("/limited/x").header("x-api-key", &standard.partner_key).send().denied("rate_limited");
    gw.get("/nowhere/with/<label>").send().is(400);
    gw.get("/nowhere").send().denied("no_route");
    gw.get("/x").host("nobody\".test").send().is(400);
    gw.get("/x").host("nobody.test").send().denied("unknown_host");
    upstream.respond(Respond::Close);
    gw.call("POST", "/public/x").body("x").send().denied("upstream_unavailable");
    gw.rewrite("realms/realm0.toml", "nonsense");
    gw.reload_from_source().expect_err("nonsense");

    let me = [("realm", "api"), ("route", "me")];
    let upstream_name = upstream.addr().to_string();
    let with = |labels: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]| [labels, more].concat();
    for (name, labels, value) in [
        ("requests_total", with(&me, &[("code", "200"), ("outcome", "forwarded")]), 3.0),
        ("requests_total", with(&me, &[("code", "401"), ("outcome", "denied")]), 2.0),
        ("requests_total", vec![("realm", "api"), ("route", "public"), ("code", "502"), ("outcome", "error")], 1.0),
        ("requests_total", vec![("realm", "api"), ("route", "limited"), ("code", "429"), ("outcome", "denied")], 1.0),
        ("requests_total", vec![("realm", "api"), ("route", "-"), ("code", "404")], 1.0),
        ("requests_total", vec![("realm", "-"), ("route", "-"), ("code", "404")], 1.0),
        ("request_duration_seconds_count", me.to_vec(), 5.0),
        ("decision_duration_seconds_count", me.to_vec(), 5.0),
        ("upstream_duration_seconds_count", vec![("realm", "api")], 8.0),
        ("denials_total", with(&me, &[("reason", "token_invalid")]), 1.0),
        ("denials_total", with(&me, &[("reason", "key_unknown")]), 1.0),
        ("denials_total", vec![("realm", "-"), ("route", "-"), ("reason", "unknown_host")], 1.0),
        ("denials_total", vec![("realm", "api"), ("route", "-"), ("reason", "no_route")], 1.0),
        (
            "authentications_total",
            vec![("realm", "api"), ("credential", "jwt"), ("issuer", "house"), ("result", "ok")],
            3.0,
        ),
        ("authentications_total", vec![("credential", "jwt"), ("issuer", "foreign"), ("result", "ok")], 1.0),
        ("authentications_total", vec![("credential", "jwt"), ("issuer", "-"), ("result", "rejected")], 1.0),
        ("authentications_total", vec![("credential", "api_key"), ("issuer", "-"), ("result", "ok")], 4.0),
        ("authentications_total", vec![("credential", "api_key"), ("issuer", "-"), ("result", "rejected")], 1.0),
        ("cache_requests_total", vec![("cache", "tokens"), ("result", "hit")], 2.0),
        ("cache_entries", vec![("cache", "tokens")], 2.0),
        ("jwks_refresh_total", vec![("realm", "api"), ("issuer", "foreign"), ("result", "ok")], 1.0),
        ("jwks_keys", vec![("realm", "api"), ("issuer", "foreign")], 1.0),
        ("jwks_age_seconds", vec![("realm", "api"), ("issuer", "foreign")], 0.0),
        ("jwks_keys_skipped_total", vec![("realm", "api"), ("issuer", "foreign")], 1.0),
        ("rate_limited_total", vec![("realm", "api"), ("limit", "tight")], 1.0),
        ("config_reloads_total", vec![("result", "refused")], 1.0),
        ("config_last_reload_success", vec![], 0.0),
        ("config_last_reload_success_timestamp_seconds", vec![], 1_763_682_354.0),
        ("access_log_dropped_total", vec![], 0.0),
        ("build_info", vec![("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        gw.metric_becomes(&format!("portcullis_{name}"), &labels, value);
    }
    assert_eq!(gw.metric("portcullis_upstream_duration_seconds_count", &[("upstream", &upstream_name)]), 8.0);
    let text = gw.metrics();
    assert!(text.contains("process_resident_memory_bytes ") && text.contains("process_cpu_seconds_total "), "{text}");
    for (word, what) in [("nobody", "a host"), ("<label>", "a path"), ("alice", "a subject"), ("partner", "a client")] {
        assert!(!text.contains(word), "{what} has become a label:\n{text}");
    }
    issuer.answer(JWKS, Answer::Status(500));
    gw.pass(Duration::from_secs(20));
    assert_eq!(gw.metric("portcullis_jwks_age_seconds", &[("issuer", "foreign")]), 20.0);
}

/// The fields of a line and their JSON types; `?` = may be null.
const FIELDS: &[(&str, &str)] = &[
    ("ts", "string"),
    ("request_id", "string"),
    ("realm", "string?"),
    ("route", "string?"),
    ("method", "string"),
    ("path", "string"),
    ("status", "integer"),
    ("outcome", "string"),
    ("reason", "string?"),
    ("why", "string?"),
    ("client_ip", "string?"),
    ("peer_ip", "string"),
    ("credential", "string?"),
    ("credential_id", "string?"),
    ("subject", "string?"),
    ("client", "string?"),
    ("issuer", "string?"),
    ("upstream", "string?"),
    ("server", "string?"),
    ("bytes_in", "integer"),
    ("bytes_out", "integer"),
    ("duration_ms", "number"),
    ("decision_us", "integer"),
    ("upstream_ms", "number?"),
    ("http_version", "string"),
    ("user_agent", "string?"),
];

#[track_caller]
fn assert_complete(line: &Value) {
    let names: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, FIELDS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, kind) in FIELDS {
        let (value, kind) = (&line[name], kind.trim_end_matches('?'));
        let fits = match kind {
            "integer" => value.is_u64(),
            "number" => value.is_f64(),
            _ => value.is_string(),
        };
        assert!(fits || (value.is_null() && FIELDS.contains(&(name, &format!("{kind}?")))), "{name} in {line}");
    }
    let ts = line["ts"].as_str().expect("a text");
    assert!(ts.len() == 24 && ts.ends_with('Z') && ts.parse::<jiff::Timestamp>().is_ok(), "{ts}");
    assert!(line["duration_ms"].as_f64() >= line["upstream_ms"].as_f64(), "{line}");
}

#[test]
fn a_line_is_complete_for_every_kind_of_ending() {
    let house = House::start();
    let (gw, alice) = (&house.gw, house.alice());
    let is = |line: &Value, wanted: Value| {
        assert_complete(line);
        for (name, value) in wanted.as_object().expect("an object") {
            assert_eq!(&line[name], value, "{name} in {line}");
        }
    };
    let address = house.upstream.addr().to_string();
    let sent = gw.call("POST", "/campaigns/7?secret=1").header("User-Agent", "curl/8").body("12345");
    let line = house.line(&sent.header("x-api-key", &house.standard.partner_key));
    is(
        &line,
        json!({
            "ts": "2025-11-20T23:45:54.000Z", "realm": "api", "route": "campaigns", "method": "POST", "path": "/campaigns/7",
            "status": 200, "outcome": "forwarded", "reason": null, "why": null, "client_ip": "127.0.0.1",
            "peer_ip": "127.0.0.1", "credential": "api_key", "credential_id": "k-partner", "subject": "partner",
            "client": "partner", "issuer": null, "upstream": address, "server": address, "bytes_in": 5,
            "http_version": "1.1", "user_agent": "curl/8",
        }),
    );
    assert!(line["bytes_out"].as_u64() > Some(100) && line["upstream_ms"].is_f64(), "{line}");
    let line = house
        .line(&gw.get("/me/x").bearer(&house.standard.alice().claim("client_id", "app").claim("jti", "t1").sign()));
    is(
        &line,
        json!({"credential": "jwt", "credential_id": "t1", "subject": "alice", "client": "app", "issuer": "house"}),
    );
    let line = house.line(&gw.get("/me/x").bearer(&house.standard.alice().expires_in(-1).sign()));
    is(
        &line,
        json!({
            "status": 401, "outcome": "denied", "reason": "token_expired", "why": "expired", "credential": "jwt",
            "subject": null, "upstream": null, "server": null, "upstream_ms": null, "route": "me", "issuer": "house",
        }),
    );
    let line = house.line(&gw.get("/admin/x").bearer(&alice));
    is(&line, json!({"status": 403, "reason": "insufficient_scope", "subject": "alice", "upstream": null}));
    is(
        &house.line(&gw.get("/nowhere?x=1")),
        json!({"status": 404, "reason": "no_route", "route": null, "path": "/nowhere"}),
    );
    is(&house.line(&gw.get("/x").host("b.test")), json!({"status": 404, "reason": "unknown_host", "realm": null}));
    is(&house.line(&gw.get("/public/x").version("HTTP/1.0")), json!({"status": 200, "http_version": "1.0"}));

    // Refused before there is a request.
    let reply = gw.caller().send_raw("GET /public/raw?x=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    is(
        &gw.line_of(&reply),
        json!({"status": 400, "outcome": "denied", "reason": "bad_request", "method": "GET", "path": "/public/raw"}),
    );
    // Broken off by the upstream, and by the client.
    house.upstream.respond(Respond::Close);
    let line = house.line(&gw.call("POST", "/public/x").body("x"));
    is(
        &line,
        json!({
            "status": 502, "outcome": "error", "reason": "upstream_unavailable", "why": "connection", "route": "public",
            "upstream": address, "server": address,
        }),
    );
    house.upstream.respond(Respond::Hold);
    let mut gone = gw.caller().connect();
    gone.write(gw.get("/public/gone").bytes());
    eventually("it is held", || house.upstream.requests().iter().any(|r| r.target == "/public/gone").then_some(()));
    drop(gone);
    house.upstream.release();
    let line = gw.log().line_where("the one who left", |line| line["path"] == "/public/gone");
    assert_complete(&line);
}

#[test]
fn credentials_and_queries_are_in_no_line() {
    let house = House::start();
    let (gw, alice, key) = (&house.gw, house.alice(), &house.standard.partner_key);
    let encoded: String = key.bytes().map(|b| format!("%{b:02X}")).collect();
    let cookie = format!("session={alice}");
    for call in [
        gw.get("/me/x").bearer(&alice),
        gw.get("/me/x").header("x-api-key", key),
        gw.get(&format!("/query/x?token={alice}")),
        gw.get("/query/x").header("cookie", &cookie),
        gw.get(&format!("/query/x?token={alice}")).bearer(&alice),
        gw.get(&format!("/public/{alice}")),
        gw.get(&format!("/public/{key}/x")),
        gw.get(&format!("/public/{encoded}")),
        gw.get(&format!("/public/x?key={key}&{alice}")),
        gw.get("/public/x").header("user-agent", format!("agent ({key})")).header("referer", &alice),
        gw.get(&format!("/{alice}")),
        gw.get("/x").host(&format!("{}.test", &key[..40])),
        gw.caller().call(key, "/public/x"),
        gw.get("/me/x").bearer(&format!("{alice}x")),
        gw.get("/me/x").header("x-api-key", format!("{key}x")),
        gw.get("/me/x").header("authorization", "Basic YWxpY2U6aHVudGVyMg=="),
    ] {
        gw.line_of(&call.send());
    }
    let reply = gw.caller().send_raw(format!("GET /public/{key}?{alice} HTTP/1.1\r\nHost: a\r\nHost: {alice}\r\n\r\n"));
    gw.line_of(&reply);
    let text = gw.log().text();
    let secrets = secrets_of(&[&alice, key, &encoded, &house.standard.secret(), "YWxpY2U6aHVudGVyMg"]);
    assert_free_of(&text, &secrets);
    assert!(!text.contains('?') && text.contains("/public/[redacted]/x"), "{text}");
}

/// What of some credentials must not be seen: signature, claims, the text itself.
fn secrets_of(credentials: &[&str]) -> Vec<String> {
    let parts = credentials.iter().flat_map(|credential| credential.split('.')).map(str::to_owned);
    // The header of a token is the same for all; a prefix is no secret.
    parts.filter(|part| part.len() > 12 && !part.starts_with("eyJhbGci")).collect()
}

#[track_caller]
fn assert_free_of(text: &str, secrets: &[String]) {
    for secret in secrets {
        // Also a good part of it is too much.
        assert!(!text.contains(&secret[secret.len() / 2..]), "{secret} is in\n{text}");
        assert!(!text.contains(&secret[..secret.len().min(20)]), "{secret} is in\n{text}");
    }
}

#[test]
fn h62_whatever_is_sent_a_request_is_one_line_of_harmless_characters() {
    let house = House::start();
    let gw = &house.gw;
    let hostile = "a\r\nb\u{1b}[31mc\u{2028}d\u{202e}e\"\\f\u{7f}\u{85}";
    let long = "x".repeat(6 * 1024);
    let token = |name: &str| house.standard.alice().claim(name, hostile).sign();
    let (sub, jti, client) = (token("sub"), token("jti"), token("client_id"));
    let kid = house.standard.alice().header("kid", hostile).sign();
    let quoted = house.standard.alice().subject("\"},{\"outcome\":\"forwarded\\ <script>ä😀").sign();
    let mut ids = Vec::new();
    let mut line_of = |reply: Reply| {
        ids.push(reply.request_id().to_owned());
        gw.line_of(&reply)
    };
    for bearer in [&sub, &jti, &client] {
        let line = line_of(gw.get("/me/x").bearer(bearer).send().denied("token_invalid"));
        assert_eq!(line["why"], "claims");
    }
    line_of(gw.get("/me/x").bearer(&kid).send());
    let line = line_of(gw.get("/me/x").bearer(&quoted).send().ok());
    assert_eq!(line["subject"], "\"},{\"outcome\":\"forwarded\\ <script>ä😀");
    line_of(gw.get("/me/x").bearer(&house.standard.alice().subject(&"ü".repeat(1000)).sign()).send());
    line_of(gw.get("/public/%0d%0aSet-Cookie:%20x").send().denied("path_ambiguous"));
    line_of(gw.get("/public/%1b%5b31m/%e2%80%a8").send());
    line_of(gw.get(&format!("/public/{long}")).send().ok());
    for bytes in [&b"\x1b[31m"[..], "\u{2028}".as_bytes(), b"\xff\xfe", b"\x00", b"\xc2\x85"] {
        let request = |text: &str| {
            let (before, after) = text.split_once('@').expect("a place");
            [before.as_bytes(), bytes, after.as_bytes()].concat()
        };
        for text in [
            "GET /public/x HTTP/1.1\r\nHost: api.test\r\nUser-Agent: a@b\r\n\r\n",
            "GET /public/a@b HTTP/1.1\r\nHost: api.test\r\n\r\n",
            "GET /public/x HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "G@T /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n",
            "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX-Request-Id: a@b\r\n\r\n",
        ] {
            line_of(gw.caller().send_raw(request(text)));
        }
    }
    line_of(gw.get("/public/x").header("user-agent", "y".repeat(20_000)).send().ok());
    line_of(gw.get(&format!("/public/{}", "z".repeat(64 * 1024))).send().denied("uri_too_long"));

    let text = gw.log().text();
    let odd: Vec<_> = text.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert_eq!(odd, [' '; 0], "{text}");
    for c in ['\u{2028}', '\u{202e}', '\u{feff}'] {
        assert!(!text.contains(c), "{c:?}");
    }
    assert_eq!(text.lines().count(), ids.len(), "a line each:\n{text}");
    for line in text.lines() {
        let line_length = line.len();
        assert!(line_length < 4096, "{line_length}: {line}");
        assert_complete(&serde_json::from_str(line).expect("JSON"));
    }
}

#[test]
fn x20_the_id_of_an_answer_finds_its_line_and_only_a_trusted_proxy_chooses_it() {
    let house = House::with("trusted_proxies = [\"127.0.0.7\"]");
    let gw = &house.gw;
    for (call, status) in [
        (gw.get("/public/x"), 200),
        (gw.get("/me/x"), 401),
        (gw.get("/x").host("nobody.test"), 404),
        (gw.get("/public/x").header("x-request-id", "chosen-by-a-client"), 200),
    ] {
        let reply = call.send().is(status);
        let id = reply.request_id().to_owned();
        assert!(id.len() == 36 && id.as_bytes()[14] == b'7', "a UUID of version 7: {id}");
        assert_eq!(gw.line_of(&reply)["status"], status);
        if status == 200 {
            assert_eq!(house.upstream.last().header("x-request-id"), Some(id.as_str()));
        } else {
            assert_eq!(reply.json()["instance"], format!("urn:uuid:{id}"));
        }
    }
    let proxy = gw.caller().from("127.0.0.7");
    let reply = proxy.get("/public/x").header("x-request-id", "edge-4711").send().ok();
    assert_eq!((reply.request_id(), &gw.line_of(&reply)["status"]), ("edge-4711", &json!(200)));
    assert_eq!(house.upstream.last().header("x-request-id"), Some("edge-4711"));
    for bad in ["", "a b", "a\"b", &"x".repeat(300)] {
        let reply = proxy.get("/public/x").header("x-request-id", bad).send().ok();
        assert_ne!(reply.request_id(), bad);
    }
    let reply = proxy.get("/public/x").header("x-request-id", "one").header("x-request-id", "two").send().ok();
    assert!(!["one", "two"].contains(&reply.request_id()));
}

#[test]
fn the_access_log_can_be_switched_off() {
    let (upstream, standard, log) = (Upstream::start(), Standard::new(), Log::default());
    let builder = Gateway::builder().server_toml("[log]\naccess = false").sink(log.clone());
    let gw = builder.standard(&standard).upstream(&upstream).start();
    gw.get("/public/x").send().ok();
    gw.get("/me/x").send().denied("missing_credentials");
    gw.metric_becomes("portcullis_requests_total", &[], 2.0);
    drop(gw);
    assert_eq!(log.text(), "");
}

/// Takes nothing until it is allowed to, and then everything.
struct Stuck(Log, mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error means that the sender is gone: the way is free.
        self.1.recv().ok();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_takes_nothing_costs_lines_which_are_counted_and_no_time() {
    let (upstream, standard, log) = (Upstream::start(), Standard::new(), Log::default());
    let (allow, allowed) = mpsc::channel();
    let gw = Gateway::builder().sink(Stuck(log.clone(), allowed)).standard(&standard).upstream(&upstream).start();
    let long = gw.get(&format!("/{}", "nowhere/".repeat(256)));
    let dropped = || gw.metric("portcullis_access_log_dropped_total", &[]);
    let (slowest, sent) = std::thread::scope(|scope| {
        let load = || {
            let (mut connection, mut slowest, mut sent) = (gw.caller().connect(), Duration::ZERO, 0);
            while sent % 100 != 0 || sent == 0 || dropped() == 0.0 {
                let watch = Stopwatch::start();
                long.send_on(&mut connection).denied("no_route");
                slowest = slowest.max(watch.elapsed());
                sent += 1;
                assert!(sent < 20_000, "nothing is dropped");
            }
            (slowest, sent)
        };
        let loads: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        let ends = loads.into_iter().map(|load| load.join().expect("the load ran"));
        ends.fold((Duration::ZERO, 0), |(a, b), (c, d)| (a.max(c), b + d))
    });
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let lost = dropped();
    assert!(lost > 0.0 && log.text().is_empty(), "{lost} of {sent}");

    // The way is free again: what was kept is written, what comes is kept.
    drop(allow);
    // Counted, not read: there are thousands, and they are asked for again and again.
    let written = || log.text().matches('\n').count() as f64;
    eventually("what was kept is written", || (written() == f64::from(sent) - lost).then_some(()));
    let reply = gw.get("/public/after").send().ok();
    assert_eq!(log.line_for(reply.request_id())["path"], "/public/after");
    assert!((dropped() - lost).abs() < f64::EPSILON);
}

/// A sink that is full for good.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn f04_a_full_disk_under_the_log_loses_lines_which_are_counted_and_no_request() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let gw = Gateway::builder().sink(Full).standard(&standard).upstream(&upstream).start();
    for _ in 0..10 {
        gw.get("/public/x").send().ok();
    }
    gw.metric_becomes("portcullis_access_log_dropped_total", &[], 10.0);
}

fn process(log: &str, standard: &Standard, upstream: &Upstream) -> Served {
    let builder = Gateway::builder().server_toml(&format!("[log]\n{log}")).standard(standard).upstream(upstream);
    builder.serve()
}

#[test]
fn the_operational_log_has_the_format_and_the_level_that_are_configured() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let mut served = process("level = \"debug\"", &standard, &upstream);
    for line in served.process.err.lines() {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    served.process.signal("TERM");
    assert_eq!(served.process.wait(), 0);

    let directory =
        Gateway::builder().server_toml("[log]\nformat = \"text\"").standard(&standard).upstream(&upstream).write();
    let mut process = Run::new(["serve"]).config(directory.path()).env(HOUSE_SECRET, &standard.secret()).start();
    eventually("it serves", || process.err.text().contains(": serving listen=[").then_some(()));
    assert!(!process.err.text().contains('\u{1b}'), "no colours where there is no terminal: {}", process.err.text());
    process.signal("INT");
    assert_eq!(process.wait(), 0);

    // A quiet log does not say that it serves: only what is wrong.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address");
    let builder = Gateway::builder().listen(&free.to_string()).server_toml("[log]\nlevel = \"error\"");
    let directory = builder.standard(&standard).upstream(&upstream).write();
    let mut process = Run::new(["serve"]).config(directory.path()).env(HOUSE_SECRET, &standard.secret()).start();
    eventually("it serves", || Caller::new(free).try_connect().ok());
    std::fs::write(directory.path().join("realms/realm0.toml"), "nonsense").expect("written");
    eventually("a fault is told", || process.err.text().contains("was refused").then_some(()));
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    for line in process.err.lines() {
        assert_eq!(line["level"], "ERROR", "{line}");
    }
}

#[test]
fn no_level_of_the_log_shows_a_credential_or_a_query() {
    let (upstream, issuer) = (Upstream::start(), Issuer::start());
    let standard = Standard::new().with_jwks(&issuer);
    let builder = Gateway::builder().server_toml("header_timeout = \"200ms\"\n[log]\nlevel = \"trace\"");
    let mut served = builder.standard(&standard).upstream(&upstream).serve();
    let now = SystemClock.now();
    let (alice, foreign) = (standard.alice().at(now).sign(), issuer.signer().token().at(now).sign());
    let forged = standard.alice().at(now).signed_with(&Key::hmac(32), standard.house.alg).sign();
    let (key, unknown) = (&standard.partner_key, api_key(&key_prefix()));
    let query = "password=hunter2hunter2hunter2";
    let calls = |target: &str| {
        let target = format!("{target}?{query}&token={alice}");
        let to = || served.caller().call("POST", &target).header("cookie", "session=hunter2hunter2hunter2").body("x");
        vec![
            to().bearer(&alice),
            to().bearer(&foreign),
            to().bearer(&forged),
            to().bearer(&standard.alice().sign()),
            to().bearer(&format!("{alice}.{forged}")),
            to().header("x-api-key", key),
            to().header("x-api-key", &unknown),
            to().header("x-api-key", key).bearer(&alice),
            to().header("authorization", "Basic YWxpY2U6aHVudGVyMg=="),
            to().header("content-length", "7").bearer(&alice),
            to().header("transfer-encoding", "chunked").bearer(&alice),
            to().header("x bad", &alice),
            to().host(&format!("{}.test", &alice[..40])),
            to().header("upgrade", &alice).header("connection", "upgrade"),
        ]
    };
    let send = |call: &Call| drop(served.caller().try_send_raw(call.bytes()));
    for target in ["/me/x", "/query/x", "/public/x", "/nowhere"] {
        calls(target).iter().for_each(send);
    }
    for answer in [
        Respond::Close,
        Respond::Raw(format!("HTTP/1.1 200 OK\r\nX-Secret {alice}\r\n\r\n").into_bytes()),
        Respond::RawThenClose(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\nX-Secret: {alice}\r\n\r\n{key}").into_bytes(),
        ),
        Respond::RawThenClose(alice.clone().into_bytes()),
    ] {
        upstream.respond(answer);
        for call in &calls("/me/x")[..6] {
            // Whatever becomes of it: half an answer is what the upstream gave.
            let mut connection = served.caller().connect();
            connection.write(call.bytes());
            connection.finish();
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| connection.read_reply(false))));
        }
    }
    upstream.respond(Respond::Echo);
    issuer.answer(JWKS, Answer::Bytes(alice.clone().into_bytes()));
    send(&served.get("/me/x").bearer(&issuer.signer().kid("other").token().at(now).sign()));
    let mut slow = served.caller().connect();
    slow.write(format!("GET /me/x?{query} HTTP/1.1\r\nAuthorization: Bearer {alice}\r\n"));
    slow.read_reply(false).expect("an answer").denied("request_timeout");
    send(&served.get(&format!("/{}?{alice}", "x".repeat(10_000))));
    send(&served.get("/me/x").header("x", format!("{alice}{}", "x".repeat(40_000))));
    drop(served.caller().try_send_raw(format!("{alice} {key} {query}\r\n\r\n")));
    drop(served.caller().try_send_raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"));
    served.process.signal("HUP");
    served.says("the configuration was reloaded");
    served.process.signal("TERM");
    assert_eq!(served.process.wait(), 0);

    let credentials =
        [&alice, &foreign, &forged, key, &unknown, &standard.secret(), "YWxpY2U6aHVudGVyMg", "hunter2hunter2"];
    let secrets = secrets_of(&credentials);
    let (log, access) = (served.process.err.text(), served.process.out.text());
    assert_free_of(&log, &secrets);
    assert_free_of(&access, &secrets);
    assert!(access.lines().count() > 60, "{access}");
    assert!(!log.contains("a part of the gateway failed"), "{log}");
}
