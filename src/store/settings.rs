//! Where a store is and with which secrets it works. `config` makes these.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Where it is.
    pub location: Location,
    /// Keys the digests of API keys. None (SQLite only): a file beside the database (`NAME.pepper`), made with the
    /// database, mode 0600.
    pub pepper: Option<Secret>,
    /// Encrypts what must be read again (signing keys). None (SQLite only): a file beside the database (`NAME.seal`).
    pub seal_key: Option<Secret>,
    /// Answers may come from memory for so long when the store is out of reach.
    pub max_staleness: Duration,
    /// Name of this node: of its chain in the audit trail.
    pub node: String,
    /// Audit events older than this are pruned; none = kept for ever.
    pub audit_retention: Option<Duration>,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A database of PostgreSQL: the whole URL, which may hold a password.
    Postgres(Secret),
}
