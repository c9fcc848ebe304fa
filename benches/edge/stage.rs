//! The gateway as a process, and what is behind it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What every good request is answered.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[allow(clippy::disallowed_methods)] // a measurement is told by its environment
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// As many as the system allows, for this process and those that it starts.
pub(crate) fn many_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
}

/// An application that answers at once, on kept connections.
pub(crate) async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while matches!(stream.read_buf(&mut head).await, Ok(1..)) {
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        if stream.write_all(ANSWER).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// A running gateway; ends when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Gateway {
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let directory = TempDir::new().unwrap();
        let main = "[admin]\nlisten = { address = \"127.0.0.1:0\" }\n[store]\nurl = \"none\"\n[log]\naccess = false\n\
                    [server]\nlisten = [{ address = \"127.0.0.1:0\" }]\nidle_timeout = \"30m\"\nheader_timeout = \"10s\"\n";
        let realm = format!(
            "realm = \"bench\"\nhosts = [\"bench.test\"]\nupstream = \"http://{upstream}\"\n\
             [[routes]]\npath = \"/**\"\nauth = [\"public\"]\n"
        );
        fs::write(directory.path().join("portcullis.toml"), main).unwrap();
        fs::create_dir(directory.path().join("realms")).unwrap();
        fs::write(directory.path().join("realms/bench.toml"), realm).unwrap();
        let binary = variable("PORTCULLIS_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_portcullis").to_owned());
        let mut command = Command::new(&binary);
        command.arg("serve").arg("--config").arg(directory.path()).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{binary}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serving = lines.find(|line| line.contains("\"serving\"")).expect("it serves");
        std::thread::spawn(move || lines.for_each(drop)); // it must not wait for us
        let serving: serde_json::Value = serde_json::from_str(&serving).unwrap();
        let address = serving["listen"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
        Self { address, child, _directory: directory }
    }

    /// What it has in memory.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
