//! Answers of very many small parts over HTTP/2 that their clients do not take, or leave: they must not end the connection
//! that others share. The upstream here writes frames with its own hand, so that it is known what lies before what.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http2::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, Received, SETTINGS};
use crate::http2::frames::{WINDOW_UPDATE, field, frame, request};
use crate::support::caller::Connection;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::{Line, Scripted};

/// `:status: 200` (RFC 7541 appendix A).
const OK: [u8; 1] = [0x88];

/// What becomes of a GET: its head is answered at once. A POST is answered when it has ended.
#[derive(Clone, Copy, Debug)]
enum Parts {
    /// Then come parts of one byte, as many as may wait.
    AsManyAsMayWait,
    /// So many come when the gateway has broken it off, as if they had been under way.
    WhenBrokenOff(u32),
    /// Then comes all that the head has announced, but not the end: that comes when the gateway has broken it off.
    WithoutEnd,
}

/// One connection of the upstream.
struct Server<'l> {
    line: &'l mut Line,
    /// What may be sent: of a stream, and of all.
    stream_window: u32,
    window: u32,
    due: Vec<(u32, u32)>,
    reset: HashSet<u32>,
    seen: Arc<Seen>,
}

/// On all connections.
#[derive(Default)]
struct Seen {
    begun: AtomicUsize,
    broken_off: AtomicUsize,
    /// On one of them, at most.
    broken_off_on_one: AtomicUsize,
}

impl Server<'_> {
    fn next(&mut self) -> Option<Received> {
        let head = self.line.take(9)?;
        let [_, a, b, kind, flags, stream @ ..] = <[u8; 9]>::try_from(head).expect("nine bytes");
        let payload = self.line.take(usize::from(u16::from_be_bytes([a, b])))?;
        Some(Received { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    fn answer(&mut self, parts: Parts, stream: u32) {
        let head = match parts {
            Parts::AsManyAsMayWait | Parts::WhenBrokenOff(_) => OK.to_vec(),
            Parts::WithoutEnd => [&OK[..], &field("content-length", "2")].concat(),
        };
        self.line.send(frame(HEADERS, END_HEADERS, stream, head));
        match parts {
            Parts::AsManyAsMayWait => self.due.push((stream, self.stream_window)),
            Parts::WhenBrokenOff(_) => {}
            Parts::WithoutEnd => drop(self.line.send(frame(DATA, 0, stream, "ok"))),
        }
    }

    fn serve(&mut self, parts: Parts) {
        self.line.take(24);
        self.line.send(frame(SETTINGS, 0, 0, []));
        while let Some(received) = self.next() {
            let ends = received.flags & END_STREAM != 0;
            if received.kind == HEADERS {
                self.seen.begun.fetch_add(1, Ordering::SeqCst);
            }
            match received.kind {
                SETTINGS if received.flags == 0 => {
                    let setting = |bytes: &[u8]| (bytes[1], u32::from_be_bytes(bytes[2..].try_into().expect("four")));
                    let windows = received.payload.chunks(6).map(setting).filter(|(id, _)| *id == 4);
                    self.stream_window = windows.map(|(_, window)| window).next_back().unwrap_or(self.stream_window);
                    self.line.send(frame(SETTINGS, 1, 0, []));
                }
                PING if received.flags == 0 => drop(self.line.send(frame(PING, 1, 0, received.payload))),
                WINDOW_UPDATE if received.stream == 0 => {
                    self.window += u32::from_be_bytes(received.payload.try_into().expect("four bytes"));
                }
                HEADERS if ends => self.answer(parts, received.stream),
                DATA if ends => drop(self.line.send(frame(HEADERS, END_HEADERS | END_STREAM, received.stream, OK))),
                // Once: what comes for a stream that the gateway has forgotten is answered by another reset.
                RST_STREAM if self.reset.insert(received.stream) => {
                    self.seen.broken_off.fetch_add(1, Ordering::SeqCst);
                    self.seen.broken_off_on_one.fetch_max(self.reset.len(), Ordering::SeqCst);
                    match parts {
                        Parts::AsManyAsMayWait => {}
                        Parts::WhenBrokenOff(count) => self.due.push((received.stream, count)),
                        Parts::WithoutEnd => drop(self.line.send(frame(DATA, END_STREAM, received.stream, ""))),
                    }
                }
                _ => {}
            }
            while let Some((stream, count)) = self.due.pop_if(|(_, count)| *count <= self.window) {
                self.window -= count;
                self.line.send(frame(DATA, 0, stream, "x").repeat(count as usize));
            }
        }
    }
}

struct House {
    upstream: Scripted,
    gateway: Gateway,
    seen: Arc<Seen>,
}

impl House {
    fn breaks_off(&self, answers: usize) {
        eventually("they are broken off", || (self.seen.broken_off.load(Ordering::SeqCst) == answers).then_some(()));
    }
}

fn house(parts: Parts) -> House {
    let seen = Arc::<Seen>::default();
    let upstream = Scripted::start({
        let seen = Arc::clone(&seen);
        move |line, _| {
            let seen = Arc::clone(&seen);
            let (due, reset) = (Vec::new(), HashSet::new());
            Server { line, stream_window: 65_535, window: 65_535, due, reset, seen }.serve(parts);
        }
    });
    let standard = Standard::new();
    let realm = "\n[[routes]]\nname = \"x\"\npath = \"/x/**\"\nauth = [\"public\"]\nupstream = \"main\"\n\n\
                 [upstreams.main]\nservers = [\"{upstream}\"]\nprotocol = \"http2\"\n";
    let gateway = Gateway::builder()
        .listener_toml("http2 = true")
        .standard_with(&standard, realm)
        .place("upstream", upstream.addr())
        .start();
    House { upstream, gateway, seen }
}

/// A request on a connection of the upstream that it shares with others.
struct Other(Connection);

impl Other {
    fn begin(house: &House) -> Self {
        let mut connection = house.gateway.caller().connect();
        connection.write("POST /x/other HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        eventually("it is under way", || (house.seen.begun.load(Ordering::SeqCst) == 1).then_some(()));
        Self(connection)
    }

    fn ends_well(mut self) {
        self.0.send_raw("0\r\n\r\n").ok();
    }
}

/// Requests whose answers nobody takes, on a connection of their own, one after the other: the heads have come. Those that
/// come at once may find the shared connection in use, and get one of their own.
fn untaken(house: &House, count: u32) -> Frames {
    let mut frames = Frames::hello(house.gateway.addr(), &[(4, 0)]);
    let head = request("/x/parts", &[]);
    for n in 0..count {
        frames.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head));
        frames.until(HEADERS);
    }
    frames
}

#[test]
fn a_client_that_takes_none_of_very_many_small_parts_ends_nobody_elses_request() {
    let house = house(Parts::AsManyAsMayWait);
    let other = Other::begin(&house);
    let idle = untaken(&house, 3);
    other.ends_well();
    assert_eq!(house.upstream.connections(), 1);
    drop(idle);
}

#[test]
fn clients_that_leave_answers_of_small_parts_end_nobody_elses_request() {
    let house = house(Parts::WhenBrokenOff(1_000));
    let other = Other::begin(&house);
    for left in 1..=60 {
        drop(untaken(&house, 1));
        house.breaks_off(left);
    }
    other.ends_well();
    // A connection on which that was done a few times gets no new requests.
    let connections = house.upstream.connections();
    assert!((4..=15).contains(&connections), "{connections}");
}

/// A client of HTTP/1.1 has all of an answer before it has heard of its end, which nobody waits for then.
#[test]
fn answers_whose_end_comes_late_end_nobody_elses_request() {
    let house = house(Parts::WithoutEnd);
    let other = Other::begin(&house);
    for _ in 0..1500 {
        house.gateway.get("/x/short").send().ok();
    }
    other.ends_well();
}

/// The engine knows no more than 50 that it has broken off: too much for the others is the end of the connection.
#[test]
fn many_clients_that_leave_at_once_end_nobody_elses_request() {
    let house = house(Parts::WhenBrokenOff(20));
    let other = Other::begin(&house);
    for round in 1..=4 {
        drop(untaken(&house, 90));
        house.breaks_off(90 * round);
    }
    other.ends_well();
    let most = house.seen.broken_off_on_one.load(Ordering::SeqCst);
    assert!((16..=50).contains(&most), "{most}");
}
