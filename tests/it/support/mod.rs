//! What integration tests are made of: keys, an issuer, an upstream, callers, the gateway itself. Parts only; what is
//! expected of the gateway belongs to the suites.

#![allow(dead_code)] // each suite uses its part of this

pub(crate) mod administrator;
pub(crate) mod caller;
pub(crate) mod front;
pub(crate) mod gateway;
pub(crate) mod issuer;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod nginx;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod realms;
pub(crate) mod scripted;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::time::Duration;

use portcullis::clock::{Stopwatch, UnixMillis};

/// The time in every test, unless it sets another: 2025-11-20T23:45:54Z.
pub(crate) const NOW: UnixMillis = UnixMillis(1_763_682_354_000);

/// How long anything may take before a test gives up. Never waited for when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Asks `probe` again and again until it answers, and fails with `what` at the deadline.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, probe)
}

/// The same with another deadline: for programs of others, which may have much to do before they begin.
pub(crate) fn within<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(watch.elapsed() < deadline, "did not happen in {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
