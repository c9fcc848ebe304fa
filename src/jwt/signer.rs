//! A key that signs on the way of requests: taken up once, and by fast algorithms only. The signature of an RSA key takes
//! about a millisecond, for which a thread that serves others would stand still.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::generate::{public_half, public_jwk};
use super::key::{Curve, Material};
use super::pem::{self, Private};
use super::{Algorithm, KeyFault, VerifyKey};

/// The `typ` of what the gateway asserts to upstreams. No issuer's token may have it: an assertion is no credential.
pub const ASSERTION_TYP: &str = "portcullis-assertion+jwt";

/// What to give instead of a key that is of the wrong kind.
const GIVE: &str = "give an EC key on P-256 (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`) or an \
                    Ed25519 key (`openssl genpkey -algorithm ED25519`)";

/// A private key that has been taken up, with the header of everything that it signs.
pub struct Signer {
    pair: Pair,
    kid: Box<str>,
    /// The encoded header with the dot behind it.
    head: Box<str>,
    public: Value,
}

enum Pair {
    Ec(EcdsaKeyPair, SystemRandom),
    Ed(Ed25519KeyPair),
    #[cfg(test)]
    Broken,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Signer {
    /// A private key as PEM in PKCS#8, EC on P-256 (ES256) or Ed25519 (EdDSA), for tokens of this type.
    ///
    /// # Errors
    /// What is wrong with the key, and what to give instead.
    pub fn from_pem(pem: &[u8], typ: &str) -> Result<Self, KeyFault> {
        let malformed =
            |_| KeyFault::new("format", "the private key is malformed, or its parts do not belong together");
        let Private { document, .. } = pem::private(pem)?;
        let material = public_half(pem)?;
        let algorithm = fast(&material)?;
        VerifyKey::from_material(None, &material, &[algorithm])?;
        let pair = match material {
            Material::Ed { .. } => Pair::Ed(Ed25519KeyPair::from_pkcs8(&document).map_err(malformed)?),
            Material::Ec { .. } | Material::Rsa { .. } => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document).map_err(malformed)?;
                Pair::Ec(pair, SystemRandom::new())
            }
        };
        let (kid, public) = public_jwk(&material, algorithm);
        let head = json!({ "alg": algorithm.as_str(), "typ": typ, "kid": kid }).to_string();
        let head = BASE64URL_NOPAD.encode(head.as_bytes()) + ".";
        Ok(Self { pair, kid: kid.into(), head: head.into(), public })
    }

    /// The thumbprint of the public half (RFC 7638), which every header names.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as a JSON Web Key.
    pub fn public(&self) -> &Value {
        &self.public
    }

    /// The compact serialisation of `claims`, which is JSON.
    ///
    /// # Errors
    /// The cryptography refused.
    pub fn sign(&self, claims: &[u8]) -> Result<String, KeyFault> {
        let room = self.head.len() + BASE64URL_NOPAD.encode_len(claims.len()) + 1 + BASE64URL_NOPAD.encode_len(64);
        let mut token = String::with_capacity(room);
        token.push_str(&self.head);
        BASE64URL_NOPAD.encode_append(claims, &mut token);
        let refused = || KeyFault::new("format", "the cryptography refused to sign");
        let signature = match &self.pair {
            Pair::Ec(pair, random) => pair.sign(random, token.as_bytes()).map_err(|_| refused())?,
            Pair::Ed(pair) => pair.sign(token.as_bytes()),
            #[cfg(test)]
            Pair::Broken => return Err(refused()),
        };
        token.push('.');
        BASE64URL_NOPAD.encode_append(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// One that never signs.
    #[cfg(test)]
    pub(crate) fn broken() -> Self {
        Self { pair: Pair::Broken, kid: "broken".into(), head: ".".into(), public: Value::Null }
    }
}

/// A public key as PEM, as a JSON Web Key for the same document: one that has signed before, or will.
///
/// # Errors
/// What is wrong with the key, and what to give instead.
pub fn public_key(pem: &[u8]) -> Result<Value, KeyFault> {
    let material = pem::public(pem)?;
    let algorithm = fast(&material)?;
    VerifyKey::from_material(None, &material, &[algorithm])?;
    Ok(public_jwk(&material, algorithm).1)
}

fn fast(material: &Material) -> Result<Algorithm, KeyFault> {
    match material {
        Material::Ed { .. } => Ok(Algorithm::EdDSA),
        Material::Ec { curve: Curve::P256, .. } => Ok(Algorithm::ES256),
        Material::Ec { curve: Curve::P384, .. } => {
            Err(KeyFault::new("curve", format!("a key on P-384 is too slow to sign for every request; {GIVE}")))
        }
        Material::Rsa { .. } => {
            Err(KeyFault::new("kty", format!("an RSA key is too slow to sign for every request; {GIVE}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::{Compact, KeyRing, test_keys};

    #[test]
    fn what_is_signed_is_verified_by_the_published_half_and_names_it() {
        for (pair, algorithm) in [(test_keys::p256(), Algorithm::ES256), (test_keys::ed25519(), Algorithm::EdDSA)] {
            let signer = Signer::from_pem(pair.private_pem().as_bytes(), "x+jwt").unwrap();
            let token = signer.sign(br#"{"sub":"a"}"#).unwrap();
            let set = json!({ "keys": [signer.public()] }).to_string();
            let set = KeyRing::parse_set(set.as_bytes(), &[algorithm]).unwrap();
            assert!(set.skipped.is_empty(), "{:?}", set.skipped);
            let token = Compact::parse(&token).unwrap();
            assert_eq!((token.header.alg, token.header.typ.as_deref()), (algorithm, Some("x+jwt")));
            assert_eq!(token.header.kid.as_deref(), Some(signer.kid()));
            assert!(set.ring.find(Some(signer.kid()), algorithm).unwrap().iter().all(|key| token.verified_by(key)));
            assert_eq!(&public_key(pair.public_pem().as_bytes()).unwrap(), signer.public());
            assert_eq!(signer.public().get("d"), None);
        }
    }

    #[test]
    fn a_key_that_would_hold_requests_up_is_refused_with_what_to_give() {
        for (pair, why) in [(test_keys::rsa(), "kty"), (test_keys::p384(), "curve")] {
            let private = Signer::from_pem(pair.private_pem().as_bytes(), "x").unwrap_err();
            let public = public_key(pair.public_pem().as_bytes()).unwrap_err();
            assert_eq!((private.why, public.why), (why, why));
            assert!(private.text.contains("openssl genpkey"), "{private}");
        }
        let told = Signer::from_pem(test_keys::p256().public_pem().as_bytes(), "x").unwrap_err();
        assert!(told.text.contains("PRIVATE KEY"), "{told}");
    }

    #[test]
    fn a_signer_is_not_printed() {
        let signer = Signer::from_pem(test_keys::p256().private_pem().as_bytes(), "x").unwrap();
        assert_eq!(format!("{signer:?}"), format!("Signer {{ kid: {:?}, .. }}", signer.kid()));
    }
}
