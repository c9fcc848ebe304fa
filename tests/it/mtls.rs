//! Client certificates over real connections: whose they are, what the upstream is told, what they open and what not.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rustls::version::TLS13;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::documents::blocks;
use super::support::caller::Reply;
use super::support::gateway::Gateway;
use super::support::process::Served;
use super::support::realms::Standard;
use super::support::tls::{Authority, Pair, Secure, TlsCaller};
use super::support::upstream::Upstream;

/// Clients and routes beside those of the standard realm.
const RULES: &str = r#"
[clients.billing]
certificates = ["uri:spiffe://prod/billing", "dns:Billing.Internal"]
scopes = ["campaigns:read"]
plan = "Growth"
tenant = "acme"

[clients.batch]
certificates = ["cn:legacy batch"]

[clients.off]
certificates = ["uri:spiffe://prod/off"]
disabled = true

[clients.pinned]
certificates = ["sha256:{pin}"]

[[routes]]
path = "/mtls/**"
auth = ["mtls"]

[[routes]]
path = "/both/**"
auth = ["mtls", "jwt"]

[[routes]]
path = "/maybe/**"
auth = ["mtls", "anonymous"]

[[routes]]
path = "/scoped/**"
auth = ["mtls"]
scopes = ["campaigns:read"]
"#;

/// A client's certificate with `uri:…`, `dns:…` or `cn:…` as its only name; but for `cn:…` with a common name, too, which
/// counts for nothing then.
fn client(authority: &Authority, name: &str) -> Pair {
    authority.sign(params(name))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, "legacy batch");
    match name.split_once(':').expect("a kind") {
        ("uri", uri) => params.subject_alt_names.push(SanType::URI(uri.try_into().expect("ASCII"))),
        ("dns", name) => params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("ASCII"))),
        ("cn", name) => params.distinguished_name.push(DnType::CommonName, name),
        (kind, _) => panic!("{kind}"),
    }
    params
}

fn fingerprint(pair: &Pair) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(pair.der()))
}

struct House {
    gateway: Gateway,
    upstream: Upstream,
    standard: Standard,
    servers: Authority,
    clients: Authority,
}

impl House {
    fn new() -> Self {
        let clients = Authority::new("clients");
        Self::with(&client(&clients, "cn:pinned"), clients)
    }

    /// `pinned`: the certificate of the client that is known by it.
    fn with(pinned: &Pair, clients: Authority) -> Self {
        Self::build(pinned, clients, "")
    }

    /// With these keys in `[server]`.
    fn build(pinned: &Pair, clients: Authority, server: &str) -> Self {
        let (servers, upstream, standard) = (Authority::new("servers"), Upstream::start(), Standard::new());
        let own = servers.server(&["api.test"]);
        let tls = r#"certificates = [{ cert = "server.pem", key = { file = "server.key" } }], client_ca = "clients.pem", client_certificates = "optional""#;
        let gateway = Gateway::builder()
            .listen(&format!("{{ address = \"127.0.0.1:0\", tls = {{ {tls} }} }}"))
            .standard_with(&standard, &RULES.replace("{pin}", &fingerprint(pinned)))
            .file("server.pem", &own.cert)
            .file("server.key", &own.key)
            .file("clients.pem", &clients.pem)
            .server_toml(server)
            .upstream(&upstream)
            .start();
        Self { gateway, upstream, standard, servers, clients }
    }

    /// A connection on which this certificate is shown.
    fn line(&self, pair: Option<&Pair>) -> Line {
        let caller = TlsCaller::with(self.gateway.addr(), &[&TLS13], &["http/1.1"], pair);
        Line(caller.connect("api.test").expect("a connection"))
    }

    /// What comes of one request on a connection of its own, with a certificate with this name.
    #[track_caller]
    fn ask(&self, name: &str, path: &str) -> Reply {
        self.line(Some(&client(&self.clients, name))).get(path)
    }
}

struct Line(Secure);

impl Line {
    #[track_caller]
    fn get(&mut self, path: &str) -> Reply {
        self.with(path, "")
    }

    /// With these further fields.
    #[track_caller]
    fn with(&mut self, path: &str, fields: &str) -> Reply {
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n");
        let answer = self.0.send(request.as_bytes()).expect("an answer");
        let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
        // The head was put into lower case; a refusal is looked at more closely.
        let as_sent = |value: &str| value.replacen("bearer realm", "Bearer realm", 1);
        let headers = lines.map(|(name, value)| (name.to_owned(), as_sent(value))).collect();
        Reply { status: answer.status, headers, body: answer.body.into_bytes() }
    }
}

#[test]
fn the_upstream_is_told_whose_the_certificate_is() {
    let house = House::new();
    let pair = client(&house.clients, "uri:spiffe://prod/billing");
    let reply = house.line(Some(&pair)).get("/mtls/x").ok();
    let seen = house.upstream.only();
    for (name, value) in [
        ("X-Auth-Subject", "billing"),
        ("X-Auth-Client", "billing"),
        ("X-Auth-Method", "mtls"),
        ("X-Auth-Credential-Id", &fingerprint(&pair)),
        ("X-Auth-Scopes", "campaigns:read"),
        ("X-Auth-Plan", "Growth"),
        ("X-Auth-Tenant", "acme"),
        ("X-Forwarded-Proto", "https"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.header("X-Auth-Issuer"), None);
    let line = house.gateway.line_of(&reply);
    assert_eq!((&line["credential"], &line["subject"]), (&Value::from("mtls"), &Value::from("billing")));
    assert_eq!(line["credential_id"], fingerprint(&pair));
    house.ask("dns:billing.internal", "/scoped/x").ok();
    house.ask("cn:legacy batch", "/mtls/x").ok();
    house.ask("cn:legacy batch", "/scoped/x").denied("insufficient_scope");
    let labels = [("realm", "api"), ("credential", "mtls"), ("result", "ok")];
    house.gateway.metric_becomes("portcullis_authentications_total", &labels, 4.0);
}

#[test]
fn the_certificate_of_a_proxy_that_asks_is_not_its_clients() {
    let clients = Authority::new("clients");
    let pinned = client(&clients, "cn:pinned");
    let house = House::build(&pinned, clients, "trusted_proxies = [\"127.0.0.1\"]\n[decision]");
    let mut line = house.line(Some(&client(&house.clients, "uri:spiffe://prod/billing")));
    line.get("/mtls/x").ok();
    house.upstream.forget();
    let about = |path| {
        format!(
            "X-Forwarded-Method: GET\r\nX-Forwarded-Host: api.test\r\nX-Forwarded-Uri: {path}\r\n\
             X-Forwarded-For: 127.0.0.2\r\n"
        )
    };
    line.with("/_portcullis/decide", &about("/public/x")).ok();
    line.with("/_portcullis/decide", &about("/mtls/x")).denied("missing_credentials");
    line.with("/_portcullis/decide", &about("/maybe/x")).ok();
    house.upstream.assert_untouched();
}

#[test]
fn who_shows_no_certificate_or_one_of_nobody_is_refused() {
    let house = House::new();
    let missing = house.line(None).get("/mtls/x").denied("missing_credentials");
    assert!(missing.header("www-authenticate").is_some());
    let pair = client(&house.clients, "uri:spiffe://prod/billing/x");
    let reply = house.line(Some(&pair)).get("/mtls/x").denied("token_invalid");
    assert_eq!(house.gateway.why(&reply), "token_invalid:certificate");
    assert_eq!(house.gateway.line_of(&reply)["credential_id"], fingerprint(&pair));
    house.ask("uri:spiffe://prod/off", "/mtls/x").denied("key_disabled");
    // Its common name is that of a client, but it has an alternative name.
    house.ask("dns:other.internal", "/mtls/x").denied("token_invalid");
    house.upstream.assert_untouched();
    let labels = [("realm", "api"), ("credential", "mtls"), ("result", "rejected")];
    house.gateway.metric_becomes("portcullis_authentications_total", &labels, 3.0);
}

#[test]
fn a_pinned_certificate_is_that_one_whatever_its_names() {
    let clients = Authority::new("clients");
    let [pinned, twin] = [(); 2].map(|()| client(&clients, "uri:spiffe://prod/x"));
    let house = House::with(&pinned, clients);
    house.line(Some(&pinned)).get("/mtls/x").ok();
    assert_eq!(house.upstream.only().header("X-Auth-Subject"), Some("pinned"));
    house.line(Some(&twin)).get("/mtls/x").denied("token_invalid");
}

#[test]
fn a_token_that_is_sent_decides_and_a_certificate_where_none_is() {
    let house = House::new();
    let mut line = house.line(Some(&client(&house.clients, "uri:spiffe://prod/billing")));
    let subject = || house.upstream.last().header("X-Auth-Subject").map(str::to_owned);
    line.get("/both/x").ok();
    assert_eq!(subject().as_deref(), Some("billing"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    line.with("/both/x", &bearer(&house.standard.alice().sign())).ok();
    assert_eq!(subject().as_deref(), Some("alice"));
    line.with("/both/x", &bearer(&house.standard.alice().expires_in(-1).sign())).denied("token_expired");
    // A certificate says nothing on a route that does not ask for one.
    line.get("/me/x").denied("missing_credentials");
    line.get("/public/x").ok();
    assert_eq!(subject(), None);
    house.line(None).get("/maybe/x").ok();
    assert_eq!(subject(), None);
    house.ask("uri:spiffe://prod/nobody", "/maybe/x").denied("token_invalid");
}

#[test]
fn a_certificate_that_is_told_in_a_field_is_none() {
    let house = House::new();
    let pair = client(&house.clients, "uri:spiffe://prod/billing");
    let text = pair.cert.replace('\n', "");
    for name in ["X-SSL-Client-Cert", "X-Client-Cert", "X-Forwarded-Client-Cert", "Client-Cert", "Ssl-Client-Cert"] {
        let fields = format!("{name}: {text}\r\nX-SSL-Client-Verify: SUCCESS\r\n");
        house.line(None).with("/mtls/x", &fields).denied("missing_credentials");
        house.upstream.assert_untouched();
        house.line(Some(&pair)).with("/mtls/x", &fields).ok();
        let seen = house.upstream.only();
        assert!(seen.aliases(name).is_empty() && seen.aliases("X-SSL-Client-Verify").is_empty(), "{name}: {seen:?}");
        house.upstream.forget();
    }
}

#[test]
fn a_connection_outlives_name_and_certificate_but_nothing_more_comes_over_it() {
    let house = House::new();
    let mut params = params("uri:spiffe://prod/billing");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    let mut line = house.line(Some(&house.clients.sign(params)));
    line.get("/mtls/x").ok();

    let rename = |from: &str, to: &str| {
        house.gateway.rewrite("realms/realm0.toml", &house.gateway.realm_file().replace(from, to));
        house.gateway.reload().expect("a good configuration");
    };
    rename("spiffe://prod/billing", "spiffe://prod/gone");
    line.get("/mtls/x").denied("token_invalid");
    rename("spiffe://prod/gone", "spiffe://prod/billing");
    line.get("/mtls/x").ok();

    house.gateway.pass(Duration::from_secs(20 * 366 * 86_400));
    line.get("/mtls/x").denied("token_expired");
}

#[test]
fn curl_shows_a_certificate_over_either_http() {
    let house = House::new();
    let (directory, pair) = (house.gateway.directory(), client(&house.clients, "uri:spiffe://prod/billing"));
    for (name, text) in [("own.pem", &pair.cert), ("own.key", &pair.key), ("servers.pem", &house.servers.pem)] {
        std::fs::write(directory.join(name), text).expect("written");
    }
    let port = house.gateway.addr().port();
    let call = |more: &str| {
        let curl = format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' --cacert servers.pem --resolve api.test:{port}:127.0.0.1 {more} \
             https://api.test:{port}/mtls/x"
        );
        sh(&curl, directory)
    };
    for version in ["--http1.1", "--http2"] {
        assert_eq!(call(&format!("{version} --cert own.pem --key own.key")), "200");
        assert_eq!(house.upstream.only().header("X-Auth-Subject"), Some("billing"), "{version}");
        assert_eq!(call(version), "401", "{version}");
        house.upstream.forget();
    }
}

/// What a script prints that is run there.
#[track_caller]
fn sh(script: &str, directory: &Path) -> String {
    let ended = Command::new("sh").args(["-e", "-c", script]).current_dir(directory).output().expect("sh can be run");
    assert!(ended.status.success(), "{script}\n{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("UTF-8")
}

#[test]
fn the_page_about_client_certificates_does_what_it_says() {
    let page = std::fs::read_to_string("docs/mtls.md").expect("the page");
    let (scripts, files) = (blocks(&page, "sh"), blocks(&page, "toml"));
    let [authority, server, main, call] = scripts.as_slice() else { panic!("{scripts:#?}") };
    let (directory, upstream) = (TempDir::new().expect("a directory"), Upstream::start());
    let place = authority.replace("mkdir -p shop/realms && cd shop", "mkdir realms");
    assert_ne!(place, *authority, "the page makes a directory");
    sh(&(place + server + main), directory.path());
    let realm = files[0].replace("127.0.0.1:9000", &upstream.addr().to_string());
    std::fs::write(directory.path().join("realms/shop.toml"), realm).expect("written");
    let main = directory.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&main).expect("made by the page").replace("0.0.0.0:8443", "127.0.0.1:0");
    let admin = "[admin]\nlisten = { address = \"127.0.0.1:0\" }\n[store]\nurl = \"none\"\n";
    std::fs::write(&main, text + admin).expect("written");
    let served = Served::start(directory, &std::collections::HashMap::new());
    let call = call.replace("8443", &served.addrs[0].port().to_string()).replace("curl ", "curl -fsS ");
    sh(&call, served.directory());
    let seen = upstream.only();
    // As the page tells it, but for the fingerprint.
    let told = blocks(&page, "").into_iter().find(|block| block.contains("X-Auth-Subject")).expect("what is seen");
    for (name, value) in told.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| !name.ends_with("Id"))
    {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let own = sh("openssl x509 -noout -fingerprint -sha256 -in billing.pem", served.directory());
    let own = own.split_once('=').expect("a fingerprint").1.trim().replace(':', "").to_lowercase();
    assert_eq!(seen.header("X-Auth-Credential-Id"), Some(&*own));
}
