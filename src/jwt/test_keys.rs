//! Key pairs for unit tests: made once a run, so that none has to be kept in the source.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents,
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

use super::SigningKey;

/// A key pair in every form that tests want.
pub(crate) struct Pair {
    pub(crate) signing: SigningKey,
    /// RSAPublicKey, uncompressed point, or the 32 bytes.
    pub(crate) public: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pkcs8: Vec<u8>,
    jwk: Value,
}

impl Pair {
    fn new(public: &[u8], spki: &[u8], pkcs8: &[u8], jwk: Value) -> Self {
        let signing = SigningKey::from_pem(pem("PRIVATE KEY", pkcs8).as_bytes()).unwrap();
        Self { signing, public: public.to_vec(), spki: spki.to_vec(), pkcs8: pkcs8.to_vec(), jwk }
    }

    pub(crate) fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki)
    }

    pub(crate) fn private_pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }
}

/// The public part as a JWK without `kid`, `use` and `alg`.
pub(crate) fn jwk(pair: &Pair) -> Value {
    pair.jwk.clone()
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(crate) fn rsa() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(make_rsa)
}

/// Another RSA key than [`rsa`].
pub(crate) fn rsa_other() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(make_rsa)
}

fn make_rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let numbers = RsaPublicKeyComponents::<Vec<u8>>::from(public);
    let jwk = json!({"kty": "RSA", "n": BASE64URL_NOPAD.encode(&numbers.n), "e": BASE64URL_NOPAD.encode(&numbers.e)});
    Pair::new(public.as_ref(), public.as_der().unwrap().as_ref(), pair.as_der().unwrap().as_ref(), jwk)
}

pub(crate) fn p256() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| make_ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"))
}

pub(crate) fn p384() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| make_ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"))
}

fn make_ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> Pair {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let public = pair.public_key();
    let (x, y) = public.as_ref()[1..].split_at((public.as_ref().len() - 1) / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y)});
    Pair::new(public.as_ref(), public.as_der().unwrap().as_ref(), pair.to_pkcs8v1().unwrap().as_ref(), jwk)
}

pub(crate) fn ed25519() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = pair.public_key();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(public.as_ref())});
        Pair::new(public.as_ref(), public.as_der().unwrap().as_ref(), pair.to_pkcs8().unwrap().as_ref(), jwk)
    })
}
