//! The store of a running gateway: opened before listeners accept, on a runtime of its own, to which its connections
//! belong; and what goes on about it in the background.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::control::keep_running;
use super::feed::Feed;
use super::issuing::{self, Around, OwnerHosts};
use super::{StartError, upkeep};
use crate::clock::{Clock, Stopwatch};
use crate::gate::policy::Snapshot;
use crate::gate::verify::stored::{Keeping, KeySource, SessionFound, StoredKeys};
use crate::secret::CredentialDigest;
use crate::store::{Fault, IssuedInForce, KeyInForce, Location, OpenError, Opening, Store, StoreError, StoreSettings};
use crate::telemetry::{StoreOperation, Telemetry};
use crate::tokens::policy::Issuing;

/// Threads that wait for the store.
const THREADS: usize = 2;

/// At the end: for the last uses, and then for the connections to close.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often another process's changes are looked for: SQLite cannot tell, PostgreSQL tells and this is for the case that
/// the message was lost.
const POLL_SQLITE: Duration = Duration::from_millis(200);
const POLL_POSTGRES: Duration = Duration::from_secs(1);

/// An open store and everything that works on it.
pub(super) struct OpenStore {
    threads: Threads,
    pub(super) store: Store,
    pub(super) keys: Arc<StoredKeys>,
    pub(super) feed: Arc<Feed>,
    pub(super) around: Around,
    hosts: Arc<OwnerHosts>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
}

impl OpenStore {
    /// Opens the store, makes it where there is none, brings its schema up to date, and begins to follow its feed. Ends
    /// in the caller's thread whatever runtime that may belong to.
    ///
    /// # Errors
    /// See [`StartError::Store`]. A store that is out of reach ends the start: whoever supervises the process tries
    /// again, and nothing is served before it is known which keys are revoked.
    pub(super) fn open(
        settings: &StoreSettings,
        cache_bytes: u64,
        uses_every: Duration,
        clock: &Arc<dyn Clock>,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Self, StartError> {
        let threads = Threads::start()?;
        let now = clock.now();
        let store =
            threads.wait(Store::open(settings, Opening::Create, now)).unwrap_or_else(|| Err(panicked().into()))?;
        let keeping = Keeping { cache_bytes, max_staleness: settings.max_staleness };
        let around = Around::default();
        let source = Arc::new(Timed { store: store.clone(), telemetry: Arc::clone(telemetry), around: around.clone() });
        let keys = Arc::new(StoredKeys::new(source, threads.handle.clone(), keeping));
        let hosts = Arc::new(OwnerHosts::new(around.clone()));
        let feed = Arc::new(Feed::new(Arc::clone(&keys), Arc::clone(&hosts), settings.max_staleness));
        threads.wait(feed.begin(&store)).unwrap_or_else(|| Err(panicked())).map_err(OpenError::Failed)?;
        let (clock, telemetry) = (Arc::clone(clock), Arc::clone(telemetry));
        let open = Self { threads, store, keys, feed, around, hosts, clock, telemetry };
        open.work(settings, uses_every);
        Ok(open)
    }

    /// Starts the background.
    fn work(&self, settings: &StoreSettings, uses_every: Duration) {
        let poll = match settings.location {
            Location::Sqlite(_) => POLL_SQLITE,
            Location::Postgres(_) => POLL_POSTGRES,
        };
        let (feed, store, telemetry) = (Arc::clone(&self.feed), self.store.clone(), Arc::clone(&self.telemetry));
        self.threads.handle.spawn(keep_running("feed", move || {
            let (feed, store, telemetry) = (Arc::clone(&feed), store.clone(), Arc::clone(&telemetry));
            async move { feed.follow(&store, &telemetry, poll).await }
        }));

        let chores = upkeep::Chores {
            store: self.store.clone(),
            keys: Arc::clone(&self.keys),
            clock: Arc::clone(&self.clock),
            telemetry: Arc::clone(&self.telemetry),
            audit_retention: settings.audit_retention,
        };
        let uses = chores.clone();
        self.threads.handle.spawn(keep_running("uses", move || uses.clone().write_uses(uses_every)));
        self.threads.handle.spawn(keep_running("upkeep", move || chores.clone().tidy()));
    }

    /// Makes and reads what realms sign with, and the hosts of owners; keeps both up to date from now on.
    ///
    /// # Errors
    /// The store is out of reach.
    pub(super) fn issue(
        &self,
        issuing: &Issuing,
        snapshot: &Snapshot,
        in_force: Arc<Notify>,
    ) -> Result<(), StartError> {
        let now = self.clock.now();
        let store = &self.store;
        let prepared = self.threads.wait(async {
            issuing::prepare(store, issuing, now).await?;
            self.hosts.load(store, snapshot).await
        });
        prepared.unwrap_or_else(|| Err(panicked())).map_err(OpenError::Failed)?;
        let (store, around, keys) = (self.store.clone(), self.around.clone(), Arc::clone(&self.keys));
        let feed = Arc::clone(&self.feed);
        self.threads.handle.spawn(keep_running("issuing", move || {
            issuing::keep(store.clone(), around.clone(), Arc::clone(&keys), Arc::clone(&feed), Arc::clone(&in_force))
        }));
        Ok(())
    }

    /// Where work on the store is done.
    pub(super) fn handle(&self) -> Handle {
        self.threads.handle.clone()
    }

    /// Points at rows of realms that the configuration does not know: a realm was renamed in the files only, most likely.
    pub(super) fn warn_of_orphans(&self, snapshot: &Snapshot) {
        let store = self.store.clone();
        let Some(found) = self.threads.wait(async move { store.realms().await }) else { return };
        let rows = match found {
            Ok(rows) => rows,
            Err(error) => return tracing::warn!(%error, "it is not known which realms have keys in the store"),
        };
        for (realm, (clients, keys)) in rows {
            if !snapshot.realms.iter().any(|configured| *configured.name == *realm) {
                tracing::warn!(
                    realm,
                    clients,
                    keys,
                    "the store has clients and keys of a realm that is not configured: if it was renamed, run \
                     `portcullis store rename-realm {realm} NEW-NAME`"
                );
            }
        }
    }

    /// Writes down the last uses and closes the store, in bounded time.
    pub(super) fn close(self) {
        let Self { threads, store, keys, clock, telemetry, .. } = self;
        let work = async move {
            let last = upkeep::write_uses(&store, &keys, &telemetry, clock.now(), true);
            match tokio::time::timeout(LAST_WORDS, last).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the last uses of keys were not written down"),
                Err(_) => tracing::warn!("the last uses of keys were not written down in time"),
            }
            // What cannot be closed in time ends with the process.
            tokio::time::timeout(LAST_WORDS, store.close()).await.ok();
        };
        threads.wait(work);
    }
}

fn panicked() -> StoreError {
    StoreError::new(Fault::Unreachable, "opening it ended by a fault of the program")
}

/// A runtime that may be used and let go of anywhere, also by threads of another one.
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    fn start() -> Result<Self, StartError> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("store").enable_all().build();
        let runtime = runtime.map_err(StartError::Threads)?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Waits for a future; none if it panicked. A runtime refuses to be waited for by a thread of another one, so that a
    /// thread of its own does.
    fn wait<T: Send>(&self, future: impl Future<Output = T> + Send) -> Option<T> {
        std::thread::scope(|scope| {
            let waiting = std::thread::Builder::new().name("store-wait".into());
            waiting.spawn_scoped(scope, || self.handle.block_on(future)).ok()?.join().ok()
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // a read that hangs must not hold up the end
        }
    }
}

/// The store, with a clock on it.
#[derive(Debug)]
struct Timed {
    store: Store,
    telemetry: Arc<Telemetry>,
    around: Around,
}

impl Timed {
    async fn timed<T>(
        &self,
        operation: StoreOperation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let watch = Stopwatch::start();
        let done = work.await;
        self.telemetry.store_asked(operation, watch.elapsed(), done.is_ok());
        done
    }
}

#[async_trait]
impl KeySource for Timed {
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        self.timed(StoreOperation::KeyLookup, self.store.find(realm, digest)).await
    }

    async fn session(&self, realm: &str, id: &str) -> Result<Option<SessionFound>, StoreError> {
        match self.timed(StoreOperation::SessionLookup, self.store.session_in_force(realm, id)).await? {
            Some(record) => Ok(Some(self.around.stand(realm, record).await)),
            None => Ok(None),
        }
    }

    async fn token(&self, realm: &str, digest: CredentialDigest) -> Result<Option<IssuedInForce>, StoreError> {
        self.timed(StoreOperation::TokenLookup, self.store.issued_in_force(realm, &digest)).await
    }
}
