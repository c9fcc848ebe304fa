//! How a realm's refusals look: reason to status, header fields and body. Everything that is known at load is rendered
//! at load; an answer only fills in the request id. Why something is refused is decided elsewhere.

mod answer;
mod challenge;
mod reference;
mod standard;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::outcome::{Denial, Reason};
use super::request::RequestId;
use crate::reply::Template;
use answer::Answer;
pub use reference::reference;

/// What a realm's `[errors]` table says.
#[derive(Clone, Debug, Default)]
pub struct DialectSpec {
    /// The body where no entry has its own; none = problem details (RFC 9457).
    pub body: Option<Template>,
    /// Entries by status.
    pub status: Vec<(u16, Entry)>,
    /// Entries by reason; they serve its children too.
    pub on: Vec<(Reason, Entry)>,
}

/// One entry of the `[errors]` table; what it leaves out comes from the parent, the status, the built-in table.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// HTTP status: 400 to 599.
    pub status: Option<u16>,
    /// Value of `$code`.
    pub code: Option<String>,
    /// Value of `$message`.
    pub message: Option<String>,
    /// Further header fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body for this entry only.
    pub body: Option<Template>,
    /// Values of the free words of the body.
    pub words: Vec<(String, Value)>,
}

/// A compiled dialect.
#[derive(Debug)]
pub struct Dialect {
    realm: Box<str>,
    /// For refusals that say more than can be known at load.
    spec: DialectSpec,
    /// One for each reason, in the order of [`Reason::ALL`], which is that of the variants.
    answers: [Answer; Reason::ALL.len()],
}

/// A refusal as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// HTTP status.
    pub status: u16,
    /// Header fields, `Content-Type`, `WWW-Authenticate`, `X-Request-Id` and the like included; no `Content-Length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON.
    pub body: Vec<u8>,
}

impl Dialect {
    /// Names that templates may use besides the free words of entries.
    pub const NAMES: &'static [&'static str] =
        &["status", "reason", "code", "message", "reason_phrase", "title", "request_id", "realm", "fields"];

    /// Problem details for everything.
    pub fn builtin(realm: &str) -> Self {
        Self::of(realm, DialectSpec::default())
    }

    /// The errors of RFC 6749 section 5.2, for the endpoints of that standard and its kin.
    pub fn oauth(realm: &str) -> Self {
        Self::of(realm, standard::spec())
    }

    fn of(realm: &str, spec: DialectSpec) -> Self {
        let answers = std::array::from_fn(|at| Answer::compile(realm, &spec, Reason::ALL[at]));
        Self { realm: realm.into(), spec, answers }
    }

    /// Compiles what was configured. A free word may have a value for some reasons only: elsewhere its member is left
    /// out.
    ///
    /// # Errors
    /// Texts for people, each beginning with the key path inside `errors`: a name in a template that has no value for
    /// any reason, a word that no body uses, a status that is none, a header field that is not theirs to set.
    pub fn compile(realm: &str, spec: &DialectSpec) -> Result<Self, Vec<String>> {
        let problems = spec.problems();
        if problems.is_empty() { Ok(Self::of(realm, spec.clone())) } else { Err(problems) }
    }

    /// The answer to a denial.
    pub fn render(&self, denial: &Denial, request_id: &RequestId) -> Rendered {
        let mut rendered = self.answers[denial.reason as usize].render(denial, request_id);
        if let Some(detail) = &denial.detail {
            rendered.body =
                self.spec.chain(denial.reason).detailed(detail, &self.realm, request_id.as_str()).into_bytes();
        }
        rendered
    }
}

/// Shared by many realms: the built-in dialect without a realm.
pub fn nameless() -> Arc<Dialect> {
    Arc::new(Dialect::builtin("portcullis"))
}

/// Header fields that every refusal has by rule, and those that frame it.
const FIXED: &[&str] = &[
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "keep-alive",
    "retry-after",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-content-type-options",
    "x-request-id",
];

impl DialectSpec {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, entry) in self.entries() {
            entry.check(&path, &mut problems);
        }
        for (status, _) in self.status.iter().filter(|(status, _)| !is_refusal(*status)) {
            problems.push(format!("status.{status}: a refusal has a status from 400 to 599"));
        }
        for (path, body) in self.bodies() {
            self.check_body(&path, body, &mut problems);
        }
        let used: Vec<&str> = self.bodies().flat_map(|(_, body)| body.names()).collect();
        for (path, entry) in self.entries() {
            for (word, _) in entry.words.iter().filter(|(word, _)| !used.contains(&word.as_str())) {
                problems.push(format!("{path}.{word}: no body has ${word}"));
            }
        }
        problems
    }

    /// A word without a value for any reason that has this body is a slip of the pen, and so is a body that is nothing
    /// but such a word.
    fn check_body(&self, path: &str, body: &Template, problems: &mut Vec<String>) {
        let reasons =
            Reason::ALL.iter().filter(|reason| self.chain(**reason).body.is_some_and(|own| std::ptr::eq(own, body)));
        let chains: Vec<_> = reasons.map(|reason| self.chain(*reason)).collect();
        if chains.is_empty() {
            return;
        }
        let mut names = body.names();
        names.sort_unstable();
        names.dedup();
        for name in names.into_iter().filter(|name| !Dialect::NAMES.contains(name)) {
            if chains.iter().all(|chain| chain.word(name).is_none()) {
                let reasons: Vec<_> = chains.iter().take(5).map(|chain| chain.reason.as_str()).collect();
                let more = if chains.len() > 5 { ", …" } else { "" };
                problems.push(format!(
                    "{path}: ${name} has no value for any reason with this body ({}{more})",
                    reasons.join(", ")
                ));
            }
        }
        if let Some(chain) = chains.iter().find(|chain| chain.is_blank(body)) {
            problems.push(format!("{path}: nothing is left of the body for {}", chain.reason));
        }
    }

    /// Every entry with its key path.
    fn entries(&self) -> impl Iterator<Item = (String, &Entry)> {
        let by_status = self.status.iter().map(|(status, entry)| (format!("status.{status}"), entry));
        by_status.chain(self.on.iter().map(|(reason, entry)| (format!("on.{reason}"), entry)))
    }

    /// Every body with its key path.
    fn bodies(&self) -> impl Iterator<Item = (String, &Template)> {
        let common = self.body.iter().map(|body| (String::from("body"), body));
        common.chain(self.entries().filter_map(|(path, entry)| Some((format!("{path}.body"), entry.body.as_ref()?))))
    }
}

impl Entry {
    fn check(&self, path: &str, problems: &mut Vec<String>) {
        if let Some(status) = self.status.filter(|status| !is_refusal(*status)) {
            problems.push(format!("{path}.status: {status} does not refuse; it must be 400 to 599"));
        }
        for (name, _) in &self.headers {
            let name = name.as_str();
            if FIXED.contains(&name) || name.starts_with("ratelimit-") || name.starts_with("x-ratelimit-") {
                problems.push(format!("{path}.headers.{name}: this field is set by the gateway"));
            }
        }
        for (word, _) in self.words.iter().filter(|(word, _)| Dialect::NAMES.contains(&word.as_str())) {
            problems.push(format!("{path}.{word}: ${word} has its value already"));
        }
    }
}

fn is_refusal(status: u16) -> bool {
    (400..=599).contains(&status)
}
