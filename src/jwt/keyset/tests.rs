use serde_json::json;

use super::*;
use crate::jwt::test_keys::{self, jwk};

fn parse(keys: Value) -> ParsedKeySet {
    KeyRing::parse_set(json!({ "keys": keys }).to_string().as_bytes(), Algorithm::ALL).unwrap()
}

fn skipped(key: Value) -> &'static str {
    let set = parse(json!([key]));
    match set.skipped.as_slice() {
        [] => "taken",
        [(_, fault)] => fault.why,
        _ => "several",
    }
}

fn tries(ring: &KeyRing, kid: Option<&str>, algorithm: Algorithm) -> Result<usize, NoKey> {
    ring.find(kid, algorithm).map(|keys| keys.len())
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn a_key_that_does_not_pass_the_policy_is_skipped_with_its_cause() {
    let (rsa, ec, ed) = (jwk(test_keys::rsa()), jwk(test_keys::p256()), jwk(test_keys::ed25519()));
    for good in [&rsa, &ec, &ed, &jwk(test_keys::p384())] {
        assert_eq!(skipped(good.clone()), "taken");
        assert_eq!(skipped(with(with(good.clone(), "use", json!("sig")), "key_ops", json!(["verify"]))), "taken");
        assert_eq!(skipped(with(good.clone(), "another", json!({"member": [1]}))), "taken");
        for (name, value, why) in [
            ("use", json!("enc"), "use"),
            ("use", json!(1), "use"),
            ("key_ops", json!(["encrypt"]), "key_ops"),
            ("key_ops", json!([]), "key_ops"),
            ("key_ops", json!("verify"), "key_ops"),
            ("key_ops", json!(["verify", 1]), "key_ops"),
            ("kid", json!(1), "kid"),
            ("kid", Value::Null, "kid"),
            ("kty", json!("AKP"), "kty"),
            ("kty", Value::Null, "kty"),
            ("alg", json!("HS256"), "alg"),
            ("alg", json!("RSA-OAEP"), "alg"),
            ("alg", json!(["RS256"]), "alg"),
            ("x5c", json!("a"), "format"),
            ("d", json!("AQAB"), "weak"),
        ] {
            assert_eq!(skipped(with(good.clone(), name, value.clone())), why, "{name} {value}");
        }
    }
    for (key, name, value, why) in [
        (&rsa, "kty", json!("EC"), "curve"),
        (&rsa, "alg", json!("ES256"), "alg"),
        (&rsa, "e", json!("AQ"), "exponent"),
        (&rsa, "e", json!("AAAC"), "exponent"),
        (&rsa, "e", json!(65537), "format"),
        (&rsa, "n", json!("AQAB"), "size"),
        (&rsa, "n", json!("_".repeat(40_000)), "size"),
        (&rsa, "n", json!("a+/="), "format"),
        (&ec, "crv", json!("P-384"), "size"),
        (&ec, "crv", json!("secp256k1"), "curve"),
        (&ec, "alg", json!("ES384"), "alg"),
        (&ec, "y", ec["x"].clone(), "curve"),
        (&ed, "crv", json!("X25519"), "curve"),
        (&ed, "x", json!(BASE64URL_NOPAD.encode(&[7; 31])), "size"),
        (&ed, "x", json!(BASE64URL_NOPAD.encode(&[0; 32])), "weak"),
    ] {
        assert_eq!(skipped(with(key.clone(), name, value.clone())), why, "{name} {value}");
    }
    assert_eq!(skipped(json!({"kty": "oct", "k": "AAAA", "kid": "a"})), "symmetric");
    for other in [Value::Null, json!(1), json!("a"), json!([])] {
        assert_eq!(skipped(other), "format");
    }
}

#[test]
fn one_poisoned_key_does_not_take_the_others_with_it() {
    for poison in [
        json!(null),
        json!({"kty": "AKP"}),
        with(jwk(test_keys::rsa()), "kid", json!(1)),
        json!({"kty": "oct", "k": ""}),
    ] {
        let set = parse(json!([poison, jwk(test_keys::p256())]));
        assert_eq!((set.ring.len(), set.skipped.len()), (1, 1));
        assert_eq!(set.skipped[0].0, "#0");
    }
}

#[test]
fn what_only_a_parser_of_the_whole_would_stumble_over_is_the_fault_of_one_key() {
    let (sound, deep) = (jwk(test_keys::p256()), format!("{}{}", "[".repeat(5000), "]".repeat(5000)));
    for poison in [
        r#"{"kty":"RSA","kid":"p","n":1e999,"e":"AQAB"}"#.to_owned(),
        format!(r#"{{"kty":"RSA","kid":"p","n":{},"e":"AQAB"}}"#, "9".repeat(400)),
        r#"{"kty":"RSA","kid":"p","x":"\ud800"}"#.to_owned(),
        r#"{"kid":"p","kty":"RSA","kty":"EC"}"#.to_owned(),
        r#"{"kid":"p","$serde_json::private::RawValue":"{}"}"#.to_owned(),
        format!(r#"{{"kid":"p","x":{deep}}}"#),
        "1e999".to_owned(),
        deep,
    ] {
        let document = format!(r#"{{"revision":1e999,"keys":[{poison}, {sound}],"more":[{{}}]}}"#);
        let set = KeyRing::parse_set(document.as_bytes(), Algorithm::ALL).unwrap();
        assert_eq!((set.ring.len(), set.skipped.len()), (1, 1), "{poison}");
        assert!(["p", "#0"].contains(&set.skipped[0].0.as_str()), "{:?}", set.skipped);
    }
}

#[test]
fn what_is_no_key_set_is_refused_whole() {
    for bad in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        "<html>",
        r#"{"keys":[]}x"#,
        r#"[[]]"#,
        r#"[{"keys":[]}]"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[],"\u006beys":[]}"#,
        r#"{"KEYS":[]}"#,
        r#"{"keys":[nope]}"#,
        r#"{"keys":[{"kty":}]}"#,
        r#"{"keys":[1,]}"#,
        r#"{"keys":[1 2]}"#,
    ] {
        assert_eq!(KeyRing::parse_set(bad.as_bytes(), Algorithm::ALL).unwrap_err().why, "format", "{bad}");
    }
    let many = json!({ "keys": vec![Value::Null; 1001] }).to_string();
    assert_eq!(KeyRing::parse_set(many.as_bytes(), Algorithm::ALL).unwrap_err().why, "size");
    assert!(KeyRing::parse_set(br#"{"keys":[]}"#, Algorithm::ALL).unwrap().ring.is_empty());
}

#[test]
fn a_key_serves_its_own_algorithm_only() {
    use Algorithm::{PS256, PS512, RS256, RS384, RS512};
    let any = with(jwk(test_keys::rsa()), "kid", json!("any"));
    let one = with(with(jwk(test_keys::rsa()), "kid", json!("one")), "alg", json!("PS512"));
    let document = json!({ "keys": [any, one] }).to_string();
    let ring = KeyRing::parse_set(document.as_bytes(), &[RS256, PS512]).unwrap().ring;
    for (kid, algorithm, found) in [
        ("any", RS256, true),
        ("any", PS512, true),
        ("any", RS384, false),
        ("any", PS256, false),
        ("any", Algorithm::HS256, false),
        ("one", PS512, true),
        ("one", RS256, false),
        ("one", RS512, false),
    ] {
        let expected = if found { Ok(1) } else { Err(NoKey::OtherAlgorithms) };
        assert_eq!(tries(&ring, Some(kid), algorithm), expected, "{kid} {algorithm}");
    }
    let unknown = ["", "any ", "ANY", "../../dev/null", "' OR '1'='1", "a\0", &"x".repeat(10_240)];
    assert!(unknown.iter().all(|kid| tries(&ring, Some(kid), RS256) == Err(NoKey::Unknown)));
    let nothing = KeyRing::parse_set(document.as_bytes(), &[Algorithm::ES256]).unwrap();
    assert_eq!(nothing.skipped.iter().map(|(_, fault)| fault.why).collect::<Vec<_>>(), ["alg", "alg"]);
}

#[test]
fn one_key_id_may_name_keys_of_different_use_type_and_algorithm() {
    let named = |key: Value| with(key, "kid", json!("k"));
    let enc = with(named(test_keys::jwk(test_keys::rsa_other())), "use", json!("enc"));
    let set =
        parse(json!([enc, named(jwk(test_keys::rsa())), named(jwk(test_keys::p256())), named(jwk(test_keys::p384()))]));
    assert_eq!(set.ring.len(), 3);
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384] {
        assert_eq!(tries(&set.ring, Some("k"), algorithm), Ok(1), "{algorithm}");
    }
    let (first, second) = (named(jwk(test_keys::rsa())), named(jwk(test_keys::rsa_other())));
    let split = parse(json!([with(first, "alg", json!("RS256")), with(second, "alg", json!("RS512"))]));
    assert_eq!((split.ring.len(), split.skipped.len()), (2, 0));
}

#[test]
fn of_true_duplicates_none_is_believed_and_the_same_key_twice_is_one() {
    let named = |key: Value| with(key, "kid", json!("k"));
    let (first, second) = (named(jwk(test_keys::rsa())), named(jwk(test_keys::rsa_other())));
    let set = parse(json!([first, second, with(jwk(test_keys::p256()), "kid", json!("other"))]));
    assert_eq!(set.ring.len(), 1);
    assert_eq!(
        set.skipped.iter().map(|(kid, fault)| (kid.as_str(), fault.why)).collect::<Vec<_>>(),
        [("k", "duplicate"); 2]
    );
    let twice = parse(json!([first, first]));
    assert_eq!((twice.ring.len(), twice.skipped.len()), (1, 0));
}

#[test]
fn a_token_without_key_id_is_tried_with_few_keys_only() {
    let keys = |count: usize| {
        let keys: Vec<_> = (0..count).map(|i| with(jwk(test_keys::p256()), "kid", json!(i.to_string()))).collect();
        parse(json!(keys)).ring
    };
    assert_eq!(tries(&keys(4), None, Algorithm::ES256), Ok(4));
    assert_eq!(tries(&keys(5), None, Algorithm::ES256), Err(NoKey::Unknown));
    assert_eq!(tries(&keys(5), None, Algorithm::ES384), Err(NoKey::OtherAlgorithms));
    assert_eq!(tries(&keys(0), None, Algorithm::ES256), Err(NoKey::Unknown));
}

#[test]
fn a_single_key_is_found_by_any_key_id_but_not_for_any_algorithm() {
    let key = VerifyKey::from_pem(test_keys::p256().public_pem().as_bytes(), Algorithm::ALL).unwrap();
    let ring = KeyRing::single(key);
    for kid in [None, Some(""), Some("x")] {
        assert_eq!(tries(&ring, kid, Algorithm::ES256), Ok(1));
        assert_eq!(tries(&ring, kid, Algorithm::ES384), Err(NoKey::OtherAlgorithms));
    }
}

#[test]
fn a_refresh_that_brings_the_same_keys_is_recognised() {
    let (a, b) = (with(jwk(test_keys::p256()), "kid", json!("a")), with(jwk(test_keys::rsa()), "kid", json!("b")));
    let ring = parse(json!([a, b])).ring;
    assert!(ring.same_keys(&ring.clone()));
    assert!(ring.same_keys(&parse(json!([b, a, null])).ring));
    for other in [
        json!([a]),
        json!([a, with(b.clone(), "kid", json!("c"))]),
        json!([a, with(b.clone(), "alg", json!("RS256"))]),
        json!([]),
    ] {
        assert!(!ring.same_keys(&parse(other.clone()).ring), "{other}");
    }
}

#[test]
fn a_key_id_in_a_report_is_short_and_harmless() {
    let set = parse(json!([{"kid": format!("\n\u{1b}{}", "x".repeat(1000)), "kty": "AKP"}]));
    let label = &set.skipped[0].0;
    assert!(label.len() <= 64 && label.starts_with("\\n\\u{1b}xx"), "{label}");
}
