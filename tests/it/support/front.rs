//! Proxies that others have written, as processes of their own in front of the gateway.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// A proxy that runs in the foreground, and ends with this.
pub(crate) struct Front {
    process: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Front {
    /// Starts `program` with these files, of which the last is its configuration; `{address}` (and `{port}`) stands for where
    /// it shall listen, `{directory}` for where the files are.
    pub(crate) fn start(program: &str, arguments: &[&str], files: &[(&str, &str)]) -> Self {
        eventually("the proxy listens", || {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
            let directory = TempDir::new().expect("a directory");
            let place = directory.path().display().to_string();
            let fill = |text: &str| {
                let text = text.replace("{address}", &free.to_string()).replace("{port}", &free.port().to_string());
                text.replace("{directory}", &place)
            };
            for (name, text) in files {
                fs::write(directory.path().join(name), fill(text)).expect("a file");
            }
            let mut command = Command::new(program);
            command.args(arguments.iter().map(|argument| fill(argument))).env("HOME", directory.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}; scripts/setup installs it"));
            let mut front = Self { process, address: free, _directory: directory };
            // Somebody else may have taken the port in the meantime.
            eventually("the proxy listens or ends", || {
                let ended = front.process.try_wait().expect("its state").is_some();
                let listens = TcpStream::connect(free).is_ok();
                (ended || listens).then_some(listens && !ended)
            })
            .then_some(front)
        })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
