//! One check of one server. Bounded in time and size; nothing that a server says is repeated, but its status.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Uri};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::HttpPeer;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::fault;
use super::super::server::Server;
use super::{Examiner, Question};
use crate::gate::policy::{Check, Probe};

/// So many addresses of a name are asked; the others are the same server, as far as anybody knows.
const ADDRESSES: usize = 16;
/// Where the gateway asks a service of gRPC.
const GRPC_CHECK: &str = "/grpc.health.v1.Health/Check";
/// An answer of gRPC about health is seven bytes.
const MOST_GRPC: usize = 1024;

/// Asks a server at all its addresses: it is well when it is at one of them. Else the fault at one of them.
pub(super) async fn ask(server: &Server, examiner: &Examiner, connector: &Arc<Connector>) -> Result<(), String> {
    let mut fault = String::from("it has no address");
    let mut asked = JoinSet::new();
    for address in server.addresses().into_iter().take(ADDRESSES) {
        let (peer, connector) = (peer_at(&examiner.peer, address.clone()), Arc::clone(connector));
        let Question { check, host, .. } = &examiner.question;
        let (Check { probe, timeout: patience, .. }, own) = (check.clone(), own_host(server, host.as_deref()));
        asked.spawn(async move {
            let answer = timeout(patience, ask_at(peer, &probe, &own, &connector)).await;
            (address, answer.unwrap_or_else(|_| Err(String::from("it did not answer in time"))))
        });
    }
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok((address, Ok(()))) => {
                server.forgive(&address);
                return Ok(());
            }
            Ok((_, Err(found))) => fault = found,
            Err(_) => fault = String::from("the check failed by a fault of the gateway"),
        }
    }
    Err(fault)
}

fn peer_at(template: &HttpPeer, address: PeerAddress) -> HttpPeer {
    let mut peer = template.clone();
    peer._address = address;
    peer
}

/// What a server calls itself.
fn own_host(server: &Server, host: Option<&str>) -> String {
    match host {
        Some(host) => host.to_owned(),
        None if server.label().starts_with("unix:") => String::from("localhost"),
        None => server.label().to_owned(),
    }
}

async fn ask_at(peer: HttpPeer, probe: &Probe, own: &str, connector: &Connector) -> Result<(), String> {
    match probe {
        Probe::Tcp => connect(&peer._address).await,
        Probe::Http { path, host, statuses } => {
            let session = request(&peer, "GET", path, host.as_deref().unwrap_or(own), None, connector).await?;
            let status = status(&session)?;
            let good = if statuses.is_empty() { (200..300).contains(&status) } else { statuses.contains(&status) };
            if good { Ok(()) } else { Err(format!("it answered {status}")) }
        }
        Probe::Grpc { service, host } => {
            let body = Some(grpc_request(service));
            let host = host.as_deref().unwrap_or(own);
            let mut session = request(&peer, "POST", GRPC_CHECK, host, body, connector).await?;
            match status(&session)? {
                200 => serving(&mut session).await,
                status => Err(format!("it answered {status}")),
            }
        }
    }
}

async fn connect(address: &PeerAddress) -> Result<(), String> {
    let connected = match address {
        PeerAddress::Inet(address) => TcpStream::connect(address).await.map(drop),
        PeerAddress::Unix(address) => match address.as_pathname() {
            Some(path) => UnixStream::connect(path).await.map(drop),
            None => return Err(String::from("it has no address")),
        },
    };
    connected.map_err(|error| format!("it cannot be connected to: {}", error.kind()))
}

/// Sends a request on a connection of its own, and reads the head of the answer.
async fn request(
    peer: &HttpPeer,
    method: &str,
    path: &str,
    host: &str,
    body: Option<Bytes>,
    connector: &Connector,
) -> Result<HttpSession, String> {
    let told = |error: Box<pingora::Error>| format!("it cannot be asked: {}", fault::of(&error));
    let (mut session, _) = connector.get_http_session(peer).await.map_err(told)?;
    let mut head = RequestHeader::build(method, path.as_bytes(), Some(5)).map_err(told)?;
    for (name, value) in [(http::header::HOST, host), (http::header::USER_AGENT, "portcullis-health-check")] {
        head.insert_header(name, value).map_err(told)?;
    }
    match &session {
        HttpSession::H1(_) if body.is_some() => return Err(String::from("it does not speak HTTP/2")),
        HttpSession::H1(_) => head.insert_header(http::header::CONNECTION, "close").map_err(told)?,
        HttpSession::H2(_) => {
            let scheme = if peer.is_tls() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
            head.set_uri(uri.map_err(|_| String::from("its name makes no URL"))?);
            head.remove_header(&http::header::HOST);
        }
        HttpSession::Custom(_) => return Err(String::from("it speaks something else")),
    }
    if body.is_some() {
        head.insert_header(http::header::CONTENT_TYPE, "application/grpc").map_err(told)?;
        head.insert_header(HeaderName::from_static("te"), "trailers").map_err(told)?;
    }
    session.write_request_header(Box::new(head)).await.map_err(told)?;
    match body {
        Some(body) => session.write_request_body(body, true).await.map_err(told)?,
        None => session.finish_request_body().await.map_err(told)?,
    }
    session.read_response_header().await.map_err(told)?;
    Ok(session)
}

fn status(session: &HttpSession) -> Result<u16, String> {
    session.response_header().map(|head| head.status.as_u16()).ok_or_else(|| String::from("it did not answer"))
}

/// A message of gRPC (`Length-Prefixed-Message`) that holds `HealthCheckRequest { service }`.
fn grpc_request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 2);
    if let (Ok(length @ 1..), name) = (u8::try_from(service.len()), service.as_bytes()) {
        // Field 1, text. A length from 128 on takes two bytes: seven bits each, the lowest first.
        message.push(0x0a);
        if length >= 128 {
            message.extend([length, 1]);
        } else {
            message.push(length);
        }
        message.extend_from_slice(name);
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend(message);
    framed.into()
}

async fn serving(session: &mut HttpSession) -> Result<(), String> {
    let mut answer = BytesMut::new();
    while answer.len() < MOST_GRPC {
        match session.read_response_body().await {
            Ok(Some(part)) => answer.extend_from_slice(&part),
            Ok(None) => break,
            Err(error) => return Err(format!("it broke off: {}", error.reason_str())),
        }
    }
    // An uncompressed message of two bytes: field 1, a number, 1 = SERVING.
    match &*answer {
        [0, 0, 0, 0, 2, 0x08, 1] => Ok(()),
        [] => Err(String::from("it does not know the service, or does not tell")),
        _ => Err(String::from("the service is not serving")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_of_grpc_is_framed_as_the_protocol_says() {
        assert_eq!(&*grpc_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*grpc_request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = grpc_request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 200, 1]);
        assert_eq!(long.len(), 208);
    }
}
