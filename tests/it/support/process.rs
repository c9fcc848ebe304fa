//! The binary itself, as a process: commands that end, and a gateway that serves until it is told to stop.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use tempfile::TempDir;

use super::caller::{Call, Caller, Reply};
use super::eventually;
use super::log::Log;

/// The binary that was built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// A command in the making; of the environment it is given only what it is told.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    input: Vec<u8>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn new<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments).env_clear();
        Self { command, input: Vec::new() }
    }

    /// In a world of its own in which a small disk, which ends with the process, lies over the directory `path`, with what
    /// is in there. `options` as for `mount`: `size=2m`, say. See [`small_disks`].
    pub(crate) fn small_disk(mut self, path: &Path, options: &str) -> Self {
        let script = r#"mkdir "$2.disk" && mount -t tmpfs -o "$1" none "$2.disk" &&
            if [ -n "$(ls -A "$2")" ]; then cp -a "$2"/. "$2.disk"/; fi &&
            mount --bind "$2.disk" "$2" && shift 2 && exec "$@""#;
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["-rm", "sh", "-c", script, "sh", options]).arg(path).arg(self.command.get_program());
        command.args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = command;
        self
    }

    /// With so many descriptors at most.
    pub(crate) fn descriptors(mut self, most: u32) -> Self {
        let mut command = Command::new("sh");
        command.env_clear().args(["-c", &format!("ulimit -n {most} && exec \"$@\""), "sh"]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = command;
        self
    }

    /// As the user `nobody`, in no group, with these capabilities (`-all,+net_bind_service`) and no others. See
    /// [`can_be_nobody`].
    pub(crate) fn for_nobody(mut self, capabilities: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities]);
        command.arg("--").arg(self.command.get_program()).args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = command;
        self
    }

    /// With the configuration at `path`; where that is a directory, the store is in it.
    pub(crate) fn config(mut self, path: &Path) -> Self {
        self.command.arg("--config").arg(path);
        if path.is_dir() {
            self.command.env("STATE_DIRECTORY", path);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn envs(mut self, env: &HashMap<String, String>) -> Self {
        self.command.envs(env);
        self
    }

    /// What is on its standard input.
    pub(crate) fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = text.into();
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let input = self.input.clone();
        let mut process = self.spawn(Stdio::piped());
        // Whoever does not read to the end has read enough.
        drop(process.child.stdin.take().map(|mut stdin| stdin.write_all(&input)));
        let code = process.wait();
        process.read_rest();
        Ended { code, out: process.out.text(), err: process.err.text() }
    }

    /// Starts it and lets it run.
    #[track_caller]
    pub(crate) fn start(self) -> Process {
        self.spawn(Stdio::null())
    }

    /// Starts it, gives it its input and lets it run; the input does not end before the process does.
    #[track_caller]
    pub(crate) fn start_fed(self) -> Process {
        let input = self.input.clone();
        let mut process = self.spawn(Stdio::piped());
        let mut stdin = process.child.stdin.take().expect("piped");
        let (open, closed) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            // Whoever is killed does not read to the end.
            drop(stdin.write_all(&input));
            closed.recv().ok(); // nobody sends: it ends when the process is dropped
        });
        process.input = Some(open);
        process
    }

    #[track_caller]
    fn spawn(mut self, stdin: Stdio) -> Process {
        let spawned = self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{BINARY}: {e}"));
        let (out, err) = (Log::default(), Log::default());
        let readers = [
            copy(child.stdout.take().expect("piped"), out.clone()),
            copy(child.stderr.take().expect("piped"), err.clone()),
        ];
        Process { child, out, err, input: None, readers: readers.into() }
    }
}

/// Whether this machine has a program, out of this package of Debian. Where it has not, it says that a check is left out.
pub(crate) fn installed(program: &str, package: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} is not installed (Debian: {package}); what it would check is not checked");
    }
    there
}

/// The user that owns nothing.
const NOBODY: &str = "65534";

/// Makes `nobody` the owner of a directory and of all that is in it; false where this machine does not let us.
pub(crate) fn can_be_nobody(directory: &Path) -> bool {
    let owner = format!("{NOBODY}:{NOBODY}");
    let given = Command::new("chown").args(["-R", &owner]).arg(directory).stderr(Stdio::null()).status();
    if !given.is_ok_and(|status| status.success()) {
        return false;
    }
    let tried = Run::new(["--version"]).for_nobody("-all,+net_bind_service").end();
    tried.code == 0
}

/// Whether this machine lets us have small disks.
pub(crate) fn small_disks() -> bool {
    let place = TempDir::new().expect("a directory");
    let mut probe = Command::new("unshare");
    probe.args(["-rm", "mount", "-t", "tmpfs", "none"]).arg(place.path()).stderr(Stdio::null());
    let ended = probe.status();
    ended.is_ok_and(|status| status.success())
}

fn copy(mut from: impl Read + Send + 'static, mut to: Log) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).expect("a pipe can be read");
    })
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Standard output so far.
    pub(crate) out: Log,
    /// Standard error so far.
    pub(crate) err: Log,
    /// As long as this is there, its input does not end.
    input: Option<mpsc::Sender<()>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Waits for its end, and returns its exit code; the negative number of the signal that ended it.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = eventually("the process ends", || self.child.try_wait().expect("a process of ours"));
        status.code().unwrap_or_else(|| -status.signal().expect("a signal"))
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in its tracks; `CONT` lets it go on.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        eventually("it has stopped", || {
            let state = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it is there");
            state.contains("State:\tT").then_some(())
        });
    }

    /// A line of `/proc/PID/status`, in its own unit: `Threads`, `VmRSS`.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a line");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// Whether it has not ended yet.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a process of ours").is_none()
    }

    /// Sends a signal: `TERM`, say.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill can be run").success(), "{name} was not sent");
    }

    /// Ends it as a crash would: it gets no chance to finish anything.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        assert!(self.runs(), "it ended before it was killed: {}", self.err.text());
        self.child.kill().expect("a process of ours");
        assert_eq!(self.wait(), -9, "killed");
    }

    /// Waits until everything it has written is read; it must have ended.
    fn read_rest(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader ran");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A gateway that runs as a process of its own.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    directory: TempDir,
}

impl Served {
    /// Starts `portcullis serve` with this configuration, whose log is in JSON, and waits until it serves.
    #[track_caller]
    pub(crate) fn start(directory: TempDir, env: &HashMap<String, String>) -> Self {
        let process = Run::new(["serve"]).config(directory.path()).envs(env).start();
        Self::of(process, directory)
    }

    /// Waits until `process` serves.
    #[track_caller]
    pub(crate) fn of(process: Process, directory: TempDir) -> Self {
        let (addrs, admin) = places(&process);
        let served = Self { process, addrs, admin, directory };
        served.until_ready();
        served
    }

    /// Crashes it, and starts it again with the same files.
    #[track_caller]
    pub(crate) fn crash_and_restart(mut self, env: &HashMap<String, String>) -> Self {
        self.process.kill();
        Self::start(self.directory, env)
    }

    /// Starts it again after its end, on the same files; it listens elsewhere then.
    #[track_caller]
    pub(crate) fn start_again(&mut self, env: &HashMap<String, String>) {
        assert!(!self.process.runs(), "it has not ended");
        self.process = Run::new(["serve"]).config(self.directory.path()).envs(env).start();
        (self.addrs, self.admin) = places(&self.process);
        self.until_ready();
    }

    /// Starts a process on the same files that is to take the place of this one, and waits until it waits.
    #[track_caller]
    pub(crate) fn successor(&self, env: &HashMap<String, String>) -> Process {
        let process = Run::new(["serve", "--upgrade"]).config(self.directory()).envs(env).start();
        process.err.line_where("waiting", |line| message(line).starts_with("waiting for the sockets"));
        process
    }

    /// Hands over to `successor`: this one has ended then, and that one serves.
    #[track_caller]
    pub(crate) fn hand_over_to(mut self, successor: Process) -> Self {
        self.process.signal("QUIT");
        assert_eq!(self.process.wait(), 0, "{}", self.process.err.text());
        self.succeeded_by(successor)
    }

    /// It has ended, and `successor` serves.
    #[track_caller]
    pub(crate) fn succeeded_by(mut self, successor: Process) -> Self {
        assert!(!self.process.runs(), "it has not ended");
        Self::of(successor, self.directory)
    }

    fn until_ready(&self) {
        eventually("the gateway is ready", || (self.admin_get("/readyz").status == 200).then_some(()));
    }

    /// A caller of the first listener.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.addrs[0])
    }

    /// A GET request to the first listener.
    pub(crate) fn get(&self, target: &str) -> Call {
        self.caller().get(target)
    }

    /// The answer of the admin listener.
    #[track_caller]
    pub(crate) fn admin_get(&self, path: &str) -> Reply {
        Caller::new(self.admin).host(&self.admin.to_string()).get(path).send()
    }

    /// The value of the only sample that begins with this.
    #[track_caller]
    pub(crate) fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.admin_get("/metrics").is(200).text();
        let line = text.lines().find(|line| line.starts_with(sample))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The directory of the configuration.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it, and gives the directory back.
    pub(crate) fn into_directory(self) -> TempDir {
        self.directory
    }

    /// The first line of the operational log with this message; waits for it.
    pub(crate) fn says(&self, message: &str) -> Value {
        self.process.err.line_where(message, |line| line["message"].as_str().is_some_and(|m| m.contains(message)))
    }
}

/// An address; none of a Unix socket.
fn address(text: &str) -> Option<SocketAddr> {
    (!text.starts_with("unix:")).then(|| text.parse().expect("an address"))
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// Where a gateway says that it listens: for requests, and for administration.
#[track_caller]
fn places(process: &Process) -> (Vec<SocketAddr>, SocketAddr) {
    let line = process.err.line_where("serving", |line| line["message"] == "serving");
    let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
    let addrs = text("listen").trim_matches(['[', ']']).split(", ").filter_map(address).collect();
    (addrs, address(&text("admin")).unwrap_or_else(|| (std::net::Ipv4Addr::UNSPECIFIED, 0).into()))
}
