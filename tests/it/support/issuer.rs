//! An OpenID issuer on loopback HTTPS: publishes its configuration and its key set, and fails in every way that the
//! gateway has to survive. Runs on a thread of its own, stops when dropped.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::keys::{Key, key_set};
use super::token::{Issues, Signer};
use super::{DEADLINE, eventually};

/// Path of the OpenID configuration.
pub(crate) const CONFIGURATION: &str = "/.well-known/openid-configuration";

/// Path of the key set.
pub(crate) const JWKS: &str = "/jwks";

/// What the issuer's certificate is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// In order.
    Good,
    /// Out of date since long.
    Expired,
    /// For another host.
    WrongName,
    /// Signed by itself, not by the authority.
    SelfSigned,
    /// Signed by an authority that is not the one of [`Issuer::ca_pem`].
    StrangeAuthority,
}

/// How a path is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// With the document.
    Document,
    /// With the document, so much later.
    Slow(Duration),
    /// Not at all; the connection stays open.
    Hang,
    /// In the next way that is set for the path, as soon as one is.
    Hold,
    /// With this status and the document.
    Status(u16),
    /// With a redirect (307) to this URL.
    Redirect(String),
    /// With this status, and this value of `Location`.
    Location(u16, String),
    /// With status 200 and these bytes.
    Bytes(Vec<u8>),
    /// With the document, padded by blanks to this size: still JSON.
    Oversize(usize),
}

#[derive(Debug)]
struct State {
    configuration: Value,
    keys: Value,
    answers: HashMap<String, Answer>,
    requests: HashMap<String, Vec<HeaderMap>>,
    connections: u64,
    listening: bool,
    down: bool,
    tls: Arc<ServerConfig>,
    signer: Signer,
}

/// A running issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    url: String,
    authority: Authority,
    state: Arc<Mutex<State>>,
    listens: watch::Sender<bool>,
    changed: watch::Sender<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Issuer {
    /// An issuer in good order with one RSA key `k1` that signs RS256.
    pub(crate) fn start() -> Self {
        Self::with_key("k1", &Key::rsa2048())
    }

    /// An issuer in good order with this one key.
    pub(crate) fn with_key(kid: &str, key: &Key) -> Self {
        let issuer = Self::not_listening(kid, key);
        issuer.up();
        issuer
    }

    /// An issuer whose port is closed until [`Issuer::up`].
    pub(crate) fn not_listening(kid: &str, key: &Key) -> Self {
        // Bound already: nobody else can take the port meanwhile.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("an address");
        let url = format!("https://{address}");
        let authority = Authority::new("Test authority");
        let state = Arc::new(Mutex::new(State {
            configuration: json!({
                "issuer": url,
                "jwks_uri": format!("{url}{JWKS}"),
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [key.alg().name()],
            }),
            keys: key_set([key.jwk(kid)]),
            answers: HashMap::new(),
            requests: HashMap::new(),
            connections: 0,
            listening: false,
            down: false,
            tls: authority.server_config(Certificate::Good),
            signer: Signer::new(&url, key.clone()).kid(kid),
        }));
        let (stop, stopped) = oneshot::channel();
        let (listens, may_listen) = watch::channel(false);
        let (changed, changes) = watch::channel(());
        let thread = std::thread::Builder::new()
            .name("it-issuer".to_owned())
            .spawn({
                let state = state.clone();
                move || serve(socket, may_listen, state, changes, stopped)
            })
            .expect("a thread");
        Self { url, authority, state, listens, changed, stop: Some(stop), thread: Some(thread) }
    }

    /// Breaks off every connection, new ones too, from now on.
    pub(crate) fn down(&self) {
        self.lock().down = true;
    }

    /// Takes connections.
    pub(crate) fn up(&self) {
        self.lock().down = false;
        self.listens.send_replace(true);
        eventually("the issuer listens", || self.lock().listening.then_some(()));
    }

    /// The `iss` of its tokens, and where its documents are found.
    pub(crate) fn issuer_url(&self) -> &str {
        &self.url
    }

    /// Where its key set is found.
    pub(crate) fn jwks_url(&self) -> String {
        format!("{}{JWKS}", self.url)
    }

    /// The authority that signed its certificate.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.url["https://".len()..].parse().expect("an address")
    }

    /// Publishes these keys; does not change what tokens are signed with.
    pub(crate) fn publish(&self, keys: impl IntoIterator<Item = Value>) {
        self.publish_document(key_set(keys));
    }

    /// Publishes this as the key set.
    pub(crate) fn publish_document(&self, document: Value) {
        self.lock().keys = document;
    }

    /// Signs with `key` from now on; does not publish it.
    pub(crate) fn sign_with(&self, kid: &str, key: &Key) {
        let mut state = self.lock();
        state.signer.key = key.clone();
        state.signer.alg = key.alg();
        state.signer.kid = Some(kid.to_owned());
    }

    /// Publishes only `key` and signs with it.
    pub(crate) fn rotate_to(&self, kid: &str, key: &Key) {
        self.publish([key.jwk(kid)]);
        self.sign_with(kid, key);
    }

    /// Sets a member of the OpenID configuration.
    pub(crate) fn configure(&self, member: &str, value: impl Into<Value>) {
        self.lock().configuration[member] = value.into();
    }

    /// Answers `path` in this way from now on.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.lock().answers.insert(path.to_owned(), answer);
        self.changed.send_replace(());
    }

    /// Shows this certificate on new connections.
    pub(crate) fn certificate(&self, certificate: Certificate) {
        self.lock().tls = self.authority.server_config(certificate);
    }

    /// Requests for `path` so far.
    pub(crate) fn hits(&self, path: &str) -> u64 {
        self.lock().requests.get(path).map_or(0, |requests| requests.len() as u64)
    }

    /// The header fields of every request for `path`.
    pub(crate) fn requests(&self, path: &str) -> Vec<HeaderMap> {
        self.lock().requests.get(path).cloned().unwrap_or_default()
    }

    /// Requests for anything so far.
    pub(crate) fn all_hits(&self) -> u64 {
        self.lock().requests.values().map(|requests| requests.len() as u64).sum()
    }

    /// TCP connections so far, failed handshakes included.
    pub(crate) fn connections(&self) -> u64 {
        self.lock().connections
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}

impl Issues for Issuer {
    fn signer(&self) -> Signer {
        self.lock().signer.clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the issuer ran");
        }
    }
}

fn serve(
    socket: TcpSocket,
    mut may_listen: watch::Receiver<bool>,
    state: Arc<Mutex<State>>,
    changes: watch::Receiver<()>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let accept = async {
            if may_listen.wait_for(|may| *may).await.is_err() {
                return;
            }
            let listener = socket.listen(1024).expect("a listener");
            state.lock().expect("no panic under the lock").listening = true;
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let acceptor = {
                    let mut state = state.lock().expect("no panic under the lock");
                    state.connections += 1;
                    if state.down {
                        continue;
                    }
                    TlsAcceptor::from(state.tls.clone())
                };
                let (state, changes) = (state.clone(), changes.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| respond(request, state.clone(), changes.clone()));
                    // A client that goes away is none of our business.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_background();
}

/// The connection is broken off instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the issuer is down")]
struct Down;

async fn respond(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    mut changes: watch::Receiver<()>,
) -> Result<Response<Full<Bytes>>, Down> {
    let path = request.uri().path().to_owned();
    let state = || state.lock().expect("no panic under the lock");
    if state().down {
        return Err(Down);
    }
    state().requests.entry(path.clone()).or_default().push(request.headers().clone());
    let answer = || state().answers.get(&path).cloned().unwrap_or(Answer::Document);
    let changed = changes.wait_for(|()| !matches!(answer(), Answer::Hold));
    // Held for ever would hang the test run instead of failing it.
    drop(tokio::time::timeout(DEADLINE, changed).await);
    let document = match path.as_str() {
        CONFIGURATION => Some(state().configuration.to_string()),
        JWKS => Some(state().keys.to_string()),
        _ => None,
    };
    let missing = document.is_none();
    let mut body = document.unwrap_or_default().into_bytes();
    let mut response = Response::builder().header("content-type", "application/json");
    // Nobody who asks for keys has a use for it.
    response = response.header("set-cookie", "session=issuer; Path=/; Secure");
    if missing {
        response = response.status(404);
    }
    match answer() {
        Answer::Document | Answer::Hold => {}
        Answer::Slow(delay) => tokio::time::sleep(delay).await,
        Answer::Hang => std::future::pending().await,
        Answer::Status(status) => response = response.status(status),
        Answer::Redirect(url) => {
            response = response.status(307).header("location", url);
            body.clear();
        }
        Answer::Location(status, url) => {
            response = response.status(status).header("location", url);
            body.clear();
        }
        Answer::Bytes(bytes) => {
            response = response.status(200);
            body = bytes;
        }
        Answer::Oversize(size) => body.resize(size.max(body.len()), b' '),
    }
    Ok(response.body(Full::new(body.into())).expect("a response"))
}

#[derive(Debug)]
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    fn server_config(&self, certificate: Certificate) -> Arc<ServerConfig> {
        let host = if certificate == Certificate::WrongName { "elsewhere.test" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "Test issuer");
        if certificate == Certificate::Expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let signed = match certificate {
            Certificate::SelfSigned => params.self_signed(&key),
            Certificate::StrangeAuthority => params.signed_by(&key, &Self::new("Strange authority").issuer),
            Certificate::Good | Certificate::Expired | Certificate::WrongName => params.signed_by(&key, &self.issuer),
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![signed.expect("a certificate").der().clone()], key)
            .expect("certificate and key");
        Arc::new(config)
    }
}
