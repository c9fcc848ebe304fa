//! HTTP/2 towards servers: at once where there is no TLS, agreed upon where there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::becomes_healthy;
use super::server2::{Act, Server2, Stream};
use crate::forwarding::gateway_to;
use crate::support::gateway::Gateway;
use crate::support::tls::Authority;
use crate::upstream_tls::NAME;

const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn plain(status: u16) -> Act {
    Act::Answer(status, &[("content-length", "2")], vec![b"ok".to_vec()], &[])
}

fn before(server: &Server2, more: &str) -> Gateway {
    gateway_to(
        &format!("servers = [\"{{main}}\"]\nprotocol = \"http2\"\n{more}"),
        "max_body = \"4KiB\"",
        &[("main", server.address)],
    )
}

#[test]
fn requests_share_a_connection_and_arrive_as_they_were() {
    let server = Server2::start(None, |_, _| plain(200));
    let gateway = before(&server, "");
    let reply = gateway.get("/x/a?b=c").header("X-Team", "blue").send().ok();
    assert_eq!(reply.text(), "ok");
    let call = gateway.call("POST", "/x/b").body("hello").header("Connection", "X-Hop").header("X-Hop", "1");
    call.send().ok();
    gateway.call("POST", "/x/c").chunked(&["hel", "lo"], &[]).send().ok();
    let seen = server.seen();
    assert_eq!(seen[0].uri, "http://api.test/x/a?b=c");
    assert_eq!(seen[0].headers["x-team"], "blue");
    assert_eq!(seen[0].headers["x-forwarded-host"], "api.test");
    assert!(seen.iter().all(|stream| !stream.headers.contains_key("host") && stream.connection == 0));
    assert!(seen[1..].iter().all(|stream| stream.method == "POST" && stream.body == b"hello"));
    assert!(["x-hop", "connection", "transfer-encoding"].iter().all(|name| !seen[1].headers.contains_key(*name)));
    assert!(!seen[2].headers.contains_key("transfer-encoding"));
}

#[test]
fn a_body_without_a_length_and_one_with_trailers_reach_a_client_of_http_1() {
    let parts = || vec![b"one ".to_vec(), b"two".to_vec()];
    let server = Server2::start(None, move |stream, _| match &*stream.uri {
        uri if uri.ends_with("/trailers") => Act::Answer(200, &[], parts(), &[("grpc-status", "0")]),
        _ => Act::Answer(200, &[], parts(), &[]),
    });
    let gateway = before(&server, "");
    let mut connection = gateway.caller().connect();
    for path in ["/x/plain", "/x/trailers", "/x/plain"] {
        let reply = gateway.get(path).send_on(&mut connection).ok();
        assert_eq!((reply.text().as_str(), reply.header("transfer-encoding")), ("one two", Some("chunked")), "{path}");
    }
    assert_eq!(gateway.call("HEAD", "/x/plain").send().ok().text(), "");
}

#[test]
fn a_client_that_takes_nothing_holds_up_nobody_who_shares_its_connection() {
    const MEBIBYTE: usize = 1 << 20;
    let server = Server2::start(None, |stream, _| {
        let parts = if stream.uri.ends_with("/large") { 64 } else { 1 };
        Act::Answer(200, &[], vec![vec![b'x'; MEBIBYTE]; parts], &[])
    });
    let gateway = before(&server, "timeouts = { read = \"3s\" }");
    let mut idle = gateway.caller().connect();
    idle.write(gateway.get("/x/large").bytes());
    idle.read_head();
    // More than all that waits for the one that takes nothing, wherever it waits.
    for _ in 0..32 {
        assert_eq!(gateway.get("/x/small").send().ok().body.len(), MEBIBYTE);
    }
    assert!(server.seen().iter().all(|stream| stream.connection == 0));
}

#[test]
fn however_an_answer_ends_its_connection_is_used_again() {
    let server = Server2::start(None, |stream, _| match &*stream.uri {
        uri if uri.ends_with("/trailers") => Act::Answer(200, &[], vec![b"ok".to_vec()], &[("grpc-status", "0")]),
        uri if uri.ends_with("/nothing") => Act::Answer(204, &[], Vec::new(), &[]),
        _ if stream.method == "HEAD" => Act::Answer(200, &[("content-length", "2")], Vec::new(), &[]),
        // The client has all of it before its end has come.
        _ => plain(200),
    });
    let gateway = before(&server, "");
    for _ in 0..120 {
        for (method, path) in [("GET", "/x/1"), ("HEAD", "/x/1"), ("GET", "/x/trailers"), ("GET", "/x/nothing")] {
            assert!([200, 204].contains(&gateway.call(method, path).send().status));
        }
    }
    // A connection that is just given back may not be there for the next request. One that is left after every 16 answers
    // of a kind would be one of eight.
    let connections = server.seen().iter().map(|stream| stream.connection + 1).max();
    assert!(connections.is_some_and(|connections| connections <= 4), "{connections:?}");
    let broken = gateway.log().lines().into_iter().find(|line| line["outcome"] != "forwarded");
    assert_eq!(broken, None);
}

#[test]
fn a_body_is_bounded_there_too() {
    let server = Server2::start(None, |_, _| plain(200));
    let gateway = before(&server, "");
    gateway.call("POST", "/x/1").body(vec![b'x'; 4096]).send().ok();
    gateway.call("POST", "/x/1").body(vec![b'x'; 4097]).send().denied("payload_too_large");
    let part = "x".repeat(1000);
    gateway.call("POST", "/x/1").chunked(&[part.as_str(); 5], &[]).send().denied("payload_too_large");
    gateway.get("/x/1").send().ok();
}

#[test]
fn what_a_server_refuses_untouched_is_tried_again_and_no_body_twice() {
    for (method, body, status) in [("GET", "", 200), ("POST", "", 200), ("POST", "hello", 502)] {
        let server = Server2::start(None, |_, before| if before == 0 { Act::Refuse } else { plain(200) });
        let gateway = before(&server, "");
        let call = gateway.call(method, "/x/1");
        let call = if body.is_empty() { call } else { call.body(body) };
        assert_eq!(call.send().status, status, "{method} {body:?}");
        assert_eq!(server.seen().len(), if status == 200 { 2 } else { 1 });
    }
    let server = Server2::start(None, |_, _| Act::Refuse);
    before(&server, "retries = 3").get("/x/1").send().denied("upstream_unavailable");
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn half_an_answer_is_never_a_whole_one() {
    let server = Server2::start(None, |_, _| Act::Half);
    let gateway = before(&server, "");
    let mut connection = gateway.caller().connect();
    connection.write(gateway.get("/x/1").bytes());
    let answer = connection.read_to_end();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200 ") && text.to_ascii_lowercase().contains("content-length: 10"), "{text}");
    assert!(text.ends_with("\r\n\r\nhalf"), "{text}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn http_2_is_agreed_upon_over_tls_and_verified_as_ever() {
    let authority = Authority::new("of upstreams");
    let mut config = authority.server(&[NAME]).serving(None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = Server2::start(Some(config), |_, _| plain(200));
    let gateway = |authority: &Authority| {
        let realm = crate::support::realms::Standard::new();
        let more = format!(
            "\n[upstreams.main]\nservers = [\"{{upstream}}\"]\nprotocol = \"http2\"\ntls = {{ sni = \"{NAME}\", ca = \"ca.pem\" }}\n"
        );
        let text = realm.toml().replace("upstream = \"http://{upstream}\"", "upstream = \"main\"") + &more;
        Gateway::builder()
            .realm_toml(&text)
            .env(crate::support::realms::HOUSE_SECRET, &realm.secret())
            .file("realms/ca.pem", &authority.pem)
            .place("upstream", server.address)
            .start()
    };
    let good = gateway(&authority);
    for _ in 0..3 {
        assert_eq!(good.get("/public/x").send().ok().text(), "ok");
    }
    assert_eq!(server.seen()[0].uri, "https://api.test/public/x");
    assert!(server.seen().iter().all(|stream| stream.connection == 0));
    gateway(&Authority::new("of others")).get("/public/x").send().denied("upstream_unavailable");
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_service_of_grpc_is_asked_how_it_is() {
    let sick = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&sick);
    let server = Server2::start(None, move |stream: &Stream, _| {
        if !stream.uri.ends_with(HEALTH) {
            return plain(200);
        }
        // The question: one message, field 1, "shop.v1.Orders".
        let known = stream.body == b"\x00\x00\x00\x00\x10\x0a\x0eshop.v1.Orders";
        assert!(stream.headers["content-type"] == "application/grpc" && stream.headers["te"] == "trailers");
        match (known, told.load(Ordering::SeqCst)) {
            (true, sick) => {
                let answer = vec![0, 0, 0, 0, 2, 8, if sick { 2 } else { 1 }];
                Act::Answer(200, &[("content-type", "application/grpc")], vec![answer], &[("grpc-status", "0")])
            }
            (false, _) => Act::Answer(200, &[("content-type", "application/grpc"), ("grpc-status", "5")], vec![], &[]),
        }
    });
    let check = |service: &str| {
        format!("health = {{ grpc = \"{service}\", interval = \"100ms\", unhealthy = 1, healthy = 1 }}")
    };
    let gateway = before(&server, &check("shop.v1.Orders"));
    becomes_healthy(&gateway, server.address, true);
    gateway.get("/x/1").send().ok();
    sick.store(true, Ordering::SeqCst);
    becomes_healthy(&gateway, server.address, false);
    gateway.get("/x/1").send().denied("upstream_unavailable");
    sick.store(false, Ordering::SeqCst);
    becomes_healthy(&gateway, server.address, true);
    let gateway = before(&server, &check("unknown"));
    becomes_healthy(&gateway, server.address, false);
}
