//! Refused administration in the audit trail, so many a minute at most: whoever knocks a thousand times a second must
//! not fill the store. Strangers are counted apart from those who are known: nobody hides what a token that was found
//! tries behind a noise that takes no token to make.

use std::sync::Mutex;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::store::{AuditEntry, Store, StoreError};

/// So many are written in one window.
const MOST: u32 = 60;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// Refusals of those who are known (by a token that is in force, or was once), and of strangers.
#[derive(Debug, Default)]
pub(super) struct Denials {
    pub(super) of_known: Kept,
    pub(super) of_strangers: Kept,
}

/// How many were written lately.
#[derive(Debug, Default)]
pub(super) struct Kept {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    since: UnixMillis,
    written: u32,
    suppressed: u64,
}

impl Kept {
    /// Writes `entry`, unless there were too many: then the next one that is written tells how many were left out
    /// (`suppressed`). A store that does not take it is logged.
    pub(super) async fn write(&self, store: &Store, mut entry: AuditEntry) {
        let Some(suppressed) = self.admit(entry.at) else { return };
        if suppressed > 0 {
            entry.detail.insert("suppressed".to_owned(), suppressed.into());
        }
        if let Err(error) = append(store, entry).await {
            tracing::error!("a refused admin request could not be audited: {error}");
        }
    }

    /// Whether one may be written at `now`, and how many were not before it.
    fn admit(&self, now: UnixMillis) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now < window.since || now.since(window.since) >= WINDOW {
            (window.since, window.written) = (now, 0);
        }
        if window.written >= MOST {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

async fn append(store: &Store, entry: AuditEntry) -> Result<(), StoreError> {
    let mut write = store.begin().await?;
    write.audit(entry);
    write.commit().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_denials_is_counted_into_the_next_one_that_is_written() {
        let denials = Kept::default();
        let at = |seconds: i64| UnixMillis(1_800_000_000_000 + seconds * 1000);
        for _ in 0..MOST {
            assert_eq!(denials.admit(at(0)), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(denials.admit(at(59)), None);
        }
        assert_eq!(denials.admit(at(60)), Some(500));
        assert_eq!(denials.admit(at(60)), Some(0));
    }

    #[test]
    fn a_flood_of_strangers_hides_nothing_of_those_who_are_known() {
        let (denials, at) = (Denials::default(), UnixMillis(1_800_000_000_000));
        while denials.of_strangers.admit(at).is_some() {}
        assert_eq!(denials.of_known.admit(at), Some(0));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_the_trail() {
        let denials = Kept::default();
        for _ in 0..=MOST {
            denials.admit(UnixMillis(2_000_000_000_000));
        }
        assert_eq!(denials.admit(UnixMillis(1_800_000_000_000)), Some(1));
    }
}
