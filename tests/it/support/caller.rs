//! A client that sends whatever bytes it is told to, and reads answers with its own eyes: HTTP/1.1 on a plain socket.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::DEADLINE;

/// Somebody who sends requests to one address.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    address: SocketAddr,
    source: Option<IpAddr>,
    host: String,
}

impl Caller {
    /// Calls `address`, for the host `api.test`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, source: None, host: "api.test".to_owned() }
    }

    /// Calls from this address: all of 127.0.0.0/8 is ours.
    pub(crate) fn from(mut self, source: &str) -> Self {
        self.source = Some(source.parse().expect("an address"));
        self
    }

    /// Calls for this host.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap_or_else(|e| panic!("cannot connect to {}: {e}", self.address))
    }

    /// A new connection, if somebody listens.
    pub(crate) fn try_connect(&self) -> std::io::Result<Connection> {
        let stream = match self.source {
            None => TcpStream::connect(self.address),
            Some(source) => connect_from(source, self.address),
        }?;
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Sends exactly these bytes on a new connection, and reads one answer.
    #[track_caller]
    pub(crate) fn send_raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        self.connect().send_raw(bytes)
    }

    /// Sends exactly these bytes on a new connection; none when it was closed without an answer.
    pub(crate) fn try_send_raw(&self, bytes: impl AsRef<[u8]>) -> Option<Reply> {
        self.connect().try_send_raw(bytes)
    }

    pub(crate) fn get(&self, target: &str) -> Call {
        self.call("GET", target)
    }

    pub(crate) fn post(&self, target: &str) -> Call {
        self.call("POST", target)
    }

    /// A request with any method and target.
    pub(crate) fn call(&self, method: &str, target: &str) -> Call {
        Call {
            caller: self.clone(),
            method: method.to_owned(),
            target: target.as_bytes().to_vec(),
            version: "HTTP/1.1".to_owned(),
            headers: vec![("Host".to_owned(), self.host.clone().into_bytes())],
            body: Vec::new(),
        }
    }
}

/// `TcpStream` of std cannot bind before it connects; tokio's can, on a thread of its own because a test may already
/// run in a runtime.
fn connect_from(source: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let connect = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = if to.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
            socket.bind(SocketAddr::new(source, 0))?;
            let stream = socket.connect(to).await?.into_std()?;
            stream.set_nonblocking(false)?;
            Ok(stream)
        })
    };
    std::thread::spawn(connect).join().expect("the thread ran")
}

/// A request in the making. Header lines are sent in the order they were given, `Host` first.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    caller: Caller,
    method: String,
    target: Vec<u8>,
    version: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Call {
    /// Adds a header line.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Replaces the host.
    pub(crate) fn host(self, host: &str) -> Self {
        let mut call = self.no_host();
        call.headers.insert(0, ("Host".to_owned(), host.as_bytes().to_vec()));
        call
    }

    /// Sends no host at all.
    pub(crate) fn no_host(mut self) -> Self {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        self
    }

    /// Adds `Authorization: Bearer …`.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// A body with its length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Length", length)
    }

    /// A body in these chunks, followed by these trailer lines.
    pub(crate) fn chunked(mut self, chunks: &[&str], trailers: &[(&str, &str)]) -> Self {
        for chunk in chunks {
            self.body.extend(format!("{:x}\r\n{chunk}\r\n", chunk.len()).bytes());
        }
        self.body.extend(b"0\r\n");
        for (name, value) in trailers {
            self.body.extend(format!("{name}: {value}\r\n").bytes());
        }
        self.body.extend(b"\r\n");
        self.header("Transfer-Encoding", "chunked")
    }

    /// Another version than HTTP/1.1.
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// The bytes that are sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.target, b" ", self.version.as_bytes(), b"\r\n"].concat();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it on a new connection.
    #[track_caller]
    pub(crate) fn send(&self) -> Reply {
        self.send_on(&mut self.caller.connect())
    }

    /// Sends it on a new connection; none when nobody listens, or no whole answer came because the other side died.
    pub(crate) fn attempt(&self) -> Option<Reply> {
        let mut connection = self.caller.try_connect().ok()?;
        connection.write(self.bytes());
        connection.read_whole()
    }

    /// Sends it on a new connection, if somebody listens, and leaves before there is an answer.
    pub(crate) fn send_and_leave(&self) {
        if let Ok(mut connection) = self.caller.try_connect() {
            connection.write(self.bytes());
        }
    }

    /// Sends it on this connection.
    #[track_caller]
    pub(crate) fn send_on(&self, connection: &mut Connection) -> Reply {
        connection.send_raw(self.bytes())
    }
}

/// A connection that several requests can be sent on.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends these bytes and reads one answer.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: impl AsRef<[u8]>) -> Reply {
        let bytes = bytes.as_ref();
        self.try_send_raw(bytes).unwrap_or_else(|| {
            panic!("closed without an answer to {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(400)]))
        })
    }

    /// Sends these bytes and reads one answer; none when the connection was closed instead.
    pub(crate) fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> Option<Reply> {
        self.write(&bytes);
        self.read_reply(bytes.as_ref().starts_with(b"HEAD "))
    }

    /// Sends without waiting for anything. Whoever refuses early closes early: what cannot be sent any more is not.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(e) = self.stream.write_all(bytes.as_ref()) {
            assert!(matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "cannot send: {e}");
        }
    }

    /// Sends as many of these bytes as are taken at once; none when nothing is taken for so long.
    pub(crate) fn write_some(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).expect("a timeout");
        let count = self.stream.write(bytes).unwrap_or(0);
        self.stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        count
    }

    /// Reads the head of an answer, and leaves its body.
    pub(crate) fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head += &self.line();
            head += "\r\n";
        }
        head
    }

    /// Reads one answer, interim answers (100) skipped; none when the connection ends first. An answer to HEAD has no
    /// body whatever its length says.
    pub(crate) fn read_reply(&mut self, to_head: bool) -> Option<Reply> {
        loop {
            let head_end = loop {
                if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                    break at + 4;
                }
                if !self.fill() {
                    assert!(self.buffer.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.buffer));
                    return None;
                }
            };
            let head: Vec<u8> = self.buffer.drain(..head_end).collect();
            let mut reply = Reply::parse_head(&head);
            if (100..200).contains(&reply.status) && reply.status != 101 {
                continue;
            }
            if !to_head && !matches!(reply.status, 101 | 204 | 304) {
                reply.body = self.read_body(&reply);
            }
            return Some(reply);
        }
    }

    /// Reads one answer that tells its length; none when the connection ends within it.
    fn read_whole(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().then_some(())?;
        };
        let mut reply = Reply::parse_head(&self.buffer[..end]);
        let length: usize = reply.header("content-length").expect("a length").parse().expect("a number");
        while self.buffer.len() < end + length {
            self.fill().then_some(())?;
        }
        reply.body = self.buffer.drain(..end + length).skip(end).collect();
        Some(reply)
    }

    /// Reads one interim answer; none when the next one is none, which is not taken then.
    pub(crate) fn read_interim(&mut self) -> Option<Reply> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let reply = Some(Reply::parse_head(&self.buffer[..at + 4])).filter(|reply| reply.status < 200)?;
                self.buffer.drain(..at + 4);
                return Some(reply);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Everything until the connection ends, however it does.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    fn read_body(&mut self, reply: &Reply) -> Vec<u8> {
        match (reply.header("content-length"), reply.header("transfer-encoding")) {
            (Some(length), None) => {
                let length = length.parse().expect("a length");
                self.take(length)
            }
            (None, Some("chunked")) => {
                let mut body = Vec::new();
                loop {
                    let line = self.line();
                    let size =
                        usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).expect("a chunk size");
                    body.extend(self.take(size));
                    if size == 0 {
                        while !self.line().is_empty() {}
                        return body;
                    }
                    assert_eq!(self.line(), "", "a chunk does not end where it says");
                }
            }
            (None, None) => {
                while self.fill() {}
                std::mem::take(&mut self.buffer)
            }
            framing => panic!("the answer's framing is {framing:?}"),
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return String::from_utf8(line[..at].to_vec()).expect("ASCII");
            }
            assert!(self.fill(), "the connection ended within an answer");
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "the connection ended within an answer");
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads more bytes; false at the end of the connection. Fails when neither comes.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) => panic!("no answer within {DEADLINE:?}: {e}"),
        }
    }

    /// Exactly these many bytes, after an upgrade.
    pub(crate) fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        self.take(count)
    }

    /// Fails unless the other side closes the connection without sending anything more.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        while self.fill() {}
        assert!(self.buffer.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.buffer));
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    }

    /// The same connection, for a thread that only writes.
    pub(crate) fn split(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a second handle"), buffer: Vec::new() }
    }

    /// Our end of the connection.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// One answer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Header lines in order; a byte of a value is a char.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse_head(head: &[u8]) -> Self {
        let head: String = head.iter().map(|&b| char::from(b)).collect();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        assert!(status_line.starts_with("HTTP/1."), "no status line: {status_line:?}");
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header line: {line:?}"));
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        });
        Self { status: status.expect("a status"), headers: headers.collect(), body: Vec::new() }
    }

    /// The value of a header that must not stand there twice.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands there {} times in {self:?}", all.len());
        all.first().copied()
    }

    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// `X-Request-Id`, which every answer has.
    #[track_caller]
    pub(crate) fn request_id(&self) -> &str {
        self.header("x-request-id").unwrap_or_else(|| panic!("no X-Request-Id in {self:?}"))
    }

    /// Whether the answer announces that the connection ends with it.
    pub(crate) fn says_close(&self) -> bool {
        self.all("connection").iter().any(|v| v.to_ascii_lowercase().contains("close"))
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The request was forwarded, and the upstream's own answer came back.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.is(200)
    }

    /// The request was refused for this reason, in the built-in dialect, with everything that a refusal must carry.
    #[track_caller]
    pub(crate) fn denied(self, reason: &str) -> Self {
        let status = status_of(reason);
        assert_eq!(self.status, status, "expected {reason}, got {self:?}");
        let body = self.json();
        let id = self.request_id();
        assert_eq!(body["code"], reason, "{self:?}");
        assert_eq!(body["status"], status, "{self:?}");
        assert_eq!(body["type"], format!("urn:portcullis:error:{reason}"), "{self:?}");
        assert_eq!(body["instance"], format!("urn:uuid:{id}"), "{self:?}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.header("server"), None, "{self:?}");
        let challenge = self.header("www-authenticate");
        if status == 401 {
            let challenge = challenge.unwrap_or_else(|| panic!("no challenge in {self:?}"));
            assert!(challenge.starts_with("Bearer realm=\""), "{challenge}");
            let told = !matches!(reason, "missing_credentials" | "invalid_credentials" | "invalid_client");
            assert_eq!(challenge.contains("error="), told, "{challenge}");
        }
        if reason == "method_not_allowed" {
            assert!(self.header("allow").is_some(), "no Allow in {self:?}");
        }
        if matches!(status, 429 | 503) {
            let seconds = self.header("retry-after").and_then(|v| v.parse::<u64>().ok());
            assert!(seconds.is_some_and(|s| s > 0), "no Retry-After in {self:?}");
        }
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", self.text())
    }
}

/// The documented status of every reason: a second list, so that a slip in the gateway's table shows.
pub(crate) const STATUSES: &[(u16, &[&str])] = &[
    (400, &["bad_request", "ambiguous_credential", "path_ambiguous", "syntax_error", "validation_failed"]),
    (
        401,
        &[
            "missing_credentials",
            "token_invalid",
            "token_expired",
            "token_revoked",
            "issuer_not_allowed",
            "refresh_invalid",
            "refresh_expired",
            "refresh_reused",
            "key_unknown",
            "key_malformed",
            "key_disabled",
            "key_expired",
            "key_revoked",
            "invalid_credentials",
            "invalid_client",
        ],
    ),
    (
        403,
        &[
            "forbidden",
            "insufficient_scope",
            "role_denied",
            "plan_denied",
            "attribute_denied",
            "ip_denied",
            "subject_inactive",
        ],
    ),
    (404, &["not_found", "unknown_host", "no_route", "subject_not_found"]),
    (405, &["method_not_allowed"]),
    (408, &["request_timeout"]),
    (413, &["payload_too_large"]),
    (414, &["uri_too_long"]),
    (415, &["unsupported_media_type"]),
    (421, &["misdirected_request"]),
    (429, &["rate_limited", "locked_out"]),
    (431, &["headers_too_large"]),
    (500, &["internal"]),
    (502, &["upstream_unavailable"]),
    (503, &["unavailable", "store_unavailable", "keys_unavailable", "directory_unavailable", "overloaded"]),
    (504, &["upstream_timeout"]),
];

/// The documented status of a reason.
#[track_caller]
pub(crate) fn status_of(reason: &str) -> u16 {
    let found = STATUSES.iter().find(|(_, reasons)| reasons.contains(&reason));
    found.unwrap_or_else(|| panic!("{reason} is no reason")).0
}
