//! Certificates of clients: who gets through the handshake.

use rcgen::SanType;
use rustls::version::{TLS12, TLS13};

use super::{House, gateway, text};
use crate::support::tls::{Authority, Pair, TlsCaller};
use crate::support::upstream::Upstream;

fn named(name: &str) -> Vec<SanType> {
    vec![SanType::URI(name.to_owned().try_into().expect("ASCII"))]
}

impl House {
    /// A gateway that takes certificates of clients from `believed` alone.
    fn believing(believed: &Authority, more: &str) -> Self {
        let (authority, upstream) = (Authority::new("of the listener"), Upstream::start());
        let more = format!(", client_ca = \"clients.pem\"{more}");
        let gw = gateway(&upstream, &[&authority.server(&["api.test"])], &more)
            .file("ca.pem", &authority.pem)
            .file("clients.pem", &believed.pem)
            .start();
        Self { authority, upstream, gw }
    }

    /// What comes of a request with this certificate, in both versions.
    #[track_caller]
    fn with_certificate(&self, pair: Option<&Pair>) -> Option<u16> {
        let [one, other] = [&TLS12, &TLS13].map(|version| {
            let caller = TlsCaller::with(self.gw.addr(), &[version], &[], pair);
            caller.get("api.test", "api.test", "/x").ok()
        });
        assert_eq!(one, other, "both versions alike");
        one
    }
}

#[test]
fn where_a_certificate_is_required_only_a_believed_one_gets_through() {
    let (believed, strange) = (Authority::new("of clients"), Authority::new("of others"));
    for more in ["", ", client_certificates = \"required\""] {
        let house = House::believing(&believed, more);
        assert_eq!(house.with_certificate(Some(&believed.client(named("spiffe://test/one")))), Some(200));
        assert_eq!(house.with_certificate(None), None);
        house.handshakes_become("no_certificate", 2.0);
        assert_eq!(house.with_certificate(Some(&strange.client(named("spiffe://test/one")))), None);
        assert_eq!(house.with_certificate(Some(&believed.expired_client(named("spiffe://test/one")))), None);
        // The listener's own authority is not the clients'.
        assert_eq!(house.with_certificate(Some(&house.authority.client(named("spiffe://test/one")))), None);
        house.handshakes_become("certificate_refused", 6.0);
        assert_eq!(house.handshakes("ok"), 2.0);
        let told = house.curl(&[]);
        assert!(text(&told.stderr).contains("certificate required"), "the client reads why: {}", text(&told.stderr));
    }
}

#[test]
fn where_it_is_optional_none_is_fine_but_a_bad_one_is_not() {
    let (believed, strange) = (Authority::new("of clients"), Authority::new("of others"));
    let house = House::believing(&believed, ", client_certificates = \"optional\"");
    assert_eq!(house.with_certificate(None), Some(200));
    assert_eq!(house.with_certificate(Some(&believed.client(named("spiffe://test/one")))), Some(200));
    assert_eq!(house.with_certificate(Some(&strange.client(named("spiffe://test/one")))), None);
    assert_eq!(house.with_certificate(Some(&believed.expired_client(named("spiffe://test/one")))), None);
}

#[test]
fn a_certificate_of_a_server_is_none_of_a_client() {
    let believed = Authority::new("of both");
    let house = House::believing(&believed, "");
    let mut params = rcgen::CertificateParams::new(vec!["host.test".to_owned()]).expect("names");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(house.with_certificate(Some(&believed.sign(params))), None);
}

#[test]
fn a_name_that_could_deceive_a_reader_makes_a_certificate_unacceptable() {
    let believed = Authority::new("careless");
    let house = House::believing(&believed, ", client_certificates = \"optional\"");
    for name in ["spiffe://test/one\r\nX-Admin: yes", "spiffe://test/one\0", "spiffe://test/\u{7f}", ""] {
        assert_eq!(house.with_certificate(Some(&believed.client(named(name)))), None, "{name:?}");
    }
    house.handshakes_become("certificate_refused", 8.0);
    house.upstream.assert_untouched();
}

#[test]
fn a_listener_that_asks_for_none_is_shown_none() {
    let house = House::with("");
    let strange = Authority::new("of others");
    assert_eq!(house.with_certificate(Some(&strange.client(named("spiffe://test/one")))), Some(200));
}
