//! HAProxy in front, as Debian ships it: the headers that a real proxy sends.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::House;
use crate::support::caller::Caller;
use crate::support::eventually;

/// An HAProxy that passes on bytes, and ends with this.
struct HaProxy {
    process: Child,
    at: SocketAddr,
    _directory: TempDir,
}

impl HaProxy {
    /// Passes what it accepts on to `server`, with these options of its `server` line.
    #[track_caller]
    fn before(server: SocketAddr, options: &str) -> Self {
        eventually("HAProxy listens", || Self::try_before(server, options))
    }

    /// None: somebody else took the port in the meantime.
    fn try_before(server: SocketAddr, options: &str) -> Option<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = free.local_addr().expect("an address");
        drop(free);
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 100\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
             listen portcullis\n  bind {at}\n  server portcullis {server} {options}\n"
        );
        fs::write(&file, text).expect("a file");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("HAProxy: scripts/setup installs it");
        let mut proxy = Self { process, at, _directory: directory };
        eventually("HAProxy listens or ends", || {
            let ended = proxy.process.try_wait().expect("its state").is_some();
            let listens = std::net::TcpStream::connect(at).is_ok();
            (ended || listens).then_some(listens && !ended)
        })
        .then_some(proxy)
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn the_headers_of_haproxy_are_understood_in_both_versions() {
    let listener = "{ address = \"127.0.0.1:0\", proxy_protocol = true }";
    let house = House::with(listener, "trusted_proxies = [\"127.0.0.1\"]");
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2 check inter 100 check-send-proxy",
        "send-proxy check inter 100",
    ] {
        let proxy = HaProxy::before(house.gateway.addr(), options);
        let client = Caller::new(proxy.at).from("127.0.0.5");
        let mut connection = client.connect();
        for _ in 0..2 {
            let reply = client.get("/public/x").send_on(&mut connection).ok();
            let line = house.gateway.line_of(&reply);
            assert_eq!((&line["peer_ip"], &line["client_ip"]), (&"127.0.0.5".into(), &"127.0.0.5".into()), "{options}");
        }
        // What it sends to see whether the gateway lives is understood as well: it goes on sending connections.
        std::thread::sleep(std::time::Duration::from_millis(350)); // three checks, at its pace
        client.get("/public/x").send().ok();
    }
    assert!(house.turned_away("proxy_header") < 1.0);
}

#[test]
fn haproxy_without_headers_is_refused_where_they_are_demanded() {
    let listener = "{ address = \"127.0.0.1:0\", proxy_protocol = true }";
    let house = House::with(listener, "trusted_proxies = [\"127.0.0.1\"]");
    let proxy = HaProxy::before(house.gateway.addr(), "");
    let caller = Caller::new(proxy.at);
    assert_eq!(caller.try_send_raw(caller.get("/public/x").bytes()), None);
    house.becomes_turned_away("proxy_header", 1);
    house.upstream.assert_untouched();
}
