//! `explain`: the verdict on one request, step by step, by the engine that the proxy uses.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use zeroize::Zeroizing;

use super::{ExplainArgs, FAILED, FINE, WRONG, load, print_problems};
use crate::clock::{Clock, SettableClock, SystemClock, UnixMillis};
use crate::gate::Gate;
use crate::gate::outcome::Permit;
use crate::gate::policy::Snapshot;
use crate::gate::request::{Request, RequestId};
use crate::gate::trail::Trail;
use crate::gate::verify::jwks;
use crate::gate::verify::stored::StoredKeys;
use crate::outbound::HttpFetch;

/// Where a request comes from when nobody says.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Most that is read of header lines on standard input.
const MAX_INPUT: u64 = 64 * 1024;

/// Prints the verdict. Exit code 0 = allowed, 1 = refused, 2 = the question or the configuration is wrong.
pub(super) fn run(path: &Path, question: &ExplainArgs, out: &mut dyn Write) -> u8 {
    let parsed = match Parsed::read(question) {
        Ok(parsed) => parsed,
        Err(fault) => {
            eprintln!("portcullis: {fault}");
            return WRONG;
        }
    };
    let snapshot = match load(path, true) {
        Ok(config) => config.snapshot,
        Err(problems) => {
            print_problems(&problems);
            return WRONG;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("portcullis: no runtime: {error}");
            return FAILED;
        }
    };
    let verdict = runtime.block_on(judge(Arc::new(snapshot), &parsed));
    runtime.shutdown_background();
    let written = if question.json { verdict.write_json(out) } else { verdict.write_text(question, out) };
    match (written, &verdict.decision) {
        (Err(_), _) => FAILED,
        (Ok(()), Ok(_)) => FINE,
        (Ok(()), Err(_)) => FAILED,
    }
}

struct Parsed {
    method: Method,
    path: String,
    query: Option<String>,
    host: Option<String>,
    headers: HeaderMap,
    peer: IpAddr,
    now: UnixMillis,
}

impl Parsed {
    fn read(question: &ExplainArgs) -> Result<Self, String> {
        let method = Method::from_bytes(question.method.as_bytes())
            .map_err(|_| format!("{:?} is no method; write it first, as in: explain GET https://…", question.method))?;
        let mut headers = HeaderMap::new();
        for line in header_lines(&question.headers)? {
            let (name, value) = line.split_once(':').ok_or("a header is written as 'Name: value'")?;
            let name =
                HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
            // The value is not repeated: it may be a credential.
            let value = HeaderValue::from_str(value.trim())
                .map_err(|_| format!("the value of {name} cannot be sent in a header"))?;
            headers.append(name, value);
        }
        let (authority, target) = split_url(&question.url)?;
        let host = authority
            .or_else(|| headers.get(http::header::HOST).and_then(|value| value.to_str().ok()).map(str::to_owned));
        if host.is_none() {
            return Err("the host is missing: give a whole URL, or -H 'Host: …'".to_owned());
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Ok(Self {
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            host,
            headers,
            peer: question.ip.unwrap_or(LOOPBACK),
            now: question.at.unwrap_or_else(|| SystemClock.now()),
        })
    }
}

/// The header lines; `@-` stands for those on standard input.
fn header_lines(given: &[String]) -> Result<Vec<Zeroizing<String>>, String> {
    let mut lines = Vec::with_capacity(given.len());
    for line in given {
        if line != "@-" {
            lines.push(Zeroizing::new(line.clone()));
            continue;
        }
        let mut text = Zeroizing::new(String::new());
        std::io::stdin()
            .take(MAX_INPUT)
            .read_to_string(&mut text)
            .map_err(|error| format!("standard input: {error}"))?;
        lines.extend(text.lines().filter(|line| !line.is_empty()).map(|line| Zeroizing::new(line.to_owned())));
    }
    Ok(lines)
}

/// Authority and target of a URL; the target is kept byte for byte.
fn split_url(url: &str) -> Result<(Option<String>, &str), String> {
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        None if url.starts_with('/') => return Ok((None, url)),
        Some(_) | None => return Err(format!("{url:?} is neither an http(s) URL nor a path")),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    match target {
        "" => Ok((Some(authority.to_owned()), "/")),
        target if target.starts_with('/') => Ok((Some(authority.to_owned()), target)),
        _ => Err("a URL with a query needs a path: write /?…".to_owned()),
    }
}

struct Verdict {
    snapshot: Arc<Snapshot>,
    trail: Trail,
    decision: Result<Permit, crate::gate::outcome::Denial>,
}

async fn judge(snapshot: Arc<Snapshot>, parsed: &Parsed) -> Verdict {
    let sets = snapshot.remote_key_sets();
    let maintenance = tokio::spawn(jwks::maintain(
        move || sets.clone(),
        Arc::default(),
        Arc::new(HttpFetch::new()),
        // The time of the question: keys that are fetched for it are fresh at that time.
        Arc::new(SettableClock::new(parsed.now)) as Arc<dyn Clock>,
    ));
    let request = Request {
        method: &parsed.method,
        path: &parsed.path,
        query: parsed.query.as_deref(),
        host: parsed.host.as_deref(),
        headers: &parsed.headers,
        peer: Some(parsed.peer),
        now: parsed.now,
    };
    let mut trail = Trail::explaining();
    let decision = Gate::new(0, Arc::new(StoredKeys::none())).decide(&snapshot, &request, &mut trail).await;
    maintenance.abort();
    Verdict { snapshot, trail, decision }
}

impl Verdict {
    /// The status that the realm's dialect answers with.
    fn status(&self) -> Option<u16> {
        let denial = self.decision.as_ref().err()?;
        let dialect = self.trail.realm.as_ref().map_or(&self.snapshot.dialect, |realm| &realm.dialect);
        Some(dialect.render(denial, &RequestId::generate(UnixMillis::default())).status)
    }

    fn write_text(&self, question: &ExplainArgs, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{} {} from {}\n", question.method, question.url, question.ip.unwrap_or(LOOPBACK))?;
        for step in self.trail.steps.iter().flatten() {
            let mark = if step.passed { "ok " } else { "NO " };
            writeln!(out, "  {mark} {:<15} {}", step.name, printable(&step.saw))?;
        }
        match &self.decision {
            Ok(permit) => {
                let target = permit.target().unwrap_or("the path as it came");
                writeln!(out, "\nallowed: goes to {}, {target}", permit.route().upstream.name)?;
                for (name, value) in permit.identity().iter().flat_map(|identity| identity.headers.iter()) {
                    writeln!(out, "  {name}: {}", value.to_str().unwrap_or_default())?;
                }
                Ok(())
            }
            Err(denial) => {
                let why = denial.why.map_or(String::new(), |why| format!(" ({why}: {})", why.text()));
                writeln!(out, "\nrefused: {} {}{why}", self.status().unwrap_or_default(), denial.reason)
            }
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let steps: Vec<_> = self
            .trail
            .steps
            .iter()
            .flatten()
            .map(|step| serde_json::json!({ "step": step.name, "passed": step.passed, "saw": step.saw }))
            .collect();
        let identity: serde_json::Map<_, _> = self
            .decision
            .iter()
            .filter_map(|permit| permit.identity())
            .flat_map(|identity| identity.headers.iter())
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
            .collect();
        let denial = self.decision.as_ref().err();
        let verdict = serde_json::json!({
            "allowed": denial.is_none(),
            "status": self.status(),
            "reason": denial.map(|denial| denial.reason.as_str()),
            "why": denial.and_then(|denial| denial.why).map(|why| why.as_str()),
            "realm": self.trail.realm.as_ref().map(|realm| &*realm.name),
            "route": self.trail.route.as_ref().map(|route| &*route.name),
            "upstream": self.decision.as_ref().ok().map(|permit| &*permit.route().upstream.name),
            "identity_headers": identity,
            "steps": steps,
        });
        writeln!(out, "{verdict}")
    }
}

/// A text that may quote the request, as it can be shown on a terminal.
fn printable(text: &str) -> String {
    let escaped = |c: char| -> Vec<char> { if matches!(c, '"' | '\'') { vec![c] } else { c.escape_debug().collect() } };
    text.chars().flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_without_touching_its_path() {
        assert_eq!(split_url("https://a.test/x%2e/../y?q#f").unwrap(), (Some("a.test".into()), "/x%2e/../y?q#f"));
        assert_eq!(split_url("http://a.test:8080").unwrap(), (Some("a.test:8080".into()), "/"));
        assert_eq!(split_url("/only/path").unwrap(), (None, "/only/path"));
        for bad in ["ftp://a/", "a.test/x", "https://a.test?x"] {
            assert!(split_url(bad).is_err(), "{bad}");
        }
    }
}
