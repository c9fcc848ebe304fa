//! J-16, J-20, J-22, J-23: the form of the text, its size, and the size of what is in it.

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::*;
use crate::support::token::{parts, with_stray_bits};

#[test]
fn j16_a_signature_in_json_is_no_bearer_token() {
    let (house, signer) = simple_house("");
    let token = signer.token().sign();
    let [protected, payload, signature] = parts(&token);
    let one = json!({"protected": protected, "signature": signature});
    for form in [
        json!({"payload": payload, "protected": protected, "signature": signature}),
        json!({"payload": payload, "protected": protected, "header": {"kid": "a"}, "signature": signature}),
        json!({"payload": payload, "signatures": [one.clone()]}),
        json!({"payload": payload, "signatures": [one.clone(), one]}),
        json!({"signature": signature}),
    ] {
        house.refuses(&form.to_string(), "format");
        house.refuses(&format!("{form:#}").replace('\n', " "), "format");
    }
}

#[test]
fn j20_base64url_is_strict_in_each_of_the_three_parts() {
    let key = Key::p256();
    let (issuers, signer) = simple(&key, "");
    let house = House::new(&[issuers], "");
    let token = signer.token().raw_header(r#"{"alg":"ES256"} "#).sign();
    let good = parts(&token).map(str::to_owned);
    house.accepts(&token);
    for at in 0..3 {
        let part = good[at].as_str();
        let mut bad: Vec<String> = ["=", "==", "%3D", "%", "."].map(|end| format!("{part}{end}")).to_vec();
        // One character more than bytes can fill: a length that base64 never has.
        let cut = part.len() - (part.len() - 1) % 4;
        bad.push(part[..cut].to_owned());
        bad.extend(
            ["+", "/", " ", "\t", "?", "=", "%3D", "*", "~", "é"].map(|c| format!("{}{c}{}", &part[..4], &part[5..])),
        );
        bad.extend(with_stray_bits(part));
        // In front of the first part a blank more belongs to the scheme.
        bad.extend((at > 0).then(|| format!(" {part}")));
        for bad in bad {
            let mut spoilt = good.clone();
            spoilt[at] = bad;
            house.refuses(&spoilt.join("."), "format");
        }
    }
    for other in ["x", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d"] {
        house.refuses(other, "format");
    }
    let [header, payload, signature] = &good;
    for other in [
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!(".{header}.{payload}.{signature}"),
        format!("Bearer.{header}.{payload}.{signature}"),
    ] {
        house.refuses(&other, "format");
    }
}

/// A token of exactly this many characters.
fn token_of_size(signer: &Signer, size: usize) -> String {
    for extra in 0..4 {
        let token = signer.token().header("x", "x".repeat(extra));
        let mut pad = size.saturating_sub(token.sign().len()) * 3 / 4;
        for _ in 0..16 {
            let text = token.clone().claim("pad", "p".repeat(pad)).sign();
            match text.len() {
                len if len == size => return text,
                len if len > size => pad -= ((len - size) * 3 / 4).max(1),
                _ => break,
            }
        }
    }
    panic!("no token of {size} characters");
}

#[test]
fn j22_a_token_may_have_8_kib_and_no_byte_more() {
    let (house, signer) = simple_house("");
    for (size, expected) in [(8191, "ok"), (8192, "ok"), (8193, "size"), (8194, "size"), (20_000, "size")] {
        let token = token_of_size(&signer, size);
        assert_eq!(token.len(), size);
        house.judges(&token, expected);
    }
    // What is too long is not even looked at.
    house.refuses(&"x".repeat(8193), "size");
    for size in [64 * 1024, 900 * 1024] {
        let refused = house.present(&"x".repeat(size)).denied("headers_too_large");
        assert!(refused.says_close());
        house.upstream.assert_untouched();
    }
    house.accepts(&signer.token().sign());
}

#[test]
fn j23_what_is_huge_within_a_token_is_refused_or_read_quickly() {
    let (issuers, signer) = simple(&secret(), "");
    let builder = Gateway::builder().server_toml("max_token = \"1000KiB\"\nmax_headers = \"1MiB\"");
    let house = House::build(builder, &[issuers], "");
    let nested =
        |open: &str, close: &str, depth: usize| format!("\"x\":{}1{}", open.repeat(depth), close.repeat(depth));
    let members = |count: usize| (0..count).map(|i| format!("\"m{i}\":0")).collect::<Vec<_>>().join(",");
    let rows = [
        (nested("[", "]", 126), "ok"),
        (nested("{\"a\":", "}", 126), "ok"),
        (nested("[", "]", 127), "claims"),
        (nested("[", "]", 129), "claims"),
        (nested("[", "]", 10_000), "claims"),
        (nested("[", "]", 300_000), "claims"),
        (nested("{\"a\":", "}", 10_000), "claims"),
        (format!("\"x\":{}", "[".repeat(100_000)), "claims"),
        (members(30_000), "ok"),
        (format!("{},\"m0\":0", members(30_000)), "claims"),
        (format!("\"x\":\"{}\"", "s".repeat(600_000)), "ok"),
        (format!("\"x\":{}", "9".repeat(100_000)), "claims"),
        (format!("\"x\":0.{}", "9".repeat(100_000)), "ok"),
        ("\"x\":1e999999999".to_owned(), "claims"),
        ("\"x\":-1e999999999".to_owned(), "claims"),
        ("\"x\":1e-999999999".to_owned(), "ok"),
        (format!("\"x\":[{}0]", "0,".repeat(100_000)), "ok"),
    ];
    for (more, expected) in rows {
        let token = signer.token();
        let payload = payload_with(&token, &more);
        house.judges(&token.raw_payload(payload).sign(), expected);
    }
    let slow = house.gw.log().lines().iter().filter_map(|line| line["decision_us"].as_u64()).max();
    assert!(slow.is_some_and(|us| us < 2_000_000), "{slow:?} µs in a build without optimisation");
    // The default size keeps all of these out before they are read.
    let (issuers, signer) = simple(&secret(), "");
    let house = House::new(&[issuers], "");
    let token = signer.token();
    let payload = payload_with(&token, &nested("[", "]", 5_000));
    house.refuses(&token.raw_payload(payload).sign(), "size");
    let many: Vec<_> = (0..10_000).map(|_| "api").collect();
    let token = signer.token().claim("aud", many);
    assert!(token.sign().len() > 32 * 1024);
    house.present(&token.sign()).denied("headers_too_large");
    house.upstream.assert_untouched();
}

#[test]
fn a_payload_is_one_object_without_members_that_stand_there_twice() {
    let (house, signer) = simple_house("");
    let now = NOW.secs();
    for payload in [
        format!("[{}, {now}, \"alice\", \"{ISS}\", [\"api\"]]", now + 300),
        "null".to_owned(),
        "1".to_owned(),
        "\"x\"".to_owned(),
        "{}{}".to_owned(),
        "x".to_owned(),
        format!("\u{feff}{}", signer.token().claims()),
        format!("{} x", signer.token().claims()),
        payload_with(&signer.token(), "\"sub\":\"bob\""),
        payload_with(&signer.token(), "\"\\u0073ub\":\"bob\""),
        payload_with(&signer.token(), "\"exp\":9999999999"),
        payload_with(&signer.token(), &format!("\"iss\":\"{ISS}\"")),
        payload_with(&signer.token(), "\"scope\":\"a\",\"scope\":\"b\""),
        payload_with(&signer.token(), "\"x\":[{\"y\":{\"z\":1,\"z\":1}}]"),
        payload_with(&signer.token(), "\"x\":\"\\ud800\""),
    ] {
        house.refuses(&signer.token().raw_payload(payload).sign(), "claims");
    }
    let mut invalid = payload_with(&signer.token(), "\"x\":\"?\"").into_bytes();
    let at = invalid.iter().position(|&b| b == b'?').expect("the mark");
    invalid[at] = 0xff;
    house.refuses(&signer.token().raw_payload(invalid).sign(), "claims");
    house.refuses(
        &format!("{}.{}.", BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#), BASE64URL_NOPAD.encode(b"[]")),
        "claims",
    );
    let proper = signer.token();
    let spaced = format!("\r\n{:#}\t", proper.claims());
    house.accepts(&proper.raw_payload(spaced).sign());
}
