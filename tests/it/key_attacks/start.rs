//! F-28: what is missing or wrong at the start is told in one line that says what to do, with an exit code that tells a
//! supervisor whether another try makes sense: 1 = it may work later, 2 = somebody has to act.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::support::gateway::{Builder, Gateway};
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::process::{Ended, Run, Served, small_disks};
use crate::support::realms::{HOUSE_SECRET, Standard};
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

/// A configuration that would serve.
struct Ground {
    directory: TempDir,
    env: HashMap<String, String>,
    standard: Standard,
    _upstream: Upstream,
}

impl Ground {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        let (standard, upstream) = (Standard::new(), Upstream::start());
        let directory = more(Gateway::builder().standard(&standard).upstream(&upstream)).write();
        let env = HashMap::from([(HOUSE_SECRET.to_owned(), standard.secret())]);
        Self { directory, env, standard, _upstream: upstream }
    }

    fn at(url: &str) -> Self {
        let mut ground = Self::with(|builder| builder.database(url));
        for (name, value) in [
            ("STORE_URL", url),
            ("STORE_PEPPER", "a pepper of the tests, 32 bytes or more"),
            ("STORE_SEAL_KEY", "a seal key of the tests, 32 bytes too"),
        ] {
            ground.env.insert(name.to_owned(), value.to_owned());
        }
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self) -> Run {
        Run::new(["serve"]).config(self.directory.path()).envs(&self.env)
    }

    /// Fails to start, and says why in one line, which holds all of these words.
    #[track_caller]
    fn refuses(&self, code: i32, words: &[&str]) {
        refused(&self.run().end(), code, words);
    }

    /// Starts once and ends, so that there is a store.
    #[track_caller]
    fn start_once(self) -> Self {
        let Self { directory, env, standard, _upstream } = self;
        let process = Run::new(["serve"]).config(directory.path()).envs(&env).start();
        let mut served = Served::of(process, directory);
        served.process.signal("TERM");
        assert_eq!(served.process.wait(), 0);
        Self { directory: served.into_directory(), env, standard, _upstream }
    }
}

#[track_caller]
fn refused(ended: &Ended, code: i32, words: &[&str]) {
    // What `check` would warn of as well, in the form of the log, is another matter.
    let lines: Vec<_> = ended.err.lines().filter(|line| !line.contains("looks like hex")).collect();
    assert_eq!((ended.code, lines.len(), ended.out.as_str()), (code, 1, ""), "{ended:?}");
    assert!(lines[0].starts_with("portcullis: store: "), "{ended:?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not said: {ended:?}");
    }
    for word in [PASSWORD, "panicked", "a pepper of the tests", "a seal key of the tests"] {
        assert!(!lines[0].contains(word), "{word:?} is said: {ended:?}");
    }
}

async fn database(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.expect("SQLite");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("a statement");
    connection.close().await.expect("SQLite");
}

#[test]
fn f28_a_directory_that_is_not_there_is_named() {
    let mut ground = Ground::new();
    let missing = ground.path("not/there");
    ground.env.insert("STATE_DIRECTORY".to_owned(), missing.to_str().expect("UTF-8").to_owned());
    ground.refuses(2, &["no directory", "not/there"]);
    assert!(!missing.exists());
}

#[test]
fn f28_a_file_that_is_no_store_is_named_and_left_as_it_is() {
    let ground = Ground::new();
    let file = ground.path("portcullis.db");
    for content in [
        b"Not a database, but a letter to somebody.\n".repeat(200),
        vec![0; 8192],
        b"SQLite format 3\0rubbish".repeat(300),
    ] {
        fs::write(&file, &content).expect("a file");
        ground.refuses(2, &["portcullis.db", "no database"]);
        assert_eq!(fs::read(&file).expect("a file"), content);
        assert!(!ground.path("portcullis.db.pepper").exists());
    }
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("a directory");
    ground.refuses(2, &["portcullis.db", "no file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_a_database_of_another_program_is_named_and_left_as_it_is() {
    let ground = Ground::new();
    database(&ground.path("portcullis.db"), "CREATE TABLE invoices (id INTEGER)").await;
    ground.refuses(2, &["another program", "invoices"]);
    assert!(!ground.path("portcullis.db.pepper").exists());
    // One of ours that a later version has made.
    let ground = Ground::new().start_once();
    database(
        &ground.path("portcullis.db"),
        "INSERT INTO portcullis_schema (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', TRUE, x'00', 0)",
    )
    .await;
    ground.refuses(2, &["newer version", "99"]);
}

#[test]
fn f28_a_secret_that_is_missing_or_another_one_is_named() {
    let ground = Ground::new().start_once();
    for secret in ["pepper", "seal"] {
        let (file, away) = (ground.path(&format!("portcullis.db.{secret}")), ground.path("away"));
        fs::rename(&file, &away).expect("moved");
        ground.refuses(2, &[&format!("portcullis.db.{secret}"), "missing", "backup"]);
        assert!(!file.exists(), "another one was made");
        fs::copy(&away, &file).expect("a copy");
        fs::write(&file, "0123456789abcdef".repeat(4)).expect("a file");
        ground.refuses(2, &[&format!("portcullis.db.{secret}"), "does not fit"]);
        fs::write(&file, "rubbish").expect("a file");
        ground.refuses(2, &[&format!("portcullis.db.{secret}"), "64 hexadecimal digits"]);
        fs::rename(&away, &file).expect("moved");
    }
    let mut permissions = fs::metadata(ground.path("portcullis.db.pepper")).expect("a file").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(ground.path("portcullis.db.pepper"), permissions).expect("a mode");
    ground.refuses(2, &["portcullis.db.pepper", "chmod 600"]);
}

#[test]
fn f28_a_file_system_that_may_not_be_written_is_told() {
    if !small_disks() {
        println!("left out: nobody may mount a file system here");
        return;
    }
    let mut ground = Ground::new();
    let state = ground.path("state");
    fs::create_dir(&state).expect("a directory");
    ground.env.insert("STATE_DIRECTORY".to_owned(), state.to_str().expect("UTF-8").to_owned());
    let ended = ground.run().small_disk(&state, "ro").end();
    refused(&ended, 2, &["state", "read-only"]);
}

#[test]
fn f28_a_database_that_is_not_there_may_come_and_one_that_refuses_us_will_not_change() {
    // Nobody listens.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    Ground::at(&format!("postgres://portcullis:{PASSWORD}@127.0.0.1:{port}/x")).refuses(1, &["out of reach"]);
    // Somebody listens, and says nothing.
    let server = Postgres::shared();
    let wire = Wire::to(([127, 0, 0, 1], server.port()).into());
    wire.hold();
    let url = server.new_database();
    let through = url.replace(&format!(":{}/", server.port()), &format!(":{}/", wire.addr().port()));
    let watch = portcullis::clock::Stopwatch::start();
    Ground::at(&through).refuses(1, &["out of reach", "no answer"]);
    assert!(watch.elapsed() < std::time::Duration::from_secs(8), "{:?}", watch.elapsed());
    // It is there, and another database, user or password is meant.
    Ground::at(&server.url("not_there")).refuses(2, &["not_there"]);
    Ground::at(&url.replace(PASSWORD, "wrong")).refuses(2, &["password"]);
    Ground::at(&url.replace("portcullis:", "nobody:")).refuses(2, &["nobody"]);
}

#[test]
fn f28_another_pepper_than_the_database_was_made_with_does_not_make_every_key_unknown() {
    let url = Postgres::shared().new_database();
    let mut ground = Ground::at(&url).start_once();
    for name in ["STORE_PEPPER", "STORE_SEAL_KEY"] {
        let right = ground.env.insert(name.to_owned(), "another secret of the tests, 32 bytes".to_owned());
        ground.refuses(2, &["does not fit"]);
        ground.env.insert(name.to_owned(), right.expect("there was one"));
    }
    let short = ground.env.insert("STORE_PEPPER".to_owned(), "short".to_owned()).expect("there was one");
    let ended = ground.run().end();
    assert!(ended.code == 2 && ended.err.contains("store.pepper"), "{ended:?}");
    ground.env.insert("STORE_PEPPER".to_owned(), short);
    drop(ground.start_once().standard);
}
