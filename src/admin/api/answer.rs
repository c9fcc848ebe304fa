//! Answers, and refusals as problem details (RFC 9457).

use serde_json::Value;

use crate::store::StoreError;

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
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
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: Value) -> Self {
        Self { status: 200, body: Some(body), etag: None, location: None, challenge: None, retry_after: None }
    }

    /// 200 with one thing and its version.
    pub fn versioned(body: Value, version: i64) -> Self {
        Self { etag: Some(format!("\"{version}\"")), ..Self::ok(body) }
    }

    /// 201 with a new thing.
    pub fn created(body: Value, location: String) -> Self {
        Self { status: 201, location: Some(location), ..Self::ok(body) }
    }
}

/// Why an admin request is not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// 400: fields with what is wrong with each: `(field, text)`.
    Invalid(Vec<(String, String)>),
    /// 403: the token lacks this scope.
    Scope(&'static str),
    /// 403: the token is not for this realm.
    Realm(String),
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
    /// 412: somebody else has changed it.
    Stale,
    /// 422: the `Idempotency-Key` was used for something else.
    KeyReused,
    /// 503 (or 507 when the disk is full).
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Refusal {
    /// One field that is wrong.
    pub fn field(name: &str, text: impl Into<String>) -> Self {
        Self::Invalid(vec![(name.to_owned(), text.into())])
    }

    /// What is answered.
    pub fn answer(&self, request_id: &str) -> Answer {
        let _ = request_id;
        unimplemented!()
    }
}
