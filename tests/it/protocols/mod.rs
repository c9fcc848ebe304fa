//! What clients really speak, with clients that are not ours: WebSocket (tungstenite), events, HTTP/1.0, uploads (curl);
//! and that what is open ends when the right to it does.

mod clients;
mod ends;
mod websocket;

use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;

use tungstenite::client::ClientRequestBuilder;
use tungstenite::error::Error;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::Uri;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::support::DEADLINE;
use crate::support::scripted::{Line, Scripted};

/// A field of a request.
type Field<'a> = (&'a str, &'a str);

/// An application: a WebSocket that repeats what it is sent, `…/events` that go on, `…/slow` answers of which a byte comes
/// now and then, nothing to `…/up`, and `ok` to all else,
/// `…/late` after five seconds.
fn application() -> Scripted {
    Scripted::start(|line, _| {
        while let Some(head) = line.request() {
            let target = head.split(' ').nth(1).unwrap_or_default();
            if let Some(key) = field(&head, "sec-websocket-key") {
                return reflect(agree(line, key));
            } else if target.ends_with("/events") {
                line.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n");
                line.send("Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
                return line.until_closed();
            } else if target.ends_with("/slow") {
                line.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n",
                );
                while line.send("x") {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                return;
            } else if target.ends_with("/up") {
                return line.until_closed();
            } else if target.ends_with("/late") {
                std::thread::sleep(std::time::Duration::from_millis(5500));
            }
            line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Agrees to a WebSocket.
fn agree(line: &mut Line, key: &str) -> WebSocket<TcpStream> {
    let accept = derive_accept_key(key.as_bytes());
    line.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
    WebSocket::from_raw_socket(line.stream(), Role::Server, None)
}

/// Sends back what comes, until it ends.
fn reflect(mut socket: WebSocket<TcpStream>) {
    while let Ok(message) = socket.read() {
        let sent = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message),
            _ => socket.flush(),
        };
        if sent.is_err() {
            break;
        }
    }
}

/// A WebSocket to the gateway at `address`.
///
/// # Errors
/// The status of the answer that it is none.
fn try_socket(address: SocketAddr, host: &str, target: &str, fields: &[Field]) -> Result<WebSocket<TcpStream>, u16> {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut request = ClientRequestBuilder::new(Uri::from_str(&format!("ws://{host}{target}")).expect("a URL"));
    for (name, value) in fields {
        request = request.with_header(*name, *value);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{target}: {error}"),
    }
}

/// A WebSocket whose other end repeats what it is sent.
fn socket(address: SocketAddr, host: &str, target: &str, fields: &[Field]) -> WebSocket<TcpStream> {
    let mut socket = try_socket(address, host, target, fields).unwrap_or_else(|status| panic!("{target}: {status}"));
    assert!(lives(&mut socket), "{target}");
    socket
}

/// Whether what is sent comes back.
fn lives(socket: &mut WebSocket<TcpStream>) -> bool {
    socket.send(Message::text("are you there?")).is_ok()
        && socket.read().is_ok_and(|message| message == Message::text("are you there?"))
}

/// Waits until a WebSocket is closed, and says how.
fn closed(mut socket: WebSocket<TcpStream>) -> Option<CloseFrame> {
    match socket.read() {
        Ok(Message::Close(frame)) => {
            // What is sent last is the answer to that, and the connection ends in order.
            assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
            frame
        }
        other => panic!("not closed: {other:?}"),
    }
}
