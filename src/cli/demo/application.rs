//! The application behind the gateway: shows what arrived, as any application would see it, and answers the callbacks
//! that the documented APIs configure, from a handful of facts.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::people;
use crate::gate::policy::Upstream;

/// Bodies of callbacks are small.
const MAX_BODY: usize = 64 * 1024;

/// Starts it where `upstream` is expected, on a thread of its own. Callbacks are answered to whoever knows `secret`.
///
/// # Errors
/// A text for people: the address is taken.
pub(super) fn start(upstream: &Upstream, secret: Option<Arc<str>>) -> Result<(), String> {
    let server = upstream.servers.first().ok_or("the configuration of the demo has no upstream")?;
    let address = server.address.to_string();
    let listener = std::net::TcpListener::bind(&address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| format!("the demo's upstream cannot listen on {address}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    std::thread::Builder::new()
        .name("demo-upstream".to_owned())
        .spawn(move || {
            let served = runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, Router::new().fallback(answer).with_state(secret)).await
            });
            if let Err(error) = served {
                tracing::error!(%error, "the demo's upstream ended");
            }
        })
        .map_err(|error| error.to_string())?;
    Ok(())
}

async fn answer(State(secret): State<Option<Arc<str>>>, request: Request) -> Response {
    let (Some(secret), true) = (secret, request.uri().path().starts_with("/internal/")) else {
        return echo(&request);
    };
    let sent = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    if sent != Some(format!("Bearer {secret}").as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let path = request.uri().path().to_owned();
    let body = to_bytes(request.into_body(), MAX_BODY).await.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match callback(&path, &body) {
        Ok(told) => ([(header::CONTENT_TYPE, "application/json")], told.to_string()).into_response(),
        Err(status) => status.into_response(),
    }
}

/// What the application says of its own people.
fn callback(path: &str, body: &Value) -> Result<Value, StatusCode> {
    let segments: Vec<_> = path.split('/').skip(2).collect();
    match segments.as_slice() {
        ["auth", "verify"] if body["identifier"] != people::EMAIL => Err(StatusCode::NOT_FOUND),
        ["auth", "verify"] if body["password"] != people::PASSWORD => Err(StatusCode::UNAUTHORIZED),
        ["auth", "verify"] | ["users", people::USER] => Ok(json!({
            "subject": people::USER, "status": "active", "role": "Brand Admin", "plan": "Growth",
            "tenant": "brand_456", "attributes": { "email": people::EMAIL }, "ip_allowlist": [],
        })),
        ["teams", people::TEAM, "affiliates", people::AFFILIATE] => {
            Ok(json!({ "id": people::AFFILIATE, "status": "ACTIVE" }))
        }
        ["teams", people::TEAM, "affiliates", people::SUSPENDED] => {
            Ok(json!({ "id": people::SUSPENDED, "status": "SUSPENDED" }))
        }
        ["teams", people::TEAM, "embed-partners"] if body["programId"] == people::PROGRAMME => Ok(json!({
            "affiliateId": people::AFFILIATE, "link": "https://yourcompany.com?via=john-doe",
            "partnershipStatus": "APPROVED",
        })),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// What arrived, as JSON: an application would see the same.
fn echo(request: &Request) -> Response {
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match headers.entry(name.as_str()) {
            serde_json::map::Entry::Vacant(entry) => {
                entry.insert(Value::String(value));
            }
            serde_json::map::Entry::Occupied(mut entry) => {
                let both = format!("{}, {value}", entry.get().as_str().unwrap_or_default());
                entry.insert(Value::String(both));
            }
        }
    }
    let body = json!({ "method": request.method().as_str(), "path": request.uri().to_string(), "headers": headers });
    ([(header::CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}
