//! Hostile administration: whoever knocks without a token, whoever sends what is no request, and paths that want to be
//! read twice.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};

use super::{House, Kept, on_both};
use crate::support::caller::{Caller, Reply};
use crate::support::realms::api_key;

on_both!(a_flood_of_refused_tokens_does_not_fill_the_audit_trail);

fn admin_key() -> String {
    api_key(&["pc", "a_"].concat())
}

impl House {
    fn knock(&self) -> Caller {
        Caller::new(self.gw.admin_addr()).host(&self.gw.admin_addr().to_string())
    }

    /// Events of the audit trail that tell of refusals.
    fn denials(&self) -> Vec<Value> {
        let list = self.admin().get("/audit?action=admin.denied&limit=200").is(200).json();
        list["data"].as_array().expect("a list").clone()
    }

    /// What there is, without what time alone changes.
    fn everything(&self) -> Value {
        json!([
            self.admin().get("/clients?limit=200").is(200).json(),
            self.admin().get("/keys?limit=200").is(200).json()
        ])
    }
}

#[track_caller]
fn problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, &reply.json()["code"]), (status, &json!(code)), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
}

fn a_flood_of_refused_tokens_does_not_fill_the_audit_trail(kept: Kept) {
    let house = House::on(kept);
    let rows =
        |house: &House| house.admin().order("/audit/verify").is(200).json()["events"].as_i64().expect("a number");
    let before = rows(&house);
    let forms = [String::new(), "rubbish".to_owned(), "Basic YTpi".to_owned(), "Bearer x".to_owned()];
    for n in 0..400 {
        let authorization = forms.get(n % 8).cloned().unwrap_or_else(|| format!("Bearer {}", admin_key()));
        let call = house.knock().get("/admin/v1/keys").header("Authorization", authorization);
        let reply = call.send();
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(
            reply.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer ")),
            "{reply:?}"
        );
    }
    let after = rows(&house);
    assert!((1..=60).contains(&(after - before)), "{before}, then {after}");
    // What was left out is told by the next that is written, a minute later.
    house.gw.pass(Duration::from_secs(61));
    house.knock().get("/admin/v1/keys").bearer(&admin_key()).send().is(401);
    let newest = &house.denials()[0];
    assert!(newest["detail"]["suppressed"].as_i64() >= Some(300), "{newest}");
    assert_eq!((&newest["reason"], &newest["actor"]["ip"]), (&json!("token_unknown"), &json!("127.0.0.1")), "{newest}");
    // Whoever has a token and too little of a scope does not fill it either.
    let reader = house.gw.admin_with(&["admin:read"], None);
    for _ in 0..200 {
        assert_eq!(reader.order(format!("/clients/{}/disable", house.team)).status, 403);
    }
    assert!(rows(&house) - after <= 61);
    house.key();
}

#[test]
fn what_is_no_body_is_refused_before_anything_is_done() {
    let house = House::on(Kept::Sqlite);
    let before = house.everything();
    let asked = json!({ "realm": "api", "owner_id": house.team, "name": "x" }).to_string();
    let send =
        |body: &[u8], kind: &str| house.admin().call("POST", "/keys").header("Content-Type", kind).body(body).send();

    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/json",
        "",
    ] {
        problem(&send(asked.as_bytes(), kind), 415, "unsupported_media_type");
    }
    problem(&house.admin().call("POST", "/keys").body(&asked).send(), 415, "unsupported_media_type");
    problem(&send(&vec![b' '; (1 << 20) + 1], "application/json"), 413, "payload_too_large");
    let deep = |open: &str, close: &str| {
        format!("{{\"realm\":\"api\",\"attributes\":{}1{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    for body in [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        "[".repeat(500_000),
        "{\"a\":".repeat(100_000),
        format!("{{\"name\":{}}}", "9".repeat(500_000)),
        format!("{{\"name\":\"{}\"}}", "x".repeat(900_000)),
        format!("{{{}\"a\":1}}", (0..60_000).map(|n| format!("\"m{n}\":1,")).collect::<String>()),
        "{\"expires_at\":1e999999999}".to_owned(),
        r#"{"realm":"api","realm":"other","owner_id":"x","name":"y"}"#.to_owned(),
        r#"{"realm":"api","name":"y","\u006eame":"z"}"#.to_owned(),
        r#"{"realm":"api","attributes":{"a":1,"a":2},"name":"y"}"#.to_owned(),
        "{\"name\":\"a\u{0}b\"}".to_owned(),
        r#"{"name":"a\u0000b"}"#.to_owned(),
        r#"{"name":"\ud800"}"#.to_owned(),
        format!("\u{feff}{asked}"),
        format!("{asked}{asked}"),
        format!("{asked} x"),
        format!("[{asked}]"),
        "null".to_owned(),
        "{\"realm\":\"api\"".to_owned(),
        r#"{"realm":"api","owner_id":"x","name":"y","secret":"mine","id":"key_mine","status":"active","__proto__":{}}"#
            .to_owned(),
    ] {
        let reply = send(body.as_bytes(), "application/json");
        problem(&reply, 400, "validation_failed");
        assert!(reply.body.len() < 40_000, "{} bytes answer {} bytes", reply.body.len(), body.len());
    }
    for bytes in [&b"\xff\xfe{\x00}\x00"[..], b"{\"name\":\"\xc0\xaf\"}", b"{\"name\":\"\xff\"}"] {
        problem(&send(bytes, "application/json; charset=utf-16"), 400, "validation_failed");
    }
    // A body that never ends, in chunks, is not read to the end.
    let mut connection = house.knock().connect();
    let token = &house.admin().token;
    connection.write(format!(
        "POST /admin/v1/keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    for _ in 0..40 {
        connection.write(format!("10000\r\n{}\r\n", " ".repeat(0x10000)));
    }
    problem(&connection.read_reply(false).expect("an answer"), 413, "payload_too_large");
    assert_eq!(house.everything(), before);
    house.key();
}

#[test]
fn nothing_of_a_body_is_read_from_somebody_without_a_token() {
    let house = House::on(Kept::Sqlite);
    let mut connection = house.knock().connect();
    connection.write(
        "POST /admin/v1/keys/import HTTP/1.1\r\nHost: a\r\n\
         Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n",
    );
    // Answered although not a byte of it has come.
    let watch = Stopwatch::start();
    problem(&connection.read_reply(false).expect("an answer"), 401, "missing_credentials");
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    // And what it sends then is not taken for another request.
    connection.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10));
    connection.assert_closed();
}

#[test]
fn a_path_that_wants_to_be_read_twice_is_no_path() {
    let house = House::on(Kept::Sqlite);
    let (key, team) = (house.key(), &house.team);
    let before = house.everything();
    let id = &key.id;
    for path in [
        "/keys/..%2f".to_owned(),
        "/keys/..".to_owned(),
        format!("/clients/../keys/{id}"),
        format!("/clients/%2e%2e/keys/{id}"),
        format!("/clients/..%2fkeys%2f{id}"),
        format!("/keys%2f{id}"),
        format!("//keys/{id}"),
        format!("/keys//{id}"),
        format!("/keys/{id}/"),
        format!("/keys/./{id}"),
        format!("/KEYS/{id}"),
        format!("/k%65ys/{id}"),
        format!("/keys/{id}%00"),
        format!("/keys/{id}%2frevoke"),
        format!("/keys/{id}/..%2f..%2fclients%2f{team}"),
        format!("/keys/{id}\\revoke"),
        format!("/keys/{id};revoke"),
        format!("/keys/{id}%3frealm=other"),
        format!("/keys/%ff{id}"),
        format!("/keys/{id}%"),
        format!("/keys/%20{id}"),
        format!("/keys/{id}%0d%0aX-A:%20b"),
        "/keys/' OR '1'='1".replace(' ', "%20"),
        "/keys/%25".to_owned(),
        format!("/keys/{}", "a".repeat(7000)),
        "/..%2f..%2fmetrics".to_owned(),
        "/../../metrics".to_owned(),
    ] {
        for method in ["GET", "DELETE", "POST", "PATCH"] {
            let reply = house.admin().call(method, &path).send();
            assert!(matches!(reply.status, 400 | 404 | 405 | 414), "{method} {path}: {reply:?}");
            assert!(!reply.text().contains("portcullis_requests_total"), "{method} {path}");
            if reply.status == 404 && !reply.body.is_empty() {
                problem(&reply, 404, "not_found");
            }
        }
    }
    // Other targets and methods.
    let bearer = format!("Authorization: Bearer {}\r\n", house.admin().token);
    for line in [
        format!("GET http://elsewhere/admin/v1/keys/..%2f{id} HTTP/1.1"),
        "OPTIONS * HTTP/1.1".to_owned(),
        "CONNECT 127.0.0.1:1 HTTP/1.1".to_owned(),
        format!("TRACE /admin/v1/keys/{id} HTTP/1.1"),
        format!("get /admin/v1/keys/{id} HTTP/1.1"),
        format!("REVOKE /admin/v1/keys/{id} HTTP/1.1"),
    ] {
        let reply = house.knock().try_send_raw(format!("{line}\r\nHost: a\r\n{bearer}\r\n"));
        assert!(reply.is_none_or(|reply| matches!(reply.status, 400 | 404 | 405)), "{line}");
    }
    // Methods are not overridden by what stands elsewhere.
    let reply =
        house.admin().call("GET", format!("/keys/{id}")).header("X-HTTP-Method-Override", "PATCH").send().is(200);
    assert_eq!(reply.json()["version"], 1);
    assert_eq!(house.everything(), before);
}

#[test]
fn where_one_request_ends_and_the_next_begins_is_no_matter_of_opinion() {
    let house = House::on(Kept::Sqlite);
    let key = house.key();
    let before = house.everything();
    let hidden = format!(
        "POST /admin/v1/keys/{}/revoke HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        key.id,
        house.admin().token
    );
    let bearer =
        format!("Host: a\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n", house.admin().token);
    let post = "POST /admin/v1/keys/verify HTTP/1.1\r\n";
    for fields in [
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 0, 5\r\n",
        "Content-Length: +0\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x0\r\n",
        "Content-Length: 0 0\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Content-Length: 0\r\n",
        "Content-Length\r\n",
        "Content-Length: 0\nTransfer-Encoding: chunked\r\n\n",
        "X: a\0b\r\n",
        "X\0: b\r\n",
    ] {
        let bytes = format!("{post}{bearer}{fields}\r\n{hidden}");
        let mut connection = house.knock().connect();
        connection.write(&bytes);
        connection.finish();
        let replies: Vec<_> = std::iter::from_fn(|| connection.read_reply(false)).collect();
        assert!(replies.len() <= 1 && replies.iter().all(|reply| reply.status >= 400), "{fields:?}: {replies:?}");
        assert_eq!(house.everything(), before, "{fields:?}");
    }
    // Of two lengths the chunks count, by everybody's rule (RFC 9112 section 6.3), and the connection ends with it.
    for fields in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"]
    {
        let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        let mut connection = house.knock().connect();
        connection.write(format!("{post}{bearer}{fields}\r\n{chunk}{hidden}"));
        connection.finish();
        let replies: Vec<_> = std::iter::from_fn(|| connection.read_reply(false)).collect();
        assert!(replies.len() == 1 && replies[0].status == 400 && replies[0].says_close(), "{fields:?}: {replies:?}");
        assert_eq!(house.everything(), before, "{fields:?}");
    }
    // Two tokens are none; nor is one of somebody else's page.
    let call = house.admin().call("GET", "/keys").bearer(&house.admin().token).send();
    problem(&call, 401, "token_invalid");
    for origin in ["http://evil.test", "null", "http://127.0.0.1", "file://"] {
        problem(&house.admin().call("GET", "/keys").header("Origin", origin).send(), 403, "origin_denied");
    }
}

#[test]
fn heads_that_do_not_come_or_do_not_end_do_not_stop_the_admin_side_for_good() {
    let house = House::on(Kept::Sqlite);
    let mut waiting: Vec<_> = (0..40)
        .map(|n| {
            let mut stream = TcpStream::connect(house.gw.admin_addr()).expect("a connection");
            let start = ["", "GET /admin/v1/ke", "GET /metrics HTTP/1.1\r\nHost: a\r\nX: "][n % 3];
            stream.write_all(start.as_bytes()).expect("sent");
            stream
        })
        .collect();
    // There is room beside them.
    let watch = Stopwatch::start();
    house.gw.admin_get("/readyz").is(200);
    house.admin().get("/keys").is(200);
    assert!(watch.elapsed() < Duration::from_secs(3), "{:?}", watch.elapsed());
    // A head without an end is refused, not collected.
    for endless in [
        "GET /".to_owned(),
        "GET /metrics HTTP/1.1\r\nX: ".to_owned(),
        "GET /metrics HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(2000),
    ] {
        let mut connection = house.knock().connect();
        connection.write(endless + &"z".repeat(2 << 20));
        let reply = connection.read_reply(false);
        assert!(reply.is_none_or(|reply| matches!(reply.status, 400 | 414 | 431)));
    }
    waiting.clear();
    house.admin().get("/keys").is(200);
}
