//! How many descriptors the process may have, and how many connections that is enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of clients for so many descriptors; the others are for those to upstreams. Most clients of a crowd are
/// idle.
const CONNECTIONS: u64 = 3;
const DESCRIPTORS: u64 = 4;

/// Where nobody asked for a number.
const USUAL: usize = 20_000;

/// For all else: listeners, the store, logs, the admin side.
const APART: u64 = 256;

/// For each thread of the proxy: its runtime, and those of other services that have as many.
const PER_THREAD: u64 = 6;

/// Raises the process's own bound to what the system allows it, and says how many connections there may be: `wanted`, or
/// fewer where descriptors would run out before. A process without descriptors cannot accept, ask an upstream, or read a
/// file; one that turns connections away serves all others.
pub(super) fn connections(wanted: Option<usize>, threads: usize) -> usize {
    let limit = raise();
    let possible = affordable(limit, threads);
    if let Some(wanted) = wanted.filter(|wanted| possible < *wanted) {
        tracing::warn!(
            max_connections = wanted,
            lowered_to = possible,
            descriptors = limit,
            "the process may not have the descriptors that server.max_connections needs (four for three of them): \
             raise its limit (LimitNOFILE, ulimit -n), or lower server.max_connections"
        );
    }
    possible.min(wanted.unwrap_or(USUAL))
}

/// The descriptors that the process may have from now on.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.unwrap_or(u64::MAX)
}

/// How many connections so many descriptors are enough for; at least one.
fn affordable(descriptors: u64, threads: usize) -> usize {
    let apart = PER_THREAD.saturating_mul(u64::try_from(threads).unwrap_or(u64::MAX)).saturating_add(APART);
    let connections = descriptors.saturating_sub(apart) / DESCRIPTORS * CONNECTIONS;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_connections_as_descriptors_are_enough_for() {
        assert_eq!(affordable(26_936, 2), 20_001);
        assert_eq!(affordable(20_000, 2), 14_799);
        assert_eq!(affordable(1024, 2), 567);
        assert_eq!(affordable(1024, 1000), 1);
        assert_eq!(affordable(0, 0), 1);
        assert!(affordable(u64::MAX, 2) > USUAL);
    }

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        assert_eq!(connections(Some(1), 1), 1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
