//! J-43: what was verified once is remembered, and no other token, realm, route, time or key profits from it.

use std::time::Duration;

use super::*;
use crate::support::eventually;
use crate::support::issuer::Issuer;
use crate::support::keys::key_set;
use crate::support::token::{ecdsa_twin, flip_signature_bit, signature, with_signature};

impl House {
    fn hits(&self) -> f64 {
        self.gw.metric("portcullis_cache_requests_total", &[("cache", "tokens"), ("result", "hit")])
    }

    /// Presents the token until an answer came out of the cache.
    fn heat(&self, token: &str) {
        self.accepts(token);
        let before = self.hits();
        eventually("the token is answered out of the cache", || {
            self.accepts(token);
            (self.hits() > before).then_some(())
        });
    }
}

#[test]
fn j43_a_token_that_equals_a_hot_one_up_to_its_signature_is_verified_itself() {
    for key in [secret(), Key::rsa2048(), Key::p256(), Key::ed25519()] {
        let (issuers, signer) = simple(&key, "");
        let house = House::new(&[issuers], "");
        // Longer than any beginning that somebody might take for the whole.
        let token = signer.token().claim("pad", "p".repeat(3000)).sign();
        house.heat(&token);
        let bits = signature(&token).len() * 8;
        for bit in [0, bits / 2, bits - 1] {
            house.refuses(&flip_signature_bit(&token, bit), "signature");
        }
        house.refuses(&with_signature(&token, b""), "signature");
        let good = signature(&token);
        house.refuses(&with_signature(&token, &good[..good.len() - 1]), "signature");
        house.refuses(&with_signature(&token, &[good.as_slice(), &[0]].concat()), "signature");
        house.refuses(&format!("{token}."), "format");
        house.refuses(&format!("{token}="), "format");
        house.heat(&token);
    }
}

#[test]
fn j43_tokens_with_one_long_beginning_are_two_tokens() {
    let (house, signer) = simple_house("");
    let base = signer.token().claim("pad", "p".repeat(3000)).without("sub");
    let (alice, bob) = (base.clone().subject("alice").sign(), base.subject("bobby").sign());
    assert_eq!(alice[..3000], bob[..3000]);
    for _ in 0..3 {
        assert_eq!(house.accepts(&alice).header("x-auth-subject"), Some("alice"));
        assert_eq!(house.accepts(&bob).header("x-auth-subject"), Some("bobby"));
    }
}

#[test]
fn j43_the_second_value_of_an_ecdsa_signature_is_another_entry_with_the_same_end() {
    let key = Key::p256();
    let (issuers, signer) = simple(&key, "");
    let house = House::new(&[issuers], "");
    let token = signer.token().expires_in(100).sign();
    let twin = with_signature(&token, &ecdsa_twin(&signature(&token)));
    house.heat(&token);
    house.heat(&twin);
    house.gw.clock.set(NOW.plus(Duration::from_secs(100)));
    house.refuses(&token, "token_expired:expired");
    house.refuses(&twin, "token_expired:expired");
}

#[test]
fn j43_one_realm_s_memory_is_not_another_s() {
    let (key, other) = (secret(), secret());
    let mine = |key: &Key| issuer("idp", ISS, &[Alg::HS256], &static_key(key), "");
    let elsewhere = mine(&key).replace("[\"api\"]", "[\"elsewhere\"]");
    let upstream = Upstream::start();
    let builder = Gateway::builder()
        .realm_toml(&realm("api", &[mine(&key)], ""))
        .realm_toml(&realm("same", &[mine(&key)], ""))
        .realm_toml(&realm("keys", &[mine(&other)], ""))
        .realm_toml(&realm("audience", &[elsewhere], ""))
        .realm_toml(&realm("issuer", &[mine(&key).replace(ISS, "https://nobody.test")], ""));
    let house = House::of(builder.upstream(&upstream).start(), upstream);
    let token = Signer::new(ISS, key).token().sign();
    house.heat(&token);
    for _ in 0..2 {
        for (name, expected) in [("keys", "signature"), ("audience", "audience"), ("issuer", "issuer")] {
            let reply = house.gw.get("/x").host(&format!("{name}.test")).bearer(&token).send();
            assert_eq!(house.gw.why(&reply), format!("token_invalid:{expected}"), "{name}");
            reply.denied("token_invalid");
            house.upstream.assert_untouched();
        }
        house.gw.get("/x").host("same.test").bearer(&token).send().ok();
        assert_eq!(house.upstream.only().header("x-auth-realm"), Some("same"));
        house.upstream.forget();
        assert_eq!(house.accepts(&token).header("x-auth-realm"), Some("api"));
    }
}

#[test]
fn j43_a_hot_token_ends_at_its_time() {
    for (leeway, more) in [(0, ""), (30, "leeway = \"30s\"")] {
        let (house, signer) = simple_house(more);
        let token = signer.token().expires_in(100).sign();
        house.heat(&token);
        house.gw.clock.set(NOW.plus(Duration::from_millis((100 + leeway) * 1000 - 1)));
        house.accepts(&token);
        house.gw.pass(Duration::from_millis(1));
        for _ in 0..3 {
            house.refuses(&token, "token_expired:expired");
        }
        house.accepts(&signer.token().at(NOW.plus(Duration::from_secs(100))).sign());
    }
}

#[test]
fn j43_a_key_that_a_reload_took_away_proves_nothing_any_more() {
    let (old, new) = (Key::p256(), Key::p256());
    let issuers = [issuer("idp", ISS, &[Alg::ES256], "{ jwks_file = \"keys.json\" }", "")];
    let both = key_set([old.jwk("old"), new.jwk("new")]).to_string();
    let house = House::build(Gateway::builder().file("realms/keys.json", &both), &issuers, "");
    let (by_old, by_new) = (Signer::new(ISS, old).kid("old"), Signer::new(ISS, new.clone()).kid("new"));
    let (old_token, new_token) = (by_old.token().sign(), by_new.token().sign());
    house.heat(&old_token);
    house.heat(&new_token);
    house.gw.rewrite("realms/keys.json", &key_set([new.jwk("new")]).to_string());
    house.accepts(&old_token);
    house.gw.reload().expect("a good configuration");
    house.refuses(&old_token, "kid");
    house.accepts(&new_token);
    // Another key under the same id.
    house.gw.rewrite("realms/keys.json", &key_set([Key::p256().jwk("new")]).to_string());
    house.gw.reload().expect("a good configuration");
    house.refuses(&new_token, "signature");
    house.gw.rewrite("realms/keys.json", &both);
    house.gw.reload().expect("a good configuration");
    house.accepts(&old_token);
    // A file that is no key set leaves everything as it is.
    house.gw.rewrite("realms/keys.json", "{\"keys\":[]}");
    assert!(house.gw.reload().is_err());
    house.accepts(&old_token);
}

#[test]
fn j43_a_reload_that_narrows_an_issuer_binds_hot_tokens_too() {
    let (house, signer) = simple_house("");
    let token = signer.token().sign();
    house.heat(&token);
    let before = house.gw.realm_file();
    for (from, to, expected) in [
        ("audience = [\"api\"]", "audience = [\"other\"]", "audience"),
        ("algorithms = [\"HS256\"]", "algorithms = [\"HS384\"]", "alg"),
        (ISS, "https://renamed.test", "issuer"),
        ("audience = [\"api\"]", "audience = [\"api\"]\nmax_ttl = \"1m\"", "lifetime"),
        ("audience = [\"api\"]", "audience = [\"api\"]\ntyp = [\"x+jwt\"]", "typ"),
        ("audience = [\"api\"]", "audience = [\"api\"]\nrequired_claims = [\"x\"]", "claims"),
    ] {
        house.gw.rewrite("realms/realm0.toml", &before.replace(from, to));
        house.gw.reload().unwrap_or_else(|problems| panic!("{problems}"));
        house.refuses(&token, expected);
        house.gw.rewrite("realms/realm0.toml", &before);
        house.gw.reload().unwrap_or_else(|problems| panic!("{problems}"));
        house.heat(&token);
    }
    let renamed = before.replace("name = \"idp\"", "name = \"idp\"\nclaims = { subject = \"jti\" }");
    house.gw.rewrite("realms/realm0.toml", &renamed);
    house.gw.reload().unwrap_or_else(|problems| panic!("{problems}"));
    assert_ne!(house.accepts(&token).header("x-auth-subject"), Some("alice"), "claims are read anew");
}

#[test]
fn j43_a_key_that_its_issuer_took_back_proves_nothing_after_the_next_fetch() {
    let remote = Issuer::start();
    let source = format!("{{ jwks_url = \"{}\", ca = \"ca.pem\", refresh = \"10m\" }}", remote.jwks_url());
    let issuers = [issuer("idp", remote.issuer_url(), &[Alg::RS256], &source, "max_ttl = \"48h\"")];
    let house = House::build(Gateway::builder().file("realms/ca.pem", remote.ca_pem()), &issuers, "");
    house.gw.until_ready();
    let token = Token::for_issuer(&remote).expires_in(86_400).sign();
    house.heat(&token);
    remote.rotate_to("k2", &Key::other_rsa2048());
    house.accepts(&token);
    house.gw.pass(Duration::from_secs(31));
    house.accepts(&Token::for_issuer(&remote).sign());
    house.refuses(&token, "kid");
}

#[test]
fn j43_a_route_that_does_not_believe_the_issuer_is_not_talked_round_by_the_cache() {
    let (one, two) = (secret(), secret());
    let issuers = [
        issuer("one", "https://one.test", &[Alg::HS256], &static_key(&one), ""),
        issuer("two", "https://two.test", &[Alg::HS256], &static_key(&two), ""),
    ];
    let routes = "[[routes]]\npath = \"/two/**\"\nauth = [\"jwt\"]\nissuers = [\"two\"]\n";
    let house = House::new(&issuers, routes);
    let by_one = Signer::new("https://one.test", one).token().sign();
    let by_two = Signer::new("https://two.test", two).token().sign();
    house.heat(&by_one);
    house.heat(&by_two);
    for _ in 0..3 {
        house.check(&house.gw.get("/two/x").bearer(&by_one).send(), "issuer_not_allowed:issuer");
        house.gw.get("/two/x").bearer(&by_two).send().ok();
        house.upstream.forget();
        house.accepts(&by_one);
    }
}

#[test]
fn j43_scopes_are_asked_of_a_hot_token_too() {
    let (issuers, signer) = simple(&secret(), "");
    let routes = "[[routes]]\npath = \"/admin/**\"\nauth = [\"jwt\"]\nscopes = [\"admin\"]\n";
    let house = House::new(&[issuers], routes);
    let (small, large) = (signer.token().scope("read").sign(), signer.token().scope("admin").sign());
    house.heat(&small);
    house.heat(&large);
    for _ in 0..2 {
        house.check(&house.gw.get("/admin/x").bearer(&small).send(), "insufficient_scope:-");
        house.gw.get("/admin/x").bearer(&large).send().ok();
        house.upstream.forget();
    }
}

#[test]
fn what_was_refused_is_not_remembered_and_without_a_cache_all_is_the_same() {
    let (issuers, signer) = simple(&secret(), "");
    let house =
        House::build(Gateway::builder().server_toml("[cache]\ntokens = \"0B\""), std::slice::from_ref(&issuers), "");
    let token = signer.token().expires_in(10).sign();
    for _ in 0..3 {
        house.accepts(&token);
        house.refuses(&flip_signature_bit(&token, 9), "signature");
    }
    house.gw.pass(Duration::from_secs(10));
    house.refuses(&token, "token_expired:expired");

    let house = House::new(&[issuers], "");
    let early = signer.token().claim("nbf", NOW.secs() + 61).sign();
    house.refuses(&early, "not_yet");
    house.refuses(&early, "not_yet");
    house.gw.pass(Duration::from_secs(1));
    house.accepts(&early);
}
