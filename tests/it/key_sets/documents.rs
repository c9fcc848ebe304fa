//! What may stand in a key set: one bad key (W-08), keys that share an id (W-10), no key set at all.

use serde_json::{Value, json};

use super::super::support::issuer::{Answer, Issuer, JWKS};
use super::super::support::keys::{Alg, Key, unusable_rsa_jwk};
use super::{Stage, at_url, believing, own_key};

/// The good key `k1` with another id and one more member, or another value of one.
fn with(member: &str, value: Value) -> Value {
    let mut jwk = Key::other_rsa2048().jwk("poison");
    jwk[member] = value;
    jwk
}

fn poisons() -> Vec<(Value, &'static str)> {
    let (mut off_curve, mut cut) = (Key::p256().jwk("poison"), Key::p256().jwk("poison"));
    off_curve["y"] = off_curve["x"].clone();
    cut["x"] = json!("AAAA");
    let ed = |x: &[u8]| json!({"kty": "OKP", "crv": "Ed25519", "kid": "poison", "x": data_encoding::BASE64URL_NOPAD.encode(x)});
    vec![
        (Value::Null, "format"),
        (json!([]), "format"),
        (json!("k1"), "format"),
        (json!({}), "kty"),
        (json!({"kty": "AKP", "kid": "poison", "alg": "ML-DSA-44", "pub": "AAAA"}), "kty"),
        (with("kty", json!(["RSA"])), "kty"),
        (with("kid", json!(1)), "kid"),
        (with("use", json!(1)), "use"),
        (with("use", json!("enc")), "use"),
        (with("key_ops", json!(["encrypt"])), "key_ops"),
        (with("key_ops", json!("verify")), "key_ops"),
        (with("x5c", json!("a")), "format"),
        (with("alg", json!(["RS256"])), "alg"),
        (with("alg", json!("RS512")), "alg"),
        (with("alg", json!("ES256")), "alg"),
        (with("n", json!("not+base64/")), "format"),
        (with("n", json!(7)), "format"),
        (with("e", json!("AQ")), "exponent"),
        (with("e", json!("AQAA")), "exponent"),
        (with("d", json!("AQAB")), "weak"),
        (unusable_rsa_jwk("poison", 1024), "size"),
        (unusable_rsa_jwk("poison", 200_000), "size"),
        (json!({"kty": "oct", "kid": "poison", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}), "symmetric"),
        (Key::p256().jwk("poison"), "alg"),
        (off_curve, "curve"),
        (cut, "size"),
        (ed(&[7; 31]), "size"),
        (ed(&[0; 32]), "weak"),
    ]
}

#[test]
fn w08_one_poisoned_key_is_skipped_and_counted_and_takes_no_other_with_it() {
    let stage = Stage::start(Issuer::start());
    stage.ask_anew().ok();
    let good = own_key(&stage.issuer);
    let mut faults = Vec::new();
    for (fetches, (poison, why)) in (2..).zip(poisons()) {
        let before =
            (stage.figure("jwks_keys_skipped_total", &[]), stage.figure("jwks_keys_skipped_total", &[("why", why)]));
        stage.issuer.publish([poison.clone(), good.clone(), poison.clone()]);
        stage.invalid(stage.fetch_again(), "kid");
        assert_eq!(stage.refreshes(), (fetches, 0), "{poison}");
        let after =
            (stage.figure("jwks_keys_skipped_total", &[]), stage.figure("jwks_keys_skipped_total", &[("why", why)]));
        if (after.0 - before.0, after.1 - before.1) != (2, 2) {
            faults.push(format!("{why} expected: {before:?} -> {after:?}: {:.200}", poison.to_string()));
        }
        assert_eq!(stage.figure("jwks_keys", &[]), 1, "{poison}");
        stage.ask_anew().ok();
        let poisoned = stage.token().header("kid", "poison").signed_with(&Key::other_rsa2048(), Alg::RS256);
        stage.invalid(stage.ask(&poisoned.sign()), "kid");
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn w10_keys_that_share_an_id_are_chosen_by_use_type_and_algorithm_or_not_at_all() {
    let (one, two, curve) = (Key::rsa2048(), Key::other_rsa2048(), Key::p256());
    let issuer = Issuer::with_key("k1", &one);
    let jwk = |key: &Key, kid: &str, member: &str, value: &str| {
        let mut jwk = key.jwk(kid);
        jwk[member] = value.into();
        jwk
    };
    let mut twice = one.jwk("twice");
    twice["x5t"] = "a member that nobody reads".into();
    issuer.publish([
        one.jwk("k1"),
        jwk(&two, "purpose", "use", "enc"),
        one.jwk("purpose"),
        jwk(&one, "alg", "alg", "RS256"),
        jwk(&two, "alg", "alg", "RS512"),
        curve.jwk("type"),
        two.jwk("type"),
        one.jwk("twice"),
        twice,
        one.jwk("rivals"),
        two.jwk("rivals"),
    ]);
    // Two issuers of one name, told apart by algorithm: each takes from the one key set what it can use.
    let foreign = believing("foreign", &issuer, "\"RS256\", \"RS512\"", &at_url(&issuer, ""));
    let curves = believing("curves", &issuer, "\"ES256\"", &at_url(&issuer, ""));
    let stage = Stage::in_realm(issuer, &(foreign + &curves));
    let by = |key: &Key, alg: Alg, kid: &str| {
        stage.token().header("kid", kid).header("alg", alg.name()).signed_with(key, alg).sign()
    };

    for (token, expected) in [
        (by(&one, Alg::RS256, "purpose"), None),
        (by(&two, Alg::RS256, "purpose"), Some("signature")),
        (by(&one, Alg::RS256, "alg"), None),
        (by(&two, Alg::RS512, "alg"), None),
        (by(&two, Alg::RS256, "alg"), Some("signature")),
        (by(&one, Alg::RS512, "alg"), Some("signature")),
        (by(&two, Alg::RS256, "type"), None),
        (by(&one, Alg::RS256, "type"), Some("signature")),
        (by(&curve, Alg::ES256, "type"), None),
        (by(&one, Alg::RS256, "twice"), None),
        (by(&one, Alg::RS256, "rivals"), Some("kid")),
        (by(&two, Alg::RS256, "rivals"), Some("kid")),
        (by(&one, Alg::RS256, "k1"), None),
    ] {
        match expected {
            None => drop(stage.ask(&token).ok()),
            Some(why) => stage.invalid(stage.ask(&token), why),
        }
    }
    assert_eq!(stage.figure("jwks_keys_skipped_total", &[("why", "duplicate")]), 2);
    assert_eq!(stage.figure("jwks_keys", &[]), 6);
}

#[test]
fn what_is_no_key_set_changes_nothing_but_the_count_of_failures() {
    let stage = Stage::with(Issuer::start(), "max_size = \"64KiB\"");
    stage.ask_anew().ok();
    let many = json!({"keys": vec![json!({}); 1001]}).to_string();
    let answers = [
        Answer::Bytes(Vec::new()),
        Answer::Bytes(b"<html>maintenance</html>".to_vec()),
        Answer::Bytes(b"{\"keys\":".to_vec()),
        Answer::Bytes(b"[]".to_vec()),
        Answer::Bytes(b"{}".to_vec()),
        Answer::Bytes(b"{\"keys\":{}}".to_vec()),
        Answer::Bytes(b"{\"keys\":null}".to_vec()),
        Answer::Bytes(b"{\"keys\":[]} {\"keys\":[]}".to_vec()),
        Answer::Bytes([b"{\"keys\":".to_vec(), vec![b'['; 30_000], b"}".to_vec()].concat()),
        Answer::Bytes(many.into_bytes()),
        Answer::Bytes(b"\xff\xfe{\0}\0".to_vec()),
        Answer::Oversize((64 << 10) + 1),
        Answer::Status(204),
        Answer::Status(404),
        Answer::Status(500),
    ];
    for (failures, answer) in (1..).zip(answers) {
        let shown = format!("{answer:.80?}");
        stage.issuer.answer(JWKS, answer);
        stage.unavailable(stage.fetch_again(), "key_set_failing");
        assert_eq!((stage.refreshes(), stage.issuer.hits(JWKS)), ((1, failures), 1 + failures), "{shown}");
        stage.ask_anew().ok();
        assert!(!stage.last_error().contains("maintenance"), "{}", stage.last_error());
    }
    stage.issuer.answer(JWKS, Answer::Oversize(64 << 10));
    stage.invalid(stage.fetch_again(), "kid");
    assert_eq!(stage.last_error(), "");
}
