//! The only door to the JWT library: strict reading of compact JWS (RFC 7515), the key policy, verifying and signing.
//!
//! Only key types, `crypto::verify` and `crypto::sign` come from the library; its `decode` and `Validation` are banned
//! (clippy.toml): header policy and claims are judged here and in `gate::verify::jwt`, with our clock. The library
//! believes keys as they are, so every key passes the policy of `key` before it is one. Whose token it is and
//! whether its claims hold does not belong here.

mod compact;
mod generate;
mod hmac;
pub(crate) mod json;
mod key;
mod keyset;
mod own;
mod pem;
mod self_test;
mod sign;
mod signer;
#[cfg(test)]
pub(crate) mod test_keys;
mod weak;

pub use compact::{Compact, Fault, Header};
pub use generate::{Generated, generate, take_up};
pub use hmac::looks_encoded;
pub use key::VerifyKey;
pub use keyset::{KeyRing, NoKey, ParsedKeySet};
pub use own::{OwnKey, OwnKeys};
pub use self_test::self_test;
pub use sign::{SigningKey, sign};
pub use signer::{ASSERTION_TYP, Signer, public_key};

/// Signature algorithms (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the documentation
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Algorithms that share keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the documentation
pub enum Family {
    Hmac,
    Rsa,
    Ec,
    Ed,
}

impl Algorithm {
    /// All, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The algorithm with this registered name, byte for byte. `none` in any spelling is not one.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.as_str() == name)
    }

    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Its family.
    pub fn family(self) -> Family {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => Family::Hmac,
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => Family::Rsa,
            Self::ES256 | Self::ES384 => Family::Ec,
            Self::EdDSA => Family::Ed,
        }
    }

    /// Length of the hash: the least length of an HMAC secret (RFC 7518 section 3.2).
    fn hash_len(self) -> usize {
        match self {
            Self::HS256 | Self::RS256 | Self::PS256 | Self::ES256 => 32,
            Self::HS384 | Self::RS384 | Self::PS384 | Self::ES384 => 48,
            Self::HS512 | Self::RS512 | Self::PS512 | Self::EdDSA => 64,
        }
    }

    /// Length of a signature; none where the key decides.
    fn signature_len(self) -> Option<usize> {
        match self.family() {
            Family::Hmac => Some(self.hash_len()),
            Family::Ec => Some(2 * self.hash_len()),
            Family::Ed => Some(64),
            Family::Rsa => None,
        }
    }

    fn in_library(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Theirs;
        match self {
            Self::HS256 => Theirs::HS256,
            Self::HS384 => Theirs::HS384,
            Self::HS512 => Theirs::HS512,
            Self::RS256 => Theirs::RS256,
            Self::RS384 => Theirs::RS384,
            Self::RS512 => Theirs::RS512,
            Self::PS256 => Theirs::PS256,
            Self::PS384 => Theirs::PS384,
            Self::PS512 => Theirs::PS512,
            Self::ES256 => Theirs::ES256,
            Self::ES384 => Theirs::ES384,
            Self::EdDSA => Theirs::EdDSA,
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// A stable word, metric label: `size` `exponent` `curve` `use` `key_ops` `alg` `kty` `kid` `format` `symmetric`
    /// `weak` `duplicate`.
    pub why: &'static str,
    /// A sentence for people, without key material.
    pub text: String,
}

impl KeyFault {
    /// The name is no algorithm of ours.
    pub fn unknown_algorithm(name: &str) -> Self {
        Self::new("alg", format!("{name:?} is no signature algorithm"))
    }

    /// What was signed is of no use.
    pub fn unsigned(text: &str) -> Self {
        Self::new("format", text)
    }

    fn new(why: &'static str, text: impl Into<String>) -> Self {
        Self { why, text: text.into() }
    }
}

impl std::fmt::Display for KeyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_known_by_its_exact_name_only() {
        for &algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::by_name(algorithm.as_str()), Some(algorithm));
            assert_eq!(Algorithm::by_name(&algorithm.as_str().to_lowercase()), None);
        }
        for other in ["", "none", "None", "NONE", "nOnE", "ES512", "ES256K", "Ed25519", "HS256 ", "RSA-OAEP"] {
            assert_eq!(Algorithm::by_name(other), None, "{other:?}");
        }
    }
}
