//! A PROXY header, then TLS, then either HTTP.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use rustls::version::TLS13;

use super::calls::{Client, text};
use super::{TLS, Vouched};
use crate::support::caller::Caller;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::tls::{Secure, TlsCaller};
use crate::support::upstream::Upstream;

/// The only client that a list lets in.
const CLIENT: &str = "203.0.113.7";
const REFUSED: &str = "portcullis_connections_refused_total";

struct House {
    gateway: Gateway,
    upstream: Upstream,
    vouched: Vouched,
}

impl House {
    fn with(server: &str) -> Self {
        let (vouched, upstream) = (Vouched::new(), Upstream::start());
        let listed = format!("\n[[routes]]\npath = \"/listed/**\"\nauth = [\"public\"]\nallow_ips = [\"{CLIENT}\"]\n");
        let gateway = Gateway::builder()
            .listen(&format!("{{ address = \"127.0.0.1:0\", proxy_protocol = true, tls = {{ {TLS} }} }}"))
            .server_toml(&format!("trusted_proxies = [\"127.0.0.1\"]\n{server}"))
            .standard_with(&Standard::new(), &listed)
            .upstream(&upstream);
        Self { gateway: vouched.with_files(gateway).start(), upstream, vouched }
    }

    /// A client of HTTP/1.1 behind this header.
    fn caller(&self, header: &[u8]) -> TlsCaller {
        TlsCaller::with(self.gateway.addr(), &[&TLS13], &["http/1.1"], None).after(header)
    }

    async fn client(&self, header: &[u8]) -> Client {
        Client::secure(self.gateway.addr(), &self.vouched.authority.pem, header).await
    }

    /// A connection that is served; none where it is turned away.
    fn admitted(&self, header: &[u8]) -> Option<Secure> {
        let mut line = self.caller(header).connect("api.test").ok()?;
        let answer = line.get("api.test", "/public/x").ok()?;
        assert_eq!(answer.status, 200);
        Some(line)
    }

    #[track_caller]
    fn logged(&self, path: &str, client: &str, version: &str) {
        let line = self.gateway.log().line_where(path, |line| line["path"] == path);
        let told = ["peer_ip", "client_ip", "http_version"].map(|name| line[name].as_str().unwrap_or_default());
        assert_eq!(told, [client, client, version], "{line}");
    }
}

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let own = if client.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    format!("PROXY {family} {client} {own} 4711 443\r\n").into_bytes()
}

/// Of an IPv4 client, with the authority as an extension.
fn v2(client: &str) -> Vec<u8> {
    let client: std::net::Ipv4Addr = client.parse().expect("an address");
    let rest = [&client.octets()[..], &[192, 0, 2, 1, 0x12, 0x67, 1, 187, 2, 0, 8], b"api.test"].concat();
    let length = u8::try_from(rest.len()).expect("short");
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", &[length][..], &rest].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_client_of_the_header_is_the_client_whatever_is_spoken_behind_it() {
    let house = House::with("");
    for (version, of) in [("v1", v1 as fn(&str) -> Vec<u8>), ("v2", v2)] {
        let path = format!("/listed/{version}/1.1");
        let answer = house.caller(&of(CLIENT)).get("api.test", "api.test", &path).expect("an answer");
        assert_eq!(answer, 200, "{version}");
        house.logged(&path, CLIENT, "1.1");
        assert_eq!(house.upstream.last().header("X-Forwarded-For"), Some(CLIENT), "{version}");
        assert_eq!(house.upstream.last().header("X-Forwarded-Proto"), Some("https"), "{version}");

        let path = format!("/listed/{version}/2");
        let mut client = house.client(&of(CLIENT)).await;
        for _ in 0..2 {
            assert_eq!(client.get(&path, &[("x-forwarded-for", "192.0.2.9")]).await.expect("an answer").status, 200);
            assert_eq!(house.upstream.last().header("X-Forwarded-For"), Some(CLIENT), "{version}");
        }
        house.logged(&path, CLIENT, "2");

        house.upstream.forget();
        let other = "203.0.113.8";
        let path = format!("/listed/{version}/other/1.1");
        assert_eq!(house.caller(&of(other)).get("api.test", "api.test", &path).expect("an answer"), 403);
        house.logged(&path, other, "1.1");
        let path = format!("/listed/{version}/other/2");
        let refused = house.client(&of(other)).await.get(&path, &[]).await.expect("an answer");
        assert_eq!((refused.status, text(&refused.head, "content-type")), (403, "application/problem+json"));
        house.logged(&path, other, "2");
        house.upstream.assert_untouched();
    }
}

#[test]
fn curl_gets_through_with_either_http() {
    let house = House::with("");
    let port = house.gateway.addr().port();
    for (wanted, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut curl = Command::new("curl");
        curl.env_clear().env("PATH", "/usr/bin:/bin").args(["-sS", "--max-time", "20", "--noproxy", "*", wanted]);
        curl.args(["--haproxy-protocol", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert"]);
        curl.arg(house.gateway.directory().join("ca.pem"));
        curl.args(["--resolve", &format!("api.test:{port}:127.0.0.1"), &format!("https://api.test:{port}/public/x")]);
        let told = curl.output().expect("curl can be run");
        assert_eq!(String::from_utf8_lossy(&told.stdout), format!("200 {version}"), "{told:?}");
    }
}

#[test]
fn what_is_no_header_gets_no_handshake() {
    let house = House::with("");
    TlsCaller::new(house.gateway.addr()).connect("api.test").expect_err("TLS at once");
    // The header may not be within TLS either.
    let mut plain = Caller::new(house.gateway.addr()).connect();
    plain.write([&v1(CLIENT)[..], &v1(CLIENT), b"GET /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n"].concat());
    assert!(!String::from_utf8_lossy(&plain.read_to_end()).contains("HTTP/1.1"));
    house.gateway.metric_becomes(REFUSED, &[("why", "proxy_header")], 1.0);
    house.gateway.metric_becomes("portcullis_tls_handshakes_total", &[("result", "not_tls")], 1.0);
    house.upstream.assert_untouched();
}

#[test]
fn one_deadline_is_for_the_header_and_the_handshake_together() {
    const WITHIN: Duration = Duration::from_secs(3);
    let house = House::with("handshake_timeout = \"3s\"");
    let begun = Stopwatch::start();
    let mut late = Caller::new(house.gateway.addr()).connect();
    let mut never = Caller::new(house.gateway.addr()).connect();
    never.write(v1(CLIENT));
    // Half of the time for the header: what is left is for the handshake.
    let header = v1(CLIENT);
    late.write(&header[..20]);
    while begun.elapsed() < WITHIN * 2 / 3 {
        std::thread::sleep(Duration::from_millis(20)); // the client's pace, not a proof of anything
    }
    late.write(&header[20..]);
    late.write(b"\x16\x03\x01\x02\0\x01\0");
    for mut line in [never, late] {
        line.read_to_end();
        let waited = begun.elapsed();
        assert!(waited >= WITHIN * 9 / 10, "{waited:?}");
        // Were there two deadlines, the second would end after five thirds.
        assert!(waited < WITHIN * 8 / 5, "{waited:?}");
    }
    // Where the header took next to no time, the deadline of the handshake may be the first to be noticed.
    eventually("both are counted", || {
        let refused = house.gateway.metric(REFUSED, &[("why", "handshake_timeout")]);
        let stalled = house.gateway.metric("portcullis_tls_handshakes_total", &[("result", "timeout")]);
        (refused >= 1.0 && refused + stalled >= 2.0).then_some(())
    });
    // Who is through has other deadlines.
    let mut line = house.admitted(&v1(CLIENT)).expect("it is served");
    let begun = Stopwatch::start();
    while begun.elapsed() < WITHIN * 11 / 10 {
        std::thread::sleep(Duration::from_millis(20)); // longer than the deadline
    }
    assert_eq!(line.get("api.test", "/public/x").expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_address_has_so_many_connections_of_whatever_kind() {
    let house = House::with("max_connections_per_address = 2");
    let (one, other) = (v1("2001:db8::7"), v1(CLIENT));
    let mut first = house.client(&one).await;
    assert_eq!(first.get("/public/x", &[]).await.expect("an answer").status, 200);
    let second = house.admitted(&one).expect("there is room for two");
    let mut silent = TcpStream::connect(house.gateway.addr()).expect("a connection");
    silent.write_all(&one).expect("sent");
    house.gateway.metric_becomes(REFUSED, &[("why", "max_connections_per_address")], 1.0);
    assert!(house.admitted(&one).is_none());
    house.gateway.metric_becomes(REFUSED, &[("why", "max_connections_per_address")], 2.0);
    let _others = [(); 2].map(|()| house.admitted(&other).expect("others have their own"));
    drop(second);
    drop(eventually("a place comes free", || house.admitted(&one)));
    // One that has not shaken hands has a place, too.
    assert_eq!(first.get("/public/x", &[]).await.expect("an answer").status, 200);
    eventually("it is taken", || {
        let mut held = TcpStream::connect(house.gateway.addr()).expect("a connection");
        held.write_all(&one).expect("sent");
        let turned_away = house.admitted(&one).is_none();
        drop(held);
        turned_away.then_some(())
    });
}
