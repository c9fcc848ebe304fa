//! What is written to the store now and then: when keys were used, and that what has run out is removed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};

use crate::clock::{Clock, Stopwatch, UnixMillis};
use crate::gate::verify::stored::StoredKeys;
use crate::store::{AuditEntry, AuditOutcome, Store, StoreError};
use crate::telemetry::{StoreOperation, Telemetry};

/// How often is tidied up.
const TIDY_EVERY: Duration = Duration::from_secs(5 * 60);

/// Keys whose uses are written with one transaction: whoever revokes a key waits behind it.
const USES_TOGETHER: usize = 1000;

/// What the background works with.
#[derive(Clone)]
pub(super) struct Chores {
    pub(super) store: Store,
    pub(super) keys: Arc<StoredKeys>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) audit_retention: Option<Duration>,
}

impl Chores {
    /// Writes uses of keys for ever.
    pub(super) async fn write_uses(self, every: Duration) {
        let mut outage = Outage::of("uses of keys cannot be written down; they are kept in memory");
        loop {
            tokio::time::sleep(jittered(every)).await;
            outage.note(write_uses(&self.store, &self.keys, &self.telemetry, self.clock.now(), false).await);
        }
    }

    /// Removes what has run out, for ever.
    pub(super) async fn tidy(self) {
        let mut outage = Outage::of("what has run out cannot be removed from the store");
        loop {
            tokio::time::sleep(jittered(TIDY_EVERY)).await;
            outage.note(self.tidy_once().await);
        }
    }

    async fn tidy_once(&self) -> Result<(), StoreError> {
        let (store, now) = (&self.store, self.clock.now());
        let tidied = async {
            store.prune_feed(now).await?;
            store.forget(now).await?;
            store.prune_tokens(now).await?;
            match self.audit_retention {
                Some(retention) => prune_audit(store, retention, now).await,
                None => Ok(()),
            }
        };
        measured(&self.telemetry, StoreOperation::Upkeep, tidied).await
    }
}

/// Writes down uses that are due (all of them when `all`), or keeps them for the next time.
///
/// # Errors
/// The store is out of reach.
pub(super) async fn write_uses(
    store: &Store,
    keys: &StoredKeys,
    telemetry: &Telemetry,
    now: UnixMillis,
    all: bool,
) -> Result<(), StoreError> {
    let uses = keys.take_uses(now, all);
    let mut rest = uses.as_slice();
    while !rest.is_empty() {
        let (some, later) = rest.split_at(rest.len().min(USES_TOGETHER));
        let written = measured(telemetry, StoreOperation::Uses, store.note_uses(some)).await;
        if written.is_err() {
            keys.put_back(rest.to_vec());
            return written;
        }
        rest = later;
    }
    Ok(())
}

/// Removes audit events that are older than they have to be kept, and leaves a trace of it.
async fn prune_audit(store: &Store, retention: Duration, now: UnixMillis) -> Result<(), StoreError> {
    let before = UnixMillis(now.0.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)));
    // A part at a time: others want to write, too.
    while prune_part(store, before, now).await? > 0 {}
    Ok(())
}

/// Removes a part of what is older than `before`; returns how many events.
async fn prune_part(store: &Store, before: UnixMillis, now: UnixMillis) -> Result<u64, StoreError> {
    let mut write = store.begin().await?;
    let events = write.prune_audit(before).await?;
    if events == 0 {
        return Ok(0);
    }
    write.audit(AuditEntry {
        at: now,
        realm: None,
        actor_kind: "node".to_owned(),
        actor_id: store.node().to_owned(),
        actor_ip: None,
        action: "audit.pruned".to_owned(),
        target_kind: Some("audit".to_owned()),
        target_id: None,
        outcome: AuditOutcome::Ok,
        reason: None,
        request_id: None,
        detail: Map::from_iter([
            ("events".to_owned(), json!(events)),
            ("before".to_owned(), json!(before.to_string())),
        ]),
    });
    write.commit().await?;
    Ok(events)
}

async fn measured<T>(
    telemetry: &Telemetry,
    operation: StoreOperation,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let watch = Stopwatch::start();
    let done = work.await;
    telemetry.store_asked(operation, watch.elapsed(), done.is_ok());
    done
}

/// Tells of trouble once, and of its end.
struct Outage {
    what: &'static str,
    lasts: bool,
}

impl Outage {
    fn of(what: &'static str) -> Self {
        Self { what, lasts: false }
    }

    fn note(&mut self, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => self.lasts = false,
            Err(_) if self.lasts => {}
            Err(error) => {
                self.lasts = true;
                tracing::warn!(%error, fault = error.fault.as_str(), "{}", self.what);
            }
        }
    }
}

/// Between half and one and a half times `period`: nodes that were started together do not all come at once.
fn jittered(period: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness all nodes come at once, which is no harm.
    getrandom::fill(&mut random).ok();
    let [random] = random;
    period / 2 + period * u32::from(random) / 256
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::clock::SettableClock;
    use crate::store::{AttemptRule, AuditFilter, Location, Opening, StoreSettings};

    const START: UnixMillis = UnixMillis(1_763_682_354_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn event(at: UnixMillis) -> AuditEntry {
        AuditEntry {
            at,
            realm: None,
            actor_kind: "cli".into(),
            actor_id: "root".into(),
            actor_ip: None,
            action: "test".into(),
            target_kind: None,
            target_id: None,
            outcome: AuditOutcome::Ok,
            reason: None,
            request_id: None,
            detail: Map::new(),
        }
    }

    #[tokio::test]
    async fn audit_events_are_kept_as_long_as_they_have_to_be_and_their_removal_is_one_itself() {
        let directory = TempDir::new().unwrap();
        let settings = StoreSettings {
            location: Location::Sqlite(directory.path().join("test.db")),
            pepper: None,
            seal_key: None,
            max_staleness: DAY,
            node: "here".into(),
            audit_retention: Some(30 * DAY),
        };
        let store = Store::open(&settings, Opening::Create, START).await.unwrap();
        for day in 0..3 {
            let mut write = store.begin().await.unwrap();
            write.audit(event(START.plus(day * DAY)));
            write.commit().await.unwrap();
        }
        let clock = Arc::new(SettableClock::new(START.plus(30 * DAY)));
        let chores = Chores {
            store: store.clone(),
            keys: Arc::new(StoredKeys::none()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            telemetry: Arc::new(Telemetry::new(START, None).unwrap()),
            audit_retention: settings.audit_retention,
        };
        let actions = async || {
            let events = store.audit_events(&AuditFilter::default(), 100).await.unwrap();
            events.into_iter().map(|event| event.entry.action).collect::<Vec<_>>()
        };
        chores.tidy_once().await.unwrap();
        assert_eq!(actions().await, ["test"; 3], "to the day");
        clock.advance(DAY + Duration::from_millis(1));
        chores.tidy_once().await.unwrap();
        assert_eq!(actions().await, ["audit.pruned", "test"]);
        let pruned = store.audit_events(&AuditFilter::default(), 1).await.unwrap().remove(0);
        assert_eq!(pruned.entry.detail["events"], 2);
        assert_eq!(pruned.entry.actor_id, "here");
        assert_eq!(store.verify_audit().await.unwrap().broken, None);
        chores.tidy_once().await.unwrap();
        assert_eq!(actions().await, ["audit.pruned", "test"], "nothing to remove, nothing to tell");

        let rule = AttemptRule { free: 9, first_lock: DAY, longest_lock: DAY, window: DAY };
        let mut write = store.begin().await.unwrap();
        write.note_failure("shop", "account:ann", &rule, clock.now()).await.unwrap();
        write.commit().await.unwrap();
        let counters = async || store.check().await.unwrap().rows["attempts"];
        chores.tidy_once().await.unwrap();
        assert_eq!(counters().await, 1);
        clock.advance(DAY);
        chores.tidy_once().await.unwrap();
        assert_eq!(counters().await, 0, "what has run out of logins is removed as well");

        let forever = Chores { audit_retention: None, ..chores };
        clock.advance(1000 * DAY);
        forever.tidy_once().await.unwrap();
        assert_eq!(actions().await.len(), 2);
    }

    #[test]
    fn a_period_differs_every_time_and_is_right_on_average() {
        let period = Duration::from_secs(256);
        let sum: Duration = (0..1000).map(|_| jittered(period)).sum();
        let shortest = (0..1000).map(|_| jittered(period)).min().unwrap();
        let longest = (0..1000).map(|_| jittered(period)).max().unwrap();
        assert!(shortest >= period / 2 && longest < period * 3 / 2);
        assert!(shortest < period && longest > period);
        assert!(sum > period * 900 && sum < period * 1100, "{sum:?}");
    }
}
