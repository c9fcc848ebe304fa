//! Where the store is.

use std::path::Path;
use std::time::Duration;

use portcullis::secret::Secret;
use portcullis::store::{Location, StoreSettings};

use crate::postgres::Postgres;

/// A database that is thrown away in the end.
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Box<Postgres>, String),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a directory"))
    }

    /// It waits for the disk, as in production.
    pub(crate) fn postgres() -> Self {
        let server = Postgres::durable();
        let url = server.new_database();
        Self::Postgres(Box::new(server), url)
    }

    pub(crate) fn settings(&self) -> StoreSettings {
        let secret = |byte| Some(Secret::new(vec![byte; 32]));
        StoreSettings {
            location: match self {
                Self::Sqlite(directory) => Location::Sqlite(directory.path().join("store.db")),
                Self::Postgres(_, url) => Location::Postgres(Secret::new(url.clone().into_bytes())),
            },
            pepper: secret(1),
            seal_key: secret(2),
            max_staleness: Duration::from_secs(30),
            node: "bench".to_owned(),
            audit_retention: None,
        }
    }

    /// Bytes on the disk, logs of the database included.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Sqlite(directory) => bytes_below(directory.path()),
            Self::Postgres(server, _) => bytes_below(&server.directory().join("data")),
        }
    }
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    if meta.is_dir() { below.map(|entry| bytes_below(&entry.path())).sum() } else { meta.len() }
}
