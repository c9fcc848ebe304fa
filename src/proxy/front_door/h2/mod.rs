//! HTTP/2 towards clients: who asks for it, within which bounds it is spoken, and the check of each request before the
//! engine works on it. Frames are the engine's to read; what a request may do is the gate's to say.

mod conduct;
mod follower;
mod frames;
mod head;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::CONTENT_LENGTH;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::connection::{LAST_REQUEST, Patience, Refused, Rules};
use super::head::{Fault, Limits, MAX_LINES, Sketch};
use crate::clock::Stopwatch;
use crate::gate::dialect::Rendered;
use crate::proxy::{grpc, vigil};
use conduct::Breach;
use follower::Follower;

/// What a connection of HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that a connection may have at once.
const STREAMS: u32 = 100;
/// Bytes of a request's body that may be on the way, of one stream and of all.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What small parts of bodies may take besides while they are on the way: 256 bytes each, less their own. A client may send
/// thousands of messages before anybody has had the time to look at one.
const SMALL_PARTS: usize = 4 << 20;
/// Bytes of an answer that wait for the client, of one stream.
const SEND_BUFFER: usize = 64 << 10;
/// A table of more than this nobody needs.
const FRAME: u32 = 16 << 10;
/// Streams that were cancelled before anybody had looked at them.
const CANCELLED: usize = 20;
/// Streams that the engine itself resets for what the client did, in the life of a connection.
const OWN_RESETS: usize = 256;
/// What the limit of a header list counts for each field beside name and value (RFC 9113 section 6.5.2).
const A_FIELD: usize = 32;
/// Heads up to this much larger than allowed are answered in the realm's words; the engine has words of its own for others.
const ROOM: usize = 8 << 10;

/// What a client speaks that may speak either.
#[derive(Debug)]
pub(super) enum Spoken {
    /// HTTP/2: what was read begins with the preface.
    Http2(BytesMut),
    /// Anything else; what was read.
    Other(BytesMut),
    /// Nothing in time, or before the gateway stops.
    Nothing,
}

/// Reads until it is clear what a client speaks. Whoever sends the first bytes of the preface only is left to HTTP/1,
/// after as long as a request head may take.
pub(super) async fn listen(stream: &mut Stream, patience: Patience, shutdown: &ShutdownWatch) -> Spoken {
    let mut held = BytesMut::new();
    let mut watch = shutdown.clone();
    let heard = async {
        let first = timeout(patience.idle, stream.read_buf(&mut held)).await;
        if !matches!(first, Ok(Ok(1..))) {
            return false;
        }
        matches!(timeout(patience.header, greeting(stream, &mut held)).await, Ok(true))
    };
    let mut heard = Box::pin(heard);
    let http2 = tokio::select! {
        biased;
        http2 = &mut heard => http2,
        // What has just connected has sent something already, most likely: it is served like everybody else.
        () = async { drop(watch.wait_for(|stopping| *stopping).await) } => {
            timeout(LAST_REQUEST.min(patience.idle), &mut heard).await.unwrap_or(false)
        }
    };
    drop(heard);
    match http2 {
        true => Spoken::Http2(held),
        false if held.is_empty() => Spoken::Nothing,
        false => Spoken::Other(held),
    }
}

/// Whether the preface comes; reads no further than needed to tell.
async fn greeting(stream: &mut Stream, held: &mut BytesMut) -> bool {
    loop {
        let have = held.len().min(PREFACE.len());
        if held.get(..have) != PREFACE.get(..have) {
            return false;
        }
        if have == PREFACE.len() {
            return true;
        }
        held.reserve(4096);
        if !matches!(stream.read_buf(held).await, Ok(1..)) {
            return false;
        }
    }
}

/// Serves a connection of HTTP/2, of which `held` was read already, until one side ends it. Why it ends is written down
/// when the client has broken a bound.
pub(super) async fn serve<A, R>(
    app: &Arc<A>,
    rules: &Arc<R>,
    patience: Patience,
    mut stream: Stream,
    mut held: BytesMut,
    shutdown: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
    R: Rules + 'static,
{
    let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    let arrived = Stopwatch::start();
    let breach = Arc::new(OnceLock::new());
    match timeout(patience.header, greeting(&mut stream, &mut held)).await {
        Ok(true) => {
            let follower = Follower::new(stream, held, PREFACE.len(), patience.header, Arc::clone(&breach));
            let streams = Arc::new(Streams::new(app, rules, patience, peer));
            ServerApp::process_new(&streams, Box::new(follower), shutdown).await;
        }
        unheard => {
            stream.shutdown().await;
            if held.is_empty() {
                return;
            }
            breach.get_or_init(|| if unheard.is_ok() { Breach::Malformed } else { Breach::Slow });
        }
    }
    if let Some(breach) = breach.get() {
        let sketch = Sketch { version: "2", ..Sketch::default() };
        rules.ended(&Refused { denial: breach.denial(), sketch, peer, arrived });
    }
}

/// The application behind one connection: checks each request, then lets the engine work on it.
struct Streams<A, R> {
    engine: Arc<A>,
    rules: Arc<R>,
    options: HttpServerOptions,
    peer: Option<SocketAddr>,
}

impl<A, R: Rules> Streams<A, R> {
    fn new(engine: &Arc<A>, rules: &Arc<R>, patience: Patience, peer: Option<SocketAddr>) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(patience.idle);
        Self { engine: Arc::clone(engine), rules: Arc::clone(rules), options, peer }
    }

    async fn refuse(&self, mut session: ServerSession, fault: Fault) {
        let denial = fault.denial();
        let refused = Refused {
            denial: denial.clone(),
            sketch: head::sketch(session.req_header()),
            peer: self.peer,
            arrived: Stopwatch::start(),
        };
        let rendered = self.rules.refuse(&refused);
        // A question is answered by the status: a refusal that says 200 would be taken for a permission.
        let header = session.req_header();
        let call = grpc::asked(header) && !self.rules.is_question(header.raw_path());
        let rendered = if call { grpc::refusal(&denial, rendered) } else { rendered };
        if let Err(error) = answer(&mut session, rendered).await {
            tracing::debug!(kind = error.reason_str(), "a client left before it was told of a refusal");
        }
    }
}

/// Answers a request; one without a body ends with its head.
///
/// # Errors
/// The client could not be written to.
async fn answer(session: &mut ServerSession, rendered: Rendered) -> pingora::Result<()> {
    let mut header = ResponseHeader::build(rendered.status, Some(rendered.headers.len() + 2))?;
    for (name, value) in rendered.headers {
        header.append_header(name, value)?;
    }
    let ServerSession::H2(stream) = session else { return Ok(()) };
    let bodiless = rendered.body.is_empty();
    if !bodiless {
        header.insert_header(CONTENT_LENGTH, rendered.body.len())?;
    }
    let silent = bodiless || stream.req_header().method == Method::HEAD;
    stream.write_response_header(Box::new(header), silent)?;
    if !silent {
        stream.write_body(Bytes::from(rendered.body), true).await?;
    }
    Ok(())
}

#[async_trait]
impl<A, R> HttpServerApp for Streams<A, R>
where
    A: HttpServerApp + Send + Sync + 'static,
    R: Rules + 'static,
{
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match head::settle(session.req_header_mut(), self.rules.limits()) {
            Ok(()) => return vigil::until_over(self.engine.process_new_http(session, shutdown)).await.flatten(),
            Err(fault) => self.refuse(session, fault).await,
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(bounds(self.rules.limits()))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// The bounds that the engine keeps itself. Beyond them it ends the stream, or the connection. A header list that is
/// larger than its bound is answered 431 without a body; one that is four times as large ends the connection.
fn bounds(limits: Limits) -> H2Options {
    let list = limits.target + limits.headers + MAX_LINES * A_FIELD + ROOM;
    let mut bounds = H2Options::new();
    bounds
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_PARTS)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(CANCELLED)
        .max_local_error_reset_streams(Some(OWN_RESETS));
    bounds
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
