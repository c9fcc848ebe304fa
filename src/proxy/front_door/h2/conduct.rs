//! How a client behaves on a connection of HTTP/2, told from the headers of its frames alone: what must be complete in
//! time, and how much it asks that is no request. The bounds are ours because every one of these frames is cheap to send
//! and none is a request that a rate limit could count.

use std::time::Duration;

use super::frames::{Frames, Header, Step, kind};
use crate::gate::outcome::{Denial, Reason, Why};

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::front_door) enum Breach {
    /// A request head, or another frame that is no data, was not complete in time.
    Slow,
    /// Far more frames that are no requests, or far more cancelled requests, than served ones.
    Flood,
    /// The client takes nothing of what is sent to it.
    Stalled,
    /// What it sends is no HTTP/2.
    Malformed,
}

impl Breach {
    /// How it is written down.
    pub(in crate::proxy::front_door) fn denial(self) -> Denial {
        match self {
            Self::Slow => Denial::new(Reason::RequestTimeout),
            Self::Flood => Denial::because(Reason::RateLimited, Why::Flood),
            Self::Stalled => Denial::because(Reason::RequestTimeout, Why::Connection),
            Self::Malformed => Denial::because(Reason::BadRequest, Why::Framing),
        }
    }

    /// What the client is told (RFC 9113 section 7).
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Slow | Self::Flood | Self::Stalled => ENHANCE_YOUR_CALM,
            Self::Malformed => 1,
        }
    }

    /// What the engine ended the connection for; none when it just ends.
    pub(super) fn told_by(code: u32) -> Option<Self> {
        match code {
            0 => None,
            ENHANCE_YOUR_CALM => Some(Self::Flood),
            _ => Some(Self::Malformed),
        }
    }
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// An amount that is spent, and comes back with time and with useful work.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u64,
    most: u64,
    a_second: u64,
}

impl Allowance {
    const fn new(most: u64, a_second: u64) -> Self {
        Self { left: most * 1000, most: most * 1000, a_second }
    }

    fn give(&mut self, amount: u64) {
        self.left = self.left.saturating_add(amount.saturating_mul(1000)).min(self.most);
    }

    fn pass(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(millis.saturating_mul(self.a_second)).min(self.most);
    }

    fn spend(&mut self, amount: u64) -> Result<(), Breach> {
        self.left = self.left.checked_sub(amount.saturating_mul(1000)).ok_or(Breach::Flood)?;
        Ok(())
    }
}

/// Frames that are neither a request nor a part of its body: 1000 at once, 20 a second for ever. Clients acknowledge and
/// measure while they work: a request brings 8 more, and so do 2 KiB of bodies in either direction.
const FRAMES: Allowance = Allowance::new(1000, 20);
const FRAMES_A_STREAM: u64 = 8;
/// Bytes of bodies that bring one more.
const BYTES_A_FRAME: u64 = 256;
/// SETTINGS must be applied and acknowledged.
const SETTINGS_COSTS: u64 = 8;

/// Cancelled requests: 200 at once (all streams, twice), 10 a second for ever, and a quarter of all requests.
const RESETS: Allowance = Allowance::new(800, 40);
const RESET_COSTS: u64 = 4;

/// Follows what a client sends.
#[derive(Debug)]
pub(super) struct Conduct {
    frames: Frames,
    settled: bool,
    within_head: bool,
    awaited: u64,
    newest: u32,
    control: Allowance,
    resets: Allowance,
    bytes: u64,
    time: Duration,
}

impl Conduct {
    /// Of a client whose first frame comes after `preface` bytes.
    pub(super) fn after(preface: usize) -> Self {
        Self {
            frames: Frames::after(preface),
            settled: false,
            within_head: false,
            awaited: 0,
            newest: 0,
            control: FRAMES,
            resets: RESETS,
            bytes: 0,
            time: Duration::ZERO,
        }
    }

    /// Looks at what has arrived, so long after the connection began.
    ///
    /// # Errors
    /// The connection must end.
    pub(super) fn follow(&mut self, mut bytes: &[u8], time: Duration) -> Result<(), Breach> {
        let passed = time.saturating_sub(self.time);
        self.time = time;
        self.control.pass(passed);
        self.resets.pass(passed);
        while let Some(step) = self.frames.step(&mut bytes) {
            match step {
                Step::Begin(header) => self.begin(header)?,
                Step::Payload(header, piece) if header.kind == kind::DATA => self.carried(piece.len()),
                Step::Payload(..) => {}
                Step::End(header) => self.end(header),
            }
        }
        Ok(())
    }

    /// So many bytes were sent to the client.
    pub(super) fn carried(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.control.give(self.bytes / BYTES_A_FRAME);
        self.bytes %= BYTES_A_FRAME;
    }

    /// Number of what has begun and must be complete in time: the first frame, a head, any frame that is no data.
    pub(super) fn awaited(&self) -> Option<u64> {
        let within_frame = self.frames.current().is_some_and(|frame| frame.kind != kind::DATA);
        let open = !self.settled || self.within_head || self.frames.within_header() || within_frame;
        open.then_some(self.awaited)
    }

    /// The newest stream of the client.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    fn begin(&mut self, header: Header) -> Result<(), Breach> {
        if !self.settled && header.kind != kind::SETTINGS {
            return Err(Breach::Malformed);
        }
        match header.kind {
            kind::HEADERS if header.stream > self.newest => {
                self.newest = header.stream;
                self.control.give(FRAMES_A_STREAM);
                self.resets.give(1);
            }
            kind::DATA if header.length > 0 || header.ends_stream() => {
                self.awaited += 1;
            }
            kind::RST_STREAM => {
                self.resets.spend(RESET_COSTS)?;
                self.control.spend(1)?;
            }
            kind::SETTINGS => self.control.spend(SETTINGS_COSTS)?,
            _ => self.control.spend(1)?,
        }
        Ok(())
    }

    fn end(&mut self, header: Header) {
        self.settled = true;
        if header.is_head() {
            self.within_head = !header.ends_head();
        }
        if !self.within_head {
            self.awaited += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn settled() -> Conduct {
        let mut conduct = Conduct::after(0);
        assert_eq!(conduct.awaited(), Some(0));
        conduct.follow(&frame(kind::SETTINGS, 0, 0, &[]), Duration::ZERO).unwrap();
        assert_eq!(conduct.awaited(), None);
        conduct
    }

    /// How often these frames may come at once.
    fn how_often(frames: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
        let mut conduct = settled();
        (0..100_000).find(|n| conduct.follow(&frames(*n), Duration::ZERO).is_err())
    }

    #[test]
    fn every_frame_that_is_no_request_has_a_bound() {
        for (kind, payload, bound) in
            [(6, &[0; 8][..], 1000), (2, &[0; 5], 1000), (8, &[0, 0, 0, 1], 1000), (4, &[], 130), (0xbe, &[], 1000)]
        {
            let times = how_often(|_| frame(kind, 0, 0, payload)).expect("a bound");
            assert!((bound - 20..=bound).contains(&times), "{kind}: {times}");
        }
        assert!(how_often(|_| frame(kind::DATA, 0, 1, &[])).is_some(), "data that is none");
        assert!(how_often(|_| frame(kind::CONTINUATION, 0, 1, &[1])).is_some());
    }

    #[test]
    fn requests_and_their_bodies_have_none_here() {
        let request = |n: u32| frame(kind::HEADERS, 5, 2 * n + 1, &[0x82]);
        assert_eq!(how_often(request), None);
        assert_eq!(how_often(|_| frame(kind::DATA, 0, 1, &[1])), None);
        // What a client of a long answer acknowledges and measures.
        let working = |n: u32| {
            let mut frames = request(n);
            frames.extend((0..8).flat_map(|_| frame(8, 0, 0, &[0, 0, 0, 1])));
            frames
        };
        assert_eq!(how_often(working), None);
        let mut downloading = settled();
        for _ in 0..10_000 {
            downloading.carried(1024);
            for _ in 0..4 {
                downloading.follow(&frame(8, 0, 1, &[0, 0, 4, 0]), Duration::ZERO).unwrap();
            }
        }
    }

    #[test]
    fn requests_that_are_cancelled_again_and_again_end_the_connection() {
        let reset = |n: u32| frame(kind::RST_STREAM, 0, 2 * n + 1, &[0; 4]);
        let rapid = |n: u32| [frame(kind::HEADERS, 5, 2 * n + 1, &[0x82]), reset(n)].concat();
        let times = how_often(rapid).expect("a bound");
        assert!((200..300).contains(&times), "{times}");
        // A quarter of them may be, for ever.
        let some = |n: u32| if n % 4 == 3 { [rapid(n), Vec::new()].concat() } else { frame(1, 5, 2 * n + 1, &[0x82]) };
        assert_eq!(how_often(some), None);
        // So may ten a second.
        let mut patient = settled();
        for n in 0..10_000 {
            patient.follow(&rapid(n), Duration::from_millis(100 * u64::from(n))).unwrap();
        }
    }

    #[test]
    fn what_must_be_complete_in_time_is_every_head_and_every_frame_but_data() {
        let mut conduct = settled();
        let follow = |conduct: &mut Conduct, bytes: &[u8]| {
            conduct.follow(bytes, Duration::ZERO).unwrap();
            conduct.awaited()
        };
        let head = frame(kind::HEADERS, 0, 1, &[0x82]);
        let first = follow(&mut conduct, &head[..1]);
        assert!(first.is_some());
        assert_eq!(follow(&mut conduct, &head[1..]), first, "END_HEADERS is still to come");
        assert_eq!(follow(&mut conduct, &frame(kind::CONTINUATION, 0, 1, &[0x84])), first);
        assert_eq!(follow(&mut conduct, &frame(kind::CONTINUATION, 4, 1, &[0x84])), None);
        let ping = frame(6, 0, 0, &[0; 8]);
        let second = follow(&mut conduct, &ping[..10]);
        assert!(second.is_some() && second != first);
        assert_eq!(follow(&mut conduct, &ping[10..]), None);
        let data = frame(kind::DATA, 0, 1, &[1; 100]);
        assert!(follow(&mut conduct, &data[..8]).is_some());
        assert_eq!(follow(&mut conduct, &data[8..20]), None, "how slowly a body comes is not judged here");
        let both = [&data[20..], &head[..3]].concat();
        let third = follow(&mut conduct, &both);
        assert!(third.is_some() && third != second, "each has a time of its own");
    }

    #[test]
    fn a_client_that_does_not_begin_with_settings_speaks_something_else() {
        let mut conduct = Conduct::after(0);
        assert_eq!(conduct.follow(&frame(6, 0, 0, &[0; 8]), Duration::ZERO), Err(Breach::Malformed));
    }
}
