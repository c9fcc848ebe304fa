//! Programs that others have written in front of the gateway: nginx as a proxy, and gRPC's own client and server.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::over_http_2;
use crate::support::caller::Caller;
use crate::support::gateway::Gateway;
use crate::support::nginx::Nginx;
use crate::support::realms::{HOUSE_SECRET, Standard};
use crate::support::upstream::Upstream;

#[test]
fn nginx_in_front_is_believed_about_its_clients_over_tcp_and_over_a_unix_socket() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let gateway = Gateway::builder()
        .listen("127.0.0.1:0")
        .listen("unix:portcullis.sock")
        .standard(&standard)
        .server_toml("trusted_proxies = [\"127.0.0.1\", \"unix\"]")
        .upstream(&upstream)
        .start();
    let socket = gateway.directory().join("portcullis.sock");
    for place in [gateway.addr().to_string(), format!("unix:{}", socket.display())] {
        let nginx = Nginx::start(&format!(
            "upstream gateway {{ server {place}; keepalive 4; }}\n\
             server {{ listen {{address}}; location / {{\n\
             proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
             proxy_set_header X-Forwarded-Proto $scheme;\n}} }}"
        ));
        let caller = |source| Caller::new(nginx.address).host("api.test").from(source);
        let bearer = standard.alice().sign();
        for _ in 0..20 {
            caller("127.0.0.2").get("/near/x").bearer(&bearer).send().ok();
            let seen = upstream.only();
            upstream.forget();
            assert_eq!(seen.header("X-Auth-Subject"), Some("alice"), "{place}");
            assert!(seen.header("X-Forwarded-For").is_some_and(|list| list.starts_with("127.0.0.2")), "{seen:?}");
            caller("127.0.0.3").get("/near/x").bearer(&bearer).send().is(403);
            caller("127.0.0.2").get("/me/x").send().is(401);
        }
        caller("127.0.0.2").call("POST", "/public/x").body(vec![b'x'; 200_000]).send().ok();
        assert_eq!(upstream.only().body.len(), 200_000);
        upstream.forget();
    }
}

/// An echo in gRPC's own words: prints its port, serves until its input ends.
const SERVER: &str = r#"
import sys, grpc
from concurrent import futures
def say(request, context):
    about = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-subject", about.get("x-auth-subject", "-")),))
    return request
def count(request, context):
    for n in range(int(request)):
        yield str(n).encode()
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("me", {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Count": grpc.unary_stream_rpc_method_handler(count),
}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"#;

/// Asks with a token, and without one.
const CLIENT: &str = r#"
import sys, grpc
address, bearer = sys.argv[1:]
channel = grpc.insecure_channel(address, options=[("grpc.default_authority", "api.test")])
token = (("authorization", "Bearer " + bearer),)
say, count = channel.unary_unary("/me/Say"), channel.unary_stream("/me/Count")
for n in range(20):
    answer, call = say.with_call(b"hello %d" % n, metadata=token, timeout=10)
    assert answer == b"hello %d" % n, answer
    assert dict(call.trailing_metadata())["x-subject"] == "alice", call.trailing_metadata()
assert [int(n) for n in count(b"50", metadata=token, timeout=10)] == list(range(50))
def refused(ask):
    try:
        ask()
    except grpc.RpcError as error:
        return error.code()
    return None
assert refused(lambda: say(b"hello", timeout=10)) == grpc.StatusCode.UNAUTHENTICATED
assert refused(lambda: list(count(b"5", timeout=10))) == grpc.StatusCode.UNAUTHENTICATED
missing = channel.unary_unary("/nowhere/Say")
assert refused(lambda: missing(b"hello", metadata=token, timeout=10)) == grpc.StatusCode.UNIMPLEMENTED
print("all is well")
"#;

/// Debian's, which has its packages.
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn grpcs_own_client_and_server_work_through_it() {
    let mut server = Command::new(PYTHON);
    server.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("python3; scripts/setup installs it with python3-grpcio");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("its output")).read_line(&mut port).expect("a line");
    let port: u16 = port.trim().parse().expect("a port; scripts/setup installs python3-grpcio");

    let standard = Standard::new();
    let gateway = Gateway::builder()
        .listen("{ address = \"127.0.0.1:0\", http2 = true }")
        .realm_toml(&over_http_2(&standard.toml()))
        .env(HOUSE_SECRET, &standard.secret())
        .place("upstream", ([127, 0, 0, 1], port).into())
        .start();
    let mut client = Command::new(PYTHON);
    client.args(["-c", CLIENT, &gateway.addr().to_string(), &standard.alice().sign()]);
    let told = client.output().expect("it runs");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let complaint = String::from_utf8_lossy(&told.stderr);
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "all is well", "{complaint}");
}
