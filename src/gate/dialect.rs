//! How a realm's refusals look: reason to status, header fields and body. Everything that is known at load is rendered
//! at load; an answer only fills in the request id.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::outcome::{Denial, Reason};
use super::request::RequestId;
use crate::reply::Template;

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
    /// HTTP status.
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
pub struct Dialect {}

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
    pub fn builtin(_realm: &str) -> Self {
        unimplemented!()
    }

    /// Compiles what was configured.
    ///
    /// # Errors
    /// Texts for people, each beginning with the key path inside `errors`: a name in a template that has no value for
    /// some reason, a status that is none.
    pub fn compile(_realm: &str, _spec: &DialectSpec) -> Result<Self, Vec<String>> {
        unimplemented!()
    }

    /// The answer to a denial.
    pub fn render(&self, _denial: &Denial, _request_id: &RequestId) -> Rendered {
        unimplemented!()
    }
}

/// Shared by many realms: the built-in dialect without a realm.
pub fn nameless() -> Arc<Dialect> {
    Arc::new(Dialect::builtin("portcullis"))
}
