//! Keys of the store, sessions and opaque tokens, as requests meet them: bounded caches of what was read, a ledger of what
//! has changed since, and reads that are made once however many wait for them. Nothing here knows how the store works.
//!
//! What is in the cache is believed while the ledger says nothing against it, and while the ledger is not older than
//! `max_staleness`. With a ledger that is older, nothing in memory counts: every key is read from the store, which is
//! exact (a read that was begun for somebody else is shared, and takes two seconds at most). Where the store cannot be
//! read, the answer is 503, as it is for what is not in the cache or has changed. Declared keys and tokens go on.

mod caches;
mod entry;
mod ledger;
mod reading;
mod session;
#[cfg(test)]
mod tests;
mod token;
mod uses;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;

use caches::Caches;
pub(super) use entry::Entry;
pub use ledger::Ledger;
use ledger::Tick;
use reading::Reading;
pub(super) use reading::Trouble;
pub(super) use session::{Compiled, SessionEntry};
pub use session::{Live, SessionFound};
pub(super) use token::{Proof, TokenEntry};
use uses::Book;
pub use uses::Uses;

use super::own::OwnToken;
use crate::clock::{Stopwatch, UnixMillis};
use crate::gate::policy::Realm;
use crate::secret::CredentialDigest;
use crate::store::{IssuedInForce, KeyInForce, KeyUse, Store, StoreError};

/// Where keys, sessions and tokens are read from.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// Everything about the key of `realm` whose text has this SHA-256, whatever its state.
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError>;

    /// Everything about a session, whatever its state.
    async fn session(&self, _realm: &str, _id: &str) -> Result<Option<SessionFound>, StoreError> {
        Ok(None)
    }

    /// Everything about the opaque token whose text has this SHA-256, whatever its state.
    async fn token(&self, _realm: &str, _digest: CredentialDigest) -> Result<Option<IssuedInForce>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl KeySource for Store {
    async fn find(&self, realm: &str, digest: CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        self.key_in_force(realm, &digest).await
    }

    async fn session(&self, realm: &str, id: &str) -> Result<Option<SessionFound>, StoreError> {
        Ok(self.session_in_force(realm, id).await?.map(SessionFound::of_store))
    }

    async fn token(&self, realm: &str, digest: CredentialDigest) -> Result<Option<IssuedInForce>, StoreError> {
        self.issued_in_force(realm, &digest).await
    }
}

/// Something of the store that requests are judged by.
#[async_trait]
pub(super) trait Kept: Sized + fmt::Debug + Send + Sync + 'static {
    /// As the store tells it.
    type Record: Send;

    /// What they are called, for people.
    const WHAT: &'static str;
    /// A request waits so long at most, and so long a read may take, its turn included.
    const DEADLINE: Duration;

    /// Reads one from the store.
    async fn find(source: &dyn KeySource, sought: &Sought) -> Result<Option<Self::Record>, StoreError>;

    /// Whether everything in the record is of `realm`, and belongs together.
    fn belongs(record: &Self::Record, realm: &str) -> bool;

    /// `realm`: the name that stands in the record. `read`: from before the read began. `before`: what was kept so far.
    fn keep(record: Self::Record, realm: &Arc<str>, read: Tick, before: Option<&Self>) -> Self;

    /// Name of its realm.
    fn realm(&self) -> &str;

    /// Whether it is still as it was read, as far as the ledger knows.
    fn holds(&self, ledger: &Ledger) -> bool;

    /// What it takes in memory, about.
    fn weight(&self) -> u32;
}

/// How long a read of the store alone may take.
const READ_DEADLINE: Duration = Duration::from_secs(2);

/// How much is kept, and for how long it may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of the cache of keys, estimated; 0 = nothing is kept.
    pub cache_bytes: u64,
    /// What is kept may be answered from for so long after the feed was last known to be whole.
    pub max_staleness: Duration,
}

/// Keys of the store, sessions and opaque tokens. Shared by everything that decides; survives reloads.
#[derive(Debug)]
pub struct StoredKeys {
    ledger: Arc<Ledger>,
    keys: Arc<Shared<Entry>>,
    sessions: Arc<Shared<SessionEntry>>,
    tokens: Arc<Shared<TokenEntry>>,
    book: Book,
    max_staleness: Duration,
}

/// What reads need, too: they outlive the requests that asked for them.
#[derive(Debug)]
struct Shared<E: Kept> {
    ledger: Arc<Ledger>,
    caches: Caches<E>,
    /// None = there is no store.
    reading: Option<Reading<E>>,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sought {
    digest: CredentialDigest,
    realm: Arc<str>,
    number: u64,
    /// The id, where it is not a text that is looked for by its digest.
    id: Option<Arc<str>>,
}

impl Sought {
    fn text(realm: &Realm, digest: CredentialDigest) -> Self {
        Self { digest, realm: Arc::clone(&realm.name), number: realm.number, id: None }
    }

    fn session(realm: &Realm, token: &OwnToken) -> Self {
        let id = Some(Arc::clone(token.session()));
        Self { id, ..Self::text(realm, token.session_digest()) }
    }
}

/// What can be told without waiting.
#[derive(Debug)]
pub(super) enum Known<E> {
    /// There is no store.
    NoStore,
    /// It is there.
    There(Arc<E>),
    /// There is no such thing.
    Nothing,
    /// It was there, but that counts no longer: it has changed, or (`stale`) nobody can tell whether it has.
    Outdated { stale: bool },
    /// Not known.
    Unseen,
}

impl StoredKeys {
    /// No store: every key is unknown.
    pub fn none() -> Self {
        let ledger = Arc::<Ledger>::default();
        Self {
            keys: Arc::new(Shared::none(&ledger)),
            sessions: Arc::new(Shared::none(&ledger)),
            tokens: Arc::new(Shared::none(&ledger)),
            ledger,
            book: Book::default(),
            max_staleness: Duration::ZERO,
        }
    }

    /// Read from `source` by tasks of `runtime`.
    pub fn new(source: Arc<dyn KeySource>, runtime: Handle, keeping: Keeping) -> Self {
        let ledger = Arc::<Ledger>::default();
        let Keeping { cache_bytes, max_staleness } = keeping;
        Self {
            keys: Arc::new(Shared::new(&ledger, &source, &runtime, cache_bytes)),
            sessions: Arc::new(Shared::new(&ledger, &source, &runtime, cache_bytes)),
            tokens: Arc::new(Shared::new(&ledger, &source, &runtime, cache_bytes)),
            ledger,
            book: Book::default(),
            max_staleness,
        }
    }

    /// Where the feed is written into as it arrives.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is known of a key's text at once. `now`: of the decision.
    pub(super) fn look(&self, realm: &Realm, digest: CredentialDigest, now: Stopwatch) -> Known<Entry> {
        // First: see `Ledger::holds`.
        let fresh = self.is_fresh(now);
        self.keys.look(realm, digest, fresh)
    }

    /// What is known of an opaque token's text at once.
    pub(super) fn look_at_token(&self, realm: &Realm, digest: CredentialDigest, now: Stopwatch) -> Known<TokenEntry> {
        let fresh = self.is_fresh(now);
        self.tokens.look(realm, digest, fresh)
    }

    /// What is known of a token's session at once.
    pub(super) fn look_at_session(
        &self,
        realm: &Realm,
        token: &OwnToken,
        at: UnixMillis,
        now: Stopwatch,
    ) -> Known<SessionEntry> {
        let fresh = self.is_fresh(now);
        match self.sessions.look(realm, token.session_digest(), fresh) {
            Known::There(entry) if !entry.is_current(at) || entry.is_behind(token) => Known::Outdated { stale: false },
            known => known,
        }
    }

    /// Reads a key's text from the store; none = it is no key.
    pub(super) async fn read(&self, realm: &Realm, digest: CredentialDigest) -> Result<Option<Arc<Entry>>, Trouble> {
        self.keys.find(&Sought::text(realm, digest)).await
    }

    /// Reads an opaque token from the store.
    pub(super) async fn read_token(
        &self,
        realm: &Realm,
        digest: CredentialDigest,
    ) -> Result<Option<Arc<TokenEntry>>, Trouble> {
        self.tokens.find(&Sought::text(realm, digest)).await
    }

    /// Reads a token's session from the store.
    pub(super) async fn read_session(
        &self,
        realm: &Realm,
        token: &OwnToken,
    ) -> Result<Option<Arc<SessionEntry>>, Trouble> {
        self.sessions.find(&Sought::session(realm, token)).await
    }

    /// Whether what is kept may be believed.
    pub(super) fn is_fresh(&self, now: Stopwatch) -> bool {
        self.ledger.staleness(now).is_some_and(|staleness| staleness <= self.max_staleness)
    }

    /// Notes a request that was allowed.
    pub(super) fn note(&self, uses: &Arc<Uses>, ip: Option<IpAddr>, now: UnixMillis) {
        self.book.note(uses, ip, now);
    }

    /// Uses that are due to be written: of each key at most once a minute, all of them when `all`. They are given out
    /// once: put back what could not be written ([`StoredKeys::put_back`]).
    pub fn take_uses(&self, now: UnixMillis, all: bool) -> Vec<KeyUse> {
        self.book.take(now, all)
    }

    /// Takes back uses that could not be written.
    pub fn put_back(&self, uses: Vec<KeyUse>) {
        self.book.put_back(uses);
    }

    /// Forgets sessions: another configuration may see other attributes in them.
    pub fn forget_sessions(&self) {
        self.ledger.distrust(session::EVERY_SESSION);
    }

    /// Entries in the cache of keys, about; and in that of texts which are no key.
    pub fn cached(&self) -> (u64, u64) {
        self.keys.caches.entries()
    }
}

impl<E: Kept> Shared<E> {
    fn none(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Arc::clone(ledger), caches: Caches::default(), reading: None }
    }

    fn new(ledger: &Arc<Ledger>, source: &Arc<dyn KeySource>, runtime: &Handle, cache_bytes: u64) -> Self {
        let reading = Some(Reading::new(Arc::clone(source), runtime.clone()));
        Self { ledger: Arc::clone(ledger), caches: Caches::new(cache_bytes), reading }
    }

    fn look(&self, realm: &Realm, digest: CredentialDigest, fresh: bool) -> Known<E> {
        if self.reading.is_none() {
            return Known::NoStore;
        }
        if let Some(entry) = self.caches.known(realm, digest) {
            let holds = fresh && entry.holds(&self.ledger);
            return if holds { Known::There(entry) } else { Known::Outdated { stale: !fresh } };
        }
        match self.caches.unknown(realm, digest) {
            Some(read) if fresh && self.ledger.holds_nothing(read, &realm.name) => Known::Nothing,
            Some(_) | None => Known::Unseen,
        }
    }

    async fn find(self: &Arc<Self>, sought: &Sought) -> Result<Option<Arc<E>>, Trouble> {
        match &self.reading {
            Some(reading) => self.read(reading, sought).await,
            None => Ok(None),
        }
    }
}
