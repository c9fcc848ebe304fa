//! An issuer out of reach: at the start (W-07), and for too long.

use std::time::Duration;

use super::super::support::eventually;
use super::super::support::issuer::{Issuer, JWKS};
use super::super::support::keys::Key;
use super::super::support::realms::Standard;
use super::super::support::upstream::Upstream;
use super::{COOLDOWN, Stage, at_url, believing, builder};

const OTHER_REALM: &str = r#"
realm = "other"
hosts = ["other.test"]
upstream = "http://{upstream}"

[[issuers]]
name = "house"
issuer = "https://house.test"
audience = ["api"]
algorithms = ["HS256"]
keys = { secret = { env = "HOUSE_SECRET" } }

[[routes]]
path = "/**"
auth = ["jwt"]
"#;

const UNAVAILABLE: [(&str, &str); 4] =
    [("realm", "api"), ("credential", "jwt"), ("issuer", "foreign"), ("result", "unavailable")];

#[test]
fn w07_an_issuer_that_is_down_at_the_start_is_the_matter_of_its_tokens_and_comes_back_by_itself() {
    let issuer = Issuer::not_listening("k1", &Key::rsa2048());
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let foreign = believing("foreign", &issuer, "\"RS256\"", &at_url(&issuer, ""));
    let gw = builder(&standard, &issuer, &upstream, &foreign).realm_toml(OTHER_REALM).start();
    let stage = Stage { gw, issuer, upstream, standard };
    let token = stage.token().sign();

    for n in 1..=3 {
        stage.unavailable(stage.ask(&token), "key_set_never_loaded");
        stage.gw.metric_becomes("portcullis_authentications_total", &UNAVAILABLE, f64::from(n));
    }
    assert_eq!(stage.refreshes(), (0, 1), "that many ask is no reason to try more often");
    stage.ask_house().ok();
    let elsewhere = stage.gw.caller().host("other.test").get("/x").bearer(&stage.standard.alice().sign());
    elsewhere.send().ok();

    let ready = stage.gw.admin_get("/readyz").is(200).json();
    assert_eq!((&ready["ready"], &ready["realms"][0]["ready"]), (&true.into(), &false.into()), "{ready}");
    assert_eq!((&ready["realms"][1]["realm"], &ready["realms"][1]["ready"]), (&"other".into(), &true.into()));
    let set = &ready["realms"][0]["key_sets"][0];
    assert_eq!((&set["usable"], &set["keys"]), (&false.into(), &0.into()), "{set}");
    assert!(set["age_seconds"].is_null(), "{set}");
    assert!(set["last_error"].as_str().is_some_and(|error| error.ends_with("connection refused")), "{set}");
    assert_eq!(stage.figure("jwks_keys", &[]), 0);
    assert!(!stage.gw.metrics().contains("portcullis_jwks_age_seconds{"), "nothing has an age");

    // The second try comes a second after the first; nobody has to ask for it.
    stage.gw.pass(Duration::from_secs(1));
    eventually("a second try", || (stage.refreshes() == (0, 2)).then_some(()));
    stage.issuer.up();
    stage.unavailable(stage.ask(&token), "key_set_never_loaded");
    stage.gw.pass(Duration::from_secs(2));
    eventually("a third try", || (stage.refreshes() == (1, 2)).then_some(()));
    stage.ask(&token).ok();
    let ready = stage.gw.admin_get("/readyz").is(200).json();
    assert_eq!(ready["realms"][0]["ready"], true, "{ready}");
    assert!(ready["realms"][0]["key_sets"][0]["last_error"].is_null(), "{ready}");
}

#[test]
fn known_keys_serve_through_an_outage_until_they_are_too_old_and_then_nobodys_token_is_judged() {
    let stage = Stage::with(Issuer::start(), "refresh = \"20s\", cooldown = \"5s\", max_stale = \"1m\"");
    let cached = stage.token().sign();
    stage.ask(&cached).ok();
    stage.gw.pass(Duration::from_secs(7));
    assert_eq!((stage.figure("jwks_age_seconds", &[]), stage.figure("jwks_keys", &[])), (7, 1));

    stage.issuer.down();
    stage.gw.pass(Duration::from_secs(15));
    eventually("a failed fetch", || (stage.refreshes() == (1, 1)).then_some(()));
    stage.gw.pass(Duration::from_millis(37_999));
    stage.ask(&cached).ok();
    stage.ask_anew().ok();
    let readiness = stage.readiness();
    assert_eq!((&readiness["usable"], &readiness["age_seconds"]), (&true.into(), &59.into()), "{readiness}");
    assert!(!stage.last_error().is_empty());

    stage.gw.pass(Duration::from_millis(1));
    stage.unavailable(stage.ask(&cached), "key_set_stale");
    stage.unavailable(stage.ask_anew(), "key_set_stale");
    stage.unavailable(stage.ask(&stage.stray().sign()), "key_set_stale");
    stage.gw.metric_becomes("portcullis_authentications_total", &UNAVAILABLE, 3.0);
    stage.ask_house().ok();
    assert_eq!(stage.readiness()["usable"], false);
    assert_eq!(stage.figure("jwks_age_seconds", &[]), 60);

    stage.issuer.up();
    stage.gw.pass(Duration::from_secs(10));
    eventually("a good fetch", || (stage.refreshes().0 == 2).then_some(()));
    stage.ask(&cached).ok();
    stage.ask_anew().ok();
    assert_eq!((stage.figure("jwks_age_seconds", &[]), stage.last_error()), (0, String::new()));
}

#[test]
fn an_unknown_key_id_is_an_outage_while_the_issuer_cannot_be_asked() {
    let stage = Stage::start(Issuer::start());
    stage.ask_anew().ok();
    stage.issuer.down();
    let stray = stage.stray().sign();
    stage.invalid(stage.ask(&stray), "kid"); // the set is a moment old
    stage.gw.pass(COOLDOWN);
    stage.unavailable(stage.ask(&stray), "key_set_failing");
    stage.unavailable(stage.ask(&stray), "key_set_failing");
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (1, (1, 1)));
    stage.ask_anew().ok();
    stage.issuer.up();
    stage.gw.pass(COOLDOWN);
    stage.invalid(stage.ask(&stray), "kid");
}
