//! Where the gateway goes for keys, and where it cannot be sent (W-11, W-13), and whom it believes there (W-14).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;

use serde_json::json;

use super::super::support::DEADLINE;
use super::super::support::gateway::Gateway;
use super::super::support::issuer::{Answer, CONFIGURATION, Certificate, Issuer, JWKS};
use super::super::support::realms::Standard;
use super::super::support::token::Token;
use super::super::support::upstream::Upstream;
use super::{COOLDOWN, Stage, at_url, believing, builder};

const DISCOVERY: &str = "discovery = true, ca = \"ca.pem\"";

fn by_discovery(issuer: Issuer) -> Stage {
    let foreign = believing("foreign", &issuer, "\"RS256\"", DISCOVERY);
    Stage::in_realm(issuer, &foreign)
}

#[test]
fn w11_a_redirect_leads_nowhere() {
    let (canary, other) = (Upstream::start(), Issuer::start());
    for path in [CONFIGURATION, JWKS] {
        let issuer = Issuer::start();
        issuer.answer(path, Answer::Redirect(format!("http://{}/", canary.addr())));
        let stage = by_discovery(issuer);
        stage.unavailable(stage.ask_anew(), "key_set_never_loaded");
        let mut failures = 1;
        let targets = [
            format!("http://{}/jwks", canary.addr()),
            format!("https://{}/jwks", canary.addr()),
            format!("//{}/jwks", canary.addr()),
            other.jwks_url(),
            format!("{}?again", stage.issuer.jwks_url()),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "/jwks-moved".to_owned(),
        ];
        for (status, target) in [301, 302, 303, 307, 308].into_iter().cycle().zip(targets.iter().cycle()).take(40) {
            stage.issuer.answer(path, Answer::Location(status, target.clone()));
            stage.gw.pass(COOLDOWN);
            stage.unavailable(stage.ask_anew(), "key_set_never_loaded");
            let error = stage.last_error();
            assert!(error.ends_with(&format!("status {status}: not followed")), "{target}: {error}");
            failures += 1;
            assert_eq!(stage.refreshes(), (0, failures), "{target}");
        }
        assert_eq!(stage.issuer.hits("/jwks-moved"), 0);
        stage.issuer.answer(path, Answer::Document);
        stage.gw.pass(COOLDOWN);
        stage.ask_anew().ok();
    }
    assert_eq!((canary.connections(), other.connections()), (0, 0));
}

#[test]
fn w11_a_fetch_tells_the_issuer_nothing_and_keeps_nothing_of_its_answer() {
    let stage = by_discovery(Issuer::start());
    stage.ask_anew().ok();
    for _ in 0..3 {
        stage.invalid(stage.fetch_again(), "kid");
    }
    for path in [CONFIGURATION, JWKS] {
        let requests = stage.issuer.requests(path);
        assert_eq!(requests.len(), 4);
        for headers in requests {
            let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["accept", "host", "user-agent"], "{headers:?}");
        }
    }
}

#[test]
fn w11_a_url_with_credentials_is_refused_when_the_configuration_is_read() {
    let (issuer, upstream, standard) = (Issuer::start(), Upstream::start(), Standard::new());
    for (url, complaint) in [
        (format!("https://user:hunter2@{}/jwks", issuer.addr()), "credentials"),
        (format!("https://hunter2@{}/jwks", issuer.addr()), "credentials"),
        ("http://169.254.169.254/jwks?hunter2".to_owned(), "this machine"),
        ("http://id.example/jwks?hunter2".to_owned(), "this machine"),
        ("file:///etc/hunter2".to_owned(), "URL"),
        (format!("https://{}/jwks#hunter2", issuer.addr()), "fragment"),
    ] {
        let keys = format!("jwks_url = \"{url}\", ca = \"ca.pem\"");
        let foreign = believing("foreign", &issuer, "\"RS256\"", &keys);
        let problems = builder(&standard, &issuer, &upstream, &foreign).try_start().expect_err("a refusal");
        let text: String = problems.0.iter().map(|problem| format!("{}: {}\n", problem.key, problem.text)).collect();
        assert!(text.contains("jwks_url") && text.contains(complaint) && !text.contains("hunter2"), "{url}: {text}");
    }
    assert_eq!(issuer.connections(), 0);
}

#[test]
fn w11_a_discovery_document_cannot_send_the_gateway_elsewhere_or_speak_for_others() {
    let canary = Upstream::start();
    let stage = by_discovery(Issuer::start());
    stage.ask_anew().ok();
    let (url, jwks_url) = (stage.issuer.issuer_url().to_owned(), stage.issuer.jwks_url());
    let spoilt = [
        ("jwks_uri", json!(format!("https://user:hunter2@{}/jwks", stage.issuer.addr()))),
        ("jwks_uri", json!(format!("http://{}/jwks?hunter2", canary.addr()))),
        ("jwks_uri", json!("http://169.254.169.254/hunter2")),
        ("jwks_uri", json!("file:///etc/hunter2")),
        ("jwks_uri", json!("/jwks")),
        ("jwks_uri", json!(null)),
        ("jwks_uri", json!([jwks_url])),
        ("issuer", json!("https://evil.test")),
        ("issuer", json!(format!("{url}/"))),
        ("issuer", json!([url])),
        ("issuer", json!(null)),
    ];
    for (failures, (member, value)) in (1..).zip(spoilt) {
        stage.issuer.configure(member, value.clone());
        stage.unavailable(stage.fetch_again(), "key_set_failing");
        let error = stage.last_error();
        assert!(error.contains("discovery: ") && !error.contains("hunter2"), "{member} = {value}: {error}");
        assert_eq!((stage.refreshes(), stage.issuer.hits(JWKS)), ((1, failures), 1), "{member} = {value}");
        stage.ask_anew().ok();
        stage.issuer.configure("issuer", url.clone());
        stage.issuer.configure("jwks_uri", jwks_url.clone());
    }
    assert_eq!(canary.connections(), 0);
    stage.invalid(stage.fetch_again(), "kid");
}

#[test]
fn w13_the_issuer_a_token_names_is_never_asked_for_keys() {
    let (stage, stranger) = (Stage::start(Issuer::start()), Issuer::start());
    stage.ask_anew().ok();
    stage.gw.pass(COOLDOWN);
    let theirs = || Token::for_issuer(&stranger);
    let ours = stage.issuer.issuer_url();
    for (token, why) in [
        (theirs(), "issuer"),
        (theirs().header("jku", stranger.jwks_url()), "header"),
        (theirs().claim("iss", stranger.jwks_url()), "issuer"),
        (theirs().claim("iss", json!([stranger.issuer_url(), ours])), "issuer"),
        (theirs().claim("iss", format!("{ours}/../{}", stranger.addr())), "issuer"),
        (theirs().claim("iss", format!("{ours}@{}", stranger.addr())), "issuer"),
        (theirs().claim("iss", ours).header("x5u", stranger.jwks_url()), "header"),
    ] {
        stage.invalid(stage.ask(&token.sign()), why);
    }
    assert_eq!((stranger.connections(), stage.issuer.hits(JWKS)), (0, 1));
}

#[test]
fn w14_keys_are_not_taken_from_a_server_that_does_not_prove_its_name() {
    let issuer = Issuer::start();
    issuer.certificate(Certificate::Expired);
    let stage = Stage::start(issuer);
    for (certificate, complaint) in [
        (Certificate::Expired, "the certificate has expired"),
        (Certificate::WrongName, "the certificate is for another name"),
        (Certificate::SelfSigned, "the certificate is not from a trusted authority"),
        (Certificate::StrangeAuthority, "the certificate is not from a trusted authority"),
    ] {
        stage.issuer.certificate(certificate);
        stage.gw.pass(COOLDOWN);
        stage.unavailable(stage.ask_anew(), "key_set_never_loaded");
        assert!(stage.last_error().ends_with(&format!("TLS: {complaint}")), "{}", stage.last_error());
        assert_eq!(stage.issuer.all_hits(), 0, "{certificate:?}: something was asked for");
    }
    stage.issuer.certificate(Certificate::Good);
    stage.gw.pass(COOLDOWN);
    stage.ask_anew().ok();
}

#[test]
fn w14_without_a_ca_of_its_own_an_issuer_must_be_known_to_the_system() {
    let issuer = Issuer::start();
    let keys = at_url(&issuer, "").replace(", ca = \"ca.pem\"", "");
    let foreign = believing("foreign", &issuer, "\"RS256\"", &keys);
    let stage = Stage::in_realm(issuer, &foreign);
    stage.unavailable(stage.ask_anew(), "key_set_never_loaded");
    assert_eq!((stage.issuer.all_hits(), stage.refreshes().0), (0, 0));
    assert!(stage.last_error().contains("TLS"), "{}", stage.last_error());
}

/// Chooses TLS 1.0, whatever the client offers, and gives back what the client sent: its greeting, and its answer.
fn old_server() -> (SocketAddr, JoinHandle<[Vec<u8>; 2]>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serve = move || {
        let mut stream = listener.accept().expect("a client").0;
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let greeting = read_record(&mut stream);
        let body = [&[3, 1][..], &[7; 32], &[0], &[0xc0, 0x13], &[0]].concat();
        let hello = [&[2, 0, 0, body.len() as u8][..], &body].concat();
        let record = [&[22, 3, 1, 0, hello.len() as u8][..], &hello].concat();
        stream.write_all(&record).expect("sent");
        [greeting, read_record(&mut stream)]
    };
    (address, std::thread::spawn(serve))
}

fn read_record(stream: &mut impl Read) -> Vec<u8> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).expect("the head of a record");
    let mut body = vec![0; usize::from(record[3]) << 8 | usize::from(record[4])];
    stream.read_exact(&mut body).expect("the body of a record");
    record.append(&mut body);
    record
}

#[test]
fn w14_a_server_that_chooses_tls_1_0_is_sent_away() {
    let (issuer, upstream, standard) = (Issuer::start(), Upstream::start(), Standard::new());
    let (address, server) = old_server();
    let keys = format!("jwks_url = \"https://{address}/jwks\", ca = \"ca.pem\"");
    let foreign = believing("foreign", &issuer, "\"RS256\"", &keys);
    let gw: Gateway = builder(&standard, &issuer, &upstream, &foreign).start();
    let stage = Stage { gw, issuer, upstream, standard };
    stage.unavailable(stage.ask_anew(), "key_set_never_loaded");
    let [greeting, answer] = server.join().expect("the server ran");
    let offered = [0, 0x2b, 0, 5, 4, 3, 4, 3, 3]; // supported_versions: 1.3 and 1.2, nothing else
    assert!(greeting.windows(offered.len()).any(|part| part == offered), "{greeting:02x?}");
    assert_eq!((answer[0], answer[5]), (21, 2), "no fatal alert: {answer:02x?}");
    assert!(stage.last_error().contains("TLS"), "{}", stage.last_error());
}
