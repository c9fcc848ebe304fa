//! Against real servers on loopback ports.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nSet-Cookie: a=b\r\n\r\n{\"keys\":[]}";

/// A server that gives every request the same answer and leaves the connection open.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn plain(answer: impl Into<Vec<u8>>) -> Self {
        Self::start(answer.into(), None).await
    }

    async fn start(answer: Vec<u8>, tls: Option<TlsAcceptor>) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, connections) = (Arc::new(Mutex::default()), Arc::new(AtomicUsize::new(0)));
        let (seen, counted) = (Arc::clone(&heads), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (seen, answer, tls) = (Arc::clone(&seen), answer.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &seen, &answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &seen, &answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, heads, connections, task }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/keys", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Mutex<Vec<String>>, answer: &[u8]) {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..n]);
        if head.ends_with(b"\r\n\r\n") {
            seen.lock().unwrap().push(String::from_utf8_lossy(&head).to_ascii_lowercase());
            head.clear();
            if stream.write_all(answer).await.and(stream.flush().await).is_err() {
                return;
            }
        }
    }
}

fn request(url: String) -> FetchRequest {
    FetchRequest { url, ca: None, timeout: Duration::from_secs(20), max_size: 64 }
}

async fn failure(request: FetchRequest) -> String {
    HttpFetch::new().fetch(request).await.unwrap_err()
}

#[tokio::test]
async fn a_document_arrives_whole_and_only_what_is_needed_is_sent() {
    let server = Server::plain(OK).await;
    let fetch = HttpFetch::new();
    for _ in 0..2 {
        assert_eq!(fetch.fetch(request(server.url("http"))).await.unwrap(), br#"{"keys":[]}"#);
    }
    let heads = server.requests();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(head.starts_with("get /keys http/1.1\r\n"), "{head}");
        assert!(head.contains(concat!("\r\nuser-agent: portcullis/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
        assert!(!head.contains("cookie") && !head.contains("referer") && !head.contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let canary = Server::plain(OK).await;
    for status in ["301", "302", "303", "307", "308"] {
        let location = canary.url("http");
        let server =
            Server::plain(format!("HTTP/1.1 {status} R\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")).await;
        let error = failure(request(server.url("http"))).await;
        assert!(error.ends_with(&format!("status {status}: not followed")), "{error}");
    }
    assert_eq!(canary.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_status_200_is_a_document() {
    for status in ["201 Created", "203 Odd", "204 No Content", "206 Partial", "404 Not Found", "503 Busy"] {
        let server = Server::plain(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        let error = failure(request(format!("{}?token=hunter2", server.url("http")))).await;
        assert!(error.ends_with(&format!("status {}", &status[..3])), "{error}");
        assert!(error.starts_with("http://127.0.0.1:") && !error.contains("hunter2"), "{error}");
        assert_eq!(server.requests().len(), 1, "nothing is repeated");
    }
}

#[tokio::test]
async fn a_document_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let body = "x".repeat(64);
    let exact = Server::plain(format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{body}")).await;
    assert_eq!(HttpFetch::new().fetch(request(exact.url("http"))).await.unwrap().len(), 64);
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n".to_owned();
    let running = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{body}\r\n1\r\nx\r\n");
    for answer in [announced, running] {
        let server = Server::plain(answer).await;
        let error = failure(request(server.url("http"))).await;
        assert!(error.ends_with("larger than 64 bytes"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_come_to_an_end_is_left_in_time() {
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"keys\""] {
        let server = Server::plain(answer).await;
        let timeout = Duration::from_millis(50);
        let error = failure(FetchRequest { timeout, ..request(server.url("http")) }).await;
        assert!(error.ends_with("no complete answer within 50ms"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    let server = Server::plain("SSH-2.0-OpenSSH\r\n\r\n").await;
    assert!(failure(request(server.url("http"))).await.starts_with("http://127.0.0.1:"));
}

#[tokio::test]
async fn a_refused_connection_is_named() {
    let server = Server::plain(OK).await;
    let url = server.url("http");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = url.replace(&server.address.to_string(), &listener.local_addr().unwrap().to_string());
    drop(listener);
    let error = failure(request(closed)).await;
    assert!(error.ends_with("connection refused"), "{error}");
}

#[tokio::test]
async fn a_url_that_is_not_acceptable_is_never_asked() {
    let server = Server::plain(OK).await;
    let port = server.address.port();
    for url in [
        format!("http://127.1:{port}/keys"),
        format!("http://0.0.0.0:{port}/keys"),
        format!("http://user:hunter2@127.0.0.1:{port}/keys"),
        "file:///etc/passwd".to_owned(),
    ] {
        assert!(!failure(request(url)).await.contains("hunter2"));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

/// An authority and the PEM of its certificate.
fn authority(name: &str) -> (CertifiedIssuer<'static, KeyPair>, Arc<[u8]>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let pem = issuer.pem().into_bytes().into();
    (issuer, pem)
}

async fn tls_server(params: CertificateParams, by: Option<&CertifiedIssuer<'static, KeyPair>>) -> Server {
    let key = KeyPair::generate().unwrap();
    let certificate = match by {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    Server::start(OK.into(), Some(TlsAcceptor::from(Arc::new(config)))).await
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

#[tokio::test]
async fn a_server_is_believed_by_the_word_of_the_given_authority() {
    let (issuer, ca) = authority("ours");
    let server = tls_server(named("127.0.0.1"), Some(&issuer)).await;
    let request = FetchRequest { ca: Some(ca), ..request(server.url("https")) };
    assert_eq!(HttpFetch::new().fetch(request).await.unwrap(), br#"{"keys":[]}"#);
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_is_refused_and_told_nothing() {
    let (issuer, ca) = authority("ours");
    let (other, _) = authority("other");
    let mut expired = named("127.0.0.1");
    expired.not_before = date_time_ymd(2019, 1, 1);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named("127.0.0.1");
    early.not_before = date_time_ymd(2200, 1, 1);
    early.not_after = date_time_ymd(2201, 1, 1);
    for (params, by, expected) in [
        (named("id.example"), Some(&issuer), "the certificate is for another name"),
        (expired, Some(&issuer), "the certificate has expired"),
        (early, Some(&issuer), "the certificate is not valid yet"),
        (named("127.0.0.1"), Some(&other), "the certificate is not from a trusted authority"),
        (named("127.0.0.1"), None, "the certificate is not from a trusted authority"),
    ] {
        let server = tls_server(params, by).await;
        let error = failure(FetchRequest { ca: Some(Arc::clone(&ca)), ..request(server.url("https")) }).await;
        assert!(error.ends_with(&format!("TLS: {expected}")), "{error}");
        assert_eq!(server.requests(), [""; 0]);
    }
}

#[tokio::test]
async fn the_authority_of_one_issuer_is_not_believed_for_another() {
    let (issuer, ca) = authority("ours");
    let (_, other) = authority("other");
    let server = tls_server(named("127.0.0.1"), Some(&issuer)).await;
    let fetch = HttpFetch::new();
    for (ca, good) in [(Some(ca), true), (Some(other), false), (None, false)] {
        let result = fetch.fetch(FetchRequest { ca, ..request(server.url("https")) }).await;
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_authority_that_is_none_is_an_error() {
    let server = Server::plain(OK).await;
    for (pem, expected) in [
        ("", "ca: holds no certificate"),
        ("words", "ca: holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "ca: no valid PEM"),
    ] {
        let ca = Some(pem.as_bytes().into());
        let error = failure(FetchRequest { ca, ..request(server.url("https")) }).await;
        assert!(error.ends_with(expected), "{error}");
    }
}

#[tokio::test]
async fn clients_are_shared_and_bounded() {
    let server = Server::plain(OK).await;
    let fetch = HttpFetch::new();
    for _ in 0..3 {
        fetch.fetch(request(server.url("http"))).await.unwrap();
    }
    assert_eq!(fetch.clients.lock().unwrap().len(), 1);
    for n in 0..MOST_CLIENTS * 2 {
        let trust = Trust::Only(format!("authority {n}").into_bytes().into());
        fetch.clients.lock().unwrap().insert(trust, build(&Trust::Nobody, Idle::SHORT).unwrap());
    }
    let (_, ca) = authority("ours");
    fetch.client(&FetchRequest { ca: Some(ca), ..request(server.url("https")) }).unwrap();
    assert_eq!(fetch.clients.lock().unwrap().len(), 1);
}

proptest! {
    /// Two parsers look at a URL; they must not disagree about where it leads.
    #[test]
    fn what_is_acceptable_leads_where_it_says(url in "(http|https|HTTP)://[a-zA-Z0-9.:@\\[\\]%/\\\\?#-]{0,24}|\\PC{0,32}") {
        if acceptable_url(&url).is_ok() && let Ok(parsed) = reqwest::Url::parse(&url) {
            let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
            prop_assert!(parsed.scheme() == "https" || (parsed.scheme() == "http" && here), "{url} {parsed}");
            prop_assert!(parsed.username().is_empty() && parsed.password().is_none() && parsed.fragment().is_none());
        }
    }

    #[test]
    fn foreign_text_in_a_log_line_is_short_and_plain(text in "\\PC{0,400}|[\\x00-\\x1f]{1,9}") {
        let shown = harmless(&text);
        prop_assert!(shown.len() <= LONGEST_CAUSE && shown.bytes().all(|b| (0x20..0x7f).contains(&b)));
    }
}

fn asking(target: &str) -> AdminRequest {
    AdminRequest {
        method: http::Method::POST,
        target: target.to_owned(),
        body: Vec::new(),
        idempotency_key: Some("once".to_owned()),
        if_match: Some("\"3\"".to_owned()),
        timeout: Duration::from_secs(20),
    }
}

#[tokio::test]
async fn an_admin_api_is_asked_with_the_token_and_its_refusals_are_read() {
    let refusal = "HTTP/1.1 409 Conflict\r\nETag: \"3\"\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\n{}";
    let server = Server::plain(refusal).await;
    let client = AdminClient::new(&format!("http://{}/", server.address), "pca_token", None).unwrap();
    let reply = client.send(asking("/admin/v1/keys?a=b")).await.unwrap();
    assert_eq!((reply.status, &*reply.body, reply.retry_after), (409, &b"{}"[..], Some(2)));
    assert_eq!(reply.etag.as_deref(), Some("\"3\""));
    let head = server.requests().concat();
    for part in
        ["post /admin/v1/keys?a=b http/1.1\r\n", "authorization: bearer pca_token\r\n", "idempotency-key: once\r\n"]
    {
        assert!(head.contains(part), "{part} is not in {head}");
    }
    assert!(!format!("{client:?}").contains("pca_token"));
}

#[tokio::test]
async fn an_admin_token_goes_nowhere_but_to_the_api_that_was_named() {
    let canary = Server::plain(OK).await;
    let location = canary.url("http");
    let server = Server::plain(format!("HTTP/1.1 307 R\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")).await;
    let client = AdminClient::new(&format!("http://{}", server.address), "pca_token", None).unwrap();
    let error = client.send(asking("/admin/v1/keys")).await.unwrap_err();
    assert!(error.ends_with("status 307: not followed") && !error.contains("pca_token"), "{error}");
    assert_eq!(canary.connections.load(Ordering::SeqCst), 0);
    for bad in ["http://192.0.2.1", "http://a@127.0.0.1", "ftp://127.0.0.1", "127.0.0.1", "http://127.0.0.1/?a=b"] {
        assert!(AdminClient::new(bad, "pca_token", None).is_err(), "{bad}");
    }
    assert!(AdminClient::new("http://127.0.0.1", "a\nb", None).is_err());
}
