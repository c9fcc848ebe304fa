//! The last refused requests, kept in memory for whoever asks why: the line of the access log, by the request's id. The
//! same line, so nothing stands here that may not stand there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// So many requests at most.
const MOST_LINES: usize = 10_000;

/// So many bytes of lines at most: their lengths are chosen by whoever sends requests.
const MOST_BYTES: usize = 16 << 20;

/// A ring of lines.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

#[derive(Debug)]
struct Line {
    request_id: Box<str>,
    text: Box<[u8]>,
}

impl Line {
    fn size(&self) -> usize {
        self.request_id.len() + self.text.len()
    }
}

impl Refusals {
    /// Remembers one; the oldest go.
    pub(super) fn keep(&self, request_id: &str, line: &[u8]) {
        let line = Line { request_id: request_id.into(), text: line.into() };
        let mut gone = Vec::new(); // freed when the lock is free again
        let mut ring = self.lock();
        ring.bytes += line.size();
        ring.lines.push_back(line);
        while ring.lines.len() > MOST_LINES || ring.bytes > MOST_BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes = ring.bytes.saturating_sub(oldest.size());
            gone.push(oldest);
        }
        drop(ring);
    }

    /// The newest with this id.
    pub(super) fn find(&self, request_id: &str) -> Option<Value> {
        let ring = self.lock();
        let line = ring.lines.iter().rev().find(|line| *line.request_id == *request_id)?;
        serde_json::from_slice(&line.text).ok()
    }

    /// Nothing is left half-changed when a thread panics with the lock.
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_requests_are_remembered_and_the_oldest_go() {
        let refusals = Refusals::default();
        for number in 0..=MOST_LINES {
            refusals.keep(&format!("r{number}"), format!("{{\"n\":{number}}}\n").as_bytes());
        }
        refusals.keep("r7", b"{\"n\":\"again\"}\n");
        assert_eq!(refusals.find("r0"), None);
        assert_eq!(refusals.find("r1"), None);
        assert_eq!(refusals.find("r2").unwrap()["n"], 2);
        assert_eq!(refusals.find("r7").unwrap()["n"], "again");
        assert_eq!(refusals.lock().lines.len(), MOST_LINES);
    }

    #[test]
    fn long_lines_take_no_more_room_than_short_ones() {
        let refusals = Refusals::default();
        for number in 0..100 {
            refusals.keep(&number.to_string(), &[b' '; 1 << 20]);
        }
        let ring = refusals.lock();
        assert!(ring.bytes <= MOST_BYTES);
        assert_eq!(ring.bytes, ring.lines.iter().map(Line::size).sum::<usize>());
        assert_eq!(ring.lines.len(), 15);
    }
}
