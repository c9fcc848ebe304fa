//! Issuers.

use super::*;
use crate::gate::verify::jwks::Location;
use crate::gate::verify::jwt::{ClaimPath, KeySource};

const ROUTE: &str = "[[routes]]\npath = '/**'\nauth = ['jwt']\n";

fn issuer(change: (&str, &str)) -> Result<Config, Problems> {
    shop(&format!("{}{ROUTE}", ISSUER.replace(change.0, change.1)))
}

fn keys(algorithms: &str, keys: &str) -> Result<Config, Problems> {
    let text = ISSUER.replace("['HS256']", algorithms).replace("{ secret = { env = 'SECRET' } }", keys);
    shop(&format!("{text}{ROUTE}"))
}

#[test]
fn an_issuer_has_the_documented_defaults() {
    let config = issuer(("", "")).unwrap();
    let issuer = &config.snapshot.realms[0].issuers[0];
    assert_eq!((issuer.leeway.as_secs(), issuer.max_ttl.as_secs()), (0, 86_400));
    assert_eq!(issuer.typ, ["jwt".into(), "at+jwt".into()]);
    assert_eq!(issuer.required_claims.iter().map(|c| &**c).collect::<Vec<_>>(), ["exp", "iss", "aud", "sub"]);
    assert_eq!(issuer.claims.subject, ClaimPath::Name("sub".into()));
    assert!(matches!(issuer.keys, KeySource::Static(_)));
}

#[test]
fn a_token_without_an_end_is_never_taken() {
    let config = issuer(("keys =", "required_claims = ['jti']\nkeys =")).unwrap();
    let required = &config.snapshot.realms[0].issuers[0].required_claims;
    assert_eq!(required.iter().map(|c| &**c).collect::<Vec<_>>(), ["jti", "exp", "iss", "aud"]);
}

#[test]
fn claims_can_be_elsewhere_or_nowhere() {
    let config = issuer(("keys =", "claims = { roles = '/realm_access/roles', plan = '' }\nkeys =")).unwrap();
    let claims = &config.snapshot.realms[0].issuers[0].claims;
    assert_eq!(claims.roles, Some(ClaimPath::Pointer("/realm_access/roles".into())));
    assert_eq!(claims.plan, None);
    refused(issuer(("keys =", "claims = { subject = '' }\nkeys =")), "issuers[0].claims.subject", "cannot be left out");
    refused(issuer(("keys =", "claims = { roles = '/a~2' }\nkeys =")), "issuers[0].claims.roles", "");
}

#[test]
fn an_issuer_is_named_and_bounded() {
    refused(issuer(("'idp'", "'self'")), "issuers[0].name", "the realm's own");
    refused(issuer(("'idp'", "'i d p'")), "issuers[0].name", "letters");
    refused(issuer(("['shop']", "[]")), "issuers[0].audience", "empty");
    refused(issuer(("audience = ['shop']\n", "")), "issuers[0].audience", "is required");
    refused(issuer(("'https://idp.example'", "''")), "issuers[0].issuer", "characters");
    refused(issuer(("keys =", "leeway = '11m'\nkeys =")), "issuers[0].leeway", "at most");
    refused(issuer(("keys =", "max_ttl = '0s'\nkeys =")), "issuers[0].max_ttl", "zero");
    let twice = format!("{ISSUER}{}{ROUTE}issuers = ['idp']\n", ISSUER.replace("idp.example", "other.example"));
    let faults = faults(shop(&twice));
    assert!(faults[0].starts_with("issuers[1].name: another issuer"), "{faults:#?}");
}

#[test]
fn algorithms_are_of_one_family_that_fits_the_key() {
    refused(issuer(("['HS256']", "[]")), "issuers[0].algorithms", "empty");
    refused(issuer(("['HS256']", "['HS256', 'HS256']")), "issuers[0].algorithms[1]", "twice");
    refused(issuer(("['HS256']", "['HS256', 'RS256']")), "issuers[0].algorithms[1]", "family");
    refused(issuer(("['HS256']", "['none']")), "issuers[0].algorithms[0]", "not known");
    refused(issuer(("['HS256']", "['RS256']")), "issuers[0].keys", "HS384 and HS512 only");
    refused(keys("['HS256']", "{ jwks_url = 'https://a.example/k' }"), "issuers[0].keys", "need a `secret`");
}

#[test]
fn keys_come_from_exactly_one_place() {
    refused(keys("['RS256']", "{}"), "issuers[0].keys", "exactly one");
    refused(
        keys("['RS256']", "{ jwks_url = 'https://a.example/k', discovery = true }"),
        "issuers[0].keys",
        "exactly one",
    );
    refused(keys("['RS256']", "{ discovery = false }"), "issuers[0].keys.discovery", "left out");
    refused(
        keys("['HS256']", "{ secret = { env = 'SECRET' }, refresh = '1m' }"),
        "issuers[0].keys.refresh",
        "jwks_url",
    );
    refused(keys("['HS256']", "{ secret = 'x' }"), "issuers[0].keys.secret", "a reference to a secret");
}

#[test]
fn a_fetched_key_set_has_the_documented_defaults() {
    let config = keys("['RS256']", "{ discovery = true, refresh = '5m' }").unwrap();
    let KeySource::Remote(set) = &config.snapshot.realms[0].issuers[0].keys else { panic!("not remote") };
    let spec = set.spec();
    assert_eq!(spec.location, Location::Discovery("https://idp.example".into()));
    assert_eq!((spec.refresh.as_secs(), spec.cooldown.as_secs(), spec.max_stale.as_secs()), (300, 30, 86_400));
    assert_eq!((spec.timeout.as_secs(), spec.max_size), (5, 512 << 10));
}

#[test]
fn keys_are_never_fetched_where_anybody_could_answer() {
    refused(keys("['RS256']", "{ jwks_url = 'http://a.example/k' }"), "issuers[0].keys.jwks_url", "https");
    let http = ISSUER
        .replace("https://idp.example", "http://idp.example")
        .replace("['HS256']", "['RS256']")
        .replace("{ secret = { env = 'SECRET' } }", "{ discovery = true }");
    refused(shop(&format!("{http}{ROUTE}")), "issuers[0].issuer", "for discovery");
    assert!(keys("['RS256']", "{ jwks_url = 'http://127.0.0.1:1/k' }").is_ok());
}

#[test]
fn a_weak_or_missing_secret_is_refused_without_being_shown() {
    let short = keys("['HS256']", "{ secret = { env = 'SHORT' } }");
    let faults = faults(short);
    assert!(faults.len() == 1 && faults[0].starts_with("issuers[0].keys.secret: "), "{faults:#?}");
    refused(keys("['HS256']", "{ secret = { env = 'NOPE' } }"), "issuers[0].keys.secret", "NOPE is not set");
    refused(keys("['HS256']", "{ secret = { file = 'nope' } }"), "issuers[0].keys.secret", "does not exist");
    let faults = super::faults(keys("['HS256']", "{ secret = { inline = 'hunter2' } }"));
    assert!(!faults.concat().contains("hunter2"), "{faults:#?}");
}

#[test]
fn secrets_that_should_be_looked_at_are_warned_of() {
    let config = keys("['HS256']", &format!("{{ secret = {{ inline = '{SECRET}' }} }}")).unwrap();
    assert!(warnings(&config)[0].contains("stands in the configuration"));
    let config = keys("['HS256']", "{ secret = { env = 'HEX_SECRET' } }").unwrap();
    assert!(warnings(&config)[0].contains("looks like hex"));
    let config = keys("['HS256']", "{ secret = { env = 'HEX_SECRET', encoding = 'hex' } }").unwrap();
    assert!(warnings(&config).is_empty());
}

#[test]
fn without_secrets_the_rest_is_still_checked() {
    let text = ISSUER.replace("SECRET", "NOT_SET_HERE").replace("HS256", "HS512");
    let text = shop_text(&format!("{text}{ROUTE}"));
    assert!(load_files(&[("realms/shop.toml", &text)], false).is_ok());
    assert!(load_files(&[("realms/shop.toml", &text)], true).is_err());
    let typo = text.replace("HS512", "HS511");
    assert!(load_files(&[("realms/shop.toml", &typo)], false).is_err());
}

#[test]
fn a_token_belongs_to_one_issuer_on_every_route() {
    let second = ISSUER.replace("'idp'", "'legacy'");
    refused(shop(&format!("{ISSUER}{second}{ROUTE}")), "routes[0]", "could be of either");
    refused(
        shop(&format!("{ISSUER}{second}{ROUTE}issuers = ['idp', 'legacy']\n")),
        "routes[0].issuers",
        "could be of either",
    );
    assert!(shop(&format!("{ISSUER}{second}{ROUTE}issuers = ['legacy']\n")).is_ok());
    let other_algorithm = second.replace("HS256", "HS384");
    assert!(shop(&format!("{ISSUER}{other_algorithm}{ROUTE}")).is_ok());
}

#[test]
fn a_key_set_file_holds_usable_keys_only() {
    let route = ISSUER
        .replace("['HS256']", "['RS256']")
        .replace("{ secret = { env = 'SECRET' } }", "{ jwks_file = 'keys.json' }");
    let text = shop_text(&format!("{route}{ROUTE}"));
    let with = |set: &str| load_files(&[("realms/shop.toml", &text), ("realms/keys.json", set)], true);
    refused(with("no"), "issuers[0].keys.jwks_file", "keys.json");
    refused(with("{\"keys\":[]}"), "issuers[0].keys.jwks_file", "holds no key");
    let faults = faults(with("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"weak\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}"));
    assert!(faults.iter().any(|fault| fault.contains("\"weak\"")), "{faults:#?}");
}
