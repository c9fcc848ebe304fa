//! A real PostgreSQL, made for the tests and thrown away with them: Debian's binaries, a directory of its own, a port of
//! its own. It never outlives the test binary, however that ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::{eventually, within};

/// The role that owns every database here.
const ROLE: &str = "portcullis";
/// Its password: for looking whether it shows up where it must not.
pub(crate) const PASSWORD: &str = "Zx9-pg-passw0rd";

/// A server may have to go through its log first, on a machine that has other work.
const START: Duration = Duration::from_secs(60);

/// Ends the server and removes its directory as soon as its standard input ends: that is when the tests' process does.
const WATCH: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
tries=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
rm -rf "$1"
"#;

/// A server.
#[derive(Debug)]
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    durable: bool,
    server: Child,
    watcher: Child,
}

impl Postgres {
    /// The one that all tests share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(false));
        &SHARED
    }

    /// One for a test alone, that may be stopped. It does not wait for the disk.
    pub(crate) fn private() -> Self {
        Self::start(false)
    }

    /// One that waits for the disk as in production: for measurements.
    pub(crate) fn durable() -> Self {
        Self::start(true)
    }

    fn start(durable: bool) -> Self {
        let directory = TempDir::new().expect("a directory").keep();
        fs::write(directory.join("password"), PASSWORD).expect("a file");
        if let Some(account) = account() {
            // The server refuses to run as root, so the directory belongs to another account.
            run(Command::new("chown").arg("-R").arg(account).arg(&directory));
        }
        let initdb = [
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
            "--username",
            ROLE,
            "--pwfile=password",
            "--pgdata=data",
        ];
        run(command("initdb").args(initdb).current_dir(&directory));
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(&directory)
            .process_group(0) // an interrupt from the keyboard is not for it
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let (server, port) = (0..10)
            .find_map(|_| {
                let port = free_port();
                Some((serve(&directory, port, durable)?, port))
            })
            .expect("a port");
        Self { directory, port, durable, server, watcher }
    }

    /// Address of the server.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Everything that is its own on the disk.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// URL of a database of this server.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    #[track_caller]
    pub(crate) fn new_database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Runs statements in a database; returns what they answer, a line a row.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(database)];
        run(Command::new(binaries().join("psql")).args(arguments))
    }

    /// Ends it as a crash would: every connection breaks off, nothing is written any more.
    pub(crate) fn kill(&mut self) {
        run(Command::new("kill").arg("-QUIT").arg(self.server.id().to_string()));
        eventually("the server ends", || self.server.try_wait().expect("a process of ours"));
    }

    /// Stops it in its tracks: connections stay open and are not answered.
    pub(crate) fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal_all("CONT");
    }

    /// Starts it again after [`Self::kill`]: the same data, the same port.
    pub(crate) fn restart(&mut self) {
        self.server = serve(&self.directory, self.port, self.durable).expect("the port is free again");
    }

    /// The server's process and those of its connections.
    fn signal_all(&self, signal: &str) {
        let server = self.server.id();
        let mut pids = vec![server.to_string()];
        // None when it has ended meanwhile.
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        pids.extend(children.split_whitespace().map(str::to_owned));
        // Of a connection that has just ended nothing is left to signal.
        drop(Command::new("kill").arg(format!("-{signal}")).args(pids).stderr(Stdio::null()).status());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        drop(self.watcher.stdin.take());
        drop(self.watcher.wait());
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Starts a server and waits until it takes connections. None: somebody else has the port.
fn serve(directory: &Path, port: u16, durable: bool) -> Option<Child> {
    let log = directory.join("log");
    let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
    let port = port.to_string();
    let mut server = command("postgres");
    server.args(["-D", "data", "-p", &port, "-h", "127.0.0.1", "-k", "", "-c", "max_connections=200"]);
    if !durable {
        server.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
    }
    let file_too = file.try_clone().expect("a log");
    let mut server = server
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(file_too)
        .spawn()
        .expect("postgres can be run");
    let up = within(START, "PostgreSQL takes connections", || {
        if let Some(status) = server.try_wait().expect("a process of ours") {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(log.contains("Address already in use"), "PostgreSQL ended with {status}:\n{log}");
            return Some(false);
        }
        // Its last line tells how it is: ready, starting, accepting connections.
        let state = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
        state.lines().nth(7).is_some_and(|state| state.trim() == "ready").then_some(true)
    });
    up.then_some(server)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// The account under which the server runs, when the tests run as root.
fn account() -> Option<&'static str> {
    static ACCOUNT: LazyLock<Option<&str>> = LazyLock::new(|| {
        let id = |arguments: &[&str]| {
            let output = Command::new("id").args(arguments).output().expect("id can be run");
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let root = id(&["-u"]).is_some_and(|uid| uid == "0");
        root.then(|| if id(&["-u", "postgres"]).is_some() { "postgres" } else { "nobody" })
    });
    *ACCOUNT
}

/// One of the server's binaries, under the account of the server.
fn command(name: &str) -> Command {
    let binary = binaries().join(name);
    match account() {
        None => Command::new(binary),
        Some(account) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={account}")).args(["--clear-groups", "--"]).arg(binary);
            command
        }
    }
}

/// Where Debian puts them: a directory a version, none of them in the path.
fn binaries() -> &'static Path {
    static BINARIES: LazyLock<PathBuf> = LazyLock::new(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let directories = versions.map(|version| version.path().join("bin"));
        let newest = directories.filter(|bin| bin.join("postgres").exists()).max();
        newest.expect("there is no PostgreSQL in /usr/lib/postgresql: run scripts/setup")
    });
    &BINARIES
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out.trim_end().to_owned()
}
