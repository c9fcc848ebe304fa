//! Making keys to sign with, and taking them up again from where they are kept.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents,
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::key::{Curve, Material};
use super::pem::{self, Private, PrivateKind};
use super::{Algorithm, Family, KeyFault, SigningKey, VerifyKey};
use crate::secret::{Secret, random_base62};

/// Bits of new RSA keys: `RS256` is what everybody can verify, and these last.
const RSA_SIZE: KeySize = KeySize::Rsa3072;

/// Characters of the name of a secret: long enough that no two are alike.
const SECRET_NAME: usize = 16;

/// A new key.
pub struct Generated {
    /// Its name: for key pairs the thumbprint of the public half (RFC 7638).
    pub kid: String,
    /// What is to be kept: the bytes of a secret, or PKCS#8 as PEM.
    pub private: Secret,
    /// The public half as a JSON Web Key with `kid`, `use` and `alg`; none for secrets.
    pub public: Option<Value>,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Makes a key for `algorithm` from the randomness of the operating system.
///
/// # Errors
/// The system has none to give.
pub fn generate(algorithm: Algorithm) -> Result<Generated, KeyFault> {
    let failed = |_| KeyFault::new("format", "the system made no key");
    let pkcs8: Zeroizing<Vec<u8>> = match algorithm.family() {
        Family::Hmac => {
            let mut bytes = vec![0; algorithm.hash_len()];
            getrandom::fill(&mut bytes).map_err(|_| KeyFault::new("format", "the system gives no randomness"))?;
            let kid =
                random_base62(SECRET_NAME).map_err(|_| KeyFault::new("format", "the system gives no randomness"))?;
            return Ok(Generated { kid: kid.to_string(), private: Secret::new(bytes), public: None });
        }
        Family::Rsa => {
            let pair = RsaKeyPair::generate(RSA_SIZE).map_err(failed)?;
            pair.as_der().map_err(failed)?.as_ref().to_vec().into()
        }
        Family::Ec => {
            let pair = EcdsaKeyPair::generate(curve_of(algorithm)).map_err(failed)?;
            pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec().into()
        }
        Family::Ed => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            pair.to_pkcs8().map_err(failed)?.as_ref().to_vec().into()
        }
    };
    let private = to_pem(&pkcs8);
    let (kid, public) = public_jwk(&public_half(private.expose())?, algorithm);
    Ok(Generated { kid, private, public: Some(public) })
}

/// Takes up a key that was made by [`generate`]: what signs, and what verifies. The public half is computed from the private
/// one: what stands beside it could be anybody's.
///
/// # Errors
/// It is no key for `algorithm`.
pub fn take_up(private: &Secret, algorithm: Algorithm) -> Result<(SigningKey, VerifyKey), KeyFault> {
    if algorithm.family() == Family::Hmac {
        return Ok((SigningKey::from_secret(private)?, VerifyKey::from_secret(private, &[algorithm])?));
    }
    let material = public_half(private.expose())?;
    Ok((SigningKey::from_pem(private.expose())?, VerifyKey::from_material(None, &material, &[algorithm])?))
}

fn curve_of(algorithm: Algorithm) -> &'static EcdsaSigningAlgorithm {
    if algorithm == Algorithm::ES384 { &ECDSA_P384_SHA384_FIXED_SIGNING } else { &ECDSA_P256_SHA256_FIXED_SIGNING }
}

fn to_pem(pkcs8: &[u8]) -> Secret {
    let body = Zeroizing::new(BASE64.encode(pkcs8));
    let mut text = Vec::with_capacity(body.len() + 64);
    text.extend_from_slice(b"-----BEGIN PRIVATE KEY-----\n");
    text.extend_from_slice(body.as_bytes());
    text.extend_from_slice(b"\n-----END PRIVATE KEY-----\n");
    Secret::new(text)
}

/// The public half of a private key.
pub(super) fn public_half(pem: &[u8]) -> Result<Material, KeyFault> {
    let malformed = |_| KeyFault::new("format", "the private key is malformed, or its parts do not belong together");
    let Private { kind, document, key } = pem::private(pem)?;
    Ok(match kind {
        PrivateKind::Rsa => {
            let pair = RsaKeyPair::from_der(&key).map_err(malformed)?;
            let numbers = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            Material::rsa(&numbers.n, &numbers.e)
        }
        PrivateKind::Ec(curve) => {
            let signing = match curve {
                Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
                Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            };
            let pair = EcdsaKeyPair::from_pkcs8(signing, &document).map_err(malformed)?;
            Material::Ec { curve, point: pair.public_key().as_ref().to_vec() }
        }
        PrivateKind::Ed => {
            let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(malformed)?;
            Material::Ed { x: pair.public_key().as_ref().to_vec() }
        }
    })
}

/// The members of a public key's JSON Web Key that make it up, in the order of RFC 7638.
fn jwk_members(material: &Material) -> Map<String, Value> {
    let text = |bytes: &[u8]| json!(BASE64URL_NOPAD.encode(bytes));
    let members = |members: &[(&str, Value)]| members.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    match material {
        Material::Rsa { modulus, exponent } => {
            members(&[("e", text(exponent)), ("kty", json!("RSA")), ("n", text(modulus))])
        }
        Material::Ec { curve, point } => {
            let (x, y) = point.get(1..).unwrap_or_default().split_at(curve.coordinate_len());
            members(&[("crv", json!(curve.name())), ("kty", json!("EC")), ("x", text(x)), ("y", text(y))])
        }
        Material::Ed { x } => members(&[("crv", json!("Ed25519")), ("kty", json!("OKP")), ("x", text(x))]),
    }
}

/// The name of a public key, and its JSON Web Key with `kid`, `use` and `alg`.
pub(super) fn public_jwk(material: &Material, algorithm: Algorithm) -> (String, Value) {
    let members = jwk_members(material);
    let kid = thumbprint(&members);
    let mut public = Map::new();
    public.insert("kid".to_owned(), json!(kid));
    public.insert("use".to_owned(), json!("sig"));
    public.insert("alg".to_owned(), json!(algorithm.as_str()));
    public.extend(members);
    (kid, Value::Object(public))
}

/// RFC 7638 section 3: SHA-256 of the required members in lexical order without blanks.
fn thumbprint(jwk: &Map<String, Value>) -> String {
    let text = Value::Object(jwk.clone()).to_string();
    BASE64URL_NOPAD.encode(crate::secret::CredentialDigest::of(text.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::{Compact, KeyRing, sign};

    #[test]
    fn a_new_key_signs_what_it_verifies_and_its_public_half_verifies_it_too() {
        for algorithm in
            [Algorithm::HS256, Algorithm::HS512, Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
        {
            let made = generate(algorithm).unwrap();
            let (signing, verify) = take_up(&made.private, algorithm).unwrap();
            let token = sign(&format!("{{\"alg\":\"{algorithm}\"}}"), "{}", &signing, algorithm).unwrap();
            let token = Compact::parse(&token).unwrap();
            assert!(token.verified_by(&verify), "{algorithm}");
            assert_eq!(made.public.is_none(), algorithm.family() == Family::Hmac);
            if let Some(public) = made.public {
                assert!(["d", "p", "q", "k"].iter().all(|secret| public.get(secret).is_none()), "{public}");
                let set = json!({ "keys": [public] }).to_string();
                let set = KeyRing::parse_set(set.as_bytes(), &[algorithm]).unwrap();
                assert!(set.skipped.is_empty(), "{:?}", set.skipped);
                let keys = set.ring.find(Some(&made.kid), algorithm).unwrap();
                assert!(keys.iter().any(|key| token.verified_by(key)), "{algorithm}");
            }
            let (_, other) = take_up(&generate(algorithm).unwrap().private, algorithm).unwrap();
            assert!(!token.verified_by(&other), "{algorithm}");
            assert!(take_up(&made.private, Algorithm::PS512).is_err() || algorithm == Algorithm::RS256, "{algorithm}");
        }
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037 appendix A.3.
        let jwk = json!({"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        assert_eq!(thumbprint(jwk.as_object().unwrap()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
