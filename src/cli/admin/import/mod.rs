//! `key import`: a file of any size, in batches that are written whole or not at all. It may be run again at any time:
//! keys that are known are left as they are.

mod lines;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::asking::Asking;
use super::desk::{self, Desk, Shown};
use super::key::{Format, Import};
use super::render::{self, printable};
use super::{Stop, resolve};
use crate::clock::Stopwatch;
pub(in crate::cli) use lines::Lines;

/// Keys of one batch.
const BATCH: usize = 1000;

/// Bytes of one batch, about: the admin API takes no body of any size.
const BATCH_BYTES: usize = 512 * 1024;

/// For one batch.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn run(args: &Import, desk: &mut Desk<'_>) -> Result<(), Stop> {
    if args.format == Format::Digests && args.prefix.is_some() {
        return Err(Stop::Wrong(
            "--prefix cannot be checked: a digest does not tell what its key starts with".to_owned(),
        ));
    }
    if args.format != Format::Jsonl && args.owner.is_none() {
        return Err(Stop::Wrong("--owner is needed: the lines do not say whose keys they are".to_owned()));
    }
    let named = args.file.display();
    let failed = |error: io::Error| Stop::Failed(format!("{named}: {error}"));
    let (input, size): (Box<dyn BufRead>, _) = if args.file.as_os_str() == "-" {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&args.file).map_err(failed)?;
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
        (Box::new(BufReader::new(file)), size)
    };
    let owner = match &args.owner {
        Some(owner) => Some(resolve::client(desk, owner, args.realm.as_deref()).await?),
        None => None,
    };
    let mut members = Map::new();
    let realm = args.realm.clone().or_else(|| owner.as_ref().and_then(|owner| owner.realm.clone()));
    if let Some(realm) = realm {
        members.insert("realm".to_owned(), realm.into());
    }
    if let Some(owner) = owner {
        members.insert("owner_id".to_owned(), owner.id.into());
    }
    match args.format {
        Format::Digests => members.insert("format".to_owned(), "sha256".into()),
        Format::Plain => members.insert("format".to_owned(), "plain".into()),
        Format::Jsonl => None,
    };
    let mut work =
        Work { members, done: Done::default(), size, watch: Stopwatch::start(), shows: desk.person.watches() };
    let outcome = work.all(args, Lines::new(input), desk).await;
    if work.shows {
        desk.note("");
    }
    let done = work.done;
    if desk.shown == Shown::Json {
        let faults: Vec<_> = done.faults.iter().map(|(line, text)| json!({ "line": line, "message": text })).collect();
        desk.show(&json!({ "added": done.added, "known": done.known, "lines": done.lines, "faults": faults }))?;
    } else if outcome.is_ok() {
        let [added, known, lines] = [done.added, done.known, done.lines].map(grouped);
        let time = render::span_text(work.watch.elapsed().as_secs());
        let plural = |number: u64| if number == 1 { "" } else { "s" };
        desk.say(&format!(
            "{added} key{} added, {known} known already, {lines} line{} in {time}",
            plural(done.added),
            plural(done.lines)
        ))?;
    }
    outcome
}

/// What has become of it so far.
#[derive(Debug, Default)]
struct Done {
    added: u64,
    known: u64,
    /// Lines whose batch is written.
    lines: u64,
    faults: Vec<(u64, String)>,
}

/// An import under way.
struct Work {
    /// What every batch says besides its keys.
    members: Map<String, Value>,
    done: Done,
    /// Of the file, where it is known.
    size: Option<u64>,
    watch: Stopwatch,
    /// Whether somebody looks at the progress.
    shows: bool,
}

/// Keys that are sent together, each with the number of its line.
#[derive(Debug, Default)]
struct Batch {
    first: u64,
    numbers: Vec<u64>,
    keys: Vec<Value>,
    bytes: usize,
}

impl Work {
    async fn all(&mut self, args: &Import, mut lines: Lines<impl BufRead>, desk: &mut Desk<'_>) -> Result<(), Stop> {
        let mut batch = Batch { first: 1, ..Batch::default() };
        loop {
            let line = match lines.next() {
                Ok(line) => line,
                Err(error) => {
                    return Err(self.stopped(&batch, lines.number, &format!("{}: {error}", args.file.display())));
                }
            };
            let Some(line) = line else { break };
            match line.and_then(|line| entry(&line, args)) {
                Ok(None) => {}
                Ok(Some((key, bytes))) => {
                    batch.numbers.push(lines.number);
                    batch.keys.push(key);
                    batch.bytes += bytes;
                }
                Err(text) => self.done.faults.push((lines.number, text)),
            }
            if batch.keys.len() + self.done.faults.len() >= BATCH || batch.bytes >= BATCH_BYTES {
                self.send(&batch, lines.number, desk).await?;
                self.progress(lines.bytes, desk);
                batch = Batch { first: lines.number + 1, ..Batch::default() };
            }
        }
        self.send(&batch, lines.number, desk).await
    }

    /// Sends the batch that ends with line `last`.
    async fn send(&mut self, batch: &Batch, last: u64, desk: &mut Desk<'_>) -> Result<(), Stop> {
        if !self.done.faults.is_empty() {
            return Err(self.stopped(batch, last, ""));
        }
        if !batch.keys.is_empty() {
            let mut body = self.members.clone();
            body.insert("keys".to_owned(), Value::Array(batch.keys.clone()));
            let asking = Asking::post(&["keys", "import"]).body(&Value::Object(body));
            let answer = match desk.answer(asking, PATIENCE).await {
                Ok(answer) => answer,
                Err(Stop::Failed(text)) => return Err(self.stopped(batch, last, &text)),
                Err(stop) => return Err(stop),
            };
            if answer.status >= 400 {
                let general = self.note_faults(batch, &answer);
                return Err(self.stopped(batch, last, &general));
            }
            let body = answer.body.unwrap_or(Value::Null);
            let number = |name: &str| body.get(name).and_then(Value::as_u64).unwrap_or(0);
            self.done.added += number("added");
            self.done.known += number("known");
        }
        self.done.lines = last;
        Ok(())
    }

    /// Notes the faults of single lines; gives what is wrong besides, in words.
    fn note_faults(&mut self, batch: &Batch, answer: &crate::admin::api::Answer) -> String {
        let errors = answer.body.as_ref().and_then(|body| body.get("errors")).and_then(Value::as_array);
        let mut besides = Vec::new();
        for error in errors.into_iter().flatten() {
            let [field, text] = ["field", "message"].map(|name| render::text(error, name));
            match line_of(&field, batch) {
                Some((line, member)) => self.done.faults.push((line, format!("{member} {text}").trim().to_owned())),
                None => besides.push(format!("{field} {text}")),
            }
        }
        if errors.is_none_or(Vec::is_empty) { desk::in_words(answer) } else { besides.join("\n") }
    }

    /// Why it ends here, and how to go on.
    fn stopped(&self, batch: &Batch, last: u64, text: &str) -> Stop {
        let mut told = String::new();
        let lines = self.done.faults.iter().map(|(line, text)| format!("line {line}: {text}"));
        for line in lines.chain((!text.is_empty()).then(|| text.to_owned())) {
            told.push_str(&line);
            told.push('\n');
        }
        let [added, known] = [self.done.added, self.done.known].map(grouped);
        let unsure = if text.is_empty() || !self.done.faults.is_empty() { "" } else { " (unless the answer got lost)" };
        let before = if self.done.lines == 0 {
            String::new()
        } else {
            format!(" The lines before are in: {added} keys added, {known} known already.")
        };
        told.push_str(&format!(
            "Nothing of the lines {} to {last} was written{unsure}.{before}\nTo go on, run it again with the whole file: \
             keys that are known are left as they are.",
            batch.first
        ));
        Stop::Failed(told)
    }

    fn progress(&self, bytes: u64, desk: &mut Desk<'_>) {
        if !self.shows {
            return;
        }
        let keys = self.done.added + self.done.known;
        let rate = keys * 1000 / u64::try_from(self.watch.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let share = self.size.filter(|size| *size > 0).map(|size| format!(", {} %", bytes.min(size) * 100 / size));
        let share = share.unwrap_or_default();
        write!(desk.err, "\r{} keys{share}, {} a second   ", grouped(keys), grouped(rate)).ok();
        desk.err.flush().ok();
    }
}

/// What a line says and how long that is; none for an empty one.
fn entry(line: &Zeroizing<String>, args: &Import) -> Result<Option<(Value, usize)>, String> {
    if line.is_empty() {
        return Ok(None);
    }
    let starts = |key: &str| args.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix));
    let value = match args.format {
        Format::Digests => json!({ "sha256": line.as_str() }),
        Format::Plain => json!({ "key": line.as_str() }),
        // The parser's words quote nothing of the line.
        Format::Jsonl => match serde_json::from_str::<Value>(line) {
            Ok(value @ Value::Object(_)) => value,
            Ok(_) => return Err("is no JSON object".to_owned()),
            Err(error) => return Err(format!("is no JSON: {}", printable(&error.to_string()))),
        },
    };
    match value.get("key").and_then(Value::as_str) {
        Some(key) if !starts(key) => {
            Err(format!("the key does not start with {}", args.prefix.as_deref().unwrap_or("")))
        }
        Some(_) | None => Ok(Some((value, line.len() + 16))),
    }
}

/// The line that `keys[7].sha256` is about, and the rest of the field.
fn line_of(field: &str, batch: &Batch) -> Option<(u64, String)> {
    let (number, rest) = field.strip_prefix("keys[")?.split_once(']')?;
    let line = batch.numbers.get(number.parse::<usize>().ok()?)?;
    Some((*line, rest.trim_start_matches('.').to_owned()))
}

/// 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faulty_field_of_a_batch_is_found_in_the_file() {
        let batch = Batch { numbers: vec![1001, 1003, 1004], ..Batch::default() };
        assert_eq!(line_of("keys[1].sha256", &batch), Some((1003, "sha256".to_owned())));
        assert_eq!(line_of("keys[2]", &batch), Some((1004, String::new())));
        for other in ["keys[3].key", "keys[x]", "realm", "keys"] {
            assert_eq!(line_of(other, &batch), None, "{other}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
