//! A token of an OpenID issuer goes through; spoilt in one place it does not, whichever place that is.

use portcullis::clock::Clock;
use serde_json::{Value, json};

use super::super::support::issuer::{Issuer, JWKS};
use super::super::support::keys::{Alg, Key};
use super::super::support::realms::HOUSE;
use super::super::support::token::{Token, flip_signature_bit, parts, with_signature};
use super::{COOLDOWN, Stage, believing};

/// What was done to the token, what came of it, and `reason:why` of the log.
type Row = (String, String, &'static str);

fn row(what: impl Into<String>, token: impl Into<String>, expected: &'static str) -> Row {
    (what.into(), token.into(), expected)
}

/// Values that are no text.
fn no_texts() -> [Value; 6] {
    [Value::Null, json!(1), json!(true), json!([]), json!(["alice"]), json!({"a": "alice"})]
}

fn spoilt_claims(good: &dyn Fn() -> Token, iss: &str, now: i64) -> Vec<Row> {
    let far = 24 * 3600 + 1;
    let mut rows = Vec::new();
    let mut wrong = |claim: &str, expected, values: &[Value]| {
        rows.extend(
            values.iter().map(|v| row(format!("{claim} = {v}"), good().claim(claim, v.clone()).sign(), expected)),
        );
    };
    let [issuer, audience, claims] = ["token_invalid:issuer", "token_invalid:audience", "token_invalid:claims"];
    wrong("iss", issuer, &no_texts());
    let other_issuers =
        ["", "https://evil.test", &format!("{iss}/"), &format!(" {iss}"), &iss.to_uppercase(), "HTTPS://"];
    wrong("iss", issuer, &other_issuers.map(Value::from));
    wrong("iss", issuer, &[json!([iss]), json!(["https://evil.test", iss])]);
    wrong("iss", "token_invalid:alg", &[json!(HOUSE)]); // which signs by another algorithm
    wrong("aud", audience, &no_texts());
    wrong("aud", audience, &["", "API", "api ", "other api", "ap", "apis"].map(Value::from));
    wrong("aud", audience, &[json!(["other"]), json!(["api", 5]), json!([["api"]]), json!({"api": "api"})]);
    wrong("exp", claims, &[json!("1"), json!((now + 300).to_string()), json!(-1), json!(-0.5)]);
    wrong("exp", claims, &[Value::Null, json!(true), json!([now + 300]), json!({})]);
    wrong("exp", "token_expired:expired", &[json!(now), json!(now - 1), json!(0), json!(f64::from(now as i32) + 0.9)]);
    wrong("exp", "token_invalid:lifetime", &[json!(now + far), json!(now * 1000), json!(u64::MAX), json!(1e300)]);
    wrong("nbf", claims, &[Value::Null, json!("1"), json!(true), json!([]), json!({}), json!(-1)]);
    wrong("nbf", "token_invalid:not_yet", &[json!(now + 61), json!(u64::MAX)]);
    wrong("iat", claims, &[Value::Null, json!("1"), json!(true), json!([]), json!({}), json!(-1)]);
    wrong("iat", "token_invalid:issued_at", &[json!(now + 61), json!(u64::MAX)]);
    wrong("sub", claims, &no_texts());
    wrong("sub", claims, &["", "a\u{0}b", "a\r\nX-Role: admin", "\u{202e}ecila", "a\u{2028}"].map(Value::from));
    wrong("sub", claims, &[json!("a".repeat(1025))]);
    for claim in ["client_id", "tenant", "plan"] {
        wrong(claim, claims, &[json!(true), json!(1.5), json!([]), json!({}), json!("a\nb")]);
    }
    for claim in ["scope", "roles"] {
        wrong(claim, claims, &[json!("a\u{0}"), json!(["a\nb"])]);
    }
    for (claim, expected) in [("iss", issuer), ("aud", audience), ("exp", claims), ("sub", claims)] {
        rows.push(row(format!("without {claim}"), good().without(claim).sign(), expected));
    }
    rows
}

fn spoilt_payloads(good: &dyn Fn() -> Token) -> Vec<Row> {
    let text = good().claims().to_string();
    let object = text.trim_end_matches('}');
    let raw = |what: &str, payload: String, expected| row(what, good().raw_payload(payload).sign(), expected);
    vec![
        raw("a claim twice", format!("{object},\"sub\":\"root\"}}"), "token_invalid:claims"),
        raw("a claim twice, once escaped", format!("{object},\"s\\u0075b\":\"root\"}}"), "token_invalid:claims"),
        raw("iss twice", format!("{object},\"iss\":\"https://evil.test\"}}"), "token_invalid:claims"),
        raw("an unused claim twice", format!("{object},\"x\":1,\"x\":2}}"), "token_invalid:claims"),
        raw("a number beyond all bounds", format!("{object},\"x\":1e999}}"), "token_invalid:claims"),
        raw("a list", format!("[{text}]"), "token_invalid:claims"),
        raw("bytes after the claims", format!("{text}x"), "token_invalid:claims"),
        raw("a byte order mark", format!("\u{feff}{text}"), "token_invalid:claims"),
        raw("nothing", String::new(), "token_invalid:format"),
    ]
}

fn spoilt_headers(good: &dyn Fn() -> Token) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut wrong = |member: &str, expected, values: &[Value]| {
        rows.extend(
            values.iter().map(|v| row(format!("{member}: {v}"), good().header(member, v.clone()).sign(), expected)),
        );
    };
    for name in ["jwk", "jku", "x5u", "x5c", "cty", "enc", "zip", "p2s", "p2c", "epk", "apu", "apv", "iv", "tag"] {
        let values =
            [Value::Null, json!("JWT"), json!("https://127.0.0.1/"), json!(2_147_483_647), json!([]), json!({})];
        wrong(name, "token_invalid:header", &values);
    }
    wrong("jwk", "token_invalid:header", &[Key::other_rsa2048().jwk("k2")]);
    wrong("crit", "token_invalid:crit", &[json!(["exp"]), json!([]), json!(["b64"]), json!("exp"), Value::Null]);
    wrong("b64", "token_invalid:crit", &[json!(false), json!(true)]);
    wrong(
        "alg",
        "token_invalid:alg",
        &["none", "None", "", "rs256", "RS384", "PS256", "ES256", "HS256"].map(Value::from),
    );
    wrong("alg", "token_invalid:header", &no_texts());
    wrong("typ", "token_invalid:typ", &no_texts());
    wrong("typ", "token_invalid:typ", &["", "dpop+jwt", "logout+jwt", "JWTx", "application/"].map(Value::from));
    wrong("kid", "token_invalid:kid", &no_texts());
    let strange =
        ["", "K2", "k2 ", "k3", "../../../../dev/null", "' OR '1'='1", "http://127.0.0.1:9/", "${jndi:x}", "\u{0}"];
    wrong("kid", "token_invalid:kid", &strange.map(Value::from));
    wrong("kid", "token_invalid:kid", &[json!("k".repeat(3000))]);
    wrong("kid", "token_invalid:signature", &[json!("k1")]); // which is published, too
    for text in
        ["{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"k2\"}", "[\"RS256\"]", "\u{feff}{\"alg\":\"RS256\"}", "1"]
    {
        rows.push(row(text, good().raw_header(text).sign(), "token_invalid:header"));
    }
    rows.push(row("without alg", good().without_header("alg").sign(), "token_invalid:header"));
    rows
}

fn spoilt_signatures(good: &dyn Fn() -> Token, key: &Key) -> Vec<Row> {
    let token = good().sign();
    let ([header, payload, signature], other) = (parts(&token), good().subject("root").sign());
    let mut rows = vec![
        row("no signature", good().unsigned(), "token_invalid:signature"),
        row("no signature and no dot", format!("{header}.{payload}"), "token_invalid:format"),
        row("a fourth part", format!("{token}.{signature}"), "token_invalid:format"),
        row("padding", format!("{token}="), "token_invalid:format"),
        row("a zero signature", with_signature(&token, &[0; 256]), "token_invalid:signature"),
        row("a short signature", with_signature(&token, &[1; 255]), "token_invalid:signature"),
        row("another token's signature", format!("{header}.{payload}.{}", parts(&other)[2]), "token_invalid:signature"),
        row("another token's claims", format!("{header}.{}.{signature}", parts(&other)[1]), "token_invalid:signature"),
        row("a stranger's key", good().signed_with(&Key::rsa2048(), Alg::RS256).sign(), "token_invalid:signature"),
        row("a signature by PS256", good().signed_with(key, Alg::PS256).sign(), "token_invalid:signature"),
    ];
    rows.extend(
        [0, 777, 2047].map(|bit| row(format!("bit {bit}"), flip_signature_bit(&token, bit), "token_invalid:signature")),
    );
    // Honestly signed by what the header says, which is not what the issuer is configured for.
    for alg in [Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512] {
        rows.push(row(alg.name(), good().header("alg", alg.name()).signed_with(key, alg).sign(), "token_invalid:alg"));
    }
    for (alg, key) in [
        (Alg::HS256, Key::from_secret(key.pem().as_bytes())),
        (Alg::HS256, Key::from_secret(b"")),
        (Alg::ES256, Key::p256()),
        (Alg::EdDSA, Key::ed25519()),
    ] {
        rows.push(row(alg.name(), good().header("alg", alg.name()).signed_with(&key, alg).sign(), "token_invalid:alg"));
    }
    rows
}

#[test]
fn an_oidc_issuers_token_goes_through_and_the_same_token_spoilt_in_one_place_does_not() {
    let issuer = Issuer::start();
    let foreign = believing("foreign", &issuer, "\"RS256\"", "discovery = true, ca = \"ca.pem\"");
    let stage = Stage::in_realm(issuer, &foreign);
    stage.ask_anew().ok();
    let seen = stage.upstream.only();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("x-auth-issuer"), Some("foreign"));

    // The issuer changes over to another key; the old one stays published, as it must.
    let (old, new) = (Key::rsa2048(), Key::other_rsa2048());
    stage.issuer.publish([old.jwk("k1"), new.jwk("k2")]);
    stage.issuer.sign_with("k2", &new);
    stage.gw.pass(COOLDOWN);
    stage.ask_anew().ok();
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (2, (2, 0)));

    stage.upstream.forget();
    let good = || stage.token();
    let mut rows = spoilt_claims(&good, stage.issuer.issuer_url(), stage.gw.clock.now().secs());
    rows.extend(spoilt_payloads(&good));
    rows.extend(spoilt_headers(&good));
    rows.extend(spoilt_signatures(&good, &new));
    let mut faults = Vec::new();
    let mut bodies = Vec::new();
    for (what, token, expected) in &rows {
        let reply = stage.ask(token);
        if reply.status != 401 {
            faults.push(format!("{what}: answered {}", reply.status));
            continue;
        }
        let reason = expected.split(':').next().unwrap_or_default();
        let told = stage.gw.why(&reply);
        if told != *expected {
            faults.push(format!("{what}: {told} instead of {expected}"));
        }
        let reply = reply.denied(told.split(':').next().unwrap_or_default());
        if reason == "token_invalid" {
            let mut body = reply.json();
            body["instance"] = Value::Null;
            bodies.push((body, reply.header("www-authenticate").map(str::to_owned)));
        }
    }
    assert_eq!(faults, Vec::<String>::new(), "of {}", rows.len());
    assert!(bodies.windows(2).all(|two| two[0] == two[1]), "an answer tells what is wrong with the token");
    stage.upstream.assert_untouched();
    stage.ask_anew().ok();
    assert_eq!(stage.issuer.hits(JWKS), 2, "nothing of it was a reason to ask the issuer");
}
