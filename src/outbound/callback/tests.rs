//! Against servers on loopback ports that do exactly what a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::clock::UnixMillis;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"a\":\"b\\u00e9";

/// What a server does with a request that it has read whole.
#[derive(Clone, Copy)]
enum Does {
    /// Answers, and leaves the connection open.
    Answers(&'static str),
    /// Answers, and closes it.
    AnswersOnce(&'static str),
    /// Closes it without an answer.
    Closes,
    /// Closes it before anything is read.
    Refuses,
    /// Nothing.
    Waits,
}

/// Head and body of each request.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Seen,
    arrived: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(does: Does) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let arrived = Arc::new(Notify::new());
        let (counted, seen, notify) = (Arc::clone(&connections), Arc::clone(&requests), Arc::clone(&arrived));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new(); // they end with the server
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                open.spawn(converse(stream, does, Arc::clone(&seen), Arc::clone(&notify)));
            }
        });
        Self { address, connections, requests, arrived, task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<(String, Vec<u8>)> {
        self.requests.lock().unwrap().clone()
    }

    fn asking(&self) -> CallbackRequest {
        asking(format!("http://{}/verify/ann%40example.org?q=hidden-query", self.address))
    }
}

async fn converse(mut stream: TcpStream, does: Does, seen: Seen, arrived: Arc<Notify>) {
    if matches!(does, Does::Refuses) {
        return;
    }
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let head = end.map(|end| String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase());
        let length = head.as_ref().and_then(|head| head.split("content-length: ").nth(1)?.lines().next()?.parse().ok());
        match (end, head) {
            (Some(end), Some(head)) if bytes.len() >= end + length.unwrap_or(0_usize) => {
                seen.lock().unwrap().push((head, bytes.split_off(end)));
                bytes.clear();
                arrived.notify_one();
                match does {
                    Does::Answers(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    Does::AnswersOnce(answer) => return stream.write_all(answer.as_bytes()).await.unwrap(),
                    Does::Closes | Does::Refuses => return,
                    Does::Waits => {}
                }
            }
            _ => {
                if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

fn asking(url: String) -> CallbackRequest {
    CallbackRequest {
        method: Method::POST,
        url,
        body: Some(b"{\"password\":\"hidden-password\"}".to_vec()),
        secret: Some(Secret::new(b"hidden-secret".to_vec())),
        timeout: Duration::from_secs(20),
        request_id: "0198f7a2-request".to_owned(),
        at: UnixMillis(1_700_000_000_999),
    }
}

fn callback() -> HttpCallback {
    HttpCallback::new(Handle::current())
}

/// Makes sure that nothing secret or personal is told.
fn told(outage: &Outage) -> String {
    let shown = format!("{outage} {outage:?}");
    for hidden in ["hidden", "example", "verify"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    outage.text.clone()
}

async fn outage(request: CallbackRequest) -> String {
    told(&callback().call(request).await.unwrap_err())
}

#[tokio::test]
async fn a_call_says_who_asks_and_is_signed() {
    let server = Server::start(Does::Answers(OK)).await;
    let reply = callback().call(server.asking()).await.unwrap();
    assert_eq!((reply.status, reply.retry_after, &*reply.body), (200, None, &b"{\"a\":\"b\\u00e9"[..]));
    assert_eq!(format!("{reply:?}"), "CallbackReply(200, 13 bytes)");
    let [(head, body)] = &*server.requests() else { panic!("{:?}", server.requests()) };
    assert!(head.starts_with("post /verify/ann%40example.org?q=hidden-query http/1.1\r\n"), "{head}");
    for field in [
        "accept: application/json",
        "content-type: application/json",
        "x-request-id: 0198f7a2-request",
        "authorization: bearer hidden-secret",
        "webhook-id: 0198f7a2-request",
        "webhook-timestamp: 1700000000",
        concat!("user-agent: portcullis/", env!("CARGO_PKG_VERSION")),
        "content-length: 30",
        // printf '0198f7a2-request.1700000000.{"password":"hidden-password"}' | openssl dgst -sha256 -hmac hidden-secret
        "webhook-signature: v1,4i51A2qQzdJRTJlySTtAVnqoCGaQ0mE3+qtBKhew2uk=",
    ] {
        assert!(head.contains(&format!("\r\n{field}\r\n").to_ascii_lowercase()), "{field} is not in {head}");
    }
    assert!(!head.contains("cookie") && !head.contains("referer") && !head.contains("accept-encoding"), "{head}");
    assert_eq!(body, b"{\"password\":\"hidden-password\"}");
}

#[tokio::test]
async fn a_look_up_has_no_body_and_needs_no_secret() {
    let server = Server::start(Does::Answers(OK)).await;
    let mut request = CallbackRequest { method: Method::GET, body: None, secret: None, ..server.asking() };
    callback().call(request.clone()).await.unwrap();
    request.secret = Some(Secret::new(vec![0, 0xff, b'a']));
    callback().call(request).await.unwrap();
    let [(plain, _), (secret, body)] = &*server.requests() else { panic!("{:?}", server.requests()) };
    assert!(plain.starts_with("get ") && !plain.contains("content-") && !plain.contains("webhook"), "{plain}");
    assert!(!plain.contains("authorization") && plain.contains("x-request-id"), "{plain}");
    // Bytes that cannot be sent as they are, and a signature of no body.
    assert!(secret.contains("\r\nauthorization: bearer ap9h\r\n"), "{secret}");
    assert!(secret.contains("\r\nwebhook-signature: v1,"), "{secret}");
    assert_eq!(body, b"");
}

#[tokio::test]
async fn every_status_is_an_answer_but_a_redirect() {
    let mut seen = Vec::new();
    for answer in [
        "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nno js",
        "HTTP/1.1 429 Slow\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Later\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Never\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 Nothing\r\n\r\n",
    ] {
        let server = Server::start(Does::Answers(answer)).await;
        let reply = callback().call(server.asking()).await.unwrap();
        seen.push((reply.status, reply.retry_after.map(|time| time.as_secs()), reply.body));
        assert_eq!((server.connections(), server.requests().len()), (1, 1), "nothing is repeated");
    }
    let expected = [
        (401, None, b"{}".to_vec()),
        (500, None, b"no js".to_vec()),
        (429, Some(17), Vec::new()),
        (503, None, Vec::new()),
        (503, None, Vec::new()),
        (204, None, Vec::new()),
    ];
    assert_eq!(seen, expected);
    let redirect = "HTTP/1.1 307 R\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(Does::Answers(redirect)).await;
    assert_eq!(outage(server.asking()).await, format!("http://{}: status 307: not followed", server.address));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_is_read_whole_or_not_at_all() {
    fn leak(text: String) -> &'static str {
        Box::leak(text.into_boxed_str())
    }
    let whole = "x".repeat(LARGEST);
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{{\"a\r\n{LARGEST:x}\r\n{whole}\r\n");
    for (answer, expected) in [
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LARGEST + 1), "is larger than 262144 bytes"),
        (chunked, "is larger than 262144 bytes"),
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"keys\"".to_owned(), ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a".to_owned(), ""),
    ] {
        let server = Server::start(Does::AnswersOnce(leak(answer))).await;
        let text = outage(server.asking()).await;
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(server.requests().len(), 1, "nothing is repeated");
    }
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGEST}\r\n\r\n{whole}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{LARGEST:x}\r\n{whole}\r\n0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n\r\n{whole}"),
    ] {
        let server = Server::start(Does::AnswersOnce(leak(answer))).await;
        assert_eq!(callback().call(server.asking()).await.unwrap().body.len(), LARGEST);
    }
}

#[tokio::test]
async fn what_has_arrived_is_never_repeated() {
    let server = Server::start(Does::Closes).await;
    let text = outage(server.asking()).await;
    assert!(text.starts_with(&format!("http://{}: ", server.address)), "{text}");
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
    let server = Server::start(Does::Waits).await;
    let text = outage(CallbackRequest { timeout: Duration::from_millis(50), ..server.asking() }).await;
    assert_eq!(text, format!("http://{}: no complete answer within 50ms", server.address));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_could_not_be_sent_is_tried_once_more() {
    // A handshake that is broken off: two connections, nothing sent on either.
    let server = Server::start(Does::Refuses).await;
    let text = outage(asking(format!("https://{}/verify", server.address))).await;
    assert!(text.starts_with(&format!("https://{}: ", server.address)), "{text}");
    assert_eq!((server.connections(), server.requests().len()), (2, 0));

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = outage(asking(format!("http://{free}/verify"))).await;
    assert_eq!(text, format!("http://{free}: connection refused"));
}

#[tokio::test]
async fn nobody_is_asked_who_may_not_be() {
    let server = Server::start(Does::Answers(OK)).await;
    let port = server.address.port();
    for url in [
        format!("http://0.0.0.0:{port}/verify"),
        format!("http://127.1:{port}/verify"),
        format!("http://hidden:hidden@127.0.0.1:{port}/verify"),
        format!("http://127.0.0.1:{port}/verify#hidden"),
        "http://192.0.2.1/verify".to_owned(),
        "ftp://127.0.0.1/verify".to_owned(),
        "/verify".to_owned(),
        String::new(),
    ] {
        outage(asking(url)).await;
    }
    let odd = CallbackRequest { request_id: "a\r\nb: hidden".to_owned(), ..server.asking() };
    assert!(outage(odd).await.ends_with("the id of the request cannot be sent"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_those_that_ended_are_replaced() {
    let server = Server::start(Does::Answers(OK)).await;
    let callback = callback();
    for _ in 0..3 {
        callback.call(server.asking()).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
    let server =
        Server::start(Does::AnswersOnce("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")).await;
    for _ in 0..3 {
        callback.call(server.asking()).await.unwrap();
    }
    assert_eq!(server.connections(), 3);
}

#[test]
fn calls_run_on_their_own_runtime_whoever_asks() {
    let runtime =
        |threads| -> Runtime { Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap() };
    let store = runtime(1);
    let server = store.block_on(Server::start(Does::Answers(OK)));
    let callback = HttpCallback::new(store.handle().clone());
    for _ in 0..3 {
        // As a proxy thread has it: a runtime of its own, without sockets and timers even.
        let asker = Builder::new_current_thread().build().unwrap();
        assert_eq!(asker.block_on(callback.call(server.asking())).unwrap().status, 200);
    }
    assert_eq!(server.connections(), 1, "the connection outlives the runtimes of those who asked");
    let asking = server.asking();
    drop(server);
    drop(store);
    let asker = Builder::new_current_thread().build().unwrap();
    assert!(told(&asker.block_on(callback.call(asking)).unwrap_err()).ends_with("the call was broken off"));
}

#[tokio::test]
async fn an_application_that_stopped_answering_takes_no_more_than_its_share() {
    let (server, other) = (Server::start(Does::Waits).await, Server::start(Does::Answers(OK)).await);
    let callback = Arc::new(callback());
    let waiting: Vec<_> = (0..MOST_CALLS)
        .map(|_| {
            let (callback, request) = (Arc::clone(&callback), server.asking());
            tokio::spawn(async move { callback.call(request).await })
        })
        .collect();
    while server.requests().len() < MOST_CALLS {
        server.arrived.notified().await;
    }
    let text = told(&callback.call(server.asking()).await.unwrap_err());
    assert_eq!(text, format!("http://{}: 64 calls to it are under way already", server.address));
    assert_eq!(server.requests().len(), MOST_CALLS);
    assert_eq!(callback.call(other.asking()).await.unwrap().status, 200);
    // Those who asked may go; the calls are still under way, and take their places.
    for one in waiting {
        one.abort();
        assert!(one.await.unwrap_err().is_cancelled());
    }
    told(&callback.call(server.asking()).await.unwrap_err());
    // The application goes away: the calls end, and make room.
    drop(server);
    while !callback.caller.calls.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let request = asking("http://127.0.0.1:9/verify/ann?q=hidden-query".to_owned());
    let shown = format!("{request:?}");
    assert_eq!(shown, "CallbackRequest(POST, 30 bytes, within 20s, 0198f7a2-request)");
    assert_eq!(format!("{:?}", headers(&request).unwrap()[header::AUTHORIZATION]), "Sensitive");
    assert!(!format!("{:?}", callback()).contains("hidden"));
}
