use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::h2::client::SendRequest;
use http::{Request, Response, Version};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::book::Book;
use super::*;
use crate::gate::outcome::Reason;

const PATIENCE: Patience =
    Patience { header: Duration::from_secs(10), idle: Duration::from_secs(75), handshake: Duration::from_secs(10) };

/// Answers with the target it was asked for; `/wait` only when it is told.
#[derive(Default)]
struct Echo {
    served: AtomicUsize,
    go: tokio::sync::Notify,
}

#[async_trait]
impl HttpServerApp for Echo {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.served.fetch_add(1, Ordering::SeqCst);
        let target = session.req_header().raw_path().to_vec();
        if target == b"/wait" {
            self.go.notified().await;
        }
        answer(&mut session, Rendered { status: 200, headers: Vec::new(), body: target }).await.ok()?;
        None
    }
}

struct Served {
    echo: Arc<Echo>,
    book: Arc<Book>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// A connection on which HTTP/2 was chosen.
fn connect() -> (Served, DuplexStream) {
    connect_to(PATIENCE)
}

fn connect_to(patience: Patience) -> (Served, DuplexStream) {
    let (echo, book) = (Arc::new(Echo::default()), Arc::new(Book::default()));
    let (client, server) = duplex(1 << 16);
    let (stop, shutdown) = watch::channel(false);
    let (app, rules) = (Arc::clone(&echo), Arc::clone(&book));
    let task =
        tokio::spawn(async move { serve(&app, &rules, patience, Box::new(server), BytesMut::new(), &shutdown).await });
    (Served { echo, book, stop, task }, client)
}

impl Served {
    fn refused(&self) -> Vec<(Reason, String)> {
        self.book.0.lock().unwrap().clone()
    }
}

async fn client(wire: DuplexStream) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), ::h2::Error>>) {
    let (sender, connection) = ::h2::client::handshake(wire).await.unwrap();
    (sender.ready().await.unwrap(), tokio::spawn(connection))
}

async fn ask(sender: &mut SendRequest<Bytes>, request: Request<()>) -> Result<Response<::h2::RecvStream>, ::h2::Error> {
    poll_fn(|cx| sender.poll_ready(cx)).await?;
    sender.send_request(request, true)?.0.await
}

fn get(uri: &str) -> Request<()> {
    Request::builder().uri(uri).version(Version::HTTP_2).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_request_is_checked_and_a_bad_one_ends_only_itself() {
    let (served, wire) = connect();
    let (mut sender, _connection) = client(wire).await;
    let good = ask(&mut sender, get("http://a.test/1")).await.unwrap();
    assert_eq!(good.status(), 200);
    let bad = ask(&mut sender, get("http://a.test/a\\b")).await.unwrap();
    assert_eq!(bad.status(), 400);
    let good = ask(&mut sender, get("http://a.test/2")).await.unwrap();
    assert_eq!(good.status(), 200);
    assert_eq!(served.echo.served.load(Ordering::SeqCst), 2);
    assert_eq!(served.refused(), [(Reason::PathAmbiguous, "/a\\b".to_owned())]);
}

/// The engine measures idleness by a clock of its own, which nobody can set.
const SHORT: Patience = Patience { idle: Duration::from_millis(200), ..PATIENCE };

#[tokio::test]
async fn a_connection_without_a_request_ends_and_one_with_a_slow_answer_does_not() {
    let (served, wire) = connect_to(SHORT);
    let (mut sender, connection) = client(wire).await;
    let waiting = sender.send_request(get("http://a.test/wait"), true).unwrap().0;
    sleep(4 * SHORT.idle).await;
    served.echo.go.notify_one();
    assert_eq!(waiting.await.unwrap().status(), 200);
    let begun = Instant::now();
    connection.await.unwrap().expect("it ends in order: with GOAWAY");
    assert!(begun.elapsed() >= SHORT.idle / 2, "{:?}", begun.elapsed());
    served.task.await.unwrap();
    assert!(served.book.0.lock().unwrap().is_empty(), "idleness is no offence");
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_connection() {
    let (served, mut wire) = connect_to(SHORT);
    wire.write_all(PREFACE).await.unwrap();
    wire.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(wire);
    let pinging = tokio::spawn(async move {
        while writer.write_all(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.is_ok() {
            sleep(SHORT.idle / 10).await;
        }
    });
    let mut chunk = [0; 1024];
    while let Ok(1..) = reader.read(&mut chunk).await {}
    served.task.await.unwrap();
    assert_eq!(served.book.0.lock().unwrap().as_slice(), [], "it ended because it was idle");
    pinging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_something_else_or_nothing_is_not_waited_for() {
    let (served, mut wire) = connect();
    wire.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (book, task) = (Arc::clone(&served.book), served.task);
    task.await.unwrap();
    assert_eq!(*book.0.lock().unwrap(), [(Reason::BadRequest, "-".to_owned())]);
    let (served, wire) = connect();
    let begun = Instant::now();
    served.task.await.unwrap();
    assert_eq!(begun.elapsed(), PATIENCE.header);
    assert!(served.book.0.lock().unwrap().is_empty(), "a silent client has offended nobody");
    drop(wire);
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_finished_when_the_gateway_stops() {
    let (served, wire) = connect();
    let (mut sender, connection) = client(wire).await;
    let waiting = sender.send_request(get("http://a.test/wait"), true).unwrap().0;
    sleep(Duration::from_secs(1)).await;
    served.stop.send(true).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(poll_fn(|cx| sender.poll_ready(cx)).await.is_err(), "no more requests are taken");
    served.echo.go.notify_one();
    assert_eq!(waiting.await.unwrap().status(), 200);
    drop(sender);
    connection.await.unwrap().unwrap();
    served.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_client_speaks_is_told_by_its_first_bytes() {
    for (sent, http2) in [
        (&b"GET / HTTP/1.1\r\n"[..], false),
        (b"POST / HTTP/1.1\r\n", false),
        (b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", false),
        (PREFACE, true),
    ] {
        let (mut client, server) = duplex(64);
        let (_stop, shutdown) = watch::channel(false);
        let sending = tokio::spawn(async move {
            for byte in sent {
                client.write_all(&[*byte]).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
            client
        });
        let spoken = listen(&mut (Box::new(server) as Stream), PATIENCE, &shutdown).await;
        match spoken {
            Spoken::Http2(held) => assert!(http2 && held == sent),
            Spoken::Other(held) => assert!(!http2 && sent.starts_with(&held) && !held.is_empty()),
            Spoken::Nothing => panic!("{sent:?}"),
        }
        drop(sending.await);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_not_waited_for_longer_than_an_idle_connection() {
    let (_client, server) = duplex(64);
    let (stop, shutdown) = watch::channel(false);
    let mut server: Stream = Box::new(server);
    let begun = Instant::now();
    assert!(matches!(listen(&mut server, PATIENCE, &shutdown).await, Spoken::Nothing));
    assert_eq!(begun.elapsed(), PATIENCE.idle);
    stop.send(true).unwrap();
    assert!(matches!(listen(&mut server, PATIENCE, &shutdown).await, Spoken::Nothing));
    assert_eq!(begun.elapsed(), PATIENCE.idle + LAST_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn who_has_just_connected_when_the_gateway_stops_is_heard() {
    let (mut client, server) = duplex(64);
    let (_stop, shutdown) = watch::channel(true);
    let sending = tokio::spawn(async move {
        for part in PREFACE.chunks(8) {
            sleep(Duration::from_millis(100)).await;
            client.write_all(part).await.unwrap();
        }
        client
    });
    let spoken = listen(&mut (Box::new(server) as Stream), PATIENCE, &shutdown).await;
    assert!(matches!(spoken, Spoken::Http2(held) if held == PREFACE));
    drop(sending.await);
}
