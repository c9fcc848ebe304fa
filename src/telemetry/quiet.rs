//! Lines in the log that whoever is outside could otherwise make as many of as he likes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// At least this between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one line of a kind through, and no other for ten seconds.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<Silence>);

#[derive(Debug, Default)]
struct Silence {
    since: Option<Stopwatch>,
    unsaid: u64,
}

impl Quiet {
    /// Whether a line may be written now: how many were not since the last one. None: it is counted among those.
    pub fn admit(&self) -> Option<u64> {
        let mut silence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if silence.since.is_some_and(|since| since.elapsed() < PAUSE) {
            silence.unsaid = silence.unsaid.saturating_add(1);
            return None;
        }
        silence.since = Some(Stopwatch::start());
        Some(std::mem::take(&mut silence.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_one_line_that_tells_how_many_there_were_before() {
        let quiet = Quiet::default();
        assert_eq!(quiet.admit(), Some(0));
        for _ in 0..1000 {
            assert_eq!(quiet.admit(), None);
        }
        quiet.0.lock().unwrap().since = None;
        assert_eq!(quiet.admit(), Some(1000));
        assert_eq!(quiet.admit(), None);
    }
}
