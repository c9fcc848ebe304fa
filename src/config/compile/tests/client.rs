//! API keys and declared clients.

use super::*;
use crate::identity::CredentialKind;
use crate::secret::CredentialDigest;

const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // of "abc"

fn with_clients(clients: &str) -> Result<Config, Problems> {
    shop(&format!("{FORM}{clients}\n{PUBLIC}"))
}

/// Effective scopes of the one declared key.
fn scopes(clients: &str) -> Vec<String> {
    let config = with_clients(clients).unwrap();
    let keys = &config.snapshot.realms[0].declared.0;
    assert_eq!(keys.len(), 1);
    keys.values().flat_map(|key| key.verified.principal.scopes.iter().map(str::to_owned)).collect()
}

#[test]
fn a_declared_key_is_its_client() {
    let config = with_clients(&format!(
        "[roles]\nbuyer = ['orders:*']\n[clients.acme]\nroles = ['buyer']\nplan = 'Growth'\ntenant = 't1'\nattributes = {{ tier = 2 }}\n\
         keys = [{{ id = 'acme-1', sha256 = '{DIGEST}', expires = 2030-01-01T00:00:00Z }}]\n"
    ))
    .unwrap();
    let key = &config.snapshot.realms[0].declared.0[&CredentialDigest::of(b"abc")];
    let principal = &key.verified.principal;
    assert_eq!(principal.kind, CredentialKind::ApiKey);
    assert_eq!((&*principal.subject, principal.client.as_deref()), ("acme", Some("acme")));
    assert_eq!(principal.credential_id.as_deref(), Some("acme-1"));
    assert_eq!((principal.plan.as_deref(), principal.tenant.as_deref()), (Some("Growth"), Some("t1")));
    assert_eq!(principal.attributes.get("tier"), Some(&serde_json::json!(2)));
    assert!(principal.scopes.allows("orders:read"));
    assert_eq!(key.verified.expires.map(|time| time.secs()), Some(1_893_456_000));
    assert!(!key.disabled);
}

#[test]
fn a_key_has_its_clients_scopes_or_fewer() {
    let key = |client: &str, own: &str| {
        scopes(&format!("[clients.acme]\n{client}\nkeys = [{{ id = 'k', sha256 = '{DIGEST}'{own} }}]\n"))
    };
    assert_eq!(key("scopes = ['a:read', 'b:read']", ""), ["a:read", "b:read"]);
    assert_eq!(key("scopes = ['a:read', 'b:read']", ", scopes = ['*:read', 'c:read']"), ["a:read", "b:read"]);
    assert_eq!(key("scopes = ['*']", ", scopes = ['a:read']"), ["a:read"]);
    assert_eq!(key("", ", scopes = ['a:read']"), ["a:read"]);
    assert_eq!(key("scopes = ['*']", ", scopes = []"), [""; 0]);
    assert_eq!(key("scopes = []", ", scopes = ['a:read']"), [""; 0]);
    assert_eq!(key("", ""), [""; 0]);
}

#[test]
fn a_disabled_client_has_disabled_keys() {
    let client = |keys: &str| format!("[clients.acme]\n{keys}");
    for text in [
        client(&format!("disabled = true\nkeys = [{{ id = 'k', sha256 = '{DIGEST}' }}]\n")),
        client(&format!("keys = [{{ id = 'k', sha256 = '{DIGEST}', disabled = true }}]\n")),
    ] {
        let config = with_clients(&text).unwrap();
        assert!(config.snapshot.realms[0].declared.0.values().all(|key| key.disabled), "{text}");
    }
}

#[test]
fn address_lists_of_client_and_key_both_apply_and_an_empty_one_does_not() {
    let config = with_clients(&format!(
        "[clients.acme]\nip_allowlist = ['10.0.0.0/8']\nkeys = [{{ id = 'k', sha256 = '{DIGEST}', ip_allowlist = ['10.1.0.0/16'] }}]\n"
    ))
    .unwrap();
    let key = config.snapshot.realms[0].declared.0.values().next().unwrap();
    assert_eq!(key.verified.allow_ips.len(), 2);
    let config =
        with_clients(&format!("[clients.acme]\nip_allowlist = []\nkeys = [{{ id = 'k', sha256 = '{DIGEST}' }}]\n"))
            .unwrap();
    let key = config.snapshot.realms[0].declared.0.values().next().unwrap();
    assert!(key.verified.allow_ips.is_empty());
    assert!(warnings(&config)[0].contains("every address is allowed"));
}

#[test]
fn a_digest_can_be_kept_elsewhere() {
    let client = "[clients.acme]\nkeys = [{ id = 'k', sha256 = { env = 'DIGEST' } }]\n";
    let config = with_clients(client).unwrap();
    assert!(config.snapshot.realms[0].declared.0.contains_key(&CredentialDigest::of(b"demo_key")));
    refused(with_clients(&client.replace("DIGEST", "SHORT")), "clients.acme.keys[0].sha256", "64 hexadecimal digits");
    let text = shop_text(&format!("{FORM}{}{PUBLIC}", client.replace("DIGEST", "NOPE")));
    assert!(load_files(&[("realms/shop.toml", &text)], false).is_ok());
}

#[test]
fn ids_and_keys_are_unique_in_the_realm() {
    let other = CredentialDigest::of(b"other").to_hex();
    let two = |id: &str, digest: &str| {
        with_clients(&format!(
            "[clients.a]\nkeys = [{{ id = 'k', sha256 = '{DIGEST}' }}]\n[clients.b]\nkeys = [{{ id = '{id}', sha256 = '{digest}' }}]\n"
        ))
    };
    assert!(two("l", &other).is_ok());
    refused(two("k", &other), "clients.b.keys[0].id", "clients.a.keys[0].id is called");
    refused(two("l", &DIGEST.to_uppercase()), "clients.b.keys[0].sha256", "the same key as clients.a.keys[0]");
}

#[test]
fn what_a_client_refers_to_exists() {
    refused(with_clients("[clients.a]\nroles = ['nope']\n"), "clients.a.roles[0]", "there is no role");
    refused(with_clients("[clients.a]\nkeys = [{ id = 'k' }]\n"), "clients.a.keys[0].sha256", "is required");
    refused(with_clients("[clients.a]\nkeys = [{ id = 'k', sha256 = 'abc' }]\n"), "clients.a.keys[0].sha256", "64 hex");
    let config = shop(&format!("[clients.a]\nkeys = [{{ id = 'k', sha256 = '{DIGEST}' }}]\n{PUBLIC}")).unwrap();
    assert!(warnings(&config)[0].contains("never accepted"));
}

#[test]
fn one_prefix_does_not_begin_another() {
    let two = |one: &str, other: &str| {
        shop(&format!("[[api_keys]]\nprefix = '{one}'\n[[api_keys]]\nprefix = '{other}'\n{PUBLIC}"))
    };
    assert!(two("sk_live_", "sk_test_").is_ok());
    refused(two("sk_", "sk_test_"), "api_keys[1].prefix", "begins another");
    refused(two("sk_test_", "sk_"), "api_keys[1].prefix", "begins another");
    refused(two("a b", "sk_"), "api_keys[0].prefix", "visible characters");
}

#[test]
fn places_of_keys_can_hold_a_key() {
    let from = |place: &str| shop(&format!("{FORM}from = ['{place}']\n{PUBLIC}"));
    assert!(from("query:api_key").is_ok());
    refused(from("header:cookie"), "api_keys[0].from[0]", "cookie:NAME");
    refused(from("header:host"), "api_keys[0].from[0]", "cannot hold a credential");
    refused(from("header:X_Auth_Subject"), "api_keys[0].from[0]", "identity header");
    refused(from("body:key"), "api_keys[0].from[0]", "");
    refused(shop(&format!("{FORM}from = ['header:x-key', 'header:X-Key']\n{PUBLIC}")), "api_keys[0].from[1]", "twice");
}
