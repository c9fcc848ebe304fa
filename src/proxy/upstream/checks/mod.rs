//! Asks servers how they are, in the background: each on its own, again and again, for as long as the configuration wants
//! it. What was found outlives a reload that changes nothing about it.

mod probe;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::member::Member;
use crate::gate::policy::{Check, Protocol, Upstream, UpstreamTls};
use crate::proxy::Live;

/// How the servers of an upstream are checked.
pub(super) struct Examiner {
    question: Question,
    peer: HttpPeer,
}

/// What a check depends on: where nothing of it has changed, it goes on.
#[derive(Debug, PartialEq)]
struct Question {
    check: Check,
    protocol: Protocol,
    tls: Option<UpstreamTls>,
    /// The `Host` that requests have, where it is not the client's.
    host: Option<Box<str>>,
}

impl fmt::Debug for Examiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examiner").field("question", &self.question).finish_non_exhaustive()
    }
}

impl Examiner {
    /// As the upstream wants it, if it does.
    pub(super) fn of(upstream: &Upstream, template: &HttpPeer) -> Option<Self> {
        let check = upstream.check.clone()?;
        let mut peer = template.clone();
        for timeout in [
            &mut peer.options.connection_timeout,
            &mut peer.options.total_connection_timeout,
            &mut peer.options.read_timeout,
            &mut peer.options.write_timeout,
        ] {
            *timeout = Some(check.timeout);
        }
        // A connection for each: that it can be made is a part of the answer.
        peer.options.max_h2_streams = 1;
        let Upstream { protocol, tls, host, .. } = upstream;
        Some(Self { question: Question { check, protocol: *protocol, tls: tls.clone(), host: host.clone() }, peer })
    }
}

/// Keeps the checks going.
#[derive(Debug)]
pub struct Checks {
    /// The file of authorities that the engine trusts; none = the system's.
    pub ca_file: Option<String>,
    /// Notified when another snapshot is in force.
    pub in_force: Arc<Notify>,
}

impl Checks {
    /// Checks the servers of the snapshot in force, whichever that is; runs until dropped. Belongs in the runtime for
    /// background work. Ends when one of them ends by a fault: it is to be started again.
    pub async fn maintain(&self, live: impl Fn() -> Arc<Live>) {
        let mut running = HashMap::new();
        let mut tasks = JoinSet::new(); // ends them when it is dropped
        let mut connector = None;
        loop {
            let wanted = live().upstreams.examined();
            if connector.is_none() && !wanted.is_empty() {
                connector = Some(self.connector().await);
            }
            if let Some(connector) = &connector {
                reconcile(wanted, &mut running, &mut tasks, connector);
            }
            tokio::select! {
                () = self.in_force.notified() => {}
                Some(ended) = tasks.join_next() => match ended {
                    Err(error) if error.is_cancelled() => {}
                    Ok(()) | Err(_) => return,
                },
            }
        }
    }

    /// Reading the system's authorities takes a while: not in the way of anything else.
    async fn connector(&self) -> Arc<Connector> {
        let mut options = ConnectorOptions::new(1);
        options.ca_file.clone_from(&self.ca_file);
        let made = tokio::task::spawn_blocking(move || Arc::new(Connector::new(Some(options)))).await;
        // It panics where the authorities cannot be read, which was seen to at the start (`server::authorities`).
        made.unwrap_or_else(|_| Arc::new(Connector::new(None)))
    }
}

struct Running {
    member: Arc<Member>,
    examiner: Arc<Examiner>,
    task: AbortHandle,
}

fn reconcile(
    wanted: Vec<(Arc<Member>, Arc<Examiner>)>,
    running: &mut HashMap<usize, Running>,
    tasks: &mut JoinSet<()>,
    connector: &Arc<Connector>,
) {
    running.retain(|_, it| {
        let same = |member: &Arc<Member>, examiner: &Examiner| {
            Arc::ptr_eq(member, &it.member) && examiner.question == it.examiner.question
        };
        let goes_on = wanted.iter().any(|(member, examiner)| same(member, examiner));
        if !goes_on {
            it.task.abort();
        }
        goes_on
    });
    for (member, examiner) in wanted {
        running.entry(Arc::as_ptr(&member).addr()).or_insert_with(|| {
            let task = tasks.spawn(examine(Arc::clone(&member), Arc::clone(&examiner), Arc::clone(connector)));
            Running { member, examiner, task }
        });
    }
}

async fn examine(member: Arc<Member>, examiner: Arc<Examiner>, connector: Arc<Connector>) {
    let check = &examiner.question.check;
    let mut streak = Streak::default();
    loop {
        let found = probe::ask(&member.server, &examiner, &connector).await;
        if let Some(up) = streak.after(found.is_ok(), check) {
            member.turn(up, found.as_ref().err().map_or("its checks are good", |fault| fault));
        }
        tokio::time::sleep(uneven(check.interval)).await;
    }
}

/// Give or take a tenth: gateways that were started together shall not ask together for ever.
fn uneven(interval: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness they do.
    getrandom::fill(&mut byte).ok();
    interval.mul_f64(0.9 + f64::from(byte[0]) / 1275.0)
}

/// What was found in a row.
#[derive(Debug, Default)]
struct Streak {
    last: Option<bool>,
    length: u32,
}

impl Streak {
    /// Whether the server is well, once another check has told enough. The first one does alone.
    fn after(&mut self, good: bool, check: &Check) -> Option<bool> {
        let first = self.last.is_none();
        self.length = if self.last == Some(good) { self.length.saturating_add(1) } else { 1 };
        self.last = Some(good);
        let enough = if good { check.healthy } else { check.unhealthy };
        (first || self.length >= enough).then_some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::policy::Probe;

    #[test]
    fn the_first_check_tells_alone_and_later_ones_in_a_row() {
        let second = Duration::from_secs(1);
        let check = Check { probe: Probe::Tcp, interval: second, timeout: second, healthy: 2, unhealthy: 3 };
        let mut streak = Streak::default();
        let told: Vec<_> = [true, false, false, true, false, false, false, false, true, false, true, true]
            .map(|good| streak.after(good, &check))
            .into();
        let (no, up, down) = (None, Some(true), Some(false));
        assert_eq!(told, [up, no, no, no, no, no, down, down, no, no, no, up]);
        assert_eq!(Streak::default().after(false, &check), down);
    }

    #[test]
    fn checks_drift_apart_and_never_far() {
        let ten = Duration::from_secs(10);
        let all: Vec<_> = (0..100).map(|_| uneven(ten)).collect();
        assert!(all.iter().all(|one| (Duration::from_secs(9)..=Duration::from_secs(11)).contains(one)));
        assert!(all.iter().any(|one| *one != all[0]));
    }
}
