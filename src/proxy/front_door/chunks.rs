//! The framing of a chunked body (RFC 9112 section 7.1), followed to its end and no further. The engine reads it again on
//! its own and makes new chunks for the upstream; this says where the next request begins, and refuses what two readers
//! could frame differently.

use super::head::{TOKEN, VALUE, is};

/// How many bytes may stand beside the data: in one line with a chunk's size, and in all trailers together. Nobody looks at
/// them; the engine would take 8 KiB and 64 KiB.
const ASIDE: u16 = 4096;
/// Digits of a size: what they say never overflows.
const DIGITS: u16 = 15;

/// The body is not framed as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A place within a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    at: Place,
    aside: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a size.
    Chunk,
    /// Within a size.
    Size(u64),
    /// Behind it.
    Extension(u64),
    /// Before the line feed of its line.
    SizeEnd(u64),
    /// Before so many bytes of data.
    Data(u64),
    /// Before the CRLF behind data.
    DataEnd,
    DataFeed,
    /// Before a trailer, or the empty line.
    Line,
    Trailer,
    TrailerEnd,
    /// Before the line feed of the empty line.
    LastFeed,
    /// Behind the body.
    End,
}

impl Chunks {
    /// The beginning of a body.
    pub(super) fn new() -> Self {
        Self { at: Place::Chunk, aside: 0 }
    }

    /// Whether the body has ended.
    pub(super) fn ended(self) -> bool {
        self.at == Place::End
    }

    /// How many of `bytes`, which follow what was seen before, belong to the body.
    ///
    /// # Errors
    /// It is malformed. What is done with it afterwards does not matter.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while self.at != Place::End {
            if let Place::Data(left) = self.at {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                rest = rest.get(count..).unwrap_or_default();
                let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                self.at = if left == 0 { Place::DataEnd } else { Place::Data(left) };
            }
            let Some((byte, after)) = rest.split_first() else { break };
            rest = after;
            self.step(*byte)?;
        }
        Ok(bytes.len() - rest.len())
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.at = match (self.at, byte, digit) {
            (Place::Chunk, _, Some(digit)) => {
                self.aside = 1;
                Place::Size(digit)
            }
            (Place::Size(size), _, Some(digit)) if self.aside < DIGITS => {
                self.aside += 1;
                Place::Size(size << 4 | digit)
            }
            (Place::Size(size), b';', _) => Place::Extension(size),
            (Place::Size(size) | Place::Extension(size), b'\r', _) => Place::SizeEnd(size),
            (Place::Extension(size), _, _) if is(byte, VALUE) => self.beside(Place::Extension(size))?,
            (Place::SizeEnd(0), b'\n', _) => {
                self.aside = 0;
                Place::Line
            }
            (Place::SizeEnd(size), b'\n', _) => Place::Data(size),
            (Place::DataEnd, b'\r', _) => Place::DataFeed,
            (Place::DataFeed, b'\n', _) => Place::Chunk,
            (Place::Line, b'\r', _) => Place::LastFeed,
            (Place::Line, _, _) if is(byte, TOKEN) => self.beside(Place::Trailer)?,
            (Place::Trailer, b'\r', _) => Place::TrailerEnd,
            (Place::Trailer, _, _) if is(byte, VALUE) => self.beside(Place::Trailer)?,
            (Place::TrailerEnd, b'\n', _) => Place::Line,
            (Place::LastFeed, b'\n', _) => Place::End,
            (_, _, _) => return Err(Malformed),
        };
        Ok(())
    }

    fn beside(&mut self, place: Place) -> Result<Place, Malformed> {
        self.aside += 1;
        if self.aside > ASIDE { Err(Malformed) } else { Ok(place) }
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::http::ServerSession;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// How much of `bytes` is the body; none when it does not end there.
    fn end(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::new();
        let count = chunks.follow(bytes)?;
        Ok(chunks.ended().then_some(count))
    }

    #[test]
    fn the_end_of_a_body_is_found_and_nothing_behind_it_is_taken() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "1\r\n\r\r\n2\r\n\r\n\r\n00\r\n\r\n",
            "A\r\n0123456789\r\n000000000000000\r\n\r\n",
            "5;name=value;other=\"quoted\"\r\nhello\r\n0;last\r\n\r\n",
            "0\r\nX-Trailer: a\r\nAuthorization: Bearer x\r\n\r\n",
        ] {
            assert_eq!(end(body.as_bytes()), Ok(Some(body.len())), "{body:?}");
            assert_eq!(end(format!("{body}GET / HTTP/1.1\r\n").as_bytes()), Ok(Some(body.len())), "{body:?}");
            for cut in 0..body.len() {
                assert_eq!(end(&body.as_bytes()[..cut]), Ok(None), "{body:?} {cut}");
            }
            let mut chunks = Chunks::new();
            for byte in body.as_bytes().chunks(1) {
                assert_eq!(chunks.follow(byte), Ok(1), "{body:?}");
            }
            assert!(chunks.ended());
            assert_eq!(chunks.follow(b"more"), Ok(0));
        }
    }

    #[test]
    fn what_two_readers_could_frame_differently_is_refused() {
        for body in [
            "\r\n",
            ";\r\n",
            " 5\r\n",
            "5 \r\n",
            "+5\r\n",
            "-1\r\n",
            "0x5\r\n",
            "5\n",
            "5\r\r\n",
            "5;a\nb\r\n",
            "5;a\rb\r\n",
            "5;\0\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\na\r0\r\n\r\n",
            "0000000000000000\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
            "0\r\n\r\r",
            "0\r\n: x\r\n",
            "0\r\n folded\r\n",
            "0\r\nX: a\nY: b\r\n",
            "0\r\nX: a\rb\r\n",
        ] {
            assert_eq!(end(body.as_bytes()), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn what_stands_beside_the_data_is_bounded() {
        let extension = |length: usize| end(format!("0;{}\r\n\r\n", "x".repeat(length)).as_bytes()).is_ok();
        assert!(extension(4000) && !extension(4096));
        let trailers = |count: usize| end(format!("0\r\n{}\r\n", "X: y\r\n".repeat(count)).as_bytes()).is_ok();
        assert!(trailers(1024) && !trailers(1025));
        // Not for all chunks together: a signature for each (as some storage services want) is no attack.
        let chunk = format!("1;signature={}\r\nx\r\n", "0".repeat(64));
        assert!(end(format!("{}0\r\n\r\n", chunk.repeat(1000)).as_bytes()).is_ok());
    }

    /// The body as the engine reads it, and whether it sees the end of it at the end of `bytes`.
    fn engine_reads(bytes: &[u8]) -> Option<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            client.write_all(bytes).await.unwrap();
            drop(client);
            let mut session = ServerSession::new_http1(Box::new(server));
            session.read_request().await.ok()?;
            let mut body = Vec::new();
            while let Some(part) = session.read_request_body().await.ok()? {
                body.extend_from_slice(&part);
            }
            Some(body)
        })
    }

    fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
        let good = prop::sample::select(vec![
            "5\r\nhello\r\n0\r\n\r\n",
            "1;a=b\r\nx\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\nZ: w\r\n\r\n",
            "0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ]);
        let byte = prop_oneof![any::<u8>(), prop::sample::select(b" \t\r\n:;=0123456789abcdefABCDEF".to_vec())];
        let edits = prop::collection::vec((0..3u8, any::<prop::sample::Index>(), byte), 0..3);
        (good, edits).prop_map(|(good, edits)| {
            let mut bytes = good.as_bytes().to_vec();
            for (kind, at, byte) in edits {
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn where_it_ends_the_engine_sees_the_end_too_and_not_before(bytes in nearly_right()) {
            if let Ok(Some(count)) = end(&bytes) {
                prop_assert!(engine_reads(&bytes[..count]).is_some());
                prop_assert!(engine_reads(&bytes[..count - 1]).is_none());
            }
        }

        #[test]
        fn how_the_bytes_arrive_makes_no_difference(bytes in nearly_right(), cut in any::<prop::sample::Index>()) {
            let (first, second) = bytes.split_at(cut.index(bytes.len()));
            let mut chunks = Chunks::new();
            let parts = chunks.follow(first).and_then(|count| Ok(count + chunks.follow(second)?));
            let mut whole = Chunks::new();
            prop_assert_eq!(parts, whole.follow(&bytes));
        }
    }
}
