//! A client of HTTP/2 that reads trailers, over whatever connection there is.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Version};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::DEADLINE;

/// The client.
#[derive(Clone)]
pub(super) struct Client {
    scheme: &'static str,
    sender: SendRequest<Bytes>,
}

/// An answer whose head has come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: HeaderMap,
    /// Whether its head is all of it.
    pub(super) head_only: bool,
    body: RecvStream,
}

/// An answer that has ended as it should.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) head: HeaderMap,
    pub(super) head_only: bool,
    pub(super) body: BytesMut,
    pub(super) trailers: HeaderMap,
}

pub(super) fn text<'a>(fields: &'a HeaderMap, name: &str) -> &'a str {
    fields.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
}

async fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.set_nodelay(true).expect("no delay");
    stream
}

impl Client {
    /// Without TLS.
    pub(super) async fn plain(address: SocketAddr) -> Self {
        Self::over(connected(address).await, "http").await
    }

    /// Over TLS, after these bytes.
    pub(super) async fn secure(address: SocketAddr, authority: &str, before: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut stream = connected(address).await;
        stream.write_all(before).await.expect("sent");
        let name = ServerName::try_from("api.test").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, "https").await
    }

    async fn over<S>(stream: S, scheme: &'static str) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        // It ends with the connection; how, every request tells.
        tokio::spawn(async move { drop(connection.await) });
        Self { scheme, sender }
    }

    /// The same, whose requests have this scheme.
    pub(super) fn telling(self, scheme: &'static str) -> Self {
        Self { scheme, ..self }
    }

    /// A request for `api.test`.
    pub(super) fn request(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let uri = format!("{}://api.test{target}", self.scheme);
        let request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).expect("a request")
    }

    /// Sends a head; `end`: it is all of the request.
    pub(super) async fn begin(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        self.sender.send_request(request, end)
    }

    /// Sends a request without a body, and reads its answer.
    pub(super) async fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Result<Whole, h2::Error> {
        let request = self.request("GET", target, fields);
        let (answer, _) = self.begin(request, true).await?;
        head(answer).await?.rest().await
    }

    /// Waits until the other side takes no more requests.
    pub(super) async fn is_told_to_go(&mut self) {
        let told = async {
            while poll_fn(|cx| self.sender.poll_ready(cx)).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        in_time("a GOAWAY", told).await;
    }
}

/// What must not take for ever.
pub(super) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(2 * DEADLINE, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// Waits for the head of an answer.
pub(super) async fn head(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, body) = in_time("an answer", answer).await?.into_parts();
    Ok(Answer { status: parts.status.as_u16(), head: parts.headers, head_only: body.is_end_stream(), body })
}

impl Answer {
    /// The next part of its body; none at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let Some(part) = in_time("a part", self.body.data()).await.transpose()? else { return Ok(None) };
        self.body.flow_control().release_capacity(part.len())?;
        Ok(Some(part))
    }

    /// All that is left of it.
    pub(super) async fn rest(mut self) -> Result<Whole, h2::Error> {
        let mut body = BytesMut::new();
        while let Some(part) = self.next().await? {
            body.extend_from_slice(&part);
        }
        let trailers = in_time("trailers", self.body.trailers()).await?.unwrap_or_default();
        Ok(Whole { status: self.status, head: self.head, head_only: self.head_only, body, trailers })
    }
}
