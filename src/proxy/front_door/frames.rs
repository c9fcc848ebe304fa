//! Where one WebSocket frame ends and the next begins (RFC 6455 section 5.2), followed from outside: a frame of the
//! gateway's own can only be sent between two.

/// A close frame, 1008: what is asked for is against the rules (RFC 6455 section 7.4.1).
pub(super) const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];

/// Follows the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    /// What is there of the head of a frame: fixed part, extended length, mask.
    head: [u8; 14],
    filled: usize,
    /// What is missing of its payload.
    payload: u64,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(super) fn between(&self) -> bool {
        self.filled == 0 && self.payload == 0
    }

    /// The place is lost: from now on nothing is between two frames.
    pub(super) fn lose(&mut self) {
        (self.filled, self.payload) = (0, u64::MAX);
    }

    /// These bytes are the next ones.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let count = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= u64::try_from(count).unwrap_or(self.payload);
                bytes = bytes.get(count..).unwrap_or_default();
                continue;
            }
            if let Some(byte) = self.head.get_mut(self.filled) {
                *byte = first;
            }
            self.filled += 1;
            bytes = rest;
            if let Some(payload) = self.whole_head() {
                (self.filled, self.payload) = (0, payload);
            }
        }
    }

    /// The length of the payload, once the head is complete.
    fn whole_head(&self) -> Option<u64> {
        let [_, second, extended @ ..] = self.head;
        let (length, mask) = (second & 0x7f, if second & 0x80 == 0 { 0 } else { 4 });
        let octets = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.filled < 2 + octets + mask {
            return None;
        }
        let long = extended.iter().take(octets).fold(0, |sum, octet| sum << 8 | u64::from(*octet));
        Some(if octets == 0 { u64::from(length) } else { long })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, mask: bool) -> Vec<u8> {
        let bit = if mask { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(bit | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(bit | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend(vec![0xff; length + if mask { 4 } else { 0 }]);
        frame
    }

    #[test]
    fn the_end_of_every_frame_is_found_however_it_arrives() {
        for (length, mask) in [0, 1, 125, 126, 300, 65_535, 65_536, 70_000].map(|n| [(n, false), (n, true)]).concat() {
            let frame = frame(length, mask);
            for piece in [1, 2, 3, 7, frame.len()] {
                let mut frames = Frames::default();
                let mut left = frame.len();
                for part in frame.chunks(piece) {
                    assert!(frames.between() == (left == frame.len()), "{length} {piece}");
                    frames.follow(part);
                    left -= part.len();
                }
                assert!(frames.between(), "{length} {mask} {piece}");
            }
            let mut frames = Frames::default();
            frames.follow(&[frame.clone(), frame.clone(), frame[..frame.len() - 1].to_vec()].concat());
            assert!(!frames.between());
        }
    }

    #[test]
    fn a_frame_that_claims_to_be_endless_never_ends() {
        let mut frames = Frames::default();
        frames.follow(&[[0x82, 127].as_slice(), &[0xff; 8], &[0; 4096]].concat());
        assert!(!frames.between());
    }

    #[test]
    fn the_close_frame_is_one() {
        let mut frames = Frames::default();
        frames.follow(&CLOSE);
        assert!(frames.between());
        assert_eq!(u16::from_be_bytes([CLOSE[2], CLOSE[3]]), 1008);
    }
}
