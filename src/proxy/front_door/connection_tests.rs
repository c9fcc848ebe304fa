use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::http::ResponseHeader;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::book::Book;
use super::*;
use crate::gate::outcome::Reason;

const PATIENCE: Patience =
    Patience { header: Duration::from_secs(10), idle: Duration::from_secs(75), handshake: Duration::from_secs(10) };

/// Answers with the target and the body it was sent.
#[derive(Default)]
struct Echo {
    served: Mutex<Vec<String>>,
}

#[async_trait]
impl HttpServerApp for Echo {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let mut text = String::from_utf8(session.req_header().raw_path().to_vec()).unwrap();
        while let Some(chunk) = session.read_request_body().await.ok()? {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        self.served.lock().unwrap().push(text.clone());
        let mut header = ResponseHeader::build(200, None).unwrap();
        header.insert_header("Content-Length", text.len()).unwrap();
        session.write_response_header(Box::new(header)).await.ok()?;
        session.write_response_body(Bytes::from(text), true).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        Some(ReusedHttpStream::from_reusable_stream(session.finish().await.ok()??, settings))
    }
}

struct Served {
    echo: Arc<Echo>,
    book: Arc<Book>,
    client: DuplexStream,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn connect() -> Served {
    let (echo, book) = (Arc::new(Echo::default()), Arc::new(Book::default()));
    let (client, server) = duplex(1 << 20);
    let (stop, shutdown) = watch::channel(false);
    let (app, rules) = (Arc::clone(&echo), Arc::clone(&book));
    let task =
        tokio::spawn(async move { serve(&app, &*rules, PATIENCE, Box::new(server), BytesMut::new(), &shutdown).await });
    Served { echo, book, client, stop, task }
}

impl Served {
    async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
    }

    /// Everything until the gateway ends the connection.
    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.client.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    async fn answer(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let mut byte = [0];
            self.client.read_exact(&mut byte).await.unwrap();
            text.push(byte[0].into());
        }
        text
    }

    fn served(&self) -> Vec<String> {
        self.echo.served.lock().unwrap().clone()
    }

    fn refused(&self) -> Vec<(Reason, String)> {
        self.book.0.lock().unwrap().clone()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn requests_sent_ahead_are_answered_in_order() {
    let mut served = connect();
    let requests: Vec<_> = (0..1000).map(|n| format!("/{n}")).collect();
    let all: String = requests.iter().map(|path| get(path)).collect();
    served.send(all.as_bytes()).await;
    for path in &requests {
        served.answer(&format!("\r\n\r\n{path}")).await;
    }
    assert_eq!(served.served(), requests);
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_behind_a_good_one_is_judged_alone_and_ends_the_connection() {
    let mut served = connect();
    let bad = "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    served.send(format!("{}{bad}{}", get("/good"), get("/admin")).as_bytes()).await;
    let text = served.rest().await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.ends_with("Connection: close\r\n\r\nno"), "{text}");
    assert_eq!(served.served(), ["/good"]);
    assert_eq!(served.refused(), [(Reason::BadRequest, "/bad".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn bodies_do_not_run_into_the_next_request() {
    let mut served = connect();
    let body = "x".repeat(200_000);
    served
        .send(format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{body}{}", get("/2")).as_bytes())
        .await;
    served.answer("\r\n\r\n/2").await;
    served.send(b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n").await;
    served.answer("/3ab").await;
    served.send(get("/4").as_bytes()).await;
    served.answer("\r\n\r\n/4").await;
    assert_eq!(served.served(), [format!("/1{body}"), "/2".into(), "/3ab".into(), "/4".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_head_must_be_complete_in_time_however_steadily_it_arrives() {
    for first in [String::new(), get("/first")] {
        let mut served = connect();
        served.send(first.as_bytes()).await;
        if !first.is_empty() {
            served.answer("\r\n\r\n/first").await;
        }
        sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        let slow = get("/slow");
        let mut bytes = slow.bytes();
        while begun.elapsed() < PATIENCE.header {
            served.send(&[bytes.next().unwrap()]).await;
            sleep(Duration::from_millis(500)).await;
        }
        let text = served.rest().await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_eq!(served.refused().len(), 1);
        assert!(!served.served().contains(&"/slow".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_without_a_word() {
    let mut served = connect();
    served.send(get("/1").as_bytes()).await;
    served.answer("\r\n\r\n/1").await;
    let begun = Instant::now();
    assert_eq!(served.rest().await, "");
    assert_eq!(begun.elapsed(), PATIENCE.idle);
    assert_eq!(served.refused(), []);
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_is_refused_when_it_is_too_large() {
    for (start, status) in [("GET /", "414"), ("GET / HTTP/1.1\r\nX: ", "431")] {
        let mut served = connect();
        served.send(start.as_bytes()).await;
        served.send(&[b'x'; 8000]).await;
        let text = served.rest().await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_refused_head_request_has_no_body() {
    let mut served = connect();
    served.send(b"HEAD /a#b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let text = served.rest().await;
    assert!(text.contains("Content-Length: 2\r\n") && text.ends_with("close\r\n\r\n"), "{text}");
    assert_eq!(served.refused(), [(Reason::PathAmbiguous, String::new())]);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_end_when_the_gateway_stops() {
    let mut served = connect();
    served.send(get("/1").as_bytes()).await;
    served.answer("\r\n\r\n/1").await;
    let begun = Instant::now();
    served.stop.send(true).unwrap();
    assert_eq!(served.rest().await, "");
    assert_eq!(begun.elapsed(), LAST_REQUEST);
    served.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_on_its_way_when_the_gateway_stopped_is_the_last_and_answered() {
    let mut served = connect();
    served.send(get("/1").as_bytes()).await;
    served.answer("\r\n\r\n/1").await;
    served.stop.send(true).unwrap();
    sleep(LAST_REQUEST / 2).await;
    served.send(format!("{}{}", get("/2"), get("/3")).as_bytes()).await;
    let rest = served.rest().await;
    assert!(rest.ends_with("\r\n\r\n/2"), "{rest}");
    served.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_within_a_head_leaves_no_trace() {
    let mut served = connect();
    served.send(b"GET / HT").await;
    drop(served.client);
    served.task.await.unwrap();
    assert!(served.book.0.lock().unwrap().is_empty());
}
