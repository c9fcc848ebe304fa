//! J-01 to J-19: what a token says about itself before anything is proven.

use std::net::{Ipv4Addr, TcpListener};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::support::token::{parts, with_signature};

/// A header that says `alg`, over the claims of a good token, with this rest.
fn unsecured(signer: &Signer, header: &str, rest: &str) -> String {
    let token = signer.token().raw_header(header).sign();
    let [header, payload, signature] = parts(&token);
    match rest {
        "absent" => format!("{header}.{payload}"),
        "empty" => format!("{header}.{payload}."),
        _ => format!("{header}.{payload}.{signature}"),
    }
}

#[test]
fn j01_no_spelling_of_none_is_taken_whatever_the_signature() {
    let (house, signer) = simple_house("");
    for alg in ["none", "None", "NONE", "nOnE", "", " none", "none\\u0000", "hs256", "HS256 ", "ES512", "dir"] {
        for rest in ["absent", "empty", "old"] {
            house.refuses(&unsecured(&signer, &format!("{{\"alg\":\"{alg}\"}}"), rest), "alg");
        }
    }
    house.accepts(&signer.token().sign());
}

#[test]
fn j02_an_algorithm_that_is_no_text_is_a_fault_of_the_header() {
    let (house, signer) = simple_house("");
    for header in [
        "{}",
        r#"{"alg":null}"#,
        r#"{"alg":1}"#,
        r#"{"alg":["RS256"]}"#,
        r#"{"alg":{}}"#,
        r#"{"alg":["none","HS256"]}"#,
        r#"{"alg":true}"#,
        r#"{"ALG":"HS256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","x":{"y":1,"y":2}}"#,
    ] {
        house.refuses(&signer.token().raw_header(header).sign(), "header");
    }
}

#[test]
fn j10_keys_that_a_token_brings_along_are_neither_used_nor_fetched() {
    let canary = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    canary.set_nonblocking(true).expect("non-blocking");
    let url = format!("http://{}/keys", canary.local_addr().expect("an address"));
    let own = Key::p256();
    let (issuers, signer) = simple(&own, "");
    let house = House::new(&[issuers], "");
    for name in ["jku", "x5u"] {
        house.refuses(&signer.token().header(name, url.as_str()).sign(), "header");
        house.refuses(
            &signer.token().header(name, url.replace("http", "https")).header("kid", url.as_str()).sign(),
            "header",
        );
    }
    // Each is signed by the very key that it brings.
    let mac = secret();
    for key in [Key::rsa2048(), Key::p256(), Key::ed25519(), mac] {
        let token = signer.token().header("alg", key.alg().name()).header("jwk", key.jwk("k"));
        house.refuses(&token.signed_with(&key, key.alg()).sign(), "header");
    }
    let pair = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["idp.test".to_owned()]).expect("a name");
    let certificate = certificate.self_signed(&pair).expect("a certificate");
    let key = Key::p256_from_pkcs8(&pair.serialize_der());
    let token = signer.token().header("x5c", json!([BASE64.encode(certificate.der())]));
    house.refuses(&token.signed_with(&key, Alg::ES256).sign(), "header");
    // Nor does it help to bring the right one.
    house.refuses(&signer.token().header("jwk", own.jwk("k")).sign(), "header");
    assert!(canary.accept().is_err(), "somebody called the address in the token");
}

#[test]
fn j11_whoever_demands_an_extension_is_refused_understood_or_not() {
    let (house, signer) = simple_house("");
    for crit in [
        json!(["x"]),
        json!([]),
        json!(["exp", "exp"]),
        json!(["alg"]),
        json!(["name-that-is-nowhere"]),
        json!([1]),
        json!("exp"),
        json!(null),
        json!({}),
        json!(["http://example.test/x"]),
    ] {
        house.refuses(&signer.token().header("x", 1).header("crit", crit).sign(), "crit");
    }
    house.refuses(&signer.token().raw_header(r#"{"alg":"HS256","cr\u0069t":["x"]}"#).sign(), "crit");
    for b64 in [json!(true), json!(false), json!(null)] {
        house.refuses(&signer.token().header("b64", b64).sign(), "crit");
    }
    // RFC 7797: the payload stands there as it is.
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","b64":false,"crit":["b64"]}"#);
    for payload in ["e30", "not-base64url!", "~", ""] {
        let signature = signer.key.sign_bytes(Alg::HS256, format!("{header}.{payload}").as_bytes());
        let token = format!("{header}.{payload}.{}", BASE64URL_NOPAD.encode(&signature));
        house.refuses(&token, "crit");
    }
    house.accepts(&signer.token().header("x", 1).header("CRIT", json!(["x"])).sign());
}

#[test]
fn j13_the_type_is_one_of_the_issuer_s() {
    let key = secret();
    let issuers = [
        issuer("usual", ISS, &[Alg::HS256], &static_key(&key), ""),
        issuer(
            "own",
            "https://own.test",
            &[Alg::HS256],
            &static_key(&key),
            "typ = [\"application/Logout+JWT\", \"token+jwt\"]",
        ),
        issuer("none", "https://none.test", &[Alg::HS256], &static_key(&key), "typ = []"),
    ];
    let house = House::new(&issuers, "");
    let typed = |iss: &str, typ: Value| {
        let token = Signer::new(iss, key.clone()).token();
        if typ == "absent" { token.without_header("typ").sign() } else { token.header("typ", typ).sign() }
    };
    for (typ, usual, own) in [
        (json!("absent"), "ok", "ok"),
        (json!("JWT"), "ok", "typ"),
        (json!("jwt"), "ok", "typ"),
        (json!("at+jwt"), "ok", "typ"),
        (json!("application/at+jwt"), "ok", "typ"),
        (json!("APPLICATION/AT+JWT"), "ok", "typ"),
        (json!("logout+jwt"), "typ", "ok"),
        (json!("application/logout+jwt"), "typ", "ok"),
        (json!("dpop+jwt"), "typ", "typ"),
        (json!("secevent+jwt"), "typ", "typ"),
        (json!("refresh+jwt"), "typ", "typ"),
        (json!("application/application/jwt"), "typ", "typ"),
        (json!("application/"), "typ", "typ"),
        (json!("text/jwt"), "typ", "typ"),
        (json!("JWT "), "typ", "typ"),
        (json!("TOKEN+JWT"), "typ", "ok"),
        (json!("TO\u{212a}EN+JWT"), "typ", "typ"),
        (json!(""), "typ", "typ"),
        (json!(1), "typ", "typ"),
        (json!(null), "typ", "typ"),
        (json!(["JWT"]), "typ", "typ"),
    ] {
        house.judges(&typed(ISS, typ.clone()), usual);
        house.judges(&typed("https://own.test", typ.clone()), own);
        house.judges(&typed("https://none.test", typ.clone()), if typ == "absent" { "ok" } else { "typ" });
    }
}

#[test]
fn j14_nothing_nested_or_encrypted_is_ever_decoded() {
    let (house, signer) = simple_house("");
    let inner = signer.token().sign();
    for payload in [inner.clone(), format!("\"{inner}\"")] {
        house.refuses(&signer.token().header("cty", "JWT").raw_payload(payload.clone()).sign(), "header");
        house.refuses(&signer.token().raw_payload(payload).sign(), "claims");
    }
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    for header in [
        r#"{"alg":"dir","enc":"A256GCM"}"#,
        r#"{"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"none"}"#,
    ] {
        let unsigned = part(&signer.token().header("alg", "none").unsigned());
        house.refuses(&format!("{}..{}.{unsigned}.{}", part(header), part("iv"), part("tag")), "format");
        house.refuses(&format!("{}.{}.{}.{unsigned}.{}", part(header), part("key"), part("iv"), part("tag")), "format");
    }
}

#[test]
fn j17_a_signed_token_has_no_business_with_encryption() {
    let (house, signer) = simple_house("");
    for (name, value) in [
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
        ("p2c", json!(2_147_483_647)),
        ("p2s", json!("c2FsdA")),
        ("epk", json!({"kty": "EC"})),
        ("apu", json!("QQ")),
        ("apv", json!("Qg")),
        ("iv", json!("aXY")),
        ("tag", json!("dGFn")),
        ("cty", json!("application/json")),
    ] {
        for value in [value, Value::Null] {
            house.refuses(&signer.token().header(name, value).sign(), "header");
        }
    }
    let harmless = signer
        .token()
        .header("x5t", "a")
        .header("nonce", json!([1]))
        .header("Enc", "x")
        .header("url", "http://127.0.0.1:9/");
    house.accepts(&harmless.sign());
}

#[test]
fn j19_a_header_is_one_json_object_in_utf_8() {
    let (issuers, signer) = simple(&secret(), "");
    let builder = Gateway::builder().server_toml("max_token = \"900KiB\"\nmax_headers = \"1MiB\"");
    let house = House::build(builder, &[issuers], "");
    for good in [
        "{ \"alg\"\t:\r\n\"HS256\" }",
        " {\"alg\":\"HS256\"}\n",
        r#"{"\u0061lg":"HS256"}"#,
        r#"{"alg":"\u0048S256","x":"\ud83d\ude00 ü"}"#,
        &format!("{{\"alg\":\"HS256\",\"x\":{}{}}}", "[".repeat(126), "]".repeat(126)),
    ] {
        house.accepts(&signer.token().raw_header(good).sign());
    }
    let nested = |depth: usize| format!("{{\"alg\":\"HS256\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let utf16: Vec<u8> = "{\"alg\":\"HS256\"}".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bad in [
        "\u{feff}{\"alg\":\"HS256\"}".as_bytes().to_vec(),
        b"{\"alg\":\"HS256\"}x".to_vec(),
        b"{\"alg\":\"HS256\"}\0".to_vec(),
        b"{\"alg\":\"HS256\"}{}".to_vec(),
        b"{\"alg\":\"HS256\",}".to_vec(),
        b"{'alg':'HS256'}".to_vec(),
        b"// x\n{\"alg\":\"HS256\"}".to_vec(),
        b"{\"alg\":\"HS256\",\"x\":\"\xff\"}".to_vec(),
        b"{\"alg\":\"HS256\",\"x\":\"\xc0\xaf\"}".to_vec(),
        b"{\"alg\":\"HS256\",\"x\":\"\xed\xa0\x80\"}".to_vec(),
        br#"{"alg":"HS256","x":"\ud800"}"#.to_vec(),
        br#"{"alg":"HS256","x":1e999}"#.to_vec(),
        br#"{"alg":"HS256","x":NaN}"#.to_vec(),
        br#"["alg","HS256"]"#.to_vec(),
        br#"[{"alg":"HS256"}]"#.to_vec(),
        b"1".to_vec(),
        b"null".to_vec(),
        br#""{}""#.to_vec(),
        utf16.clone(),
        [b"\xfe\xff", utf16.as_slice()].concat(),
        nested(129).into_bytes(),
        nested(10_000).into_bytes(),
        nested(100_000).into_bytes(),
    ] {
        house.refuses(&signer.token().raw_header(bad).sign(), "header");
    }
    house.accepts(&signer.token().sign());
}

#[test]
fn what_is_wrong_is_told_in_one_order_the_signature_before_the_claims() {
    let (house, signer) = simple_house("typ = [\"JWT\"]");
    let stranger = secret();
    // Every token has all the faults from its own on: the first one counts.
    let worst = signer.token().claim("exp", 1).claim("aud", "x").signed_with(&stranger, Alg::HS256);
    house.refuses(&worst.sign(), "signature");
    house.refuses(&worst.clone().header("typ", "x").sign(), "typ");
    house.refuses(&worst.clone().header("typ", "x").claim("iss", "x").sign(), "issuer");
    house.refuses(&worst.clone().header("typ", "x").claim("iss", "x").header("alg", "none").sign(), "alg");
    house.refuses(&worst.clone().header("alg", "none").header("jwk", json!({})).sign(), "header");
    house.refuses(&worst.clone().header("jwk", json!({})).header("crit", json!([])).sign(), "crit");
    house.refuses(&with_signature(&worst.sign(), b""), "signature");
    house.refuses(&signer.token().claim("exp", 1).claim("aud", "x").sign(), "audience");
    house.refuses(&signer.token().claim("exp", 1).sign(), "token_expired:expired");
}
