//! Signing. The header goes out byte for byte as it is given: some clients compare it.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::EncodingKey;

use super::hmac::check_secret;
use super::key::Curve;
use super::pem::{self, Private, PrivateKind};
use super::{Algorithm, Family, KeyFault};
use crate::secret::Secret;

/// A key that makes signatures.
pub struct SigningKey {
    key: EncodingKey,
    algorithms: Vec<Algorithm>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// An HMAC secret; its length decides which of HS256, HS384 and HS512 it may serve.
    ///
    /// # Errors
    /// The key policy, as for [`super::VerifyKey::from_secret`].
    pub fn from_secret(secret: &Secret) -> Result<Self, KeyFault> {
        let bytes = secret.expose();
        check_secret(bytes, Algorithm::HS256.hash_len())?;
        let algorithms = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        let algorithms = algorithms.into_iter().filter(|algorithm| algorithm.hash_len() <= bytes.len()).collect();
        Ok(Self { key: EncodingKey::from_secret(bytes), algorithms })
    }

    /// A private key as PEM in PKCS#8: RSA of 2048 to 8192 bits, EC on P-256 or P-384, Ed25519.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFault> {
        let Private { kind, document, key: inner } = pem::private(pem)?;
        let malformed =
            |_| KeyFault::new("format", "the private key is malformed, or its parts do not belong together");
        let (key, algorithms) = match kind {
            PrivateKind::Rsa => {
                let pair = RsaKeyPair::from_der(&inner).map_err(malformed)?;
                if !(256..=1024).contains(&pair.public_modulus_len()) {
                    return Err(KeyFault::new("size", "an RSA key has 2048 to 8192 bits"));
                }
                let rsa = Algorithm::ALL.iter().copied().filter(|algorithm| algorithm.family() == Family::Rsa);
                (EncodingKey::from_rsa_der(&inner), rsa.collect())
            }
            PrivateKind::Ec(curve) => {
                let (algorithm, signing) = match curve {
                    Curve::P256 => (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED_SIGNING),
                    Curve::P384 => (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED_SIGNING),
                };
                EcdsaKeyPair::from_pkcs8(signing, &document).map_err(malformed)?;
                (EncodingKey::from_ec_der(&document), vec![algorithm])
            }
            PrivateKind::Ed => {
                Ed25519KeyPair::from_pkcs8(&document).map_err(malformed)?;
                (EncodingKey::from_ed_der(&document), vec![Algorithm::EdDSA])
            }
        };
        Ok(Self { key, algorithms })
    }

    /// Whether the key may sign by `algorithm`.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// The compact serialisation of `claims_json` under `header_json`, both exactly as given; that the header says `alg` is
/// the caller's care.
///
/// # Errors
/// `alg` when the key does not serve the algorithm, `format` when the back end refuses the key.
pub fn sign(header_json: &str, claims_json: &str, key: &SigningKey, alg: Algorithm) -> Result<String, KeyFault> {
    if !key.allows(alg) {
        return Err(KeyFault::new("alg", format!("the signing key does not serve {alg}")));
    }
    let mut token = BASE64URL_NOPAD.encode(header_json.as_bytes());
    token.push('.');
    BASE64URL_NOPAD.encode_append(claims_json.as_bytes(), &mut token);
    let signature = jsonwebtoken::crypto::sign(token.as_bytes(), &key.key, alg.in_library())
        .map_err(|_| KeyFault::new("format", "the signing key was refused by the cryptography"))?;
    token.push('.');
    token.push_str(&signature);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::test_keys::{self, Pair};
    use crate::jwt::{Compact, VerifyKey};

    fn pairs() -> [&'static Pair; 4] {
        [test_keys::rsa(), test_keys::p256(), test_keys::p384(), test_keys::ed25519()]
    }

    #[test]
    fn what_is_signed_verifies_by_the_public_key_and_by_no_other() {
        for pair in pairs() {
            for &algorithm in &pair.signing.algorithms {
                let token = sign(&format!("{{\"alg\":\"{algorithm}\"}}"), "{}", &pair.signing, algorithm).unwrap();
                let token = Compact::parse(&token).unwrap();
                for other in pairs() {
                    let key = VerifyKey::from_pem(other.public_pem().as_bytes(), Algorithm::ALL).unwrap();
                    assert_eq!(token.verified_by(&key), std::ptr::eq(pair, other), "{algorithm}");
                }
            }
        }
    }

    #[test]
    fn every_change_of_a_token_breaks_its_signature() {
        let secret = Secret::new((0..64).collect());
        let key = VerifyKey::from_secret(&secret, &[Algorithm::HS256]).unwrap();
        let signing = SigningKey::from_secret(&secret).unwrap();
        let token = sign(r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"sub":"a"}"#, &signing, Algorithm::HS256).unwrap();
        assert!(token.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."), "{token}");
        assert!(Compact::parse(&token).unwrap().verified_by(&key));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(!Compact::parse(&changed).is_ok_and(|token| token.verified_by(&key)), "{at}");
        }
    }

    #[test]
    fn signatures_of_another_form_or_length_are_refused() {
        let pair = test_keys::p256();
        let key = VerifyKey::from_pem(pair.public_pem().as_bytes(), Algorithm::ALL).unwrap();
        let token = sign(r#"{"alg":"ES256"}"#, "{}", &pair.signing, Algorithm::ES256).unwrap();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let fixed = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let verifies = |signature: &[u8]| {
            let token = format!("{input}.{}", BASE64URL_NOPAD.encode(signature));
            Compact::parse(&token).unwrap().verified_by(&key)
        };
        assert!(verifies(&fixed));
        let integer = |number: &[u8]| [&[2, 33, 0][..], number].concat();
        let body = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
        let der = [&[0x30, 70][..], &body].concat();
        let (zeros, mut order) = ([0; 64], fixed.clone());
        order[..32].fill(0xff);
        let longer = [&[0], fixed.as_slice()].concat();
        let halves_zero = [[&[0; 32], &fixed[32..]].concat(), [&fixed[..32], &[0; 32]].concat()];
        for bad in [&der, &fixed[..63], &longer, &[], zeros.as_slice(), &order, &halves_zero[0], &halves_zero[1]] {
            assert!(!verifies(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_key_signs_by_its_own_algorithms_only() {
        let short = SigningKey::from_secret(&Secret::new((0..32).collect())).unwrap();
        assert!(sign("{}", "{}", &short, Algorithm::HS256).is_ok());
        for algorithm in [Algorithm::HS384, Algorithm::RS256, Algorithm::EdDSA] {
            assert_eq!(sign("{}", "{}", &short, algorithm).unwrap_err().why, "alg");
        }
        assert_eq!(SigningKey::from_secret(&Secret::new(vec![1; 31])).unwrap_err().why, "size");
        assert_eq!(SigningKey::from_secret(&Secret::new(vec![1; 64])).unwrap_err().why, "weak");
        assert_eq!(sign("{}", "{}", &test_keys::p256().signing, Algorithm::ES384).unwrap_err().why, "alg");
    }

    #[test]
    fn a_private_key_is_taken_in_its_plain_standard_form_only() {
        let told = |text: &str| SigningKey::from_pem(text.as_bytes()).unwrap_err().text;
        assert!(told(&test_keys::pem("EC PRIVATE KEY", b"x")).contains("pkcs8"));
        assert!(told(&test_keys::pem("ENCRYPTED PRIVATE KEY", b"x")).contains("encrypted"));
        assert!(told(&test_keys::p256().public_pem()).contains("PRIVATE KEY"));
        assert!(!told(&test_keys::pem("PRIVATE KEY", b"x")).is_empty());
    }

    #[test]
    fn a_signing_key_is_not_printed() {
        let key = SigningKey::from_secret(&Secret::new((0..32).collect())).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { algorithms: [HS256], .. }");
    }
}
