//! A service of gRPC: HTTP/2 with prior knowledge, as most stand behind a gateway.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A call as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) uri: String,
    pub(super) head: HeaderMap,
}

#[derive(Debug, Default)]
struct Book {
    seen: Mutex<Vec<Seen>>,
    /// How the gateway ended those that it broke off.
    broken: Mutex<Vec<Reason>>,
}

/// The service. What a call does its path says: `…/Echo` sends back each message as it comes, `…/Watch` sends `tick` again and
/// again, `…/Quiet` one message and nothing more, `…/Fail` answers with trailers only.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) address: SocketAddr,
    book: Arc<Book>,
    _stop: oneshot::Sender<()>,
}

impl Service {
    pub(super) fn start() -> Self {
        let book = Arc::<Book>::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        let shared = Arc::clone(&book);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                bound.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let serving = async {
                    loop {
                        let Ok((stream, _)) = listener.accept().await else { continue };
                        let book = Arc::clone(&shared);
                        tokio::spawn(async move {
                            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                            while let Some(Ok((request, respond))) = connection.accept().await {
                                tokio::spawn(serve(request, respond, Arc::clone(&book)));
                            }
                        });
                    }
                };
                tokio::select! { () = serving => {}, _ = stopped => {} }
            });
        });
        Self { address: address.recv().expect("an address"), book, _stop: stop }
    }

    /// The calls so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.book.seen.lock().expect("no panic").clone()
    }

    /// How calls were broken off so far.
    pub(super) fn broken(&self) -> Vec<Reason> {
        self.book.broken.lock().expect("no panic").clone()
    }
}

async fn serve(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, book: Arc<Book>) {
    let (head, mut incoming) = request.into_parts();
    let uri = head.uri.to_string();
    book.seen.lock().expect("no panic").push(Seen { uri: uri.clone(), head: head.headers });
    let kind = if uri.ends_with("/Events") { "text/event-stream" } else { "application/grpc" };
    let response = Response::builder().header("content-type", kind);
    if uri.ends_with("/Fail") {
        let response = response.header("grpc-status", "5").header("grpc-message", "no such order");
        drop(respond.send_response(response.header("x-auth-subject", "mallory").body(()).expect("a head"), true));
        return;
    }
    let Ok(mut body) = respond.send_response(response.body(()).expect("a head"), false) else { return };
    let ended = if uri.ends_with("/Echo") {
        echo(&mut incoming, &mut body).await
    } else if uri.ends_with("/Quiet") {
        drop(body.send_data(Bytes::from_static(b"one"), false));
        std::future::poll_fn(|cx| body.poll_reset(cx)).await.map(Some).unwrap_or(Some(Reason::INTERNAL_ERROR))
    } else {
        tick(&mut body).await
    };
    if let Some(reason) = ended {
        book.broken.lock().expect("no panic").push(reason);
    }
}

/// Sends back what comes, and trailers at its end; why it was broken off before.
async fn echo(incoming: &mut RecvStream, body: &mut SendStream<Bytes>) -> Option<Reason> {
    while let Some(part) = incoming.data().await {
        let Ok(part) = part else { return Some(Reason::CANCEL) };
        incoming.flow_control().release_capacity(part.len()).ok();
        if body.send_data(part, false).is_err() {
            return Some(Reason::CANCEL);
        }
    }
    let mut trailers = HeaderMap::new();
    for (name, value) in [
        ("grpc-status", "0"),
        ("grpc-message", "all%20is%20well"),
        ("trace-bin", "AAECA/8"),
        ("x-auth-subject", "mallory"),
        ("x-auth-scopes", "admin"),
    ] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    drop(body.send_trailers(trailers));
    None
}

async fn tick(body: &mut SendStream<Bytes>) -> Option<Reason> {
    loop {
        if body.send_data(Bytes::from_static(b"tick"), false).is_err() {
            return Some(Reason::CANCEL);
        }
        let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
        if let Ok(reset) = tokio::time::timeout(Duration::from_millis(100), reset).await {
            return Some(reset.unwrap_or(Reason::INTERNAL_ERROR));
        }
    }
}
