//! J-04 to J-08, J-29 to J-32: which key judges which token, and which keys are none.

use std::collections::HashMap;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use portcullis::config::{Sources, load};
use serde_json::{Value, json};

use super::number::Number;
use super::*;
use crate::support::issuer::Issuer;
use crate::support::keys::{key_set, random, unusable_rsa_jwk};

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

/// A house whose issuer has these keys in a file.
fn key_set_house(algorithms: &[Alg], keys: Vec<Value>) -> House {
    let issuers = [issuer("idp", ISS, algorithms, "{ jwks_file = \"keys.json\" }", "")];
    House::build(Gateway::builder().file("realms/keys.json", key_set(keys).to_string()), &issuers, "")
}

#[test]
fn j04_a_key_without_algorithm_serves_what_the_issuer_allows_and_nothing_that_a_header_wishes() {
    let rsa = Key::rsa2048();
    let house = key_set_house(&[Alg::RS256, Alg::RS512], vec![rsa.jwk("k")]);
    let signer = Signer::new(ISS, rsa.clone()).kid("k");
    for alg in [Alg::RS256, Alg::RS512] {
        house.accepts(&signer.clone().by(alg).token().sign());
    }
    for alg in [Alg::RS384, Alg::PS256, Alg::PS384, Alg::PS512] {
        house.refuses(&signer.clone().by(alg).token().sign(), "alg");
    }
    // The public key as a secret, in every form that somebody might have it.
    let jwk = rsa.jwk("k");
    let pkcs1 = rsa.pkcs1_pem();
    let der = BASE64.decode(rsa.pem().lines().filter(|l| !l.starts_with('-')).collect::<String>().as_bytes());
    for public in [
        rsa.pem().into_bytes(),
        rsa.pem().trim_end().as_bytes().to_vec(),
        pkcs1.into_bytes(),
        der.expect("base64"),
        BASE64URL_NOPAD.decode(jwk["n"].as_str().expect("a text").as_bytes()).expect("base64url"),
        jwk["n"].as_str().expect("a text").as_bytes().to_vec(),
        jwk.to_string().into_bytes(),
    ] {
        for alg in [Alg::HS256, Alg::HS384, Alg::HS512] {
            let token = signer.token().header("alg", alg.name()).signed_with(&Key::from_secret(&public), alg);
            house.refuses(&token.sign(), "alg");
        }
    }
}

#[test]
fn j05_a_key_for_one_algorithm_serves_no_other() {
    let rsa = Key::rsa2048();
    let algorithms = [Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512];
    for own in algorithms {
        let house = key_set_house(&algorithms, vec![with(rsa.jwk("k"), "alg", own.name())]);
        for alg in algorithms {
            for signer in [Signer::new(ISS, rsa.clone()).by(alg).kid("k"), Signer::new(ISS, rsa.clone()).by(alg)] {
                house.judges(&signer.token().sign(), if alg == own { "ok" } else { "alg" });
            }
        }
    }
}

#[test]
fn j07_a_curve_serves_its_own_algorithm_only() {
    let (p256, p384) = (Key::p256(), Key::p384());
    let house = key_set_house(&[Alg::ES256, Alg::ES384], vec![p256.jwk("a"), p384.jwk("b")]);
    for (kid, key, other) in [("a", &p256, Alg::ES384), ("b", &p384, Alg::ES256)] {
        let signer = Signer::new(ISS, key.clone()).kid(kid);
        house.accepts(&signer.token().sign());
        house.refuses(&signer.token().header("alg", other.name()).sign(), "alg");
        // Without a key id the other curve's key is tried, and the signature is not of its length.
        house.refuses(&signer.token().without_header("kid").header("alg", other.name()).sign(), "signature");
    }
    for (key, alg) in [(&p256, Alg::ES384), (&p384, Alg::ES256)] {
        let issuers = [issuer("idp", ISS, &[alg], &static_key(key), "")];
        let upstream = Upstream::start();
        let refused = Gateway::builder().realm_toml(&realm("api", &issuers, "")).upstream(&upstream).try_start();
        assert!(refused.expect_err("a key of the wrong curve").to_string().contains("serves none of the issuer's"));
    }
}

/// Key ids that other implementations have opened files, run queries or fetched addresses for.
fn strange_key_ids(canary: &str) -> Vec<Value> {
    let texts = [
        "unknown",
        "",
        " k",
        "k ",
        "K",
        "k\0",
        "\0",
        "../../../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "' OR '1'='1",
        "k'; --",
        canary,
        "${jndi:ldap://127.0.0.1:9/x}",
        "{{7*7}}",
        "k\r\nX-Auth-Subject: root",
        "\u{1b}[31m\u{9b}\u{202e}\u{2028}",
        "\u{ff4b}",
        "__proto__",
        "#0",
    ];
    texts.map(Value::from).into_iter().chain([json!("k".repeat(10_240)), json!("\0".repeat(900))]).collect()
}

#[test]
fn j08_a_key_id_is_compared_and_nothing_else_is_done_with_it() {
    let canary = Upstream::start();
    let url = format!("http://{}/", canary.addr());
    let (key, remote) = (Key::p256(), Issuer::start());
    let issuers = [
        issuer("file", ISS, &[Alg::ES256], "{ jwks_file = \"keys.json\" }", ""),
        issuer(
            "remote",
            remote.issuer_url(),
            &[Alg::RS256],
            &format!("{{ jwks_url = \"{}\", ca = \"ca.pem\" }}", remote.jwks_url()),
            "",
        ),
    ];
    let builder = Gateway::builder()
        .server_toml("max_token = \"24KiB\"")
        .file("realms/keys.json", key_set([key.jwk("k")]).to_string())
        .file("realms/ca.pem", remote.ca_pem());
    let house = House::build(builder, &issuers, "");
    house.gw.until_ready();
    let (by_file, by_remote) = (Signer::new(ISS, key).kid("k"), remote.signer());
    house.accepts(&by_file.token().sign());
    house.accepts(&by_remote.token().sign());
    for kid in strange_key_ids(&url) {
        house.refuses(&by_file.token().header("kid", kid.clone()).sign(), "kid");
        house.refuses(&by_remote.token().header("kid", kid).sign(), "kid");
    }
    for kid in [json!(1), json!(["k"]), json!({"k": 1}), json!(null), json!(true)] {
        house.refuses(&by_file.token().header("kid", kid.clone()).sign(), "kid");
        house.refuses(&by_remote.token().header("kid", kid).sign(), "kid");
    }
    assert_eq!(canary.connections(), 0, "somebody called the address in the key id");
    assert!(remote.hits(crate::support::issuer::JWKS) <= 2, "one fetch at the start and one for all the unknown ids");
    let log = house.gw.log().text();
    for trace in ["jndi", "dev/null", "X-Auth-Subject", "kkkkkkkk", "\u{202e}", "\\u0000"] {
        assert!(!log.contains(trace), "{trace} stands in the log");
    }
    // A key of the configuration has no id.
    let (house, signer) = simple_house("");
    for kid in strange_key_ids(&url).into_iter().filter(|kid| kid.as_str().is_some_and(|kid| kid.len() < 1000)) {
        house.accepts(&signer.token().header("kid", kid).sign());
    }
}

#[test]
fn a_token_without_key_id_is_tried_with_few_keys_only() {
    let keys: Vec<_> = (0..5).map(|_| Key::p256()).collect();
    let jwks = |count: usize| keys[..count].iter().enumerate().map(|(i, key)| key.jwk(&format!("k{i}"))).collect();
    let house = key_set_house(&[Alg::ES256], jwks(4));
    for key in &keys[..4] {
        house.accepts(&Signer::new(ISS, key.clone()).token().sign());
    }
    house.refuses(&Signer::new(ISS, keys[4].clone()).token().sign(), "signature");
    let house = key_set_house(&[Alg::ES256], jwks(5));
    for (i, key) in keys.iter().enumerate() {
        house.refuses(&Signer::new(ISS, key.clone()).token().sign(), "kid");
        house.accepts(&Signer::new(ISS, key.clone()).kid(&format!("k{i}")).token().sign());
    }
}

/// A modulus of the broken generator's kind: 1 modulo every small prime, and so a power of 65537.
fn fingerprinted_jwk() -> Value {
    let mut modulus = Number::small(2);
    for prime in (3_u32..=167).filter(|n| (2..*n).all(|d| !n.is_multiple_of(d))) {
        modulus = modulus.multiply(&Number::small(prime));
    }
    while modulus.to_bytes(300)[300 - 256] < 0x80 {
        modulus = modulus.multiply(&Number::small(2));
    }
    let modulus = modulus.add(&Number::small(1)).to_bytes(256);
    json!({"kty": "RSA", "use": "sig", "n": BASE64URL_NOPAD.encode(&modulus), "e": "AQAB"})
}

/// Keys that are none, and the cause.
fn bad_keys() -> Vec<(Value, &'static str)> {
    let (p256, p384, ed) = (Key::p256().jwk(""), Key::p384().jwk(""), Key::ed25519().jwk(""));
    let rsa = Key::rsa2048().jwk("");
    let b64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let off_curve = {
        let mut y = BASE64URL_NOPAD.decode(p256["y"].as_str().expect("a text").as_bytes()).expect("base64url");
        y[31] ^= 1;
        with(p256.clone(), "y", b64(&y))
    };
    vec![
        (unusable_rsa_jwk("", 1024), "size"),
        (unusable_rsa_jwk("", 2040), "size"),
        (unusable_rsa_jwk("", 8200), "size"),
        (unusable_rsa_jwk("", 16384), "size"),
        (with(rsa.clone(), "e", "AQ"), "exponent"),
        (with(rsa.clone(), "e", "Ag"), "exponent"),
        (with(rsa.clone(), "e", "AQAA"), "exponent"),
        (with(rsa.clone(), "e", ""), "exponent"),
        (with(rsa.clone(), "e", 65537), "format"),
        (with(rsa.clone(), "n", format!("{}A", rsa["n"].as_str().expect("a text"))), "format"),
        (fingerprinted_jwk(), "weak"),
        (off_curve, "curve"),
        (with(p256.clone(), "crv", "P-521"), "curve"),
        (with(p256.clone(), "crv", "secp256k1"), "curve"),
        (with(p256.clone(), "crv", "P-384"), "size"),
        (with(p384, "crv", "P-256"), "size"),
        (with(p256.clone(), "x", b64(&[0; 32])), "curve"),
        (with(with(p256.clone(), "x", b64(&[0; 32])), "y", b64(&[0; 32])), "curve"),
        (with(ed.clone(), "x", b64(&[9; 31])), "size"),
        (with(ed.clone(), "x", b64(&[9; 33])), "size"),
        (with(ed.clone(), "x", ""), "size"),
        (with(ed.clone(), "x", b64(&[0; 32])), "weak"),
        (with(ed.clone(), "x", b64(&[&[1][..], &[0; 31]].concat())), "weak"),
        (with(ed.clone(), "crv", "X25519"), "curve"),
        (with(rsa.clone(), "use", "enc"), "use"),
        (with(rsa.clone(), "key_ops", json!(["encrypt", "sign"])), "key_ops"),
        (with(rsa.clone(), "kty", "EC"), "curve"),
        (with(rsa.clone(), "alg", "ES256"), "alg"),
        (with(p256.clone(), "alg", "ES384"), "alg"),
        (with(p256, "kty", "RSA"), "format"),
        (with(ed, "alg", "HS256"), "alg"),
        (with(rsa.clone(), "kty", "AKP"), "kty"),
        (with(rsa, "d", "AQAB"), "weak"),
        (json!({"kty": "oct", "k": b64(&random(64))}), "symmetric"),
        (json!({"kty": "oct", "k": ""}), "symmetric"),
    ]
}

#[test]
fn j29_a_bad_key_of_our_own_refuses_the_start_and_is_named() {
    let upstream = Upstream::start();
    for (number, (key, why)) in bad_keys().into_iter().enumerate() {
        let kid = format!("bad-{number}");
        let bad = with(key, "kid", kid.as_str());
        let issuers: Vec<_> = [("a", vec![Alg::RS256]), ("b", vec![Alg::ES256]), ("c", vec![Alg::EdDSA])]
            .into_iter()
            .map(|(name, algorithms)| {
                issuer(name, &format!("https://{name}.test"), &algorithms, "{ jwks_file = \"keys.json\" }", "")
            })
            .collect();
        let good = [Key::rsa2048().jwk("r"), Key::p256().jwk("e"), Key::ed25519().jwk("d")];
        let document = key_set(good.into_iter().chain([bad.clone()]));
        let builder = Gateway::builder().file("realms/keys.json", document.to_string());
        let started = builder.realm_toml(&realm("api", &issuers, "")).upstream(&upstream).try_start();
        // A sound key for an algorithm that is not the issuer's may stand there; one that says a wrong one is our slip too.
        if why == "alg" {
            drop(started.expect("other algorithms may stand in the file"));
            continue;
        }
        let problems = started.expect_err(&format!("{bad}")).to_string();
        assert!(problems.contains("keys.json") && problems.contains(&kid), "{bad}: {problems}");
    }
    for (pem, told) in [
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        ("hunter2", "BEGIN"),
        ("", "BEGIN"),
    ] {
        let issuers = [issuer("idp", ISS, &[Alg::RS256], "{ public_key = { file = \"key.pem\" } }", "")];
        let builder = Gateway::builder().file("realms/key.pem", pem).realm_toml(&realm("api", &issuers, ""));
        let problems = builder.upstream(&upstream).try_start().expect_err(pem).to_string();
        assert!(problems.contains(told) || problems.contains("empty"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn j29_a_bad_key_of_somebody_else_is_skipped_and_counted() {
    let remote = Issuer::start();
    let good = Key::p256();
    let bad = bad_keys();
    remote.publish(
        bad.iter()
            .enumerate()
            .map(|(i, (key, _))| with(key.clone(), "kid", format!("bad-{i}")))
            .chain([good.jwk("good")]),
    );
    let source = format!("{{ jwks_url = \"{}\", ca = \"ca.pem\" }}", remote.jwks_url());
    let issuers = [issuer("idp", remote.issuer_url(), &[Alg::ES256], &source, "")];
    let house = House::build(Gateway::builder().file("realms/ca.pem", remote.ca_pem()), &issuers, "");
    house.gw.until_ready();
    house.accepts(&Signer::new(remote.issuer_url(), good).kid("good").token().sign());
    let mut expected: HashMap<&str, u32> = HashMap::new();
    for (_, why) in &bad {
        *expected.entry(why).or_default() += 1;
    }
    for (why, count) in expected {
        house.gw.metric_becomes(
            "portcullis_jwks_keys_skipped_total",
            &[("issuer", "idp"), ("why", why)],
            f64::from(count),
        );
    }
    house.gw.metric_becomes("portcullis_jwks_keys", &[("issuer", "idp")], 1.0);
    // None of them judges anything.
    let signer = Signer::new(remote.issuer_url(), Key::p256());
    for (number, _) in bad.iter().enumerate() {
        house.refuses(&signer.clone().kid(&format!("bad-{number}")).token().sign(), "kid");
    }
}

#[test]
fn j31_a_secret_in_a_fetched_key_set_is_never_used() {
    let (mac, p256, remote) = (secret(), Key::p256(), Issuer::start());
    remote.publish([
        mac.jwk("m"),
        p256.jwk("m"),
        with(mac.jwk("h"), "alg", "HS256"),
        with(mac.jwk("e"), "alg", "ES256"),
    ]);
    let source = format!("{{ jwks_url = \"{}\", ca = \"ca.pem\" }}", remote.jwks_url());
    let issuers = [issuer("idp", remote.issuer_url(), &[Alg::ES256], &source, "")];
    let house = House::build(Gateway::builder().file("realms/ca.pem", remote.ca_pem()), &issuers, "");
    house.gw.until_ready();
    let by_mac = Signer::new(remote.issuer_url(), mac);
    for kid in ["m", "h", "e"] {
        house.refuses(&by_mac.clone().kid(kid).token().sign(), "alg");
    }
    house.refuses(&by_mac.token().sign(), "alg");
    house.refuses(&by_mac.kid("m").token().header("alg", "ES256").sign(), "signature");
    house.accepts(&Signer::new(remote.issuer_url(), p256).kid("m").token().sign());
    let upstream = Upstream::start();
    let hopeful = issuer("idp", remote.issuer_url(), &[Alg::HS256], &source, "");
    let builder = Gateway::builder().file("realms/ca.pem", remote.ca_pem()).realm_toml(&realm("api", &[hopeful], ""));
    assert!(builder.upstream(&upstream).try_start().is_err(), "HS256 by a fetched key set");
}

#[test]
fn j32_a_weak_secret_refuses_the_start_and_a_strange_one_is_warned_of() {
    let upstream = Upstream::start();
    let start = |secret: &[u8], algorithms: &[Alg], encoding: &str| {
        let keys = format!("{{ secret = {{ file = \"secret\"{encoding} }} }}");
        let realm = realm("api", &[issuer("idp", ISS, algorithms, &keys, "")], "");
        Gateway::builder().file("realms/secret", secret).realm_toml(&realm).upstream(&upstream).try_start()
    };
    let bytes = random(64);
    for (weak, algorithms) in [
        (b"secret".to_vec(), vec![Alg::HS256]),
        (b"correct-horse-battery-staple".to_vec(), vec![Alg::HS256]),
        (b"".to_vec(), vec![Alg::HS256]),
        (b"\n".to_vec(), vec![Alg::HS256]),
        (bytes[..31].to_vec(), vec![Alg::HS256]),
        (bytes[..47].to_vec(), vec![Alg::HS384]),
        (bytes[..63].to_vec(), vec![Alg::HS256, Alg::HS512]),
        (vec![0; 64], vec![Alg::HS256]),
        (vec![b'x'; 64], vec![Alg::HS512]),
    ] {
        // The one newline at a file's end does not count.
        let weak = if weak.last() == Some(&b'\n') { weak } else { [weak.as_slice(), b"\n"].concat() };
        let problems = start(&weak, &algorithms, "").expect_err("a weak secret").to_string();
        assert!(problems.contains("secret"), "{problems}");
        assert!(!problems.contains("horse"), "{problems}");
    }
    for encoding in ["", ", encoding = \"hex\""] {
        let gw = start(HEXLOWER.encode(&bytes[..32]).as_bytes(), &[Alg::HS256], encoding).expect("long enough");
        let warnings = load(gw.directory(), &Sources { env: &|_| None, secrets: true }).expect("good").warnings;
        assert_eq!(warnings.to_string().contains("looks like hex"), encoding.is_empty(), "{warnings}");
    }
    let gw = start(BASE64.encode(&bytes[..33]).as_bytes(), &[Alg::HS256], "").expect("long enough");
    let warnings = load(gw.directory(), &Sources { env: &|_| None, secrets: true }).expect("good").warnings;
    assert!(warnings.to_string().contains("looks like base64"), "{warnings}");
}
