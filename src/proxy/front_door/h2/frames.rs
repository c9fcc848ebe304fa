//! Frames as they pass by (RFC 9113 section 4.1): where each begins and ends, and its header. Nothing is decoded.

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// Kinds of frames (RFC 9113 section 6) that are told apart here.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// See [`kind`].
    pub(super) kind: u8,
    flags: u8,
    /// The stream; 0 = the connection.
    pub(super) stream: u32,
}

impl Header {
    fn read(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let length = u32::from_be_bytes([0, a, b, c]);
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) }
    }

    /// Whether a request or an answer ends with this frame.
    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// Whether it carries a head or trailers, or a part of them.
    pub(super) fn is_head(self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::CONTINUATION)
    }

    /// Whether a head or trailers end with it.
    pub(super) fn ends_head(self) -> bool {
        self.is_head() && self.flags & END_HEADERS != 0
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A frame begins; its header is complete.
    Begin(Header),
    /// A piece of the payload.
    Payload(Header, &'a [u8]),
    /// The frame is complete.
    End(Header),
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    current: Option<(Header, u32)>,
}

impl Frames {
    /// Follows frames that begin after `skip` bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Takes the next step out of `bytes`; none when they are used up.
    pub(super) fn step<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        if self.skip > 0 {
            self.skip -= take(bytes, self.skip).len();
        }
        if let Some((header, left)) = self.current {
            if left == 0 {
                self.current = None;
                return Some(Step::End(header));
            }
            let piece = take(bytes, usize::try_from(left).unwrap_or(usize::MAX));
            if piece.is_empty() {
                return None;
            }
            let left = left.saturating_sub(u32::try_from(piece.len()).unwrap_or(left));
            self.current = Some((header, left));
            return Some(Step::Payload(header, piece));
        }
        let piece = take(bytes, HEADER - self.have);
        for (to, from) in self.header.iter_mut().skip(self.have).zip(piece) {
            *to = *from;
        }
        self.have += piece.len();
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        let header = Header::read(self.header);
        self.current = Some((header, header.length));
        Some(Step::Begin(header))
    }

    /// Whether a frame's header has begun and is not complete.
    pub(super) fn within_header(&self) -> bool {
        self.have > 0
    }

    /// The frame that has begun and is not complete.
    pub(super) fn current(&self) -> Option<Header> {
        self.current.map(|(header, _)| header)
    }

    /// Whether what follows is the first byte of a frame.
    pub(super) fn between(&self) -> bool {
        self.have == 0 && self.current.is_none() && self.skip == 0
    }
}

/// Splits off at most `most` bytes.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    piece
}

/// A GOAWAY frame (RFC 9113 section 6.8).
pub(super) fn goaway(last_stream: u32, code: u32) -> [u8; HEADER + 8] {
    let mut frame = [0; HEADER + 8];
    let parts = [0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0].into_iter();
    let bytes = parts.chain(last_stream.to_be_bytes()).chain(code.to_be_bytes());
    frame.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(frames: &mut Frames, mut bytes: &[u8]) -> Vec<String> {
        std::iter::from_fn(|| frames.step(&mut bytes))
            .map(|step| match step {
                Step::Begin(header) => format!("{}:{}", header.kind, header.length),
                Step::Payload(_, piece) => format!("+{}", piece.len()),
                Step::End(header) => format!("end {}", header.stream),
            })
            .collect()
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let mut bytes = b"PRI".to_vec();
        bytes.extend([0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 3, kind::HEADERS, 5, 0x80, 0, 0, 7, 1, 2, 3]);
        let mut whole = Frames::after(3);
        assert_eq!(steps(&mut whole, &bytes), ["4:0", "end 0", "1:3", "+3", "end 7"]);
        assert!(whole.between());
        let mut cut = Frames::after(3);
        let mut seen: Vec<_> = bytes.iter().flat_map(|byte| steps(&mut cut, &[*byte])).collect();
        seen.retain(|step| step != "+1");
        assert_eq!(seen, ["4:0", "end 0", "1:3", "end 7"]);
        assert!(cut.between());
    }

    #[test]
    fn a_farewell_is_a_frame() {
        let mut frames = Frames::default();
        assert_eq!(steps(&mut frames, &goaway(5, 11)), ["7:8", "+8", "end 0"]);
    }
}
