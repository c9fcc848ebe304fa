//! An upstream that does exactly what a test says, byte for byte. For those that the upstream beside it is too well-behaved
//! for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::DEADLINE;

/// A running upstream: every connection has a thread on which its script runs, and ends with it.
#[derive(Debug)]
pub(crate) struct Scripted {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Runs `script` for each connection; the number counts them from 0.
    pub(crate) fn start(script: impl Fn(&mut Line, usize) + Send + Sync + 'static) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), script)
    }

    /// Answers every request with these bytes, and leaves the connection open.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |line, _| while line.request().is_some() && line.send(&answer) {})
    }

    /// Answers one request on each connection with these bytes, and closes it.
    pub(crate) fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |line, _| {
            line.request();
            line.send(&answer);
        })
    }

    /// Like [`Scripted::start`], on this address of the machine.
    pub(crate) fn start_on(ip: std::net::IpAddr, script: impl Fn(&mut Line, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let script = Arc::new(script);
        let thread = std::thread::Builder::new().name("it-scripted".to_owned()).spawn({
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let number = connections.fetch_add(1, Ordering::SeqCst);
                    let script = Arc::clone(&script);
                    let run = move || script(&mut Line::new(stream), number);
                    // Named like a test's thread: a script may fail, and the gateway is not to blame.
                    drop(std::thread::Builder::new().name("it-scripted::connection".to_owned()).spawn(run));
                }
            }
        });
        Self { address, stop, connections, thread: Some(thread.expect("a thread")) }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the upstream ran");
        }
    }
}

/// One connection of an upstream.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self { stream }
    }

    /// The head of the next request, byte for byte; none when the connection ends.
    pub(crate) fn request(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1..) => head.push(byte[0]),
                Ok(0) | Err(_) => return None,
            }
        }
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// Exactly so many bytes; none when the connection ends before.
    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).ok().map(|()| bytes)
    }

    /// How many bytes come until the connection ends.
    pub(crate) fn drain(&mut self) -> u64 {
        let mut chunk = [0; 64 * 1024];
        let mut count = 0;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return count,
                Ok(n) => count += u64::try_from(n).expect("few"),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return count,
            }
        }
    }

    /// Sends these bytes; false when the other side is gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Waits until the other side ends the connection.
    pub(crate) fn until_closed(&mut self) {
        self.drain();
    }

    /// Waits until something has arrived, and reads nothing: when the connection is ended then, it is by a reset.
    pub(crate) fn until_something_arrives(&mut self) {
        drop(self.stream.peek(&mut [0]));
    }
}
