//! A server that speaks HTTP/2 only, and does with a stream what a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Which connection, from 0.
    pub(crate) connection: usize,
}

/// What is done with it.
#[derive(Debug)]
pub(crate) enum Act {
    /// An answer, in these parts, with these trailers.
    Answer(u16, &'static [(&'static str, &'static str)], Vec<Vec<u8>>, &'static [(&'static str, &'static str)]),
    /// Refused before anything was done with it.
    Refuse,
    /// The head of an answer and a part of its body, then a reset.
    Half,
}

type Acts = dyn Fn(&Stream, usize) -> Act + Send + Sync;

/// A running server.
pub(crate) struct Server2 {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Stream>>>,
    _stop: oneshot::Sender<()>,
}

impl Server2 {
    /// `acts` is told the stream and how many came before it.
    pub(crate) fn start(
        tls: Option<rustls::ServerConfig>,
        acts: impl Fn(&Stream, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, acts): (_, Arc<Acts>) = (Arc::clone(&seen), Arc::new(acts));
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                bound.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
                let serving = async {
                    for number in 0.. {
                        let Ok((stream, _)) = listener.accept().await else { continue };
                        let (shared, acts, acceptor) = (Arc::clone(&shared), Arc::clone(&acts), acceptor.clone());
                        tokio::spawn(async move {
                            match acceptor {
                                None => connection(stream, number, shared, acts).await,
                                Some(acceptor) => {
                                    let Ok(stream) = acceptor.accept(stream).await else { return };
                                    connection(stream, number, shared, acts).await;
                                }
                            }
                        });
                    }
                };
                tokio::select! { () = serving => {}, _ = stopped => {} }
            });
        });
        Self { address: address.recv().expect("an address"), seen, _stop: stop }
    }

    pub(crate) fn seen(&self) -> Vec<Stream> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn connection<S>(stream: S, number: usize, seen: Arc<Mutex<Vec<Stream>>>, acts: Arc<Acts>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (seen, acts) = (Arc::clone(&seen), Arc::clone(&acts));
        tokio::spawn(async move {
            let (head, mut incoming) = request.into_parts();
            let mut body = Vec::new();
            while let Some(part) = incoming.data().await {
                let Ok(part) = part else { return }; // reset by the gateway
                incoming.flow_control().release_capacity(part.len()).ok();
                body.extend_from_slice(&part);
            }
            let (method, uri) = (head.method.to_string(), head.uri.to_string());
            let stream = Stream { method, uri, headers: head.headers, body, connection: number };
            let before = {
                let mut seen = seen.lock().expect("no panic");
                seen.push(stream.clone());
                seen.len() - 1
            };
            act(acts(&stream, before), respond);
        });
    }
}

fn act(act: Act, mut respond: SendResponse<Bytes>) {
    match act {
        Act::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
        Act::Half => {
            let head = Response::builder().header("content-length", "10").body(()).expect("a head");
            let Ok(mut body) = respond.send_response(head, false) else { return };
            body.send_data(Bytes::from_static(b"half"), false).ok();
            // What was sent before a reset may be thrown away with it: not here.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                body.send_reset(Reason::INTERNAL_ERROR);
            });
        }
        Act::Answer(status, fields, parts, trailers) => {
            let head = fields
                .iter()
                .fold(Response::builder().status(status), |head, (name, value)| head.header(*name, *value));
            let Ok(mut body) = respond.send_response(head.body(()).expect("a head"), false) else { return };
            for part in parts {
                body.send_data(part.into(), false).ok();
            }
            let named = |(name, value): &(&'static str, &'static str)| {
                (name.parse().expect("a name"), value.parse().expect("a value"))
            };
            match trailers {
                [] => body.send_data(Bytes::new(), true).ok(),
                trailers => body.send_trailers(trailers.iter().map(named).collect::<HeaderMap>()).ok(),
            };
        }
    }
}
