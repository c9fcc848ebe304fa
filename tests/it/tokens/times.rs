//! J-34, J-35: from when to when a token is good, at the exact limits.

use portcullis::clock::UnixMillis;
use serde_json::json;

use super::*;

impl House {
    /// Judges the token at this moment.
    #[track_caller]
    fn at(&self, now: UnixMillis, token: &str, expected: &str) {
        self.gw.clock.set(now);
        self.judges(token, expected);
    }
}

const EXPIRED: &str = "token_expired:expired";

fn secs(offset: i64) -> UnixMillis {
    UnixMillis(NOW.0 + offset * 1000)
}

fn millis(offset: i64) -> UnixMillis {
    UnixMillis(NOW.0 + offset)
}

#[test]
fn j34_a_token_ends_at_exp_and_not_a_moment_later() {
    let key = secret();
    let issuers = [
        issuer("strict", "https://strict.test", &[Alg::HS256], &static_key(&key), ""),
        issuer("lenient", "https://lenient.test", &[Alg::HS256], &static_key(&key), "leeway = \"60s\""),
    ];
    let house = House::new(&issuers, "");
    for (iss, leeway) in [("https://strict.test", 0), ("https://lenient.test", 60)] {
        let signer = Signer::new(iss, key.clone());
        let until = |exp: &str| with_raw(&signer, "exp", &format!("\"exp\":{exp}"));
        let base = NOW.secs() - leeway;
        for (exp, expected) in [
            (format!("{}", base + 1), "ok"),
            (format!("{base}"), EXPIRED),
            (format!("{}", base - 1), EXPIRED),
            // A fraction is cut off, never rounded up.
            (format!("{base}.4"), EXPIRED),
            (format!("{base}.5"), EXPIRED),
            (format!("{base}.999999"), EXPIRED),
            (format!("{}.0", base + 1), "ok"),
            (format!("{}e0", base + 1), "ok"),
            ("0".to_owned(), EXPIRED),
            ("-0".to_owned(), EXPIRED),
            ("0.5".to_owned(), EXPIRED),
            ("1E2".to_owned(), EXPIRED),
            ("1e-400".to_owned(), EXPIRED),
            ("-1".to_owned(), "claims"),
            ("-0.5".to_owned(), "claims"),
            ("-1e308".to_owned(), "claims"),
            ("-9223372036854775808".to_owned(), "claims"),
            ("1e400".to_owned(), "claims"),
            ("1e999999999".to_owned(), "claims"),
            (format!("\"{}\"", base + 100), "claims"),
            (format!("[{}]", base + 100), "claims"),
            (format!("{{\"exp\":{}}}", base + 100), "claims"),
            ("true".to_owned(), "claims"),
            ("null".to_owned(), "claims"),
            ("\"\"".to_owned(), "claims"),
            ("9223372036854775807".to_owned(), "lifetime"),
            ("9223372036854775808".to_owned(), "lifetime"),
            ("18446744073709551615".to_owned(), "lifetime"),
            ("18446744073709551616".to_owned(), "lifetime"),
            ("1e308".to_owned(), "lifetime"),
            ("1e18".to_owned(), "lifetime"),
            ("9223372036854775".to_owned(), "lifetime"),
            ("9223372036854776".to_owned(), "lifetime"),
            // Milliseconds where seconds belong.
            (format!("{}", (NOW.secs() + 300) * 1000), "lifetime"),
        ] {
            house.at(NOW, &until(&exp), expected);
        }
        for (offset, expected) in [(-1, "ok"), (0, EXPIRED), (1, EXPIRED), (-1, "ok"), (0, EXPIRED)] {
            house.at(millis(leeway * 1000 + offset), &until(&NOW.secs().to_string()), expected);
        }
    }
}

#[test]
fn j34_a_token_may_not_end_later_than_the_issuer_s_longest_lifetime() {
    for (more, longest) in [("", 86_400), ("max_ttl = \"10m\"", 600), ("max_ttl = \"10m\"\nleeway = \"2m\"", 600)] {
        let (house, signer) = simple_house(more);
        for (exp, expected) in [(longest, "ok"), (longest + 1, "lifetime"), (longest - 1, "ok")] {
            house.at(NOW, &signer.token().expires_in(exp).sign(), expected);
        }
        let early = signer.token().expires_in(longest + 1).sign();
        house.at(millis(999), &early, "lifetime");
        house.at(secs(1), &early, "ok");
    }
}

#[test]
fn j35_a_token_begins_at_nbf_and_clocks_may_differ_by_so_much() {
    for (server, skew) in [("", 60), ("clock_skew = \"5s\"", 5), ("clock_skew = \"0s\"", 0)] {
        let (issuers, signer) = simple(&secret(), "");
        let house = House::build(Gateway::builder().server_toml(server), &[issuers], "");
        let now = NOW.secs();
        for (claim, late) in [("nbf", "not_yet"), ("iat", "issued_at")] {
            let with = |value: &str| with_raw(&signer, claim, &format!("\"{claim}\":{value}"));
            for (value, expected) in [
                (format!("{now}"), "ok"),
                (format!("{}", now + skew), "ok"),
                (format!("{}.9", now + skew), "ok"),
                (format!("{}", now + skew + 1), late),
                (format!("{}", now + 3600), late),
                (format!("{}", now * 1000), late),
                (format!("{}", now - 315_360_000), "ok"),
                ("0".to_owned(), "ok"),
                ("1.5".to_owned(), "ok"),
                ("9223372036854775807".to_owned(), late),
                ("18446744073709551615".to_owned(), late),
                ("1e308".to_owned(), late),
                ("1e400".to_owned(), "claims"),
                ("-1".to_owned(), "claims"),
                ("-0.1".to_owned(), "claims"),
                ("\"9999999999\"".to_owned(), "claims"),
                (format!("\"{now}\""), "claims"),
                ("null".to_owned(), "claims"),
                ("true".to_owned(), "claims"),
                ("[]".to_owned(), "claims"),
                ("{}".to_owned(), "claims"),
            ] {
                house.at(NOW, &with(&value), expected);
            }
            let soon = with(&format!("{}", now + skew + 1));
            house.at(millis(999), &soon, late);
            house.at(secs(1), &soon, "ok");
            house.gw.clock.set(NOW);
        }
        // Expiry has no such tolerance.
        house.at(NOW, &signer.token().expires_in(0).sign(), EXPIRED);
    }
}

#[test]
fn a_token_is_judged_by_the_gateway_s_clock_only() {
    let (house, signer) = simple_house("");
    for years in [-20, 0, 20, 200] {
        let now = secs(years * 31_557_600);
        house.at(now, &signer.token().at(now).sign(), "ok");
        house.at(now, &signer.token().at(now).claim("exp", now.secs()).sign(), EXPIRED);
    }
    house.gw.clock.set(NOW);
    let other_times = signer.token().claim("auth_time", "yesterday").claim("updated_at", json!({}));
    house.accepts(&other_times.sign());
}
