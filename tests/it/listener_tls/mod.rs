//! Listeners that speak TLS: versions, certificates by name, protocols, sessions, and clients that do not get through
//! their handshake.

mod clients;
mod hosts;
mod reload;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

use portcullis::clock::Stopwatch;
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::support::DEADLINE;
use super::support::eventually;
use super::support::gateway::{Builder, Gateway};
use super::support::process::Run;
use super::support::tls::{Authority, Pair, TlsCaller};
use super::support::upstream::{Respond, Upstream};

const HANDSHAKES: &str = "portcullis_tls_handshakes_total";

/// A realm for these hosts, in which everything is public.
fn realm(name: &str, hosts: &str) -> String {
    format!(
        "realm = \"{name}\"\nhosts = [{hosts}]\nupstream = \"http://{{upstream}}\"\n\n\
         [[routes]]\npath = \"/**\"\nauth = [\"public\"]\n"
    )
}

/// A gateway whose first listener speaks TLS with these certificates, in their order, and `more` keys.
fn gateway(upstream: &Upstream, certificates: &[&Pair], more: &str) -> Builder {
    let realm = realm("api", "\"api.test\"");
    let mut builder = Gateway::builder().realm_toml(&realm).upstream(upstream);
    let mut listed = Vec::new();
    for (number, pair) in certificates.iter().enumerate() {
        builder = builder.file(&format!("{number}.pem"), &pair.cert).file(&format!("{number}.key"), &pair.key);
        listed.push(format!("{{ cert = \"{number}.pem\", key = {{ file = \"{number}.key\" }} }}"));
    }
    let listed = listed.join(", ");
    builder.listen(&format!("{{ address = \"127.0.0.1:0\", tls = {{ certificates = [{listed}]{more} }} }}"))
}

/// A gateway for `api.test`, and the authority that vouches for it.
struct House {
    authority: Authority,
    upstream: Upstream,
    gw: Gateway,
}

impl House {
    fn with(more: &str) -> Self {
        Self::serving(more, "")
    }

    fn serving(more: &str, server: &str) -> Self {
        let (authority, upstream) = (Authority::new("the authority of listeners"), Upstream::start());
        let gw = gateway(&upstream, &[&authority.server(&["api.test"])], more).server_toml(server);
        Self { gw: gw.file("ca.pem", &authority.pem).start(), authority, upstream }
    }

    fn caller(&self) -> TlsCaller {
        TlsCaller::new(self.gw.addr())
    }

    /// The system's curl, which believes the authority.
    fn curl(&self, arguments: &[&str]) -> Output {
        let address = self.gw.addr();
        let mut command = Command::new("curl");
        command.env_clear().env("PATH", "/usr/bin:/bin").args([
            "-sS",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            "--cacert",
        ]);
        command.arg(self.gw.directory().join("ca.pem"));
        command.args(["--resolve", &format!("api.test:{}:127.0.0.1", address.port())]).args(arguments);
        command.arg(format!("https://api.test:{}/x", address.port()));
        command.output().expect("curl can be run")
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.gw.metric(HANDSHAKES, &[("listener", "127.0.0.1:0"), ("result", result)])
    }

    fn handshakes_become(&self, result: &str, count: f64) {
        self.gw.metric_becomes(HANDSHAKES, &[("listener", "127.0.0.1:0"), ("result", result)], count);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let house = House::with("");
    for (arguments, spoken) in [(["--tlsv1.2", "--tls-max", "1.2"], "1.2"), (["--tlsv1.3", "--tls-max", "1.3"], "1.3")]
    {
        let told = house.curl(&[&arguments[..], &["-o", "/dev/null", "-w", "%{http_code}"]].concat());
        assert_eq!(text(&told.stdout), "200", "{spoken}: {}", text(&told.stderr));
    }
    let seen = house.upstream.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let told = house.curl(&["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"]);
    assert_eq!(told.status.code(), Some(35), "{told:?}");
    assert!(text(&told.stderr).contains(" alert "), "it was the gateway that refused: {}", text(&told.stderr));
    house.handshakes_become("incompatible", 1.0);
    assert_eq!(house.handshakes("ok"), 2.0);
}

#[test]
fn a_listener_for_1_3_alone_refuses_1_2() {
    let house = House::with(", min_version = \"1.3\"");
    let caller = |version| TlsCaller::with(house.gw.addr(), &[version], &[], None);
    caller(&TLS12).connect("api.test").expect_err("1.2");
    assert_eq!(caller(&TLS13).connect("api.test").expect("1.3").version(), ProtocolVersion::TLSv1_3);
}

#[test]
fn only_the_cipher_suites_that_are_listed_are_spoken() {
    let house = House::with(", cipher_suites = [\"TLS_AES_128_GCM_SHA256\"]");
    let told = house.curl(&["--tls13-ciphers", "TLS_AES_256_GCM_SHA384", "--tlsv1.3"]);
    assert_eq!(told.status.code(), Some(35), "{told:?}");
    assert!(house.curl(&["--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--tlsv1.3"]).status.success());
}

#[test]
fn a_client_is_shown_the_certificate_that_has_the_name_it_asks_for_else_the_first() {
    let (authority, upstream) = (Authority::new("one"), Upstream::start());
    let first = authority.server(&["first.test"]);
    let (api, wild) = (authority.server(&["api.test", "other.test"]), authority.server(&["*.wild.test"]));
    let exact = authority.server(&["exact.wild.test"]);
    let gw = gateway(&upstream, &[&first, &api, &wild, &exact], "").start();
    let caller = TlsCaller::new(gw.addr());
    for (asked, shown) in [
        ("first.test", &first),
        ("api.test", &api),
        ("API.test", &api),
        ("other.test", &api),
        ("a.wild.test", &wild),
        ("exact.wild.test", &exact),
        ("a.b.wild.test", &first),
        ("wild.test", &first),
        ("unknown.test", &first),
        ("127.0.0.1", &first),
    ] {
        assert_eq!(caller.connect(asked).expect(asked).shown(), shown.der(), "{asked}");
    }
}

#[test]
fn the_protocol_is_settled_on_in_the_handshake_and_http_2_is_proxied() {
    let house = House::with("");
    let caller = |protocols: &[&str]| TlsCaller::with(house.gw.addr(), &[&TLS13], protocols, None);
    let settled = |protocols: &[&str]| {
        caller(protocols).connect("api.test").map(|connection| connection.protocol().map(str::to_owned))
    };
    assert_eq!(settled(&["http/1.1", "h2"]).expect("both"), Some("h2".to_owned()), "the gateway's order counts");
    assert_eq!(settled(&["http/1.1"]).expect("one"), Some("http/1.1".to_owned()));
    assert_eq!(settled(&[]).expect("none"), None);
    settled(&["spdy/3"]).expect_err("a protocol of another world");
    for (wanted, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let told = house.curl(&[wanted, "-d", "some text", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
        assert_eq!(text(&told.stdout), format!("200 {version}"), "{}", text(&told.stderr));
        let seen = house.upstream.last();
        assert_eq!((seen.body.as_slice(), seen.header("x-forwarded-proto")), (&b"some text"[..], Some("https")));
    }
    let house = House::with(", alpn = [\"http/1.1\"]");
    let told = house.curl(&["--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
    assert_eq!(text(&told.stdout), "200 1.1");
}

#[test]
fn requests_follow_one_another_on_a_connection_and_large_bodies_pass() {
    let house = House::with("");
    let body = "x".repeat(3 << 20);
    house.upstream.respond(Respond::Echo);
    let mut connection = house.caller().connect("api.test").expect("a connection");
    for round in 0..3 {
        let request =
            format!("POST /r{round} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(connection.send(request.as_bytes()).expect("an answer").status, 200);
        assert_eq!(house.upstream.last().body.len(), body.len());
    }
    assert_eq!(house.handshakes("ok"), 1.0);
}

#[test]
fn a_session_resumes_with_a_ticket_unless_there_shall_be_none() {
    for version in [&TLS12, &TLS13] {
        for (more, resumes) in [("", true), (", session_tickets = false", false)] {
            let house = House::with(more);
            let caller = TlsCaller::with(house.gw.addr(), &[version], &[], None);
            for round in 0..3 {
                let mut connection = caller.connect("api.test").expect("a connection");
                assert_eq!(connection.resumed(), resumes && round > 0, "{version:?}{more}, round {round}");
                // Tickets of TLS 1.3 come after the handshake.
                assert_eq!(connection.get("api.test", "/x").expect("an answer").status, 200);
            }
            assert!(!caller.could_hurry("api.test"), "early data could be replayed");
        }
    }
}

#[test]
fn a_plain_request_to_a_listener_with_tls_ends_the_connection_and_so_does_tls_at_a_plain_one() {
    let house = House::with("");
    let mut plain = TcpStream::connect(house.gw.addr()).expect("a connection");
    plain.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    plain.write_all(b"GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).expect("an orderly end");
    assert!(answer.starts_with(&[0x15, 3]), "an alert of TLS: {answer:?}");
    house.handshakes_become("not_tls", 1.0);
    house.upstream.assert_untouched();

    let upstream = Upstream::start();
    let gw = Gateway::builder().realm_toml(&realm("api", "\"api.test\"")).upstream(&upstream).start();
    TlsCaller::new(gw.addr()).connect("api.test").expect_err("no TLS");
    upstream.assert_untouched();
}

#[test]
fn handshakes_that_stall_hold_nobody_up_and_end_in_time() {
    let house = House::serving("", "handshake_timeout = \"2s\"");
    let address = house.gw.addr();
    // Nothing, a few bytes, and half a message, which says that more follows.
    let openings: [&[u8]; 3] = [b"", &[0x16, 3, 1], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]];
    let stalled: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            stream.write_all(openings[number % openings.len()]).expect("written");
            stream
        })
        .collect();
    let watch = Stopwatch::start();
    for _ in 0..20 {
        assert_eq!(house.caller().get("api.test", "api.test", "/x").expect("an answer"), 200);
    }
    assert!(house.handshakes("timeout") < 200.0, "those stalled all the while: {:?}", watch.elapsed());
    for mut stream in stalled {
        // The end of the connection, by whatever means.
        drop(stream.read_to_end(&mut Vec::new()));
    }
    house.handshakes_become("timeout", 200.0);
    assert!(watch.elapsed() < DEADLINE, "{:?}", watch.elapsed());
    assert_eq!(house.handshakes("ok"), 20.0);
}

#[test]
fn a_client_that_leaves_or_does_not_believe_is_counted_and_nothing_else() {
    let house = House::with("");
    drop(TcpStream::connect(house.gw.addr()).expect("a connection"));
    house.handshakes_become("closed", 1.0);
    let (address, strange) = (house.gw.addr(), Authority::new("another"));
    std::fs::write(house.gw.directory().join("ca.pem"), &strange.pem).expect("written");
    assert_eq!(house.curl(&[]).status.code(), Some(60), "curl does not believe it");
    house.handshakes_become("refused_by_client", 1.0);
    assert_eq!(TlsCaller::new(address).get("api.test", "api.test", "/x").expect("an answer"), 200);
}

#[test]
fn when_a_certificate_expires_is_in_the_metrics() {
    let (authority, upstream) = (Authority::new("one"), Upstream::start());
    let (old, new) = (authority.expired_server(&["old.test"]), authority.server(&["api.test"]));
    let gw = gateway(&upstream, &[&old, &new], "").start();
    let expiry = |label| {
        gw.metric(
            "portcullis_tls_certificate_expiry_timestamp_seconds",
            &[("listener", "127.0.0.1:0"), ("certificate", label)],
        )
    };
    assert_eq!(expiry("0.pem"), 1_577_836_800.0, "2020-01-01");
    assert!(expiry("1.pem") > expiry("0.pem"));
}

/// An admin listener that speaks TLS.
fn administered() -> (Gateway, Authority) {
    let (authority, upstream) = (Authority::new("the authority of listeners"), Upstream::start());
    let pair = authority.server(&["admin.test", "127.0.0.1"]);
    let tls = "{ certificates = [{ cert = \"admin.pem\", key = { file = \"admin.key\" } }] }";
    let gw = Gateway::builder()
        .realm_toml(&realm("api", "\"api.test\""))
        .upstream(&upstream)
        .admin_listen(&format!("{{ address = \"0.0.0.0:0\", tls = {tls} }}"))
        .file("admin.pem", &pair.cert)
        .file("admin.key", &pair.key)
        .file("ca.pem", &authority.pem)
        .start();
    (gw, authority)
}

#[test]
fn the_admin_listener_speaks_tls_and_may_then_be_anywhere() {
    let (gw, _) = administered();
    let address = SocketAddr::from(([127, 0, 0, 1], gw.admin_addr().port()));
    // One that could speak HTTP/2: the admin API does not, and says so in the handshake.
    let caller = TlsCaller::with(address, &[&TLS13], &["h2", "http/1.1"], None);
    let mut connection = caller.connect("admin.test").expect("a connection");
    assert_eq!(connection.protocol(), Some("http/1.1"));
    let metrics = connection.get("admin.test", "/metrics").expect("an answer");
    assert_eq!(metrics.status, 200);
    let counted = "portcullis_tls_handshakes_total{listener=\"0.0.0.0:0\",result=\"ok\"} 1";
    assert!(metrics.body.contains(counted), "{}", metrics.body);
    let mut plain = TcpStream::connect(address).expect("a connection");
    plain.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).expect("an orderly end");
    assert!(!text(&answer).contains("HTTP/1.1"), "{answer:?}");
}

#[test]
fn the_command_line_administers_over_tls() {
    let (gw, authority) = administered();
    let url = format!("https://127.0.0.1:{}", gw.admin_addr().port());
    let token = gw.admin().token.clone();
    let list = |ca: &std::path::Path| {
        let words = ["client", "list", "--admin", &url, "--admin-ca", ca.to_str().expect("UTF-8")];
        Run::new(words).env("PORTCULLIS_ADMIN_TOKEN", &token).end()
    };
    let ended = list(&gw.directory().join("ca.pem"));
    assert_eq!(ended.code, 0, "{ended:?}");
    drop(authority);
    gw.rewrite("strange.pem", &Authority::new("another").pem);
    let ended = list(&gw.directory().join("strange.pem"));
    assert_ne!(ended.code, 0, "{ended:?}");
}

#[test]
fn the_end_of_an_idle_connection_can_be_told_from_a_cut() {
    let house = House::serving("", "idle_timeout = \"1s\"");
    for version in [&TLS12, &TLS13] {
        let caller = TlsCaller::with(house.gw.addr(), &[version], &[], None);
        let mut connection = caller.connect("api.test").expect("a connection");
        assert_eq!(connection.get("api.test", "/x").expect("an answer").status, 200);
        assert_eq!(connection.read().expect("close_notify comes before the end"), 0);
    }
}

#[test]
fn nothing_is_waited_for_once_a_handshake_is_over() {
    // The time for the handshake is not the time of the connection.
    let house = House::serving("", "handshake_timeout = \"1s\"");
    let mut connection = house.caller().connect("api.test").expect("a connection");
    let stalled = TcpStream::connect(house.gw.addr()).expect("a connection");
    house.handshakes_become("timeout", 1.0);
    drop(stalled);
    assert_eq!(connection.get("api.test", "/x").expect("an answer").status, 200);
    eventually("both are counted", || (house.handshakes("ok") == 1.0).then_some(()));
}
