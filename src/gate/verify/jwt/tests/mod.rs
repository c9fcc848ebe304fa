//! Families of attacks against tokens: what must not pass, and the cause that is told. Here form, header, issuer, key
//! and signature.

mod claims;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::identity::{Principal, ScopeSet};
use crate::jwt::{OwnKey, SigningKey, sign, test_keys};
use crate::secret::Secret;

const NOW: i64 = 1_763_682_354;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn secret() -> Secret {
    Secret::new((0..64).collect())
}

fn issuer(index: usize, iss: &str, algorithms: &[Algorithm], ring: KeyRing) -> Issuer {
    let path = |name: &str| ClaimPath::parse(name).unwrap();
    Issuer {
        name: format!("idp{index}").into(),
        index,
        issuer: iss.into(),
        audience: vec!["api".into()],
        algorithms: algorithms.to_vec(),
        keys: KeySource::Static(ring),
        leeway: Duration::ZERO,
        max_ttl: Duration::from_secs(86_400),
        typ: vec!["jwt".into(), "at+jwt".into()],
        required_claims: ["exp", "iss", "aud", "sub"].map(Box::from).to_vec(),
        claims: ClaimMap {
            subject: path("sub"),
            client: Some(path("client_id")),
            scopes: Some(path("scope")),
            roles: Some(path("roles")),
            tenant: Some(path("tenant")),
            plan: Some(path("plan")),
        },
    }
}

fn hmac_issuer() -> Issuer {
    let key = VerifyKey::from_secret(&secret(), &[Algorithm::HS256]).unwrap();
    issuer(0, "https://good", &[Algorithm::HS256], KeyRing::single(key))
}

fn claims_with(changes: &Value) -> String {
    let mut claims = json!({"iss": "https://good", "aud": "api", "sub": "u1", "iat": NOW, "exp": NOW + 600});
    for (name, value) in changes.as_object().unwrap() {
        if value == "(absent)" {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims.to_string()
}

fn signed(header: &str, claims: &str) -> String {
    sign(header, claims, &SigningKey::from_secret(&secret()).unwrap(), Algorithm::HS256).unwrap()
}

fn judged(token: &str, issuers: Vec<Issuer>, allowed: &[usize], now: UnixMillis) -> Result<Token, Failure> {
    let issuers: Vec<_> = issuers.into_iter().map(Arc::new).collect();
    let roles = Roles(HashMap::from([("admin".into(), ScopeSet::patterns(["*"]))]));
    let rules = Rules { issuers: &issuers, allowed, roles: &roles, clock_skew: Duration::from_secs(60), now };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(verify(token, rules, &mut None))
}

fn why(token: &str) -> &'static str {
    why_of(judged(token, vec![hmac_issuer()], &[0], UnixMillis(NOW * 1000)))
}

fn why_of(result: Result<Token, Failure>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Failure::Rejected(reason, why)) => {
            let expected = match why {
                Why::Expired => Reason::TokenExpired,
                _ => Reason::TokenInvalid,
            };
            assert_eq!(reason, expected);
            why.as_str()
        }
        Err(Failure::Unavailable(why)) => panic!("{why}"),
    }
}

fn why_claims(changes: Value) -> &'static str {
    why(&signed(HEADER, &claims_with(&changes)))
}

fn principal_of(changes: Value) -> Principal {
    judged(&signed(HEADER, &claims_with(&changes)), vec![hmac_issuer()], &[0], UnixMillis(NOW * 1000))
        .unwrap()
        .principal
}

#[test]
fn a_good_token_is_verified_with_everything_it_says() {
    let changes = json!({
        "client_id": "c1", "scope": "links:read links:write", "roles": ["viewer"], "tenant": 42, "plan": "Growth", "jti": "t1",
        "nbf": NOW, "custom": {"x": 1}
    });
    let token = signed(HEADER, &claims_with(&changes));
    let token = judged(&token, vec![hmac_issuer()], &[0], UnixMillis(NOW * 1000)).unwrap();
    assert_eq!(token.expires, UnixMillis((NOW + 600) * 1000));
    assert_eq!(&*token.issuer.name, "idp0");
    let who = token.principal;
    assert_eq!((&*who.subject, who.client.as_deref(), who.credential_id.as_deref()), ("u1", Some("c1"), Some("t1")));
    assert_eq!(
        (who.issuer.as_deref(), who.tenant.as_deref(), who.plan.as_deref()),
        (Some("idp0"), Some("42"), Some("Growth"))
    );
    assert_eq!(who.roles, ["viewer".into()]);
    assert_eq!(who.scopes.iter().collect::<Vec<_>>(), ["links:read", "links:write"]);
    assert_eq!(who.attributes["custom"], json!({"x": 1}));
}

#[test]
fn no_header_talks_the_gate_into_another_algorithm_or_key() {
    let good = claims_with(&json!({}));
    for (header, expected) in [
        (r#"{"alg":"none"}"#, "alg"),
        (r#"{"alg":"NoNe"}"#, "alg"),
        (r#"{"alg":"HS384"}"#, "alg"),
        (r#"{"alg":"RS256"}"#, "alg"),
        (r#"{"alg":null}"#, "header"),
        (r#"{}"#, "header"),
        (r#"{"alg":"HS256","crit":[]}"#, "crit"),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, "crit"),
        (r#"{"alg":"HS256","jku":"http://127.0.0.1:9/"}"#, "header"),
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#, "header"),
        (r#"{"alg":"HS256","cty":"JWT"}"#, "header"),
        (r#"{"alg":"HS256","zip":"DEF"}"#, "header"),
        (r#"{"alg":"HS256","kid":7}"#, "kid"),
        (r#"{"alg":"HS256","kid":"whatever"}"#, "ok"), // one key of the configuration: its id is not asked
        (r#"{ "\u0061lg" : "HS256" }"#, "ok"),
    ] {
        assert_eq!(why(&signed(header, &good)), expected, "{header}");
    }
}

#[test]
fn the_type_is_one_of_the_issuers_or_absent() {
    for (typ, expected) in [
        ("\"JWT\"", "ok"),
        ("\"jwt\"", "ok"),
        ("\"at+jwt\"", "ok"),
        ("\"AT+JWT\"", "ok"),
        ("\"application/at+jwt\"", "ok"),
        ("\"Application/JWT\"", "ok"),
        ("\"application/application/jwt\"", "typ"),
        ("\"text/jwt\"", "typ"),
        ("\"\"", "typ"),
        ("\"dpop+jwt\"", "typ"),
        ("\"logout+jwt\"", "typ"),
        ("\"secevent+jwt\"", "typ"),
        ("1", "typ"),
    ] {
        assert_eq!(
            why(&signed(&format!("{{\"alg\":\"HS256\",\"typ\":{typ}}}"), &claims_with(&json!({})))),
            expected,
            "{typ}"
        );
    }
}

#[test]
fn what_is_told_of_an_unproven_token_is_short_and_harmless() {
    let long = "x".repeat(5000);
    let header = format!("{{\"alg\":\"HS256\",\"kid\":\"\u{9b}31m\u{202e}{long}\"}}");
    let told = describe(&signed(&header, &claims_with(&json!({"sub": format!("\r\n\u{9b}{long}"), "aud": [long]}))));
    assert!(told.len() < 500 && told.bytes().filter(|b| !b.is_ascii_graphic() && *b != b' ').count() < 12, "{told}");
    assert!(told.starts_with("a JWT: alg HS256, kid \"\\u{9b}31m\\u{202e}xxx"), "{told}");
    assert!(told.contains("typ absent; unproven: iss \"https://good\", aud [\"xxx"), "{told}");
}

#[test]
fn a_bad_signature_is_told_before_anything_in_the_claims() {
    let flaws = [json!({"exp": 1}), json!({"aud": "you"}), json!({"sub": 1}), json!({"nbf": "x"}), json!({})];
    let duplicate = r#"{"iss":"https://good","a":1,"a":2}"#.to_owned();
    for claims in flaws.iter().map(claims_with).chain([duplicate]) {
        let other = SigningKey::from_secret(&Secret::new((1..65).collect())).unwrap();
        assert_eq!(why(&sign(HEADER, &claims, &other, Algorithm::HS256).unwrap()), "signature", "{claims}");
    }
    let (input, _) =
        signed(HEADER, &claims_with(&json!({}))).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(why(&format!("{input}.")), "signature");
}

#[test]
fn a_payload_is_one_object_without_duplicates() {
    for payload in ["[1]", "null", "\"x\"", "", "x", "{}x"] {
        let expected = if payload.is_empty() { "format" } else { "claims" };
        assert_eq!(why(&signed(HEADER, payload)), expected, "{payload}");
    }
    let good = claims_with(&json!({}));
    let inner = good.strip_suffix('}').unwrap();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for more in [
        r#""sub":"u2""#,
        r#""scope":"a","sc\u006fpe":"b""#,
        r#""x":{"y":1,"y":1}"#,
        r#""x":1e400"#,
        r#""x":1e999999999"#,
        &format!("\"x\":{deep}"),
    ] {
        assert_eq!(why(&signed(HEADER, &format!("{inner},{more}}}"))), "claims", "{more}");
    }
    assert_eq!(why(&signed(HEADER, &format!("{inner},\"iss\":\"https://good\"}}"))), "claims");
}

#[test]
fn the_issuer_is_a_string_and_equal_byte_for_byte() {
    for iss in [
        json!("(absent)"),
        json!(null),
        json!(7),
        json!({}),
        json!(["https://good"]),
        json!("https://goo"),
        json!("https://good/"),
        json!("https://good2"),
        json!("HTTPS://good"),
        json!("https://Good"),
        json!("http://good"),
        json!("https://good:443"),
        json!(" https://good"),
        json!(""),
    ] {
        assert_eq!(why_claims(json!({"iss": iss})), "issuer", "{iss}");
    }
}

#[test]
fn an_issuer_that_the_route_does_not_believe_is_not_asked() {
    let token = signed(HEADER, &claims_with(&json!({})));
    let now = UnixMillis(NOW * 1000);
    for allowed in [&[][..], &[1]] {
        let refused = judged(&token, vec![hmac_issuer()], allowed, now).unwrap_err();
        assert_eq!(refused, Failure::Rejected(Reason::IssuerNotAllowed, Why::Issuer));
    }
    let other = signed(HEADER, &claims_with(&json!({"iss": "https://other"})));
    assert_eq!(why_of(judged(&other, vec![hmac_issuer()], &[], now)), "issuer");
}

#[test]
fn issuers_that_share_a_name_are_told_apart_by_algorithm_or_route() {
    let pair = test_keys::p256();
    let ring = || KeyRing::single(VerifyKey::from_pem(pair.public_pem().as_bytes(), &[Algorithm::ES256]).unwrap());
    let issuers = || vec![hmac_issuer(), issuer(1, "https://good", &[Algorithm::ES256], ring())];
    let now = UnixMillis(NOW * 1000);
    let symmetric = signed(HEADER, &claims_with(&json!({})));
    let asymmetric = sign(r#"{"alg":"ES256"}"#, &claims_with(&json!({})), &pair.signing, Algorithm::ES256).unwrap();
    assert_eq!(judged(&symmetric, issuers(), &[0, 1], now).unwrap().issuer.index, 0);
    assert_eq!(judged(&asymmetric, issuers(), &[0, 1], now).unwrap().issuer.index, 1);
    assert_eq!(why_of(judged(&asymmetric, issuers(), &[0], now)), "alg");
}

#[test]
fn the_public_key_is_never_a_secret() {
    let pair = test_keys::rsa();
    let pem = pair.public_pem();
    let ring = KeyRing::single(VerifyKey::from_pem(pem.as_bytes(), &[Algorithm::RS256]).unwrap());
    let forging = SigningKey::from_secret(&Secret::new(pem.into_bytes())).unwrap();
    let token = sign(HEADER, &claims_with(&json!({})), &forging, Algorithm::HS256).unwrap();
    let careless = issuer(0, "https://good", &[Algorithm::RS256, Algorithm::HS256], ring);
    assert_eq!(why_of(judged(&token, vec![careless], &[0], UnixMillis(NOW * 1000))), "alg");
}

#[test]
fn a_key_set_is_asked_for_key_id_then_algorithm_then_signature() {
    let with = |pair: &test_keys::Pair, kid: &str, alg: &str| {
        let mut key = test_keys::jwk(pair);
        (key["kid"], key["alg"]) = (json!(kid), json!(alg));
        key
    };
    let keys =
        json!({"keys": [with(test_keys::rsa(), "r", "PS512"), with(test_keys::p384(), "e", "ES384")]}).to_string();
    let algorithms = Algorithm::ALL;
    for (header, expected) in [
        (r#"{"alg":"PS512","kid":"r"}"#, "ok"),
        (r#"{"alg":"PS512"}"#, "ok"),
        (r#"{"alg":"RS256","kid":"r"}"#, "alg"),
        (r#"{"alg":"PS256","kid":"r"}"#, "alg"),
        (r#"{"alg":"HS256","kid":"r"}"#, "alg"),
        (r#"{"alg":"ES256","kid":"e"}"#, "alg"),
        (r#"{"alg":"ES384","kid":"e"}"#, "signature"),
        (r#"{"alg":"PS512","kid":"x"}"#, "kid"),
        (r#"{"alg":"PS512","kid":""}"#, "kid"),
        (r#"{"alg":"PS512","kid":"../../../../dev/null"}"#, "kid"),
    ] {
        let ring = KeyRing::parse_set(keys.as_bytes(), algorithms).unwrap().ring;
        let token = sign(header, &claims_with(&json!({})), &test_keys::rsa().signing, Algorithm::PS512).unwrap();
        let issuer = issuer(0, "https://good", algorithms, ring);
        assert_eq!(why_of(judged(&token, vec![issuer], &[0], UnixMillis(NOW * 1000))), expected, "{header}");
    }
}

/// A key of the realm's own, for HS256.
fn own_key(kid: &str, bytes: std::ops::Range<u8>, retire_at: Option<UnixMillis>) -> Arc<OwnKey> {
    let secret = Secret::new(bytes.collect());
    Arc::new(OwnKey {
        kid: kid.into(),
        algorithm: Algorithm::HS256,
        signing: SigningKey::from_secret(&secret).unwrap(),
        verify: Arc::new(VerifyKey::from_secret(&secret, &[Algorithm::HS256]).unwrap()),
        public: None,
        activate_at: UnixMillis(0),
        retire_at,
    })
}

#[test]
fn keys_of_the_realms_own_are_those_of_the_moment() {
    let keys: Arc<OwnKeys> = Arc::default();
    let now = UnixMillis(NOW * 1000);
    let token = |header: &str| signed(header, &claims_with(&json!({})));
    let judged = |token: &str| {
        let own = Issuer { keys: KeySource::Own(Arc::clone(&keys)), ..hmac_issuer() };
        judged(token, vec![own], &[0], now)
    };
    let source = KeySource::Own(Arc::clone(&keys));
    assert!(!source.usable(now) && source.remote().is_none());
    let outage = Failure::Unavailable(Why::KeySetNeverLoaded);
    assert_eq!(judged(&token(HEADER)).unwrap_err(), outage, "an outage is no refusal");

    let before = source.generation();
    keys.replace(vec![own_key("old", 1..65, None), own_key("now", 0..64, None)]);
    assert!(source.usable(now) && source.generation() > before);
    assert_eq!(judged(&token(HEADER)).map(|token| token.issuer.index), Ok(0), "every key is tried");
    let named = |kid: &str| token(&format!("{{\"alg\":\"HS256\",\"kid\":{kid:?}}}"));
    assert_eq!(why_of(judged(&named("now"))), "ok");
    assert_eq!(why_of(judged(&named("old"))), "signature");
    assert_eq!(why_of(judged(&named("never"))), "kid");

    keys.replace(vec![own_key("now", 0..64, Some(now))]);
    assert_eq!(why_of(judged(&token(HEADER))), "kid", "its time is over");
}
