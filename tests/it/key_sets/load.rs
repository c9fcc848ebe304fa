//! What many tokens with unknown key ids may cost, and whom they may disturb: nobody (W-01, W-02, W-04, W-16, W-17).

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;

use super::super::support::caller::Connection;
use super::super::support::eventually;
use super::super::support::issuer::{Answer, Issuer, JWKS};
use super::super::support::keys::{Key, key_set, random, unusable_rsa_jwk};
use super::super::support::token::parts;
use super::{COOLDOWN, Stage, own_key};

/// Tokens with random key ids. Their signatures are another token's: no key is found that could tell.
struct Flood {
    rest: String,
}

impl Flood {
    fn of(stage: &Stage) -> Self {
        let token = stage.token().sign();
        let [_, payload, signature] = parts(&token);
        Self { rest: format!(".{payload}.{signature}") }
    }

    fn token(&self) -> String {
        let header = format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{}"}}"#, HEXLOWER.encode(&random(12)));
        BASE64URL_NOPAD.encode(header.as_bytes()) + &self.rest
    }
}

impl Stage {
    /// So many requests with so many tokens, all sent before the first answer is read.
    fn send_at_once(&self, tokens: impl IntoIterator<Item = String>) -> Vec<Connection> {
        let caller = self.gw.caller();
        let waiting = tokens.into_iter().map(|token| {
            let mut connection = caller.connect();
            // The connection is being served before the request in question is sent.
            caller.get("/public/x").send_on(&mut connection).ok();
            connection.write(caller.get("/me/x").bearer(&token).bytes());
            connection
        });
        waiting.collect()
    }

    fn strays(&self, count: usize) -> impl Iterator<Item = String> {
        let flood = Flood::of(self);
        (0..count).map(move |_| flood.token())
    }
}

fn statuses(waiting: Vec<Connection>) -> Vec<u16> {
    waiting.into_iter().map(|mut c| c.read_reply(false).expect("an answer").status).collect()
}

#[test]
fn w01_ten_thousand_random_key_ids_in_ten_seconds_cost_one_fetch_and_disturb_nobody() {
    const ROUNDS: usize = 10;
    const CALLERS: usize = 4;
    const EACH: usize = 250;
    let stage = Stage::start(Issuer::start());
    let known = stage.token().sign();
    stage.ask(&known).ok();
    stage.gw.pass(COOLDOWN);
    let flood = Flood::of(&stage);
    for _ in 0..ROUNDS {
        let fresh = stage.token().sign();
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    let (caller, mut connection) = (stage.gw.caller(), stage.gw.caller().connect());
                    let mut send = |token: &str| caller.get("/me/x").bearer(token).send_on(&mut connection).status;
                    for n in 0..EACH {
                        assert_eq!(send(&flood.token()), 401);
                        match n % 50 {
                            10 => assert_eq!(send(&known), 200),
                            20 => assert_eq!(send(&fresh), 200),
                            _ => {}
                        }
                    }
                });
            }
        });
        stage.gw.pass(Duration::from_secs(1));
    }
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (2, (2, 0)));
    stage.invalid(stage.ask(&flood.token()), "kid");
    let rejected = [("issuer", "foreign"), ("result", "rejected")];
    stage.gw.metric_becomes("portcullis_authentications_total", &rejected, (ROUNDS * CALLERS * EACH + 1) as f64);
    let memory = stage.gw.metric("portcullis_cache_entries", &[("cache", "tokens")]);
    assert!(memory < 100.0, "{memory} tokens are remembered: refused ones too");
}

#[test]
fn w02_a_set_without_a_usable_key_holds_the_cool_down_too() {
    let private = json!({"kty": "oct", "kid": "k1", "k": "c2VjcmV0"});
    for document in [key_set([]), key_set([private, unusable_rsa_jwk("k1", 1024)])] {
        let issuer = Issuer::start();
        issuer.publish_document(document.clone());
        let stage = Stage::start(issuer);
        stage.invalid(stage.ask_anew(), "kid");
        let mut connection = stage.gw.caller().connect();
        for hits in 1..=3 {
            for token in stage.strays(300) {
                stage.gw.get("/me/x").bearer(&token).send_on(&mut connection).is(401);
            }
            assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (hits, (hits, 0)), "{document}");
            stage.gw.pass(COOLDOWN);
        }
    }
}

#[test]
fn w02_the_next_fetch_is_spoken_for_before_it_is_made() {
    let issuer = Issuer::start();
    issuer.publish([]);
    let stage = Stage::start(issuer);
    stage.invalid(stage.ask_anew(), "kid");
    stage.issuer.answer(JWKS, Answer::Hold);
    stage.gw.pass(COOLDOWN);
    let waiting = stage.send_at_once(stage.strays(50));
    eventually("the fetch is held", || (stage.issuer.hits(JWKS) == 2).then_some(()));
    stage.gw.pass(COOLDOWN - Duration::from_secs(1));
    stage.issuer.answer(JWKS, Answer::Document);
    assert_eq!(statuses(waiting), [401; 50]);
    stage.invalid(stage.ask(&stage.stray().sign()), "kid");
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (2, (2, 0)));
    stage.gw.pass(Duration::from_secs(1));
    stage.invalid(stage.ask(&stage.stray().sign()), "kid");
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (3, (3, 0)), "counted from the beginning of the last");
}

#[test]
fn w04_a_refresh_for_an_unknown_key_id_takes_no_key_out_of_use() {
    let stage = Stage::start(Issuer::start());
    let cached = stage.token().sign();
    stage.ask(&cached).ok();
    let as_before = |what: &str| {
        assert_eq!(stage.ask(&cached).status, 200, "{what}");
        assert_eq!(stage.ask_anew().status, 200, "{what}");
        assert_eq!(stage.figure("jwks_keys", &[]), 1, "{what}");
    };
    for (what, end, status) in [
        ("it goes well", Answer::Document, 401),
        ("it fails", Answer::Status(500), 503),
        ("it brings no key set", Answer::Bytes(b"{}".to_vec()), 503),
        ("it goes well after a failure", Answer::Document, 401),
    ] {
        let before = stage.issuer.hits(JWKS);
        stage.issuer.answer(JWKS, Answer::Hold);
        stage.gw.pass(COOLDOWN);
        let waiting = stage.send_at_once(stage.strays(1));
        eventually("the fetch is held", || (stage.issuer.hits(JWKS) == before + 1).then_some(()));
        as_before(what);
        stage.issuer.answer(JWKS, end);
        assert_eq!(statuses(waiting), [status], "{what}");
        as_before(what);
    }
}

#[test]
fn w16_while_a_fetch_is_slow_known_keys_do_not_wait_for_it() {
    let stage = Stage::with(Issuer::start(), "timeout = \"1m\"");
    stage.ask_anew().ok();
    stage.issuer.answer(JWKS, Answer::Hold);
    stage.gw.pass(COOLDOWN);
    let waiting = stage.send_at_once(stage.strays(20));
    eventually("the fetch is held", || (stage.issuer.hits(JWKS) == 2).then_some(()));

    let (cached, mut connection) = (stage.token().sign(), stage.gw.caller().connect());
    for n in 0..300 {
        let token = if n % 10 == 0 { stage.token().sign() } else { cached.clone() };
        stage.gw.get("/me/x").bearer(&token).send_on(&mut connection).ok();
    }
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (2, (1, 0)), "all of them while the fetch was held");
    stage.issuer.answer(JWKS, Answer::Document);
    assert_eq!(statuses(waiting), [401; 20]);
}

#[test]
fn w16_those_who_wait_for_a_fetch_without_end_are_let_go_in_time() {
    let stage = Stage::with(Issuer::start(), "timeout = \"500ms\"");
    stage.ask_anew().ok();
    stage.issuer.answer(JWKS, Answer::Hang);
    stage.gw.pass(COOLDOWN);
    for mut one in stage.send_at_once(stage.strays(20)) {
        stage.unavailable(one.read_reply(false).expect("an answer"), "key_set_failing");
    }
    stage.ask_anew().ok();
    eventually("the fetch has ended", || (stage.refreshes() == (1, 1)).then_some(()));
    assert!(stage.last_error().contains("no complete answer within 500ms"), "{}", stage.last_error());
}

#[test]
fn w17_a_hundred_first_tokens_lose_nobody_when_the_fetch_they_wait_for_fails() {
    let issuer = Issuer::start();
    issuer.answer(JWKS, Answer::Hold);
    let stage = Stage::start(issuer);
    let token = stage.token().sign();
    let waiting = stage.send_at_once((0..100).map(|_| token.clone()));
    let gone = stage.send_at_once((0..20).map(|_| token.clone()));
    eventually("the fetch is held", || (stage.issuer.hits(JWKS) == 1).then_some(()));
    let two = stage.gw.get("/me/x").bearer(&token).bearer(&stage.stray().sign());
    two.send().denied("ambiguous_credential");
    let two = stage.gw.get("/query/x?token=a.b.c").bearer(&token);
    two.send().denied("ambiguous_credential");
    drop(gone);
    stage.issuer.answer(JWKS, Answer::Status(500));
    for mut one in waiting {
        stage.unavailable(one.read_reply(false).expect("an answer"), "key_set_never_loaded");
    }
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (1, (0, 1)));

    stage.issuer.answer(JWKS, Answer::Document);
    stage.gw.pass(Duration::from_secs(1));
    let waiting = stage.send_at_once((0..100).map(|_| token.clone()));
    assert_eq!(statuses(waiting), [200; 100]);
    assert_eq!((stage.issuer.hits(JWKS), stage.refreshes()), (2, (1, 1)));
}

#[test]
fn a_known_key_that_does_not_serve_the_tokens_algorithm_is_no_reason_to_fetch() {
    let issuer = Issuer::start();
    let mut other = Key::other_rsa2048().jwk("k512");
    other["alg"] = json!("RS512");
    issuer.publish([own_key(&issuer), other]);
    let foreign = super::believing("foreign", &issuer, "\"RS256\", \"RS512\"", &super::at_url(&issuer, ""));
    let stage = Stage::in_realm(issuer, &foreign);
    stage.ask_anew().ok();
    stage.gw.pass(COOLDOWN);
    stage.invalid(stage.ask(&stage.token().header("kid", "k512").sign()), "alg");
    assert_eq!(stage.issuer.hits(JWKS), 1);
}
