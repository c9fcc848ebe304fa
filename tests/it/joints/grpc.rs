//! gRPC from a client over HTTP/2 (with TLS and without) to a service over HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use portcullis::clock::Stopwatch;
use serde_json::json;

use super::calls::{Answer, Client, Whole, head, text};
use super::service::Service;
use super::{TLS, Vouched, over_http_2};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::realms::{HOUSE_SECRET, Standard};

/// Five seconds until it is looked at, five from one look to the next, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(14);

struct House {
    gateway: Gateway,
    standard: Standard,
    vouched: Vouched,
    service: Service,
}

impl House {
    fn new() -> Self {
        let (standard, vouched, service) = (Standard::new(), Vouched::new(), Service::start());
        let gateway = Gateway::builder()
            .listen(&format!("{{ address = \"127.0.0.1:0\", tls = {{ {TLS} }} }}"))
            .listen("{ address = \"127.0.0.1:0\", http2 = true }")
            .realm_toml(&over_http_2(&standard.toml()))
            .env(HOUSE_SECRET, &standard.secret())
            .place("upstream", service.address);
        Self { gateway: vouched.with_files(gateway).start(), standard, vouched, service }
    }

    /// One with TLS, and one without.
    async fn clients(&self) -> [Client; 2] {
        let [secure, plain] = [0, 1].map(|n| self.gateway.addrs()[n]);
        [Client::secure(secure, &self.vouched.authority.pem, b"").await, Client::plain(plain).await]
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.standard.alice().sign())
    }

    #[track_caller]
    fn tells(&self, path: &str, reason: &str) {
        let line = self.gateway.log().line_where(path, |line| line["path"] == path);
        let told = (&line["outcome"], &line["status"], &line["reason"], &line["http_version"]);
        assert_eq!(told, (&"ended".into(), &200.into(), &reason.into(), &"2".into()), "{line}");
    }
}

/// Begins a call.
async fn call(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> (Answer, SendStream<Bytes>) {
    let grpc = [("content-type", "application/grpc+proto"), ("te", "trailers")];
    let request = client.request("POST", path, &[&grpc, fields].concat());
    let (answer, stream) = client.begin(request, false).await.expect("the connection lasts");
    (head(answer).await.expect("an answer"), stream)
}

/// A call of one message.
async fn unary(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Whole {
    let grpc = [("content-type", "application/grpc+proto"), ("te", "trailers")];
    let request = client.request("POST", path, &[&grpc, fields].concat());
    let (answer, mut stream) = client.begin(request, false).await.expect("the connection lasts");
    // A refusal may come before.
    drop(stream.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true));
    head(answer).await.expect("an answer").rest().await.expect("the end of the answer")
}

#[track_caller]
fn refused(answer: &Whole, code: &str) {
    assert_eq!((answer.status, text(&answer.head, "grpc-status")), (200, code), "{answer:?}");
    assert!(answer.head_only, "trailers only: {answer:?}");
    assert_eq!(text(&answer.head, "content-type"), "application/grpc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_gets_its_message_and_its_trailers_and_none_that_are_the_gateways() {
    let house = House::new();
    let bearer = house.bearer();
    for mut client in house.clients().await {
        let answer = unary(&mut client, "/jwt/shop.Orders/Echo", &[("authorization", &bearer)]).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"\0\0\0\0\x02hi"[..]), "{answer:?}");
        let told = ["grpc-status", "grpc-message", "trace-bin"].map(|name| text(&answer.trailers, name));
        assert_eq!(told, ["0", "all%20is%20well", "AAECA/8"], "{answer:?}");
        assert_eq!(answer.trailers.len(), 3, "what names somebody is the gateway's to say: {answer:?}");
        let seen = house.service.seen().pop().expect("it arrived");
        assert_eq!(seen.uri, "http://api.test/jwt/shop.Orders/Echo", "the scheme is that of the connection it came on");
        let fields = ["te", "content-type", "x-auth-subject", "authorization"].map(|name| text(&seen.head, name));
        assert_eq!(fields, ["trailers", "application/grpc+proto", "alice", ""], "{seen:?}");

        let answer = unary(&mut client, "/jwt/shop.Orders/Fail", &[("authorization", &bearer)]).await;
        refused(&answer, "5");
        assert_eq!((text(&answer.head, "grpc-message"), text(&answer.head, "x-auth-subject")), ("no such order", ""));
    }
    let schemes: Vec<_> =
        house.service.seen().iter().map(|seen| text(&seen.head, "x-forwarded-proto").to_owned()).collect();
    assert_eq!(schemes, ["https", "https", "http", "http"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_scheme_that_a_client_tells_is_not_the_upstreams() {
    let house = House::new();
    let [_, plain] = house.clients().await;
    let mut liar = plain.telling("https");
    let bearer = house.bearer();
    let answer = unary(&mut liar, "/jwt/shop.Orders/Echo", &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, 200);
    let seen = house.service.seen().pop().expect("it arrived");
    let told = (text(&seen.head, "x-forwarded-proto"), text(&seen.head, "x-forwarded-host"), text(&seen.head, "host"));
    assert_eq!((&*seen.uri, told), ("http://api.test/jwt/shop.Orders/Echo", ("http", "api.test", "")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_pass_one_by_one_in_both_directions() {
    let house = House::new();
    let bearer = house.bearer();
    for mut client in house.clients().await {
        let (mut answer, mut stream) = call(&mut client, "/jwt/shop.Orders/Echo", &[("authorization", &bearer)]).await;
        for n in 0..50 {
            let message = Bytes::from(format!("message {n}"));
            stream.send_data(message.clone(), false).expect("sent");
            // Not before it is back comes the next.
            assert_eq!(answer.next().await.expect("it lasts"), Some(message));
        }
        stream.send_data(Bytes::new(), true).expect("sent");
        let end = answer.rest().await.expect("its end");
        assert_eq!((end.body.len(), text(&end.trailers, "grpc-status")), (0, "0"));

        // The service speaks alone.
        let (mut answer, mut stream) = call(&mut client, "/jwt/shop.Orders/Watch", &[("authorization", &bearer)]).await;
        stream.send_data(Bytes::new(), true).expect("sent");
        for _ in 0..5 {
            assert!(answer.next().await.expect("it lasts").is_some());
        }
        let before = house.service.broken().len();
        stream.send_reset(h2::Reason::CANCEL);
        eventually("who cancels is heard by the service", || (house.service.broken().len() > before).then_some(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_may_not_call_and_who_calls_in_vain_is_told_in_trailers_only() {
    let house = House::new();
    let bearer = house.bearer();
    let mut clients = house.clients().await;
    for client in &mut clients {
        refused(&unary(client, "/jwt/shop.Orders/Echo", &[]).await, "16");
        refused(&unary(client, "/jwt/shop.Orders/Echo", &[("authorization", "Bearer rubbish")]).await, "16");
        refused(&unary(client, "/admin/shop.Orders/Echo", &[("authorization", &bearer)]).await, "7");
    }
    assert!(house.service.seen().is_empty());
    // The service dies. Its connections end with it.
    unary(&mut clients[0], "/jwt/shop.Orders/Echo", &[("authorization", &bearer)]).await;
    let House { gateway: _gateway, service, .. } = house;
    let address = service.address;
    drop(service);
    eventually("it is gone", || std::net::TcpStream::connect(address).is_err().then_some(()));
    for client in &mut clients {
        refused(&unary(client, "/jwt/shop.Orders/Echo", &[("authorization", &bearer)]).await, "14");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_ends_with_the_right_to_it_and_no_other_does() {
    let house = House::new();
    let admin = house.gateway.admin();
    let owner = admin.owner("watcher", &json!({}));
    let key = admin.key(&owner, &json!({}));
    let [mut secure, mut plain] = house.clients().await;
    let short = format!("Bearer {}", house.standard.alice().expires_in(60).sign());
    let lasting = format!("Bearer {}", house.standard.alice().expires_in(3600).sign());
    let (mut expiring, mut stream) = call(&mut secure, "/me/shop.Orders/Echo", &[("authorization", &short)]).await;
    let (mut revoked, _held) = call(&mut plain, "/me/shop.Orders/Watch", &[("x-api-key", &key.secret)]).await;
    let (mut quiet, _silent) = call(&mut secure, "/me/shop.Orders/Quiet", &[("x-api-key", &key.secret)]).await;
    assert_eq!(quiet.next().await.expect("it lasts").as_deref(), Some(&b"one"[..]));
    let (mut sound, _kept) = call(&mut plain, "/me/other.Orders/Watch", &[("authorization", &lasting)]).await;

    let begun = Stopwatch::start();
    house.gateway.pass(Duration::from_secs(61));
    admin.order(format!("/keys/{}/revoke", key.id)).is(200);
    let talking = async {
        loop {
            if stream.send_data(Bytes::from_static(b"hello"), false).is_err() {
                break;
            }
            match expiring.next().await {
                Ok(Some(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(None) => panic!("a stream that is broken off has no end"),
                Err(_) => break,
            }
        }
    };
    let watching = async {
        loop {
            match revoked.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a stream that is broken off has no end"),
                Err(error) => break assert!(error.is_reset(), "the connection lasts: {error}"),
            }
        }
    };
    let waiting = async {
        let error = quiet.next().await.expect_err("nothing passes, and it ends");
        assert!(error.is_reset(), "the connection lasts: {error}");
    };
    tokio::join!(talking, watching, waiting);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    house.tells("/me/shop.Orders/Echo", "token_expired");
    house.tells("/me/shop.Orders/Watch", "key_revoked");
    house.tells("/me/shop.Orders/Quiet", "key_revoked");
    eventually("the service is told", || (house.service.broken().len() == 3).then_some(()));
    // What else is on the connection goes on: on past the time in which it is looked at, too.
    while begun.elapsed() < Duration::from_secs(11) {
        assert!(sound.next().await.expect("it lasts").is_some());
    }
    refused(&unary(&mut plain, "/me/shop.Orders/Echo", &[("x-api-key", &key.secret)]).await, "16");
    assert_eq!(unary(&mut plain, "/me/shop.Orders/Echo", &[("authorization", &lasting)]).await.status, 200);
}
