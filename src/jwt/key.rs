//! The key policy: what a key must be before a signature by it means anything (RFC 7518 section 3, RFC 8725 sections
//! 3.4 and 3.5). Every key, wherever it comes from, passes here.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::DecodingKey;

use super::hmac::check_secret;
use super::{Algorithm, Family, KeyFault, pem, weak};
use crate::secret::{CredentialDigest, Secret};

/// A key that passed the policy, with the algorithms that it may verify.
pub struct VerifyKey {
    kid: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    family: Family,
    key: DecodingKey,
    fingerprint: CredentialDigest,
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl VerifyKey {
    /// An HMAC secret for `algorithms` (all HS*). Shorter than the longest hash, all one byte: refused (RFC 7518 section 3.2).
    ///
    /// # Errors
    /// The key policy.
    pub fn from_secret(secret: &Secret, algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        let bytes = secret.expose();
        let needed = algorithms.iter().map(|algorithm| algorithm.hash_len()).max().unwrap_or(usize::MAX);
        if needed == usize::MAX || algorithms.iter().any(|algorithm| algorithm.family() != Family::Hmac) {
            return Err(KeyFault::new("alg", "a secret serves HS256, HS384 and HS512 only"));
        }
        check_secret(bytes, needed)?;
        Ok(Self {
            kid: None,
            algorithms: algorithms.to_vec(),
            family: Family::Hmac,
            key: DecodingKey::from_secret(bytes),
            fingerprint: CredentialDigest::of(bytes),
        })
    }

    /// A public key as PEM (SPKI or PKCS#1), for those of `algorithms` that its type and curve can serve.
    ///
    /// # Errors
    /// The key policy; `alg` when it can serve none of them.
    pub fn from_pem(pem: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        Self::from_material(None, &pem::public(pem)?, algorithms)
    }

    pub(super) fn from_material(
        kid: Option<&str>,
        material: &Material,
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyFault> {
        let key = material.check()?;
        let algorithms: Vec<_> = algorithms.iter().copied().filter(|&algorithm| material.serves(algorithm)).collect();
        if algorithms.is_empty() {
            let text = format!("{} serves none of the issuer's algorithms", material.name());
            return Err(KeyFault::new("alg", text));
        }
        Ok(Self {
            kid: kid.map(Box::from),
            algorithms,
            family: material.family(),
            key,
            fingerprint: material.fingerprint(),
        })
    }

    /// The key id, if any.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the key may verify signatures by `algorithm`.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub(super) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    pub(super) fn fingerprint(&self) -> CredentialDigest {
        self.fingerprint
    }

    /// Whether `signature` (base64url) over `message` is good. Lengths are compared here: only the form of RFC 7518
    /// section 3.4 is an ECDSA signature, and no MAC is cut short, whatever a back end would take.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        let fits = algorithm.signature_len().is_none_or(|bytes| BASE64URL_NOPAD.encode_len(bytes) == signature.len());
        fits && self.allows(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm.in_library()).unwrap_or(false)
    }
}

/// A curve for ECDSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    /// Bytes of one coordinate.
    pub(super) fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// A public key as it was read, not judged yet. Numbers are big-endian without leading zeros.
pub(super) enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: Curve, point: Vec<u8> },
    Ed { x: Vec<u8> },
}

impl Material {
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::Rsa { modulus: strip_zeros(modulus), exponent: strip_zeros(exponent) }
    }

    fn family(&self) -> Family {
        match self {
            Self::Rsa { .. } => Family::Rsa,
            Self::Ec { .. } => Family::Ec,
            Self::Ed { .. } => Family::Ed,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "an RSA key",
            Self::Ec { curve: Curve::P256, .. } => "an EC key on P-256",
            Self::Ec { curve: Curve::P384, .. } => "an EC key on P-384",
            Self::Ed { .. } => "an Ed25519 key",
        }
    }

    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.family() == Family::Rsa,
            Self::Ec { curve: Curve::P256, .. } => algorithm == Algorithm::ES256,
            Self::Ec { curve: Curve::P384, .. } => algorithm == Algorithm::ES384,
            Self::Ed { .. } => algorithm == Algorithm::EdDSA,
        }
    }

    fn fingerprint(&self) -> CredentialDigest {
        match self {
            // The length stands in front, so that no two pairs of numbers make the same bytes.
            Self::Rsa { modulus, exponent } => {
                CredentialDigest::of(&[&modulus.len().to_be_bytes(), modulus.as_slice(), exponent].concat())
            }
            Self::Ec { point, .. } => CredentialDigest::of(point),
            Self::Ed { x } => CredentialDigest::of(x),
        }
    }

    fn check(&self) -> Result<DecodingKey, KeyFault> {
        match self {
            Self::Rsa { modulus, exponent } => check_rsa(modulus, exponent),
            Self::Ec { curve, point } => check_ec(*curve, point),
            Self::Ed { x } => check_ed(x),
        }
    }
}

fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, KeyFault> {
    let bits = bit_len(modulus);
    if !(2048..=8192).contains(&bits) {
        return Err(KeyFault::new("size", format!("the RSA modulus has {bits} bits; 2048 to 8192 are taken")));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    // The back end computes with exponents of up to 33 bits; with a longer one nothing would ever verify.
    if !odd(exponent) || !(2..=33).contains(&bit_len(exponent)) {
        return Err(KeyFault::new("exponent", "the RSA exponent must be odd, greater than 1 and of at most 33 bits"));
    }
    if !odd(modulus) {
        return Err(KeyFault::new("format", "the RSA modulus is even, so it is none"));
    }
    if weak::is_roca(modulus) {
        return Err(KeyFault::new("weak", "the RSA modulus comes from a broken generator (ROCA, CVE-2017-15361)"));
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

fn check_ec(curve: Curve, point: &[u8]) -> Result<DecodingKey, KeyFault> {
    let algorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED,
    };
    if point.len() != 1 + 2 * curve.coordinate_len() || point.first() != Some(&4) {
        return Err(KeyFault::new("format", "the EC point is not in the uncompressed form"));
    }
    ParsedPublicKey::new(algorithm, point).map_err(|_| KeyFault::new("curve", "the EC point is not on its curve"))?;
    Ok(DecodingKey::from_ec_der(point))
}

fn check_ed(x: &[u8]) -> Result<DecodingKey, KeyFault> {
    let fixed: &[u8; 32] =
        x.try_into().map_err(|_| KeyFault::new("size", format!("an Ed25519 key has 32 bytes, not {}", x.len())))?;
    if weak::is_small_order(fixed) {
        return Err(KeyFault::new(
            "weak",
            "the Ed25519 key is a point of small order: one signature would fit everything",
        ));
    }
    ParsedPublicKey::new(&ED25519, x).map_err(|_| KeyFault::new("format", "this is no Ed25519 key"))?;
    Ok(DecodingKey::from_ed_der(x))
}

fn strip_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|&byte| byte == 0).collect()
}

/// Of a number without leading zeros.
fn bit_len(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::test_keys;

    fn why(result: Result<VerifyKey, KeyFault>) -> &'static str {
        result.map_or_else(|fault| fault.why, |_| "taken")
    }

    fn secret_of(bytes: &[u8], algorithms: &[Algorithm]) -> &'static str {
        why(VerifyKey::from_secret(&Secret::new(bytes.to_vec()), algorithms))
    }

    fn random(len: u8) -> Vec<u8> {
        (0..len).map(|i| i.wrapping_mul(37)).collect()
    }

    #[test]
    fn a_secret_is_as_long_as_the_longest_hash_and_no_single_byte() {
        use Algorithm::{ES256, HS256, HS384, HS512};
        assert_eq!(secret_of(&random(32), &[HS256]), "taken");
        assert_eq!(secret_of(&random(31), &[HS256]), "size");
        assert_eq!(secret_of(b"secret", &[HS256]), "size");
        assert_eq!(secret_of(b"", &[HS256]), "size");
        assert_eq!(secret_of(&random(47), &[HS256, HS384]), "size");
        assert_eq!(secret_of(&random(63), &[HS512, HS256]), "size");
        assert_eq!(secret_of(&random(64), &[HS512, HS256]), "taken");
        assert_eq!(secret_of(&[0; 64], &[HS256]), "weak");
        assert_eq!(secret_of(&[b'a'; 64], &[HS256]), "weak");
        assert_eq!(secret_of(&random(64), &[HS256, ES256]), "alg");
        assert_eq!(secret_of(&random(64), &[]), "alg");
    }

    fn rsa(bits: usize, exponent: &[u8]) -> &'static str {
        let mut modulus = vec![0xc3; bits / 8];
        modulus[0] = 0x80;
        let material = Material::rsa(&modulus, exponent);
        why(VerifyKey::from_material(None, &material, Algorithm::ALL))
    }

    #[test]
    fn an_rsa_key_has_2048_to_8192_bits_and_a_sound_exponent() {
        let f4 = [1, 0, 1];
        for (bits, expected) in [(1024, "size"), (2040, "size"), (2048, "taken"), (8192, "taken"), (8200, "size")] {
            assert_eq!(rsa(bits, &f4), expected, "{bits}");
        }
        let mut seven_bits_less = vec![0xc3; 256];
        seven_bits_less[0] = 1;
        let short = Material::rsa(&[&[0, 0][..], &seven_bits_less].concat(), &f4);
        assert_eq!(why(VerifyKey::from_material(None, &short, Algorithm::ALL)), "size");
        for bad in [&[][..], &[0], &[1], &[0, 0, 1], &[2], &[1, 0, 0], &[0x80, 0, 0, 0, 1, 1]] {
            assert_eq!(rsa(2048, bad), "exponent", "{bad:?}");
        }
        assert_eq!(rsa(2048, &[3]), "taken");
        let broken = Material::rsa(&weak::tests::with_fingerprint(257), &f4);
        assert_eq!(why(VerifyKey::from_material(None, &broken, Algorithm::ALL)), "weak");
        let even = Material::rsa(&[0xc2; 256], &f4);
        assert_eq!(why(VerifyKey::from_material(None, &even, Algorithm::ALL)), "format");
    }

    #[test]
    fn an_ec_point_lies_on_its_curve() {
        for (curve, pair) in [(Curve::P256, test_keys::p256()), (Curve::P384, test_keys::p384())] {
            let good = Material::Ec { curve, point: pair.public.clone() };
            assert_eq!(why(VerifyKey::from_material(None, &good, Algorithm::ALL)), "taken");
            let mut point = pair.public.clone();
            *point.last_mut().unwrap() ^= 1;
            assert_eq!(why(VerifyKey::from_material(None, &Material::Ec { curve, point }, Algorithm::ALL)), "curve");
            let mut compressed = pair.public[..1 + curve.coordinate_len()].to_vec();
            compressed[0] = 2;
            let compressed = Material::Ec { curve, point: compressed };
            assert_eq!(why(VerifyKey::from_material(None, &compressed, Algorithm::ALL)), "format");
            let zero = Material::Ec { curve, point: [vec![4], vec![0; 2 * curve.coordinate_len()]].concat() };
            assert_eq!(why(VerifyKey::from_material(None, &zero, Algorithm::ALL)), "curve");
        }
    }

    #[test]
    fn an_ed25519_key_has_32_bytes_and_no_small_order() {
        for (x, expected) in [
            (test_keys::ed25519().public.clone(), "taken"),
            (vec![9; 31], "size"),
            (vec![9; 33], "size"),
            (vec![], "size"),
            (vec![0; 32], "weak"),
        ] {
            assert_eq!(why(VerifyKey::from_material(None, &Material::Ed { x }, Algorithm::ALL)), expected);
        }
    }

    #[test]
    fn a_key_serves_only_what_type_curve_and_configuration_allow() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
        let p256 = Material::Ec { curve: Curve::P256, point: test_keys::p256().public.clone() };
        let key = VerifyKey::from_material(Some("a"), &p256, &[ES256, ES384, RS256]).unwrap();
        assert_eq!((key.allows(ES256), key.allows(ES384), key.allows(RS256)), (true, false, false));
        assert_eq!(why(VerifyKey::from_material(None, &p256, &[ES384, EdDSA, RS256, PS256])), "alg");
        assert!(!key.verifies(ES384, b"", ""));
    }

    #[test]
    fn a_key_is_not_printed() {
        let secret = b"0123456789abcdef0123456789abcdef".to_vec();
        let key = VerifyKey::from_secret(&Secret::new(secret), &[Algorithm::HS256]).unwrap();
        assert_eq!(format!("{key:?}"), "VerifyKey { kid: None, algorithms: [HS256], .. }");
    }
}
