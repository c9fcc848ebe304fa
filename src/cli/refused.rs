//! `explain --request-id`: what became of a request of the past and why, from the memory of a gateway (which has those that
//! were refused) or from its access log, and how the key that it came with is now.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::admin::{Asker, Ground, Lines, Stop, end, plain, printable, relative, text};
use super::{ExplainArgs, FAILED, FINE};
use crate::clock::{Clock, SystemClock, UnixMillis};
use crate::explain::UNENFORCED;
use crate::gate::outcome::{Reason, Why};
use crate::store::{IdKind, Opening};

/// Explains the refused request `id`. Returns the exit code: 0 = it was let through, 1 = refused.
pub(super) fn run(config: &Path, id: &str, args: &ExplainArgs) -> u8 {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(explain(config, id, args, &mut out, &mut err));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Stop::Failed(format!("no runtime: {error}"))),
    };
    end(outcome, args.via.json, &mut out, &mut err)
}

async fn explain(
    config: &Path,
    id: &str,
    args: &ExplainArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8, Stop> {
    let verdict = match (&args.via.admin, &args.log) {
        (Some(url), _) => {
            let asker = Asker::remote(url, &args.via, false)?;
            asker.post(&["explain"], &json!({ "request_id": id })).await?
        }
        (None, Some(log)) => {
            let line = find(log, id)?;
            let mut verdict = verdict_of(line);
            if let Some(key) = key_of(&verdict) {
                match key_now(config, &key).await {
                    Ok(state) => insert(&mut verdict, "key", state),
                    Err(stop) => {
                        writeln!(err, "portcullis: how {} is now cannot be told: {}", printable(&key), stop.text())?;
                    }
                }
            }
            verdict
        }
        (None, None) => {
            let text = "say who remembers the request: --admin URL asks the gateway that refused it, --log FILE reads its \
                        access log (- = standard input)";
            return Err(Stop::Wrong(text.to_owned()));
        }
    };
    if args.via.json {
        writeln!(out, "{verdict}")?;
    } else {
        write_text(&verdict, SystemClock.now(), out)?;
    }
    Ok(if verdict.get("allowed") == Some(&Value::Bool(true)) { FINE } else { FAILED })
}

/// The newest line of the log with this request id.
fn find(log: &Path, id: &str) -> Result<Value, Stop> {
    let failed = |error: io::Error| Stop::Failed(format!("{}: {error}", log.display()));
    let input: Box<dyn BufRead> = if log.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(log).map_err(failed)?))
    };
    let mut lines = Lines::new(input);
    let mut found = None;
    while let Some(line) = lines.next().map_err(failed)? {
        // A log may hold other lines, too. Most are passed over without being read as JSON.
        let Ok(line) = line else { continue };
        if !line.contains(id) {
            continue;
        }
        let value = serde_json::from_str::<Value>(&line).ok();
        found = value.filter(|value| value.get("request_id").and_then(Value::as_str) == Some(id)).or(found);
    }
    found.ok_or_else(|| Stop::Failed(format!("{} has no request {:?}", log.display(), printable(id))))
}

/// What the admin API would say of a line.
fn verdict_of(line: Value) -> Value {
    let member = |name: &str| line.get(name).cloned().unwrap_or(Value::Null);
    let allowed =
        ["forwarded", "granted", "preflight", "allowed"].into_iter().any(|outcome| member("outcome") == outcome);
    let mut verdict = json!({
        "allowed": allowed,
        "enforced": member("outcome") != "would_deny",
        "status": member("status"),
        "reason": member("reason"),
        "why": member("why"),
        "realm": member("realm"),
        "route": member("route"),
        "upstream": member("upstream"),
        "preflight": null,
        "identity_headers": {},
        "steps": [],
    });
    insert(&mut verdict, "request", line);
    verdict
}

fn insert(verdict: &mut Value, name: &str, value: Value) {
    if let Some(members) = verdict.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// The stored key that the request came with.
fn key_of(verdict: &Value) -> Option<String> {
    let id = verdict.get("request")?.get("credential_id")?.as_str()?;
    IdKind::Key.fits(id).then(|| id.to_owned())
}

async fn key_now(config: &Path, id: &str) -> Result<Value, Stop> {
    let ground = Ground::open(config, Opening::Existing).await?;
    let asker = Asker::direct(&ground);
    let state = async {
        let key = asker.get(&["keys", id]).await?;
        let owner = key.get("owner_id").and_then(Value::as_str).unwrap_or_default();
        let owner = asker.get(&["clients", owner]).await?;
        let mut state = Map::new();
        for name in ["id", "name", "owner", "status", "expires_at", "revoked_at", "revoke_reason", "ip_allowlist"] {
            state.insert(name.to_owned(), key.get(name).cloned().unwrap_or(Value::Null));
        }
        state.insert("owner_status".to_owned(), owner.get("status").cloned().unwrap_or(Value::Null));
        Ok(Value::Object(state))
    };
    let state = state.await;
    ground.store().close().await;
    state
}

fn write_text(verdict: &Value, now: UnixMillis, out: &mut dyn Write) -> Result<(), Stop> {
    let nothing = Value::Null;
    let request = verdict.get("request").unwrap_or(&nothing);
    let said = |name: &str| text(request, name);
    writeln!(out, "{} {} from {}", said("method"), said("path"), said("client_ip"))?;
    let at = request.get("ts").unwrap_or(&nothing);
    writeln!(out, "  at     {} ({})", plain(at), relative(at, now))?;
    writeln!(out, "  by     {}", asked_by(request))?;
    writeln!(out, "  realm  {}, route {}", text(verdict, "realm"), text(verdict, "route"))?;
    let (status, outcome) = (text(verdict, "status"), request.get("outcome").and_then(Value::as_str));
    if let Some(reason) = verdict.get("reason").and_then(Value::as_str) {
        let name = verdict.get("why").and_then(Value::as_str);
        let why = name.and_then(|name| Why::ALL.iter().copied().find(|why| why.as_str() == name));
        let told = match (why, Reason::by_name(reason)) {
            (Some(why), _) => format!(" ({why}: {})", why.text()),
            (None, Some(reason)) => format!(" ({})", reason.public().message),
            (None, None) => String::new(),
        };
        let reason = printable(reason);
        // Elsewhere the status is that of another answer.
        let refused_with = match outcome {
            Some("would_deny" | "ended") => String::new(),
            Some(_) | None => format!("{status} "),
        };
        writeln!(out, "\n  NO  {:<13} {refused_with}{reason}{told}", rung(&reason, why))?;
        match outcome {
            Some("would_deny") => {
                writeln!(out, "\nwould be refused: {reason}; was answered with {status}\n{UNENFORCED}")?
            }
            Some("ended") => writeln!(out, "\nlet through: {status}; ended when it would have been refused: {reason}")?,
            Some(_) | None => writeln!(out, "\nrefused: {status} {reason}")?,
        }
    } else {
        match outcome {
            Some("allowed") => writeln!(out, "\nallowed: a proxy asked, and forwards it itself")?,
            Some("preflight") => writeln!(out, "\npreflight: answered by the gateway, {status}")?,
            Some("granted") => writeln!(out, "\nallowed: answered by the gateway itself, {status}")?,
            Some("error") => writeln!(out, "\nlet through, and broken off: {status}")?,
            Some(_) | None => writeln!(out, "\nlet through: {status} from {}", text(verdict, "upstream"))?,
        }
    }
    if let Some(key) = verdict.get("key").filter(|key| key.is_object()) {
        writeln!(out, "\n{}", key_in_words(key, now))?;
    }
    Ok(())
}

/// Who asked, as far as it was known.
fn asked_by(request: &Value) -> String {
    let member = |name: &str| request.get(name).filter(|value| !value.is_null()).map(plain);
    let Some(kind) = member("credential") else { return "nobody: no credential was looked at".to_owned() };
    let mut by = vec![kind];
    by.extend(member("credential_id"));
    by.extend(member("subject").map(|subject| format!("of {subject}")));
    by.extend(member("issuer").map(|issuer| format!("from {issuer}")));
    by.join(" ")
}

fn key_in_words(key: &Value, now: UnixMillis) -> String {
    let [id, name, owner, status] = ["id", "name", "owner", "status"].map(|name| text(key, name));
    let mut told = format!("now: {id} ({name}) of {owner} is {status}");
    let time = |name: &str| key.get(name).filter(|at| !at.is_null());
    if let Some(at) = time("revoked_at") {
        told.push_str(&format!(" since {} ({})", plain(at), relative(at, now)));
    }
    if let Some(reason) = key.get("revoke_reason").filter(|reason| !reason.is_null()) {
        told.push_str(&format!(", because: {}", plain(reason)));
    }
    if let Some(at) = time("expires_at") {
        let seen = relative(at, now);
        let verb = if seen.ends_with("ago") { "expired" } else { "expires" };
        told.push_str(&format!(", {verb} {seen}"));
    }
    if text(key, "owner_status") == "disabled" {
        told.push_str("; its owner is disabled");
    }
    told
}

/// The step of a decision that refuses so, as `explain` calls it.
fn rung(reason: &str, why: Option<Why>) -> &'static str {
    match (Reason::by_name(reason), why) {
        (_, Some(Why::FailureLimit)) => "failure limit",
        (_, Some(Why::Framing | Why::Upgrade)) => "framing",
        (Some(Reason::UnknownHost | Reason::MisdirectedRequest), _) | (Some(Reason::BadRequest), Some(Why::Host)) => {
            "realm"
        }
        (Some(Reason::UriTooLong | Reason::HeadersTooLarge | Reason::PayloadTooLarge), _) => "size",
        (Some(Reason::PathAmbiguous), _) => "path",
        (Some(Reason::NoRoute | Reason::MethodNotAllowed), _) => "route",
        (Some(Reason::MissingCredentials | Reason::AmbiguousCredential), _) => "credential",
        (Some(Reason::KeysUnavailable | Reason::StoreUnavailable), _) => "verify",
        (Some(Reason::InsufficientScope), _) => "scopes",
        (Some(Reason::RoleDenied), _) => "roles",
        (Some(Reason::PlanDenied), _) => "plan",
        (Some(Reason::AttributeDenied), _) => "attributes",
        (Some(Reason::IpDenied), _) => "address",
        (Some(Reason::RateLimited), _) => "limits",
        (Some(Reason::UpstreamUnavailable | Reason::UpstreamTimeout), _) => "upstream",
        (Some(reason), _) if reason.lineage().any(|one| one == Reason::TokenInvalid) => "verify",
        (Some(_) | None, _) => "request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_682_354_000);

    fn line() -> Value {
        json!({
            "ts": "2025-11-20T23:44:54.000Z", "request_id": "r1", "realm": "shop", "route": "orders", "method": "GET",
            "path": "/orders/7", "status": 401, "outcome": "denied", "reason": "key_revoked", "why": "revoked",
            "client_ip": "203.0.113.7", "credential": "api_key", "credential_id": "key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF",
            "subject": "team_42", "upstream": null,
        })
    }

    fn told(verdict: &Value) -> String {
        let mut out = Vec::new();
        write_text(verdict, NOW, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_refusal_is_told_with_who_asked_the_rung_and_the_cause() {
        let mut verdict = verdict_of(line());
        assert_eq!(key_of(&verdict).as_deref(), Some("key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF"));
        insert(
            &mut verdict,
            "key",
            json!({
                "id": "key_1", "name": "CRM", "owner": "team_42", "status": "revoked", "owner_status": "active",
                "revoked_at": "2025-11-20T23:40:54Z", "revoke_reason": "leaked\u{1b}[2J", "expires_at": null,
            }),
        );
        let told = told(&verdict);
        for part in [
            "GET /orders/7 from 203.0.113.7\n",
            "(60 s ago)",
            "api_key key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF of team_42",
            "NO  verify        401 key_revoked (revoked: The credential was revoked.)",
            "\nrefused: 401 key_revoked\n",
            "is revoked since 2025-11-20T23:40:54Z (5 min ago), because: leaked\\u{1b}[2J",
        ] {
            assert!(told.contains(part), "{part:?} is not in\n{told}");
        }
    }

    #[test]
    fn what_was_not_refused_is_told_by_what_became_of_it() {
        for (outcome, status, reason, allowed, expected) in [
            ("forwarded", 200, None, true, "let through: 200 from app"),
            ("granted", 200, None, true, "allowed: answered by the gateway itself, 200"),
            ("preflight", 204, None, true, "preflight: answered by the gateway, 204"),
            ("allowed", 200, None, true, "allowed: a proxy asked, and forwards it itself"),
            ("error", 0, None, false, "let through, and broken off: 0"),
            ("error", 502, Some("upstream_unavailable"), false, "refused: 502 upstream_unavailable"),
            ("ended", 101, Some("token_expired"), false, "let through: 101; ended when it would have been refused: "),
            (
                "would_deny",
                200,
                Some("ip_denied"),
                false,
                "would be refused: ip_denied; was answered with 200\nnot enforced",
            ),
        ] {
            let mut line = line();
            for (name, value) in [
                ("outcome", json!(outcome)),
                ("status", json!(status)),
                ("reason", json!(reason)),
                ("why", Value::Null),
                ("upstream", json!("app")),
            ] {
                insert(&mut line, name, value);
            }
            let verdict = verdict_of(line);
            let told = told(&verdict);
            assert!(told.contains(&format!("\n\n{expected}")), "{outcome}: {told}");
            assert_eq!(verdict["allowed"], allowed, "{outcome}");
            assert_eq!(verdict["enforced"], outcome != "would_deny");
            assert_eq!(told.contains("  NO  "), reason.is_some(), "{told}");
        }
    }

    #[test]
    fn every_reason_has_a_rung() {
        for reason in Reason::ALL {
            assert!(!rung(reason.as_str(), None).is_empty());
        }
        assert_eq!(rung("ip_denied", Some(Why::ClientList)), "address");
        assert_eq!(rung("key_expired", None), "verify");
        assert_eq!(rung("rate_limited", Some(Why::FailureLimit)), "failure limit");
    }
}
