//! The list of endpoints.

use std::future::Future;
use std::pin::Pin;

use http::Method;

use super::call::Call;
use super::fields::Field;
use super::{Answer, Refusal};

/// What a handler gives.
type Doing<'a> = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send + 'a>>;

/// One route of the admin API.
pub struct Endpoint {
    /// Method.
    pub method: Method,
    /// Path, with `{name}` for one segment each.
    pub path: &'static str,
    /// Scope that a token needs; none = no token will do, only somebody on the machine.
    pub scope: Option<&'static str>,
    /// `operationId`.
    pub name: &'static str,
    /// For the documentation; ends with a dot.
    pub about: &'static str,
    /// Query parameters.
    pub query: &'static [Field],
    /// Members of the body; none = no body is taken.
    pub body: Option<&'static [Field]>,
    /// Status of the good answer.
    pub status: u16,
    /// What the good answer holds: name of a schema.
    pub answers: &'static str,
    /// Whether the answer is a list `{ data, next_cursor }` of them.
    pub list: bool,
    /// Whether it makes something: `Idempotency-Key` is understood.
    pub creates: bool,
    pub(super) handler: for<'a> fn(&'a Call<'a>) -> Doing<'a>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Every endpoint.
pub static ENDPOINTS: &[&[Endpoint]] = &[
    super::views::ENDPOINTS,
    super::clients::ENDPOINTS,
    super::addresses::ENDPOINTS,
    super::keys::ENDPOINTS,
    super::audit::ENDPOINTS,
    super::tokens::ENDPOINTS,
];
