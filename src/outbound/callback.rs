//! Calls to the application's directory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Client, Response, Url};
use sha2::Sha256;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{Idle, Trust, build, cause};
use crate::gate::verify::jwks::acceptable_url;
use crate::secret::Secret;
use crate::tokens::callback::{Callback, CallbackReply, CallbackRequest, Outage};

/// Largest answer.
const LARGEST: usize = 256 * 1024;

/// Calls to one host at once: an application that has stopped answering must not hold every login of the gateway.
const MOST_CALLS: usize = 64;

/// Kept for less than the 5 s after which the hastiest servers hang up: a call that meets a connection at its end is
/// lost, and must not be repeated.
const IDLE: Idle = Idle { most: MOST_CALLS, time: Duration::from_secs(4) };

/// Longest `Retry-After` that is believed.
const LONGEST_RETRY: u64 = 24 * 60 * 60;

/// Calls over HTTP: https by the system's authorities, http on this machine only; no proxy of the environment.
///
/// The calls run on one runtime, whichever thread asks: connections belong to the runtime that made them, and end with
/// it. A call whose asker goes away runs to its end.
#[derive(Debug)]
pub struct HttpCallback {
    handle: Handle,
    caller: Arc<Caller>,
}

#[derive(Debug, Default)]
struct Caller {
    clients: Mutex<HashMap<Trust, Client>>,
    /// Calls under way, by host. Only those are in it that have any.
    calls: Mutex<HashMap<String, usize>>,
}

impl HttpCallback {
    /// Calls that run on the runtime of `handle`, which must have timers and sockets.
    pub fn new(handle: Handle) -> Self {
        Self { handle, caller: Arc::default() }
    }
}

#[async_trait]
impl Callback for HttpCallback {
    async fn call(&self, request: CallbackRequest) -> Result<CallbackReply, Outage> {
        let url = target(&request.url).map_err(|text| Outage { text })?;
        let host = url.origin().ascii_serialization();
        let told = |text| Outage { text: format!("{host}: {text}") };
        let too_many = || format!("{MOST_CALLS} calls to it are under way already");
        let place = Place::taken(&self.caller, &host).ok_or_else(too_many).map_err(told)?;
        let (caller, timeout) = (Arc::clone(&self.caller), request.timeout);
        let call = self.handle.spawn(async move {
            let _place = place;
            let answered = tokio::time::timeout(timeout, caller.exchange(url, request)).await;
            answered.unwrap_or_else(|_| Err(format!("no complete answer within {timeout:?}")))
        });
        call.await.unwrap_or_else(|_| Err("the call was broken off".to_owned())).map_err(told)
    }
}

/// The URL, if it may be called. The text does not repeat it.
fn target(url: &str) -> Result<Url, String> {
    acceptable_url(url)?;
    url.parse().map_err(|_| "this is no absolute URL".to_owned())
}

impl Caller {
    async fn exchange(&self, url: Url, request: CallbackRequest) -> Result<CallbackReply, String> {
        let client = self.client(&url)?;
        let headers = headers(&request)?;
        let send = || {
            let mut asked = client.request(request.method.clone(), url.clone()).headers(headers.clone());
            if let Some(body) = &request.body {
                asked = asked.body(body.clone());
            }
            asked.send()
        };
        let response = match send().await {
            Err(error) if error.is_connect() => send().await,
            response => response,
        };
        read(response.map_err(|error| cause(&error))?).await
    }

    /// The client for a URL. One that cannot be built is tried again the next time: authorities may arrive later.
    fn client(&self, url: &Url) -> Result<Client, String> {
        let trust = if url.scheme() == "https" { Trust::System } else { Trust::Nobody };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = build(&trust, IDLE)?;
        clients.insert(trust, client.clone());
        Ok(client)
    }
}

async fn read(mut response: Response) -> Result<CallbackReply, String> {
    let status = response.status();
    if status.is_redirection() {
        return Err(format!("status {}: not followed", status.as_u16()));
    }
    let too_large = || format!("the answer is larger than {LARGEST} bytes");
    if response.content_length().is_some_and(|length| length > LARGEST as u64) {
        return Err(too_large());
    }
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).filter(|secs| *secs <= LONGEST_RETRY);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        if chunk.len() > LARGEST.saturating_sub(body.len()) {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(CallbackReply { status: status.as_u16(), retry_after: retry_after.map(Duration::from_secs), body })
}

fn headers(request: &CallbackRequest) -> Result<HeaderMap, String> {
    let json = HeaderValue::from_static("application/json");
    let id = HeaderValue::from_str(&request.request_id).map_err(|_| "the id of the request cannot be sent")?;
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, json.clone());
    headers.insert(HeaderName::from_static("x-request-id"), id.clone());
    if request.body.is_some() {
        headers.insert(header::CONTENT_TYPE, json);
    }
    if let Some(secret) = &request.secret {
        headers.insert(header::AUTHORIZATION, bearer(secret)?);
        headers.insert(HeaderName::from_static("webhook-id"), id);
        headers.insert(HeaderName::from_static("webhook-timestamp"), request.at.secs().into());
        headers.insert(HeaderName::from_static("webhook-signature"), signature(secret, request)?);
    }
    Ok(headers)
}

/// A secret that is no visible ASCII is shown in base64url.
fn bearer(secret: &Secret) -> Result<HeaderValue, String> {
    let bytes = secret.expose();
    let mut text = Zeroizing::new(b"Bearer ".to_vec());
    if bytes.iter().all(u8::is_ascii_graphic) {
        text.extend_from_slice(bytes);
    } else {
        text.extend_from_slice(Zeroizing::new(BASE64URL_NOPAD.encode(bytes)).as_bytes());
    }
    let mut value = HeaderValue::from_bytes(&text).map_err(|_| "the secret cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Of id, time and body, as the application checks it (Standard Webhooks: the symmetric scheme `v1`; the key is the
/// secret itself).
fn signature(secret: &Secret, request: &CallbackRequest) -> Result<HeaderValue, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).map_err(|_| "the secret cannot sign")?;
    mac.update(format!("{}.{}.", request.request_id, request.at.secs()).as_bytes());
    mac.update(request.body.as_deref().unwrap_or_default());
    let text = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
    HeaderValue::from_str(&text).map_err(|_| "the signature cannot be sent".to_owned())
}

/// One of the calls that may be under way to a host.
struct Place {
    caller: Arc<Caller>,
    host: String,
}

impl Place {
    /// None: all are taken.
    fn taken(caller: &Arc<Caller>, host: &str) -> Option<Self> {
        let mut calls = caller.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(host.to_owned()).or_default();
        if *count >= MOST_CALLS {
            return None;
        }
        *count += 1;
        Some(Self { caller: Arc::clone(caller), host: host.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.caller.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
