//! The connection as the engine sees it while it works on one request: exactly the bytes of that request, then silence.
//! What the client sends ahead waits here for the next head check; that the client leaves is passed on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::chunks::Chunks;
use super::head::Shape;
use crate::clock::Stopwatch;

/// How many bytes are kept that a client sent ahead.
const AHEAD: usize = 64 * 1024;
/// Whoever says that he sends nothing more may still read: he counts as gone only when no part of an answer could be sent
/// to him for this long.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long a client may go on sending after its connection was ended: closing while bytes arrive would make the kernel
/// reset it, and the client could lose the answer.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// A view of one request on a connection.
#[derive(Debug)]
pub(in crate::proxy) struct Window {
    inner: Stream,
    held: BytesMut,
    allowed: Allowed,
    upgradable: bool,
    arrived: Stopwatch,
    farewell: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
}

/// How much the engine may still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// So many bytes.
    Exactly(u64),
    /// So many bytes of the head, and a chunked body.
    Chunked(usize, Chunks),
    /// A tunnel.
    Everything,
}

impl Allowed {
    /// How many of these bytes, which are the next ones, belong to the request.
    fn spend(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Exactly(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                Ok(count)
            }
            // The head for itself: the engine is to know whose body it is before it hears that the body is malformed.
            Self::Chunked(head @ 1.., _) => {
                let count = bytes.len().min(*head);
                *head -= count;
                Ok(count)
            }
            Self::Chunked(_, chunks) => {
                let count = chunks.follow(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                if chunks.ended() {
                    *self = Self::Exactly(0);
                }
                Ok(count)
            }
            Self::Everything => Ok(bytes.len()),
        }
    }
}

impl Window {
    /// The request whose head is the first `head` bytes of `held`.
    pub(super) fn new(inner: Stream, held: BytesMut, head: usize, shape: Shape, arrived: Stopwatch) -> Self {
        let allowed = match shape.length {
            Some(body) => Allowed::Exactly(u64::try_from(head).unwrap_or(u64::MAX).saturating_add(body)),
            None => Allowed::Chunked(head, Chunks::new()),
        };
        Self { inner, held, allowed, upgradable: shape.upgrade, arrived, farewell: None, linger: None }
    }

    /// Started at the first byte of the request.
    pub(in crate::proxy) fn arrived(&self) -> Stopwatch {
        self.arrived
    }

    /// The connection and what was sent ahead; none when the request was not read to its end.
    pub(super) fn close(self) -> Option<(Stream, BytesMut)> {
        if self.allowed == Allowed::Exactly(0) {
            return Some((self.inner, self.held));
        }
        tracing::debug!(left = ?self.allowed, "a request was not read to its end; the connection is closed");
        None
    }

    /// Gives what is held, as far as it belongs to the request.
    fn give_held(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let count = self.allowed.spend(self.held.get(..buffer.remaining()).unwrap_or(&self.held))?;
        buffer.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        Ok(())
    }

    /// Reads, and holds back what does not belong to the request.
    fn read_on(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let count = self.allowed.spend(fresh)?;
        self.held.extend_from_slice(fresh.get(count..).unwrap_or_default());
        buffer.set_filled(before + count);
        Poll::Ready(Ok(()))
    }

    /// Reads on, but gives nothing: only the end of the connection is told, when nobody seems to wait for the answer.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.held.len() >= AHEAD {
                // Nobody has to be woken: the client waits for an answer, and the answer does not wait for this.
                return Poll::Pending;
            }
            let mut chunk = [0; 4096];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                let farewell = self.farewell.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
                return farewell.as_mut().poll(cx).map(Ok);
            }
            self.held.put_slice(chunk.filled());
        }
    }
}

impl AsyncRead for Window {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.allowed == Allowed::Exactly(0) {
            this.read_ahead(cx)
        } else if this.held.is_empty() {
            this.read_on(cx, buffer)
        } else {
            Poll::Ready(this.give_held(buffer))
        }
    }
}

impl AsyncWrite for Window {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.farewell = None;
        // The tunnel opens with the answer that agrees to it, not with the request that asks for it: what a client sends
        // behind a request that stays HTTP is a new request, judged on its own.
        if this.upgradable && bytes.starts_with(b"HTTP/1.1 101") {
            this.upgradable = false;
            this.allowed = Allowed::Everything;
        }
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            if matches!(this.allowed, Allowed::Exactly(0) | Allowed::Everything) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        while linger.as_mut().poll(cx).is_pending() {
            let mut chunk = [0; 4096];
            let mut chunk = ReadBuf::new(&mut chunk);
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut chunk));
            if read.is_err() || chunk.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Shutdown for Window {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Window {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Window {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Window {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Window {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Window {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Window {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn window(sent: &[u8], head: usize, shape: Shape) -> (Window, DuplexStream) {
        let (client, server) = duplex(256 * 1024);
        (Window::new(Box::new(server), BytesMut::from(sent), head, shape, Stopwatch::start()), client)
    }

    fn plain(length: u64) -> Shape {
        Shape { length: Some(length), upgrade: false }
    }

    async fn silent(window: &mut Window) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_millis(1), window.read(&mut byte)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_engine_sees_its_own_request_and_not_the_next() {
        let (mut window, mut client) = window(b"HEADbod", 4, plain(5));
        client.write_all(b"y!NEXT").await.unwrap();
        let mut seen = [0; 9];
        window.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"HEADbody!");
        assert!(silent(&mut window).await);
        let (_, held) = window.close().unwrap();
        assert_eq!(&held[..], b"NEXT");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_held_beyond_the_request_stay_held() {
        let (mut window, _client) = window(b"HEADNEXT", 4, plain(0));
        let mut seen = [0; 64];
        assert_eq!(window.read(&mut seen).await.unwrap(), 4);
        assert!(silent(&mut window).await);
        assert_eq!(&window.close().unwrap().1[..], b"NEXT");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_its_side_may_read_for_a_while_and_is_gone_then() {
        let (mut window, mut client) = window(b"HEAD", 4, plain(0));
        let mut seen = [0; 64];
        assert_eq!(window.read(&mut seen).await.unwrap(), 4);
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        let begun = Instant::now();
        assert!(silent(&mut window).await);
        assert_eq!(window.read(&mut seen).await.unwrap(), 0);
        assert_eq!(begun.elapsed(), FAREWELL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_gone_while_an_answer_is_sent_to_it() {
        let (mut window, mut client) = window(b"HEAD", 4, plain(0));
        let mut seen = [0; 64];
        assert_eq!(window.read(&mut seen).await.unwrap(), 4);
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        assert!(silent(&mut window).await);
        sleep(FAREWELL - Duration::from_millis(10)).await;
        assert!(silent(&mut window).await);
        window.write_all(b"a part of the answer").await.unwrap();
        let begun = Instant::now();
        assert_eq!(window.read(&mut seen).await.unwrap(), 0);
        assert_eq!(begun.elapsed(), FAREWELL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunked_body_ends_where_it_ends() {
        let chunked = Shape { length: None, upgrade: false };
        let body = "5\r\nhello\r\n0\r\n\r\n";
        for held in 4..4 + body.len() + 4 {
            let sent = format!("HEAD{body}NEXT");
            let (mut window, mut client) = window(&sent.as_bytes()[..held], 4, chunked);
            client.write_all(&sent.as_bytes()[held..]).await.unwrap();
            let mut seen = vec![0; 4 + body.len()];
            window.read_exact(&mut seen).await.unwrap();
            assert_eq!(seen, format!("HEAD{body}").as_bytes());
            assert!(silent(&mut window).await);
            assert_eq!(&window.close().unwrap().1[..], b"NEXT");
        }
    }

    #[tokio::test]
    async fn a_chunked_body_that_is_malformed_or_unread_ends_the_connection() {
        let chunked = Shape { length: None, upgrade: false };
        let (mut malformed, _client) = window(b"HEAD5\nhello", 4, chunked);
        assert_eq!(malformed.read(&mut [0; 64]).await.unwrap(), 4);
        let error = malformed.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(malformed.close().is_none());
        let (mut unread, _client) = window(b"HEAD5\r\nhello\r\n", 4, chunked);
        unread.read_exact(&mut [0; 14]).await.unwrap();
        assert!(unread.close().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_ahead_is_bounded() {
        let (mut window, mut client) = window(b"HEAD", 4, plain(0));
        let mut seen = [0; 4];
        window.read_exact(&mut seen).await.unwrap();
        client.write_all(&vec![b'x'; 200 * 1024]).await.unwrap();
        assert!(silent(&mut window).await);
        let (_, held) = window.close().unwrap();
        assert!((AHEAD..AHEAD + 4096).contains(&held.len()), "{}", held.len());
    }

    #[tokio::test]
    async fn a_request_that_was_not_read_ends_the_connection() {
        let (mut window, _client) = window(b"HEADbo", 4, plain(4));
        let mut seen = [0; 6];
        window.read_exact(&mut seen).await.unwrap();
        assert!(window.close().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_within_its_body_may_send_the_rest_before_the_connection_is_closed() {
        let (mut window, mut client) = window(b"HEADbody", 4, plain(1 << 20));
        let begun = Instant::now();
        let ending = tokio::spawn(async move { AsyncWriteExt::shutdown(&mut window).await.unwrap() });
        assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0);
        client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        drop(client);
        ending.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_held_for_a_client_that_never_ends() {
        for (length, patience) in [(100, LINGER), (0, Duration::ZERO)] {
            let (mut window, _client) = window(b"HEAD", 4, plain(length));
            assert_eq!(window.read(&mut [0; 64]).await.unwrap(), 4);
            let begun = Instant::now();
            AsyncWriteExt::shutdown(&mut window).await.unwrap();
            assert!(begun.elapsed().abs_diff(patience) < Duration::from_millis(2), "{length}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_opens_with_the_answer_that_agrees() {
        let (mut window, mut client) = window(b"HEADearly", 4, Shape { length: Some(0), upgrade: true });
        let mut seen = [0; 4];
        window.read_exact(&mut seen).await.unwrap();
        assert!(silent(&mut window).await);
        window.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        client.write_all(b" and late").await.unwrap();
        let mut seen = [0; 14];
        window.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"early and late");
    }

    #[tokio::test(start_paused = true)]
    async fn no_tunnel_opens_for_a_request_that_did_not_ask_or_an_answer_that_declined() {
        for (upgrade, answer) in
            [(false, "HTTP/1.1 101 Switching Protocols\r\n\r\n"), (true, "HTTP/1.1 200 OK\r\n\r\n")]
        {
            let (mut window, _client) = window(b"HEADNEXT", 4, Shape { length: Some(0), upgrade });
            let mut seen = [0; 4];
            window.read_exact(&mut seen).await.unwrap();
            window.write_all(answer.as_bytes()).await.unwrap();
            assert!(silent(&mut window).await);
        }
    }
}
