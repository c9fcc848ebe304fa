//! `[tokens]`

use std::time::Duration;

use toml::de::DeValue;

use crate::config::section::section;
use crate::config::value::issuing::{Alphabet, SigningAlgorithm, TokenFormat};
use crate::config::walk::{Item, Key, Kind, Shape, Slot, Value, Walk};
use crate::nearest::hint;

section! {
    /// The known keys of `[tokens]`.
    TokensKeys {
        /// The `iss` claim of the realm's tokens; `https://` and the first exact host where it is left out.
        optional issuer: String;
        /// The `aud` claim of the realm's tokens; the realm's name where it is left out.
        optional audience: String;
        /// Publishes the public keys at `/.well-known/jwks.json`, and where everything is at `/.well-known/oauth-authorization-server` (RFC 8414).
        default discovery: bool = "false";
    }
}

section! {
    /// `[tokens.KIND]`
    TokenKind {
        /// A signed token (RFC 7519), or random text that only the store knows the digest of.
        default format: TokenFormat = r#""jwt""#;
        /// Opaque tokens: digits and letters, or lower-case hexadecimal digits.
        default encoding: Alphabet = r#""base62""#;
        /// Opaque tokens: random bytes, from 16 to 64.
        default bytes: u32 = "32";
        /// The `token_use` claim, by which kinds are told apart; KIND where it is left out. `access` is what routes take as `jwt`, `refresh` what a `refresh_token` grant takes.
        optional r#use: String;
        /// JWTs: how they are signed. The keys are made and kept by the store.
        default alg: SigningAlgorithm = r#""EdDSA""#;
        /// JWTs: `typ` of the header, as it is written there; where it is left out, `at+jwt` for access tokens and `JWT` for others.
        optional typ: String;
        /// JWTs: whether the header names the key.
        default kid: bool = "true";
        /// How long a token lives, from 1s to 400d.
        required ttl: Duration;
        /// `1`: the token is spent by a `redeem` grant.
        optional uses: u32;
        /// `subject` and names of `bind`: a new token of a `delegate` grant ends the one before that has the same values. For opaque tokens and those with `uses = 1`.
        default one_per: Vec<Item<String>> = "[]";
        /// Access tokens: whether they end with their session, which every request asks for. Else only their time ends them.
        default revocable: bool = "true";
        /// The `aud` claim, where it is not that of `[tokens]`.
        optional audience: String;
        /// Refresh tokens: each use makes a new one; `false` keeps one until it expires.
        default rotate: bool = "true";
        /// Refresh tokens: for so long the one before is answered again, with the same successor. For JWTs whose signature is the same every time: HS*, RS256, EdDSA.
        default reuse_grace: Duration = r#""0s""#;
        /// Refresh tokens: for so long the one before is refused without more; afterwards its use ends the session. At least `reuse_grace`.
        default reuse_leeway: Duration = r#""10s""#;
        /// Refresh tokens, or access tokens of a realm that has none: the session ends after this time, however often it was renewed; no such end where it is left out.
        optional max_session: Duration;
    }
}

/// `[tokens]`: its known keys, and the kinds.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The known keys.
    pub(crate) keys: TokensKeys,
    /// Every other name, in the order of the file.
    pub(crate) kinds: Vec<(String, Slot<TokenKind>)>,
}

impl Tokens {
    const KNOWN: &'static [&'static str] = &["issuer", "audience", "discovery"];
}

impl Shape for Tokens {
    fn kind() -> Kind {
        TokensKeys::kind().open(Key {
            name: "KIND",
            required: false,
            default: None,
            kind: TokenKind::kind(),
            doc: String::from("A kind of tokens, by the name that grants, routes and templates use."),
        })
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let table = walk.table(value)?;
        let span = || value.span();
        let keys = TokensKeys {
            issuer: walk.optional(table, span(), "issuer"),
            audience: walk.optional(table, span(), "audience"),
            discovery: walk.default(table, span(), "discovery", "false"),
        };
        let mut kinds = Vec::new();
        for (name, entry) in table {
            let text: &str = name.get_ref();
            if Self::KNOWN.contains(&text) {
                continue;
            }
            if matches!(entry.get_ref(), DeValue::Table(_)) {
                kinds.push((text.to_owned(), walk.optional(table, span(), text)));
            } else {
                let hint = hint(text, Self::KNOWN.iter().copied());
                let problem = format!("unknown key; a kind of tokens is a table{hint}");
                walk.inside(text, |walk| walk.fault(name.span(), problem));
            }
        }
        Some(Self { keys, kinds })
    }
}
