//! HTTP/2 towards clients: what holds for a request over HTTP/1 holds for one over HTTP/2, and what only HTTP/2 makes
//! possible is bounded (attacks section 3.2).

mod attacks;
mod calls;
mod cors;
pub(crate) mod frames;
mod grants;
mod load;
mod requests;

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Version};

use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

/// The standard realm on a listener that speaks HTTP/2 without TLS, with these keys in `[server]`; a route `/slow/**` waits
/// 500 ms.
fn house_with(server: &str) -> House {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let slow = "\n[[routes]]\nname = \"slow\"\npath = \"/slow/**\"\nauth = [\"public\"]\n\
                timeouts = { read = \"500ms\", write = \"500ms\" }\n";
    let gateway = Gateway::builder()
        .listener_toml("http2 = true")
        .standard_with(&standard, slow)
        .server_toml(server)
        .upstream(&upstream)
        .start();
    House { upstream, standard, gateway }
}

fn house() -> House {
    house_with("")
}

/// A client of the gateway that keeps to the protocol.
struct Client {
    sender: SendRequest<Bytes>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    /// Whether the head was all of it.
    head_only: bool,
    body: BytesMut,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }
}

fn get(target: &str) -> Request<()> {
    call("GET", target)
}

fn call(method: &str, target: &str) -> Request<()> {
    let uri = format!("http://api.test{target}");
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(()).expect("a request")
}

fn with(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    request.headers_mut().append(name, value.parse().expect("a value"));
    request
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("no delay");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        // It ends with the connection; how, every request tells.
        tokio::spawn(async move { drop(connection.await) });
        Self { sender }
    }

    /// Sends a request without a body.
    async fn ask(&mut self, request: Request<()>) -> Result<Answer, h2::Error> {
        self.send(request, None).await
    }

    /// Sends a request, with a body perhaps.
    async fn send(&mut self, request: Request<()>, body: Option<Bytes>) -> Result<Answer, h2::Error> {
        let (answer, mut stream) = self.begin(request, body.is_none()).await?;
        if let Some(body) = body {
            give(&mut stream, body, true).await?;
        }
        read(answer).await
    }

    /// Sends the head of a request.
    async fn begin(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        self.sender.send_request(request, end)
    }
}

/// Sends a part of a body, as fast as the other side wants it.
async fn give(stream: &mut h2::SendStream<Bytes>, mut body: Bytes, end: bool) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
        let part = body.split_to(room?.min(body.len()));
        stream.send_data(part, end && body.is_empty())?;
    }
    Ok(())
}

async fn read(answer: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.await?.into_parts();
    let head_only = stream.is_end_stream();
    let mut body = BytesMut::new();
    while let Some(part) = stream.data().await.transpose()? {
        stream.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, head_only, body })
}
