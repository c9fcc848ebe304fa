//! What the token service needs of the assembly: keys to sign with, made and kept up to date; hosts that owners brought
//! along; what directories say of principals that have a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::feed::Feed;
use crate::clock::UnixMillis;
use crate::gate::policy::Snapshot;
use crate::gate::verify::stored::{Live as Standing, SessionFound, StoredKeys};
use crate::outbound::HttpCallback;
use crate::password::Hasher;
use crate::proxy::Gateway;
use crate::store::{Change, ChangeKind, SessionInForce, Store, StoreError};
use crate::tokens::policy::Issuing;
use crate::tokens::{Live, Parts, Settled, Tokens, signing};

/// How often keys are looked through for those that have had their time.
const TIDY: Duration = Duration::from_secs(1);

/// After a change: changes that come in a burst are read together.
const GATHER: Duration = Duration::from_millis(50);

#[async_trait]
impl Settled for Feed {
    async fn settled(&self, seq: i64) {
        self.applied(seq).await;
    }
}

/// The token service on an open store.
pub(super) fn tokens(store: &Store, runtime: &Handle, feed: &Arc<Feed>, hasher: Hasher) -> Tokens {
    Tokens::new(Parts {
        store: store.clone(),
        runtime: runtime.clone(),
        callback: Arc::new(HttpCallback::new(runtime.clone())),
        hasher,
        settled: Arc::clone(feed) as Arc<dyn Settled>,
    })
}

/// Makes the keys that realms lack and reads all of them.
///
/// # Errors
/// The store is out of reach.
pub(super) async fn prepare(store: &Store, issuing: &Issuing, now: UnixMillis) -> Result<(), StoreError> {
    signing::ensure(store, issuing, now).await?;
    signing::load(store, issuing).await
}

/// The gateway, for those who are made before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Around(Arc<OnceLock<Weak<Gateway>>>);

impl Around {
    pub(super) fn is(&self, gateway: &Arc<Gateway>) {
        self.0.set(Arc::downgrade(gateway)).ok(); // there is one gateway
    }

    fn gateway(&self) -> Option<Arc<Gateway>> {
        self.0.get()?.upgrade()
    }

    /// A session with its principal as that stands at the moment.
    pub(super) async fn stand(&self, realm: &str, mut record: SessionInForce) -> SessionFound {
        let found = self.gateway().and_then(|gateway| {
            let live = gateway.live.load();
            let tokens = live.issuing.realms.iter().flatten().find(|tokens| *tokens.realm == *realm).cloned();
            Some((gateway.tokens.clone()?, tokens?, gateway.clock.now()))
        });
        let Some((tokens, realm, now)) = found else { return SessionFound::of_store(record) };
        match tokens.stand(&realm, &mut record, now).await {
            Live::Stored => SessionFound::of_store(record),
            Live::Told { active, good_for } => SessionFound {
                record,
                live: if active { Standing::Active } else { Standing::Inactive },
                good_for: Some((now, good_for)),
            },
            Live::Silent => SessionFound { record, live: Standing::Unknown, good_for: Some((now, Duration::ZERO)) },
        }
    }
}

/// The hosts that owners brought along, by the ids of the owners.
#[derive(Debug, Default)]
pub(super) struct OwnerHosts {
    around: Around,
    owners: Mutex<HashMap<String, (String, Arc<str>)>>,
}

impl OwnerHosts {
    pub(super) fn new(around: Around) -> Self {
        Self { around, owners: Mutex::default() }
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// The store is out of reach.
    pub(super) async fn load(&self, store: &Store, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut owners = HashMap::new();
        for realm in &snapshot.realms {
            let Some(attribute) = &realm.hosts_from else { continue };
            for (id, host) in store.owners_with_attribute(&realm.name, attribute).await? {
                owners.insert(id, (host, Arc::clone(&realm.name)));
            }
        }
        self.put(owners, snapshot);
        Ok(())
    }

    /// Takes in what has changed of single owners, before anybody is told that the change counts here.
    ///
    /// # Errors
    /// The store is out of reach.
    pub(super) async fn follow(&self, store: &Store, changes: &[Change]) -> Result<(), StoreError> {
        let Some(gateway) = self.around.gateway() else { return Ok(()) };
        let live = gateway.live.load_full();
        let of = |name: &str| live.snapshot.realms.iter().find(|realm| *realm.name == *name);
        let mut owners = None;
        for change in changes.iter().filter(|change| change.kind == ChangeKind::Client) {
            let Some(realm) = of(&change.realm) else { continue };
            let Some(attribute) = &realm.hosts_from else { continue };
            let owner = store.client(&change.value).await?.filter(|owner| owner.status.may_act());
            let host = owner.as_ref().and_then(|owner| owner.attributes.get(&**attribute)?.as_str().map(str::to_owned));
            let owners = owners.get_or_insert_with(|| self.owners().clone());
            match host {
                Some(host) => _ = owners.insert(change.value.clone(), (host, Arc::clone(&realm.name))),
                None => _ = owners.remove(&change.value),
            }
        }
        if let Some(owners) = owners {
            self.put(owners, &live.snapshot);
        }
        Ok(())
    }

    fn put(&self, owners: HashMap<String, (String, Arc<str>)>, snapshot: &Snapshot) {
        snapshot.owned_hosts.replace(owners.values().map(|(host, realm)| (host.as_str(), Arc::clone(realm))));
        *self.owners() = owners;
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<String, (String, Arc<str>)>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps keys and hosts as the store has them, for ever.
pub(super) async fn keep(store: Store, around: Around, keys: Arc<StoredKeys>, feed: Arc<Feed>, in_force: Arc<Notify>) {
    let changed = feed.issuing();
    let mut due = true;
    loop {
        if let Some(gateway) = around.gateway() {
            let live = gateway.live.load_full();
            let now = gateway.clock.now();
            for realm in live.issuing.realms.iter().flatten() {
                realm.keys.tidy(now);
            }
            if due {
                let position = feed.position();
                due = match refresh(&store, feed.hosts(), &live.issuing, &live.snapshot).await {
                    Ok(()) => {
                        feed.signing_keys_read(position);
                        false
                    }
                    Err(error) => {
                        tracing::warn!(%error, "signing keys and hosts of owners are not up to date");
                        true
                    }
                };
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TIDY) => {}
            () = changed.notified() => {
                tokio::time::sleep(GATHER).await;
                due = true;
            }
            () = in_force.notified() => {
                // What is remembered of sessions may look different by the new configuration.
                keys.forget_sessions();
                due = true;
            }
        }
    }
}

async fn refresh(store: &Store, hosts: &OwnerHosts, issuing: &Issuing, snapshot: &Snapshot) -> Result<(), StoreError> {
    signing::load(store, issuing).await?;
    hosts.load(store, snapshot).await
}
