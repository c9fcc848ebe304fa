//! HTTP to the outside: key sets and the application's directory, on behalf of the engines that only know a trait for it,
//! and the admin API of another process, on behalf of the command line. Whom to trust, what to follow (nothing) and how
//! much to read is decided here; what the documents mean is not.

mod admin;
mod callback;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Certificate, Client, StatusCode, redirect, retry, tls};
use rustls::CertificateError;

pub use admin::{AdminClient, AdminReply, AdminRequest};
pub use callback::HttpCallback;

use crate::gate::verify::jwks::{Fetch, FetchRequest, acceptable_url};

/// For name, connection and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Clients kept; as many as there are different authorities in a configuration, normally one or two.
const MOST_CLIENTS: usize = 64;
/// Characters of a foreign error text.
const LONGEST_CAUSE: usize = 200;

/// Whose word about a server's identity is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    /// Nobody's: plain http on this machine.
    Nobody,
    /// The system's authorities.
    System,
    /// Only these authorities (PEM).
    Only(Arc<[u8]>),
}

/// Connections that are kept for the next request.
#[derive(Clone, Copy, Debug)]
struct Idle {
    /// How many to one host.
    most: usize,
    /// How long.
    time: Duration,
}

impl Idle {
    /// Just long enough for the second request of a discovery.
    const SHORT: Self = Self { most: 1, time: Duration::from_secs(5) };
}

/// Fetches documents over HTTP: https with TLS 1.2 or newer, http on this machine only. Follows no redirect, sends no
/// cookies, uses no proxy of the environment, repeats nothing, takes status 200 only and reads no more than allowed.
///
/// The authorities of the system are read when they are first needed. A TLS provider must have been installed by then
/// (`rustls::crypto::CryptoProvider::install_default`).
#[derive(Debug, Default)]
pub struct HttpFetch {
    clients: Mutex<HashMap<Trust, Client>>,
}

impl HttpFetch {
    /// A fetcher without connections.
    pub fn new() -> Self {
        Self::default()
    }

    async fn get(&self, request: &FetchRequest) -> Result<Vec<u8>, String> {
        acceptable_url(&request.url)?;
        let client = self.client(request)?;
        let asked = client.get(&request.url).header(ACCEPT, "application/jwk-set+json, application/json");
        let mut response = asked.send().await.map_err(|error| cause(&error))?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(format!("status {}: not followed", status.as_u16())),
            status => return Err(format!("status {}", status.as_u16())),
        }
        let too_large = || format!("larger than {} bytes", request.max_size);
        if response.content_length().is_some_and(|length| length > request.max_size as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
            if chunk.len() > request.max_size.saturating_sub(body.len()) {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The client for a request. One that cannot be built is tried again the next time: authorities may arrive later.
    fn client(&self, request: &FetchRequest) -> Result<Client, String> {
        let trust = match &request.ca {
            Some(pem) => Trust::Only(Arc::clone(pem)),
            None if request.url.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("http:")) => Trust::Nobody,
            None => Trust::System,
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = build(&trust, Idle::SHORT)?;
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        clients.insert(trust, client.clone());
        Ok(client)
    }
}

#[async_trait::async_trait]
impl Fetch for HttpFetch {
    async fn fetch(&self, request: FetchRequest) -> Result<Vec<u8>, String> {
        let result = match tokio::time::timeout(request.timeout, self.get(&request)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no complete answer within {:?}", request.timeout)),
        };
        result.map_err(|cause| format!("{}: {cause}", for_the_log(&request.url)))
    }
}

fn build(trust: &Trust, idle: Idle) -> Result<Client, String> {
    // Without a provider the library panics.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err("no TLS provider is installed".to_owned());
    }
    let client = Client::builder()
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .referer(false)
        .tls_version_min(tls::Version::TLS_1_2)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(idle.time)
        .pool_max_idle_per_host(idle.most)
        .http2_max_header_list_size(16 * 1024);
    let client = match trust {
        Trust::System => client,
        Trust::Nobody => client.tls_certs_only([]),
        Trust::Only(pem) => {
            let authorities = Certificate::from_pem_bundle(pem).map_err(|_| "ca: no valid PEM".to_owned())?;
            if authorities.is_empty() {
                return Err("ca: holds no certificate".to_owned());
            }
            client.tls_certs_only(authorities)
        }
    };
    client.build().map_err(|error| format!("TLS cannot be set up: {}", cause(&error)))
}

/// A URL without what may hold secrets.
fn for_the_log(url: &str) -> String {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    if place.contains('@') {
        return "a URL with credentials".to_owned();
    }
    harmless(place)
}

/// What went wrong, in a few words. The library's own texts repeat the URL and hide the cause at the end of a chain.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "the connection timed out" } else { "timed out" }.to_owned();
    }
    if error.is_dns() {
        return "the name of the host cannot be resolved".to_owned();
    }
    let mut last: Option<&(dyn Error + 'static)> = None;
    let mut next = error.source();
    // The depth is bounded against chains that never end.
    for _ in 0..16 {
        let Some(this) = next else { break };
        // An io::Error hides what it wraps from `source`.
        let wrapped = this.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        for one in [Some(this), wrapped.map(|inner| inner as &(dyn Error + 'static))].into_iter().flatten() {
            if let Some(tls) = one.downcast_ref::<rustls::Error>() {
                return tls_cause(tls);
            }
            if let Some(io) = one.downcast_ref::<io::Error>().filter(|io| io.get_ref().is_none()) {
                return io.kind().to_string();
            }
        }
        last = Some(this);
        next = wrapped.map_or_else(|| this.source(), |inner| Some(inner));
    }
    last.map_or_else(|| "the request failed".to_owned(), |error| harmless(&error.to_string()))
}

fn tls_cause(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return format!("TLS: {}", harmless(&error.to_string()));
    };
    let text = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        CertificateError::UnknownIssuer => "the certificate is not from a trusted authority",
        CertificateError::Revoked => "the certificate was revoked",
        other => return format!("TLS: the certificate is not acceptable: {}", harmless(&format!("{other:?}"))),
    };
    format!("TLS: {text}")
}

/// Foreign text made fit for a log line.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(LONGEST_CAUSE).collect()
}

#[cfg(test)]
mod tests;
