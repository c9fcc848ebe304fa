//! Words out of a closed set.

use serde_json::json;

use crate::config::walk::{Kind, Shape, Value, Walk, shorten};
use crate::gate::limit::{LimitBy, LimitHeaders};
use crate::jwt::Algorithm;
use crate::nearest::hint;

/// Reads one of `words`. A word that is only known to later versions says so.
pub(crate) fn word<T: Copy>(value: &Value<'_>, walk: &mut Walk<'_>, words: &[(&str, T)], later: &[&str]) -> Option<T> {
    let listed = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let text = walk.text(value, &format!("one of {}", listed()))?;
    if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*found);
    }
    let problem = if later.contains(&text) {
        format!("\"{text}\" is not available in this version")
    } else {
        let hint = hint(text, words.iter().map(|(word, _)| *word));
        format!("{:?} is not known; expected one of {}{hint}", shorten(text), listed())
    };
    walk.fault(value.span(), problem);
    None
}

/// Declares a closed set of words.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $first:ident = $first_word:literal $(, $variant:ident = $word:literal)* } $(later [$($later:literal),*])?) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) enum $name { #[default] $first $(, $variant)* }

        impl $name {
            const WORDS: &'static [(&'static str, Self)] = &[($first_word, Self::$first) $(, ($word, Self::$variant))*];
        }

        impl Shape for $name {
            fn kind() -> Kind {
                Kind::Leaf("word", json!({ "enum": Self::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>() }))
            }

            fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
                word(value, walk, Self::WORDS, &[$($($later),*)?])
            }
        }
    };
}

pub(crate) use words;

words! {
    /// How log lines look.
    LogFormat { Json = "json", Text = "text" }
}

words! {
    /// How much is logged.
    LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}

impl LogLevel {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, level)| *level == self).map_or("info", |(word, _)| word)
    }
}

words! {
    /// Whose names identity headers have.
    Profile { Kong = "kong", OAuth2Proxy = "oauth2-proxy" }
}

words! {
    /// Which `Host` an upstream sees.
    HostMode { Preserve = "preserve", Upstream = "upstream" }
}

words! {
    /// Which server of an upstream gets a request.
    BalanceBy { RoundRobin = "round_robin", LeastConnections = "least_connections", HashAddress = "hash_address" }
}

words! {
    /// What is spoken to an upstream.
    Spoken { Http1 = "http1", Http2 = "http2" }
}

words! {
    /// What a route takes as proof.
    AuthKind { Jwt = "jwt", ApiKey = "api_key", Opaque = "opaque", Mtls = "mtls", Public = "public", Anonymous = "anonymous" }
}

impl AuthKind {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

words! {
    /// How a secret's text stands for its bytes.
    Encoding { Base64 = "base64", Hex = "hex" }
}

impl Shape for LimitBy {
    fn kind() -> Kind {
        Kind::Leaf("word", json!({ "enum": ["client", "key", "subject", "address"] }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let words =
            [("client", Self::Client), ("key", Self::Key), ("subject", Self::Subject), ("address", Self::Address)];
        word(value, walk, &words, &[])
    }
}

impl Shape for LimitHeaders {
    fn kind() -> Kind {
        Kind::Leaf("word", json!({ "enum": ["ratelimit", "x-ratelimit", "both"] }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let words = [("ratelimit", Self::RateLimit), ("x-ratelimit", Self::XRateLimit), ("both", Self::Both)];
        word(value, walk, &words, &[])
    }
}

impl Shape for Algorithm {
    fn kind() -> Kind {
        Kind::Leaf("algorithm", json!({ "enum": Self::ALL.iter().map(|alg| alg.as_str()).collect::<Vec<_>>() }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let words: Vec<_> = Self::ALL.iter().map(|alg| (alg.as_str(), *alg)).collect();
        word(value, walk, &words, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::read;

    #[test]
    fn a_word_is_matched_exactly_and_a_slip_gets_a_hint() {
        assert_eq!(read("\"api_key\""), Ok(AuthKind::ApiKey));
        let problem = read::<AuthKind>("\"apikey\"").unwrap_err().concat();
        assert!(problem.ends_with("did you mean `api_key`?"), "{problem}");
        assert!(read::<AuthKind>("\"JWT\"").is_err());
    }

    words! {
        /// Words of which one is for later.
        Fruit { Apple = "apple" } later ["pear"]
    }

    #[test]
    fn what_comes_later_is_said_to_come_later() {
        let problem = read::<Fruit>("\"pear\"").unwrap_err().concat();
        assert!(problem.ends_with("\"pear\" is not available in this version"), "{problem}");
    }
}
