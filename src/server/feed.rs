//! Following the feed of the store: what changes there, on this node or another, is taken into the ledger that requests
//! look at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::issuing::OwnerHosts;
use crate::clock::Stopwatch;
use crate::gate::verify::stored::StoredKeys;
use crate::store::{Change, ChangeKind, Fault, Store, StoreError};
use crate::telemetry::{StoreOperation, Telemetry};

/// Rows read at once.
const PAGE: usize = 1000;

/// A look that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);

/// After a wake-up: changes that come in a burst are read together.
const GATHER: Duration = Duration::from_millis(5);

/// Whoever has written waits so long for this node to know, and no longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What this node knows of the feed, and how well it does.
#[derive(Debug)]
pub(super) struct Feed {
    keys: Arc<StoredKeys>,
    hosts: Arc<OwnerHosts>,
    max_staleness: Duration,
    /// Asks for a look at once.
    nudge: Notify,
    /// How far the ledger is.
    position: watch::Sender<i64>,
    /// The last row that was seen: by it the feed is known to be the same still.
    last: Mutex<Option<Change>>,
    /// Why the last look failed.
    trouble: Mutex<Option<String>>,
    /// Notified when signing keys, or hosts of owners, may have changed.
    issuing: Arc<Notify>,
    /// How far the feed was known when signing keys were read last.
    keys_read: watch::Sender<i64>,
}

/// Whether more than what the ledger keeps is to be read again.
fn concerns_issuing(kind: ChangeKind) -> bool {
    match kind {
        ChangeKind::SigningKeys | ChangeKind::Realm => true,
        ChangeKind::Client | ChangeKind::Key | ChangeKind::KeysAdded | ChangeKind::Session | ChangeKind::Token => false,
    }
}

/// How the feed stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Since all changes were known; none before the first time.
    pub(super) lag: Option<Duration>,
    /// Whether stored keys are answered for.
    pub(super) fresh: bool,
    /// Why the last look failed, for people; none when it did not.
    pub(super) trouble: Option<String>,
}

impl Feed {
    pub(super) fn new(keys: Arc<StoredKeys>, hosts: Arc<OwnerHosts>, max_staleness: Duration) -> Self {
        Self {
            keys,
            hosts,
            max_staleness,
            nudge: Notify::new(),
            position: watch::Sender::new(0),
            last: Mutex::new(None),
            trouble: Mutex::new(None),
            issuing: Arc::default(),
            keys_read: watch::Sender::new(0),
        }
    }

    /// The first look: nothing is remembered yet, so that the newest row is where it begins.
    ///
    /// # Errors
    /// The store is out of reach.
    pub(super) async fn begin(&self, store: &Store) -> Result<(), StoreError> {
        let begun = Stopwatch::start();
        let (span, end) = store.feed_end().await?;
        self.keys.ledger().restart(span.newest);
        self.remember(end);
        self.known(begun);
        Ok(())
    }

    /// Looks for changes for ever: when it is asked to, when the store wakes it, and every `poll`.
    pub(super) async fn follow(&self, store: &Store, telemetry: &Telemetry, poll: Duration) {
        loop {
            let watch = Stopwatch::start();
            let looked = tokio::time::timeout(DEADLINE, self.look(store, watch)).await;
            let looked = looked.unwrap_or_else(|_| Err(StoreError::new(Fault::Unreachable, "it does not answer")));
            telemetry.store_asked(StoreOperation::Feed, watch.elapsed(), looked.is_ok());
            let reachable = looked.is_ok();
            self.note(looked);
            let woken = async {
                if !reachable {
                    std::future::pending().await // a connection that is broken may wake without end
                }
                store.woken().await;
                tokio::time::sleep(GATHER).await;
            };
            tokio::select! {
                () = tokio::time::sleep(poll) => {}
                () = self.nudge.notified() => {}
                () = woken => {}
            }
        }
    }

    /// Takes in what is new.
    async fn look(&self, store: &Store, begun: Stopwatch) -> Result<(), StoreError> {
        let (span, end) = store.feed_end().await?;
        let ledger = self.keys.ledger();
        let mut position = ledger.position();
        // Rows ran out before they were read, or the store was put back to an older state.
        let mut whole = position.saturating_add(1) >= span.oldest && position <= span.newest;
        if position == span.newest {
            whole = whole && end.as_ref().is_none_or(|end| self.continues(end));
        }
        while whole && position < span.newest {
            // One row early: a store that was put back may have as many rows by now as were known, and other ones.
            let mut changes = store.changes_after(position.saturating_sub(1), PAGE).await?;
            if changes.first().is_some_and(|first| first.seq == position) {
                whole = self.continues(&changes.remove(0));
            }
            let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
                whole = false;
                break;
            };
            whole = whole && first.seq == position.saturating_add(1);
            if whole {
                ledger.apply(&changes);
                let followed = self.hosts.follow(store, &changes).await;
                if followed.is_err() || changes.iter().any(|change| concerns_issuing(change.kind)) {
                    self.issuing.notify_one();
                }
                position = last.seq;
                self.remember(changes.pop());
            }
        }
        if !whole {
            tracing::warn!(
                position,
                oldest = span.oldest,
                newest = span.newest,
                "changes of the store were missed: everything that is remembered of it is read again"
            );
            ledger.restart(span.newest);
            self.remember(end);
            self.issuing.notify_one();
        }
        self.known(begun);
        Ok(())
    }

    /// The hosts of owners, as far as the feed is known.
    pub(super) fn hosts(&self) -> &OwnerHosts {
        &self.hosts
    }

    /// Notified when signing keys, or hosts of owners, may have changed.
    pub(super) fn issuing(&self) -> Arc<Notify> {
        Arc::clone(&self.issuing)
    }

    /// Whether `row` is the one that was seen under its number; one that was not seen is from now on.
    fn continues(&self, row: &Change) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(seen) if seen.seq == row.seq => seen == row,
            Some(_) | None => {
                *last = Some(row.clone());
                true
            }
        }
    }

    fn remember(&self, row: Option<Change>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = row;
    }

    /// All changes before `begun` are known.
    fn known(&self, begun: Stopwatch) {
        let ledger = self.keys.ledger();
        ledger.confirm(begun);
        self.position.send_replace(ledger.position());
    }

    /// Remembers how a look ended; tells when an outage begins and when it is over.
    fn note(&self, looked: Result<(), StoreError>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match looked {
            Ok(()) if trouble.is_some() => {
                *trouble = None;
                tracing::info!("the store is within reach again");
            }
            Ok(()) => {}
            Err(error) => {
                if trouble.is_none() {
                    tracing::warn!(
                        %error,
                        fault = error.fault.as_str(),
                        max_staleness = ?self.max_staleness,
                        "changes of the store cannot be read: stored keys are answered for from memory, and refused \
                         with 503 after store.max_staleness"
                    );
                }
                *trouble = Some(error.to_string());
            }
        }
    }

    /// Waits until everything up to the row `seq` counts here. Where the feed cannot be read in time, nothing that is
    /// remembered counts any more: that is as good.
    pub(super) async fn applied(&self, seq: i64) {
        let mut position = self.position.subscribe();
        self.nudge.notify_one();
        if tokio::time::timeout(PATIENCE, position.wait_for(|known| *known >= seq)).await.is_err() {
            let ledger = self.keys.ledger();
            ledger.restart(ledger.position().max(seq));
            // Rows were passed over that nobody has read.
            self.issuing.notify_one();
        }
    }

    /// How far the feed is known.
    pub(super) fn position(&self) -> i64 {
        *self.position.borrow()
    }

    /// Signing keys were read when the feed was known up to `position`.
    pub(super) fn signing_keys_read(&self, position: i64) {
        self.keys_read.send_replace(position);
    }

    /// Waits until signing keys as they are at the row `seq` count here, but not for ever.
    pub(super) async fn signing_keys_applied(&self, seq: i64) {
        let mut read = self.keys_read.subscribe();
        if tokio::time::timeout(PATIENCE, read.wait_for(|known| *known >= seq)).await.is_err() {
            tracing::warn!(seq, "changed signing keys are not in force on this node yet");
        }
    }

    /// How the feed stands now.
    pub(super) fn state(&self) -> State {
        let lag = self.keys.ledger().staleness(Stopwatch::start());
        State {
            lag,
            fresh: lag.is_some_and(|lag| lag <= self.max_staleness),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// How long another node may answer from memory without knowing of a change.
    pub(super) fn max_staleness(&self) -> Duration {
        self.max_staleness
    }
}
