//! The store remembers: principals, API keys, address lists, sessions and tokens, signing keys, admin tokens, the audit
//! trail, and the feed by which nodes learn of changes. SQL stands here and nowhere else; nothing is decided here about requests, and nothing is cached.
//!
//! Reads are methods of [`Store`]. Writes are methods of [`Write`], a transaction: what belongs together (a key, its
//! audit event, its row in the feed, the answer kept for a repeated request) is written together or not at all. Writes
//! that decide something are single conditional statements.

mod addresses;
mod admin_tokens;
mod attempts;
mod audit;
mod backend;
mod clients;
mod error;
mod feed;
mod id;
mod idempotency;
mod import;
mod issued;
mod keys;
mod logins;
mod maintenance;
mod migrate;
mod pepper;
mod prune;
mod record;
mod seal;
mod sessions;
mod settings;
mod signing_keys;
mod statement;
mod usage;

use std::fmt;
use std::sync::Arc;

pub use admin_tokens::NewAdminToken;
pub use attempts::{AttemptRule, Attempts, AttemptsSeen};
pub use audit::{AuditFilter, Verdict};
use backend::{Database, Transaction, postgres, sqlite};
pub use clients::{ClientChange, ClientFilter, NewClient};
pub use error::{Fault, StoreError};
pub use feed::Span;
pub use id::{IdKind, random_id};
pub use idempotency::Remembered;
pub use import::{Imported, ImportedKey};
pub use issued::{IssuedInForce, IssuedToken, NewIssued};
pub use keys::{KeyChange, KeyFilter, NewKey, Rotation};
pub use logins::{DirectorySubject, LoginRecord, StoredPassword};
pub use maintenance::Health;
use migrate::{Found, Reader};
use pepper::{Origin, Secrets};
pub use record::{
    AddressEntry, AdminToken, AuditEntry, AuditEvent, AuditOutcome, Change, ChangeKind, Client, ClientKind,
    ClientSource, ClientStatus, Holder, Key, KeyInForce, KeyStatus, KeyUse, Overlap,
};
pub use sessions::{
    Expected, NewRefresh, NewSession, RefreshInForce, RefreshRecord, RefreshState, Session, SessionFilter,
    SessionInForce,
};
pub use settings::{Location, StoreSettings};
pub use signing_keys::{NewSigningKey, SigningKeyChange, SigningKeyRecord, SigningKeyState};

use crate::clock::UnixMillis;
use crate::secret::{CredentialDigest, Secret};

/// An open store. Cheap to clone; connections are shared.
///
/// Its connections belong to the runtime that opened it: use it from tasks of that runtime.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<dyn Database>,
    secrets: Secrets,
    node: String,
    /// For people: the file, or host and database; no password.
    place: String,
}

/// How a store that is not there is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is made, its secrets too; an old one is migrated.
    Create,
    /// It must be there, and of a version that this program can work with; nothing is changed by opening it.
    Existing,
}

/// Why a store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Something is set up wrongly, and stays so until a person acts: another pepper, a schema that is too new, no
    /// database at all. Exit code 2.
    #[error("{0}")]
    Wrong(String),
    /// It may work later. Exit code 1.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// A part of a list. `after` is the id of the last one of the part before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Begin behind this id; none = at the beginning.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Page {
    fn rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }
}

impl Store {
    /// Opens a store, see [`Opening`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: &StoreSettings, opening: Opening, now: UnixMillis) -> Result<Self, OpenError> {
        let (database, place, files) = match &settings.location {
            Location::Sqlite(path) => {
                let wrong = || OpenError::Wrong(format!("{}: SQLite wants a path in UTF-8", path.display()));
                let path = sqlite::absolute(path).ok_or_else(wrong)?;
                let files = (pepper::beside(&path, "pepper"), pepper::beside(&path, "seal"));
                let place = format!("sqlite {}", path.display());
                let file: Arc<dyn Database> = Arc::new(sqlite::File::open(&path, opening).await?);
                (file, place, Some(files))
            }
            Location::Postgres(url) => {
                let server = postgres::Server::open(url).await?;
                let place = server.place();
                (Arc::new(server) as Arc<dyn Database>, place, None)
            }
        };
        let (pepper_file, seal_file) = files.unzip();
        let secrets = |found: &Found, may_make| {
            let recorded = (found.pepper.as_deref(), found.seal_key.as_deref());
            let file = (pepper_file.as_deref(), seal_file.as_deref());
            Secrets::settle(
                Origin { name: "pepper", given: settings.pepper.as_ref(), file: file.0, recorded: recorded.0 },
                Origin { name: "seal_key", given: settings.seal_key.as_ref(), file: file.1, recorded: recorded.1 },
                may_make,
            )
        };
        let secrets = match opening {
            Opening::Existing => {
                let found = migrate::look(&*database, &place, Reader::Database(&*database)).await?;
                if found.version < migrate::SCHEMA {
                    return Err(migrate::behind(&found, &place));
                }
                secrets(&found, false)?.0
            }
            Opening::Create => {
                let mut transaction = database.begin_alone().await?;
                let found = migrate::look(&*database, &place, Reader::Transaction(&mut *transaction)).await?;
                let (secrets, pepper, seal_key) = secrets(&found, true)?;
                migrate::bring_up(&*database, &mut *transaction, &found, (&pepper, &seal_key), now).await?;
                transaction.commit().await?;
                secrets
            }
        };
        Ok(Self { inner: Arc::new(Inner { database, secrets, node: settings.node.clone(), place }) })
    }

    /// Begins to write.
    ///
    /// # Errors
    /// The store is out of reach or locked.
    pub async fn begin(&self) -> Result<Write, StoreError> {
        let transaction = self.inner.database.begin().await?;
        Ok(Write { store: self.clone(), transaction, audit: Vec::new(), changes: Vec::new() })
    }

    /// Begins to write what takes long, for it concerns rows without number: statements have an hour, and whoever else
    /// begins such a thing, or a change of the schema, waits.
    ///
    /// # Errors
    /// The store is out of reach or locked.
    pub async fn begin_alone(&self) -> Result<Write, StoreError> {
        let transaction = self.inner.database.begin_alone().await?;
        Ok(Write { store: self.clone(), transaction, audit: Vec::new(), changes: Vec::new() })
    }

    /// Where it is, for people; without a password.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Name of this node: of its chain in the audit trail.
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// Encrypts what must be read again.
    pub fn seal_key(&self) -> &Secret {
        &self.inner.secrets.seal_key
    }

    /// What is kept of a credential: HMAC-SHA-256 of its SHA-256, keyed with the pepper.
    fn at_rest(&self, digest: &CredentialDigest) -> [u8; 32] {
        self.inner.secrets.pepper.at_rest(digest)
    }

    /// Waits until another process may have changed something; for ever where the database cannot tell.
    pub async fn woken(&self) {
        self.inner.database.woken().await;
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

/// A transaction. Dropped without [`Write::commit`], it changes nothing.
#[derive(Debug)]
pub struct Write {
    store: Store,
    transaction: Box<dyn Transaction>,
    audit: Vec<AuditEntry>,
    changes: Vec<(String, ChangeKind, String, UnixMillis)>,
}

impl Write {
    /// Notes an audit event; written with the rest.
    pub fn audit(&mut self, entry: AuditEntry) {
        self.audit.push(entry);
    }

    /// Makes everything last: what was done, then its audit events, then its rows in the feed (in this order in every
    /// transaction, so that no two wait for each other). Returns the feed's position, where the feed has grown.
    ///
    /// # Errors
    /// Nothing was written, unless the connection broke off while the database was making it last.
    pub async fn commit(mut self) -> Result<Option<i64>, StoreError> {
        if !self.audit.is_empty() {
            audit::append(&mut *self.transaction, self.store.node(), &self.audit).await?;
        }
        let seq = match self.changes.as_slice() {
            [] => None,
            changes => feed::append(&mut *self.transaction, changes).await?,
        };
        if seq.is_some() {
            self.transaction.notify().await?;
        }
        self.transaction.commit().await?;
        Ok(seq)
    }

    /// Notes a row of the feed; written with the rest.
    fn change(&mut self, realm: &str, kind: ChangeKind, value: &str, at: UnixMillis) {
        self.changes.push((realm.to_owned(), kind, value.to_owned(), at));
    }
}
