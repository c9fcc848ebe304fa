//! Answers, and refusals as problem details (RFC 9457).

use http::StatusCode;
use serde_json::{Value, json};

use super::actor::CHALLENGE;
use crate::password::HashFault;
use crate::store::{Fault, StoreError};

/// After so many seconds it is worth asking a store again that was out of reach.
const RETRY_AFTER: u64 = 2;

/// What is answered.
#[derive(Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body; none = no content. A status of 400 and above has problem details.
    pub body: Option<Value>,
    /// Value of `ETag`: the version in quotes.
    pub etag: Option<String>,
    /// Value of `Location`.
    pub location: Option<String>,
    /// Value of `WWW-Authenticate` (401, 403).
    pub challenge: Option<String>,
    /// Value of `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// Value of `Allow` (405).
    pub allow: Option<String>,
}

impl std::fmt::Debug for Answer {
    /// Of the bodies, only refusals: others may hold a secret that is shown once.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let refusal = self.body.as_ref().filter(|_| self.status >= 400);
        let mut shown = f.debug_struct("Answer");
        shown.field("status", &self.status).field("refusal", &refusal).field("etag", &self.etag);
        shown.field("location", &self.location).finish_non_exhaustive()
    }
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: Value) -> Self {
        Self {
            status: 200,
            body: Some(body),
            etag: None,
            location: None,
            challenge: None,
            retry_after: None,
            allow: None,
        }
    }

    /// 200 with one thing and its version.
    pub fn versioned(body: Value, version: i64) -> Self {
        Self { etag: Some(format!("\"{version}\"")), ..Self::ok(body) }
    }

    /// 201 with a new thing.
    pub fn created(body: Value, location: String) -> Self {
        Self { status: 201, location: Some(location), ..Self::ok(body) }
    }

    /// 200 with a part of a list. `next_cursor`: where it goes on; none = it ends here.
    pub fn list(data: Vec<Value>, next_cursor: Option<String>) -> Self {
        Self::ok(json!({ "data": data, "next_cursor": next_cursor }))
    }

    /// A refusal: `code` is stable, `detail` is for people.
    pub fn problem(status: u16, code: &str, detail: impl Into<String>, request_id: &str) -> Self {
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let body = json!({
            "type": format!("urn:portcullis:error:{code}"),
            "title": title.unwrap_or("Refused"),
            "status": status,
            "detail": detail.into(),
            "instance": format!("urn:uuid:{request_id}"),
            "code": code,
        });
        Self { status, ..Self::ok(body) }
    }

    /// The same with one member more.
    fn with(mut self, name: &str, value: Value) -> Self {
        if let Some(Value::Object(members)) = &mut self.body {
            members.insert(name.to_owned(), value);
        }
        self
    }
}

/// Why an admin request is not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// 400: fields with what is wrong with each: `(field, text)`.
    Invalid(Vec<(String, String)>),
    /// 403: the token lacks this scope.
    Scope(&'static str),
    /// 403: no token will do.
    MachineOnly,
    /// 403: the token is not for this realm.
    Realm(String),
    /// 403: the token is for some realms, and this concerns all.
    AllRealms,
    /// 404: what is not there, for people.
    NotFound(String),
    /// 409: `code` and text. Codes: `conflict` (a name is taken), `confirmation_required`, `already_created` (with the
    /// id in `target`), `wrong_state`, `read_only` (declared in the configuration).
    Conflict {
        /// Stable code.
        code: &'static str,
        /// For people.
        text: String,
        /// Id of what is in the way.
        target: Option<String>,
    },
    /// 409: the configuration cannot be put in force; every problem, for people.
    Reload(Vec<String>),
    /// 412: somebody else has changed it.
    Stale,
    /// 422: the `Idempotency-Key` was used for something else.
    KeyReused,
    /// 503: too much else is to be done. After so many seconds it is worth asking again.
    Overloaded(u64),
    /// 503 (or 507 when the disk is full).
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<HashFault> for Refusal {
    /// Nothing is known of the password then, and nothing was written.
    fn from(fault: HashFault) -> Self {
        match fault {
            HashFault::Busy { retry_after } => Self::Overloaded(retry_after.as_secs().max(1)),
            HashFault::NoRandomness | HashFault::Failed | HashFault::Malformed => {
                Self::Store(StoreError::new(Fault::Unreachable, fault.to_string()))
            }
        }
    }
}

impl From<getrandom::Error> for Refusal {
    fn from(error: getrandom::Error) -> Self {
        Self::Store(StoreError::new(Fault::Unreachable, format!("the system has no randomness to give: {error}")))
    }
}

impl Refusal {
    /// One field that is wrong.
    pub fn field(name: &str, text: impl Into<String>) -> Self {
        Self::Invalid(vec![(name.to_owned(), text.into())])
    }

    /// A refused change: [`Refusal::Conflict`] without anything that is in the way.
    pub fn conflict(code: &'static str, text: impl Into<String>) -> Self {
        Self::Conflict { code, text: text.into(), target: None }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "validation_failed",
            Self::Scope(_) | Self::MachineOnly => "insufficient_scope",
            Self::Realm(_) | Self::AllRealms => "realm_denied",
            Self::Reload(_) => "reload_failed",
            Self::NotFound(_) => "not_found",
            Self::Conflict { code, .. } => code,
            Self::Stale => "stale_version",
            Self::KeyReused => "idempotency_key_reused",
            Self::Overloaded(_) => "overloaded",
            Self::Store(error) => match error.fault {
                Fault::Full => "store_full",
                Fault::Conflict => "conflict",
                Fault::Unreachable | Fault::Locked | Fault::ReadOnly | Fault::Corrupt => "store_unavailable",
            },
        }
    }

    /// What is answered. What went wrong with the store is logged here, under the id of the request: it is not for
    /// those who ask.
    pub fn answer(&self, request_id: &str) -> Answer {
        let problem = |status, detail: &str| Answer::problem(status, self.code(), detail, request_id);
        match self {
            Self::Invalid(faults) => {
                let errors: Vec<_> =
                    faults.iter().map(|(field, text)| json!({ "field": field, "message": text })).collect();
                let detail = match faults.as_slice() {
                    [(field, text)] => format!("{field} {text}"),
                    _ => format!("{} things are wrong with the request", faults.len()),
                };
                problem(400, &detail).with("errors", errors.into())
            }
            Self::Scope(scope) => {
                let challenge = format!("{CHALLENGE}, error=\"insufficient_scope\", scope=\"{scope}\"");
                let answer = problem(403, &format!("this token lacks the scope {scope}"));
                Answer { challenge: Some(challenge), ..answer }
            }
            Self::MachineOnly => problem(403, "no token may do this: use the command line on the machine itself"),
            Self::Realm(realm) => problem(403, &format!("this token is not for the realm {realm:?}")),
            Self::AllRealms => problem(403, "this token is for some realms, and this concerns all of them"),
            Self::NotFound(text) => problem(404, text),
            Self::Conflict { text, target, .. } => {
                let answer = problem(409, text);
                match target {
                    Some(target) => answer.with("target", target.as_str().into()),
                    None => answer,
                }
            }
            Self::Reload(problems) => {
                let errors: Vec<_> =
                    problems.iter().map(|text| json!({ "field": "configuration", "message": text })).collect();
                problem(409, "the configuration was not put in force: the one before stays")
                    .with("errors", errors.into())
            }
            Self::Stale => problem(412, "somebody else has changed it: read it again, and change what is there now"),
            Self::KeyReused => problem(422, "this Idempotency-Key was used for another request"),
            Self::Overloaded(seconds) => {
                let answer = problem(503, "too many passwords are being hashed: try again");
                Answer { retry_after: Some(*seconds), ..answer }
            }
            Self::Store(error) => store_trouble(error, request_id, self.code()),
        }
    }
}

fn store_trouble(error: &StoreError, request_id: &str, code: &str) -> Answer {
    let problem = |status, detail| Answer::problem(status, code, detail, request_id);
    if error.fault == Fault::Conflict {
        return problem(409, "somebody else did the same at the same moment: look at what is there now");
    }
    tracing::error!(request_id, fault = error.fault.as_str(), "admin request failed: {error}");
    let unavailable = |detail| Answer { retry_after: Some(RETRY_AFTER), ..problem(503, detail) };
    match error.fault {
        Fault::Full => problem(507, "the store has no room left: nothing was changed, free some disk space"),
        Fault::ReadOnly => unavailable("the store may not be written"),
        Fault::Corrupt => unavailable("the store holds something unexpected: see the log of the gateway"),
        Fault::Locked => unavailable("the store is in use by somebody else for too long: try again"),
        Fault::Unreachable | Fault::Conflict => unavailable("the store is out of reach: try again"),
    }
}
