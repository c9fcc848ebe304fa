//! The parts of the tests do what they promise: a test that passes because its tools are broken proves nothing.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use portcullis::gate::outcome::Reason;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use crate::support::caller::{Caller, STATUSES, status_of};
use crate::support::issuer::{Answer, CONFIGURATION, Certificate, Issuer, JWKS};
use crate::support::keys::{Alg, Key, random};
use crate::support::log::Log;
use crate::support::postgres::Postgres;
use crate::support::realms::{Standard, api_key, key_prefix};
use crate::support::token::{
    Issues, Signer, Token, curve_order, ecdsa_to_der, ecdsa_twin, flip_signature_bit, parts, signature, with_signature,
    with_stray_bits,
};
use crate::support::upstream::{Respond, Upstream};

/// Fetches over TLS with the issuer's authority as the only root; the error's text when the handshake fails.
fn fetch(issuer: &Issuer, path: &str) -> Result<(u16, String), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(issuer.ca_pem().as_bytes()).expect("PEM")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(issuer.addr()).expect("a connection"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: issuer\r\nConnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut answer = String::new();
    // The issuer may end the connection without a TLS goodbye: the length in the head counts.
    drop(std::io::Read::read_to_string(&mut stream, &mut answer));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok((head[9..12].parse().expect("a status"), body.to_owned()))
}

#[test]
fn every_key_signs_and_verifies_by_its_algorithms_and_nothing_else() {
    for alg in Alg::ALL {
        let key = alg.key();
        let token = Signer::new("https://x.test", key.clone()).by(alg).token().sign();
        assert!(key.verifies(alg, &token), "{alg:?}");
        assert!(!key.verifies(alg, &flip_signature_bit(&token, 77)), "{alg:?}");
        let stranger = match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => Key::other_rsa2048(),
            _ => alg.key(),
        };
        assert!(!stranger.verifies(alg, &token), "{alg:?}");
    }
}

#[test]
fn public_keys_are_published_without_their_secret_half() {
    for key in [Key::rsa3072(), Key::p256(), Key::p384(), Key::ed25519()] {
        let jwk = key.jwk("k");
        assert_eq!((&jwk["kid"], jwk.get("d")), (&json!("k"), None));
        assert!(key.pem().starts_with("-----BEGIN PUBLIC KEY-----\nM"), "{}", key.pem());
    }
    assert_eq!(Key::rsa2048().jwk("k")["e"], "AQAB");
    assert!(Key::rsa2048().pkcs1_pem().starts_with("-----BEGIN RSA PUBLIC KEY-----\nM"));
}

#[test]
fn a_token_says_exactly_what_was_asked_for() {
    let signer = Signer::new("https://x.test", Key::hmac(32)).kid("k9");
    let token = Token::for_issuer(&signer).claim("scope", "a b").without("exp").header("crit", json!(["x"])).sign();
    let [header, payload, _] = parts(&token);
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url"))
            .expect("JSON")
    };
    assert_eq!(read(header), json!({"alg": "HS256", "typ": "JWT", "kid": "k9", "crit": ["x"]}));
    assert_eq!(read(payload)["scope"], "a b");
    assert_eq!(read(payload).get("exp"), None);

    let odd = b"\xff{".to_vec();
    let token = Token::for_issuer(&signer).raw_payload(odd.clone()).sign();
    assert_eq!(data_encoding::BASE64URL_NOPAD.decode(parts(&token)[1].as_bytes()), Ok(odd));
    assert!(signer.key.verifies(Alg::HS256, &token));
    assert!(Token::for_issuer(&signer).unsigned().ends_with('.'));
}

#[test]
fn the_twin_of_an_ecdsa_signature_verifies_and_its_der_form_does_not() {
    for (key, alg) in [(Key::p256(), Alg::ES256), (Key::p384(), Alg::ES384)] {
        let token = Signer::new("https://x.test", key.clone()).token().sign();
        let raw = signature(&token);
        let twin = ecdsa_twin(&raw);
        assert_ne!(twin, raw);
        assert_eq!(ecdsa_twin(&twin), raw);
        assert!(key.verifies(alg, &with_signature(&token, &twin)));
        assert!(!key.verifies(alg, &with_signature(&token, &ecdsa_to_der(&raw))));
        assert_eq!(curve_order(raw.len() / 2).len(), raw.len() / 2);
    }
    assert_eq!(ecdsa_to_der(&[0, 5, 0x80, 1]), [0x30, 8, 2, 1, 5, 2, 3, 0, 0x80, 1]);
}

#[test]
fn stray_bits_change_the_text_and_not_the_bytes() {
    assert_eq!(with_stray_bits("QQ").as_deref(), Some("QR"));
    assert_eq!(with_stray_bits("QUE").as_deref(), Some("QUF"));
    assert_eq!(with_stray_bits("QUFB"), None);
}

#[test]
fn an_issuer_serves_its_documents_over_tls() {
    let issuer = Issuer::start();
    let (status, body) = fetch(&issuer, CONFIGURATION).expect("an answer");
    let configuration: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &configuration["issuer"]), (200, &json!(issuer.issuer_url())));
    assert_eq!(configuration["jwks_uri"], issuer.jwks_url());
    let (_, body) = fetch(&issuer, JWKS).expect("an answer");
    assert!(body.contains("\"k1\""), "{body}");

    let key = Key::p256();
    issuer.rotate_to("k2", &key);
    let (_, body) = fetch(&issuer, JWKS).expect("an answer");
    assert!(body.contains("\"k2\"") && !body.contains("\"k1\""), "{body}");
    assert!(key.verifies(Alg::ES256, &Token::for_issuer(&issuer).sign()));
    assert_eq!(issuer.signer().kid.as_deref(), Some("k2"));
    assert_eq!((issuer.hits(JWKS), issuer.hits(CONFIGURATION), issuer.all_hits()), (2, 1, 3));
    assert_eq!(fetch(&issuer, "/elsewhere").expect("an answer").0, 404);
}

#[test]
fn an_issuer_fails_in_the_way_it_was_told_to() {
    let issuer = Issuer::start();
    issuer.answer(JWKS, Answer::Status(500));
    assert_eq!(fetch(&issuer, JWKS).expect("an answer").0, 500);
    issuer.answer(JWKS, Answer::Redirect("http://127.0.0.1:9/".to_owned()));
    assert_eq!(fetch(&issuer, JWKS).expect("an answer").0, 307);
    issuer.answer(JWKS, Answer::Bytes(b"rubbish".to_vec()));
    assert_eq!(fetch(&issuer, JWKS), Ok((200, "rubbish".to_owned())));
    issuer.answer(JWKS, Answer::Oversize(100_000));
    assert_eq!(fetch(&issuer, JWKS).expect("an answer").1.len(), 100_000);
    issuer.answer(JWKS, Answer::Document);
    for certificate in
        [Certificate::Expired, Certificate::WrongName, Certificate::SelfSigned, Certificate::StrangeAuthority]
    {
        issuer.certificate(certificate);
        assert!(fetch(&issuer, JWKS).expect_err("a refusal").contains("certificate"), "{certificate:?}");
    }
    issuer.certificate(Certificate::Good);
    assert_eq!(fetch(&issuer, JWKS).expect("an answer").0, 200);
    assert_eq!(issuer.connections(), 9);
}

#[test]
fn an_upstream_tells_and_keeps_what_it_received() {
    let upstream = Upstream::start();
    upstream.assert_untouched();
    let caller = Caller::new(upstream.addr());
    let call = caller.post("/a?b=c").header("X-One", "1").header("x-one", "2").body("hello");
    let mut connection = caller.connect();
    let reply = call.send_on(&mut connection).ok();
    assert_eq!(reply.json()["method"], "POST");
    assert_eq!(reply.json()["target"], "/a?b=c");
    assert_eq!(reply.json()["body"], "hello");
    let recorded = upstream.last();
    assert_eq!(recorded.all("X-ONE"), ["1", "2"]);
    assert_eq!(upstream.raw_bytes(), [call.bytes()]);

    let reply = caller.post("/b").chunked(&["ab", "cde"], &[("X-End", "yes")]).send_on(&mut connection).ok();
    assert_eq!(reply.json()["body"], "abcde");
    assert_eq!(upstream.last().trailers, [("X-End".to_owned(), "yes".to_owned())]);
    assert_eq!(upstream.last().aliases("x_end").len(), 1);
    let reply = caller.call("HEAD", "/c").send_on(&mut connection).ok();
    assert!(reply.body.is_empty());
    assert_eq!((upstream.requests().len(), upstream.connections()), (3, 1));
    upstream.forget();
    upstream.assert_untouched();
}

#[test]
fn an_upstream_misbehaves_in_the_way_it_was_told_to() {
    let upstream = Upstream::start();
    let caller = Caller::new(upstream.addr());
    upstream.respond(Respond::Raw(b"HTTP/1.1 204 No Content\r\nX-Odd: 1\r\n\r\n".to_vec()));
    assert_eq!(caller.get("/").send().is(204).header("x-odd"), Some("1"));
    upstream.respond(Respond::RawThenClose(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec()));
    assert_eq!(caller.get("/").send().ok().text(), "until the end");
    upstream.respond(Respond::Close);
    assert_eq!(caller.try_send_raw(caller.get("/").bytes()), None);

    upstream.respond(Respond::Hold);
    let mut held = caller.connect();
    held.write(caller.get("/held").bytes());
    crate::support::eventually("the request is held", || (upstream.requests().len() == 4).then_some(()));
    upstream.release();
    assert_eq!(held.read_reply(false).expect("an answer").json()["target"], "/held");
}

#[test]
fn an_upstream_speaks_websocket_when_asked() {
    let upstream = Upstream::start();
    upstream.respond(Respond::WebSocket);
    let caller = Caller::new(upstream.addr());
    let mut connection = caller.connect();
    let reply = caller
        .get("/ws")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .send_on(&mut connection)
        .is(101);
    // The example of RFC 6455 section 1.3.
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    connection.write("ping");
    assert_eq!(connection.read_exactly(4), b"ping");
}

#[test]
fn an_upstream_notices_what_it_cannot_read() {
    let upstream = Upstream::start();
    let caller = Caller::new(upstream.addr());
    let twice = caller.post("/").header("Transfer-Encoding", "chunked").body("0\r\n\r\n").bytes();
    assert_eq!(caller.try_send_raw(twice), None);
    assert_eq!(upstream.faults().len(), 1);
    assert!(!upstream.raw_bytes()[0].is_empty());
}

#[test]
fn a_caller_chooses_its_address_and_sees_the_end_of_a_connection() {
    let upstream = Upstream::start();
    let caller = Caller::new(upstream.addr());
    assert_eq!(caller.clone().from("127.0.0.2").connect().local_addr().ip().to_string(), "127.0.0.2");
    assert_eq!(caller.connect().local_addr().ip().to_string(), "127.0.0.1");
    let mut connection = caller.connect();
    upstream.respond(Respond::Close);
    connection.write(caller.get("/").bytes());
    connection.assert_closed();
}

#[test]
fn a_log_finds_lines_as_they_are_written() {
    let log = Log::default();
    let writer = std::thread::spawn({
        let mut log = log.clone();
        move || log.write_all(b"{\"request_id\":\"a\"}\n{\"request_id\":\"b\",\"status\":").expect("memory")
    });
    assert_eq!(log.line_for("a"), json!({"request_id": "a"}));
    writer.join().expect("the writer ran");
    assert_eq!(log.lines().len(), 1);
    log.clone().write_all(b"401}\n").expect("memory");
    assert_eq!(log.line_for("b")["status"], 401);
}

#[test]
fn keys_are_long_random_and_end_with_a_checksum() {
    let (one, two) = (api_key(&key_prefix()), api_key(&key_prefix()));
    assert_ne!(one, two);
    assert_eq!(one.len(), key_prefix().len() + 32 + 6);
    assert!(one[key_prefix().len()..].bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_ne!(random(16), random(16));
}

#[test]
fn the_standard_realm_is_toml_with_every_issuer() {
    let issuer = Issuer::start();
    for standard in [Standard::new(), Standard::new().with_jwks(&issuer), Standard::new().with_discovery(&issuer)] {
        let realm: toml::Table = standard.toml().parse().expect("TOML");
        let issuers = realm["issuers"].as_array().expect("a list").len();
        assert_eq!(issuers, 1 + usize::from(standard.ca_pem().is_some()));
        assert!(standard.house.key.verifies(Alg::HS256, &standard.alice().sign()));
    }
}

#[test]
fn the_gateways_reasons_have_the_documented_statuses() {
    for reason in Reason::ALL {
        assert_eq!(reason.public().status, status_of(reason.as_str()), "{reason}");
    }
    let documented: usize = STATUSES.iter().map(|(_, reasons)| reasons.len()).sum();
    assert_eq!(documented, Reason::ALL.len());
}

#[test]
fn a_database_server_keeps_what_it_was_told_and_leaves_nothing_behind() {
    let mut server = Postgres::private();
    let database = server.new_database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    server.sql(&name, "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7)");
    server.kill();
    TcpStream::connect(("127.0.0.1", server.port())).expect_err("it is down");
    server.restart();
    assert_eq!(server.sql(&name, "SELECT n FROM t"), "7");
    let (port, directory) = (server.port(), server.directory().to_owned());
    drop(server);
    TcpStream::connect(("127.0.0.1", port)).expect_err("it is gone");
    assert!(!directory.exists());
}
