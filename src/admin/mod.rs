//! The admin side: metrics, health and the admin API, on a listener of its own. Nothing that decides about requests
//! belongs here.
//!
//! The router is axum's; it runs as an application on one of pingora's listeners, so that its socket is opened, handed
//! on and closed like every other.

pub mod api;
pub mod http;
mod taking;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::http::{Api, Connection};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use serde_json::{Value, json};
use taking::Taking;
use tokio::sync::Semaphore;

/// So many connections at once.
const MAX_CONNECTIONS: usize = 64;

/// So many with those that are still in their handshake: whoever begins one and falls silent takes a descriptor as well.
pub const MOST_CONNECTIONS: usize = 2 * MAX_CONNECTIONS;

/// For a whole request head, and for the next one to come.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that takes nothing of an answer for so long is gone.
const TAKES_NOTHING: Duration = Duration::from_secs(10);

/// Whoever has just connected when the gateway stops has a request on its way.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// Running answers may take this long when the gateway stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What the admin side tells; asked at each request.
pub trait Report: Send + Sync {
    /// All metrics in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Whether requests are served.
    fn readiness(&self) -> Readiness;
}

/// Whether requests are served, and what of it would not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// False before a configuration is in force, once the gateway is about to stop, and while stored keys are not
    /// answered for because the store is out of reach. A key set that cannot be had does not change it: it is the matter
    /// of one realm, and others serve.
    pub ready: bool,
    /// Generation of the configuration in force.
    pub generation: u64,
    /// The store; none where there is none.
    pub store: Option<StoreState>,
    /// The realms, in the order of the configuration.
    pub realms: Vec<RealmState>,
}

/// State of the store, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Where it is; without a password.
    pub place: String,
    /// Whether stored keys are answered for: from the store, or from memory for a while.
    pub usable: bool,
    /// Since all changes were known here; none before the first time.
    pub feed_lag: Option<Duration>,
    /// Whether it answered when it was last asked for changes.
    pub reachable: bool,
    /// Why it did not, for people.
    pub last_error: Option<String>,
}

/// What a realm depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmState {
    /// The realm.
    pub name: Arc<str>,
    /// Its key sets that are fetched.
    pub key_sets: Vec<KeySetState>,
}

/// State of a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetState {
    /// The issuer.
    pub issuer: Arc<str>,
    /// Whether tokens can be verified by it.
    pub usable: bool,
    /// Usable keys.
    pub keys: usize,
    /// Seconds since the last good fetch.
    pub age_secs: Option<u64>,
    /// Last failure, for people.
    pub last_error: Option<String>,
}

impl Readiness {
    /// A realm is ready when every key set of it is usable.
    fn to_json(&self) -> Value {
        let key_set = |set: &KeySetState| {
            json!({
                "issuer": &*set.issuer,
                "usable": set.usable,
                "keys": set.keys,
                "age_seconds": set.age_secs,
                "last_error": set.last_error,
            })
        };
        let realm = |realm: &RealmState| {
            json!({
                "realm": &*realm.name,
                "ready": realm.key_sets.iter().all(|set| set.usable),
                "key_sets": realm.key_sets.iter().map(key_set).collect::<Vec<_>>(),
            })
        };
        let store = |store: &StoreState| {
            json!({
                "place": store.place,
                "feed_lag_seconds": store.feed_lag.map(|lag| lag.as_secs_f64()),
                "reachable": store.reachable,
                "last_error": store.last_error,
            })
        };
        json!({
            "ready": self.ready,
            "generation": self.generation,
            "store": self.store.as_ref().map(store),
            "realms": self.realms.iter().map(realm).collect::<Vec<_>>(),
        })
    }
}

/// All routes of the admin side.
pub fn router(report: Arc<dyn Report>, api: Api) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(report)
        .merge(http::router(api))
}

async fn metrics(State(report): State<Arc<dyn Report>>) -> Response {
    answer(200, "text/plain; version=0.0.4; charset=utf-8", report.metrics())
}

/// Answers as long as the process can answer at all.
async fn livez() -> Response {
    answer(200, "text/plain; charset=utf-8", "ok\n".to_owned())
}

async fn readyz(State(report): State<Arc<dyn Report>>) -> Response {
    let readiness = report.readiness();
    answer(if readiness.ready { 200 } else { 503 }, "application/json", format!("{}\n", readiness.to_json()))
}

fn answer(status: u16, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = ::http::StatusCode::from_u16(status).unwrap_or(::http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(::http::header::CONTENT_TYPE, ::http::HeaderValue::from_static(content_type));
    headers.insert(::http::header::CACHE_CONTROL, ::http::HeaderValue::from_static("no-store"));
    headers.insert(::http::header::X_CONTENT_TYPE_OPTIONS, ::http::HeaderValue::from_static("nosniff"));
    response
}

/// A router as an application of a pingora listener.
pub struct AdminApp {
    router: Router,
    connections: Semaphore,
}

impl AdminApp {
    /// Serves `router`.
    pub fn new(router: Router) -> Self {
        Self { router, connections: Semaphore::new(MAX_CONNECTIONS) }
    }
}

impl fmt::Debug for AdminApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminApp").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ServerApp for AdminApp {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _permit = self.connections.try_acquire().ok()?;
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let about = Connection { ip: peer.map(|peer| peer.ip().to_canonical()), stopping: shutdown.clone() };
        let router = self.router.clone().layer(Extension(about));
        let connection = builder
            .serve_connection(TokioIo::new(Taking::new(stream, TAKES_NOTHING)), TowerToHyperService::new(router));
        tokio::pin!(connection);
        let mut shutdown = shutdown.clone();
        let stopping = async {
            // An error means that nobody is left who could say so: the server is gone.
            shutdown.wait_for(|stop| *stop).await.ok();
        };
        tokio::select! {
            ended = connection.as_mut() => {
                ended.ok(); // a client that breaks off is its own matter
            }
            () = stopping => {
                if tokio::time::timeout(LAST_REQUEST, connection.as_mut()).await.is_err() {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(SHUTDOWN_GRACE, connection).await.ok();
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;

    struct Fixed(Readiness);

    impl Report for Fixed {
        fn metrics(&self) -> String {
            "portcullis_build_info{version=\"1\"} 1\n".into()
        }

        fn readiness(&self) -> Readiness {
            self.0.clone()
        }
    }

    fn readiness(ready: bool) -> Readiness {
        let set = |issuer: &str, usable: bool| KeySetState {
            issuer: issuer.into(),
            usable,
            keys: usize::from(usable),
            age_secs: usable.then_some(5),
            last_error: (!usable).then(|| "connection refused".into()),
        };
        let realm = |name: &str, key_sets| RealmState { name: name.into(), key_sets };
        let realms = vec![realm("shop", vec![set("idp", true), set("partner", false)]), realm("links", Vec::new())];
        Readiness { ready, generation: 3, store: None, realms }
    }

    fn nothing_stored() -> Api {
        Api::without_store(Arc::new(crate::clock::SystemClock))
    }

    /// Sends `request` to a real listener and returns the whole answer.
    async fn ask(ready: bool, request: &str) -> String {
        let app = Arc::new(AdminApp::new(router(Arc::new(Fixed(readiness(ready))), nothing_stored())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream: Stream = Box::new(pingora::protocols::l4::stream::Stream::from(listener.accept().await.unwrap().0));
        let (_keep, shutdown) = watch::channel(false);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let (_, read) = tokio::join!(app.process_new(stream, &shutdown), client.read_to_string(&mut answer));
        read.unwrap();
        answer
    }

    async fn get(ready: bool, path: &str) -> (String, String) {
        let answer = ask(ready, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn metrics_are_served_as_prometheus_reads_them() {
        let (head, body) = get(true, "/metrics").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert_eq!(body, "portcullis_build_info{version=\"1\"} 1\n");
    }

    #[tokio::test]
    async fn a_key_set_out_of_reach_is_told_and_does_not_take_the_gateway_out_of_service() {
        let (head, body) = get(true, "/readyz").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["generation"], 3);
        assert_eq!(body["realms"][0]["ready"], false);
        assert_eq!(body["realms"][0]["key_sets"][1]["last_error"], "connection refused");
        assert_eq!(body["realms"][1]["ready"], true);
    }

    #[tokio::test]
    async fn a_gateway_about_to_stop_lives_but_is_not_ready() {
        assert!(get(false, "/readyz").await.0.starts_with("http/1.1 503 "));
        assert!(get(false, "/livez").await.0.starts_with("http/1.1 200 "));
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        assert!(get(true, "/").await.0.starts_with("http/1.1 404 "));
        let post = "POST /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(true, post).await.starts_with("HTTP/1.1 405 "));
    }

    /// A connection to `app`, on which so many bytes may wait.
    fn connect(app: &Arc<AdminApp>, room: usize) -> DuplexStream {
        let (client, server) = duplex(room);
        let app = Arc::clone(app);
        tokio::spawn(async move {
            let (_keep, shutdown) = watch::channel(false);
            app.process_new(Box::new(server), &shutdown).await
        });
        client
    }

    fn app() -> Arc<AdminApp> {
        Arc::new(AdminApp::new(router(Arc::new(Fixed(readiness(true))), nothing_stored())))
    }

    const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: admin\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn places_of_clients_that_take_nothing_are_given_back() {
        let app = app();
        let mut idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(&app, LIVEZ.len())).collect();
        for client in &mut idle {
            client.write_all(LIVEZ).await.unwrap();
        }
        tokio::time::sleep(TAKES_NOTHING - Duration::from_secs(1)).await;
        let mut full = connect(&app, 1024);
        assert_eq!(full.read(&mut [0; 16]).await.unwrap(), 0, "all places are taken");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut next = connect(&app, 1024);
        next.write_all(LIVEZ).await.unwrap();
        let mut answer = [0; 15];
        next.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // What was sent before is all that there is for the others.
        for client in &mut idle {
            assert!(client.read_to_end(&mut Vec::new()).await.unwrap() <= LIVEZ.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_gets_its_answer() {
        let mut client = connect(&app(), 16);
        let request = b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 16]);
        while let count @ 1.. = client.read(&mut part).await.unwrap() {
            answer.extend_from_slice(&part[..count]);
            tokio::time::sleep(TAKES_NOTHING - Duration::from_secs(1)).await;
        }
        assert!(String::from_utf8(answer).unwrap().ends_with("portcullis_build_info{version=\"1\"} 1\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_ends_when_nothing_more_is_asked() {
        let mut client = connect(&app(), 1024);
        client.write_all(LIVEZ).await.unwrap();
        let begun = tokio::time::Instant::now();
        client.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(begun.elapsed() >= HEADER_TIMEOUT && begun.elapsed() < 2 * HEADER_TIMEOUT);
    }

    #[tokio::test]
    async fn an_idle_connection_ends_when_the_gateway_stops() {
        let app = Arc::new(AdminApp::new(router(Arc::new(Fixed(readiness(true))), nothing_stored())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream: Stream = Box::new(pingora::protocols::l4::stream::Stream::from(listener.accept().await.unwrap().0));
        let (stop, shutdown) = watch::channel(false);
        stop.send(true).unwrap();
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(app.process_new(stream, &shutdown), client.read_to_end(&mut answer));
        read.unwrap();
        assert!(answer.is_empty());
    }
}
