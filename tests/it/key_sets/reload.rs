//! What a reload does to fetched keys: nothing, unless other keys are meant.

use std::time::Duration;

use portcullis::clock::Stopwatch;

use super::super::support::eventually;
use super::super::support::issuer::{Issuer, JWKS};
use super::super::support::keys::Key;
use super::Stage;

impl Stage {
    /// Replaces a text of the realm's file, and puts the file in force.
    #[track_caller]
    fn reload_with(&self, from: &str, to: &str) {
        let before = self.gw.realm_file();
        assert!(before.contains(from), "no {from:?} in {before}");
        self.gw.rewrite("realms/realm0.toml", &before.replace(from, to));
        self.gw.reload().unwrap_or_else(|problems| panic!("{problems:#?}"));
    }
}

#[test]
fn a_reload_that_changes_a_route_keeps_the_keys_and_asks_nobody() {
    let stage = Stage::with(Issuer::start(), "refresh = \"12h\"");
    let known = stage.token().sign();
    stage.ask(&known).ok();
    stage.issuer.down();
    let connections = stage.issuer.connections();

    stage.gw.get("/new/x").bearer(&known).send().denied("no_route");
    stage.reload_with("path = \"/near/**\"", "path = \"/new/**\"");
    stage.gw.caller().from("127.0.0.2").get("/new/x").bearer(&known).send().ok();
    stage.ask(&known).ok();
    stage.ask_anew().ok();
    assert_eq!((stage.issuer.connections(), stage.refreshes()), (connections, (1, 0)));
    assert_eq!(stage.figure("jwks_keys", &[]), 1);
}

#[test]
fn a_reload_that_changes_timings_or_the_name_keeps_the_keys_and_the_new_timings_count() {
    let stage = Stage::with(Issuer::start(), "refresh = \"12h\", max_stale = \"24h\"");
    let known = stage.token().claim("exp", super::super::support::NOW.secs() + 3600).sign();
    stage.ask(&known).ok();
    stage.issuer.down();
    let connections = stage.issuer.connections();

    let timings = "refresh = \"1m\", cooldown = \"10s\", max_stale = \"2m\", timeout = \"2s\", max_size = \"1MiB\"";
    stage.reload_with("refresh = \"12h\", max_stale = \"24h\"", timings);
    stage.ask(&known).ok();
    stage.ask_anew().ok();
    stage.reload_with("name = \"foreign\"", "name = \"strange\"");
    stage.ask(&known).ok();
    stage.reload_with("name = \"strange\"", "name = \"foreign\"");
    assert_eq!((stage.issuer.connections(), stage.refreshes()), (connections, (1, 0)));

    stage.gw.pass(Duration::from_secs(61));
    eventually("the refresh that is due now", || (stage.refreshes() == (1, 1)).then_some(()));
    stage.gw.pass(Duration::from_secs(59));
    stage.unavailable(stage.ask(&known), "key_set_stale");
    stage.reload_with("max_stale = \"2m\"", "max_stale = \"1h\"");
    stage.ask(&known).ok();
}

#[test]
fn keys_of_another_place_are_fetched_at_once_and_the_old_ones_are_gone() {
    let (stage, other) = (Stage::start(Issuer::start()), Issuer::with_key("k1", &Key::other_rsa2048()));
    let known = stage.token().sign();
    stage.ask(&known).ok();
    let authorities = format!("{}{}", stage.issuer.ca_pem(), other.ca_pem());
    stage.gw.rewrite("realms/ca.pem", &authorities);
    stage.reload_with(&stage.issuer.jwks_url(), &other.jwks_url());
    stage.invalid(stage.ask(&known), "signature");
    let new = stage.token().signed_with(&Key::other_rsa2048(), super::super::support::keys::Alg::RS256);
    stage.ask(&new.sign()).ok();
    assert_eq!((stage.issuer.hits(JWKS), other.hits(JWKS)), (1, 1));
}

#[test]
fn the_first_token_after_a_reload_waits_for_the_fetch_and_for_nothing_else() {
    let stage = Stage::start(Issuer::start());
    stage.ask_anew().ok();
    let mut place = stage.issuer.jwks_url();
    let mut fastest = Duration::MAX;
    for n in 0..6 {
        let (token, next) = (stage.token().sign(), format!("{}?n={n}", stage.issuer.jwks_url()));
        let watch = Stopwatch::start();
        stage.reload_with(&format!("\"{place}\""), &format!("\"{next}\""));
        stage.ask(&token).ok();
        fastest = fastest.min(watch.elapsed());
        place = next;
    }
    assert_eq!(stage.issuer.hits(JWKS), 7);
    // Every round would last until the next of the background's looks, which are a second apart.
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
}
