//! The admin API over HTTP: from a request to an `Ask`, from an `Answer` to a response. What is allowed and what is done
//! belongs to `api`.
//!
//! Only bearer tokens let anybody in, never cookies: a page of somebody else's in a browser has nothing to send. Such a
//! page is refused besides, by its `Origin`, when that is not the host that was asked.

mod stream;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::api::{Actor, Admin, Answer, Ask};
use crate::clock::Clock;
use crate::gate::request::RequestId;

/// Largest body: room for a batch of a thousand keys.
const MAX_BODY: usize = 1024 * 1024;

/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Streams of events at once.
const MAX_STREAMS: usize = 8;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The admin API, to be served.
#[derive(Clone)]
pub struct Api {
    served: Option<Served>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Served {
    admin: Arc<Admin>,
    runtime: Handle,
    streams: Arc<Semaphore>,
}

impl Api {
    /// Serves `admin`, whose work is done on `runtime`: that of its store.
    pub fn new(admin: Arc<Admin>, runtime: Handle, clock: Arc<dyn Clock>) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Self { served: Some(Served { admin, runtime, streams }), clock }
    }

    /// Says of every request that there is no store to administer.
    pub fn without_store(clock: Arc<dyn Clock>) -> Self {
        Self { served: None, clock }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("served", &self.served.is_some()).finish_non_exhaustive()
    }
}

/// What is known of the connection of a request.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Its other end.
    pub(super) ip: Option<IpAddr>,
    /// True once the gateway stops.
    pub(super) stopping: watch::Receiver<bool>,
}

/// All routes of the admin API.
pub(super) fn router(api: Api) -> Router {
    Router::new().route("/admin", any(serve)).route("/admin/{*rest}", any(serve)).with_state(api)
}

async fn serve(State(api): State<Api>, request: Request) -> Response {
    let request_id = RequestId::generate(api.clock.now());
    let (parts, body) = request.into_parts();
    let mut response = match respond(&api, &parts, body, request_id.as_str()).await {
        Ok(response) => response,
        Err(refusal) => response(*refusal),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Refusals are boxed: they are seldom, and large.
type Refused = Box<Answer>;

fn refuse(status: u16, code: &str, detail: impl Into<String>, request_id: &str) -> Refused {
    Box::new(Answer::problem(status, code, detail, request_id))
}

async fn respond(api: &Api, parts: &Parts, body: Body, request_id: &str) -> Result<Response, Refused> {
    let path = parts.uri.path();
    let Some(served) = &api.served else {
        let detail = "this gateway runs without a store (store.url = \"none\"): there is nothing to administer";
        return Err(refuse(404, "not_found", detail, request_id));
    };
    if !(path.starts_with("/admin/v1/") || path == "/admin/openapi.json") {
        return Err(refuse(404, "not_found", "the admin API has no such path", request_id));
    }
    check_origin(&parts.headers, request_id)?;
    let visitor = served.admit(parts, request_id).await?;
    if body_is_declared(parts) {
        check_content_type(&parts.headers, request_id)?;
    }
    let ask = Ask {
        // The body of an answer to HEAD is left out further down.
        method: if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() },
        path: path.to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: read_body(body, request_id).await?,
        idempotency_key: single(&parts.headers, &IDEMPOTENCY_KEY, request_id)?,
        if_match: single(&parts.headers, &header::IF_MATCH, request_id)?,
        request_id: request_id.to_owned(),
    };
    if parts.method == Method::GET && path == stream::PATH {
        return stream::open(served, parts, visitor, ask).await;
    }
    Ok(response(served.dispatch(ask, visitor.actor).await))
}

/// Who was let in, and by what.
struct Visitor {
    actor: Actor,
    authorization: Option<String>,
    ip: Option<IpAddr>,
}

impl Served {
    async fn admit(&self, parts: &Parts, request_id: &str) -> Result<Visitor, Refused> {
        let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
        let authorization = match (given.next(), given.next()) {
            (None, _) => None,
            // What cannot be read, or is two things at once, is no token.
            (Some(one), None) => Some(one.to_str().unwrap_or("?").to_owned()),
            (Some(_), Some(_)) => Some("?".to_owned()),
        };
        let ip = parts.extensions.get::<Connection>().and_then(|connection| connection.ip);
        let actor = self.authenticate(authorization.clone(), ip, request_id).await?;
        Ok(Visitor { actor, authorization, ip })
    }

    async fn authenticate(
        &self,
        authorization: Option<String>,
        ip: Option<IpAddr>,
        request_id: &str,
    ) -> Result<Actor, Refused> {
        let (admin, id) = (Arc::clone(&self.admin), request_id.to_owned());
        let task = self
            .runtime
            .spawn(async move { admin.authenticate(authorization.as_deref(), ip, &id).await.map_err(Box::new) });
        task.await.unwrap_or_else(|_| Err(broken_off(request_id)))
    }

    /// In a task of its own: a caller that goes away does not leave half of it undone.
    async fn dispatch(&self, ask: Ask, actor: Actor) -> Answer {
        let admin = Arc::clone(&self.admin);
        let request_id = ask.request_id.clone();
        let task = self.runtime.spawn(async move { admin.dispatch(ask, &actor).await });
        task.await.unwrap_or_else(|_| *broken_off(&request_id))
    }
}

/// The task has ended without an answer: a fault of ours, or the gateway stops.
fn broken_off(request_id: &str) -> Refused {
    refuse(500, "internal", "the request was broken off; see the log of the gateway", request_id)
}

/// A browser says which page asks. No page but those of this very host has business here.
fn check_origin(headers: &HeaderMap, request_id: &str) -> Result<(), Refused> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(scheme, authority)| {
        matches!(scheme, "http" | "https") && !host.is_empty() && authority.eq_ignore_ascii_case(host)
    });
    if same { Ok(()) } else { Err(refuse(403, "origin_denied", "pages of other hosts may not ask here", request_id)) }
}

fn body_is_declared(parts: &Parts) -> bool {
    let length = parts.headers.get(header::CONTENT_LENGTH);
    parts.headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

fn check_content_type(headers: &HeaderMap, request_id: &str) -> Result<(), Refused> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(refuse(415, "unsupported_media_type", "send JSON: Content-Type: application/json", request_id))
}

/// A field that may stand there once.
fn single(headers: &HeaderMap, name: &HeaderName, request_id: &str) -> Result<Option<String>, Refused> {
    let mut given = headers.get_all(name).iter();
    match (given.next().map(HeaderValue::to_str), given.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.to_owned())),
        (Some(_), _) => {
            let detail = format!("{name} must stand there once, as visible ASCII characters");
            Err(refuse(400, "validation_failed", detail, request_id))
        }
    }
}

async fn read_body(body: Body, request_id: &str) -> Result<Vec<u8>, Refused> {
    let too_large = || refuse(413, "payload_too_large", format!("a body has {MAX_BODY} bytes at most"), request_id);
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let read = async {
        let mut body = body;
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let broken = |_| refuse(400, "validation_failed", "the body broke off", request_id);
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.len() + data.len() > MAX_BODY {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let late = |_| refuse(408, "request_timeout", "the body took too long", request_id);
    tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(late)?
}

/// An answer as it is sent.
fn response(answer: Answer) -> Response {
    let body = answer.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if answer.body.is_some() {
        let kind = if answer.status >= 400 { "application/problem+json" } else { "application/json" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let fields = [
        (header::ETAG, answer.etag),
        (header::LOCATION, answer.location),
        (header::WWW_AUTHENTICATE, answer.challenge),
        (header::ALLOW, answer.allow),
        (header::RETRY_AFTER, answer.retry_after.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in fields {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}
