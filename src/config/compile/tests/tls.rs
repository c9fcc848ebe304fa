//! TLS of listeners: what a configuration that names certificates comes to.

use std::fs;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;
use crate::tls::Protocol;

/// A directory with `a.pem`, `a.key`, `b.pem` (for another name, expired), `b.key`, and a realm.
fn directory(main: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    for (name, expired) in [("a", false), ("b", true)] {
        let mut params = CertificateParams::new(vec![format!("{name}.test")]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
    write("portcullis.toml", main);
    fs::create_dir(directory.path().join("realms")).unwrap();
    write("realms/shop.toml", &shop_text(PUBLIC));
    directory
}

fn loaded(main: &str, secrets: bool) -> Result<Config, Problems> {
    load(directory(main).path(), &Sources { env: &env, secrets })
}

/// A listener with these keys in its `tls`.
fn listener(tls: &str) -> String {
    format!("[server]\nlisten = [{{ address = '127.0.0.1:8443', tls = {{ {tls} }} }}]\n")
}

const A: &str = "certificates = [{ cert = 'a.pem', key = { file = 'a.key' } }]";
const B: &str = "certificates = [{ cert = 'b.pem', key = { file = 'b.key' } }]";

#[test]
fn a_listener_with_a_certificate_speaks_both_protocols_and_asks_for_no_certificate() {
    let config = loaded(&listener(A), true).unwrap();
    let [Some(tls)] = config.tls.server.as_slice() else { panic!("{:?}", config.tls) };
    assert_eq!(&**tls.listener(), "127.0.0.1:8443");
    let protocols = [Protocol::H2, Protocol::Http11].map(|protocol| protocol.as_str().as_bytes().to_vec());
    assert_eq!(tls.config().alpn_protocols, protocols);
    assert!(!tls.asks_for_certificates());
    assert_eq!(config.tls.admin, None);
    let files: Vec<_> = config.files.iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
    assert!(files.contains(&"a.pem") && files.contains(&"a.key"), "both are watched: {files:?}");
}

#[test]
fn a_certificate_that_has_expired_is_warned_of() {
    let config = loaded(&listener(B), true).unwrap();
    let warnings = warnings(&config);
    assert!(warnings.iter().any(|text| text.contains("expired at 2020-01-01T00:00:00.000Z")), "{warnings:?}");
}

#[test]
fn certificates_are_looked_at_where_secrets_are_not_and_keys_are_not() {
    let main = listener("certificates = [{ cert = 'a.pem', key = { file = 'nowhere.key' } }]");
    assert!(loaded(&main, false).is_ok());
    refused(loaded(&main, true), "server.listen[0].tls.certificates[0].key", "does not exist");
    let main = listener("certificates = [{ cert = 'nowhere.pem', key = { file = 'a.key' } }]");
    refused(loaded(&main, false), "server.listen[0].tls.certificates[0].cert", "does not exist");
}

#[test]
fn one_name_has_one_certificate() {
    let twice =
        "certificates = [{ cert = 'a.pem', key = { file = 'a.key' } }, { cert = 'a.pem', key = { file = 'a.key' } }]";
    refused(loaded(&listener(twice), true), "server.listen[0].tls.certificates[1].cert", "\"a.test\"");
}

#[test]
fn clients_must_have_a_certificate_where_somebody_vouches_for_them() {
    let config = loaded(&listener(&format!("{A}, client_ca = 'b.pem'")), true).unwrap();
    assert!(config.tls.secured().all(crate::tls::ListenerTls::asks_for_certificates));
    let alone = loaded(&listener(&format!("{A}, client_certificates = 'optional'")), true);
    refused(alone, "server.listen[0].tls.client_certificates", "client_ca");
    let no_pem = loaded(&listener(&format!("{A}, client_ca = 'a.key'")), true);
    refused(no_pem, "server.listen[0].tls.client_ca", "no certificates");
}

#[test]
fn the_admin_listener_may_be_anywhere_with_tls_and_speaks_http_1_1() {
    let admin = |more: &str| format!("[admin]\nlisten = {{ address = '0.0.0.0:9901', tls = {{ {A}{more} }} }}\n");
    let config = loaded(&admin(""), true).unwrap();
    assert_eq!(config.tls.admin.unwrap().config().alpn_protocols, [b"http/1.1".to_vec()]);
    refused(loaded(&admin(", alpn = ['h2']"), true), "admin.listen.tls.alpn[0]", "http/1.1");
}
