//! What is open ends with the right to it, over HTTP/2 and over TLS as it does over plain HTTP/1.1.

use std::io::{Read, Write};
use std::time::Duration;

use portcullis::clock::Stopwatch;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rustls::version::TLS13;
use serde_json::{Value, json};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::error::Error;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::calls::{Answer, Client, head, text};
use super::{TLS, Vouched};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::{Line, Scripted};
use crate::support::tls::{Authority, Pair, TlsCaller};

/// Five seconds, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(14);

const RULES: &str = r#"
[clients.billing]
certificates = ["uri:spiffe://prod/billing"]

[clients.batch]
certificates = ["uri:spiffe://prod/batch"]

[[routes]]
path = "/mtls/**"
auth = ["mtls"]
"#;

const EVENT: &[u8] = b"data: 1\n\n";

/// An application: a WebSocket that repeats what it is sent, `…/events` that come again and again, `…/quiet` of which one comes.
fn application() -> Scripted {
    Scripted::start(|line, _| {
        while let Some(head) = line.request() {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let key = head.lines().find_map(|line| {
                line.to_ascii_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim())
            });
            if let Some(key) = key {
                return repeat(line, key);
            }
            if !target.ends_with("/events") && !target.ends_with("/quiet") {
                line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            line.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            line.send("9\r\ndata: 1\n\n\r\n");
            if target.ends_with("/quiet") {
                return line.until_closed();
            }
            // Not so many that those which nobody reads yet become too much for the tests' client.
            while line.send("9\r\ndata: 1\n\n\r\n") {
                std::thread::sleep(Duration::from_millis(400));
            }
            return;
        }
    })
}

fn repeat(line: &mut Line, key: &str) {
    let accept = derive_accept_key(key.as_bytes());
    line.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
    let mut socket = WebSocket::from_raw_socket(line.stream(), Role::Server, None);
    while let Ok(message) = socket.read() {
        let sent = if message.is_text() { socket.send(message) } else { socket.flush() };
        if sent.is_err() {
            break;
        }
    }
}

struct House {
    gateway: Gateway,
    _application: Scripted,
    standard: Standard,
    vouched: Vouched,
    clients: Authority,
}

impl House {
    fn new() -> Self {
        let (vouched, clients) = (Vouched::new(), Authority::new("clients"));
        let (application, standard) = (application(), Standard::new());
        let shown = "client_ca = \"clients.pem\", client_certificates = \"optional\"";
        let gateway = Gateway::builder()
            .listen(&format!("{{ address = \"127.0.0.1:0\", tls = {{ {TLS}, {shown} }} }}"))
            .listen("{ address = \"127.0.0.1:0\", http2 = true }")
            .file("clients.pem", &clients.pem)
            .standard_with(&standard, RULES)
            .place("upstream", application.addr());
        Self { gateway: vouched.with_files(gateway).start(), _application: application, standard, vouched, clients }
    }

    /// A WebSocket over TLS, to which this certificate is shown.
    fn socket(&self, target: &str, field: (&str, &str), shown: Option<&Pair>) -> WebSocket<impl Read + Write + use<>> {
        let caller = TlsCaller::with(self.gateway.addr(), &[&TLS13], &["http/1.1"], shown);
        let stream = caller.connect("api.test").expect("a connection").into_stream();
        let request = ClientRequestBuilder::new(format!("ws://api.test{target}").parse().expect("a URL"));
        let (mut socket, _) = match tungstenite::client(request.with_header(field.0, field.1), stream) {
            Ok(open) => open,
            Err(error) => panic!("{target}: {error}"),
        };
        assert!(lives(&mut socket), "{target}");
        socket
    }

    #[track_caller]
    fn tells(&self, path: &str, status: u16, reason: &str) -> Value {
        let line = self.gateway.log().line_where(path, |line| line["path"] == path);
        let told = (&line["outcome"], &line["status"], &line["reason"]);
        assert_eq!(told, (&"ended".into(), &status.into(), &reason.into()), "{line}");
        line
    }
}

fn lives(socket: &mut WebSocket<impl Read + Write>) -> bool {
    socket.send(Message::text("are you there?")).is_ok()
        && socket.read().is_ok_and(|message| message == Message::text("are you there?"))
}

/// Waits until it is closed in order, and by the gateway.
#[track_caller]
fn is_closed(mut socket: WebSocket<impl Read + Write>) {
    match socket.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Policy),
        other => panic!("not closed: {other:?}"),
    }
    let end = socket.read();
    assert!(matches!(end, Err(Error::ConnectionClosed)), "TLS says goodbye, too: {end:?}");
}

#[test]
fn a_websocket_over_tls_ends_when_its_key_is_revoked() {
    let house = House::new();
    let admin = house.gateway.admin();
    let [revoked, sound] = ["a", "b"].map(|name| admin.key(&admin.owner(name, &json!({})), &json!({})));
    let ending = house.socket("/me/revoked", ("X-API-Key", &revoked.secret), None);
    let mut sound = house.socket("/me/sound", ("X-API-Key", &sound.secret), None);
    let begun = Stopwatch::start();
    admin.order(format!("/keys/{}/revoke", revoked.id)).is(200);
    is_closed(ending);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    house.tells("/me/revoked", 101, "key_revoked");
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(lives(&mut sound));
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// A certificate that is valid for long.
fn shown(authority: &Authority, name: &str, until: i32) -> Pair {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names.push(SanType::URI(format!("spiffe://prod/{name}").try_into().expect("ASCII")));
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
    authority.sign(params)
}

#[test]
fn a_websocket_ends_with_the_name_and_with_the_certificate_that_opened_it() {
    let house = House::new();
    let none = ("X-None", "");
    let open = |target: &str, name: &str, until| house.socket(target, none, Some(&shown(&house.clients, name, until)));
    let renamed = open("/mtls/renamed", "billing", 2060);
    let expiring = open("/mtls/expiring", "batch", 2040);
    let mut sound = open("/mtls/sound", "batch", 2060);

    let begun = Stopwatch::start();
    house.gateway.rewrite("realms/realm0.toml", &house.gateway.realm_file().replace("prod/billing", "prod/nobody"));
    house.gateway.reload().expect("a good configuration");
    is_closed(renamed);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    house.tells("/mtls/renamed", 101, "token_invalid");
    assert!(lives(&mut sound));

    let begun = Stopwatch::start();
    house.gateway.pass(Duration::from_secs(20 * 366 * 86_400));
    is_closed(expiring);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    house.tells("/mtls/expiring", 101, "token_expired");
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(lives(&mut sound));
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// An answer that goes on, its first event read already.
async fn stream(client: &mut Client, target: &str, field: (&str, &str)) -> Answer {
    let request = client.request("GET", target, &[field, ("user-agent", "watcher/1")]);
    let (answer, _) = client.begin(request, true).await.expect("the connection lasts");
    let mut answer = head(answer).await.expect("an answer");
    assert_eq!((answer.status, text(&answer.head, "content-type")), (200, "text/event-stream"), "{target}");
    assert!(answer.next().await.expect("it lasts").expect("an event").starts_with(EVENT));
    answer
}

/// Waits until it is broken off, and nothing else with it.
async fn is_broken_off(mut answer: Answer) {
    loop {
        match answer.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no end of the body: the client is to see that it was broken off"),
            Err(error) => return assert!(error.is_reset(), "the connection lasts: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_of_events_over_http_2_ends_whether_something_passes_or_not() {
    let house = House::new();
    let admin = house.gateway.admin();
    let key = admin.key(&admin.owner("watcher", &json!({})), &json!({}));
    let bearer = |seconds| format!("Bearer {}", house.standard.alice().expires_in(seconds).sign());
    let (short, lasting) = (bearer(60), bearer(3600));
    let (short, lasting, key_field) =
        (("authorization", &*short), ("authorization", &*lasting), ("x-api-key", &*key.secret));
    let pem = &house.vouched.authority.pem;
    let clients =
        [Client::secure(house.gateway.addrs()[0], pem, b"").await, Client::plain(house.gateway.addrs()[1]).await];
    let (mut ending, mut lasting_ones) = (Vec::new(), Vec::new());
    for (name, mut client) in ["tls", "plain"].into_iter().zip(clients) {
        for (of, field, reason) in [
            ("expired/events", short, "token_expired"),
            ("expired/quiet", short, "token_expired"),
            ("revoked/events", key_field, "key_revoked"),
            ("revoked/quiet", key_field, "key_revoked"),
        ] {
            let path = format!("/me/{name}/{of}");
            ending.push((stream(&mut client, &path, field).await, path, reason));
        }
        lasting_ones.push(stream(&mut client, &format!("/me/{name}/events"), lasting).await);
    }

    let begun = Stopwatch::start();
    house.gateway.pass(Duration::from_secs(61));
    admin.order(format!("/keys/{}/revoke", key.id)).is(200);
    for (answer, path, reason) in ending {
        is_broken_off(answer).await;
        let line = house.tells(&path, 200, reason);
        assert_eq!((&line["method"], &line["http_version"]), (&"GET".into(), &"2".into()), "{line}");
        assert_eq!(line["user_agent"], "watcher/1", "{line}");
        assert!(line["bytes_out"].as_u64() >= Some(9), "{line}");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for sound in &mut lasting_ones {
        while begun.elapsed() < Duration::from_secs(6) {
            assert!(sound.next().await.expect("it lasts").is_some());
        }
        assert!(sound.next().await.expect("it lasts").is_some());
    }
    house.gateway.metric_becomes("portcullis_requests_total", &[("outcome", "ended")], 8.0);
}
