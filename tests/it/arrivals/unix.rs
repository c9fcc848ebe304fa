//! Unix sockets: their files, whom they let in, and what a peer without an address may do (attacks H-56).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use super::{CLIENT, House, listed};
use crate::support::caller::Call;
use crate::support::gateway::{Builder, Gateway};
use crate::support::process::Run;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;
use crate::support::{DEADLINE, eventually};

/// In the directory of the configuration.
const LISTENER: &str = "unix:portcullis.sock";

/// The answer's status, and all of it.
#[track_caller]
fn ask(path: &Path, bytes: impl AsRef<[u8]>) -> (u16, String) {
    let mut stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(bytes.as_ref()).expect("sent");
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
    }
    (answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

impl House {
    fn socket(&self) -> std::path::PathBuf {
        self.gateway.directory().join("portcullis.sock")
    }

    /// A call that ends its connection; no listener of the gateway has an address.
    fn closing(&self, target: &str) -> Call {
        let caller = crate::support::caller::Caller::new(([127, 0, 0, 1], 1).into());
        caller.get(target).bearer(&self.standard.alice().sign()).header("Connection", "close")
    }

    #[track_caller]
    fn status_of(&self, call: &Call) -> u16 {
        ask(&self.socket(), call.bytes()).0
    }
}

#[test]
fn requests_are_served_over_a_unix_socket() {
    let house = House::with(LISTENER, "");
    assert_eq!(house.status_of(&house.closing("/public/x")), 200);
    assert_eq!(house.upstream.last().header("X-Forwarded-For"), None);

    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "10", "-H", "Host: api.test", "--unix-socket"]).arg(house.socket());
    curl.args(["-w", "%{http_code} ", "-o", "/dev/null", "http://api.test/public/1"]);
    curl.args(["-o", "/dev/null", "http://api.test/public/2"]);
    let answer = curl.output().expect("curl");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "200 200 ", "{answer:?}");
}

#[test]
fn h56_a_peer_without_an_address_is_let_in_by_no_list_and_believed_in_nothing() {
    let house = House::with(LISTENER, "trusted_proxies = [\"0.0.0.0/0\", \"::/0\"]");
    assert_eq!(house.status_of(&house.closing("/listed/x")), 403);
    let told = house.closing("/listed/x").header("X-Forwarded-For", CLIENT);
    assert_eq!(house.status_of(&told), 403);
    house.upstream.assert_untouched();
    assert_eq!(house.status_of(&house.closing("/public/x").header("X-Forwarded-For", CLIENT)), 200);
    assert_eq!(house.upstream.last().header("X-Forwarded-For"), None);
    let line = house.gateway.log().line_where("a denial", |line| line["reason"] == "ip_denied");
    assert_eq!((&line["peer_ip"], &line["client_ip"]), (&serde_json::Value::Null, &serde_json::Value::Null));
}

#[test]
fn a_peer_on_a_unix_socket_is_a_trusted_proxy_where_that_is_said() {
    let house = House::with(LISTENER, "trusted_proxies = [\"unix\"]");
    let told = |address: &str| house.closing("/listed/x").header("X-Forwarded-For", address);
    assert_eq!(house.status_of(&told(&format!("192.0.2.9, {CLIENT}"))), 200);
    assert_eq!(house.upstream.last().header("X-Forwarded-For"), Some(&*format!("192.0.2.9, {CLIENT}")));
    assert_eq!(house.status_of(&told(&format!("{CLIENT}, 192.0.2.9"))), 403);
    assert_eq!(house.status_of(&told("unknown")), 403);
    assert_eq!(house.status_of(&house.closing("/listed/x")), 403, "it says for nobody");
    // The word trusts peers on Unix sockets, and no others.
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let gateway = Gateway::builder()
        .standard_with(&standard, &listed())
        .server_toml("trusted_proxies = [\"unix\"]")
        .upstream(&upstream)
        .start();
    let call = gateway.get("/listed/x").bearer(&standard.alice().sign()).header("X-Forwarded-For", CLIENT);
    call.send().denied("ip_denied");
}

#[test]
fn a_proxy_header_over_a_unix_socket_is_believed_where_such_peers_are_trusted() {
    let listener = format!("{{ address = \"{LISTENER}\", proxy_protocol = true }}");
    let behind =
        |house: &House, header: &str, call: &Call| ask(&house.socket(), [header.as_bytes(), &call.bytes()].concat()).0;
    let trusting = House::with(&listener, "trusted_proxies = [\"unix\"]");
    let header = |client: &str| format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n");
    assert_eq!(behind(&trusting, &header(CLIENT), &trusting.closing("/listed/x")), 200);
    assert_eq!(behind(&trusting, &header("192.0.2.9"), &trusting.closing("/listed/x")), 403);
    let told = trusting.closing("/listed/x").header("X-Forwarded-For", CLIENT);
    assert_eq!(behind(&trusting, &header("192.0.2.9"), &told), 403, "the client of the header is no proxy");
    assert_eq!(behind(&trusting, "PROXY UNKNOWN\r\n", &told), 403, "nor is one that nobody knows");
    let local = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_eq!(behind(&trusting, local, &told), 200, "the proxy itself is one");

    let others = House::with(&listener, "trusted_proxies = [\"0.0.0.0/0\"]");
    assert_eq!(behind(&others, &header(CLIENT), &others.closing("/public/x")), 0);
    others.becomes_turned_away("untrusted_peer", 1);
}

#[test]
fn the_file_has_its_mode_and_is_gone_after_an_orderly_end() {
    for (keys, mode) in [("", 0o660), (", mode = \"0600\"", 0o600), (", mode = \"666\"", 0o666)] {
        let house = House::with(&format!("{{ address = \"{LISTENER}\"{keys} }}"), "");
        let metadata = fs::metadata(house.socket()).expect("the file");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{keys}");
        assert_eq!(house.status_of(&house.closing("/public/x")), 200);
        // The engine sets it again when it starts.
        assert_eq!(fs::metadata(house.socket()).expect("the file").permissions().mode() & 0o7777, mode, "{keys}");
    }
    let mut served = builder(&Upstream::start()).listen("127.0.0.1:0").listen(LISTENER).serve();
    let socket = served.directory().join("portcullis.sock");
    assert!(socket.exists());
    served.process.signal("TERM");
    assert_eq!(served.process.wait(), 0);
    assert!(!socket.exists());
}

fn builder(upstream: &Upstream) -> Builder {
    Gateway::builder().standard(&Standard::new()).upstream(upstream)
}

const PUBLIC: &str = "GET /public/x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n";

#[test]
fn the_file_of_a_crashed_process_is_replaced_and_that_of_a_living_one_is_not() {
    let upstream = Upstream::start();
    let builder = builder(&upstream).listen("127.0.0.1:0").listen(LISTENER);
    let env = builder.environment().clone();
    let served = builder.serve();
    let socket = served.directory().join("portcullis.sock");
    assert_eq!(ask(&socket, PUBLIC).0, 200);
    let served = served.crash_and_restart(&env);
    assert_eq!(ask(&socket, PUBLIC).0, 200);

    let second = Run::new(["serve"]).config(served.directory()).envs(&env).end();
    let text = format!("server.listen[1]: cannot listen on unix:{}: ", socket.display());
    assert!(second.code == 1 && second.err.contains(&text), "{second:?}");
    assert!(second.err.contains("something listens there already: stop it, or choose another path"), "{second:?}");
    assert_eq!(ask(&socket, PUBLIC).0, 200);
}

#[test]
fn a_file_that_is_no_socket_is_not_touched() {
    let builder = builder(&Upstream::start()).listen(LISTENER);
    let directory = builder.write();
    let path = directory.path().join("portcullis.sock");
    fs::write(&path, "precious").expect("a file");
    let ended = Run::new(["serve"]).config(directory.path()).envs(builder.environment()).end();
    assert!(ended.code == 1 && ended.err.contains("there is a file that is no socket; remove it"), "{ended:?}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "precious");
}

#[test]
fn the_admin_side_is_served_over_a_unix_socket() {
    let builder = builder(&Upstream::start());
    let env = builder.environment().clone();
    let directory = builder.write();
    let file = directory.path().join("portcullis.toml");
    let text = fs::read_to_string(&file).expect("the file");
    let tcp = "[admin]\nlisten = { address = \"127.0.0.1:0\" }";
    assert!(text.contains(tcp), "{text}");
    fs::write(&file, text.replace(tcp, "[admin]\nlisten = { address = \"unix:admin.sock\", mode = \"0600\" }"))
        .expect("a file");
    let mut process = Run::new(["serve"]).config(directory.path()).envs(&env).start();
    let line = process.err.line_where("serving", |line| line["message"] == "serving");
    let socket = directory.path().join("admin.sock");
    assert_eq!(line["admin"], format!("unix:{}", socket.display()));
    let get = |path: &str| ask(&socket, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    eventually("it is ready", || (get("/readyz").0 == 200).then_some(()));
    assert!(get("/metrics").1.contains("\nportcullis_connections_open{listener=\"127.0.0.1:"));
    assert_eq!(fs::metadata(&socket).expect("the file").permissions().mode() & 0o7777, 0o600);
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    assert!(!socket.exists());
}

/// A peer on a Unix socket is not counted by its address: it has none.
#[test]
fn a_limit_for_each_address_does_not_concern_unix_sockets() {
    let house = House::with(LISTENER, "max_connections_per_address = 1");
    let _held: Vec<_> = (0..3).map(|_| UnixStream::connect(house.socket()).expect("a connection")).collect();
    house.is_open(3);
    assert_eq!(house.status_of(&house.closing("/public/x")), 200);
}
