//! gRPC: what such a client is told when its call is refused.

use bytes::Bytes;

use super::{Answer, Client, House, call, house, house_with, with};
use crate::support::upstream::Respond;

const GRPC: &str = "application/grpc+proto";

async fn called(house: &House, target: &str, fields: &[(&'static str, &str)]) -> Answer {
    let mut client = Client::connect(house.gateway.addr()).await;
    let request = with(with(call("POST", target), "content-type", GRPC), "te", "trailers");
    let request = fields.iter().fold(request, |request, (name, value)| with(request, name, value));
    client.send(request, Some(Bytes::from_static(b"\0\0\0\0\0"))).await.unwrap()
}

#[track_caller]
fn is_refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.header("grpc-status")), (200, code), "{answer:?}");
    assert!(answer.head_only, "trailers only: one HEADERS frame, and the stream ends: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/grpc");
    assert_eq!(answer.header("content-length"), "");
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_call_is_answered_with_trailers_only() {
    let house = house_with("max_headers = \"4KiB\"\n");
    let good = format!("Bearer {}", house.standard.alice().sign());
    let bad = called(&house, "/jwt/S/M", &[("authorization", "Bearer x")]).await;
    is_refused(&bad, "16");
    assert_eq!(bad.header("grpc-message"), "The credential is not valid.");
    assert!(bad.header("www-authenticate").starts_with("Bearer "), "{bad:?}");
    is_refused(&called(&house, "/jwt/S/M", &[]).await, "16");
    is_refused(&called(&house, "/admin/S/M", &[("authorization", &good)]).await, "7");
    is_refused(&called(&house, "/nowhere", &[]).await, "12");
    is_refused(&called(&house, "/public/a/../b", &[]).await, "13");
    is_refused(&called(&house, "/public/S/M", &[("x", &"y".repeat(5000))]).await, "8");
    house.upstream.assert_untouched();
    let mut last = called(&house, "/limited/S/M", &[("authorization", &good)]).await;
    for _ in 0..3 {
        last = called(&house, "/limited/S/M", &[("authorization", &good)]).await;
    }
    is_refused(&last, "8");
    let seconds: u64 = last.header("retry-after").parse().unwrap();
    assert_eq!(last.header("grpc-retry-pushback-ms"), (seconds * 1000).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_written_down_is_the_status_of_the_reason() {
    let house = house();
    let answer = called(&house, "/jwt/S/M", &[]).await;
    let line = house.gateway.log().line_for(answer.header("x-request-id"));
    assert_eq!((line["status"].as_u64(), line["reason"].as_str()), (Some(401), Some("missing_credentials")));
    house.gateway.metric_becomes("portcullis_requests_total", &[("code", "401")], 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_is_out_of_reach_is_told_the_same_way() {
    let house = house();
    house.upstream.respond(Respond::Close);
    is_refused(&called(&house, "/public/S/M", &[]).await, "14");
    house.upstream.respond(Respond::Hold);
    is_refused(&called(&house, "/slow/S/M", &[]).await, "4");
    house.upstream.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn others_are_told_as_everybody_is() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    for kind in ["application/grpc-web+proto", "application/json"] {
        let answer = client.ask(with(call("POST", "/jwt/x"), "content-type", kind)).await.unwrap();
        assert_eq!((answer.status, answer.header("grpc-status"), answer.body.is_empty()), (401, "", false));
    }
    let reply = house.gateway.call("POST", "/jwt/x").header("Content-Type", GRPC).send();
    assert_eq!(reply.status, 401, "over HTTP/1 there is no gRPC");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_question_about_a_call_does_not_say_200() {
    let house = house_with("trusted_proxies = [\"127.0.0.1\"]\n[decision]");
    let mut client = Client::connect(house.gateway.addr()).await;
    let about = |path: &str| {
        let question = with(call("POST", "/_portcullis/decide"), "content-type", GRPC);
        let question = with(with(question, "x-forwarded-method", "POST"), "x-forwarded-host", "api.test");
        with(with(question, "x-forwarded-uri", path), "x-forwarded-for", "127.0.0.2")
    };
    let token = format!("Bearer {}", house.standard.alice().sign());
    let allowed = client.ask(with(about("/me/x"), "authorization", &token)).await.expect("an answer");
    assert_eq!((allowed.status, allowed.header("x-auth-subject")), (200, "alice"));
    let nothing_said = with(call("POST", "/_portcullis/decide"), "content-type", GRPC);
    // What a client can make so large that nobody reads the question at all.
    let large = with(about("/me/x"), "x", &"y".repeat(40_000));
    let many = (0..120).fold(about("/me/x"), |question, _| with(question, "x", "y"));
    let envoy = with(call("POST", "/_portcullis/decide/a\"b"), "content-type", GRPC);
    let questions =
        [(about("/me/x"), 401), (about("/nowhere"), 404), (nothing_said, 400), (large, 431), (many, 431), (envoy, 400)];
    for (question, status) in questions {
        let refused = client.ask(question).await.expect("an answer");
        assert_eq!((refused.status, refused.header("grpc-status")), (status, ""), "{refused:?}");
    }
    house.upstream.assert_untouched();
}
