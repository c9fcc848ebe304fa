//! One HTTP/1 connection: request after request, each with a deadline for its head and a strict check of it before the
//! engine works on it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::time::{Sleep, sleep, timeout};

use super::head::{self, Fault, Limits, Scan, Shape};
use super::refusal;
use super::window::Window;
use crate::clock::Stopwatch;
use crate::gate::dialect::Rendered;
use crate::gate::outcome::Denial;

/// A connection without a request is kept for so long when the gateway stops: the client may have sent one already, and
/// most are safe to repeat, but not all. Whoever uses his connection more often gets an answer that says that it ends.
pub(super) const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How long is waited for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a whole request head, from its first byte on.
    pub header: Duration,
    /// For the first byte of a request.
    pub idle: Duration,
    /// For what comes before the first request of a connection.
    pub handshake: Duration,
}

/// What a connection needs to know of the gateway.
pub(super) trait Rules: Send + Sync {
    /// The bounds of heads in force.
    fn limits(&self) -> Limits;
    /// Writes the refusal down and says what is answered.
    fn refuse(&self, refused: &Refused<'_>) -> Rendered;
    /// Whether whoever sent this looks at nothing but the status of the answer: a proxy that asks about a request. `target`
    /// is unchecked.
    fn is_question(&self, target: &[u8]) -> bool;
    /// Writes down that a connection was ended without an answer.
    fn ended(&self, refused: &Refused<'_>);
}

/// A request that did not get past the check of its head.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    /// Why.
    pub(super) denial: Denial,
    /// What could be read of it.
    pub(super) sketch: head::Sketch<'a>,
    /// The connection's other end.
    pub(super) peer: Option<SocketAddr>,
    /// Started at its first byte.
    pub(super) arrived: Stopwatch,
}

/// Serves `stream`, of which `held` was read already, until one side ends it.
pub(super) async fn serve<A, R>(
    app: &Arc<A>,
    rules: &R,
    patience: Patience,
    mut stream: Stream,
    mut held: BytesMut,
    shutdown: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync,
    R: Rules,
{
    let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    let mut watch = shutdown.clone();
    let mut stop = pin!(async move { drop(watch.wait_for(|stopping| *stopping).await) });
    // One for all requests: a timer that is only put off costs nothing. One that is made anew, the first of its thread above
    // all, makes the thread wake itself, which is a call into the kernel and back for every request.
    let mut idle = pin!(sleep(patience.idle));
    loop {
        idle.as_mut().reset(sleep(patience.idle).deadline());
        let (window, head, shape, arrived) =
            match next_head(&mut stream, &mut held, rules, patience, (idle.as_mut(), stop.as_mut())).await {
                Heard::Nothing => return stream.shutdown().await,
                Heard::Request { head, shape, arrived } => (std::mem::take(&mut held), head, shape, arrived),
                Heard::Fault { fault, arrived } => {
                    let sketch = head::sketch(&held);
                    let rendered = rules.refuse(&Refused { denial: fault.denial(), sketch, peer, arrived });
                    return refusal::send(stream, &rendered, sketch.method == "HEAD").await;
                }
            };
        // The engine says so with its answer.
        let last = *shutdown.borrow();
        let window = Window::new(stream, window, head, shape, arrived);
        let session = ServerSession::new_http1(Box::new(window));
        let Some(reused) = app.process_new_http(session, shutdown).await else { return };
        let Ok(window) = reused.consume().0.into_any().downcast::<Window>() else { return };
        let Some((inner, ahead)) = window.close() else { return };
        (stream, held) = (inner, ahead);
        if last {
            return stream.shutdown().await;
        }
    }
}

enum Heard {
    /// The client left, was silent for too long, or the gateway stops.
    Nothing,
    /// A head that passed the check: the first `head` bytes.
    Request { head: usize, shape: Shape, arrived: Stopwatch },
    /// A head that did not.
    Fault { fault: Fault, arrived: Stopwatch },
}

async fn next_head(
    stream: &mut Stream,
    held: &mut BytesMut,
    rules: &impl Rules,
    patience: Patience,
    (idle, stop): (Pin<&mut Sleep>, Pin<&mut (impl Future<Output = ()> + Send)>),
) -> Heard {
    if held.is_empty() {
        let first = tokio::select! {
            biased;
            first = read_some(stream, held) => first,
            () = idle => false,
            () = stop => timeout(LAST_REQUEST.min(patience.idle), read_some(stream, held)).await == Ok(true),
        };
        if !first {
            return Heard::Nothing;
        }
    }
    let arrived = Stopwatch::start();
    let limits = rules.limits();
    let fault = match timeout(patience.header, complete(stream, held, limits)).await {
        Ok(Some(Ok(head))) => match head::check(held.get(..head).unwrap_or_default(), limits) {
            Ok(shape) => return Heard::Request { head, shape, arrived },
            Err(fault) => fault,
        },
        Ok(Some(Err(fault))) => fault,
        Ok(None) => return Heard::Nothing,
        Err(_) => Fault::Slow,
    };
    Heard::Fault { fault, arrived }
}

/// Reads until the head is complete; none when the client leaves before.
async fn complete(stream: &mut Stream, held: &mut BytesMut, limits: Limits) -> Option<Result<usize, Fault>> {
    let mut scan = Scan::default();
    loop {
        match scan.advance(held, limits) {
            Ok(Some(head)) => return Some(Ok(head)),
            Err(fault) => return Some(Err(fault)),
            Ok(None) if read_some(stream, held).await => {}
            Ok(None) => return None,
        }
    }
}

/// Whether something arrived. Nothing is lost when this is dropped half-way.
async fn read_some(stream: &mut Stream, held: &mut BytesMut) -> bool {
    held.reserve(4096);
    matches!(stream.read_buf(held).await, Ok(1..))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
