//! Keys come and go; snapshots too; and where the keys are.

use super::*;

#[tokio::test]
async fn a_rotation_costs_one_fetch_and_no_refusal() {
    let (k1, k2) = (key("k1"), key("k2"));
    let stage = Stage::new(at_url(), serves(&[&k1])).await;
    let before = stage.set.generation();
    stage.answers(serves(&[&k1, &k2]));
    stage.clock.advance(COOLDOWN);
    let lookups = stage.find_many((0..50).map(|_| "k2".to_owned()));
    assert_eq!(all(lookups).await, vec!["k2"; 50]);
    found!(stage, "k1", "k1");
    assert_eq!(stage.calls(), 2);
    assert_ne!(stage.set.generation(), before);
}

#[tokio::test]
async fn a_removed_key_is_gone_with_the_next_refresh() {
    let (k1, k2) = (key("k1"), key("k2"));
    let stage = Stage::new(at_url(), serves(&[&k1, &k2])).await;
    stage.answers(serves(&[&k2]));
    stage.pass(REFRESH).await;
    found!(stage, "k1", "unknown");
    found!(stage, "k2", "k2");
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn another_key_under_the_same_id_is_a_change() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let before = stage.set.generation();
    stage.answers(serves(&[&key("k1")]));
    stage.pass(REFRESH).await;
    assert_ne!(stage.set.generation(), before);
}

#[tokio::test]
async fn a_refresh_that_brings_the_same_changes_no_generation() {
    let (k1, k2) = (key("k1"), key("k2"));
    let stage = Stage::new(at_url(), serves(&[&k1, &k2])).await;
    let before = stage.set.generation();
    assert_ne!(before, 0);
    stage.answers(serves(&[&k2, &k1]));
    stage.pass(REFRESH).await;
    assert_eq!((stage.set.generation(), stage.set.status().refreshed), (before, 2));
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_counted_and_the_others_serve() {
    let odd = r#"{"kty":"AKP","kid":"odd"}"#.to_owned();
    let stage = Stage::new(at_url(), serves(&[&odd, &key("k1")])).await;
    found!(stage, "k1", "k1");
    found!(stage, "odd", "unknown");
    let status = stage.set.status();
    assert_eq!((status.keys, status.skipped.iter().map(|(_, count)| count).sum::<u64>()), (1, 1));
}

#[tokio::test]
async fn a_token_without_a_key_id_may_use_any_key_of_its_algorithm() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let lookup = stage.set.find(None, Algorithm::EdDSA, stage.clock.now()).await;
    assert_eq!(short(&lookup), "k1");
}

#[tokio::test]
async fn a_reload_that_changes_nothing_keeps_the_keys_and_fetches_nothing() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let reloaded = RemoteKeySet::new(at_url()).continuing(&stage.set).unwrap();
    assert_eq!(reloaded.generation(), stage.set.generation());
    assert_eq!(short(&reloaded.find(Some("k1"), Algorithm::EdDSA, stage.clock.now()).await), "k1");
    stage.pass(REFRESH).await;
    assert_eq!((reloaded.status().refreshed, stage.calls()), (2, 2));
}

#[tokio::test]
async fn a_set_that_means_the_same_keys_goes_on_with_them_under_its_own_timings() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    let short_lived = RemoteSpec { name: "other".into(), refresh: COOLDOWN, max_stale: REFRESH, ..at_url() };
    let reloaded = RemoteKeySet::new(short_lived).continuing(&stage.set).unwrap();
    assert_eq!(short(&reloaded.find(Some("k1"), Algorithm::EdDSA, stage.clock.now()).await), "k1");
    stage.clock.advance(REFRESH);
    assert!(stage.set.usable(stage.clock.now()));
    assert!(!reloaded.usable(stage.clock.now()));
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn a_set_that_means_other_keys_starts_with_none() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    for other in [
        RemoteSpec { algorithms: vec![Algorithm::ES256], ..at_url() },
        RemoteSpec { ca: Some(b"another authority".as_slice().into()), ..at_url() },
        spec(Location::Url("https://id.example/other".into())),
        spec(Location::Discovery(URL.into())),
    ] {
        assert!(RemoteKeySet::new(other).continuing(&stage.set).is_none());
    }
}

#[tokio::test]
async fn a_known_key_for_another_algorithm_is_no_reason_to_fetch() {
    let stage = Stage::new(at_url(), serves(&[&key("k1")])).await;
    stage.clock.advance(COOLDOWN);
    let lookup = stage.set.find(Some("k1"), Algorithm::ES256, stage.clock.now()).await;
    assert_eq!(short(&lookup), "other algorithms");
    assert_eq!(stage.calls(), 1);
}

const ISSUER: &str = "https://id.example/realms/a";

fn discovery(issuer: &'static str, keys: &str) -> impl Fn(&str) -> Result<Vec<u8>, String> + Send + use<> {
    let (keys, set) = (keys.to_owned(), document(&[&key("k1")]));
    move |url| match url {
        "https://id.example/realms/a/.well-known/openid-configuration" => {
            Ok(format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#).into_bytes())
        }
        "https://keys.example/a" => Ok(set.clone()),
        other => Err(format!("nothing at {other}")),
    }
}

#[tokio::test]
async fn discovery_leads_to_the_keys_in_one_attempt() {
    let stage = Stage::new(spec(Location::Discovery(ISSUER.into())), discovery(ISSUER, "https://keys.example/a")).await;
    found!(stage, "k1", "k1");
    assert_eq!(stage.set.status().refreshed, 1);
    assert_eq!(stage.calls(), 2);
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_or_with_a_bad_url_leads_nowhere() {
    for (issuer, url) in [
        ("https://id.example/realms/b", "https://keys.example/a"),
        ("https://id.example/realms/a/", "https://keys.example/a"),
        (ISSUER, "http://169.254.169.254/keys"),
        (ISSUER, "http://127.0.0.1/keys"),
        (ISSUER, "file:///etc/passwd"),
    ] {
        let stage = Stage::new(spec(Location::Discovery(ISSUER.into())), discovery(issuer, url)).await;
        found!(stage, "k1", "key_set_never_loaded");
        assert_eq!(stage.calls(), 1, "{issuer} {url}");
        assert!(stage.set.status().last_error.unwrap().starts_with("discovery: "));
    }
}

#[tokio::test]
async fn a_url_that_is_not_acceptable_is_never_asked() {
    let stage = Stage::new(spec(Location::Url("http://id.example/keys".into())), down).await;
    assert_eq!((stage.calls(), stage.set.status().failed), (0, 1));
    assert_eq!(*stage.network.asked.lock().unwrap(), [""; 0]);
}
