//! Certificates as they are given, and which of them is shown.

use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

use super::choice::Choice;
use super::*;
use crate::clock::UnixMillis;

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A certificate that vouches for itself, and its key.
fn pair(params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn certificate(label: &str, names: &[&str]) -> Certificate {
    let (cert, key) = pair(&params(names));
    Certificate::read(label, cert.as_bytes()).unwrap().with_key(key.as_bytes()).unwrap()
}

fn terms(certificates: Vec<Certificate>) -> Terms {
    Terms {
        listener: "127.0.0.1:8443".into(),
        certificates,
        oldest: Oldest::Tls12,
        suites: suites().map(|(_, suite)| suite).collect(),
        protocols: vec![Protocol::H2, Protocol::Http11],
        tickets: true,
        clients: None,
    }
}

#[test]
fn a_certificate_tells_its_names_and_its_time() {
    let mut params = params(&["Shop.Example", "*.shop.example", "127.0.0.1"]);
    params.not_after = date_time_ymd(2030, 1, 1);
    let read = Certificate::read("shop.pem", pair(&params).0.as_bytes()).unwrap();
    assert_eq!(read.label(), "shop.pem");
    assert_eq!(read.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["shop.example", "*.shop.example"]);
    assert_eq!(read.not_after(), UnixMillis(1_893_456_000_000));
    // An address is a name, too, though nobody asks for it in a handshake.
    assert!(Certificate::read("a.pem", pair(&self::params(&["127.0.0.1"])).0.as_bytes()).unwrap().names().is_empty());
}

#[test]
fn what_no_client_would_accept_is_told() {
    let nameless = Certificate::read("a.pem", pair(&params(&[])).0.as_bytes()).unwrap_err();
    assert!(nameless.len() == 1 && nameless[0].contains("without names"), "{nameless:?}");
    let mut unknown = params(&[]);
    unknown.subject_alt_names = vec![SanType::URI("spiffe://a/b".to_owned().try_into().unwrap())];
    assert!(Certificate::read("a.pem", pair(&unknown).0.as_bytes()).is_err(), "a URI is no name of a server");
    for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(Certificate::read("a.pem", text.as_bytes()).unwrap_err().len(), 1, "{text:?}");
    }
}

#[test]
fn a_key_belongs_to_its_certificate_and_is_readable() {
    let ((cert, key), (_, other)) = (pair(&params(&["a.test"])), pair(&params(&["a.test"])));
    let read = || Certificate::read("a.pem", cert.as_bytes()).unwrap();
    assert!(read().with_key(key.as_bytes()).is_ok());
    assert!(read().with_key(other.as_bytes()).unwrap_err().contains("another certificate"));
    assert!(read().with_key(b"hunter2").unwrap_err().contains("expected a private key"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(read().with_key(encrypted.as_bytes()).unwrap_err().contains("encrypted"));
}

#[test]
fn the_certificate_with_the_name_is_shown_and_a_wildcard_is_one_label() {
    let certificates = [certificate("first", &["first.test"]), certificate("wild", &["*.shop.test", "shop.test"])];
    let exact = certificate("exact", &["a.shop.test"]);
    let all = [certificates[0].clone(), certificates[1].clone(), exact];
    let choice = Choice::among(&all);
    for (asked, shown) in [
        (Some("first.test"), 0),
        (Some("shop.test"), 1),
        (Some("B.Shop.test."), 1),
        (Some("a.shop.test"), 2),
        (Some("a.b.shop.test"), 0),
        (Some("test"), 0),
        (Some(""), 0),
        (None, 0),
    ] {
        let key = choice.of(asked).unwrap();
        assert!(Arc::ptr_eq(&key, all[shown].key().unwrap()), "{asked:?}");
    }
}

#[test]
fn terms_that_are_made_of_the_same_are_equal() {
    let one = certificate("a.pem", &["a.test"]);
    let tls = |change: fn(&mut Terms)| {
        let mut terms = terms(vec![one.clone()]);
        change(&mut terms);
        ListenerTls::new(terms).unwrap()
    };
    assert_eq!(tls(|_| ()), tls(|_| ()));
    for change in [
        (|terms| terms.oldest = Oldest::Tls13) as fn(&mut Terms),
        |terms| terms.tickets = false,
        |terms| terms.protocols.truncate(1),
        |terms| terms.suites.truncate(3),
        |terms| terms.certificates.push(certificate("b.pem", &["b.test"])),
        |terms| {
            let (ca, _) = pair(&params(&["ca.test"]));
            terms.clients = Some(Clients { authorities: certificates_in(ca.as_bytes()).unwrap(), required: true });
        },
    ] {
        assert_ne!(tls(|_| ()), tls(change));
    }
}

#[test]
fn nothing_that_could_be_replayed_is_ever_taken() {
    let tls = ListenerTls::new(terms(vec![certificate("a.pem", &["a.test"])])).unwrap();
    assert_eq!(tls.config().max_early_data_size, 0);
}

#[test]
fn suites_of_a_version_that_is_not_spoken_are_no_terms() {
    let mut terms = terms(vec![certificate("a.pem", &["a.test"])]);
    terms.oldest = Oldest::Tls13;
    terms.suites.retain(|suite| suite.tls13().is_none());
    assert!(!terms.suites.is_empty());
    assert!(ListenerTls::new(terms).unwrap_err().contains("cipher suites"));
}

#[test]
fn every_cipher_suite_has_the_name_that_iana_gave_it() {
    let names: Vec<_> = suites().map(|(name, _)| name).collect();
    assert_eq!(names.len(), crypto::ring::ALL_CIPHER_SUITES.len());
    assert!(names.iter().all(|name| name.starts_with("TLS_")), "{names:?}");
}
