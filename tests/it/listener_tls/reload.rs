//! Other certificates and terms, put in force while connections live.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rcgen::SanType;
use rustls::version::TLS12;

use super::{House, gateway};
use crate::support::eventually;
use crate::support::tls::{Authority, Pair, TlsCaller};
use crate::support::upstream::Upstream;

impl House {
    fn put(&self, pair: &Pair) {
        self.gw.rewrite("0.pem", &pair.cert);
        self.gw.rewrite("0.key", &pair.key);
    }

    fn main_file(&self) -> String {
        fs::read_to_string(self.gw.directory().join("portcullis.toml")).expect("the file")
    }
}

#[test]
fn a_new_certificate_is_shown_from_the_next_handshake_on_and_no_request_fails() {
    let house = House::with("");
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut old = house.caller().connect("api.test").expect("a connection");
    let first = old.shown();
    let load = || {
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(TlsCaller::new(house.gw.addr()).get("api.test", "api.test", "/x").expect("an answer"), 200);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let loads = [scope.spawn(load), scope.spawn(load)];
        for round in 1..=5 {
            let pair = house.authority.server(&["api.test"]);
            house.put(&pair);
            let before = count.load(Ordering::Relaxed);
            assert_eq!(house.gw.reload_from_source(), Ok(round + 1));
            assert_eq!(house.caller().connect("api.test").expect("a connection").shown(), pair.der());
            assert_eq!(old.get("api.test", "/x").expect("the old connection lives").status, 200);
            eventually("requests go on", || (count.load(Ordering::Relaxed) > before + 4).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        loads.into_iter().for_each(|load| load.join().expect("no request failed"));
    });
    assert_eq!(old.shown(), first);
    assert_eq!(house.handshakes("ok"), house.gw.metric(super::HANDSHAKES, &[]), "no handshake failed");
}

#[test]
fn a_bad_certificate_refuses_the_whole_reload_and_the_old_one_stays() {
    let house = House::with("");
    let shown = house.caller().connect("api.test").expect("a connection").shown();
    let realm = house.gw.realm_file();
    house.gw.rewrite("realms/realm0.toml", &realm.replace("path = \"/**\"", "path = \"/renamed/**\""));
    let (good, other) = (house.authority.server(&["api.test"]), house.authority.server(&["api.test"]));
    for (what, cert, key, text) in [
        ("no PEM", "nonsense", good.key.as_str(), "0.pem holds no certificates as PEM"),
        ("cut off", &good.cert[..good.cert.len() / 2], good.key.as_str(), "0.pem holds no certificates as PEM"),
        ("another's key", good.cert.as_str(), other.key.as_str(), "the key is that of another certificate"),
        ("no key", good.cert.as_str(), "nonsense", "expected a private key as PEM"),
    ] {
        house.gw.rewrite("0.pem", cert);
        house.gw.rewrite("0.key", key);
        let told = house.gw.reload_from_source().expect_err(what).to_string();
        assert!(told.contains("server.listen[0].tls.certificates[0].") && told.contains(text), "{what}: {told}");
        assert_eq!(house.caller().connect("api.test").expect("a connection").shown(), shown, "{what}");
        assert_eq!(house.caller().get("api.test", "api.test", "/x").expect("an answer"), 200, "{what}: all of it");
        assert_eq!(house.gw.generation(), 1);
    }
    fs::remove_file(house.gw.directory().join("0.pem")).expect("removed");
    assert!(house.gw.reload_from_source().expect_err("gone").to_string().contains("0.pem does not exist"));
    house.put(&good);
    assert_eq!(house.gw.reload_from_source(), Ok(2));
    assert_eq!(house.caller().connect("api.test").expect("a connection").shown(), good.der());
    assert_eq!(house.caller().get("api.test", "api.test", "/x").expect("an answer"), 404);
}

#[test]
fn the_files_of_a_certificate_are_watched() {
    let (authority, upstream) = (Authority::new("one"), Upstream::start());
    let gw = gateway(&upstream, &[&authority.server(&["api.test"])], "");
    let gw = gw.watch_every(std::time::Duration::from_millis(10)).start();
    let pair = authority.server(&["api.test"]);
    gw.rewrite("0.pem", &pair.cert);
    gw.rewrite("0.key", &pair.key);
    let caller = TlsCaller::new(gw.addr());
    eventually("the new one is shown", || {
        (caller.connect("api.test").expect("a connection").shown() == pair.der()).then_some(())
    });
}

#[test]
fn other_terms_are_in_force_at_once_but_whether_there_is_tls_is_a_matter_of_a_start() {
    let house = House::with("");
    let main = house.main_file();
    let old = TlsCaller::with(house.gw.addr(), &[&TLS12], &[], None);
    old.connect("api.test").expect("1.2");
    house.gw.rewrite("portcullis.toml", &main.replace("certificates =", "min_version = \"1.3\", certificates ="));
    assert_eq!(house.gw.reload_from_source(), Ok(2));
    old.connect("api.test").expect_err("1.2 is over");
    assert_eq!(house.caller().get("api.test", "api.test", "/x").expect("1.3"), 200);

    let start = main.find(", tls = ").expect("it is there");
    let end = main[start..].find("] } }").expect("its end") + start + 3;
    house.gw.rewrite("portcullis.toml", &format!("{}{}", &main[..start], &main[end..]));
    let told = house.gw.reload_from_source().expect_err("plain").to_string();
    assert!(told.contains("server.listen: takes effect at start only"), "{told}");
    assert_eq!(house.caller().get("api.test", "api.test", "/x").expect("still TLS"), 200);
}

#[test]
fn sessions_outlive_a_reload_that_does_not_change_the_tls_and_end_with_one_that_does() {
    let house = House::with("");
    let caller = house.caller();
    let visit = || {
        let mut connection = caller.connect("api.test").expect("a connection");
        assert_eq!(connection.get("api.test", "/x").expect("an answer").status, 200);
        connection.resumed()
    };
    assert!(!visit() && visit());
    let realm = house.gw.realm_file();
    house.gw.rewrite("realms/realm0.toml", &format!("{realm}\n[[routes]]\npath = \"/new\"\nauth = [\"public\"]\n"));
    assert_eq!(house.gw.reload_from_source(), Ok(2));
    assert!(visit(), "the keys of tickets are the same");
    house.put(&house.authority.server(&["api.test"]));
    assert_eq!(house.gw.reload_from_source(), Ok(3));
    assert!(!visit(), "and are others now");
}

#[test]
fn whoever_was_vouched_for_by_an_authority_that_is_gone_cannot_resume() {
    let (one, other) = (Authority::new("of clients"), Authority::new("of others"));
    let (authority, upstream) = (Authority::new("of the listener"), Upstream::start());
    let gw = gateway(&upstream, &[&authority.server(&["api.test"])], ", client_ca = \"clients.pem\"");
    let gw = gw.file("clients.pem", &one.pem).start();
    let client = one.client(vec![SanType::DnsName("one.test".to_owned().try_into().expect("ASCII"))]);
    let caller = TlsCaller::with(gw.addr(), &[&rustls::version::TLS13], &[], Some(&client));
    for resumed in [false, true] {
        let mut connection = caller.connect("api.test").expect("a connection");
        assert_eq!(connection.get("api.test", "/x").expect("an answer").status, 200);
        assert_eq!(connection.resumed(), resumed);
    }
    gw.rewrite("clients.pem", &other.pem);
    assert_eq!(gw.reload_from_source(), Ok(2));
    caller.get("api.test", "api.test", "/x").expect_err("nobody vouches for it any more");
}
