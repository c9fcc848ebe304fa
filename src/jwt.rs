//! The only door to the JWT library: strict reading of compact JWS (RFC 7515), the key policy, verifying and signing.
//!
//! Only key types, `crypto::verify` and `crypto::sign` come from the library; its `decode` and `Validation` are banned
//! (clippy.toml): header policy and claims are judged here and in `gate::verify::jwt`, with our clock.

use serde_json::{Map, Value};

use crate::secret::Secret;

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
#[allow(missing_docs)]
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

    /// The registered name, byte for byte.
    pub fn by_name(_name: &str) -> Option<Self> {
        unimplemented!()
    }

    /// The registered name.
    pub fn as_str(self) -> &'static str {
        unimplemented!()
    }

    /// Its family.
    pub fn family(self) -> Family {
        unimplemented!()
    }
}

/// What is wrong with a token before its claims are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not three parts of strict base64url.
    Format,
    /// The header is no acceptable JSON object.
    Header,
    /// The header demands an extension.
    Crit,
    /// `alg` is none of ours.
    Alg,
    /// The payload is no JSON object, or has a member twice.
    Claims,
}

/// A protected header that passed the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The algorithm.
    pub alg: Algorithm,
    /// The key id.
    pub kid: Option<String>,
    /// The type, as written.
    pub typ: Option<String>,
}

/// A token taken apart; nothing in it is believed yet.
#[derive(Debug)]
pub struct Compact<'t> {
    /// The header.
    pub header: Header,
    /// The claims: an object without duplicate members, at any depth.
    pub claims: Map<String, Value>,
    signing_input: &'t str,
    signature: &'t str,
}

impl<'t> Compact<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// See [`Fault`]; header faults come before payload faults.
    pub fn parse(_token: &'t str) -> Result<Self, Fault> {
        unimplemented!()
    }

    /// Whether `key` made the signature by the header's algorithm.
    pub fn verified_by(&self, _key: &VerifyKey) -> bool {
        unimplemented!()
    }
}

/// Why a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// A stable word: metric label.
    pub why: &'static str,
    /// A sentence for people, without key material.
    pub text: String,
}

/// A key that passed the policy, with the algorithms that it may verify.
pub struct VerifyKey {}

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerifyKey")
    }
}

impl VerifyKey {
    /// An HMAC secret for `algorithms` (all HS*). Shorter than the longest hash, all one byte: refused (RFC 7518 section 3.2).
    ///
    /// # Errors
    /// The key policy.
    pub fn from_secret(_secret: &Secret, _algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        unimplemented!()
    }

    /// A public key as PEM (SPKI or PKCS#1), for `algorithms`.
    ///
    /// # Errors
    /// The key policy.
    pub fn from_pem(_pem: &[u8], _algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        unimplemented!()
    }

    /// The key id, if any.
    pub fn kid(&self) -> Option<&str> {
        unimplemented!()
    }

    /// Whether the key may verify signatures by `algorithm`.
    pub fn allows(&self, _algorithm: Algorithm) -> bool {
        unimplemented!()
    }
}

/// Keys to choose from.
#[derive(Debug)]
pub struct KeyRing {}

/// What is in a key set document: the usable keys, and why others are not.
#[derive(Debug)]
pub struct ParsedKeySet {
    /// The keys.
    pub ring: KeyRing,
    /// Key id (or position) and fault of each key that was skipped.
    pub skipped: Vec<(String, KeyFault)>,
}

impl KeyRing {
    /// One key, whatever the token's kid says.
    pub fn single(_key: VerifyKey) -> Self {
        unimplemented!()
    }

    /// A key set document (RFC 7517), key by key: those that do not pass the policy, are symmetric, or are for nothing in
    /// `algorithms` are skipped.
    ///
    /// # Errors
    /// The document is no key set at all.
    pub fn parse_set(_document: &[u8], _algorithms: &[Algorithm]) -> Result<ParsedKeySet, KeyFault> {
        unimplemented!()
    }

    /// The candidates for a token's header.
    pub fn find(&self, _kid: Option<&str>, _algorithm: Algorithm) -> Vec<std::sync::Arc<VerifyKey>> {
        unimplemented!()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Signs and verifies once with every algorithm: a build without a crypto back end fails at start, not at the first request.
///
/// # Errors
/// The name of the first algorithm that does not work.
pub fn self_test() -> Result<(), String> {
    unimplemented!()
}
