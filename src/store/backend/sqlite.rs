//! SQLite: one file, one writer, readers beside it (WAL).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _, Sqlite, TypeInfo, ValueRef};

use super::lent::{Dialect, Lent, within};
use super::{Database, Row, Step, Transaction, Value};
use crate::store::{Fault, OpenError, Opening, StoreError};

/// How long a writer waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// Checks and copies of everything.
const LONG: Duration = Duration::from_secs(3600);
const READERS: u32 = 4;

const STEPS: &[Step] = &[
    Step { version: 1, name: "initial", sql: include_str!("../migrations/sqlite/0001_initial.sql") },
    Step { version: 2, name: "tokens", sql: include_str!("../migrations/sqlite/0002_tokens.sql") },
];

/// An open file.
#[derive(Debug)]
pub(in crate::store) struct File {
    path: PathBuf,
    /// Device and inode. Were another file put in its place, open connections would not notice.
    identity: (u64, u64),
    options: SqliteConnectOptions,
    readers: SqlitePool,
    writer: SqlitePool,
}

impl File {
    /// Connects, and makes the file first if that is wanted. `path` is [`absolute`].
    pub(in crate::store) async fn open(path: &Path, opening: Opening) -> Result<Self, OpenError> {
        let identity = match opening {
            Opening::Create => make(path)?,
            Opening::Existing => find(path)?,
        };
        // `synchronous` is FULL, SQLite's default: a revocation that was answered outlives a power cut. It costs a
        // commit some milliseconds; reads wait for nothing.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(TURN)
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();
        first_contact(path, &options, opening).await?;
        let pool = || SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None).acquire_timeout(TURN);
        Ok(Self {
            path: path.to_owned(),
            identity,
            readers: pool().max_connections(READERS).connect_lazy_with(options.clone().pragma("query_only", "ON")),
            writer: pool().max_connections(1).connect_lazy_with(options.clone()),
            options,
        })
    }

    fn is_the_same(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) == self.identity => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::new(
                Fault::Unreachable,
                format!("{} is gone or was replaced: restart to open what is there now", self.path.display()),
            )),
        }
    }
}

#[async_trait]
impl Database for File {
    async fn fetch(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.is_the_same()?;
        Lent::from(&self.readers, Sqlite::STATEMENT).await?.fetch(sql, values).await
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, StoreError> {
        self.is_the_same()?;
        Ok(Box::new(Lent::from(&self.writer, Sqlite::STATEMENT).await?.begin().await?))
    }

    async fn begin_alone(&self) -> Result<Box<dyn Transaction>, StoreError> {
        self.is_the_same()?;
        Ok(Box::new(Lent::from(&self.writer, LONG).await?.begin_alone().await?))
    }

    async fn survey(&self, sql: &str) -> Result<Vec<Row>, StoreError> {
        let mut connection = self.options.connect().await.map_err(Sqlite::understand)?;
        within(LONG, Sqlite::fetch(&mut connection, sql, Vec::new())).await
    }

    fn migrations(&self) -> &'static [Step] {
        STEPS
    }

    fn tables(&self) -> &'static str {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    }

    fn is_ours_alone(&self) -> bool {
        true
    }

    fn damage(&self) -> Option<&'static str> {
        Some("PRAGMA integrity_check")
    }

    async fn woken(&self) {
        std::future::pending::<()>().await;
    }

    /// Under another name until it is complete. SQLite takes an existing file only when that is empty: so it is made
    /// here, with the mode it shall have.
    async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        self.is_the_same()?;
        let no_path = || StoreError::new(Fault::Unreachable, format!("{}: is no path in UTF-8", path.display()));
        let path = absolute(path).ok_or_else(no_path)?;
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io(&path, &io::ErrorKind::AlreadyExists.into()));
        }
        let mut draft = path.clone().into_os_string();
        draft.push(".partial");
        let draft = PathBuf::from(draft);
        let text = draft.to_str().unwrap_or_default().to_owned();
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::new(
                Fault::Conflict,
                format!("{}: was left by a copy that did not end; remove it unless one is made now", draft.display()),
            ),
            _ => io(&draft, &error),
        })?;
        let copy = async {
            let mut connection = self.options.connect().await.map_err(Sqlite::understand)?;
            Sqlite::execute(&mut connection, "VACUUM INTO $1", vec![text.into()]).await?;
            connection.close().await.map_err(Sqlite::understand)
        };
        let copied = within(LONG, copy).await;
        let copied = copied.and_then(|()| publish(&file, &draft, &path).map_err(|error| io(&path, &error)));
        if copied.is_err() {
            // What went wrong before is more than that this fails, too.
            drop(fs::remove_file(&draft));
        }
        copied
    }

    async fn close(&self) {
        let both = async {
            self.readers.close().await;
            self.writer.close().await;
        };
        // Whoever still works on a connection may finish, but is not waited for without end.
        drop(tokio::time::timeout(TURN, both).await);
    }
}

impl Dialect for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const ALONE: &'static [&'static str] = &[];
    const NOTIFY: Option<&'static str> = None;
    /// Longer than a writer of another process may be waited for.
    const STATEMENT: Duration = Duration::from_secs(8);
    const BUSY: Fault = Fault::Locked;

    async fn fetch(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let rows = bound(sql, values).fetch_all(connection).await.map_err(Self::understand)?;
        rows.iter().map(columns).collect()
    }

    async fn execute(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        bound(sql, values).execute(connection).await.map(|done| done.rows_affected()).map_err(Self::understand)
    }

    fn understand(error: sqlx::Error) -> StoreError {
        let sqlx::Error::Database(error) = error else { return super::understand(&error) };
        // The extended code; its lowest byte is the primary one. See sqlite.org/rescode.html.
        let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
        let fault = match (code & 0xff, code) {
            (5 | 6, _) => Fault::Locked,
            (3 | 8 | 23, _) => Fault::ReadOnly,
            // The second: the index of the log of changes cannot grow, which needs room like the log itself.
            (13, _) | (_, 4874) => Fault::Full,
            // Foreign key, primary key, trigger, unique, rowid.
            (_, 787 | 1555 | 1811 | 2067 | 2579) => Fault::Conflict,
            (4 | 7 | 9 | 10 | 14, _) => Fault::Unreachable,
            _ => Fault::Corrupt,
        };
        StoreError::new(fault, format!("{} ({code})", error.message()))
    }
}

fn bound(sql: &str, values: Vec<Value>) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    // Texts of statements are put together from pieces that stand in this program; values come as parameters.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        };
    }
    query
}

fn columns(row: &SqliteRow) -> Result<Row, StoreError> {
    let mut columns = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let raw = row.try_get_raw(index).map_err(Sqlite::understand)?;
        let kind = if raw.is_null() { None } else { Some(raw.type_info()) };
        let value = match kind.as_ref().map(|kind| kind.name()) {
            None => Ok(Value::Int(None)),
            Some("INTEGER" | "BOOLEAN") => row.try_get_unchecked(index).map(Value::Int),
            Some("TEXT") => row.try_get_unchecked(index).map(Value::Text),
            Some("BLOB") => row.try_get_unchecked(index).map(Value::Bytes),
            Some(_) => return Err(StoreError::corrupt("a column is of an unknown kind")),
        };
        columns.push(value.map_err(Sqlite::understand)?);
    }
    Ok(Row::new(columns))
}

/// The path as SQLite shall see it: one that begins with `file:` would be taken for a URL. None: it takes no such path.
pub(in crate::store) fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok().filter(|path| path.to_str().is_some_and(|text| !text.contains('\0')))
}

/// Makes the file before SQLite would make it with another mode; `-wal` and `-shm` take the mode of the file.
fn make(path: &Path) -> Result<(u64, u64), OpenError> {
    let directory = path.parent().unwrap_or(path).display();
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => find(path),
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists => find(path),
            io::ErrorKind::NotFound => {
                Err(OpenError::Wrong(format!("the store cannot be made: there is no directory {directory}")))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(self::io(path, &error).into()),
            kind => Err(OpenError::Wrong(format!("the store cannot be made in {directory}: {kind}"))),
        },
    }
}

fn find(path: &Path) -> Result<(u64, u64), OpenError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok((meta.dev(), meta.ino())),
        Ok(_) => Err(OpenError::Wrong(format!("{} is no file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::Wrong(format!(
            "there is no store at {}: the first start makes one, and so does `portcullis store migrate`",
            path.display()
        ))),
        Err(error) => Err(OpenError::Wrong(format!("{}: {}", path.display(), error.kind()))),
    }
}

/// Finds out whether this is a database at all, and makes it use write-ahead logging, which then stays with the file.
/// Going over to that needs the file for oneself, and SQLite does not wait for it by itself.
async fn first_contact(path: &Path, options: &SqliteConnectOptions, opening: Opening) -> Result<(), OpenError> {
    let sql = match opening {
        Opening::Create => "PRAGMA journal_mode = WAL",
        Opening::Existing => "PRAGMA schema_version",
    };
    let again_and_again = async {
        let mut pause = Duration::from_millis(2);
        loop {
            match once(options, sql).await {
                Err(StoreError { fault: Fault::Locked, .. }) => tokio::time::sleep(pause).await,
                answer => return answer,
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    };
    let mut answer = match within(TURN, again_and_again).await {
        Err(error) if error.fault == Fault::Corrupt => {
            let path = path.display();
            return Err(OpenError::Wrong(format!("{path} is no database of SQLite, or damaged: {}", error.text)));
        }
        answer => answer?,
    };
    if opening == Opening::Create && answer.text()? != "wal" {
        return Err(OpenError::Wrong(format!("{}: its file system allows no write-ahead logging", path.display())));
    }
    Ok(())
}

async fn once(options: &SqliteConnectOptions, sql: &'static str) -> Result<Row, StoreError> {
    let mut connection = options.connect().await.map_err(Sqlite::understand)?;
    let mut rows = Sqlite::fetch(&mut connection, sql, Vec::new()).await?;
    connection.close().await.map_err(Sqlite::understand)?;
    rows.pop().ok_or_else(|| StoreError::corrupt("no answer to a pragma"))
}

/// Makes a file last, then its final name.
fn publish(file: &fs::File, draft: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(draft, path)?;
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn io(path: &Path, error: &io::Error) -> StoreError {
    let fault = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly,
        io::ErrorKind::AlreadyExists => Fault::Conflict,
        _ => Fault::Unreachable,
    };
    let text = match error.kind() {
        io::ErrorKind::AlreadyExists => "is there already".to_owned(),
        io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        kind => kind.to_string(),
    };
    StoreError::new(fault, format!("{}: {text}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn file_in(directory: &tempfile::TempDir) -> File {
        let file = File::open(&directory.path().join("a.db"), Opening::Create).await.unwrap();
        let mut transaction = file.begin().await.unwrap();
        transaction.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT UNIQUE)", Vec::new()).await.unwrap();
        transaction.commit().await.unwrap();
        file
    }

    async fn insert(file: &File, text: &str) -> Result<(), StoreError> {
        let mut transaction = file.begin().await?;
        transaction.execute("INSERT INTO t (text) VALUES ($1)", vec![text.into()]).await?;
        transaction.commit().await
    }

    async fn count(file: &File) -> i64 {
        file.fetch("SELECT count(*) FROM t", Vec::new()).await.unwrap()[0].int().unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_and_reads_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(&directory).await;
        // A limit of the one writing connection stands for the disk's end.
        let mut transaction = file.begin().await.unwrap();
        transaction.fetch("PRAGMA max_page_count = 8", Vec::new()).await.unwrap();
        transaction.commit().await.unwrap();
        let error = insert(&file, &"x".repeat(100_000)).await.unwrap_err();
        assert_eq!(error.fault, Fault::Full, "{error}");
        assert_eq!(count(&file).await, 0);
        insert(&file, "small").await.unwrap();
        assert_eq!(count(&file).await, 1);
    }

    #[tokio::test]
    async fn what_is_called_a_read_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(&directory).await;
        let error = file.fetch("DELETE FROM t RETURNING id", Vec::new()).await.unwrap_err();
        assert_eq!(error.fault, Fault::ReadOnly, "{error}");
    }

    #[tokio::test]
    async fn nothing_of_a_transaction_with_a_failure_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(&directory).await;
        insert(&file, "a").await.unwrap();
        let mut transaction = file.begin().await.unwrap();
        transaction.execute("INSERT INTO t (text) VALUES ('b')", Vec::new()).await.unwrap();
        let error = transaction.execute("INSERT INTO t (text) VALUES ('a')", Vec::new()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Conflict, "{error}");
        assert!(!error.text.contains("'a'"), "{error}");
        assert_eq!(transaction.execute("DELETE FROM t", Vec::new()).await.unwrap_err(), error);
        assert_eq!(transaction.commit().await.unwrap_err(), error);
        assert_eq!(count(&file).await, 1);
        insert(&file, "b").await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_that_was_let_go_leaves_the_place_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(&directory).await;
        for _ in 0..3 {
            let mut transaction = file.begin().await.unwrap();
            transaction.execute("INSERT INTO t (text) VALUES ('gone')", Vec::new()).await.unwrap();
        }
        insert(&file, "a").await.unwrap();
        assert_eq!(count(&file).await, 1);
    }

    #[tokio::test]
    async fn a_revocation_that_was_answered_is_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let file = file_in(&directory).await;
        let mut transaction = file.begin().await.unwrap();
        for (pragma, expected) in [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)] {
            assert_eq!(transaction.fetch(pragma, Vec::new()).await.unwrap()[0].int().unwrap(), expected, "{pragma}");
        }
        let mode = file.fetch("PRAGMA journal_mode", Vec::new()).await.unwrap()[0].text().unwrap();
        assert_eq!(mode, "wal");
    }
}
