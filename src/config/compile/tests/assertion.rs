//! `[identity_headers.assertion]`

use super::*;
use crate::jwt::test_keys;

const KEY: &str = "key = { file = 'key.pem' }";

/// A realm with these keys in its assertion, and a key beside it that is for `pair`.
fn with_key(pair: &test_keys::Pair, keys: &str, rest: &str) -> Result<Config, Problems> {
    let text = shop_text(&format!("[identity_headers.assertion]\n{keys}\n{rest}{PUBLIC}"));
    let (private, public) = (pair.private_pem(), pair.public_pem());
    let other = test_keys::p256().public_pem();
    let files = [
        ("realms/shop.toml", text.as_str()),
        ("realms/key.pem", &private),
        ("realms/public.pem", &public),
        ("realms/other.pem", &other),
    ];
    load_files(&files, true)
}

fn with(keys: &str) -> Result<Config, Problems> {
    with_key(test_keys::ed25519(), keys, "")
}

#[test]
fn an_assertion_needs_a_key_and_no_more() {
    let config = with(KEY).unwrap();
    let realm = &config.snapshot.realms[0];
    let assertion = realm.identity_headers.assertion().unwrap();
    assert_eq!(assertion.header(), "x-auth-assertion");
    assert!(assertion.document().is_none() && realm.routes.len() == 1);
    refused(with("ttl = '60s'"), "identity_headers.assertion.key", "is required");
    assert!(with_key(test_keys::p256(), KEY, "").is_ok());
}

#[test]
fn what_cannot_be_is_told_with_its_file_and_what_to_give() {
    let at = |key: &str| format!("identity_headers.assertion.{key}");
    refused(with_key(test_keys::rsa(), KEY, ""), &at("key"), "key.pem: an RSA key is too slow");
    refused(with_key(test_keys::p384(), KEY, ""), &at("key"), "openssl genpkey");
    refused(with("key = { file = 'public.pem' }"), &at("key"), "PRIVATE KEY");
    refused(with("key = { file = 'none.pem' }"), &at("key"), "none.pem does not exist");
    refused(with("key = { env = 'SECRET' }"), &at("key"), "the environment variable SECRET: ");
    for ttl in ["4s", "601s", "0s"] {
        refused(with(&format!("{KEY}\nttl = '{ttl}'")), &at("ttl"), "from \"5s\" to \"10m\"");
    }
    refused(with(&format!("{KEY}\nheader = 'X-Auth-Roles'")), &at("header"), "already");
    refused(with(&format!("{KEY}\nheader = 'Authorization'")), &at("header"), "meaning of its own");
    refused(with(&format!("{KEY}\nheader = ''")), &at("header"), "leave the whole table out");
    refused(with(&format!("{KEY}\naudience = ''")), &at("audience"), "1 to 256 characters");
    refused(with(&format!("{KEY}\npublished = [{{ file = 'other.pem' }}]")), &at("published"), "jwks_path");
    let both = format!("{KEY}\njwks_path = '/k'\npublished = [{{ file = 'other.pem' }}, {{ file = 'other.pem' }}]");
    refused(with(&both), &at("published[1]"), "twice");
    let private = format!("{KEY}\njwks_path = '/k'\npublished = [{{ file = 'key.pem' }}]");
    refused(with(&private), &at("published[0]"), "-pubout");
}

#[test]
fn it_is_named_after_the_realm_unless_that_has_no_name() {
    let text = |hosts: &str, more: &str| {
        format!(
            "realm = 'shop'\nhosts = [{hosts}]\nupstream = 'http://127.0.0.1:9000'\n[identity_headers.assertion]\n{KEY}\n{more}\n{PUBLIC}"
        )
    };
    let load = |text: &str| {
        load_files(&[("realms/shop.toml", text), ("realms/key.pem", &test_keys::ed25519().private_pem())], true)
    };
    assert!(load(&text("'*.shop.example', 'shop.example'", "")).is_ok());
    refused(load(&text("'*.shop.example'", "")), "identity_headers.assertion.issuer", "only wildcards");
    assert!(load(&text("'*.shop.example'", "issuer = 'https://gateway'")).is_ok());
}

#[test]
fn its_keys_are_given_at_a_path_of_their_own() {
    let document = |keys: &str| {
        let config = with(&format!("{KEY}\njwks_path = '/.well-known/a.json'\n{keys}")).unwrap();
        let realm = &config.snapshot.realms[0];
        let [_, route] = realm.routes.as_slice() else { panic!("{:?}", realm.routes) };
        assert!(route.auth.public && route.enforce && route.is_answered_here() && route.index == 1);
        assert_eq!(config.routes.last().unwrap().upstream, "keys of assertions");
        let document = route.document.as_ref().unwrap();
        serde_json::from_slice::<serde_json::Value>(&document.body).unwrap()["keys"].as_array().unwrap().len()
    };
    assert_eq!(document(""), 1);
    assert_eq!(document("published = [{ file = 'other.pem' }]"), 2);
    // Its own once more, which is the case while keys are changed.
    assert_eq!(document("published = [{ file = 'public.pem' }]"), 1);
    let at = "identity_headers.assertion.jwks_path";
    refused(with(&format!("{KEY}\njwks_path = '/k/**'")), at, "expected one path");
    refused(with(&format!("{KEY}\njwks_path = 'k'")), at, "starts with `/`");
    let taken = with_key(
        test_keys::p256(),
        &format!("{KEY}\njwks_path = '/a'"),
        "[[routes]]\npath = '/a'\nauth = ['public']\n",
    );
    refused(taken, at, "takes");
}

#[test]
fn without_secrets_a_stand_in_signs() {
    let text = shop_text(&format!("[identity_headers.assertion]\n{KEY}\njwks_path = '/k'\n{PUBLIC}"));
    assert!(load_files(&[("realms/shop.toml", &text)], false).is_ok());
}

#[test]
fn its_type_is_no_issuers() {
    let issuer = format!("{ISSUER}typ = ['JWT', 'application/Portcullis-Assertion+JWT']\n{PUBLIC}");
    refused(shop(&issuer), "issuers[0].typ", "no credential");
    let own = format!("[tokens.access]\nttl = '1h'\ntyp = 'portcullis-assertion+jwt'\n{PUBLIC}");
    assert!(faults(shop(&own)).iter().any(|fault| fault.starts_with("tokens.access.typ: ")));
}
