//! How refusals look.

use http::HeaderValue;

use super::{Compiler, header};
use crate::config::keys::{Entry as RawEntry, Errors};
use crate::config::problem::At;
use crate::config::value::Any;
use crate::config::walk::{Item, Slot, shorten};
use crate::gate::dialect::{Dialect, DialectSpec, Entry};
use crate::gate::outcome::Reason;
use crate::nearest::hint;
use crate::reply::Template;

/// The realm's dialect.
pub(super) fn dialect(work: &mut Compiler<'_>, realm: &str, item: &Item<Errors>) -> Option<Dialect> {
    let raw = &item.value;
    let body = template(work, &raw.body);
    let free = free_words(raw);
    let mut spec = DialectSpec { body, ..DialectSpec::default() };
    for (name, entry) in &raw.status.value.0 {
        let status = name.parse().ok().filter(|status| name.len() == 3 && is_refusal(*status));
        let compiled = compile(work, entry, &free);
        match status {
            Some(status) => spec.status.push((status, compiled)),
            None => work.fault(&entry.at, "expected a status of refusals, from 400 to 599"),
        }
    }
    for (name, entry) in &raw.on.value.0 {
        let compiled = compile(work, entry, &free);
        match Reason::by_name(name) {
            Some(reason) => spec.on.push((reason, compiled)),
            None => {
                let known = Reason::ALL.iter().map(|reason| reason.as_str());
                work.unknown(&entry.at, "reason", name, known);
            }
        }
    }
    match Dialect::compile(realm, &spec) {
        Ok(dialect) => Some(dialect),
        Err(faults) => {
            for fault in faults {
                let (at, text) = place(item, &fault);
                work.fault(&at, text);
            }
            None
        }
    }
}

/// A fault of the dialect begins with the path of its key.
fn place<'f>(item: &Item<Errors>, fault: &'f str) -> (At, &'f str) {
    let Some((path, text)) = fault.split_once(": ").filter(|(path, _)| !path.contains(' ')) else {
        return (item.at.clone(), fault);
    };
    let mut at = item.at.inside(path);
    let entries = [("status.", &item.value.status), ("on.", &item.value.on)];
    for (group, entries) in entries {
        let name = path.strip_prefix(group).map(|rest| rest.split('.').next().unwrap_or(rest));
        let entry = name.and_then(|name| entries.value.0.iter().find(|(known, _)| known == name));
        if let Some((_, entry)) = entry {
            at.position = entry.at.position;
        }
    }
    if let (true, Some(body)) = (path == "body" || path.starts_with("body."), item.value.body.get()) {
        at.position = body.at.position;
    }
    (at, text)
}

fn is_refusal(status: u16) -> bool {
    (400..=599).contains(&status)
}

fn template(work: &mut Compiler<'_>, slot: &Slot<Any>) -> Option<Template> {
    let item = slot.get()?;
    if !item.value.0.is_object() {
        work.fault(&item.at, "a body is a table");
        return None;
    }
    work.good(&item.at, Template::parse(&item.value.0))
}

/// Names in any of the bodies that stand for nothing built in.
fn free_words(raw: &Errors) -> Vec<String> {
    let entries = raw.status.value.0.iter().chain(&raw.on.value.0).map(|(_, entry)| &entry.value.keys.body);
    let bodies = std::iter::once(&raw.body).chain(entries).filter_map(Slot::value);
    // What is no template has a problem of its own.
    let templates: Vec<_> = bodies.filter_map(|body| Template::parse(&body.0).ok()).collect();
    let names = templates.iter().flat_map(Template::names);
    names.filter(|name| !Dialect::NAMES.contains(name)).map(str::to_owned).collect()
}

fn compile(work: &mut Compiler<'_>, item: &Item<RawEntry>, free: &[String]) -> Entry {
    let RawEntry { keys, words } = &item.value;
    let body = template(work, &keys.body);
    let status = keys.status.get().and_then(|status| {
        let fits = u16::try_from(status.value).ok().filter(|status| is_refusal(*status));
        if fits.is_none() {
            work.fault(&status.at, "expected a status of refusals, from 400 to 599");
        }
        fits
    });
    let mut headers = Vec::new();
    for (name, value) in &keys.headers.value.0 {
        let parsed = work.good(&value.at, header::name(name));
        match HeaderValue::from_str(&value.value) {
            Ok(value) => headers.extend(parsed.map(|name| (name, value))),
            Err(_) => work.fault(&value.at, "expected a value of a header field: visible characters and blanks"),
        }
    }
    let mut given = Vec::new();
    for (word, value) in words {
        let at = match value {
            Slot::Given(value) => &value.at,
            Slot::Absent(at) => at,
            Slot::Bad => continue,
        };
        if !free.contains(word) {
            let known = free.iter().map(String::as_str).chain(RawEntry::KNOWN.iter().copied());
            let hint = hint(word, known);
            work.fault(at, format!("unknown key: no body has the word `${}`{hint}", shorten(word)));
        } else if let Some(value) = value.value() {
            given.push((word.clone(), value.0.clone()));
        }
    }
    Entry {
        status,
        code: keys.code.value().cloned(),
        message: keys.message.value().cloned(),
        headers,
        body,
        words: given,
    }
}
