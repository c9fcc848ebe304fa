//! One reason's answer: resolved and rendered at load, completed for each request.

use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::challenge::Challenge;
use super::{DialectSpec, Entry, Rendered};
use crate::gate::limit::whole_seconds;
use crate::gate::outcome::{Denial, Detail, Reason};
use crate::gate::request::RequestId;
use crate::reply::Template;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `Retry-After` of an outage whose end nobody knows.
const OUTAGE: Duration = Duration::from_secs(5);

/// The entries that serve a reason, the most specific first.
pub(super) struct Chain<'s> {
    pub(super) reason: Reason,
    pub(super) status: u16,
    /// None = problem details.
    pub(super) body: Option<&'s Template>,
    entries: Vec<&'s Entry>,
}

impl DialectSpec {
    pub(super) fn chain(&self, reason: Reason) -> Chain<'_> {
        let mut entries: Vec<_> = reason.lineage().filter_map(|reason| find(&self.on, &reason)).collect();
        let mut status = entries.iter().find_map(|entry| entry.status).unwrap_or(reason.public().status);
        if let Some(entry) = find(&self.status, &status) {
            entries.push(entry);
            // One step: the entry of the new status serves too, but moves it no further.
            if let Some(moved) = entry.status.filter(|moved| *moved != status) {
                status = moved;
                entries.extend(find(&self.status, &moved));
            }
        }
        let body = entries.iter().find_map(|entry| entry.body.as_ref()).or(self.body.as_ref());
        Chain { reason, status, body, entries }
    }
}

fn find<'s, K: PartialEq>(entries: &'s [(K, Entry)], key: &K) -> Option<&'s Entry> {
    entries.iter().find(|(its_key, _)| its_key == key).map(|(_, entry)| entry)
}

impl<'s> Chain<'s> {
    pub(super) fn word(&self, word: &str) -> Option<&'s Value> {
        self.entries.iter().find_map(|entry| entry.words.iter().find(|(name, _)| name == word).map(|(_, value)| value))
    }

    /// Whether everything in `body` is missing.
    pub(super) fn is_blank(&self, body: &Template) -> bool {
        body.render(&|name| self.value(name, "", "")).is_none()
    }

    fn message(&self) -> &'s str {
        self.entries.iter().find_map(|entry| entry.message.as_deref()).unwrap_or(self.reason.public().message)
    }

    fn code(&self) -> String {
        match self.entries.iter().find_map(|entry| entry.code.clone()) {
            Some(code) => code,
            None if self.body.is_some() => self.reason.as_str().to_ascii_uppercase(),
            None => self.reason.as_str().into(),
        }
    }

    /// Fields of all entries; of one name the most specific.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for entry in &self.entries {
            let before = headers.len();
            for (name, value) in &entry.headers {
                if headers[..before].iter().all(|(other, _)| other != name) {
                    headers.push((name.clone(), value.clone()));
                }
            }
        }
        headers
    }

    fn value(&self, name: &str, realm: &str, request_id: &str) -> Option<Value> {
        Some(match name {
            "status" => json!(self.status),
            "reason" => json!(self.reason.as_str()),
            "code" => json!(self.code()),
            "message" => json!(self.message()),
            "reason_phrase" | "title" => json!(phrase(self.status)),
            "request_id" => json!(request_id),
            "realm" => json!(realm),
            // Field by field only grants can tell.
            "fields" => return None,
            word => self.word(word)?.clone(),
        })
    }

    /// RFC 9457 section 3.
    fn problem(&self, request_id: &str) -> Value {
        json!({
            "type": format!("urn:portcullis:error:{}", self.reason),
            "title": phrase(self.status),
            "status": self.status,
            "detail": self.message(),
            "instance": format!("urn:uuid:{request_id}"),
            "code": self.code(),
        })
    }

    /// The body of a refusal that says more than the reason does.
    pub(super) fn detailed(&self, detail: &Detail, realm: &str, request_id: &str) -> String {
        let fields: Vec<_> =
            detail.fields.iter().map(|(field, message)| json!({ "field": field, "message": message })).collect();
        let value = |name: &str| match name {
            "code" if detail.code.is_some() => detail.code.map(|code| json!(code)),
            "message" if detail.message.is_some() => detail.message.as_ref().map(|message| json!(&**message)),
            "fields" if !fields.is_empty() => Some(json!(fields)),
            name => self.value(name, realm, request_id),
        };
        let body = match self.body {
            Some(template) => template.render(&value).unwrap_or(Value::Null),
            None => {
                let mut problem = self.problem(request_id);
                for (member, name) in [("detail", "message"), ("code", "code"), ("errors", "fields")] {
                    if let Some(value) = value(name) {
                        problem[member] = value;
                    }
                }
                problem
            }
        };
        body.to_string()
    }

    fn body(&self, realm: &str, request_id: &str) -> String {
        let body = match self.body {
            Some(template) => template.render(&|name| self.value(name, realm, request_id)).unwrap_or(Value::Null),
            None => self.problem(request_id),
        };
        body.to_string()
    }
}

fn phrase(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

/// What is answered to one reason.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    challenge: Option<Challenge>,
    /// The request id stands between two pieces. It needs no escaping: see [`RequestId`].
    body: Vec<Box<str>>,
    length: usize,
}

impl Answer {
    pub(super) fn compile(realm: &str, spec: &DialectSpec, reason: Reason) -> Self {
        let chain = spec.chain(reason);
        let content_type = if chain.body.is_some() { "application/json" } else { "application/problem+json" };
        let mut headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        headers.extend(chain.headers());
        let body = pieces(&|request_id| chain.body(realm, request_id));
        let length = body.iter().map(|piece| piece.len()).sum();
        Self { status: chain.status, headers, challenge: Challenge::new(realm, reason, chain.status), body, length }
    }

    pub(super) fn render(&self, denial: &Denial, request_id: &RequestId) -> Rendered {
        let mut headers = Vec::with_capacity(self.headers.len() + 6);
        headers.extend_from_slice(&self.headers);
        headers.extend(HeaderValue::from_str(request_id.as_str()).ok().map(|id| (REQUEST_ID.clone(), id)));
        if let Some(challenge) = &self.challenge {
            headers.push((WWW_AUTHENTICATE, challenge.value(denial.scope.as_deref())));
        }
        let allow = denial.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok());
        headers.extend(allow.map(|allow| (ALLOW, allow)));
        if let Some(wait) = self.wait(denial) {
            headers.push((RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1))));
        }
        if let Some(quota) = &denial.quota {
            headers.extend(quota.fields());
        }
        Rendered { status: self.status, headers, body: self.body(request_id.as_str()) }
    }

    fn wait(&self, denial: &Denial) -> Option<Duration> {
        let known = denial.retry_after.or(denial.quota.as_ref().map(|quota| quota.retry_after));
        match self.status {
            503 => known.or(Some(OUTAGE)),
            429 => known.or(Some(Duration::ZERO)),
            _ => known,
        }
    }

    fn body(&self, request_id: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.length + request_id.len() * self.body.len().saturating_sub(1));
        for (at, piece) in self.body.iter().enumerate() {
            if at > 0 {
                body.extend_from_slice(request_id.as_bytes());
            }
            body.extend_from_slice(piece.as_bytes());
        }
        body
    }
}

/// Splits what `render` makes of a request id where the id goes. The mark has a first character that does not occur in
/// it again and does not occur as a whole in the rest, so it is only found where it was put.
fn pieces(render: &dyn Fn(&str) -> String) -> Vec<Box<str>> {
    let rest = render("");
    let mark = (0_u64..).map(|n| format!("<{n}>")).find(|mark| !rest.contains(mark)).unwrap_or_default();
    render(&mark).split(&mark).map(Box::from).collect()
}
