//! Words of the token service.

use serde_json::json;

use super::word::{word, words};
use crate::config::walk::{Kind, Shape, Value, Walk};
use crate::jwt::Algorithm;
use crate::tokens::policy::{Encoding, Revokes, Timestamps, UnknownFields};

words! {
    /// What a token looks like.
    TokenFormat { Jwt = "jwt", Opaque = "opaque" }
}

words! {
    /// The alphabet of an opaque token.
    Alphabet { Base62 = "base62", Hex = "hex" }
}

impl From<Alphabet> for Encoding {
    fn from(word: Alphabet) -> Self {
        match word {
            Alphabet::Base62 => Self::Base62,
            Alphabet::Hex => Self::Hex,
        }
    }
}

words! {
    /// Who has the users.
    DirectoryType { Local = "local", Http = "http" }
}

words! {
    /// When a client's address is looked at.
    IpCheck { BeforePassword = "before_password", AfterPassword = "after_password" }
}

words! {
    /// What a grant does.
    GrantType {
        Password = "password",
        RefreshToken = "refresh_token",
        Renew = "renew",
        Delegate = "delegate",
        Redeem = "redeem",
        Logout = "logout",
        ClientCredentials = "client_credentials",
        Revoke = "revoke",
        Introspect = "introspect"
    }
}

impl GrantType {
    /// The word: the same as the action's.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// Whether it follows the standard to the letter: form bodies, its own answers and refusals.
    pub(crate) fn is_oauth(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::Revoke | Self::Introspect)
    }
}

words! {
    /// Methods of a grant. HEAD is not among them: it must never spend anything.
    GrantMethod { Post = "POST", Get = "GET", Put = "PUT", Patch = "PATCH", Delete = "DELETE" }
}

impl GrantMethod {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, method)| *method == self).map_or("", |(word, _)| word)
    }

    /// The method.
    pub(crate) fn method(self) -> http::Method {
        match self {
            Self::Post => http::Method::POST,
            Self::Get => http::Method::GET,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }
}

words! {
    /// How the application is asked.
    AskMethod { Get = "GET", Post = "POST", Put = "PUT", Patch = "PATCH" }
}

impl AskMethod {
    /// The method.
    pub(crate) fn method(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
        }
    }
}

words! {
    /// What a logout ends.
    RevokesWord { Session = "session", Token = "token", Itself = "self", Subject = "subject" }
}

impl From<RevokesWord> for Revokes {
    fn from(word: RevokesWord) -> Self {
        match word {
            RevokesWord::Session => Self::Session,
            RevokesWord::Token | RevokesWord::Itself => Self::Token,
            RevokesWord::Subject => Self::Subject,
        }
    }
}

words! {
    /// What becomes of members of a body that are no fields.
    UnknownWord { Ignore = "ignore", Refuse = "refuse" }
}

impl From<UnknownWord> for UnknownFields {
    fn from(word: UnknownWord) -> Self {
        match word {
            UnknownWord::Ignore => Self::Ignore,
            UnknownWord::Refuse => Self::Refuse,
        }
    }
}

impl Shape for Timestamps {
    fn kind() -> Kind {
        Kind::Leaf("word", json!({ "enum": ["rfc3339", "rfc3339_ms", "unix"] }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let words = [("rfc3339", Self::Rfc3339), ("rfc3339_ms", Self::Rfc3339Millis), ("unix", Self::Unix)];
        word(value, walk, &words, &[])
    }
}

/// How a realm signs. The others of RFC 7518 are for reading tokens of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SigningAlgorithm(pub(crate) Algorithm);

impl SigningAlgorithm {
    const ALL: [Algorithm; 8] = [
        Algorithm::EdDSA,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
    ];
}

impl Default for SigningAlgorithm {
    fn default() -> Self {
        Self(Algorithm::EdDSA)
    }
}

impl Shape for SigningAlgorithm {
    fn kind() -> Kind {
        Kind::Leaf("algorithm", json!({ "enum": Self::ALL.map(Algorithm::as_str) }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        word(value, walk, &Self::ALL.map(|algorithm| (algorithm.as_str(), Self(algorithm))), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::read;

    #[test]
    fn a_word_is_one_of_the_set_and_a_slip_is_told() {
        assert_eq!(read::<GrantType>("'refresh_token'"), Ok(GrantType::RefreshToken));
        let fault = read::<GrantType>("'refresh'").unwrap_err().concat();
        assert!(fault.contains("expected one of \"password\", \"refresh_token\""), "{fault}");
        assert!(read::<GrantMethod>("'HEAD'").is_err(), "HEAD must never spend");
        assert_eq!(read::<SigningAlgorithm>("'ES384'"), Ok(SigningAlgorithm(Algorithm::ES384)));
        assert!(read::<SigningAlgorithm>("'none'").is_err());
        assert!(read::<SigningAlgorithm>("'RS512'").is_err());
    }

    #[test]
    fn the_token_itself_has_two_names() {
        for word in ["'self'", "'token'"] {
            assert_eq!(read::<RevokesWord>(word).map(Revokes::from), Ok(Revokes::Token), "{word}");
        }
    }
}
