//! CORS over HTTP/2.

use bytes::Bytes;

use super::{Answer, Client, House, call, with};
use crate::support::gateway::Gateway;
use crate::support::realms::{HOUSE_SECRET, Standard};
use crate::support::upstream::{Respond, Upstream};

const APP: &str = "https://app.test";
const EVIL: &str = "https://evil.test";

fn house() -> House {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let cors = "cors = { origins = [\"https://app.test\"], credentials = true }\nupstream =";
    let more = "\n[[routes]]\npath = \"/none/**\"\nauth = [\"jwt\"]\ncors = false\n";
    let gateway = Gateway::builder()
        .listener_toml("http2 = true")
        .realm_toml(&(standard.toml().replacen("upstream =", cors, 1) + more))
        .env(HOUSE_SECRET, &standard.secret())
        .upstream(&upstream)
        .start();
    House { upstream, standard, gateway }
}

fn told(answer: &Answer) -> Vec<(&str, &str)> {
    let fields = answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
    fields.filter(|(name, _)| name.starts_with("access-control-")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn h35_over_http_2_a_preflight_is_answered_and_never_forwarded_too() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let asks = "access-control-request-method";
    let preflight = |target: &str, origin: &str| with(with(call("OPTIONS", target), "origin", origin), asks, "DELETE");
    let good = client.ask(preflight("/jwt/x", APP)).await.unwrap();
    assert_eq!((good.status, good.head_only, good.header("content-length")), (204, true, ""));
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE";
    let expected = [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", methods),
        ("access-control-allow-headers", "authorization, content-type"),
        ("access-control-max-age", "600"),
    ];
    assert_eq!(told(&good), expected);
    for origin in [EVIL, "null"] {
        let answer = client.ask(preflight("/jwt/x", origin)).await.unwrap();
        assert_eq!((answer.status, told(&answer)), (204, vec![]), "{origin}");
    }
    for request in [
        call("OPTIONS", "/jwt/x"),
        with(call("OPTIONS", "/jwt/x"), "origin", APP),
        with(call("OPTIONS", "/jwt/x"), asks, "GET"),
        with(preflight("/jwt/x", APP), "origin", EVIL),
        with(preflight("/jwt/x", APP), asks, "GET"),
        preflight("/none/x", APP),
    ] {
        let told = format!("{request:?}");
        assert_eq!(client.ask(request).await.unwrap().status, 401, "{told}");
    }
    house.upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_and_refusals_of_grpc_say_who_may_read_them() {
    let house = house();
    let mut client = Client::connect(house.gateway.addr()).await;
    let refused = with(with(call("POST", "/jwt/S/M"), "content-type", "application/grpc+proto"), "origin", APP);
    let refused = client.send(refused, Some(Bytes::from_static(b"\0\0\0\0\0"))).await.unwrap();
    assert_eq!((refused.status, refused.header("grpc-status")), (200, "16"));
    assert_eq!((refused.header("access-control-allow-origin"), refused.header("vary")), (APP, "Origin"));

    let answer = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n";
    house.upstream.respond(Respond::Raw(answer.into()));
    let answer = client.ask(with(call("GET", "/public/x"), "origin", EVIL)).await.unwrap();
    assert_eq!((answer.status, told(&answer), answer.header("vary")), (200, vec![], "Origin"));
    let answer = client.ask(with(call("GET", "/public/x"), "origin", APP)).await.unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), APP);
}
