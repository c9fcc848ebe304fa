//! What comes before the first request of a connection: whose it is, and whether there is room for it.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use pingora::protocols::l4::socket::SocketAddr as EngineAddress;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::FrontDoor;
use super::crowd::Place;
use super::proxy_protocol::{Malformed, Origin, Scan, scan};
use super::tls::secure;
use crate::proxy::adapt;
use crate::telemetry::TurnedAway;

impl FrontDoor {
    /// All that comes before the first request, within the time for it; none: the connection is turned away. It counts
    /// among those of its address for as long as the place lives.
    pub(super) async fn receive(&self, stream: Stream) -> Option<(Stream, Option<Place>)> {
        let l4 = stream.into_any().downcast::<L4Stream>().ok()?;
        let peer = peer(&l4);
        let prepared = async {
            let (l4, place) = self.introduce(*l4, peer).await?;
            let stream = secure(Box::new(l4), self.listener.tls.as_deref()).await?;
            Some((stream, place))
        };
        if !self.listener.proxy_protocol {
            return prepared.await; // a handshake has its own time, which begins now
        }
        let received = timeout(self.shared.patience.handshake, prepared).await;
        received.unwrap_or_else(|_| {
            self.listener.arrivals.turned_away(TurnedAway::Slow, peer);
            None
        })
    }

    /// Finds out whose connection it is, which the engine is told: its sessions take the client for their peer.
    async fn introduce(&self, mut l4: L4Stream, peer: Option<SocketAddr>) -> Option<(L4Stream, Option<Place>)> {
        // Whoever has no address counts as one on a Unix socket, and they may be trusted.
        if peer.is_none() && !self.listener.unix {
            return None;
        }
        let origin = if self.listener.proxy_protocol { self.origin(&mut l4, peer).await? } else { Origin::Peer };
        let (client, told) = match origin {
            Origin::Client(address) => (Some(address), Some(EngineAddress::Inet(address))),
            // The proxy's address would be no better than none: it is trusted, and may say for others who they are.
            Origin::Unknown => (None, Some(adapt::nobody()?)),
            Origin::Peer => (peer, None),
        };
        if told.is_some() {
            let digest = SocketDigest::from_raw_fd(l4.as_raw_fd());
            digest.peer_addr.set(told).ok()?;
            l4.set_socket_digest(digest);
        }
        let place = self.place(client)?;
        Some((l4, place))
    }

    /// Reads the PROXY header of a peer that may send one.
    async fn origin(&self, l4: &mut L4Stream, peer: Option<SocketAddr>) -> Option<Origin> {
        if !self.trusts(peer) {
            self.listener.arrivals.turned_away(TurnedAway::UntrustedPeer, peer);
            return None;
        }
        match read_header(l4).await {
            Ok((origin, ahead)) => {
                l4.rewind(&ahead);
                Some(origin)
            }
            Err(Unread::Malformed) => {
                self.listener.arrivals.turned_away(TurnedAway::ProxyHeader, peer);
                None
            }
            Err(Unread::Left) => None, // a proxy that looks whether somebody listens does so
        }
    }

    /// A place among the connections of a client's address; `Some(None)` where they are not counted, none where it has
    /// as many as it may.
    #[allow(clippy::option_option)]
    fn place(&self, client: Option<SocketAddr>) -> Option<Option<Place>> {
        let crowd = &self.shared.crowd;
        let Some(address) = client.filter(|_| crowd.limited() && !self.trusts(client)) else { return Some(None) };
        let place = crowd.enter(address.ip());
        if place.is_none() {
            self.listener.arrivals.turned_away(TurnedAway::TooManyOfAddress, client);
        }
        place.map(Some)
    }

    fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        self.shared.gateway.live.load().snapshot.trusted_proxies.trusts(peer.map(|peer| peer.ip()))
    }
}

/// The other end of a connection; none on a Unix socket.
fn peer(l4: &L4Stream) -> Option<SocketAddr> {
    let digest = l4.get_socket_digest()?;
    digest.peer_addr()?.as_inet().copied()
}

/// Why there is no header.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// Something else came.
    Malformed,
    /// The peer left.
    Left,
}

/// Reads a header, and what was read beyond it.
async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Origin, Vec<u8>), Unread> {
    let mut held = Vec::with_capacity(128);
    loop {
        match scan(&held) {
            Err(Malformed) => return Err(Unread::Malformed),
            Ok(Scan::Complete { origin, length }) => return Ok((origin, held.split_off(length))),
            Ok(Scan::More(most)) => {
                let mut next = (&mut *stream).take(u64::try_from(most).unwrap_or(0));
                if !matches!(next.read_buf(&mut held).await, Ok(1..)) {
                    return Err(if held.is_empty() { Unread::Left } else { Unread::Malformed });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    async fn read(sent: &[u8]) -> Result<(Origin, Vec<u8>), Unread> {
        read_header(&mut Cursor::new(sent)).await
    }

    #[tokio::test]
    async fn what_comes_after_a_header_is_not_lost() {
        let client = Origin::Client(([203, 0, 113, 7], 4711).into());
        let (origin, ahead) = read(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!((origin, &ahead[..]), (client, &b"GET / HTTP/1.1\r\n"[..]));
        let short = b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n";
        let mut stream = Cursor::new(short);
        let (origin, ahead) = read_header(&mut stream).await.unwrap();
        assert_eq!((origin, &ahead[..]), (Origin::Unknown, &b"G"[..]));
        assert_eq!(stream.position(), 16);

        let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0d".to_vec();
        second.extend([203, 0, 113, 7, 127, 0, 0, 1, 0x12, 0x67, 0, 80, 0]);
        let length = u64::try_from(second.len()).unwrap();
        second.extend(b"GET / HTTP/1.1\r\n");
        let mut stream = Cursor::new(second);
        assert_eq!(read_header(&mut stream).await, Ok((client, Vec::new())));
        assert_eq!(stream.position(), length);
    }

    #[tokio::test]
    async fn a_peer_that_only_looks_whether_somebody_listens_has_left() {
        assert_eq!(read(b"").await, Err(Unread::Left));
        assert_eq!(read(b"PROXY TCP4").await, Err(Unread::Malformed));
        assert_eq!(read(b"GET / HTTP/1.1\r\n").await, Err(Unread::Malformed));
    }
}
