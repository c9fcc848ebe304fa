//! Claims: what is believed of a token whose signature is good.

use serde_json::Map;

use super::*;

#[test]
fn only_a_string_or_a_list_of_strings_with_our_name_is_our_audience() {
    for (aud, expected) in [
        (json!("api"), "ok"),
        (json!(["x", "api"]), "ok"),
        (json!("(absent)"), "audience"),
        (json!(null), "audience"),
        (json!(5), "audience"),
        (json!({"api": 1}), "audience"),
        (json!(""), "audience"),
        (json!([]), "audience"),
        (json!(["api", 5]), "audience"),
        (json!([["api"]]), "audience"),
        (json!(["API"]), "audience"),
        (json!("api "), "audience"),
        (json!("api,x"), "audience"),
    ] {
        assert_eq!(why_claims(json!({"aud": aud})), expected, "{aud}");
    }
}

#[test]
fn required_claims_are_there_and_not_null() {
    for name in ["exp", "sub"] {
        for value in [json!("(absent)"), json!(null)] {
            assert_eq!(why_claims(json!({name: value})), "claims", "{name}");
        }
    }
    let mut strict = hmac_issuer();
    strict.required_claims.push("jti".into());
    assert_eq!(
        why_of(judged(&signed(HEADER, &claims_with(&json!({}))), vec![strict], &[0], UnixMillis(NOW * 1000))),
        "claims"
    );
    let mut lax = hmac_issuer();
    lax.required_claims.clear();
    let endless = signed(HEADER, &claims_with(&json!({"exp": "(absent)"})));
    assert_eq!(why_of(judged(&endless, vec![lax], &[0], UnixMillis(NOW * 1000))), "claims");
}

#[test]
fn a_token_ends_at_exp_plus_leeway_and_fractions_are_cut_off() {
    for leeway in [0, 60] {
        for (exp, at, expected) in [
            (json!(NOW), NOW * 1000 - 1, "ok"),
            (json!(NOW), NOW * 1000, "expired"),
            (json!(NOW), NOW * 1000 + 1000, "expired"),
            (json!(NOW as f64 + 0.4), NOW * 1000, "expired"),
            (json!(NOW as f64 + 0.5), NOW * 1000, "expired"),
            (json!(NOW as f64 + 0.9), NOW * 1000 - 1, "ok"),
            (json!(NOW + 1), NOW * 1000, "ok"),
        ] {
            let mut issuer = hmac_issuer();
            issuer.leeway = Duration::from_secs(leeway);
            let now = UnixMillis(at).plus(issuer.leeway);
            let token = judged(&signed(HEADER, &claims_with(&json!({"exp": exp}))), vec![issuer], &[0], now);
            assert_eq!(why_of(token), expected, "{exp} {at} {leeway}");
        }
    }
}

#[test]
fn times_are_numbers_within_reach() {
    for (name, value, expected) in [
        ("exp", json!((NOW + 600).to_string()), "claims"),
        ("exp", json!([NOW + 600]), "claims"),
        ("exp", json!(-1), "claims"),
        ("exp", json!(-0.5), "claims"),
        ("exp", json!(0), "expired"),
        ("exp", json!(NOW + 86_400), "ok"),
        ("exp", json!(NOW + 86_401), "lifetime"),
        ("exp", json!((NOW + 600) * 1000), "lifetime"),
        ("exp", json!(i64::MAX), "lifetime"),
        ("exp", json!(u64::MAX), "lifetime"),
        ("exp", json!(1e300), "lifetime"),
        ("nbf", json!(NOW + 60), "ok"),
        ("nbf", json!(NOW + 61), "not_yet"),
        ("nbf", json!(u64::MAX), "not_yet"),
        ("nbf", json!("9999999999"), "claims"),
        ("nbf", json!(null), "claims"),
        ("nbf", json!(-1), "claims"),
        ("nbf", json!(1.5), "ok"),
        ("iat", json!(NOW + 60), "ok"),
        ("iat", json!(NOW + 3600), "issued_at"),
        ("iat", json!(NOW - 315_360_000), "ok"),
        ("iat", json!("x"), "claims"),
        ("iat", json!(true), "claims"),
        ("iat", json!(null), "claims"),
    ] {
        assert_eq!(why_claims(json!({name: value})), expected, "{name} {value}");
    }
}

#[test]
fn a_subject_is_a_string_that_can_be_shown() {
    let too_long = "x".repeat(1025);
    for (sub, expected) in [
        (json!("Ünïcode 名"), "ok"),
        (json!("x".repeat(1024)), "ok"),
        (json!(too_long), "claims"),
        (json!(""), "claims"),
        (json!(7), "claims"),
        (json!(["u1"]), "claims"),
        (json!("a\u{0}b\r\nX-Role: admin"), "claims"),
    ] {
        assert_eq!(why_claims(json!({"sub": sub})), expected, "{sub}");
    }
    for c in "\u{0}\t\n\r\u{1b}\u{7f}\u{80}\u{85}\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
        for name in ["sub", "client_id", "tenant", "plan", "jti", "scope", "roles"] {
            assert_eq!(why_claims(json!({name: format!("a{c}b")})), "claims", "{name} {c:?}");
        }
        assert_eq!(why_claims(json!({"scope": [format!("a{c}b")]})), "claims", "{c:?}");
        assert_eq!(why_claims(json!({"unused": format!("a{c}b")})), "ok", "{c:?}");
    }
}

#[test]
fn one_value_has_one_rendering_or_refuses_the_token() {
    for name in ["client_id", "tenant", "plan"] {
        let get = |value: Value| {
            let who = principal_of(json!({name: value}));
            [("client_id", who.client), ("tenant", who.tenant), ("plan", who.plan)]
                .into_iter()
                .find(|(n, _)| *n == name)
                .unwrap()
                .1
        };
        assert_eq!(get(json!("a b")).as_deref(), Some("a b"));
        assert_eq!(get(json!(42)).as_deref(), Some("42"));
        assert_eq!(get(json!(u64::MAX)).as_deref(), Some("18446744073709551615"));
        assert_eq!((get(json!(null)), get(json!("")), get(json!("(absent)"))), (None, None, None));
        for bad in [json!(true), json!(1e3), json!(1.5), json!(["a"]), json!({"a": 1}), json!("x".repeat(1025))] {
            assert_eq!(why_claims(json!({name: bad})), "claims", "{name} {bad}");
        }
    }
    assert_eq!(principal_of(json!({"jti": 5})).credential_id, None);
}

fn scopes_of(scope: Value) -> String {
    principal_of(json!({"scope": scope})).scopes.iter().collect::<Vec<_>>().join("|")
}

#[test]
fn a_scope_claim_has_one_reading_and_grants_nothing_otherwise() {
    assert_eq!(scopes_of(json!("b a  b ")), "a|b");
    assert_eq!(scopes_of(json!(["b", "a", ""])), "a|b");
    for nothing in [
        json!(""),
        json!(" "),
        json!([]),
        json!(null),
        json!(1),
        json!(true),
        json!({"a": 1}),
        json!(["a", 1]),
        json!([["a"]]),
    ] {
        assert_eq!(scopes_of(nothing.clone()), "", "{nothing}");
    }
    assert_eq!(scopes_of(json!(["a b", "c"])), "c");
    assert_eq!(scopes_of(json!("a\u{a0}b,c")), "a\u{a0}b,c");
    let who = principal_of(json!({"scopes": "campaigns:read", "scp": ["campaigns:read"]}));
    assert!(who.scopes.is_empty());
    let many = (0..500).map(|i| format!("s{i}")).collect::<Vec<_>>();
    assert!(principal_of(json!({"scope": many})).scopes.allows("s499"));
}

#[test]
fn a_claim_never_grants_by_wildcard_and_a_role_does() {
    for scope in ["campaigns:read-all", "xcampaigns:read", "campaigns", "CAMPAIGNS:READ", "*", "campaigns:*"] {
        assert!(!principal_of(json!({"scope": scope})).scopes.allows("campaigns:read"), "{scope}");
    }
    assert!(!principal_of(json!({"scope": ["campaigns:read campaigns:write"]})).scopes.allows("campaigns:read"));
    assert!(principal_of(json!({"scope": "x", "roles": ["admin"]})).scopes.allows("campaigns:read"));
    assert!(principal_of(json!({"roles": "viewer admin"})).scopes.allows("campaigns:read"));
    for roles in [json!(["Admin"]), json!(["admin", 1]), json!({"admin": true}), json!(["super admin"])] {
        assert!(principal_of(json!({"roles": roles})).scopes.is_empty(), "{roles}");
    }
    assert_eq!(principal_of(json!({"roles": ["super admin"]})).roles, ["super admin".into()]);
}

#[test]
fn claims_are_found_where_the_issuer_puts_them() {
    let mut keycloak = hmac_issuer();
    keycloak.claims.subject = ClaimPath::parse("preferred_username").unwrap();
    keycloak.claims.roles = Some(ClaimPath::parse("/realm_access/roles").unwrap());
    keycloak.claims.plan = None;
    let changes = json!({"preferred_username": "ann", "realm_access": {"roles": ["admin"]}, "plan": {"not": "used"}});
    let token = judged(&signed(HEADER, &claims_with(&changes)), vec![keycloak], &[0], UnixMillis(NOW * 1000)).unwrap();
    assert_eq!((&*token.principal.subject, token.principal.plan), ("ann", None));
    assert_eq!(token.principal.roles, ["admin".into()]);
}

#[test]
fn claims_named_like_machinery_stay_plain_claims() {
    let who = principal_of(json!({"__proto__": {"sub": "root"}, "x_y": 1, "x-y": 2}));
    assert_eq!(&*who.subject, "u1");
    assert_eq!(Map::clone(&who.attributes)["x-y"], json!(2));
}
