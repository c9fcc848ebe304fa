//! The connection as the engine of HTTP/2 sees it: every byte passes, and the frames are followed on the way. When the
//! client breaks a bound, it is told so, and the engine sees the end of the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::conduct::{Breach, Conduct};
use super::frames::{self, Frames, Step, kind};
use crate::clock::Stopwatch;
use crate::proxy::CLIENT_TAKES_NOTHING;

/// How long a client may go on sending after it was told to go away: closing while bytes arrive would make the kernel
/// reset the connection, and the client would never read why.
const LINGER: Duration = Duration::from_secs(1);

/// A connection whose frames are followed.
#[derive(Debug)]
pub(super) struct Follower {
    inner: Stream,
    /// Was read before, and is given first.
    held: BytesMut,
    conduct: Conduct,
    begun: Stopwatch,
    /// How long a head may take.
    patience: Duration,
    /// What is waited for, and until when.
    awaited: Option<(u64, Pin<Box<Sleep>>)>,
    sent: Frames,
    /// The payload of the engine's own GOAWAY, as far as it was sent.
    told: Option<Vec<u8>>,
    /// Since when the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    farewell: Option<Farewell>,
    /// The client has ended its side.
    gone: bool,
    breach: Arc<OnceLock<Breach>>,
}

/// The end: what is still to be said, and how long is listened afterwards.
#[derive(Debug)]
struct Farewell {
    words: BytesMut,
    shut: bool,
    until: Pin<Box<Sleep>>,
}

impl Follower {
    /// Follows `inner`, of which `held` was read already: the preface, which is `preface` bytes long, and what came with
    /// it. A head may take as long as `patience`. What ends the connection is left in `breach`.
    pub(super) fn new(
        inner: Stream,
        held: BytesMut,
        preface: usize,
        patience: Duration,
        breach: Arc<OnceLock<Breach>>,
    ) -> Self {
        let mut follower = Self {
            inner,
            held,
            conduct: Conduct::after(preface),
            begun: Stopwatch::start(),
            patience,
            awaited: None,
            sent: Frames::default(),
            told: None,
            stalled: None,
            farewell: None,
            gone: false,
            breach,
        };
        follower.wait();
        follower
    }

    /// Gives what is waited for its time.
    fn wait(&mut self) {
        let now = self.conduct.awaited();
        if now != self.awaited.as_ref().map(|(awaited, _)| *awaited) {
            self.awaited = now.map(|awaited| (awaited, Box::pin(sleep(self.patience))));
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.awaited.as_mut().is_some_and(|(_, until)| until.as_mut().poll(cx).is_ready())
    }

    /// Ends the connection for `breach`.
    fn end(&mut self, breach: Breach, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let breach = *self.breach.get_or_init(|| breach);
        let mut words = BytesMut::new();
        if self.may_speak() {
            words.extend_from_slice(&frames::goaway(self.conduct.newest(), breach.code()));
        }
        self.farewell = Some(Farewell { words, shut: false, until: Box::pin(sleep(LINGER)) });
        self.leave(cx)
    }

    /// Whether a frame of our own may be sent: between two of the engine's, and not after its last.
    fn may_speak(&self) -> bool {
        self.sent.between() && self.told.is_none() && self.stalled.is_none() && !self.gone
    }

    /// Says the last words and listens for a while; then the connection is at its end.
    fn leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else { return Poll::Ready(Ok(())) };
        let over = || Err(io::ErrorKind::ConnectionAborted.into());
        if farewell.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(over());
        }
        while !farewell.words.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &farewell.words)) {
                Ok(count @ 1..) => farewell.words.advance(count),
                Ok(0) | Err(_) => return Poll::Ready(over()),
            }
        }
        if !farewell.shut {
            if ready!(Pin::new(&mut self.inner).poll_shutdown(cx)).is_err() {
                return Poll::Ready(over());
            }
            farewell.shut = true;
        }
        loop {
            let mut chunk = [0; 4096];
            let mut chunk = ReadBuf::new(&mut chunk);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut chunk));
            if read.is_err() || chunk.filled().is_empty() {
                return Poll::Ready(over());
            }
        }
    }

    /// Looks at what was given to the engine.
    fn received(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        self.gone = fresh.is_empty();
        match self.conduct.follow(fresh, self.begun.elapsed()) {
            Ok(()) => {
                self.wait();
                Poll::Ready(Ok(()))
            }
            Err(breach) => {
                buffer.set_filled(before);
                self.end(breach, cx)
            }
        }
    }

    /// Looks at what was sent.
    fn sent(&mut self, mut bytes: &[u8]) {
        self.conduct.carried(bytes.len());
        while let Some(step) = self.sent.step(&mut bytes) {
            match step {
                // The first of two says only that no more requests are wanted.
                Step::Begin(header) if header.kind == kind::GOAWAY => self.told = Some(Vec::new()),
                Step::Payload(header, piece) if header.kind == kind::GOAWAY => {
                    let told = self.told.get_or_insert_default();
                    told.extend_from_slice(piece.get(..8_usize.saturating_sub(told.len())).unwrap_or(piece));
                }
                Step::Begin(_) | Step::Payload(..) => {}
                Step::End(header) if header.kind == kind::GOAWAY => self.engine_ends(),
                Step::End(_) => {}
            }
        }
    }

    /// The engine has said why it ends the connection.
    fn engine_ends(&mut self) {
        let code = self.told.as_deref().and_then(|told| told.get(4..8)).and_then(|code| code.try_into().ok());
        if let Some(breach) = code.and_then(|code| Breach::told_by(u32::from_be_bytes(code))) {
            self.breach.get_or_init(|| breach);
        }
    }

    /// Watches whether sending goes on.
    fn watched<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(CLIENT_TAKES_NOTHING)));
        ready!(stalled.as_mut().poll(cx));
        self.breach.get_or_init(|| Breach::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Follower {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return this.leave(cx);
        }
        if this.is_late(cx) {
            return this.end(Breach::Slow, cx);
        }
        let before = buffer.filled().len();
        if this.held.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        } else {
            let count = this.held.len().min(buffer.remaining());
            buffer.put_slice(&this.held.split_to(count));
        }
        this.received(cx, buffer, before)
    }
}

impl AsyncWrite for Follower {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        let count = ready!(this.watched(cx, written))?;
        this.sent(bytes.get(..count).unwrap_or(bytes));
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        let count = ready!(this.watched(cx, written))?;
        let mut left = count;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            this.sent(part);
            left -= part.len();
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.watched(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() && this.breach.get().is_none() {
            let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
            return this.watched(cx, shut);
        }
        // The engine has found the breach and has told it: the client is to read that.
        let until = || Farewell { words: BytesMut::new(), shut: false, until: Box::pin(sleep(LINGER)) };
        this.farewell.get_or_insert_with(until);
        this.leave(cx).map(|_| Ok(()))
    }
}

impl Drop for Follower {
    /// The engine drops a connection that was idle for too long. As far as it can be said without waiting, the client is
    /// told that no request was lost.
    fn drop(&mut self) {
        if self.farewell.is_none() && self.may_speak() {
            let mut cx = Context::from_waker(Waker::noop());
            let words = frames::goaway(self.conduct.newest(), 0);
            if let Poll::Ready(Ok(_)) = Pin::new(&mut self.inner).poll_write(&mut cx, &words) {
                drop(Pin::new(&mut self.inner).poll_flush(&mut cx));
            }
        }
    }
}

#[async_trait]
impl Shutdown for Follower {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Follower {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Follower {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    /// It was chosen: by the handshake, or by the preface.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(ALPN::H2)
    }
}

impl GetTimingDigest for Follower {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Follower {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Follower {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Follower {}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
