//! Connections on which an upstream is asked for a WebSocket. The engine queues the end of such a request, which has no
//! body, and takes it for the end of the tunnel when the upstream has agreed before it looks (cloudflare/pingora#946, open
//! for 0.9.1): the tunnel would end as it begins. So whoever has written here reads one turn later. This file can go when
//! the engine knows better.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Makes such connections.
#[derive(Debug)]
pub(super) struct Unhurried;

#[async_trait]
impl L4Connect for Unhurried {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::because(ErrorType::ConnectRefused, "for a tunnel", error),
            _ => Error::because(ErrorType::ConnectError, "for a tunnel", error),
        };
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                Box::new(Socket { stream: TcpStream::connect(address).await.map_err(failed)?, written: false })
            }
            SocketAddr::Unix(address) => {
                let Some(path) = address.as_pathname() else { return Error::err(ErrorType::ConnectNoRoute) };
                Box::new(Socket { stream: UnixStream::connect(path).await.map_err(failed)?, written: false })
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
        Pin::new(&mut this.stream).poll_read(cx, buffer)
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
    use std::future::Future;
    use std::pin::pin;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_there_already_is_read_one_turn_later() {
        let (stream, mut upstream) = duplex(64);
        let mut socket = Socket { stream, written: false };
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
