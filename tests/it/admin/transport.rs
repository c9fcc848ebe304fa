//! The admin API over HTTP.

use std::net::SocketAddr;

use super::*;
use pingora::apps::ServerApp;
use pingora::protocols::l4::stream::Stream;
use portcullis::admin::http::Api;
use portcullis::admin::{AdminApp, Readiness, Report, router};
use portcullis::clock::SystemClock;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

struct Silent;

impl Report for Silent {
    fn metrics(&self) -> String {
        String::new()
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: true, generation: 1, store: None, realms: Vec::new() }
    }
}

/// The admin listener.
struct Door {
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Door {
    async fn open(api: Api) -> Self {
        let app = Arc::new(AdminApp::new(router(Arc::new(Silent), api)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (app, stopping) = (Arc::clone(&app), stopping.clone());
                tokio::spawn(async move { app.process_new(Box::new(Stream::from(socket)), &stopping).await });
            }
        });
        Self { address, stop }
    }

    async fn of(desk: &Desk) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self::open(Api::new(Arc::clone(&desk.admin), runtime, Arc::clone(&desk.clock) as _)).await
    }

    /// Sends `head` (without the last line) and `body`, reads to the end.
    async fn send(&self, head: &str, body: &str) -> Reply {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{head}\r\nHost: admin.test\r\nConnection: close\r\n{length}\r\n{body}");
        // A refusal may come before everything is sent.
        socket.write_all(text.as_bytes()).await.ok();
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).await.ok();
        let reply = String::from_utf8(reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {reply:?}"));
        Reply { head: head.to_owned(), body: body.to_owned() }
    }
}

#[derive(Debug)]
struct Reply {
    head: String,
    body: String,
}

impl Reply {
    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

#[test]
fn every_endpoint_refuses_those_without_a_token() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        for endpoint in endpoints() {
            let path = endpoint.path.replace(['{', '}'], "");
            let reply = door.send(&format!("{} {path} HTTP/1.1", endpoint.method), "").await;
            assert_eq!(reply.status(), 401, "{endpoint:?}: {reply:?}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"portcullis-admin\""));
            assert_eq!(reply.header("content-type"), Some("application/problem+json"));
            assert_eq!(reply.json()["code"], "missing_credentials");
        }
    });
}

#[test]
fn every_answer_has_an_id_and_is_kept_nowhere() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read"], None).await;
        let bearer = format!("Authorization: Bearer {token}");
        for (line, status) in [
            (format!("GET /admin/v1/realms HTTP/1.1\r\n{bearer}"), 200),
            (format!("GET /admin/v1/clients/usr_x HTTP/1.1\r\n{bearer}"), 404),
            (format!("DELETE /admin/v1/realms HTTP/1.1\r\n{bearer}"), 405),
            (format!("POST /admin/v1/reload HTTP/1.1\r\n{bearer}"), 403),
            ("GET /admin/v1/realms HTTP/1.1".to_owned(), 401),
            ("GET /admin HTTP/1.1".to_owned(), 404),
            ("GET /admin/console HTTP/1.1".to_owned(), 404),
        ] {
            let reply = door.send(&format!("{line}\r\nX-Request-Id: mine"), "").await;
            assert_eq!(reply.status(), status, "{line}: {reply:?}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            let id = reply.header("x-request-id").unwrap();
            assert_eq!(id.len(), 36, "{id}");
            if status >= 400 {
                assert_eq!(reply.json()["instance"], format!("urn:uuid:{id}"));
            }
        }
        let head = door.send(&format!("HEAD /admin/v1/realms HTTP/1.1\r\n{bearer}"), "").await;
        assert_eq!((head.status(), head.body.as_str()), (200, ""));
        let other = door.send(&format!("DELETE /admin/v1/realms HTTP/1.1\r\n{bearer}"), "").await;
        assert_eq!(other.header("allow"), Some("GET"));
    });
}

#[test]
fn a_creation_over_http_says_where_it_is_and_which_version() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read", "admin:clients"], None).await;
        let bearer = format!("Authorization: Bearer {token}");
        let head = format!(
            "POST /admin/v1/clients HTTP/1.1\r\n{bearer}\r\nContent-Type: application/json; charset=utf-8\r\n\
             Idempotency-Key: a"
        );
        let body = r#"{"realm":"shop","kind":"owner","identifier":"team_1"}"#;
        let made = door.send(&head, body).await;
        assert_eq!(made.status(), 201, "{made:?}");
        let path = made.header("location").unwrap().to_owned();
        assert_eq!(path, format!("/admin/v1/clients/{}", made.json()["id"].as_str().unwrap()));
        let again = door.send(&head, body).await;
        assert_eq!((again.json(), again.header("location")), (made.json(), made.header("location")));
        let read = door.send(&format!("GET {path} HTTP/1.1\r\n{bearer}"), "").await;
        assert_eq!(read.header("etag"), Some(format!("\"{}\"", read.json()["version"]).as_str()));
        let event = desk.trail().await.into_iter().find(|event| event.entry.action == "client.created").unwrap();
        assert_eq!(event.entry.request_id.as_deref(), made.header("x-request-id"));
    });
}

#[test]
fn what_is_no_json_or_too_much_is_refused() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read", "admin:clients"], None).await;
        let head = format!("POST /admin/v1/clients HTTP/1.1\r\nAuthorization: Bearer {token}");
        for kind in ["", "\r\nContent-Type: text/plain", "\r\nContent-Type: application/x-www-form-urlencoded"] {
            assert_eq!(door.send(&format!("{head}{kind}"), "{}").await.status(), 415, "{kind}");
        }
        let json = format!("{head}\r\nContent-Type: application/json");
        assert_eq!(door.send(&json, "{").await.status(), 400);
        let much = " ".repeat(1024 * 1024 + 1);
        let reply = door.send(&json, &much).await;
        assert_eq!((reply.status(), &reply.json()["code"]), (413, &json!("payload_too_large")));
        let chunked = format!("{:x}\r\n{much}\r\n0\r\n\r\n", much.len());
        let mut socket = TcpStream::connect(door.address).await.unwrap();
        let text = format!("{json}\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunked}");
        socket.write_all(text.as_bytes()).await.ok();
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).await.ok();
        assert!(reply.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&reply));
    });
}

#[test]
fn two_credentials_are_none_and_a_cookie_is_none_either() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read"], None).await;
        for credentials in [
            format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}"),
            format!("Authorization: Bearer {token}, Bearer {token}"),
            format!("Cookie: authorization=Bearer {token}"),
            format!("X-Api-Key: {token}"),
        ] {
            let reply = door.send(&format!("GET /admin/v1/realms HTTP/1.1\r\n{credentials}"), "").await;
            assert_eq!(reply.status(), 401, "{credentials}");
        }
        let reply = door.send(&format!("GET /admin/v1/realms?token={token} HTTP/1.1"), "").await;
        assert_eq!(reply.status(), 401);
    });
}

#[test]
fn pages_of_other_hosts_are_refused_whatever_they_send() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read"], None).await;
        let head = format!("GET /admin/v1/realms HTTP/1.1\r\nAuthorization: Bearer {token}\r\nOrigin: ");
        for origin in
            ["https://evil.test", "null", "http://admin.test.evil.test", "http://admin.test:81", "file://admin.test"]
        {
            let reply = door.send(&format!("{head}{origin}"), "").await;
            assert_eq!((reply.status(), &reply.json()["code"]), (403, &json!("origin_denied")), "{origin}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
        assert_eq!(door.send(&format!("{head}http://admin.test"), "").await.status(), 200);
    });
}

#[test]
fn without_a_store_it_says_so() {
    run(async {
        let door = Door::open(Api::without_store(Arc::new(SystemClock))).await;
        let reply = door.send("GET /admin/v1/clients HTTP/1.1", "").await;
        assert_eq!(reply.status(), 404);
        assert!(reply.json()["detail"].as_str().unwrap().contains("without a store"), "{reply:?}");
    });
}

/// An open stream of events.
struct Following {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
}

impl Following {
    async fn open(door: &Door, token: &str, query: &str, more: &str) -> Self {
        let mut socket = TcpStream::connect(door.address).await.unwrap();
        let text = format!(
            "GET /admin/v1/audit/stream{query} HTTP/1.1\r\nHost: admin.test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        );
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut following = Self { lines: BufReader::new(socket).lines() };
        following.until("content-type: text/event-stream").await;
        following.until("retry: 2000").await;
        following
    }

    /// Reads on to a line that begins so.
    async fn until(&mut self, beginning: &str) -> String {
        let read = async {
            loop {
                let line =
                    self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("ended before {beginning:?}"));
                if line.to_lowercase().starts_with(&beginning.to_lowercase()) {
                    return line;
                }
            }
        };
        let late = |_| panic!("did not come: {beginning:?}");
        tokio::time::timeout(crate::support::DEADLINE, read).await.unwrap_or_else(late)
    }

    async fn ended(&mut self) {
        let read = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        tokio::time::timeout(crate::support::DEADLINE, read).await.expect("the stream did not end");
    }
}

async fn make(desk: &Desk, realm: &str, identifier: &str) {
    let body = json!({ "realm": realm, "kind": "owner", "identifier": identifier });
    assert_eq!(desk.ask(&desk.root, post("/admin/v1/clients", &body)).await.status, 201);
}

#[test]
fn events_are_followed_and_nothing_is_missed_over_a_break() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read"], None).await;
        let mut following = Following::open(&door, &token, "?action=client.", "").await;
        make(&desk, "shop", "a").await;
        let id = following.until("id: ").await;
        let event: Value =
            serde_json::from_str(following.until("data: ").await.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&event["action"], &event["realm"]), (&json!("client.created"), &json!("shop")));
        drop(following);
        make(&desk, "shop", "b").await;
        make(&desk, "shop", "c").await;
        let last = id.strip_prefix("id: ").unwrap();
        let mut following =
            Following::open(&door, &token, "?action=client.", &format!("Last-Event-ID: {last}\r\n")).await;
        for _ in 0..2 {
            assert!(following.until("data: ").await.contains("client.created"));
        }
    });
}

#[test]
fn a_stream_shows_no_other_realm_and_ends_with_its_token() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read"], Some(&["links"])).await;
        let mut following = Following::open(&door, &token, "", "").await;
        make(&desk, "shop", "a").await;
        make(&desk, "links", "b").await;
        assert!(following.until("data: ").await.contains("\"links\""));
        desk.revoke(&token).await;
        following.ended().await;
    });
}

#[test]
fn streams_end_when_the_gateway_stops_and_are_bounded() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:read"], None).await;
        let mut open = Vec::new();
        for _ in 0..8 {
            open.push(Following::open(&door, &token, "", "").await);
        }
        let head = format!("GET /admin/v1/audit/stream HTTP/1.1\r\nAuthorization: Bearer {token}");
        let reply = door.send(&head, "").await;
        assert_eq!((reply.status(), reply.header("retry-after")), (503, Some("5")));
        door.stop.send(true).unwrap();
        for mut following in open {
            following.ended().await;
        }
    });
}

#[test]
fn a_stream_that_may_not_be_opened_is_an_ordinary_refusal() {
    on_sqlite(async |desk| {
        let door = Door::of(&desk).await;
        let token = desk.token(&["admin:keys"], None).await;
        let head = format!("GET /admin/v1/audit/stream HTTP/1.1\r\nAuthorization: Bearer {token}");
        assert_eq!(door.send(&head, "").await.json()["code"], "insufficient_scope");
        let token = desk.token(&["admin:read"], None).await;
        let head = format!("GET /admin/v1/audit/stream?nonsense=1 HTTP/1.1\r\nAuthorization: Bearer {token}");
        assert_eq!(door.send(&head, "").await.json()["code"], "validation_failed");
    });
}
