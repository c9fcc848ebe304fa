//! Client certificates over real connections: whose they are, what the upstream is told, what they open and what not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::support::DEADLINE;
use super::support::caller::Reply;
use super::support::gateway::Gateway;
use super::support::realms::Standard;
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

struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Identity {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: rcgen::Issuer::new(params, key) }
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    fn server(&self) -> Identity {
        self.sign(&CertificateParams::new(vec!["api.test".to_owned()]).expect("a name"))
    }

    /// A client's, with `uri:…`, `dns:…` or `cn:…` as its only name.
    fn client(&self, name: &str) -> Identity {
        self.sign(&client(name))
    }
}

fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // Beside alternative names it counts for nothing.
    params.distinguished_name.push(DnType::CommonName, "legacy batch");
    let text = |text: &str| Ia5String::try_from(text).expect("ASCII");
    match name.split_once(':').expect("a kind") {
        ("uri", uri) => params.subject_alt_names.push(SanType::URI(text(uri))),
        ("dns", name) => params.subject_alt_names.push(SanType::DnsName(text(name))),
        ("cn", name) => params.distinguished_name.push(DnType::CommonName, name),
        (kind, _) => panic!("{kind}"),
    }
    params
}

impl Identity {
    fn fingerprint(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(&self.der))
    }
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
        Self::with(&Authority::new("clients").client("cn:nobody"), Authority::new("clients"))
    }

    /// `pinned`: the certificate of the client that is known by it.
    fn with(pinned: &Identity, clients: Authority) -> Self {
        let (servers, upstream, standard) = (Authority::new("servers"), Upstream::start(), Standard::new());
        let own = servers.server();
        let tls = r#"certificates = [{ cert = "server.pem", key = { file = "server.key" } }], client_ca = "clients.pem", client_certificates = "optional""#;
        let gateway = Gateway::builder()
            .listen(&format!("{{ address = \"127.0.0.1:0\", tls = {{ {tls} }} }}"))
            .standard_with(&standard, &RULES.replace("{pin}", &pinned.fingerprint()))
            .file("server.pem", own.pem.as_bytes())
            .file("server.key", own.key.serialize_pem().as_bytes())
            .file("clients.pem", clients.pem.as_bytes())
            .upstream(&upstream)
            .start();
        Self { gateway, upstream, standard, servers, clients }
    }

    /// A connection on which this certificate is shown.
    fn line(&self, identity: Option<&Identity>) -> Line {
        let mut roots = RootCertStore::empty();
        roots.add(self.servers.der.clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
                builder.with_client_auth_cert(vec![identity.der.clone()], key).expect("certificate and key")
            }
        };
        let stream = TcpStream::connect(self.gateway.addr()).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let name = ServerName::try_from("api.test").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        Line(StreamOwned::new(connection, stream))
    }

    /// What comes of one request on a connection of its own.
    fn ask(&self, identity: &Identity, path: &str) -> Reply {
        self.line(Some(identity)).get(path, "").expect("a reply")
    }
}

struct Line(StreamOwned<ClientConnection, TcpStream>);

impl Line {
    /// None: the connection broke off.
    fn get(&mut self, path: &str, fields: &str) -> Option<Reply> {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n").ok()?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("UTF-8");
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().expect("a length"))];
        self.0.read_exact(&mut body).ok()?;
        Some(Reply { status, headers, body })
    }
}

#[test]
fn the_upstream_is_told_whose_the_certificate_is() {
    let house = House::new();
    let identity = house.clients.client("uri:spiffe://prod/billing");
    let reply = house.ask(&identity, "/mtls/x").ok();
    let seen = house.upstream.only();
    for (name, value) in [
        ("X-Auth-Subject", "billing"),
        ("X-Auth-Client", "billing"),
        ("X-Auth-Method", "mtls"),
        ("X-Auth-Credential-Id", &identity.fingerprint()),
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
    assert_eq!(line["credential_id"], identity.fingerprint());
    house.ask(&house.clients.client("dns:billing.internal"), "/scoped/x").ok();
    house.ask(&house.clients.client("dns:billing.internal"), "/scoped/x").ok();
    let labels = [("realm", "api"), ("credential", "mtls"), ("result", "ok")];
    house.gateway.metric_becomes("portcullis_authentications_total", &labels, 3.0);
}

#[test]
fn who_shows_no_certificate_or_one_of_nobody_is_refused() {
    let house = House::new();
    let missing = house.line(None).get("/mtls/x", "").expect("a reply").denied("missing_credentials");
    assert!(missing.header("www-authenticate").is_some());
    let identity = house.clients.client("uri:spiffe://prod/billing/x");
    let reply = house.ask(&identity, "/mtls/x").denied("token_invalid");
    assert_eq!(house.gateway.why(&reply), "certificate");
    assert_eq!(house.gateway.line_of(&reply)["credential_id"], identity.fingerprint());
    house.ask(&house.clients.client("uri:spiffe://prod/off"), "/mtls/x").denied("key_disabled");
    // Its common name is that of a client, but it has alternative names.
    house.ask(&house.clients.client("dns:other.internal"), "/mtls/x").denied("token_invalid");
    house.upstream.assert_untouched();
    let labels = [("realm", "api"), ("credential", "mtls"), ("result", "rejected")];
    house.gateway.metric_becomes("portcullis_authentications_total", &labels, 3.0);
    house.ask(&house.clients.client("cn:legacy batch"), "/mtls/x").ok();
}

#[test]
fn what_another_authority_has_signed_reaches_no_route() {
    let house = House::new();
    let forged = Authority::new("clients").client("uri:spiffe://prod/billing");
    for path in ["/mtls/x", "/public/x"] {
        assert!(house.line(Some(&forged)).get(path, "").is_none_or(|reply| reply.status >= 400), "{path}");
    }
    house.upstream.assert_untouched();
}

#[test]
fn a_pinned_certificate_is_that_one_whatever_its_names() {
    let clients = Authority::new("clients");
    let (pinned, twin) = (clients.client("uri:spiffe://prod/x"), clients.client("uri:spiffe://prod/x"));
    let house = House::with(&pinned, clients);
    house.ask(&pinned, "/mtls/x").ok();
    assert_eq!(house.upstream.only().header("X-Auth-Subject"), Some("pinned"));
    house.ask(&twin, "/mtls/x").denied("token_invalid");
}

#[test]
fn a_token_that_is_sent_decides_and_a_certificate_where_none_is() {
    let house = House::new();
    let mut line = house.line(Some(&house.clients.client("uri:spiffe://prod/billing")));
    let subject = |house: &House| house.upstream.last().header("X-Auth-Subject").map(str::to_owned);
    line.get("/both/x", "").expect("a reply").ok();
    assert_eq!(subject(&house).as_deref(), Some("billing"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    line.get("/both/x", &bearer(&house.standard.alice().sign())).expect("a reply").ok();
    assert_eq!(subject(&house).as_deref(), Some("alice"));
    let expired = house.standard.alice().expires_in(-1).sign();
    line.get("/both/x", &bearer(&expired)).expect("a reply").denied("token_expired");
    // A certificate says nothing on a route that does not ask for one.
    line.get("/me/x", "").expect("a reply").denied("missing_credentials");
    line.get("/public/x", "").expect("a reply").ok();
    assert_eq!(subject(&house), None);
    let mut none = house.line(None);
    none.get("/maybe/x", "").expect("a reply").ok();
    assert_eq!(subject(&house), None);
    house.ask(&house.clients.client("uri:spiffe://prod/nobody"), "/maybe/x").denied("token_invalid");
}

#[test]
fn a_certificate_that_is_told_in_a_field_is_none() {
    let house = House::new();
    let identity = house.clients.client("uri:spiffe://prod/billing");
    let pem = identity.pem.replace('\n', "");
    for name in ["X-SSL-Client-Cert", "X-Client-Cert", "X-Forwarded-Client-Cert", "Client-Cert", "Ssl-Client-Cert"] {
        let field = format!("{name}: {pem}\r\nX-SSL-Client-Verify: SUCCESS\r\n");
        house.line(None).get("/mtls/x", &field).expect("a reply").denied("missing_credentials");
        house.upstream.assert_untouched();
        house.line(Some(&identity)).get("/mtls/x", &field).expect("a reply").ok();
        let seen = house.upstream.only();
        assert!(seen.aliases(name).is_empty() && seen.aliases("X-SSL-Client-Verify").is_empty(), "{name}: {seen:?}");
        house.upstream.forget();
    }
}

#[test]
fn a_connection_outlives_certificate_name_and_client_but_nothing_more_comes_over_it() {
    let house = House::new();
    let mut params = client("uri:spiffe://prod/billing");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    let mut line = house.line(Some(&house.clients.sign(&params)));
    line.get("/mtls/x", "").expect("a reply").ok();

    let rename = |from: &str, to: &str| {
        house.gateway.rewrite("realms/realm0.toml", &house.gateway.realm_file().replace(from, to));
        house.gateway.reload().expect("a good configuration");
    };
    rename("spiffe://prod/billing", "spiffe://prod/gone");
    line.get("/mtls/x", "").expect("a reply").denied("token_invalid");
    rename("spiffe://prod/gone", "spiffe://prod/billing");
    line.get("/mtls/x", "").expect("a reply").ok();

    house.gateway.pass(Duration::from_secs(20 * 366 * 86_400));
    line.get("/mtls/x", "").expect("a reply").denied("token_expired");
}

#[test]
fn curl_shows_a_certificate_over_either_http() {
    let house = House::new();
    let directory = house.gateway.directory();
    let identity = house.clients.client("uri:spiffe://prod/billing");
    for (name, text) in [
        ("own.pem", identity.pem.clone()),
        ("own.key", identity.key.serialize_pem()),
        ("servers.pem", house.servers.pem.clone()),
    ] {
        std::fs::write(directory.join(name), text).expect("written");
    }
    for version in ["--http1.1", "--http2"] {
        assert_eq!(curl(&house, &[version, "--cert", "own.pem", "--key", "own.key"], directory), "200");
        assert_eq!(house.upstream.only().header("X-Auth-Subject"), Some("billing"), "{version}");
        assert_eq!(curl(&house, &[version], directory), "401", "{version}");
        house.upstream.forget();
    }
}

/// The status that curl gets.
fn curl(house: &House, arguments: &[&str], directory: &Path) -> String {
    let port = house.gateway.addr().port();
    let ended = Command::new("curl")
        .current_dir(directory)
        .args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--cacert", "servers.pem", "--resolve", &format!("api.test:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://api.test:{port}/mtls/x"))
        .output()
        .expect("curl can be run");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("UTF-8")
}
