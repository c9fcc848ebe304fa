//! Telling whoever supervises the process how far it is, as systemd understands it (`Type=notify`, sd_notify(3)): a unit
//! counts as started when it serves, and after a hand-over the successor counts as its main process.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where it wants to be told; none = nobody asked.
#[derive(Clone, Debug)]
pub(super) struct Supervisor(Option<String>);

impl Supervisor {
    /// `socket` as systemd puts it into `NOTIFY_SOCKET`: a path, or a name after `@`.
    pub(super) fn new(socket: Option<String>) -> Self {
        Self(socket.filter(|socket| !socket.is_empty()))
    }

    /// This process serves.
    pub(super) fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}\n", std::process::id()));
    }

    /// This process ends, and nobody takes its place.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    fn tell(&self, text: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = send(socket, text) {
            tracing::warn!(%error, socket, "the supervisor cannot be told (NOTIFY_SOCKET)");
        }
    }
}

fn send(socket: &str, text: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_supervisor_is_told_by_path_or_by_name_and_may_be_absent() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let name = format!("portcullis-test-{}", path.display());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let heard = |socket: &UnixDatagram| {
            let mut text = [0; 64];
            let count = socket.recv(&mut text).unwrap();
            String::from_utf8(text[..count].to_vec()).unwrap()
        };
        Supervisor::new(Some(path.to_str().unwrap().to_owned())).ready();
        assert_eq!(heard(&by_path), format!("READY=1\nMAINPID={}\n", std::process::id()));
        Supervisor::new(Some(format!("@{name}"))).stopping();
        assert_eq!(heard(&by_name), "STOPPING=1\n");
        Supervisor::new(None).ready();
        Supervisor::new(Some(directory.path().join("nobody").display().to_string())).stopping();
    }
}
