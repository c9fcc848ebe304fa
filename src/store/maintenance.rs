//! What operators do with a store as a whole.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Store, StoreError, Write};
use crate::clock::UnixMillis;

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Version of its schema.
    pub schema: i64,
    /// What is wrong, for people; empty = nothing.
    pub problems: Vec<String>,
    /// Rows a table.
    pub rows: BTreeMap<String, u64>,
}

impl Store {
    /// Looks for damage: the database's own check, rows without what they refer to, digests of a wrong length.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn check(&self) -> Result<Health, StoreError> {
        unimplemented!()
    }

    /// Copies the store into a new file (SQLite only), mode 0600, while it is in use.
    ///
    /// # Errors
    /// The file exists, cannot be written, or the store is PostgreSQL's (whose own tools do this).
    pub async fn backup(&self, path: &Path) -> Result<(), StoreError> {
        let _ = path;
        unimplemented!()
    }

    /// Realms that have rows, with their numbers of principals and keys.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn realms(&self) -> Result<BTreeMap<String, (u64, u64)>, StoreError> {
        unimplemented!()
    }
}

impl Write {
    /// Gives all rows of a realm to another name. Returns how many principals and keys went over.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the other realm has rows already that collide.
    pub async fn rename_realm(&mut self, from: &str, to: &str, at: UnixMillis) -> Result<(u64, u64), StoreError> {
        let _ = (from, to, at);
        unimplemented!()
    }
}
