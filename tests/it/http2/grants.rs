//! What the gateway answers itself, over HTTP/2.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{Answer, Client, call, give, read, with};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const REALM: &str = r#"
realm = "tokens"
hosts = ["api.test"]
upstream = "http://{upstream}"

[directory]
type = "local"
identifier = "email"

[tokens.access]
ttl = "1h"

[tokens.refresh]
ttl = "2h"

[[grants]]
type = "password"
path = "/login"

[[grants]]
type = "logout"
path = "/logout"
revokes = "session"

[[routes]]
path = "/me"
auth = ["jwt"]
"#;

const PASSWORD: &str = "correct horse battery staple";

fn post(target: &str) -> Request<()> {
    with(call("POST", target), "content-type", "application/json")
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn somebody_signs_in_is_known_and_signs_out_on_one_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::builder().listener_toml("http2 = true").realm_toml(REALM).upstream(&upstream).start();
    let user = json!({ "realm": "tokens", "kind": "user", "identifier": "ann@api.test" });
    let user = gateway.admin().post("/clients", &user).is(201).json();
    let path = format!("/clients/{}/password", user["id"].as_str().expect("an id"));
    gateway.admin().post(path, &json!({ "password": PASSWORD })).is(200);

    let mut client = Client::connect(gateway.addr()).await;
    let body = |password| Some(Bytes::from(json!({ "email": "ann@api.test", "password": password }).to_string()));
    let wrong = client.send(post("/login"), body("wrong")).await.unwrap();
    assert_eq!((wrong.status, json_of(&wrong)["code"].as_str()), (401, Some("invalid_credentials")));
    let login = client.send(post("/login"), body(PASSWORD)).await.unwrap();
    assert_eq!(login.status, 200, "{login:?}");
    let token = json_of(&login)["access_token"].as_str().expect("a token").to_owned();
    let bearer = format!("Bearer {token}");
    assert_eq!(client.ask(with(call("GET", "/me"), "authorization", &bearer)).await.unwrap().status, 200);

    // Too large a body is not waited for.
    let (answer, mut stream) = client.begin(with(post("/login"), "content-length", "20000000"), false).await.unwrap();
    drop(give(&mut stream, Bytes::from_static(b"{"), false).await);
    assert_eq!(read(answer).await.unwrap().status, 413);

    let logout = client.send(with(post("/logout"), "authorization", &bearer), Some(Bytes::from_static(b"{}"))).await;
    assert!([200, 204].contains(&logout.unwrap().status));
    assert_eq!(client.ask(with(call("GET", "/me"), "authorization", &bearer)).await.unwrap().status, 401);
    assert_eq!(upstream.requests().len(), 1);
}
