//! What is good passes: every algorithm from every place of keys, several issuers, mapped claims, types.

use serde_json::{Value, json};

use super::*;
use crate::support::issuer::Issuer;
use crate::support::keys::key_set;

const RSA: [Alg; 6] = [Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512];
const HMAC: [Alg; 3] = [Alg::HS256, Alg::HS384, Alg::HS512];

/// Every identity header of a token of `alice` by the issuer `name`, and nothing of the token itself.
#[track_caller]
fn identified(seen: &Recorded, name: &str, token: &Token) {
    let claims = token.claims();
    for (header, value) in [
        ("x-auth-subject", Some("alice")),
        ("x-auth-realm", Some("api")),
        ("x-auth-method", Some("jwt")),
        ("x-auth-issuer", Some(name)),
        ("x-auth-credential-id", claims["jti"].as_str()),
        ("x-auth-client", claims["client_id"].as_str()),
        ("x-auth-scopes", claims["scope"].as_str()),
        ("authorization", None),
    ] {
        assert_eq!(seen.header(header), value, "{header}");
    }
}

#[test]
fn every_algorithm_serves_by_a_key_of_the_configuration() {
    let keys: Vec<(Alg, Key)> =
        Alg::ALL.into_iter().map(|alg| if HMAC.contains(&alg) { (alg, secret()) } else { (alg, alg.key()) }).collect();
    let iss = |alg: Alg| format!("https://{}.test", alg.name());
    let issuers: Vec<_> =
        keys.iter().map(|(alg, key)| issuer(alg.name(), &iss(*alg), &[*alg], &static_key(key), "")).collect();
    let house = House::new(&issuers, "");
    for (alg, key) in &keys {
        let signer = Signer::new(&iss(*alg), key.clone()).by(*alg);
        for signer in [signer.clone(), signer.kid("any kid is as good as none")] {
            let token = signer.token().claim("client_id", "c1").scope("a:read b:write");
            identified(&house.accepts(&token.sign()), alg.name(), &token);
        }
        // The key could do it, the issuer may not.
        for other in Alg::ALL.into_iter().filter(|other| other != alg) {
            if HMAC.contains(alg) && HMAC.contains(&other) || RSA.contains(alg) && RSA.contains(&other) {
                let token = Signer::new(&iss(*alg), key.clone()).by(other).token().sign();
                house.refuses(&token, "alg");
            }
            let token = Signer::new(&iss(*alg), key.clone()).by(*alg).token().header("alg", other.name()).sign();
            house.refuses(&token, "alg");
        }
    }
}

#[test]
fn every_algorithm_serves_by_a_key_set_in_a_file() {
    let (rsa, large, p256, p384, ed) = (Key::rsa2048(), Key::rsa3072(), Key::p256(), Key::p384(), Key::ed25519());
    let files = [
        ("rsa", RSA.to_vec(), vec![rsa.jwk("r1"), large.jwk("r2")]),
        ("ec", vec![Alg::ES256, Alg::ES384], vec![p256.jwk("e1"), p384.jwk("e2")]),
        ("ed", vec![Alg::EdDSA], vec![ed.jwk("d1")]),
    ];
    let mut builder = Gateway::builder();
    let mut issuers = Vec::new();
    for (name, algorithms, keys) in files {
        builder = builder.file(&format!("realms/{name}.json"), key_set(keys).to_string());
        let source = format!("{{ jwks_file = \"{name}.json\" }}");
        issuers.push(issuer(name, &format!("https://{name}.test"), &algorithms, &source, ""));
    }
    let house = House::build(builder, &issuers, "");
    let rows = RSA.iter().flat_map(|alg| [("rsa", "r1", &rsa, *alg), ("rsa", "r2", &large, *alg)]);
    let others = [("ec", "e1", &p256, Alg::ES256), ("ec", "e2", &p384, Alg::ES384), ("ed", "d1", &ed, Alg::EdDSA)];
    for (name, kid, key, alg) in rows.chain(others) {
        let signer = Signer::new(&format!("https://{name}.test"), key.clone()).by(alg);
        for signer in [signer.clone().kid(kid), signer.clone()] {
            let token = signer.token();
            identified(&house.accepts(&token.sign()), name, &token);
        }
        house.refuses(&signer.kid("nobody's").token().sign(), "kid");
    }
    let crossed = Signer::new("https://rsa.test", rsa.clone()).kid("r2").token().sign();
    house.refuses(&crossed, "signature");
}

#[test]
fn a_public_key_may_be_written_in_the_older_form_or_stand_in_a_file() {
    let rsa = Key::rsa2048();
    let source = |file: &str| format!("{{ public_key = {{ file = \"{file}\" }} }}");
    let issuers = [
        issuer("old", "https://old.test", &[Alg::PS256], &source("old.pem"), ""),
        issuer("new", "https://new.test", &[Alg::RS512], &source("new.pem"), ""),
    ];
    let builder =
        Gateway::builder().file("realms/old.pem", rsa.pkcs1_pem()).file("realms/new.pem", rsa.pem().trim_end());
    let house = House::build(builder, &issuers, "");
    house.accepts(&Signer::new("https://old.test", rsa.clone()).by(Alg::PS256).token().sign());
    house.accepts(&Signer::new("https://new.test", rsa).by(Alg::RS512).token().sign());
}

#[test]
fn issuers_of_one_name_are_told_apart_by_algorithm_or_by_route() {
    let (mac, p256, blue, green) = (secret(), Key::p256(), Key::p256(), Key::p256());
    let issuers = [
        issuer("mac", ISS, &[Alg::HS256], &static_key(&mac), ""),
        issuer("curve", ISS, &[Alg::ES256], &static_key(&p256), ""),
        issuer("blue", "https://colour.test", &[Alg::ES256], &static_key(&blue), ""),
        issuer("green", "https://colour.test", &[Alg::ES256], &static_key(&green), ""),
    ];
    let route = |name: &str, issuers: &str| {
        format!("[[routes]]\npath = \"/{name}/**\"\nauth = [\"jwt\"]\nissuers = [{issuers}]\n")
    };
    let routes =
        [route("both", "\"mac\", \"curve\""), route("blue", "\"mac\", \"blue\""), route("green", "\"green\"")].concat();
    let upstream = Upstream::start();
    let realm = strict_realm("api", &issuers, &routes);
    let house = House::of(Gateway::builder().realm_toml(&realm).upstream(&upstream).start(), upstream);
    let by = |iss: &str, key: &Key| Signer::new(iss, key.clone()).token().sign();
    let (by_mac, by_curve) = (by(ISS, &mac), by(ISS, &p256));
    let (by_blue, by_green) = (by("https://colour.test", &blue), by("https://colour.test", &green));
    // Twice: the second time out of the cache.
    for _ in 0..2 {
        for (path, token, expected) in [
            ("/both/x", &by_mac, Ok("mac")),
            ("/both/x", &by_curve, Ok("curve")),
            ("/both/x", &by_blue, Err("issuer_not_allowed:issuer")),
            ("/blue/x", &by_blue, Ok("blue")),
            ("/blue/x", &by_green, Err("signature")),
            ("/blue/x", &by_mac, Ok("mac")),
            ("/blue/x", &by_curve, Err("alg")),
            ("/green/x", &by_green, Ok("green")),
            ("/green/x", &by_blue, Err("signature")),
            ("/green/x", &by_mac, Err("issuer_not_allowed:issuer")),
        ] {
            let reply = house.gw.get(path).bearer(token).send();
            match expected {
                Ok(name) => {
                    reply.ok();
                    assert_eq!(house.upstream.only().header("x-auth-issuer"), Some(name), "{path}");
                    house.upstream.forget();
                }
                Err(expected) => house.check(&reply, expected),
            }
        }
    }
}

#[test]
fn claims_mean_what_the_issuer_s_map_says() {
    let key = secret();
    let map = r#"claims = { subject = "/user/~1id", client = "azp", scopes = "permissions", roles = "/realm_access/roles", tenant = "https://x.test/org", plan = "" }"#;
    let issuers = [issuer("idp", ISS, &[Alg::HS256], &static_key(&key), map)];
    let routes = r#"
[roles]
editor = ["campaigns:read", "campaigns:write"]
reader = ["*:read"]

[[routes]]
path = "/write"
auth = ["jwt"]
scopes = ["campaigns:write"]

[[routes]]
path = "/read"
auth = ["jwt"]
scopes = ["links:read"]

[[routes]]
path = "/role"
auth = ["jwt"]
roles = ["editor"]
"#;
    let house = House::new(&issuers, routes);
    let token = Signer::new(ISS, key)
        .token()
        .claim("user", json!({"/id": "u-1", "name": "n"}))
        .claim("azp", "web")
        .claim("permissions", json!(["b:x", "a:x"]))
        .claim("realm_access", json!({"roles": ["editor", "unknown to us"]}))
        .claim("https://x.test/org", 42)
        .claim("plan", json!({"is": "not looked at"}))
        .claim("scope", "links:read")
        .claim("roles", "reader");
    let seen = house.accepts(&token.sign());
    for (header, value) in [
        ("x-auth-subject", Some("u-1")),
        ("x-auth-client", Some("web")),
        ("x-auth-scopes", Some("a:x b:x campaigns:read campaigns:write")),
        ("x-auth-roles", Some("editor unknown%20to%20us")),
        ("x-auth-tenant", Some("42")),
        ("x-auth-plan", None),
    ] {
        assert_eq!(seen.header(header), value, "{header}");
    }
    let get = |path: &str| house.gw.get(path).bearer(&token.sign()).send();
    get("/write").ok();
    get("/role").ok();
    get("/read").denied("insufficient_scope");
    let other = token.clone().claim("realm_access", json!({"roles": ["reader"]})).sign();
    house.gw.get("/read").bearer(&other).send().ok();
    house.gw.get("/role").bearer(&other).send().denied("role_denied");
    house.upstream.forget();
    for spoilt in [json!("u-1"), json!({"id": "u-1"}), json!({"/id": 7}), json!({"/id": null}), Value::Null] {
        house.refuses(&token.clone().claim("user", spoilt).sign(), "claims");
    }
}

#[test]
fn the_exact_header_of_an_old_document_and_the_library_s_order_are_both_read() {
    let (house, signer) = simple_house("");
    for header in [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256"}"#, r#"{"alg":"HS256"}"#] {
        house.accepts(&signer.token().raw_header(header).sign());
    }
}

#[test]
fn a_fetched_key_set_serves_like_one_in_a_file() {
    let remote = Issuer::start();
    let upstream = Upstream::start();
    let source = format!("{{ jwks_url = \"{}\", ca = \"ca.pem\" }}", remote.jwks_url());
    let issuers = [issuer("idp", remote.issuer_url(), &[Alg::RS256, Alg::PS384], &source, "")];
    let builder = Gateway::builder().realm_toml(&realm("api", &issuers, "")).file("realms/ca.pem", remote.ca_pem());
    let house = House::of(builder.upstream(&upstream).start(), upstream);
    house.gw.until_ready();
    let token = Token::for_issuer(&remote);
    identified(&house.accepts(&token.sign()), "idp", &token);
    house.accepts(&Signer { alg: Alg::PS384, ..remote.signer() }.token().sign());
    let hits = remote.all_hits();
    house.refuses(&Signer { alg: Alg::PS512, ..remote.signer() }.token().sign(), "alg");
    assert_eq!(remote.all_hits(), hits, "an algorithm is no reason to fetch");
}
