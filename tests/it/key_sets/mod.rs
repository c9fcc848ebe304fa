//! Key sets that are fetched (attacks W-01 to W-17): an issuer on loopback HTTPS, a clock that is set.

mod documents;
mod fetches;
mod load;
mod outage;
mod reload;
mod rotation;
mod spoilt;

use std::time::Duration;

use portcullis::clock::Clock;

use super::support::caller::Reply;
use super::support::gateway::{Builder, Gateway};
use super::support::issuer::Issuer;
use super::support::keys::random;
use super::support::realms::Standard;
use super::support::token::{Issues, Token};
use super::support::upstream::Upstream;

/// The defaults of an issuer's `keys`.
const COOLDOWN: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(600);

/// The standard realm, which believes one more issuer, `foreign`, whose keys are fetched.
struct Stage {
    gw: Gateway,
    issuer: Issuer,
    upstream: Upstream,
    standard: Standard,
}

/// An issuer as the realm's file has it; `keys` is what stands in its table.
fn believing(name: &str, issuer: &Issuer, algorithms: &str, keys: &str) -> String {
    format!(
        "\n[[issuers]]\nname = \"{name}\"\nissuer = \"{}\"\naudience = [\"api\"]\nalgorithms = [{algorithms}]\n\
         keys = {{ {keys} }}\n",
        issuer.issuer_url()
    )
}

/// `keys` of an issuer that is found by the URL of its key set, and `more`.
fn at_url(issuer: &Issuer, more: &str) -> String {
    format!("jwks_url = \"{}\", ca = \"ca.pem\"{}{more}", issuer.jwks_url(), if more.is_empty() { "" } else { ", " })
}

/// A gateway in the making with the standard realm, which has `more` at its end.
fn builder(standard: &Standard, issuer: &Issuer, upstream: &Upstream, more: &str) -> Builder {
    Gateway::builder().standard_with(standard, more).file("realms/ca.pem", issuer.ca_pem()).upstream(upstream)
}

impl Stage {
    /// `foreign` is found by the URL of its key set.
    fn start(issuer: Issuer) -> Self {
        Self::with(issuer, "")
    }

    /// `foreign` is found by the URL of its key set; `more` stands beside that.
    fn with(issuer: Issuer, more: &str) -> Self {
        let foreign = believing("foreign", &issuer, "\"RS256\"", &at_url(&issuer, more));
        Self::in_realm(issuer, &foreign)
    }

    /// `more` at the end of the realm's file says whom to believe.
    fn in_realm(issuer: Issuer, more: &str) -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let gw = builder(&standard, &issuer, &upstream, more).start();
        Self { gw, issuer, upstream, standard }
    }

    /// A good token of the foreign issuer, from now.
    fn token(&self) -> Token {
        Token::for_issuer(&self.issuer).at(self.gw.clock.now())
    }

    /// A token whose key nobody knows.
    fn stray(&self) -> Token {
        self.token().header("kid", format!("stray-{}", data_encoding::HEXLOWER.encode(&random(8))))
    }

    /// Asks with this token.
    #[track_caller]
    fn ask(&self, token: &str) -> Reply {
        self.gw.get("/me/x").bearer(token).send()
    }

    /// Asks with a new good token of the foreign issuer.
    #[track_caller]
    fn ask_anew(&self) -> Reply {
        self.ask(&self.token().sign())
    }

    /// Asks with a new good token of the house issuer, whose key is configured.
    #[track_caller]
    fn ask_house(&self) -> Reply {
        self.ask(&self.standard.alice().at(self.gw.clock.now()).sign())
    }

    /// Has the key set fetched once more, and waits for the end of that: a key id that nobody knows asks for it.
    #[track_caller]
    fn fetch_again(&self) -> Reply {
        self.gw.pass(COOLDOWN);
        self.ask(&self.stray().sign())
    }

    /// `jwks_refresh_total`: good ones and failed ones.
    fn refreshes(&self) -> (u64, u64) {
        let count = |result| self.figure("jwks_refresh_total", &[("result", result)]);
        (count("ok"), count("failed"))
    }

    /// A whole number among the metrics of the foreign issuer.
    fn figure(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels = [labels, &[("realm", "api"), ("issuer", "foreign")]].concat();
        self.gw.metric(&format!("portcullis_{name}"), &labels) as u64
    }

    /// What `/readyz` says about the foreign issuer's key set.
    fn readiness(&self) -> serde_json::Value {
        let body = self.gw.admin_get("/readyz").is(200).json();
        assert_eq!(body["realms"][0]["key_sets"][0]["issuer"], "foreign", "{body}");
        body["realms"][0]["key_sets"][0].clone()
    }

    /// The last failure to fetch the key set; empty when the last fetch was good.
    fn last_error(&self) -> String {
        self.readiness()["last_error"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless the answer is a 503 because of the keys, and its log line has this cause.
    #[track_caller]
    fn unavailable(&self, reply: Reply, why: &str) {
        let reply = reply.denied("keys_unavailable");
        assert_eq!(self.gw.why(&reply), format!("keys_unavailable:{why}"));
    }

    /// Fails unless the answer is a 401 because of the token, and its log line has this cause.
    #[track_caller]
    fn invalid(&self, reply: Reply, why: &str) {
        let reply = reply.denied("token_invalid");
        assert_eq!(self.gw.why(&reply), format!("token_invalid:{why}"));
    }
}

/// The public keys of `issuer` as it signs now, in addition to `others`.
fn own_key(issuer: &Issuer) -> serde_json::Value {
    let signer = issuer.signer();
    signer.key.jwk(signer.kid.as_deref().expect("a key id"))
}
