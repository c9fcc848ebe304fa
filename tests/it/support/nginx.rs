//! nginx of Debian as a process of its own: a server and a proxy that others have written.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// A running nginx: one process, one directory, one port.
pub(crate) struct Nginx {
    directory: TempDir,
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// With this inside of `http`; `{address}` stands for where it shall listen.
    pub(crate) fn start(http: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let (directory, address) = (TempDir::new().expect("a directory"), free.expect("a free port"));
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {}/{name};\n", directory.path().display()))
            .collect();
        let http = http.replace("{address}", &address.to_string());
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\nevents {{ worker_connections 512; }}\n\
             http {{\naccess_log off; {temp}\nclient_max_body_size 0;\n{http}\n}}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), config).expect("a file");
        let process = run(&directory);
        let nginx = Self { directory, address, process };
        nginx.wait();
        nginx
    }

    fn wait(&self) {
        eventually("nginx listens", || TcpStream::connect(self.address).ok().map(drop));
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    pub(crate) fn again(&mut self) {
        self.process = run(&self.directory);
        self.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn run(directory: &TempDir) -> Child {
    let path = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let binary =
        path.iter().find(|path| std::path::Path::new(path).exists()).expect("nginx; scripts/setup installs it");
    let mut command = Command::new(binary);
    command.arg("-p").arg(directory.path()).arg("-c").arg(directory.path().join("nginx.conf"));
    command.args(["-e", "stderr"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().unwrap_or_else(|e| panic!("{binary}: {e}"))
}
