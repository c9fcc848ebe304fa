//! `explain`: the verdict on one request, step by step, by the engine that the proxy uses.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::admin::{Asker, Stop, end, plain, printable, text};
use super::{ExplainArgs, FAILED, FINE, WRONG, load, print_problems};
use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::config::Config;
use crate::explain::{Question, UNENFORCED, Verdict, judge_alone};
use crate::gate::outcome::Why;
use crate::gate::verify::stored::{Keeping, KeySource, StoredKeys};
use crate::secret::CredentialDigest;
use crate::store::{Fault, KeyInForce, Location, OpenError, Opening, Store, StoreError, StoreSettings};

/// Most that is read of header lines on standard input.
const MAX_INPUT: u64 = 64 * 1024;

/// Prints the verdict of the gateway whose admin API is at `url`. Exit code 0 = allowed, 1 = refused, 2 = the question is
/// wrong.
pub(super) fn elsewhere(url: &str, given: &ExplainArgs) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(ask(url, given, &mut out));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Stop::Failed(format!("no runtime: {error}"))),
    };
    end(outcome, given.via.json, &mut out, &mut err)
}

async fn ask(url: &str, given: &ExplainArgs, out: &mut dyn Write) -> Result<u8, Stop> {
    let reads_input = given.headers.iter().any(|line| line == "@-");
    let asker = Asker::remote(url, &given.via, reads_input)?;
    let mut question = serde_json::Map::new();
    question.insert("method".to_owned(), json!(given.method));
    question.insert("url".to_owned(), json!(given.url));
    let headers = header_lines(&given.headers).map_err(Stop::Wrong)?;
    question.insert("headers".to_owned(), headers.iter().map(|line| line.as_str()).collect());
    if let Some(ip) = given.ip {
        question.insert("ip".to_owned(), ip.to_string().into());
    }
    if !given.certificates.is_empty() {
        question.insert("certificate".to_owned(), json!(given.certificates));
    }
    if let Some(at) = given.at {
        question.insert("at".to_owned(), at.to_string().into());
    }
    let verdict = asker.post(&["explain"], &Value::Object(question)).await?;
    let allowed = verdict.get("allowed") == Some(&Value::Bool(true));
    if given.via.json {
        writeln!(out, "{verdict}")?;
    } else {
        write_steps(&verdict, allowed, out)?;
    }
    Ok(if allowed { FINE } else { FAILED })
}

fn write_steps(verdict: &Value, allowed: bool, out: &mut dyn Write) -> std::io::Result<()> {
    for step in verdict.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let mark = if step.get("passed") == Some(&Value::Bool(true)) { "ok " } else { "NO " };
        writeln!(out, "  {mark} {:<15} {}", text(step, "step"), text(step, "saw"))?;
    }
    if let Some(preflight) = verdict.get("preflight").and_then(Value::as_str) {
        let end = if allowed { "goes on".to_owned() } else { format!("does not go on: {}", printable(preflight)) };
        writeln!(out, "\npreflight: answered by the gateway, 204; the browser {end}")?;
    } else if !allowed {
        let why = verdict.get("why").and_then(Value::as_str);
        let why = why.and_then(|name| Why::ALL.iter().find(|why| why.as_str() == name));
        let why = why.map_or(String::new(), |why| format!(" ({why}: {})", why.text()));
        writeln!(out, "\nrefused: {} {}{why}", text(verdict, "status"), text(verdict, "reason"))?;
    } else if verdict.get("upstream").is_some_and(Value::is_string) {
        writeln!(out, "\nallowed: goes to {}", text(verdict, "upstream"))?;
    } else {
        writeln!(out, "\nallowed: the gateway answers itself")?;
    }
    for (name, value) in verdict.get("identity_headers").and_then(Value::as_object).into_iter().flatten() {
        writeln!(out, "  {}: {}", printable(name), plain(value))?;
    }
    if verdict.get("enforced") == Some(&Value::Bool(false)) {
        writeln!(out, "{UNENFORCED}")?;
    }
    Ok(())
}

/// Prints the verdict. Exit code 0 = allowed, 1 = refused, 2 = the question or the configuration is wrong.
pub(super) fn run(path: &Path, given: &ExplainArgs, out: &mut dyn Write) -> u8 {
    let question = match read(given) {
        Ok(question) => question,
        Err(fault) => {
            eprintln!("portcullis: {fault}");
            return WRONG;
        }
    };
    let config = match load(path, true) {
        Ok(config) => config,
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
    let verdict = runtime.block_on(judge(&config, &question));
    runtime.shutdown_background();
    let written = if given.via.json { writeln!(out, "{}", verdict.to_json()) } else { verdict.write_text(out) };
    if written.is_ok() && verdict.allowed() { FINE } else { FAILED }
}

fn read(given: &ExplainArgs) -> Result<Question, String> {
    let now = given.at.unwrap_or_else(|| SystemClock.now());
    let [method, url] = [&given.method, &given.url].map(|text| text.as_deref().unwrap_or_default());
    Question::new(method, url, &header_lines(&given.headers)?, given.ip, now)?.with_certificate(&given.certificates)
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

async fn judge(config: &Config, question: &Question) -> Verdict {
    let Keys { keys, store, note } = Keys::of(config.settings.store.as_ref()).await;
    let mut verdict = judge_alone(&config.snapshot, keys, question).await;
    if let Some((note, passed)) = note {
        verdict.note_store(note, passed);
    }
    if let Some(store) = store {
        store.close().await;
    }
    verdict
}

/// The keys of the store, as far as it can be asked.
struct Keys {
    keys: Arc<StoredKeys>,
    store: Option<Store>,
    /// What is to be said of it, and whether it is all right so.
    note: Option<(String, bool)>,
}

impl Keys {
    async fn of(settings: Option<&StoreSettings>) -> Self {
        let none = |note| Self { keys: Arc::new(StoredKeys::none()), store: None, note };
        let Some(settings) = settings else { return none(None) };
        if let Location::Sqlite(file) = &settings.location
            && !file.exists()
        {
            // The gateway would make an empty one.
            let text = format!("there is none yet at {}: no keys but declared ones", file.display());
            return none(Some((text, true)));
        }
        let (source, store, note): (Arc<dyn KeySource>, _, _) =
            match Store::open(settings, Opening::Existing, SystemClock.now()).await {
                Ok(store) => (Arc::new(store.clone()), Some(store), None),
                Err(error) => {
                    let note = (format!("cannot be asked: {error}"), false);
                    let error = match error {
                        OpenError::Wrong(text) => StoreError::new(Fault::Unreachable, text),
                        OpenError::Failed(error) => error,
                    };
                    (Arc::new(OutOfReach(error)), None, Some(note))
                }
            };
        let keeping = Keeping { cache_bytes: 0, max_staleness: settings.max_staleness };
        let keys = StoredKeys::new(source, tokio::runtime::Handle::current(), keeping);
        keys.ledger().restart(0);
        keys.ledger().confirm(Stopwatch::start()); // nothing is kept, so nothing can be stale
        Self { keys: Arc::new(keys), store, note }
    }
}

/// A store that cannot be opened: what it would say of a key is not known.
#[derive(Debug)]
struct OutOfReach(StoreError);

#[async_trait]
impl KeySource for OutOfReach {
    async fn find(&self, _realm: &str, _digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        Err(self.0.clone())
    }
}
