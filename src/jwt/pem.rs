//! Keys as PEM (RFC 7468): public keys as SubjectPublicKeyInfo (RFC 5280, RFC 5480, RFC 8410) or RSAPublicKey (RFC 8017),
//! private keys as PKCS#8 (RFC 5958). Only as much DER is read as these need; what is off by a byte is refused.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::KeyFault;
use super::key::{Curve, Material};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The public key in `pem`.
pub(super) fn public(pem: &[u8]) -> Result<Material, KeyFault> {
    let (label, der) = block(pem)?;
    match label {
        "PUBLIC KEY" => spki(&der),
        "RSA PUBLIC KEY" => rsa(&der).ok_or_else(|| KeyFault::new("format", "this is no RSA public key in DER")),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Err(KeyFault::new(
            "format",
            "this is a certificate; give its public key: `openssl x509 -in FILE -noout -pubkey`",
        )),
        private if private.ends_with("PRIVATE KEY") => Err(KeyFault::new(
            "format",
            "this is a private key, which does not belong here; give the public key: `openssl pkey -in FILE -pubout`",
        )),
        _ => Err(KeyFault::new("format", "expected a block `PUBLIC KEY` or `RSA PUBLIC KEY`")),
    }
}

/// What kind of private key a PKCS#8 document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrivateKind {
    Rsa,
    Ec(Curve),
    Ed,
}

/// A PKCS#8 document.
pub(super) struct Private {
    pub(super) kind: PrivateKind,
    pub(super) document: Zeroizing<Vec<u8>>,
    /// The key inside; for RSA that is an RSAPrivateKey.
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// The private key in `pem`.
pub(super) fn private(pem: &[u8]) -> Result<Private, KeyFault> {
    let (label, der) = block(pem)?;
    match label {
        "PRIVATE KEY" => {}
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
            let text = "expected a block `PRIVATE KEY`: `openssl pkcs8 -topk8 -nocrypt -in FILE`";
            return Err(KeyFault::new("format", text));
        }
        "ENCRYPTED PRIVATE KEY" => {
            return Err(KeyFault::new(
                "format",
                "the private key is encrypted; write it without a passphrase: `openssl pkey -in FILE -out NEW`",
            ));
        }
        public if public.ends_with("PUBLIC KEY") => {
            return Err(KeyFault::new(
                "format",
                "this is a public key; expected the private one, a block `PRIVATE KEY`",
            ));
        }
        _ => return Err(KeyFault::new("format", "expected a block `PRIVATE KEY`")),
    }
    let malformed = || KeyFault::new("format", "this is no PKCS#8 private key in DER");
    let (_version, body) = whole(SEQUENCE, &der).and_then(|body| element(INTEGER, body)).ok_or_else(malformed)?;
    let (algorithm, rest) = element(SEQUENCE, body).ok_or_else(malformed)?;
    let (key, _) = element(OCTET_STRING, rest).ok_or_else(malformed)?;
    let kind = match kind(algorithm).ok_or_else(malformed)? {
        Kind::Rsa => PrivateKind::Rsa,
        Kind::Ec(curve) => PrivateKind::Ec(curve),
        Kind::Ed => PrivateKind::Ed,
        Kind::OtherCurve => return Err(other_curve()),
        Kind::Other => return Err(other_kind()),
    };
    let key = Zeroizing::new(key.to_vec());
    Ok(Private { kind, document: der, key })
}

/// The one block of a PEM file: label and bytes.
fn block(pem: &[u8]) -> Result<(&str, Zeroizing<Vec<u8>>), KeyFault> {
    let format = |text: &str| KeyFault::new("format", text);
    let text = std::str::from_utf8(pem)
        .map_err(|_| format("this is no PEM text; for DER: `openssl pkey -pubin -inform DER`"))?;
    let trimmed = text.trim_start();
    if trimmed.starts_with('{') {
        return Err(format("this is JSON; give a key set as `jwks_file`"));
    }
    if trimmed.starts_with("ssh-") || trimmed.starts_with("ecdsa-sha2-") {
        return Err(format("this is an OpenSSH key; convert it: `ssh-keygen -e -m pkcs8 -f FILE`"));
    }
    let (_, rest) = text.split_once("-----BEGIN ").ok_or_else(|| format("there is no `-----BEGIN ...-----` line"))?;
    let (label, rest) = rest.split_once("-----").ok_or_else(|| format("the first line does not end with `-----`"))?;
    let (body, rest) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or_else(|| format("the end line is missing or of another kind than the first"))?;
    if rest.contains("-----BEGIN ") {
        return Err(format("expected one block, there are several"));
    }
    let body = Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>());
    let der = BASE64.decode(&body).map_err(|_| format("what stands between first and last line is no base64"))?;
    Ok((label, Zeroizing::new(der)))
}

fn spki(der: &[u8]) -> Result<Material, KeyFault> {
    let malformed = || KeyFault::new("format", "this is no public key in DER");
    let body = whole(SEQUENCE, der).ok_or_else(malformed)?;
    let (algorithm, rest) = element(SEQUENCE, body).ok_or_else(malformed)?;
    let bits = whole(BIT_STRING, rest).ok_or_else(malformed)?;
    let Some((0, key)) = bits.split_first() else { return Err(malformed()) };
    match kind(algorithm).ok_or_else(malformed)? {
        Kind::Rsa => rsa(key).ok_or_else(malformed),
        Kind::Ec(curve) => Ok(Material::Ec { curve, point: key.to_vec() }),
        Kind::Ed => Ok(Material::Ed { x: key.to_vec() }),
        Kind::OtherCurve => Err(other_curve()),
        Kind::Other => Err(other_kind()),
    }
}

fn rsa(der: &[u8]) -> Option<Material> {
    let (modulus, rest) = element(INTEGER, whole(SEQUENCE, der)?)?;
    let exponent = whole(INTEGER, rest)?;
    let negative = |number: &[u8]| number.first().is_none_or(|byte| byte & 0x80 != 0);
    (!negative(modulus) && !negative(exponent)).then(|| Material::rsa(modulus, exponent))
}

enum Kind {
    Rsa,
    Ec(Curve),
    OtherCurve,
    Ed,
    Other,
}

/// Of the content of an AlgorithmIdentifier.
fn kind(algorithm: &[u8]) -> Option<Kind> {
    let (oid, parameters) = element(OBJECT_ID, algorithm)?;
    Some(match oid {
        OID_RSA => Kind::Rsa,
        OID_EC => match element(OBJECT_ID, parameters) {
            Some((OID_P256, [])) => Kind::Ec(Curve::P256),
            Some((OID_P384, [])) => Kind::Ec(Curve::P384),
            _ => Kind::OtherCurve,
        },
        OID_ED25519 => Kind::Ed,
        _ => Kind::Other,
    })
}

fn other_curve() -> KeyFault {
    KeyFault::new("curve", "the EC key is on a curve other than P-256 and P-384")
}

fn other_kind() -> KeyFault {
    KeyFault::new("kty", "keys are RSA (not restricted to PSS), EC on P-256 or P-384, or Ed25519")
}

/// The content of the one element that `input` is.
fn whole(tag: u8, input: &[u8]) -> Option<&[u8]> {
    element(tag, input).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the element that `input` starts with, and what follows it.
fn element(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, input) = input.split_first().filter(|(first, _)| **first == tag)?;
    let (&first, input) = input.split_first()?;
    if first < 0x80 {
        return input.split_at_checked(usize::from(first));
    }
    let (digits, input) = input.split_at_checked(usize::from(first & 0x7f))?;
    if !(1..=3).contains(&digits.len()) {
        return None;
    }
    let length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
    let shortest = length >= 0x80 && digits.first() != Some(&0);
    if shortest { input.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jwt::test_keys::{self, pem};
    use crate::jwt::{Algorithm, VerifyKey};

    #[test]
    fn public_keys_of_all_kinds_are_read() {
        for (pair, algorithm) in [
            (test_keys::rsa(), Algorithm::PS384),
            (test_keys::p256(), Algorithm::ES256),
            (test_keys::p384(), Algorithm::ES384),
            (test_keys::ed25519(), Algorithm::EdDSA),
        ] {
            let text = pair.public_pem();
            for text in [text.clone(), text.replace('\n', "\r\n"), format!("a comment\n{text}\n\n")] {
                let key = VerifyKey::from_pem(text.as_bytes(), Algorithm::ALL).unwrap();
                assert!(key.allows(algorithm), "{algorithm}");
            }
        }
    }

    #[test]
    fn an_rsa_key_in_its_older_form_is_the_same_key() {
        let spki = VerifyKey::from_pem(test_keys::rsa().public_pem().as_bytes(), Algorithm::ALL).unwrap();
        let pkcs1 = pem("RSA PUBLIC KEY", &test_keys::rsa().public);
        let pkcs1 = VerifyKey::from_pem(pkcs1.as_bytes(), Algorithm::ALL).unwrap();
        assert_eq!(spki.fingerprint(), pkcs1.fingerprint());
    }

    #[test]
    fn whoever_gives_something_else_is_told_what_to_give() {
        let told = |text: &str| VerifyKey::from_pem(text.as_bytes(), Algorithm::ALL).unwrap_err().text;
        assert!(told(&test_keys::p256().private_pem()).contains("-pubout"));
        assert!(told(&pem("EC PRIVATE KEY", b"x")).contains("private"));
        assert!(told(&pem("CERTIFICATE", b"x")).contains("openssl x509"));
        assert!(told("{\"keys\":[]}").contains("jwks_file"));
        assert!(told("ssh-ed25519 AAAA").contains("ssh-keygen"));
        assert!(told(&test_keys::p256().public_pem().repeat(2)).contains("several"));
        assert!(told(&pem("DH PARAMETERS", b"x")).contains("PUBLIC KEY"));
        for bad in ["", "x", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n-----END RSA-----"] {
            assert!(!told(bad).is_empty());
        }
    }

    #[test]
    fn whoever_gives_no_private_key_that_can_be_used_is_told_what_to_do() {
        let told = |text: String| private(text.as_bytes()).map(drop).unwrap_err().to_string();
        assert!(told(pem("PUBLIC KEY", b"x")).contains("this is a public key"));
        assert!(told(pem("ENCRYPTED PRIVATE KEY", b"x")).contains("openssl pkey -in FILE -out NEW"));
        assert!(told(pem("EC PRIVATE KEY", b"x")).contains("openssl pkcs8"));
        assert!(told(pem("CERTIFICATE", b"x")).contains("`PRIVATE KEY`"));
    }

    #[test]
    fn der_that_is_off_by_a_byte_is_refused() {
        let der = test_keys::p256().spki.clone();
        for cut in 0..der.len() {
            assert!(public(pem("PUBLIC KEY", &der[..cut]).as_bytes()).is_err(), "{cut}");
        }
        let longer = [der.clone(), vec![0]].concat();
        assert!(public(pem("PUBLIC KEY", &longer).as_bytes()).is_err());
        let unused_bits = [&der[..25], &[1], &der[26..]].concat();
        assert!(public(pem("PUBLIC KEY", &unused_bits).as_bytes()).is_err());
    }

    #[test]
    fn a_foreign_curve_is_named_as_such() {
        let mut der = test_keys::p256().spki.clone();
        der[22] = 0x06; // the last byte of the curve's identifier
        assert_eq!(public(pem("PUBLIC KEY", &der).as_bytes()).err().unwrap().why, "curve");
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_beyond_their_end(der in prop::collection::vec(any::<u8>(), 0..120)) {
            for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "PRIVATE KEY"] {
                let text = pem(label, &der);
                drop((public(text.as_bytes()), private(text.as_bytes())));
            }
            drop(public(&der));
        }
    }
}
