//! The proxies of the document, as Debian ships them, with the very configurations that stand there.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{House, house_with, identity_at};
use crate::documents::blocks;
use crate::support::caller::Caller;
use crate::support::eventually;
use crate::support::nginx::Nginx;

/// Where the document says that things are.
const PORTCULLIS: &str = "127.0.0.1:8081";
const APPLICATION: &str = "127.0.0.1:9000";

/// The configuration for a proxy from the document, with the places of this test.
fn configuration(language: &str, house: &House) -> String {
    let text = fs::read_to_string("docs/decision-endpoint.md").expect("the document");
    let [block] = &blocks(&text, language)[..] else { panic!("one block in {language}") };
    assert!(block.contains(PORTCULLIS) || block.contains(APPLICATION), "{block}");
    let asked = house.gateway.addrs().last().expect("a listener").to_string();
    block.replace(PORTCULLIS, &asked).replace(APPLICATION, &house.upstream.addr().to_string())
}

fn house() -> House {
    house_with(|builder| builder.listen("127.0.0.1:0").listen("{ address = \"127.0.0.1:0\", decision_only = true }"))
}

/// A proxy that runs in the foreground, and ends with this.
struct Front {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Front {
    /// Starts `program` with these files, of which the last is its configuration; `{address}` (and `{port}`) stands for where
    /// it shall listen, `{directory}` for where the files are.
    fn start(program: &str, arguments: &[&str], files: &[(&str, &str)]) -> Self {
        eventually("the proxy listens", || {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
            let directory = TempDir::new().expect("a directory");
            let place = directory.path().display().to_string();
            let fill = |text: &str| {
                let text = text.replace("{address}", &free.to_string()).replace("{port}", &free.port().to_string());
                text.replace("{directory}", &place)
            };
            for (name, text) in files {
                fs::write(directory.path().join(name), fill(text)).expect("a file");
            }
            let mut command = Command::new(program);
            command.args(arguments.iter().map(|argument| fill(argument))).env("HOME", directory.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}; scripts/setup installs it"));
            let mut front = Self { process, address: free, _directory: directory };
            // Somebody else may have taken the port in the meantime.
            eventually("the proxy listens or ends", || {
                let ended = front.process.try_wait().expect("its state").is_some();
                let listens = TcpStream::connect(free).is_ok();
                (ended || listens).then_some(listens && !ended)
            })
            .then_some(front)
        })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What every proxy that asks has to do: good requests reach the application with who asks, and nothing else does.
fn guards(house: &House, front: SocketAddr, shows_statuses: bool) {
    let caller = |source| Caller::new(front).host("api.test").from(source);
    let client = || caller("127.0.0.2");
    let House { standard, upstream, .. } = house;
    let token = standard.alice().scope("campaigns:read").sign();

    house.gateway.caller().from("127.0.0.2").get("/campaigns/7").bearer(&token).send().ok();
    let told = identity_at(upstream);
    assert!(told.contains(&("x-auth-subject".into(), "alice".into())), "{told:?}");
    let forged = |call: crate::support::caller::Call| {
        ["X-Auth-Subject", "X-Auth-Roles", "X-Auth-Tenant", "X-Auth-Assertion"]
            .into_iter()
            .fold(call, |call, name| call.header(name, "root"))
    };
    for call in [client().get("/campaigns/7?page=2"), forged(client().get("/campaigns/7"))] {
        call.bearer(&token).send().ok();
        let seen = upstream.last();
        assert_eq!((seen.header("Authorization"), seen.header("X-Api-Key")), (None, None), "{seen:?}");
        assert_eq!(identity_at(upstream), told);
    }
    // Nobody is proven here: whatever says who asks is a forgery.
    forged(client().get("/public/x")).send().ok();
    assert_eq!(identity_at(upstream), []);
    client().call("PUT", "/campaigns/7").header("X-API-Key", &standard.partner_key).body("hello").send().ok();
    let seen = upstream.last();
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("PUT", &b"hello"[..]));
    assert_eq!(seen.header("X-Auth-Client"), Some("partner"), "{seen:?}");
    upstream.forget();
    client()
        .call("PUT", "/campaigns/7")
        .header("X-API-Key", &standard.partner_key)
        .chunked(&["hel", "lo"], &[])
        .send()
        .ok();
    assert_eq!(upstream.only().body, b"hello");
    upstream.forget();
    client().get("/near/x").bearer(&token).send().ok();
    upstream.forget();

    for (what, token) in house.spoilt() {
        assert_eq!(client().get("/jwt/x").bearer(&token).send().status, 401, "{what}");
    }
    let challenge = client().get("/jwt/x").send().is(401);
    assert!(challenge.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")), "{challenge:?}");
    client().get("/admin/x").bearer(&token).send().is(403);
    client().call("DELETE", "/campaigns/7").bearer(&token).send().is(403);
    caller("127.0.0.3").get("/near/x").bearer(&token).send().is(403);
    // What a client says of itself counts for nothing.
    let liar = caller("127.0.0.3").get("/near/x").bearer(&token).header("X-Forwarded-For", "127.0.0.2");
    liar.header("Forwarded", "for=127.0.0.2").send().is(403);
    for (name, value) in [
        ("X-Forwarded-Uri", "/public/x"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Host", "other.test"),
        ("X-Original-Uri", "/public/x"),
        ("X-Original-Url", "http://api.test/public/x"),
        ("X-Original-Method", "GET"),
        ("X-Original-For", "127.0.0.2"),
    ] {
        let reply = caller("127.0.0.3").call("POST", "/admin/x").bearer(&token).header(name, value).body("x").send();
        assert!(matches!(reply.status, 400 | 403), "{name}: {reply:?}");
    }
    for target in ["/public/../admin/x", "/public/%2e%2e/admin/x", "/nowhere"] {
        let status = client().get(target).bearer(&token).send().status;
        assert!((400..=500).contains(&status), "{target}: {status}");
    }
    if shows_statuses {
        client().get("/nowhere").send().is(404);
        let statuses: Vec<_> = (0..5).map(|_| client().get("/limited/x").bearer(&token).send().status).collect();
        assert_eq!(statuses, [200, 200, 200, 429, 429]);
        assert_eq!(upstream.requests().len(), 3);
        upstream.forget();
    }
    upstream.assert_untouched();
}

#[test]
fn nginx_asks_with_the_configuration_of_the_document() {
    let house = house();
    let text = configuration("nginx", &house).replacen("listen 80;", "listen {address};", 1);
    let nginx = Nginx::start(&text);
    guards(&house, nginx.address, true);
    Caller::new(nginx.address).host("api.test").get("/_portcullis/decide").send().is(404);
}

#[test]
fn haproxy_asks_with_the_configuration_of_the_document() {
    let house = house();
    let lua = configuration("lua", &house);
    let text = configuration("haproxy", &house).replacen("bind :80", "bind {address}", 1);
    let text = text.replace("/etc/haproxy/portcullis.lua", "{directory}/portcullis.lua");
    let files = [("portcullis.lua", lua.as_str()), ("haproxy.cfg", text.as_str())];
    let front = Front::start("/usr/sbin/haproxy", &["-db", "-f", "{directory}/haproxy.cfg"], &files);
    guards(&house, front.address, true);
}

#[test]
fn caddy_asks_with_the_configuration_of_the_document() {
    let house = house();
    let text = configuration("caddyfile", &house).replacen("http://:80 {", "http://:{port} {\n\tbind 127.0.0.1", 1);
    // No second listener for its own administration, and none for the names of certificates.
    let text = format!("{{\n\tadmin off\n\tauto_https off\n}}\n{text}");
    let arguments = ["run", "--adapter", "caddyfile", "--config", "{directory}/Caddyfile"];
    let front = Front::start("/usr/bin/caddy", &arguments, &[("Caddyfile", &text)]);
    guards(&house, front.address, true);
}

#[test]
fn nobody_passes_while_portcullis_is_away() {
    let house = house();
    let nginx = Nginx::start(&configuration("nginx", &house).replacen("listen 80;", "listen {address};", 1));
    let lua = configuration("lua", &house);
    let text = configuration("haproxy", &house).replacen("bind :80", "bind {address}", 1);
    let text = text.replace("/etc/haproxy/portcullis.lua", "{directory}/portcullis.lua");
    let files = [("portcullis.lua", lua.as_str()), ("haproxy.cfg", text.as_str())];
    let haproxy = Front::start("/usr/sbin/haproxy", &["-db", "-f", "{directory}/haproxy.cfg"], &files);
    let House { upstream, gateway, standard } = house;
    drop(gateway);
    for front in [nginx.address, haproxy.address] {
        for call in
            [Caller::new(front).get("/public/x"), Caller::new(front).get("/me/x").bearer(&standard.alice().sign())]
        {
            call.send().is(503);
        }
    }
    upstream.assert_untouched();
}
