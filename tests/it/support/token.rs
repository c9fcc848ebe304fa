//! Tokens as tests need them: good by default, and spoilt in exactly one way at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::BASE64URL_NOPAD;
use portcullis::clock::UnixMillis;
use serde_json::{Map, Value, json};

use super::NOW;
use super::keys::{Alg, Key};

/// Everything that makes an issuer's tokens: what they say and what signs them.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) alg: Alg,
    pub(crate) kid: Option<String>,
    pub(crate) key: Key,
}

impl Signer {
    /// Signs by the key's usual algorithm, without a key id, for the audience `api`.
    pub(crate) fn new(issuer: &str, key: Key) -> Self {
        Self { issuer: issuer.to_owned(), audience: "api".to_owned(), alg: key.alg(), kid: None, key }
    }

    pub(crate) fn by(mut self, alg: Alg) -> Self {
        self.alg = alg;
        self
    }

    pub(crate) fn kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.to_owned());
        self
    }

    /// A good token of `alice`.
    pub(crate) fn token(&self) -> Token {
        Token::for_issuer(self)
    }
}

/// Whoever issues tokens.
pub(crate) trait Issues {
    /// What the issuer signs with now.
    fn signer(&self) -> Signer;
}

impl Issues for Signer {
    fn signer(&self) -> Signer {
        self.clone()
    }
}

/// A token in the making.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    key: Key,
    alg: Alg,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<Vec<u8>>,
    raw_payload: Option<Vec<u8>>,
}

impl Token {
    /// A token that every gateway which believes `issuer` has to take: of `alice`, from now, for five minutes.
    pub(crate) fn for_issuer(issuer: &impl Issues) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let signer = issuer.signer();
        let object = |value: Value| match value {
            Value::Object(members) => members,
            _ => unreachable!("an object was written"),
        };
        let mut header = object(json!({"alg": signer.alg.name(), "typ": "JWT"}));
        if let Some(kid) = signer.kid {
            header.insert("kid".to_owned(), kid.into());
        }
        let claims = object(json!({
            "iss": signer.issuer,
            "aud": signer.audience,
            "sub": "alice",
            "iat": NOW.secs(),
            "exp": NOW.secs() + 300,
            "jti": format!("t-{}", SERIAL.fetch_add(1, Ordering::Relaxed)),
        }));
        Self { key: signer.key, alg: signer.alg, header, claims, raw_header: None, raw_payload: None }
    }

    /// Sets a claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.shift_remove(name);
        self
    }

    /// Sets a header member.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a header member out.
    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.header.shift_remove(name);
        self
    }

    /// Signs these bytes instead of a header.
    pub(crate) fn raw_header(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.raw_header = Some(text.into());
        self
    }

    /// Signs these bytes instead of claims.
    pub(crate) fn raw_payload(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.raw_payload = Some(text.into());
        self
    }

    /// `sub`.
    pub(crate) fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// `scope`, joined by blanks.
    pub(crate) fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Issued at `now`, for five minutes.
    pub(crate) fn at(self, now: UnixMillis) -> Self {
        self.claim("iat", now.secs()).claim("exp", now.secs() + 300)
    }

    /// `exp` so many seconds from now.
    pub(crate) fn expires_in(self, secs: i64) -> Self {
        self.claim("exp", NOW.secs() + secs)
    }

    /// Signs with somebody else's key; the header stays.
    pub(crate) fn signed_with(mut self, key: &Key, alg: Alg) -> Self {
        self.key = key.clone();
        self.alg = alg;
        self
    }

    /// The claims as they are now.
    pub(crate) fn claims(&self) -> Value {
        Value::Object(self.claims.clone())
    }

    /// The compact form.
    pub(crate) fn sign(&self) -> String {
        let header =
            self.raw_header.clone().unwrap_or_else(|| Value::Object(self.header.clone()).to_string().into_bytes());
        let payload =
            self.raw_payload.clone().unwrap_or_else(|| Value::Object(self.claims.clone()).to_string().into_bytes());
        self.key.sign_by(self.alg, header, payload)
    }

    /// The compact form with an empty signature, the dot included.
    pub(crate) fn unsigned(&self) -> String {
        let token = self.sign();
        token[..=token.rfind('.').expect("three parts")].to_owned()
    }
}

/// The three parts of a compact JWS as written.
pub(crate) fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().expect("three parts")
}

/// The signature's bytes.
pub(crate) fn signature(token: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(parts(token)[2].as_bytes()).expect("base64url")
}

/// The token with another signature.
pub(crate) fn with_signature(token: &str, signature: &[u8]) -> String {
    let [header, payload, _] = parts(token);
    format!("{header}.{payload}.{}", BASE64URL_NOPAD.encode(signature))
}

/// The token with one bit of its signature turned over.
pub(crate) fn flip_signature_bit(token: &str, bit: usize) -> String {
    let mut signature = signature(token);
    let bytes = signature.len();
    signature[bit / 8 % bytes] ^= 1 << (bit % 8);
    with_signature(token, &signature)
}

/// A base64url text that decodes to the same bytes for a careless reader: unused trailing bits are set. None when the
/// text has none.
pub(crate) fn with_stray_bits(part: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if part.len().is_multiple_of(4) {
        return None;
    }
    let (&last, rest) = part.as_bytes().split_last()?;
    let value = ALPHABET.iter().position(|&c| c == last)?;
    let mut text = String::from_utf8(rest.to_vec()).ok()?;
    text.push(char::from(ALPHABET[value | 1]));
    (text != part).then_some(text)
}

/// An ECDSA signature `r || s` in the form that X.509 uses: a DER sequence of two integers.
pub(crate) fn ecdsa_to_der(signature: &[u8]) -> Vec<u8> {
    fn integer(bytes: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = bytes.iter().copied().skip_while(|&b| b == 0).collect();
        if bytes.first().is_none_or(|b| b & 0x80 != 0) {
            bytes.insert(0, 0);
        }
        [vec![0x02, bytes.len() as u8], bytes].concat()
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, body.len() as u8], body].concat()
}

/// The other valid ECDSA signature of the same message, `(r, n - s)`: everybody can compute it.
pub(crate) fn ecdsa_twin(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let twin = subtract(&curve_order(s.len()), s);
    [r.to_vec(), twin].concat()
}

/// The order of the base point of P-256 (32 bytes) or P-384 (48 bytes), big-endian.
pub(crate) fn curve_order(len: usize) -> Vec<u8> {
    let hex = match len {
        32 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        48 => "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        _ => panic!("no curve has {len} bytes"),
    };
    data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex")
}

fn subtract(from: &[u8], what: &[u8]) -> Vec<u8> {
    let mut difference = vec![0; from.len()];
    let mut borrow = false;
    for i in (0..from.len()).rev() {
        let (value, first) = from[i].overflowing_sub(what[i]);
        let (value, second) = value.overflowing_sub(u8::from(borrow));
        difference[i] = value;
        borrow = first || second;
    }
    difference
}
