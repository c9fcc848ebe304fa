//! Asking the application who a subject is, and whether it may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use serde_json::{Map, Value, json};

use super::Service;
use super::callback::CallbackRequest;
use super::directory::call;
use super::policy::Subject;
use super::refusal::Refusal;
use crate::clock::UnixMillis;

/// Answers that are remembered.
const MOST: usize = 10_000;
/// Longest id: it becomes a header field.
const LONGEST: usize = 256;

/// A subject that was found and may.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Who it is.
    pub(super) id: String,
    /// What templates may use: the declared fields, and `id`.
    pub(super) fields: Map<String, Value>,
}

/// An answer, and when it was given.
type Given = (UnixMillis, Arc<Value>);

/// Answers by realm and URL, each with the time it was given.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: Mutex<HashMap<(String, String), Given>>,
}

impl Service<'_> {
    /// Looks a subject up. `names`: values for its URL and body.
    ///
    /// # Errors
    /// [`Refusal::SubjectNotFound`], [`Refusal::SubjectInactive`], or the application does not answer clearly.
    pub(super) async fn look_up(
        self,
        subject: &Subject,
        names: &(dyn Fn(&str) -> Option<Value> + Sync),
    ) -> Result<Found, Refusal> {
        let as_text = |name: &str| match names(name)? {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        // A name that would be another path names nobody.
        let url = subject.url.render(&as_text).ok_or(Refusal::SubjectNotFound)?;
        let body = subject.body.as_ref().map(|body| body.render(names).unwrap_or(Value::Object(Map::new())));
        let last = subject.url.last_name().and_then(as_text);
        let answer = self.ask_about(subject, url, body).await?;
        let id = match &subject.id {
            Some(pointer) => answer.pointer(pointer).and_then(|id| match id {
                Value::String(id) => Some(id.clone()),
                Value::Number(id) => Some(id.to_string()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            }),
            None => last,
        };
        let id = id.filter(|id| (1..=LONGEST).contains(&id.len()) && !id.chars().any(char::is_control));
        let id = id.ok_or_else(|| unclear(subject, "it has no id"))?;
        for (name, allowed) in &subject.require {
            if !member(&answer, name).is_some_and(|value| allowed.contains(value)) {
                return Err(Refusal::SubjectInactive);
            }
        }
        let mut fields = Map::from_iter([("id".to_owned(), json!(id))]);
        for (name, pointer) in &subject.fields {
            fields.extend(answer.pointer(pointer).map(|value| (name.to_string(), value.clone())));
        }
        Ok(Found { id, fields })
    }

    async fn ask_about(self, subject: &Subject, url: String, body: Option<Value>) -> Result<Arc<Value>, Refusal> {
        let now = self.ask.now;
        let memory = &self.inner.subjects;
        let key = (self.realm.realm.to_string(), url.clone());
        let remembered = !subject.cache.is_zero() && subject.method == Method::GET;
        if remembered && let Some(answer) = memory.get(&key, subject.cache, now) {
            return Ok(answer);
        }
        let request = CallbackRequest {
            method: subject.method.clone(),
            url,
            body: body.map(|body| body.to_string().into_bytes()),
            secret: subject.secret.clone(),
            timeout: subject.timeout,
            request_id: self.ask.request_id.clone(),
            at: now,
        };
        let reply = call(self.inner, request).await?;
        match reply.status {
            200..=299 => {}
            404 | 410 => return Err(Refusal::SubjectNotFound),
            403 => return Err(Refusal::SubjectInactive),
            400 | 422 if subject.method != Method::GET => {
                return Err(Refusal::Fields { problems: Vec::new(), message: None });
            }
            429 => return Err(Refusal::RateLimited(reply.retry_after)),
            status => {
                tracing::warn!(subject = &*subject.name, status, "an application answers as nobody asked it to");
                return Err(Refusal::DirectoryUnavailable);
            }
        }
        let answer: Value = serde_json::from_slice(&reply.body).map_err(|_| unclear(subject, "it is no JSON"))?;
        if !answer.is_object() {
            return Err(unclear(subject, "it is no object"));
        }
        let answer = Arc::new(answer);
        if remembered {
            memory.keep(key, Arc::clone(&answer), now);
        }
        Ok(answer)
    }
}

/// A member by its name, or by a pointer.
fn member<'v>(answer: &'v Value, name: &str) -> Option<&'v Value> {
    if name.starts_with('/') { answer.pointer(name) } else { answer.get(name) }
}

fn unclear(subject: &Subject, what: &str) -> Refusal {
    tracing::warn!(subject = &*subject.name, what, "an application's answer to a look-up is not understood");
    Refusal::DirectoryUnavailable
}

impl Memory {
    fn get(&self, key: &(String, String), most: std::time::Duration, now: UnixMillis) -> Option<Arc<Value>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = answers.get(key)?;
        (*at <= now && now < at.plus(most)).then(|| Arc::clone(answer))
    }

    fn keep(&self, key: (String, String), answer: Arc<Value>, now: UnixMillis) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(key, (now, answer));
    }
}
