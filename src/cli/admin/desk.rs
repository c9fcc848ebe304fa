//! Where a verb works: whom it asks, where it writes, and whom it asks before something ends.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value};

use super::args::{Output, Paging, Showing};
use super::asking::Asking;
use super::prompt::Person;
use super::render::{self, Table, printable};
use super::{PATIENCE, Stop, Way};
use crate::admin::api::Answer;
use crate::clock::UnixMillis;

/// What goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Text for people.
    Text,
    /// The JSON of the admin API.
    Json,
    /// A secret alone; text for people goes to standard error.
    Secret,
}

impl Shown {
    pub(super) fn of(json: bool, showing: Showing) -> Self {
        match (json, showing.output) {
            (true, _) => Self::Json,
            (false, Some(Output::Secret)) => Self::Secret,
            (false, None) => Self::Text,
        }
    }
}

/// See the module.
pub(super) struct Desk<'a> {
    pub(super) way: &'a dyn Way,
    pub(super) shown: Shown,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
    pub(super) person: &'a mut dyn Person,
    pub(super) now: UnixMillis,
}

impl Desk<'_> {
    /// The answer to a request, a refusal included.
    pub(super) async fn answer(&self, asking: Asking, patience: Duration) -> Result<Answer, Stop> {
        self.way.put(asking.done(self.now), patience).await
    }

    /// The body of a good answer.
    ///
    /// # Errors
    /// [`Stop::Refused`] for every other answer.
    pub(super) async fn ask(&self, asking: Asking) -> Result<Value, Stop> {
        self.ask_patiently(asking, PATIENCE).await
    }

    /// Like [`Desk::ask`], for what takes its time.
    pub(super) async fn ask_patiently(&self, asking: Asking, patience: Duration) -> Result<Value, Stop> {
        good(self.answer(asking, patience).await?)
    }

    /// Writes text for people.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Stop> {
        let out = if self.shown == Shown::Text { &mut self.out } else { &mut self.err };
        Ok(writeln!(out, "{text}")?)
    }

    /// Tells what is no outcome: a hint, a warning. Whether it arrives decides nothing.
    pub(super) fn note(&mut self, text: &str) {
        writeln!(self.err, "{text}").ok();
    }

    /// Writes one thing: as JSON, or a member a line.
    pub(super) fn show(&mut self, thing: &Value) -> Result<(), Stop> {
        match (self.shown, thing) {
            (Shown::Json, _) => return Ok(writeln!(self.out, "{thing}")?),
            (Shown::Text, Value::Object(members)) => render::block(members, self.now, self.out)?,
            (Shown::Secret, Value::Object(members)) => render::block(members, self.now, self.err)?,
            (Shown::Text | Shown::Secret, other) => self.say(&render::plain(other))?,
        }
        for warning in thing.get("warnings").and_then(Value::as_array).into_iter().flatten() {
            self.note(&format!("warning: {}", render::plain(warning)));
        }
        Ok(())
    }

    /// Writes one thing that came with a secret, which stands in its member `name` and is shown here and nowhere again.
    pub(super) fn show_secret(&mut self, thing: &Value, name: &str) -> Result<(), Stop> {
        let secret = thing.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let written = match (self.shown, thing) {
            (Shown::Json, _) | (_, Value::Null) => self.show(thing),
            (Shown::Text, _) | (Shown::Secret, _) => {
                let rest: Map<_, _> = thing
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(n, _)| *n != name)
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                self.secret_line(&secret, name).and_then(|()| self.show(&Value::Object(rest)))
            }
        };
        // A secret that did not arrive is no success, even if nobody listens: the text is gone for good.
        written.and_then(|()| Ok(self.out.flush()?)).map_err(|stop| match stop {
            Stop::Closed | Stop::Failed(_) => {
                let id = thing.get("id").and_then(Value::as_str).unwrap_or_default();
                Stop::Failed(format!(
                    "it was made ({}), but its text could not be written: end it, and make another",
                    printable(id)
                ))
            }
            other => other,
        })
    }

    fn secret_line(&mut self, secret: &str, name: &str) -> Result<(), Stop> {
        if self.shown == Shown::Secret {
            return Ok(writeln!(self.out, "{secret}")?);
        }
        Ok(writeln!(self.out, "{}\n\nThis {name} is shown only now.\n", printable(secret))?)
    }

    /// Writes a list, part by part; `row` makes the cells of one thing.
    pub(super) async fn list(
        &mut self,
        asking: Asking,
        paging: &Paging,
        heads: &'static [&'static str],
        row: impl Fn(&Value, UnixMillis) -> Vec<String>,
    ) -> Result<(), Stop> {
        let mut table = Table::new(heads);
        let mut cursor = paging.cursor.clone();
        let limit = if paging.all { 200 } else { paging.limit };
        loop {
            let part = asking.clone().query("limit", Some(limit.to_string())).query("cursor", cursor.as_deref());
            let part = self.ask(part).await?;
            if self.shown == Shown::Json {
                writeln!(self.out, "{part}")?;
            } else {
                let rows: Vec<_> = data(&part).iter().map(|thing| row(thing, self.now)).collect();
                table.write(&rows, self.out)?;
            }
            let Some(next) = part.get("next_cursor").and_then(Value::as_str).map(str::to_owned) else { return Ok(()) };
            if !paging.all {
                if self.shown != Shown::Json {
                    self.note(&format!("There is more: --cursor {}, or --all", printable(&next)));
                }
                return Ok(());
            }
            if cursor.as_deref() == Some(&*next) {
                return Err(Stop::Failed("the list does not go on: its cursor stays the same".to_owned()));
            }
            cursor = Some(next);
        }
    }

    /// See [`Person::confirm`].
    pub(super) fn confirm(&mut self, what: &str, yes: bool) -> Result<(), Stop> {
        self.person.confirm(what, yes, self.err)
    }
}

/// The body of a good answer.
pub(super) fn good(answer: Answer) -> Result<Value, Stop> {
    if answer.status < 400 { Ok(answer.body.unwrap_or(Value::Null)) } else { Err(Stop::Refused(Box::new(answer))) }
}

/// The things of a list.
pub(super) fn data(list: &Value) -> &[Value] {
    list.get("data").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The stable code of a refusal.
pub(super) fn code(answer: &Answer) -> &str {
    answer.body.as_ref().and_then(|body| body.get("code")).and_then(Value::as_str).unwrap_or_default()
}

/// A refusal in words: what it is, then a line for every field.
pub(super) fn in_words(answer: &Answer) -> String {
    let empty = Value::Null;
    let body = answer.body.as_ref().unwrap_or(&empty);
    let member = |name: &str| body.get(name).and_then(Value::as_str);
    let mut text = match member("detail").or_else(|| member("title")) {
        Some(text) => printable(text),
        None => format!("refused with status {}", answer.status),
    };
    for error in body.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let [field, message] = ["field", "message"].map(|name| render::text(error, name));
        // Of a single fault the text has told already.
        if text != format!("{field} {message}") {
            text.push_str(&format!("\n  {field}: {message}"));
        }
    }
    if let Some(target) = member("target").filter(|target| !text.contains(target)) {
        text.push_str(&format!(" ({})", printable(target)));
    }
    if let Some(seconds) = answer.retry_after {
        text.push_str(&format!("; try again in {}", render::span_text(seconds)));
    }
    text
}
