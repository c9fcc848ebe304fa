//! Those who ask, and what it costs the process that is asked.

use std::sync::Arc;

use portcullis::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stage::Place;

/// Clients that ask at the same time.
const ASKING: usize = 16;

/// A tick of `/proc/PID/stat`: the unit of programs (`USER_HZ`) is 100 a second, whatever the kernel's own is.
const TICK_US: f64 = 10_000.0;

/// What is asked: a request for each credential, in turn.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    requests: Arc<[String]>,
    status: u16,
}

impl Ask {
    /// GET `path` with these field lines, one request each; answered with `status`.
    pub(crate) fn new(path: &str, fields: Vec<String>, status: u16) -> Self {
        let fields = if fields.is_empty() { vec![String::new()] } else { fields };
        let request = |field: String| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n\
                 Accept-Encoding: gzip\r\n{field}\r\n"
            )
        };
        Self { requests: fields.into_iter().map(request).collect(), status }
    }
}

/// What a request has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Processor time of the process that was asked.
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// How many were not answered as they should be.
    pub(crate) failed: usize,
}

/// Asks so many times, on kept connections.
pub(crate) async fn ask(place: &Place, ask: &Ask, count: usize) -> Cost {
    let before = cpu_ticks(place.pid);
    let mut clients = JoinSet::new();
    for client in 0..ASKING {
        let (ask, address) = (ask.clone(), place.address);
        clients.spawn(async move {
            let mut connection = TcpStream::connect(address).await.expect("it listens");
            connection.set_nodelay(true).unwrap();
            let (mut times, mut failed, mut answer) = (Vec::new(), 0, Vec::new());
            for n in (client..count).step_by(ASKING) {
                let request = &ask.requests[n % ask.requests.len()];
                let watch = Stopwatch::start();
                let status = exchange(&mut connection, request, &mut answer).await;
                times.push(u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX));
                failed += usize::from(status != Some(ask.status));
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
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)] as f64;
    let ticks = cpu_ticks(place.pid).saturating_sub(before);
    Cost { cpu_us: ticks as f64 * TICK_US / count as f64, p50_us: at(50), p99_us: at(99), failed }
}

/// The status of the answer, read to its end; none when the connection broke.
async fn exchange(connection: &mut TcpStream, request: &str, answer: &mut Vec<u8>) -> Option<u16> {
    connection.write_all(request.as_bytes()).await.ok()?;
    answer.clear();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if connection.read_buf(answer).await.ok()? == 0 {
            return None;
        }
    };
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
    while answer.len() < end + length {
        if connection.read_buf(answer).await.ok()? == 0 {
            return None;
        }
    }
    head.get(9..12)?.parse().ok()
}

/// Processor time that a process has used, its own and the system's for it.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name stands in brackets, and may have blanks.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
