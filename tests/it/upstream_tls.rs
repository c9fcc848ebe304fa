//! An upstream that is spoken to over TLS is verified: by the authorities and the name that the configuration says, and by
//! the system's where it says nothing. What cannot be verified is 502, and not a byte of the request is sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::support::gateway::Gateway;
use crate::support::realms::Standard;

/// The name that upstreams are verified by.
pub(crate) const NAME: &str = "api.internal";

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority of upstreams");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate for the gateway, and its key, as PEM.
    pub(crate) fn client(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["gateway.internal".to_owned()]).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Lets only those in whom `clients` has certified.
    fn server_for(&self, clients: &Self) -> ServerConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = self.certify(&[NAME], false);
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![certificate], key)
            .expect("certificate and key")
    }

    fn certify(&self, names: &[&str], expired: bool) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        if expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (certificate.der().clone(), key)
    }

    pub(crate) fn server(&self, names: &[&str], expired: bool) -> ServerConfig {
        let (certificate, key) = self.certify(names, expired);
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("certificate and key")
    }
}

/// What an upstream has seen.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    names: Mutex<Vec<String>>,
    bytes: Mutex<Vec<u8>>,
}

/// An upstream that answers `ok` over TLS, and after an upgrade sends back what it gets.
struct Tls {
    address: SocketAddr,
    seen: Arc<Seen>,
    _stop: oneshot::Sender<()>,
}

impl Tls {
    fn start(config: ServerConfig) -> Self {
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                bound.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let acceptor = TlsAcceptor::from(Arc::new(config));
                let serving = async {
                    loop {
                        let Ok((stream, _)) = listener.accept().await else { continue };
                        tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&shared)));
                    }
                };
                tokio::select! { () = serving => {}, _ = stopped => {} }
            });
        });
        Self { address: address.recv().expect("an address"), seen, _stop: stop }
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn serve(acceptor: TlsAcceptor, stream: tokio::net::TcpStream, seen: Arc<Seen>) {
    seen.connections.fetch_add(1, Ordering::SeqCst);
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
    seen.names.lock().expect("no panic").push(name);
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.bytes.lock().expect("no panic").extend_from_slice(&buffer[..count]);
        head.extend_from_slice(&buffer[..count]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let upgrade = head.windows(9).any(|window| window.eq_ignore_ascii_case(b"websocket"));
        head.clear();
        if !upgrade {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok();
            continue;
        }
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(agreed).await.ok();
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count]).await.ok();
        }
        return;
    }
}

/// A gateway before `upstream`, which is verified by these keys; `ca.pem` is the authority's certificate.
fn gateway(upstream: &Tls, tls: &str, authority: &Authority) -> Gateway {
    let realm = Standard::new();
    let more = format!("\n[upstreams.main]\nservers = [\"{{upstream}}\"]\ntls = {{ {tls} }}\n");
    let text = realm.toml().replace("upstream = \"http://{upstream}\"", "upstream = \"main\"") + &more;
    Gateway::builder()
        .realm_toml(&text)
        .env(crate::support::realms::HOUSE_SECRET, &realm.secret())
        .file("realms/ca.pem", &authority.pem)
        .place("upstream", upstream.address)
        .start()
}

#[track_caller]
fn refused(gateway: &Gateway, upstream: &Tls) {
    let reply = gateway.call("POST", "/public/x").body("a secret").send();
    assert!(!reply.text().contains("127.0.0.1") && !reply.text().contains(NAME), "{reply:?}");
    reply.denied("upstream_unavailable");
    assert!(upstream.connections() > 0);
    assert_eq!(upstream.seen.bytes.lock().expect("no panic").as_slice(), b"");
}

#[test]
fn a_verified_upstream_is_spoken_to_and_its_connections_are_kept() {
    let authority = Authority::new();
    let upstream = Tls::start(authority.server(&[NAME], false));
    let gateway = gateway(&upstream, &format!("sni = \"{NAME}\", ca = \"ca.pem\""), &authority);
    for _ in 0..5 {
        let reply = gateway.get("/public/x").send().ok();
        assert_eq!(reply.text(), "ok");
        // Written down after the connection to the upstream was put aside.
        gateway.line_of(&reply);
    }
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.seen.names.lock().expect("no panic").iter().all(|name| name == NAME));
    let seen = String::from_utf8(upstream.seen.bytes.lock().expect("no panic").clone()).expect("ASCII");
    assert!(seen.starts_with("GET /public/x HTTP/1.1\r\n") && seen.contains("api.test"), "{seen}");
}

#[test]
fn a_tunnel_goes_through_tls() {
    let authority = Authority::new();
    let upstream = Tls::start(authority.server(&[NAME], false));
    let gateway = gateway(&upstream, &format!("sni = \"{NAME}\", ca = \"ca.pem\""), &authority);
    gateway.get("/public/x").send().ok();
    for _ in 0..50 {
        let mut connection = gateway.caller().connect();
        let call = gateway.get("/public/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
        call.send_on(&mut connection).is(101);
        connection.write("over TLS");
        assert_eq!(connection.read_exactly(8), b"over TLS");
    }
}

#[test]
fn an_upstream_with_another_name_is_refused() {
    let authority = Authority::new();
    for names in [&["other.internal"][..], &["internal", "*.api.internal"], &[]] {
        let upstream = Tls::start(authority.server(names, false));
        refused(&gateway(&upstream, &format!("sni = \"{NAME}\", ca = \"ca.pem\""), &authority), &upstream);
    }
    // Its address is its name where none is given.
    let upstream = Tls::start(authority.server(&[NAME], false));
    refused(&gateway(&upstream, "ca = \"ca.pem\"", &authority), &upstream);
    let upstream = Tls::start(authority.server(&["127.0.0.1"], false));
    gateway(&upstream, "ca = \"ca.pem\"", &authority).get("/public/x").send().ok();
}

#[test]
fn an_upstream_of_an_unknown_authority_is_refused() {
    let (authority, strange) = (Authority::new(), Authority::new());
    let upstream = Tls::start(strange.server(&[NAME], false));
    refused(&gateway(&upstream, &format!("sni = \"{NAME}\", ca = \"ca.pem\""), &authority), &upstream);
    // The system does not know this one.
    let upstream = Tls::start(authority.server(&[NAME], false));
    refused(&gateway(&upstream, &format!("sni = \"{NAME}\""), &authority), &upstream);
}

#[test]
fn an_upstream_whose_certificate_has_expired_is_refused() {
    let authority = Authority::new();
    let upstream = Tls::start(authority.server(&[NAME], true));
    refused(&gateway(&upstream, &format!("sni = \"{NAME}\", ca = \"ca.pem\""), &authority), &upstream);
}

#[test]
fn an_upstream_that_does_not_speak_tls_is_refused() {
    let authority = Authority::new();
    let plain = crate::support::upstream::Upstream::start();
    let upstream = Tls { address: plain.addr(), seen: Arc::default(), _stop: oneshot::channel().0 };
    let gateway = gateway(&upstream, &format!("sni = \"{NAME}\", ca = \"ca.pem\""), &authority);
    let reply = gateway.get("/public/x").send();
    assert!(matches!(reply.status, 502 | 504), "{reply:?}");
    assert!(plain.raw_bytes().iter().all(|bytes| !bytes.starts_with(b"GET")));
}

#[test]
fn a_connection_verified_for_one_upstream_is_not_used_for_another() {
    // The same address, once with its authority, once with another: the second must not ride on the first.
    let (authority, strange) = (Authority::new(), Authority::new());
    let upstream = Tls::start(authority.server(&[NAME], false));
    let realm = Standard::new();
    let more = format!(
        "\n[upstreams.main]\nservers = [\"{{upstream}}\"]\ntls = {{ sni = \"{NAME}\", ca = \"ca.pem\" }}\n\
         [upstreams.other]\nservers = [\"{{upstream}}\"]\ntls = {{ sni = \"{NAME}\", ca = \"strange.pem\" }}\n\
         [upstreams.plain]\nservers = [\"{{upstream}}\"]\n\
         [[routes]]\npath = \"/other\"\nauth = [\"public\"]\nupstream = \"other\"\n\
         [[routes]]\npath = \"/plain\"\nauth = [\"public\"]\nupstream = \"plain\"\n"
    );
    let text = realm.toml().replace("upstream = \"http://{upstream}\"", "upstream = \"main\"") + &more;
    let gateway = Gateway::builder()
        .realm_toml(&text)
        .env(crate::support::realms::HOUSE_SECRET, &realm.secret())
        .file("realms/ca.pem", &authority.pem)
        .file("realms/strange.pem", &strange.pem)
        .place("upstream", upstream.address)
        .start();
    for _ in 0..3 {
        gateway.get("/public/x").send().ok();
        gateway.get("/other").send().denied("upstream_unavailable");
        gateway.get("/plain").send().denied("upstream_unavailable");
    }
}

/// A gateway that proves itself to `upstream` with what is in these files.
fn proving(upstream: &Tls, authority: &Authority, (cert, key): &(String, String)) -> Gateway {
    let realm = Standard::new();
    let tls = format!(
        "sni = \"{NAME}\", ca = \"ca.pem\", client_cert = \"gateway.pem\", client_key = {{ file = \"gateway.key\" }}"
    );
    // The same server twice: once with the certificate, once without.
    let more = format!(
        "\n[upstreams.main]\nservers = [\"{{upstream}}\"]\ntls = {{ {tls} }}\n\
         [upstreams.nameless]\nservers = [\"{{upstream}}\"]\ntls = {{ sni = \"{NAME}\", ca = \"ca.pem\" }}\n\
         [[routes]]\npath = \"/nameless\"\nauth = [\"public\"]\nupstream = \"nameless\"\n"
    );
    let text = realm.toml().replace("upstream = \"http://{upstream}\"", "upstream = \"main\"") + &more;
    Gateway::builder()
        .realm_toml(&text)
        .env(crate::support::realms::HOUSE_SECRET, &realm.secret())
        .file("realms/ca.pem", &authority.pem)
        .file("realms/gateway.pem", cert)
        .file("realms/gateway.key", key)
        .place("upstream", upstream.address)
        .watch_every(std::time::Duration::from_millis(20))
        .start()
}

#[test]
fn the_gateway_proves_itself_to_an_upstream_that_wants_it() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let upstream = Tls::start(authority.server_for(&clients));
    let gateway = proving(&upstream, &authority, &clients.client());
    for _ in 0..3 {
        let reply = gateway.get("/public/x").send().ok();
        gateway.line_of(&reply);
        // The connection that was proven lies there; it is not for those who prove nothing.
        gateway.get("/nameless").send().denied("upstream_unavailable");
    }
    let bytes = String::from_utf8(upstream.seen.bytes.lock().expect("no panic").clone()).expect("ASCII");
    assert!(!bytes.contains("/nameless"), "{bytes}");
}

#[test]
fn a_certificate_of_the_gateway_is_replaced_while_it_runs() {
    let (authority, clients, strange) = (Authority::new(), Authority::new(), Authority::new());
    let upstream = Tls::start(authority.server_for(&clients));
    let gateway = proving(&upstream, &authority, &strange.client());
    gateway.get("/public/x").send().denied("upstream_unavailable");
    let (cert, key) = clients.client();
    // Between the two files they do not fit, and the old ones stay.
    gateway.rewrite("realms/gateway.key", &key);
    gateway.rewrite("realms/gateway.pem", &cert);
    crate::support::eventually("the new certificate is shown", || {
        (gateway.get("/public/x").send().status == 200).then_some(())
    });
}

#[test]
fn a_certificate_and_a_key_that_do_not_fit_are_refused() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let realm = |keys: &str, files: &[(&str, &str)]| {
        let standard = Standard::new();
        let more = format!("\n[upstreams.main]\nservers = [\"a:443\"]\ntls = {{ ca = \"ca.pem\", {keys} }}\n");
        let mut builder = Gateway::builder().standard_with(&standard, &more).file("realms/ca.pem", &authority.pem);
        for (name, text) in files {
            builder = builder.file(name, text);
        }
        let upstream = "127.0.0.1:9".parse().expect("an address");
        builder.place("upstream", upstream).try_start().expect_err("a problem").to_string()
    };
    let ((cert, _), (_, other)) = (clients.client(), clients.client());
    let both = "client_cert = \"c.pem\", client_key = { file = \"k.pem\" }";
    let told = realm(both, &[("realms/c.pem", &cert), ("realms/k.pem", &other)]);
    assert!(told.contains("tls.client_key: is not the key of the first certificate in `client_cert`"), "{told}");
    let told = realm(both, &[("realms/c.pem", &cert), ("realms/k.pem", &cert)]);
    assert!(told.contains("tls.client_key: expected a private key as PEM"), "{told}");
    let told = realm(both, &[("realms/c.pem", &other), ("realms/k.pem", &other)]);
    assert!(told.contains("tls.client_cert: the file") && told.contains("holds no certificates as PEM"), "{told}");
}
