//! Connections on which an upstream is asked for a WebSocket. The engine queues the end of such a request, which has no
//! body, and takes it for the end of the tunnel when the upstream has agreed before it looks (cloudflare/pingora#946, open
//! for 0.9.1): the tunnel would end as it begins. So whoever has written here reads one turn later. This file can go when
//! the engine knows better, but for the time-outs: the engine knows one for reading, which a tunnel needs to be a long one;
//! so it is here that a server has only the usual time until it has agreed to the tunnel.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};

/// Whether the upstream has agreed to the tunnel.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Agreed(Arc<AtomicBool>);

impl Agreed {
    /// It has.
    pub(in crate::proxy) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Makes such connections.
#[derive(Debug)]
pub(super) struct Unhurried {
    /// So long may pass between two reads before there is a tunnel; none: for ever.
    pub(super) patience: Option<Duration>,
    /// Whether there is one.
    pub(super) agreed: Agreed,
}

impl Unhurried {
    fn socket<S>(&self, stream: S) -> Socket<S> {
        Socket { stream, written: false, patience: self.patience, agreed: self.agreed.clone(), waiting: None }
    }
}

#[async_trait]
impl L4Connect for Unhurried {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::because(ErrorType::ConnectRefused, "for a tunnel", error),
            _ => Error::because(ErrorType::ConnectError, "for a tunnel", error),
        };
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => Box::new(self.socket(TcpStream::connect(address).await.map_err(failed)?)),
            SocketAddr::Unix(address) => {
                let Some(path) = address.as_pathname() else { return Error::err(ErrorType::ConnectNoRoute) };
                Box::new(self.socket(UnixStream::connect(path).await.map_err(failed)?))
            }
        };
        Ok(VirtualSocketStream::new(socket).into())
    }
}

/// A connection.
#[derive(Debug)]
struct Socket<S> {
    stream: S,
    /// Something was written since the last read.
    written: bool,
    patience: Option<Duration>,
    agreed: Agreed,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl VirtualSocket for Socket<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            // Never asked for: no peer sets it.
            _ => Ok(()),
        }
    }
}

impl VirtualSocket for Socket<UnixStream> {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            this.waiting = None;
            return Poll::Ready(read);
        }
        let Some(patience) = this.patience.filter(|_| !this.agreed.is_set()) else { return Poll::Pending };
        ready!(this.waiting.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written = true;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn socket() -> (Socket<DuplexStream>, DuplexStream, Agreed) {
        let ((stream, upstream), agreed) = (duplex(64), Agreed::default());
        let patience = Some(Duration::from_secs(30));
        let socket = Socket { stream, written: false, patience, agreed: agreed.clone(), waiting: None };
        (socket, upstream, agreed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_has_its_time_to_agree_and_a_tunnel_may_be_silent() {
        let (mut socket, mut upstream, agreed) = socket();
        let mut byte = [0];
        let begun = Instant::now();
        let error = socket.read(&mut byte).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, Duration::from_secs(30)));

        upstream.write_all(b"x").await.unwrap();
        assert_eq!(socket.read(&mut byte).await.unwrap(), 1);
        agreed.set();
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, socket.read(&mut byte)).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_that_is_there_already_is_read_one_turn_later() {
        let (mut socket, mut upstream, _) = socket();
        upstream.write_all(b"an answer").await.unwrap();
        socket.write_all(b"a request").await.unwrap();
        let mut answer = [0; 9];
        {
            let mut read = pin!(socket.read_exact(&mut answer));
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(read.as_mut().poll(&mut cx).is_pending());
            assert!(read.as_mut().poll(&mut cx).is_ready());
        }
        assert_eq!(&answer, b"an answer");
    }
}
