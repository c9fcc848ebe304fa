//! What the application is asked: who somebody is, and what becomes of a subject. How it is asked over the network does
//! not belong here: the assembly hands over a [`Callback`], tests hand over answers.

use std::fmt;
use std::time::Duration;

use http::Method;

use crate::clock::UnixMillis;
use crate::secret::Secret;

/// One call.
#[derive(Clone)]
pub struct CallbackRequest {
    /// Method.
    pub method: Method,
    /// Where: https, or http on this machine. May hold a subject.
    pub url: String,
    /// JSON. May hold a password.
    pub body: Option<Vec<u8>>,
    /// Shared with the application: it is shown as a Bearer token, and signs the call.
    pub secret: Option<Secret>,
    /// For the whole of it.
    pub timeout: Duration,
    /// Id of the request on whose behalf the application is asked; also the id of the call.
    pub request_id: String,
    /// The time now.
    pub at: UnixMillis,
}

/// What the application answered, whatever its status; but no redirect.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackReply {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, where it stands in seconds.
    pub retry_after: Option<Duration>,
    /// The body as it came. Nobody has looked whether it is JSON.
    pub body: Vec<u8>,
}

/// There is no answer. The text is for logs: it holds neither path nor query of the URL, no body and no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Outage {
    /// What went wrong.
    pub text: String,
}

/// Asks the application. Follows no redirect, and repeats a call only when no connection could be made: one that has
/// arrived may have been counted as a failed login.
#[async_trait::async_trait]
pub trait Callback: Send + Sync + fmt::Debug {
    /// Calls once, and waits for the answer. Whoever stops waiting does not undo the call.
    ///
    /// # Errors
    /// See [`Outage`]: no answer in time, no whole answer, or too large a one; or too many calls are under way.
    async fn call(&self, request: CallbackRequest) -> Result<CallbackReply, Outage>;
}

impl fmt::Debug for CallbackRequest {
    /// Without what may be personal or secret: URL and body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.body.as_ref().map_or(0, Vec::len);
        write!(f, "CallbackRequest({}, {bytes} bytes, within {:?}, {})", self.method, self.timeout, self.request_id)
    }
}

impl fmt::Debug for CallbackReply {
    /// Without the body: it is about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackReply({}, {} bytes)", self.status, self.body.len())
    }
}
