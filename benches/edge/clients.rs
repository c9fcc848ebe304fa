//! Those who ask, those who are only there, and those who take their time.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Clients that ask at the same time.
const ASKING: usize = 8;

/// Connections that are opened at the same time: the queue of a listener has an end.
const OPENING: usize = 64;

/// A slow one sends a byte this often.
const PACE: Duration = Duration::from_millis(500);

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: bench.test\r\n\r\n";

/// How long answers took, in microseconds.
#[derive(Debug)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) failed: usize,
}

/// Asks so many times, on kept connections.
pub(crate) async fn good(address: SocketAddr, requests: usize) -> Latency {
    let mut clients = JoinSet::new();
    for _ in 0..ASKING {
        clients.spawn(async move {
            let (mut times, mut failed) = (Vec::new(), 0);
            let mut connection = connect(address).await;
            for _ in 0..requests.div_ceil(ASKING) {
                let watch = Stopwatch::start();
                if ask(&mut connection).await {
                    times.push(u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX));
                } else {
                    failed += 1;
                    connection = connect(address).await;
                }
            }
            (times, failed)
        });
    }
    let (mut times, mut failed) = (Vec::new(), 0);
    while let Some(client) = clients.join_next().await {
        let client = client.unwrap();
        times.extend(client.0);
        failed += client.1;
    }
    times.sort_unstable();
    let at = |percent: usize| {
        times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    Latency { p50: at(50), p99: at(99), failed }
}

/// Opens so many connections, asks once on each, and keeps them.
pub(crate) async fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut openers = JoinSet::new();
    for part in 0..OPENING {
        openers.spawn(async move {
            let mut held = Vec::new();
            for _ in (part..count).step_by(OPENING) {
                let mut connection = connect(address).await;
                assert!(ask(&mut connection).await, "an idle connection asks once");
                held.push(connection);
            }
            held
        });
    }
    openers.join_all().await.into_iter().flatten().collect()
}

/// Whether the other side has not closed it.
pub(crate) fn is_open(connection: &TcpStream) -> bool {
    matches!(connection.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Clients that send a head a byte at a time, and begin again when they are refused.
pub(crate) struct Slow(JoinSet<()>, tokio::sync::watch::Sender<usize>);

impl Slow {
    pub(crate) async fn start(address: SocketAddr, count: usize) -> Self {
        let ended = tokio::sync::watch::Sender::new(0);
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let connection = connect(address).await;
            let ended = ended.clone();
            clients.spawn(async move {
                let mut connection = connection;
                loop {
                    dawdle(&mut connection).await;
                    ended.send_modify(|ended| *ended += 1);
                    connection = connect(address).await;
                }
            });
        }
        Self(clients, ended)
    }

    /// Ends them; returns how many heads were ended by the other side.
    pub(crate) async fn stop(mut self) -> usize {
        self.0.shutdown().await;
        *self.1.borrow()
    }
}

/// Sends a head that never ends, until the other side has enough of it.
async fn dawdle(connection: &mut TcpStream) {
    let mut answer = [0; 1024];
    for byte in REQUEST[..REQUEST.len() - 2].iter().chain(b"X-Slow: ".iter().chain([b'x'; 4096].iter())) {
        if connection.write_all(&[*byte]).await.is_err() {
            return;
        }
        // Silence until the next byte is what it hopes for; an answer or an end is what it gets.
        if tokio::time::timeout(PACE, connection.read(&mut answer)).await.is_ok() {
            return;
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).await.expect("the gateway takes connections");
    connection.set_nodelay(true).unwrap();
    connection
}

/// Whether it was answered with 200.
async fn ask(connection: &mut TcpStream) -> bool {
    if connection.write_all(REQUEST).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        if !matches!(connection.read_buf(&mut answer).await, Ok(1..)) {
            return false;
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}
