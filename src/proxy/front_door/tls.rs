//! The TLS of a listener: handshakes in bounded time, and the stream that comes of one, which tells the gate what the
//! client said in it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_certificate;
use crate::clock::{Clock, Stopwatch, UnixMillis};
use crate::gate::request::Handshake;
use crate::telemetry::{HandshakeResult, Handshakes};
use crate::tls::InForce;

/// A client that failed may read why for this long: closing while its bytes arrive would make the kernel reset the
/// connection and throw the alert away.
const FAREWELL: Duration = Duration::from_secs(1);
/// For saying goodbye to a client that reads nothing.
const GOODBYE: Duration = Duration::from_secs(5);
/// So often at most is told that handshakes fail: whoever scans ports makes many.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Makes the handshakes of a listener. A failed one ends its connection, and nothing else.
pub struct Securing {
    tls: Arc<InForce>,
    handshakes: Handshakes,
    patience: Duration,
    clock: Arc<dyn Clock>,
    told: Mutex<Told>,
}

/// When it was last told that a handshake has failed, and how many have since.
#[derive(Debug, Default)]
struct Told {
    last: Option<Stopwatch>,
    since: u64,
}

impl fmt::Debug for Securing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Securing").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// `stream` as it is meant at its listener: as it is, or once the handshake is made. None: it failed, and the connection
/// has ended.
pub async fn secure(stream: Stream, securing: Option<&Securing>) -> Option<Stream> {
    match securing {
        None => Some(stream),
        // In a box of its own: a handshake needs room that a connection shall not keep.
        Some(securing) => Box::pin(securing.accept(stream)).await,
    }
}

impl Securing {
    /// Handshakes with what is in force at `tls`, each over within `patience`.
    pub fn new(tls: Arc<InForce>, handshakes: Handshakes, patience: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { tls, handshakes, patience, clock, told: Mutex::default() }
    }

    async fn accept(&self, stream: Stream) -> Option<Stream> {
        let acceptor = TlsAcceptor::from(self.tls.current().config());
        let (result, failed) = match timeout(self.patience, acceptor.accept(stream).into_fallible()).await {
            Ok(Ok(stream)) => match Secured::new(stream, self.clock.now()) {
                Ok(secured) => {
                    self.handshakes.count(HandshakeResult::Ok);
                    return Some(Box::new(secured));
                }
                Err(stream) => (HandshakeResult::CertificateRefused, Some(stream)),
            },
            Ok(Err((error, stream))) => (result_of(&error), Some(stream)),
            Err(_) => (HandshakeResult::Timeout, None),
        };
        self.handshakes.count(result);
        self.tell(result);
        if let Some(stream) = failed {
            part(stream).await;
        }
        None
    }

    fn tell(&self, result: HandshakeResult) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.since = told.since.saturating_add(1);
        if told.last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            let tls = self.tls.current();
            let listener = &**tls.listener();
            tracing::debug!(listener, result = result.as_str(), failed = told.since, "a TLS handshake failed");
            *told = Told { last: Some(Stopwatch::start()), since: 0 };
        }
    }
}

/// Lets a client read why its handshake failed.
async fn part(mut stream: Stream) {
    let goodbye = async {
        AsyncWriteExt::shutdown(&mut stream).await?;
        let mut chunk = vec![0; 1024];
        while stream.read(&mut chunk).await? > 0 {}
        io::Result::Ok(())
    };
    // It ends in any case.
    timeout(FAREWELL, goodbye).await.ok();
}

fn result_of(error: &io::Error) -> HandshakeResult {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
        return HandshakeResult::Closed; // of the connection itself
    };
    match error {
        rustls::Error::NoCertificatesPresented => HandshakeResult::NoCertificate,
        rustls::Error::InvalidCertificate(_) => HandshakeResult::CertificateRefused,
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => HandshakeResult::Incompatible,
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => HandshakeResult::NotTls,
        rustls::Error::AlertReceived(_) => HandshakeResult::RefusedByClient,
        _ => HandshakeResult::Failed,
    }
}

/// What the client said in the handshake. None: its certificate is not to be relied on. Whoever resumes a session shows
/// none anew; it has to be valid all the same.
fn heard(connection: &ServerConnection, now: UnixMillis) -> Option<Handshake> {
    let server_name = connection.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
    let certificate = match connection.peer_certificates().and_then(<[CertificateDer<'_>]>::first) {
        Some(shown) => Some(client_certificate::read(shown).filter(|certificate| certificate.not_after > now)?),
        None => None,
    };
    Some(Handshake { server_name, certificate: certificate.map(Arc::new) })
}

/// A connection after its handshake, as the engine wants connections.
struct Secured {
    stream: TlsStream<Stream>,
    cipher: Arc<SslDigest>,
    /// What the gate is told.
    heard: Arc<ProxyDigest>,
}

impl Secured {
    /// Gives the connection back where the client's certificate is not to be relied on.
    fn new(stream: TlsStream<Stream>, now: UnixMillis) -> Result<Self, Stream> {
        let connection = stream.get_ref().1;
        let (Some(heard), Ok(no_proxy)) = (heard(connection, now), ResponseHeader::build(200, Some(0))) else {
            return Err(stream.into_inner().0);
        };
        let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
        let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
        let cipher = Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()));
        // The engine means a proxy that it has asked for a connection; what else is known of one may lie beside that.
        let heard = Arc::new(ProxyDigest::new(Box::new(no_proxy), Some(Box::new(Arc::new(heard)))));
        Ok(Self { stream, cipher, heard })
    }

    fn inner(&self) -> &Stream {
        self.stream.get_ref().0
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").field("version", &self.cipher.version).finish_non_exhaustive()
    }
}

impl AsyncRead for Secured {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Secured {
    /// Says so to the client, who could not tell an end from a cut otherwise (RFC 8446 section 6.1).
    async fn shutdown(&mut self) {
        timeout(GOODBYE, AsyncWriteExt::shutdown(&mut self.stream)).await.ok();
    }
}

impl UniqueID for Secured {
    fn id(&self) -> UniqueIDType {
        self.inner().id()
    }
}

impl Ssl for Secured {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.cipher))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(ALPN::H2),
            Some(_) => Some(ALPN::H1),
            None => None,
        }
    }
}

impl GetTimingDigest for Secured {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner().get_timing_digest()
    }
}

impl GetProxyDigest for Secured {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.heard))
    }
}

impl GetSocketDigest for Secured {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner().get_socket_digest()
    }
}

impl Peek for Secured {}
