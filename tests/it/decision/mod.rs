//! The decision endpoint: a proxy asks about a request, and hears what the gate would have done with it. A question that
//! nobody may ask, or that does not say what it is about, is never answered with «allowed».

mod fronts;
mod questions;

use crate::support::caller::{Call, Caller, Reply};
use crate::support::gateway::{Builder, Gateway};
use crate::support::realms::Standard;
use crate::support::token::{flip_signature_bit, with_signature};
use crate::support::upstream::Upstream;

const ENDPOINT: &str = "/_portcullis/decide";

/// The standard realm with an endpoint on every listener; who asks comes from 127.0.0.1.
struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

fn house() -> House {
    house_with(|builder| builder)
}

fn house_with(more: impl FnOnce(Builder) -> Builder) -> House {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let builder = Gateway::builder().standard(&standard).upstream(&upstream);
    let builder = more(builder).server_toml("trusted_proxies = [\"127.0.0.1\"]\n[decision]");
    House { upstream, standard, gateway: builder.start() }
}

impl House {
    /// Asks as a proxy does that nobody can deceive.
    fn asker(&self) -> Caller {
        self.gateway.caller().host("portcullis.internal").from("127.0.0.1")
    }

    /// A question about a request of a client at 127.0.0.2.
    fn question(&self, method: &str, target: &str) -> Call {
        self.question_from("127.0.0.2", method, target)
    }

    fn question_from(&self, client: &str, method: &str, target: &str) -> Call {
        self.asker()
            .get(ENDPOINT)
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Host", "api.test")
            .header("X-Forwarded-Uri", target)
            .header("X-Forwarded-For", client)
    }

    /// Tokens that are not good, and what is wrong with each.
    fn spoilt(&self) -> Vec<(&'static str, String)> {
        let (alice, good) = (|| self.standard.alice(), self.standard.alice().sign());
        let stranger = Standard::new();
        vec![
            ("expired", alice().expires_in(-5).sign()),
            ("not valid yet", alice().claim("nbf", 4_000_000_000_i64).sign()),
            ("without an end", alice().without("exp").sign()),
            ("for somebody else", alice().claim("aud", "another").sign()),
            ("of an unknown issuer", alice().claim("iss", "https://elsewhere.test").sign()),
            ("signed by another key", stranger.alice().sign()),
            ("with a flipped bit", flip_signature_bit(&good, 7)),
            ("without a signature", with_signature(&good, &[])),
            ("unsigned", alice().header("alg", "none").unsigned()),
            ("with a critical extension", alice().header("crit", serde_json::json!(["b64"])).sign()),
            ("without a subject", alice().without("sub").sign()),
            ("no token at all", "rubbish".to_owned()),
        ]
    }
}

/// The fields that tell who asks, as an answer has them.
fn identity(reply: &Reply) -> Vec<(String, String)> {
    of_identity(&reply.headers)
}

/// The same, as the upstream got them.
fn identity_at(upstream: &Upstream) -> Vec<(String, String)> {
    let seen = upstream.only();
    upstream.forget();
    of_identity(&seen.headers)
}

fn of_identity(headers: &[(String, String)]) -> Vec<(String, String)> {
    let named = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut fields: Vec<_> = named.filter(|(name, _)| name.starts_with("x-auth-")).collect();
    fields.sort();
    fields
}
