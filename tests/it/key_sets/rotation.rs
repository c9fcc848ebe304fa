//! Keys come and go (W-05).

use portcullis::clock::Clock;

use super::super::support::NOW;
use super::super::support::issuer::{Issuer, JWKS};
use super::super::support::keys::Key;
use super::super::support::token::Issues;
use super::{COOLDOWN, REFRESH, Stage};

#[test]
fn w05_a_key_that_is_added_is_found_by_one_fetch_for_all_who_bring_it_first() {
    let stage = Stage::start(Issuer::start());
    let old = stage.token().sign();
    stage.ask(&old).ok();
    let new = Key::other_rsa2048();
    stage.issuer.publish([Key::rsa2048().jwk("k1"), new.jwk("k2")]);
    stage.issuer.sign_with("k2", &new);

    stage.invalid(stage.ask_anew(), "kid");
    assert_eq!(stage.issuer.hits(JWKS), 1, "within the cool-down nobody asks");

    stage.gw.pass(COOLDOWN);
    let caller = stage.gw.caller();
    let mut connections: Vec<_> = (0..50).map(|_| caller.connect()).collect();
    for connection in &mut connections {
        connection.write(caller.get("/me/x").bearer(&stage.token().sign()).bytes());
    }
    for mut connection in connections {
        connection.read_reply(false).expect("an answer").ok();
    }
    stage.ask(&old).ok();
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (2, (2, 0)));
    assert_eq!(stage.figure("jwks_keys", &[]), 2);
}

#[test]
fn w05_a_key_that_is_removed_ends_with_the_next_refresh_for_tokens_seen_before_too() {
    let stage = Stage::start(Issuer::start());
    let cached = stage.token().claim("exp", NOW.secs() + 3600).sign();
    stage.ask(&cached).ok();
    let old = stage.issuer.signer();
    stage.issuer.rotate_to("k2", &Key::other_rsa2048());
    stage.ask(&cached).ok();

    stage.gw.pass(REFRESH);
    stage.gw.metric_becomes("portcullis_jwks_refresh_total", &[("issuer", "foreign"), ("result", "ok")], 2.0);
    stage.invalid(stage.ask(&cached), "kid");
    stage.invalid(stage.ask(&old.token().at(stage.gw.clock.now()).sign()), "kid");
    stage.ask_anew().ok();
    assert_eq!(stage.issuer.hits(JWKS), 2);
}
