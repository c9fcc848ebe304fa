//! The API behind the gateway: tells what it received, keeps every byte, and misbehaves on demand. Its reading of HTTP
//! is its own, so that a disagreement with the gateway shows. Runs on a thread of its own, stops when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::DEADLINE;

/// How requests are answered.
#[derive(Clone, Debug)]
pub(crate) enum Respond {
    /// 200 with a JSON body that tells the request; an upgrade to websocket gets that too.
    Echo,
    /// Exactly these bytes.
    Raw(Vec<u8>),
    /// These bytes, then the connection is closed.
    RawThenClose(Vec<u8>),
    /// Like `Echo`, so much later.
    Delay(Duration),
    /// The connection is closed without an answer.
    Close,
    /// 101 for an upgrade to websocket, after which every byte is sent back; like `Echo` for all else.
    WebSocket,
    /// Like `Echo`, but not before [`Upstream::release`].
    Hold,
}

/// An answer that is made for one request, so much later; none: the request is answered as all others are.
pub(crate) type Handler = dyn Fn(&Recorded) -> Option<(Duration, Vec<u8>)> + Send + Sync;

/// A request as the upstream understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    /// Header lines in order; a byte of a value is a char.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Trailer lines of a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
}

impl Recorded {
    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of a header that must not stand there twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// All header lines whose name is taken for `name` by software that maps what is not alphanumeric to `_`.
    pub(crate) fn aliases(&self, name: &str) -> Vec<(&str, &str)> {
        let cgi = |name: &str| -> String {
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
        };
        let wanted = cgi(name);
        let lines = self.headers.iter().chain(&self.trailers);
        lines.filter(|(n, _)| cgi(n) == wanted).map(|(n, v)| (n.as_str(), v.as_str())).collect()
    }
}

#[derive(Debug)]
struct State {
    respond: Respond,
    requests: Vec<Recorded>,
    /// Every byte received, a connection each.
    bytes: Vec<Vec<u8>>,
    faults: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    released: Notify,
    handler: Option<Box<Handler>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    async fn until_released(&self) {
        let mut released = std::pin::pin!(self.released.notified());
        released.as_mut().enable();
        if matches!(self.lock().respond, Respond::Hold) {
            // Held for ever would hang the test run instead of failing it.
            drop(tokio::time::timeout(DEADLINE, released).await);
        }
    }
}

/// A running upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// An upstream that echoes.
    pub(crate) fn start() -> Self {
        Self::begin(None)
    }

    /// An upstream that answers some requests in its own way.
    pub(crate) fn with(handler: Box<Handler>) -> Self {
        Self::begin(Some(handler))
    }

    fn begin(handler: Option<Box<Handler>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = State { respond: Respond::Echo, requests: Vec::new(), bytes: Vec::new(), faults: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), released: Notify::new(), handler });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("it-upstream".to_owned())
            .spawn({
                let shared = shared.clone();
                move || serve(listener, shared, stopped)
            })
            .expect("a thread");
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers in this way from now on.
    pub(crate) fn respond(&self, respond: Respond) {
        self.shared.lock().respond = respond;
    }

    /// Lets go of the requests that are held now, and answers all later ones at once.
    pub(crate) fn release(&self) {
        self.respond(Respond::Echo);
        self.shared.released.notify_waiters();
    }

    /// Every request so far, in the order they were complete.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        let state = self.shared.lock();
        assert!(state.faults.is_empty(), "the upstream could not read what it got: {:?}", state.faults);
        state.requests.clone()
    }

    /// The last request; there must be one.
    pub(crate) fn last(&self) -> Recorded {
        self.requests().pop().expect("the upstream saw no request")
    }

    /// The only request; there must be exactly one since the last [`Upstream::forget`].
    pub(crate) fn only(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// What could not be read as HTTP.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.shared.lock().faults.clone()
    }

    /// Every byte received, a connection each.
    pub(crate) fn raw_bytes(&self) -> Vec<Vec<u8>> {
        self.shared.lock().bytes.clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().bytes.len()
    }

    /// Fails when a single byte arrived since the last [`Upstream::forget`].
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        for bytes in self.raw_bytes() {
            assert!(bytes.is_empty(), "the upstream got {:?}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Forgets everything received so far.
    pub(crate) fn forget(&self) {
        let mut state = self.shared.lock();
        state.requests.clear();
        state.faults.clear();
        state.bytes.iter_mut().for_each(Vec::clear);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the upstream ran");
        }
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("non-blocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let accept = async {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let index = {
                    let mut state = shared.lock();
                    state.bytes.push(Vec::new());
                    state.bytes.len() - 1
                };
                let connection = Connection { stream, shared: shared.clone(), index, buffer: Vec::new() };
                tokio::spawn(connection.run());
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_background();
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    index: usize,
    buffer: Vec<u8>,
}

/// The connection ended, between requests or within one.
struct Ended;

impl Connection {
    async fn run(mut self) {
        while let Ok(request) = self.read_request().await {
            let respond = {
                let mut state = self.shared.lock();
                state.requests.push(request.clone());
                state.respond.clone()
            };
            if self.answer(&request, respond).await.is_err() {
                break;
            }
        }
    }

    async fn answer(&mut self, request: &Recorded, respond: Respond) -> Result<(), Ended> {
        if let Some((delay, bytes)) = self.shared.handler.as_ref().and_then(|handler| handler(request)) {
            tokio::time::sleep(delay).await;
            return self.write(&bytes).await;
        }
        match respond {
            Respond::Echo => self.write(&echo(request)).await,
            Respond::Raw(bytes) => self.write(&bytes).await,
            Respond::RawThenClose(bytes) => {
                self.write(&bytes).await?;
                Err(Ended)
            }
            Respond::Delay(delay) => {
                tokio::time::sleep(delay).await;
                self.write(&echo(request)).await
            }
            Respond::Close => Err(Ended),
            Respond::WebSocket => match request.header("sec-websocket-key") {
                Some(key) => {
                    self.write(&switch_protocols(key)).await?;
                    self.reflect().await
                }
                None => self.write(&echo(request)).await,
            },
            Respond::Hold => {
                self.shared.until_released().await;
                self.write(&echo(request)).await
            }
        }
    }

    async fn reflect(&mut self) -> Result<(), Ended> {
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            self.write(&bytes).await?;
            self.fill().await?;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.stream.write_all(bytes).await.map_err(|_| Ended)
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk).await {
            Ok(0) | Err(_) => Err(Ended),
            Ok(n) => {
                self.shared.lock().bytes[self.index].extend_from_slice(&chunk[..n]);
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    fn fault(&self, text: String) -> Ended {
        self.shared.lock().faults.push(text);
        Ended
    }

    /// The next line without its end.
    async fn line(&mut self) -> Result<String, Ended> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(line[..at].iter().map(|&b| char::from(b)).collect());
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Ended> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    async fn fields(&mut self) -> Result<Vec<(String, String)>, Ended> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(self.fault(format!("no header line: {line:?}")));
            };
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    async fn read_request(&mut self) -> Result<Recorded, Ended> {
        let line = self.line().await?;
        let words: Vec<_> = line.split(' ').collect();
        let &[method, target, version] = words.as_slice() else {
            return Err(self.fault(format!("no request line: {line:?}")));
        };
        let mut request = Recorded {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            headers: self.fields().await?,
            body: Vec::new(),
            trailers: Vec::new(),
            connection: self.index,
        };
        let lengths: Vec<String> = request.all("content-length").iter().map(|&v| v.to_owned()).collect();
        let codings: Vec<String> = request.all("transfer-encoding").iter().map(|&v| v.to_owned()).collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => {}
            ([length], []) => match length.parse() {
                Ok(length) => request.body = self.exactly(length).await?,
                Err(_) => return Err(self.fault(format!("content-length: {length}"))),
            },
            ([], [coding]) if coding == "chunked" => {
                (request.body, request.trailers) = self.chunks().await?;
            }
            _ => return Err(self.fault(format!("framing: content-length {lengths:?}, transfer-encoding {codings:?}"))),
        }
        Ok(request)
    }

    async fn chunks(&mut self) -> Result<(Vec<u8>, Vec<(String, String)>), Ended> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let Ok(size) = usize::from_str_radix(size, 16) else {
                return Err(self.fault(format!("no chunk size: {line:?}")));
            };
            if size == 0 {
                return Ok((body, self.fields().await?));
            }
            body.extend(self.exactly(size).await?);
            if !self.line().await?.is_empty() {
                return Err(self.fault("a chunk does not end where it says".to_owned()));
            }
        }
    }
}

fn echo(request: &Recorded) -> Vec<u8> {
    let body: Value = json!({
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": String::from_utf8_lossy(&request.body),
    });
    let body = body.to_string();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    if request.method != "HEAD" {
        answer.push_str(&body);
    }
    answer.into_bytes()
}

fn switch_protocols(key: &str) -> Vec<u8> {
    // RFC 6455 section 4.2.2 wants SHA-1 over the key and this text.
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        data_encoding::BASE64.encode(digest.as_ref())
    )
    .into_bytes()
}
