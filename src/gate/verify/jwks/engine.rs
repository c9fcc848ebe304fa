//! The fetching side: one loop that looks which sets are due, one supervised task an attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Fetch, RemoteKeySet, document};
use crate::clock::{Clock, UnixMillis};
use crate::jwt::KeyRing;

/// How often is looked whether a set is due when nobody asks.
const TURN: Duration = Duration::from_secs(1);

/// Keeps all sets of the current snapshot fresh; runs until dropped, which ends running attempts too. `current` is asked
/// every turn for the sets in force; whoever puts others in force notifies `wake`, so that nobody has to wait for the
/// next turn. Intervals are measured with `clock`; real time only paces the turns.
pub async fn maintain(
    current: impl Fn() -> Vec<Arc<RemoteKeySet>> + Send + Sync,
    wake: Arc<Notify>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
) {
    let mut attempts = JoinSet::new();
    loop {
        let now = clock.now();
        for set in current() {
            if set.state.claim(&set.spec, now, &wake) {
                let attempt = Attempt { set, began: now, open: true };
                attempts.spawn(attempt.make(Arc::clone(&fetch)));
            }
        }
        // How an attempt ended stands in its set's record; here only its remains are cleared away.
        while attempts.try_join_next().is_some() {}
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(TURN) => {}
        }
    }
}

/// A claimed attempt. However it ends, by a panic or by being dropped too, it is recorded, and all who wait for it are
/// released.
struct Attempt {
    set: Arc<RemoteKeySet>,
    began: UnixMillis,
    open: bool,
}

impl Attempt {
    async fn make(mut self, fetch: Arc<dyn Fetch>) {
        let spec = self.set.spec();
        let document = tokio::time::timeout(spec.timeout, document::download(spec, &*fetch)).await;
        let result = match document {
            Ok(Ok(document)) => KeyRing::parse_set(&document, &spec.algorithms).map_err(|fault| fault.text),
            Ok(Err(cause)) => Err(cause),
            Err(_) => Err(format!("no complete answer within {:?}", spec.timeout)),
        };
        self.set.state.land(spec, self.began, result);
        self.open = false;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.open {
            self.set.state.land(self.set.spec(), self.began, Err("the attempt was broken off".to_owned()));
        }
    }
}
