//! How many descriptors the process may have, and how many connections that is enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of clients for so many descriptors; the others are for those to upstreams. Most clients of a crowd are
/// idle.
const CONNECTIONS: usize = 3;
const DESCRIPTORS: usize = 4;

/// Where nobody asked for a number.
const USUAL: usize = 20_000;

/// For all else: listeners, the store, logs, the admin side.
const APART: u64 = 256;

/// For each thread of the proxy: its runtime, and those of other services that have as many.
const PER_THREAD: u64 = 6;

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Connections of clients.
    pub(super) connections: usize,
    /// Requests on their way to upstreams: one connection of HTTP/2 brings many.
    pub(super) requests: usize,
}

impl Room {
    /// Raises the process's own bound to what the system allows it, and says what there may be: as many connections as are
    /// `wanted`, or fewer where descriptors would run out before. A process without descriptors cannot accept, ask an
    /// upstream, or read a file; one that turns connections away serves all others.
    pub(super) fn of(wanted: Option<usize>, threads: usize) -> Self {
        let limit = raise();
        let room = Self::within(limit, wanted, threads);
        if let Some(wanted) = wanted.filter(|wanted| room.connections < *wanted) {
            tracing::warn!(
                max_connections = wanted,
                lowered_to = room.connections,
                descriptors = limit,
                "the process may not have the descriptors that server.max_connections needs (four for three of them): \
                 raise its limit (LimitNOFILE, ulimit -n), or lower server.max_connections"
            );
        }
        room
    }

    fn within(descriptors: u64, wanted: Option<usize>, threads: usize) -> Self {
        let apart = PER_THREAD.saturating_mul(u64::try_from(threads).unwrap_or(u64::MAX)).saturating_add(APART);
        let free = usize::try_from(descriptors.saturating_sub(apart)).unwrap_or(usize::MAX);
        let connections = wanted.unwrap_or(USUAL).min(free / DESCRIPTORS * CONNECTIONS).max(1);
        Self { connections, requests: connections.min(free.saturating_sub(connections)).max(1) }
    }
}

/// The descriptors that the process may have from now on.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(descriptors: u64, wanted: Option<usize>, threads: usize) -> (usize, usize) {
        let Room { connections, requests } = Room::within(descriptors, wanted, threads);
        (connections, requests)
    }

    #[test]
    fn there_are_as_many_connections_as_descriptors_are_enough_for() {
        assert_eq!(within(1_000_000, None, 2), (20_000, 20_000));
        assert_eq!(within(20_000, None, 2), (14_799, 4933));
        assert_eq!(within(1024, None, 2), (567, 189));
        assert_eq!(within(1024, Some(100), 2), (100, 100));
        assert_eq!(within(1024, Some(100_000), 2), (567, 189));
        assert_eq!(within(1024, None, 1000), (1, 1));
        assert_eq!(within(0, Some(5), 0), (1, 1));
        assert_eq!(within(u64::MAX, Some(1_000_000), 2), (1_000_000, 1_000_000));
    }

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        assert_eq!(Room::of(Some(1), 1), Room { connections: 1, requests: 1 });
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
