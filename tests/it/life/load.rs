//! Clients that ask without a pause, and remember what they were not answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use crate::support::caller::Caller;

/// A gateway that ends lets an idle connection ask once more for so long; a client that paused for longer may meet its
/// end, as with every HTTP/1.1 server.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// What one client has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) answered: usize,
    /// Connections that said that they would end, or had ended while nothing was under way.
    pub(super) ended: usize,
    /// Requests on a kept connection that came too late: not before it had been idle for the time above.
    pub(super) raced: usize,
    /// Requests that were not answered otherwise, by their target.
    pub(super) failed: Vec<String>,
    /// The last connection was refused: nobody listens any more.
    pub(super) refused: bool,
}

impl Seen {
    pub(super) fn sum(seen: &[Self], count: impl Fn(&Self) -> usize) -> usize {
        seen.iter().map(count).sum()
    }
}

/// Asks as client `name` until `stop`, or until nobody listens: on one connection for as long as it lasts (`keep`), or on
/// one of its own for each request.
pub(super) fn ask(caller: &Caller, token: &str, name: usize, keep: bool, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut kept = None;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (mut connection, idle) = match kept.take() {
            Some((connection, idle)) => (connection, Some(idle)),
            None => match caller.try_connect() {
                Ok(connection) => (connection, None),
                Err(_) => {
                    seen.refused = true;
                    break;
                }
            },
        };
        let target = format!("/me/{name}/{n}");
        let late = idle.is_some_and(|idle: Stopwatch| idle.elapsed() >= LAST_REQUEST);
        match connection.try_send_raw(caller.get(&target).bearer(token).bytes()) {
            Some(reply) => {
                let ends = reply.says_close();
                assert_eq!(reply.ok().json()["target"], target.as_str(), "the answer to another request");
                seen.answered += 1;
                seen.ended += usize::from(keep && ends);
                kept = (keep && !ends).then(|| (connection, Stopwatch::start()));
            }
            None if late => seen.raced += 1,
            None => seen.failed.push(target),
        }
    }
    seen
}
