//! J-37, J-38, J-46 and required claims: whose a token is, for whom, about whom, and what of it is forwarded.

use serde_json::{Value, json};

use super::*;

#[test]
fn j37_the_issuer_is_a_text_and_equal_to_the_byte() {
    let (house, signer) = simple_house("");
    for iss in [
        json!(null),
        json!(7),
        json!({"iss": ISS}),
        json!([ISS]),
        json!(["https://evil.test", ISS]),
        json!([ISS, "https://evil.test"]),
        json!(true),
        json!(""),
        json!("https://issuer.tes"),
        json!("https://issuer.test2"),
        json!("https://issuer.test/"),
        json!("https://issuer.test:443"),
        json!("http://issuer.test"),
        json!("HTTPS://issuer.test"),
        json!("https://Issuer.test"),
        json!(" https://issuer.test"),
        json!("https://issuer.test "),
        json!("https://issuer.test\0"),
        json!("https://issuer.test#a"),
        json!("https://user@issuer.test"),
        json!("issuer.test"),
        json!("idp"),
        json!("self"),
        json!("https://\u{131}ssuer.test"),
        json!("https://i\u{17f}suer.test"),
        json!("https\u{ff1a}//issuer.test"),
    ] {
        house.refuses(&signer.token().claim("iss", iss).sign(), "issuer");
    }
    house.refuses(&signer.token().without("iss").sign(), "issuer");
    for name in ["ISS", "Iss", "iss ", "issuer"] {
        house.refuses(&signer.token().without("iss").claim(name, ISS).sign(), "issuer");
    }
    house.refuses(&with_raw(&signer, "", &format!("\"iss\":\"{ISS}\"")), "claims");
    house.refuses(&with_raw(&signer, "", "\"iss\":\"https://evil.test\""), "claims");
    house.accepts(&with_raw(&signer, "iss", "\"\\u0069ss\":\"https:\\/\\/issuer.test\""));
}

#[test]
fn j37_two_spellings_of_one_letter_are_two_issuers() {
    let (composed, decomposed) = ("https://caf\u{e9}.test", "https://cafe\u{301}.test");
    let (one, other) = (secret(), secret());
    let issuers = [issuer("one", composed, &[Alg::HS256], &static_key(&one), "")];
    let house = House::new(&issuers, "");
    house.accepts(&Signer::new(composed, one.clone()).token().sign());
    house.refuses(&Signer::new(decomposed, one.clone()).token().sign(), "issuer");
    let both = [&issuers[..], &[issuer("other", decomposed, &[Alg::HS256], &static_key(&other), "")]].concat();
    let house = House::new(&both, "");
    house.accepts(&Signer::new(decomposed, other).token().sign());
    house.refuses(&Signer::new(decomposed, one).token().sign(), "signature");
}

#[test]
fn j38_only_our_name_or_a_list_of_names_with_ours_is_our_audience() {
    let key = secret();
    let several = issuer("idp", ISS, &[Alg::HS256], &static_key(&key), "")
        .replace("audience = [\"api\"]", "audience = [\"api\", \"https://api.test/\"]");
    let (house, signer) = (House::new(&[several], ""), Signer::new(ISS, key));
    for (aud, expected) in [
        (json!("api"), "ok"),
        (json!(["api"]), "ok"),
        (json!(["x", "api"]), "ok"),
        (json!(["api", "api"]), "ok"),
        (json!("https://api.test/"), "ok"),
        (json!(vec!["x"; 400].into_iter().chain(["api"]).collect::<Vec<_>>()), "ok"),
        (json!("https://api.test"), "audience"),
        (json!(null), "audience"),
        (json!(5), "audience"),
        (json!(true), "audience"),
        (json!({}), "audience"),
        (json!({"api": "api"}), "audience"),
        (json!(""), "audience"),
        (json!([]), "audience"),
        (json!(["api", 5]), "audience"),
        (json!([5, "api"]), "audience"),
        (json!(["api", null]), "audience"),
        (json!([["api"]]), "audience"),
        (json!(["API"]), "audience"),
        (json!("API"), "audience"),
        (json!("api "), "audience"),
        (json!(" api"), "audience"),
        (json!("api,x"), "audience"),
        (json!("api x"), "audience"),
        (json!("api\0"), "audience"),
        (json!("ap"), "audience"),
        (json!("apis"), "audience"),
        (json!("*"), "audience"),
        (json!("\u{430}pi"), "audience"),
    ] {
        house.judges(&signer.token().claim("aud", aud).sign(), expected);
    }
    house.refuses(&signer.token().without("aud").sign(), "audience");
    house.refuses(&signer.token().without("aud").claim("AUD", "api").sign(), "audience");
}

#[test]
fn a_list_of_ten_thousand_audiences_is_read_where_it_may_be_so_long() {
    let (issuers, signer) = simple(&secret(), "");
    let builder = Gateway::builder().server_toml("max_token = \"200KiB\"\nmax_headers = \"300KiB\"");
    let house = House::build(builder, &[issuers], "");
    let names = |last: Value| (0..10_000).map(|i| json!(format!("a{i}"))).chain([last]).collect::<Vec<_>>();
    house.accepts(&signer.token().claim("aud", names(json!("api"))).sign());
    house.refuses(&signer.token().claim("aud", names(json!("API"))).sign(), "audience");
    house.refuses(&signer.token().claim("aud", names(json!(1))).sign(), "audience");
}

#[test]
fn a_claim_that_is_required_is_there_and_not_null() {
    let (house, signer) = simple_house("");
    for name in ["exp", "sub"] {
        house.refuses(&signer.token().without(name).sign(), "claims");
        house.refuses(&signer.token().claim(name, Value::Null).sign(), "claims");
    }
    let (house, signer) = simple_house(r#"required_claims = ["jti", "auth_time", "a/b"]"#);
    let token = signer.token().claim("auth_time", 0).claim("a/b", false);
    house.accepts(&token.sign());
    for name in ["jti", "auth_time", "a/b"] {
        house.refuses(&token.clone().without(name).sign(), "claims");
        house.refuses(&token.clone().claim(name, Value::Null).sign(), "claims");
    }
    // What no configuration switches off.
    for name in ["exp", "sub"] {
        house.refuses(&token.clone().without(name).sign(), "claims");
    }
    house.refuses(&token.clone().without("iss").sign(), "issuer");
    house.refuses(&token.clone().without("aud").sign(), "audience");
    let (house, signer) = simple_house("required_claims = []\nclaims = { subject = \"uid\" }");
    house.accepts(&signer.token().without("sub").claim("uid", "u").sign());
    house.refuses(&signer.token().sign(), "claims");
    house.refuses(&signer.token().claim("uid", "u").without("exp").sign(), "claims");
}

#[test]
fn a_subject_is_a_text_that_can_be_written_into_a_header() {
    let (house, signer) = simple_house("");
    let long = "x".repeat(1024);
    for (sub, header) in [
        ("alice", "alice"),
        ("auth0|5f7", "auth0|5f7"),
        ("a b", "a%20b"),
        ("100%", "100%25"),
        ("\u{dc}n\u{ef}", "%C3%9Cn%C3%AF"),
        ("\u{1f600}", "%F0%9F%98%80"),
        ("a,b;c=\"d\"", "a,b;c=\"d\""),
        (" a ", "%20a%20"),
        (&long, &long),
    ] {
        assert_eq!(house.accepts(&signer.token().subject(sub).sign()).header("x-auth-subject"), Some(header), "{sub}");
    }
    for sub in [
        json!(""),
        json!(7),
        json!(["alice"]),
        json!({"id": "alice"}),
        json!(true),
        json!("x".repeat(1025)),
        json!("a\0b\r\nX-Role: admin"),
        json!("a\nb"),
        json!("a\tb"),
        json!("a\u{7f}b"),
        json!("a\u{85}b"),
        json!("a\u{9b}31mb"),
        json!("a\u{2028}b"),
        json!("a\u{202e}b"),
        json!("a\u{2067}b"),
    ] {
        for name in ["sub", "client_id", "tenant", "plan"] {
            let bad_for_all = sub.is_string() && sub != "" || sub.is_array() || sub.is_object() || sub.is_boolean();
            if name == "sub" || bad_for_all {
                house.refuses(&signer.token().claim(name, sub.clone()).sign(), "claims");
            }
        }
    }
    let log = house.gw.log().text();
    assert!(!log.contains("X-Role") && !log.contains("31m"), "what is not proven is not logged");
}

#[test]
fn j46_a_forwarded_claim_has_one_rendering_or_none() {
    let key = secret();
    let extra = r#"
[identity_headers.extra]
claim = "X-Claim"
"__proto__" = "X-Proto"
"under_score" = "X-Under-Score"
"under-score" = "X-Under-Dash"
"/deep/0/er" = "X-Deep"
"#;
    let issuers = [issuer("idp", ISS, &[Alg::HS256], &static_key(&key), "")];
    let builder = Gateway::builder().server_toml("max_token = \"100KiB\"\nmax_headers = \"200KiB\"");
    let house = House::build(builder, &[issuers.concat()], extra);
    let signer = Signer::new(ISS, key);
    let long = "a".repeat(4096);
    for (claim, header) in [
        (json!("text"), Some("text")),
        (json!("a b%"), Some("a%20b%25")),
        (json!("\u{e9}\r\nX-Injected: 1"), Some("%C3%A9%0D%0AX-Injected:%201")),
        (json!(true), Some("true")),
        (json!(0), Some("0")),
        (json!(-7), Some("-7")),
        (json!(u64::MAX), Some("18446744073709551615")),
        (json!(1.5), Some("1.5")),
        (json!(["b", "a", 1, true]), Some("b a 1 true")),
        (json!(["a b", "", "c"]), Some("a%20b c")),
        (json!(long), Some(long.as_str())),
        (json!("a".repeat(4097)), None),
        (json!("a".repeat(64 * 1024)), None),
        (json!(vec!["abc"; 2000]), None),
        (json!(null), None),
        (json!(""), None),
        (json!([]), None),
        (json!({"a": 1}), None),
        (json!([["a"]]), None),
        (json!(["a", null]), None),
        (json!(["a", {"b": 1}]), None),
    ] {
        let seen = house.accepts(&signer.token().claim("claim", claim).sign());
        assert_eq!(seen.header("x-claim"), header);
        assert!(seen.aliases("x-claim").len() < 2 && seen.all("x-injected").is_empty());
    }
    for (number, header) in [("1e3", "1000.0"), ("1E2", "100.0"), ("-0", "-0.0"), ("1.0", "1.0"), ("0.1e1", "1.0")] {
        let seen = house.accepts(&with_raw(&signer, "", &format!("\"claim\":{number}")));
        assert_eq!(seen.header("x-claim"), Some(header), "{number}");
    }
    let token = signer
        .token()
        .claim("__proto__", "p")
        .claim("constructor", "c")
        .claim("under_score", "u")
        .claim("under-score", "d")
        .claim("deep", json!([{"er": "found"}]));
    let seen = house.accepts(&token.sign());
    for (name, value) in [
        ("x-proto", "p"),
        ("x-under-score", "u"),
        ("x-under-dash", "d"),
        ("x-deep", "found"),
        ("x-auth-subject", "alice"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    let seen = house.accepts(&signer.token().claim("__proto__", json!({"sub": "root"})).sign());
    assert_eq!((seen.header("x-proto"), seen.header("x-auth-subject")), (None, Some("alice")));
}

#[test]
fn j46_client_tenant_and_plan_are_texts_or_whole_numbers() {
    let (house, signer) = simple_house("");
    for (claim, header) in [("client_id", "x-auth-client"), ("tenant", "x-auth-tenant"), ("plan", "x-auth-plan")] {
        for (value, expected) in [
            (json!("a b"), Some("a%20b")),
            (json!(42), Some("42")),
            (json!(-1), Some("-1")),
            (json!(null), None),
            (json!(""), None),
        ] {
            let seen = house.accepts(&signer.token().claim(claim, value).sign());
            assert_eq!(seen.header(header), expected, "{claim}");
        }
        for value in [json!(true), json!(1.5), json!(["a"]), json!({"a": 1}), json!("x".repeat(1025))] {
            house.refuses(&signer.token().claim(claim, value).sign(), "claims");
        }
        for number in ["1e3", "-0", "18446744073709551616"] {
            house.refuses(&with_raw(&signer, "", &format!("\"{claim}\":{number}")), "claims");
        }
    }
}
