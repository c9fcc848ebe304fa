//! Tokens of others (attacks section 1, cross-cutting X04), over real HTTP: what of a token is believed, and what is
//! answered, logged and forwarded when it is not. Their kinds (J-44) belong to the gateway's own tokens.

mod accepted;
mod cache;
mod claims;
mod forged;
mod form;
mod header;
mod keys;
mod number;
mod scopes;
mod times;

use std::cell::RefCell;
use std::collections::HashMap;

use super::support::NOW;
use super::support::caller::Reply;
use super::support::gateway::{Builder, Gateway};
use super::support::keys::{Alg, Key};
use super::support::token::{Issues, Signer, Token};
use super::support::upstream::{Recorded, Upstream};

/// `iss` of the issuer that most rows are about.
const ISS: &str = "https://issuer.test";

/// A gateway, what stands behind it, and what its refusals look like.
struct House {
    upstream: Upstream,
    gw: Gateway,
    /// The first body of each reason, without its request id: the others must be the same.
    bodies: RefCell<HashMap<String, String>>,
}

impl House {
    /// The realm `api` with these issuers, and these routes before one that takes a token of any of them.
    fn new(issuers: &[String], routes: &str) -> Self {
        Self::build(Gateway::builder(), issuers, routes)
    }

    fn build(builder: Builder, issuers: &[String], routes: &str) -> Self {
        let upstream = Upstream::start();
        let gw = builder.realm_toml(&realm("api", issuers, routes)).upstream(&upstream).start();
        Self::of(gw, upstream)
    }

    fn of(gw: Gateway, upstream: Upstream) -> Self {
        Self { upstream, gw, bodies: RefCell::default() }
    }

    /// Presents the token.
    #[track_caller]
    fn present(&self, token: &str) -> Reply {
        self.gw.get("/x").bearer(token).send()
    }

    /// The token is good; what the upstream saw.
    #[track_caller]
    fn accepts(&self, token: &str) -> Recorded {
        self.present(token).ok();
        let seen = self.upstream.only();
        self.upstream.forget();
        seen
    }

    /// The token is refused as [`House::check`] demands.
    #[track_caller]
    fn refuses(&self, token: &str, expected: &str) {
        self.check(&self.present(token), expected);
    }

    /// `ok`, or as [`House::refuses`].
    #[track_caller]
    fn judges(&self, token: &str, expected: &str) {
        if expected == "ok" {
            self.accepts(token);
        } else {
            self.refuses(token, expected);
        }
    }

    /// The answer is a refusal: `expected` is its why (of `token_invalid`), or `reason:why`. Nobody but the log learns the
    /// why, bodies of one reason are the same to the byte, and the upstream saw nothing.
    #[track_caller]
    fn check(&self, reply: &Reply, expected: &str) {
        let (reason, why) = expected.split_once(':').unwrap_or(("token_invalid", expected));
        assert_eq!(self.gw.why(reply), format!("{reason}:{why}"));
        reply.clone().denied(reason);
        let body = reply.text().replace(reply.request_id(), "ID");
        let mut bodies = self.bodies.borrow_mut();
        let first = bodies.entry(reason.to_owned()).or_insert_with(|| body.clone());
        assert_eq!(*first, body, "bodies of {reason} differ");
        self.upstream.assert_untouched();
    }
}

/// A realm's file: all of these issuers, these routes, and `/**` for any of their tokens.
fn realm(name: &str, issuers: &[String], routes: &str) -> String {
    strict_realm(name, issuers, &format!("{routes}\n[[routes]]\nname = \"all\"\npath = \"/**\"\nauth = [\"jwt\"]\n"))
}

/// A realm's file with these routes only.
fn strict_realm(name: &str, issuers: &[String], routes: &str) -> String {
    let issuers = issuers.concat();
    format!("realm = \"{name}\"\nhosts = [\"{name}.test\"]\nupstream = \"http://{{upstream}}\"\n{issuers}\n{routes}\n")
}

/// `[[issuers]]`, for the audience `api`; `more` are further keys.
fn issuer(name: &str, iss: &str, algorithms: &[Alg], keys: &str, more: &str) -> String {
    let algorithms: Vec<_> = algorithms.iter().map(|alg| alg.name()).collect();
    format!(
        "\n[[issuers]]\nname = \"{name}\"\nissuer = \"{iss}\"\naudience = [\"api\"]\nalgorithms = {algorithms:?}\n\
         keys = {keys}\n{more}\n"
    )
}

/// A secret that stands in the configuration as it is: 64 letters and digits.
fn secret() -> Key {
    Key::from_secret(data_encoding::HEXLOWER.encode(&super::support::keys::random(32)).as_bytes())
}

/// `keys` of an issuer that has this secret or public key.
fn static_key(key: &Key) -> String {
    match key.alg() {
        Alg::HS256 => format!("{{ secret = {{ inline = \"{}\" }} }}", String::from_utf8_lossy(key.secret())),
        _ => format!("{{ public_key = {{ inline = \"{}\" }} }}", key.pem().replace('\n', "\\n")),
    }
}

/// The issuer [`ISS`] with one key of the configuration, and what signs its tokens.
fn simple(key: &Key, more: &str) -> (String, Signer) {
    (issuer("idp", ISS, &[key.alg()], &static_key(key), more), Signer::new(ISS, key.clone()))
}

/// A house of one issuer that shares a secret, and what signs its tokens.
fn simple_house(more: &str) -> (House, Signer) {
    let (issuer, signer) = simple(&secret(), more);
    (House::new(&[issuer], ""), signer)
}

/// The token's claims with `more` members behind them, exactly as written.
fn payload_with(token: &Token, more: &str) -> String {
    let claims = token.claims().to_string();
    format!("{},{more}}}", claims.strip_suffix('}').expect("an object"))
}

/// A good token with claims changed or added, as they are written.
fn with_raw(signer: &Signer, without: &str, more: &str) -> String {
    let token = signer.token().without(without);
    let payload = payload_with(&token, more);
    token.raw_payload(payload).sign()
}

#[test]
fn x04_every_classic_of_forgery_is_refused_and_only_the_log_knows_why() {
    let (rsa, house_key, foreign) = (Key::rsa2048(), secret(), secret());
    let issuers = [
        issuer("rsa", "https://rsa.test", &[Alg::RS256], &static_key(&rsa), ""),
        issuer("mac", ISS, &[Alg::HS256], &static_key(&house_key), ""),
    ];
    let upstream = Upstream::start();
    let other = issuer("mac", "https://other.test", &[Alg::HS256], &static_key(&foreign), "");
    let gw = Gateway::builder().realm_toml(&realm("api", &issuers, "")).realm_toml(&realm("b", &[other], ""));
    let house = House::of(gw.upstream(&upstream).start(), upstream);
    let (by_rsa, by_mac) = (Signer::new("https://rsa.test", rsa.clone()), Signer::new(ISS, house_key));
    let confused =
        by_rsa.token().header("alg", "HS256").signed_with(&Key::from_secret(rsa.pem().as_bytes()), Alg::HS256);
    let of_b = Signer::new("https://other.test", foreign).token().sign();
    for (token, expected) in [
        (by_mac.token().header("alg", "none").unsigned(), "alg"),
        (confused.sign(), "alg"),
        (by_mac.token().header("alg", "RS256").sign(), "alg"),
        (by_mac.token().header("crit", serde_json::json!(["x"])).sign(), "crit"),
        (by_mac.token().without("exp").sign(), "claims"),
        (by_mac.token().claim("exp", "9999999999").sign(), "claims"),
        (by_mac.token().claim("nbf", NOW.secs() + 3600).sign(), "not_yet"),
        (by_mac.token().claim("iss", "https://other.test").sign(), "issuer"),
        (of_b.clone(), "issuer"),
    ] {
        house.refuses(&token, expected);
    }
    house.gw.get("/x").host("b.test").bearer(&of_b).send().ok();
    house.upstream.forget();
    house.accepts(&by_rsa.token().sign());
    house.accepts(&by_mac.token().sign());
}
