//! The admin API of a gateway, for the command line.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, header};
use reqwest::Client;

use super::{Idle, Trust, build, cause};
use crate::gate::verify::jwks::acceptable_url;

/// Largest answer.
const LARGEST: usize = 32 << 20;

/// Asks one admin API: https, or http on this machine. Follows no redirect, uses no proxy of the environment, and
/// repeats nothing by itself.
#[derive(Debug)]
pub struct AdminClient {
    client: Client,
    base: String,
    authorization: HeaderValue,
}

/// One request.
pub struct AdminRequest {
    /// Method.
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// JSON; empty = no body.
    pub body: Vec<u8>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// For the whole of it.
    pub timeout: Duration,
}

/// What came back.
pub struct AdminReply {
    /// HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
}

impl std::fmt::Debug for AdminRequest {
    /// Without the body: it may hold a password or a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminRequest({} {}, {} bytes)", self.method, self.target, self.body.len())
    }
}

impl std::fmt::Debug for AdminReply {
    /// Without the body: it may hold a secret that is shown once.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminReply({}, {} bytes)", self.status, self.body.len())
    }
}

impl AdminClient {
    /// Prepares to ask the API at `base` (`https://gateway.example:9901`) with a token; `authorities` (PEM): whose word
    /// about the server is taken, instead of the system's.
    ///
    /// # Errors
    /// A text for people: the URL, the token or the authorities will not do.
    pub fn new(base: &str, token: &str, authorities: Option<&[u8]>) -> Result<Self, String> {
        Self::check_url(base)?;
        let plain = base.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
        let trust = match authorities {
            Some(pem) => Trust::Only(Arc::from(pem)),
            None if plain => Trust::Nobody,
            None => Trust::System,
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "the token has characters that cannot be sent".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Self { client: build(&trust, Idle::SHORT)?, base: base.trim_end_matches('/').to_owned(), authorization })
    }

    /// Whether a token may be sent to `base` at all: https, or http on this machine.
    ///
    /// # Errors
    /// A text for people: why not.
    pub fn check_url(base: &str) -> Result<(), String> {
        acceptable_url(base)?;
        if base.contains('?') { Err("the URL has a query".to_owned()) } else { Ok(()) }
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// A text for people: nothing came back, not in time, or too much.
    pub async fn send(&self, request: AdminRequest) -> Result<AdminReply, String> {
        let timeout = request.timeout;
        let answered = tokio::time::timeout(timeout, self.exchange(request)).await;
        let told = |text| format!("{}: {text}", self.base);
        answered.unwrap_or_else(|_| Err(format!("no complete answer within {timeout:?}"))).map_err(told)
    }

    async fn exchange(&self, request: AdminRequest) -> Result<AdminReply, String> {
        let url = format!("{}{}", self.base, request.target);
        let mut asked = self.client.request(request.method, url).header(header::AUTHORIZATION, &self.authorization);
        asked = asked.header(header::ACCEPT, "application/json, application/problem+json");
        if !request.body.is_empty() {
            asked = asked.header(header::CONTENT_TYPE, "application/json").body(request.body);
        }
        if let Some(key) = request.idempotency_key {
            asked = asked.header("idempotency-key", key);
        }
        if let Some(version) = request.if_match {
            asked = asked.header(header::IF_MATCH, version);
        }
        let mut response = asked.send().await.map_err(|error| cause(&error))?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (etag, retry_after) = (text(header::ETAG), text(header::RETRY_AFTER).and_then(|text| text.parse().ok()));
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("status {}: not followed", status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
            if chunk.len() > LARGEST.saturating_sub(body.len()) {
                return Err(format!("the answer is larger than {LARGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(AdminReply { status: status.as_u16(), body, etag, retry_after })
    }
}
