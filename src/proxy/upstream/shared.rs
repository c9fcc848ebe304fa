//! Connections of HTTP/2 that many requests share: whatever becomes of one of them, the others go on.
//!
//! The engine ends a whole connection when too much of what it reads there is of no use to anybody. Its bounds cannot be
//! set from here (pingora 0.9.1, h2 0.4.20), but those of the connection can be chosen so that they are never reached:
//!
//! * A frame of less than 256 bytes that waits for its reader costs what it is short of them, and may cost half of the
//!   connection's window in all: so the window is as large as can be, and those of the streams are small.
//! * What comes for a stream that was broken off costs as much, and for ever. 50 streams that were broken off are known
//!   for a second; of what comes for others no more than 1024 frames are forgiven. So when a few answers were broken off,
//!   new requests go elsewhere, and the connection ends with the requests it has.

use std::sync::atomic::{AtomicU64, Ordering};

use pingora::upstreams::peer::HttpPeer;

/// So many requests share one connection; a server may say less.
const STREAMS: u32 = 32;

/// Bytes of an answer that may wait for its client. Of one that comes byte by byte, each in a frame, that is some 20 MiB of
/// memory.
const WINDOW: u32 = 64 << 10;

/// Of all answers on a connection. Only what its streams may have comes; see above for the rest.
const CONNECTION_WINDOW: u32 = u32::MAX >> 1;

/// So many answers are broken off before new requests go elsewhere.
const BROKEN_OFF: u32 = 16;

/// What a frame of one byte costs.
const TINY_FRAME: u32 = 255;

// The worst: all that may wait, and all that may come for what was broken off, comes in frames of one byte.
const _: () = assert!((STREAMS + BROKEN_OFF) * WINDOW * TINY_FRAME < CONNECTION_WINDOW / 2);
// As many as are known to the engine after they were broken off.
const _: () = assert!(STREAMS + BROKEN_OFF < 50);

/// Numbers of connections that follow each other, before they begin anew.
const NUMBERS: u64 = 1 << 16;

/// Bounds what requests on one connection to `peer` may take.
pub(super) fn bound(peer: &mut HttpPeer) {
    // No pings: servers of gRPC take them for an attack.
    peer.options.set_http_version(2, 2);
    peer.options.max_h2_streams = usize::try_from(STREAMS).unwrap_or(1);
    peer.options.h2_stream_window_size = Some(WINDOW);
    peer.options.h2_connection_window_size = Some(CONNECTION_WINDOW);
}

/// The connections to one server that new requests may share.
#[derive(Debug)]
pub(super) struct Shared {
    first: u64,
    broken_off: AtomicU64,
}

impl Shared {
    /// Those to the server whose hash is `server`: nobody else may share them, who does not count here.
    pub(super) fn with(server: u64) -> Self {
        Self { first: server, broken_off: AtomicU64::new(0) }
    }

    /// What tells them from others in the engine's pool.
    pub(super) fn key(&self) -> u64 {
        let spent = self.broken_off.load(Ordering::Relaxed) / u64::from(BROKEN_OFF);
        self.first.wrapping_add(spent % NUMBERS)
    }

    /// An answer was broken off on one of them.
    pub(super) fn broken_off(&self) {
        self.broken_off.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_shared_when_a_few_answers_were_broken_off() {
        let shared = Shared::with(7);
        let mut keys: Vec<_> = (0..3 * BROKEN_OFF).map(|_| (shared.key(), shared.broken_off()).0).collect();
        assert_eq!(keys.iter().filter(|key| **key == 7).count(), 16);
        keys.dedup();
        assert_eq!(keys, [7, 8, 9]);
    }
}
