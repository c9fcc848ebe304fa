//! The connection as the engine sees it while it works on one request: exactly the bytes of that request, then silence.
//! What the client sends ahead waits here for the next head check; that the client leaves is passed on.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
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
use super::frames::{CLOSE, Frames};
use super::head::Shape;
use crate::clock::Stopwatch;
use crate::proxy::vigil::End;

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
    end: OnceLock<Arc<End>>,
    /// What was sent through the tunnel.
    frames: Frames,
    over: bool,
    /// Something was written that may wait in a buffer.
    unsent: bool,
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
        Self {
            inner,
            held,
            allowed,
            upgradable: shape.upgrade,
            arrived,
            farewell: None,
            linger: None,
            end: OnceLock::new(),
            frames: Frames::default(),
            over: false,
            unsent: false,
        }
    }

    /// From now on the connection breaks off when `end` is declared. Only the first one counts.
    pub(in crate::proxy) fn ends_with(&self, end: &Arc<End>) {
        self.end.get_or_init(|| Arc::clone(end));
    }

    /// Fails when the exchange is over. A WebSocket is told why, if it can be done: between two frames, and without
    /// waiting.
    fn go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(end) = self.end.get() else { return Ok(()) };
        if end.poll(cx).is_pending() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.over, true) && self.allowed == Allowed::Everything && self.frames.between() {
            // Whether it was sent changes nothing.
            drop(Pin::new(&mut self.inner).poll_write(cx, &CLOSE).map_ok(drop));
        }
        Err(io::ErrorKind::ConnectionAborted.into())
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
        this.go_on(cx)?;
        if this.unsent {
            // The engine keeps the beginning of an answer whose length is known until there is more of it. Now it waits:
            // the client is not to wait for the same.
            this.unsent = Pin::new(&mut this.inner).poll_flush(cx)?.is_pending();
        }
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
        this.go_on(cx)?;
        this.farewell = None;
        // The tunnel opens with the answer that agrees to it, not with the request that asks for it: what a client sends
        // behind a request that stays HTTP is a new request, judged on its own.
        let switching = this.upgradable && bytes.starts_with(b"HTTP/1.1 101");
        if switching {
            this.upgradable = false;
            this.allowed = Allowed::Everything;
        }
        let tunnel = this.allowed == Allowed::Everything && !switching;
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.unsent = true;
        if tunnel {
            this.frames.follow(bytes.get(..count).unwrap_or_default());
        } else if switching && !(count == bytes.len() && bytes.ends_with(b"\r\n\r\n")) {
            this.frames.lose();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        this.unsent = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            // Whoever is cut off may have more to say, and is to hear why.
            if !this.over && matches!(this.allowed, Allowed::Exactly(0) | Allowed::Everything) {
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
#[path = "window_tests.rs"]
mod tests;
