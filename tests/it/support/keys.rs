//! Key pairs of every algorithm, signing whatever bytes they are given: a token that is malformed can be signed too.

use std::fmt;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use aws_lc_rs::{hmac, signature};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

/// Signature algorithms, written down here a second time on purpose: the gateway's own list is what is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alg {
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

impl Alg {
    pub(crate) const ALL: [Self; 12] = [
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

    /// The registered name.
    pub(crate) fn name(self) -> &'static str {
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

    /// A key that can sign by this algorithm.
    pub(crate) fn key(self) -> Key {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => Key::hmac(64),
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => Key::rsa2048(),
            Self::ES256 => Key::p256(),
            Self::ES384 => Key::p384(),
            Self::EdDSA => Key::ed25519(),
        }
    }
}

/// A key pair or an HMAC secret. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Key(Arc<Material>);

enum Material {
    Hmac(Vec<u8>),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.alg().name())
    }
}

/// Random bytes of the operating system.
pub(crate) fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SystemRandom::new().fill(&mut bytes).expect("randomness");
    bytes
}

fn rsa(size: KeySize) -> Key {
    Key(Arc::new(Material::Rsa(RsaKeyPair::generate(size).expect("RSA key"))))
}

impl Key {
    /// A random HMAC secret of `len` bytes.
    pub(crate) fn hmac(len: usize) -> Self {
        Self::from_secret(&random(len))
    }

    /// This HMAC secret, however weak.
    pub(crate) fn from_secret(secret: &[u8]) -> Self {
        Self(Arc::new(Material::Hmac(secret.to_vec())))
    }

    /// RSA of 2048 bits, the same in the whole process: it takes long to make.
    pub(crate) fn rsa2048() -> Self {
        static KEY: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa2048));
        KEY.clone()
    }

    /// Another RSA key of 2048 bits, for rotations and for strangers.
    pub(crate) fn other_rsa2048() -> Self {
        static KEY: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa2048));
        KEY.clone()
    }

    /// RSA of 3072 bits, the same in the whole process.
    pub(crate) fn rsa3072() -> Self {
        static KEY: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa3072));
        KEY.clone()
    }

    /// A new key on P-256.
    pub(crate) fn p256() -> Self {
        Self(Arc::new(Material::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("P-256 key"))))
    }

    /// A key on P-256 that was made elsewhere.
    pub(crate) fn p256_from_pkcs8(der: &[u8]) -> Self {
        Self(Arc::new(Material::P256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).expect("P-256 key"),
        )))
    }

    /// A new key on P-384.
    pub(crate) fn p384() -> Self {
        Self(Arc::new(Material::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("P-384 key"))))
    }

    /// A new Ed25519 key.
    pub(crate) fn ed25519() -> Self {
        Self(Arc::new(Material::Ed25519(Ed25519KeyPair::generate().expect("Ed25519 key"))))
    }

    /// The algorithm that this key signs by when nobody says otherwise.
    pub(crate) fn alg(&self) -> Alg {
        match &*self.0 {
            Material::Hmac(_) => Alg::HS256,
            Material::Rsa(_) => Alg::RS256,
            Material::P256(_) => Alg::ES256,
            Material::P384(_) => Alg::ES384,
            Material::Ed25519(_) => Alg::EdDSA,
        }
    }

    /// The HMAC secret.
    pub(crate) fn secret(&self) -> &[u8] {
        match &*self.0 {
            Material::Hmac(secret) => secret,
            _ => panic!("{self:?} is no HMAC secret"),
        }
    }

    /// The public key as a member of a key set, with `use` and without `alg`. An HMAC secret gives an `oct` key: no
    /// honest issuer publishes one.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
        };
        let mut jwk = match &*self.0 {
            Material::Hmac(secret) => json!({"kty": "oct", "k": b64(secret)}),
            Material::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": b64(public.modulus().big_endian_without_leading_zero()),
                    "e": b64(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Material::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Material::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Material::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public key as PEM (SubjectPublicKeyInfo).
    pub(crate) fn pem(&self) -> String {
        fn spki(public: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
            public.as_der().expect("public key").as_ref().to_vec()
        }
        let der = match &*self.0 {
            Material::Hmac(_) => panic!("an HMAC secret has no public part"),
            Material::Rsa(pair) => spki(pair.public_key()),
            Material::P256(pair) | Material::P384(pair) => spki(pair.public_key()),
            Material::Ed25519(pair) => spki(pair.public_key()),
        };
        pem("PUBLIC KEY", &der)
    }

    /// The RSA public key as PEM in the older form (PKCS#1).
    pub(crate) fn pkcs1_pem(&self) -> String {
        match &*self.0 {
            Material::Rsa(pair) => pem("RSA PUBLIC KEY", pair.public_key().as_ref()),
            _ => panic!("{self:?} is no RSA key"),
        }
    }

    /// The raw JWS signature of `message` by `alg`. ECDSA signatures are `r || s` (RFC 7518 section 3.4).
    pub(crate) fn sign_bytes(&self, alg: Alg, message: &[u8]) -> Vec<u8> {
        let rsa = |encoding: &'static dyn RsaEncoding| match &*self.0 {
            Material::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("signature");
                signature
            }
            _ => panic!("{self:?} cannot sign by {}", alg.name()),
        };
        let mac = |algorithm| hmac::sign(&hmac::Key::new(algorithm, self.secret()), message).as_ref().to_vec();
        match alg {
            Alg::HS256 => mac(hmac::HMAC_SHA256),
            Alg::HS384 => mac(hmac::HMAC_SHA384),
            Alg::HS512 => mac(hmac::HMAC_SHA512),
            Alg::RS256 => rsa(&RSA_PKCS1_SHA256),
            Alg::RS384 => rsa(&RSA_PKCS1_SHA384),
            Alg::RS512 => rsa(&RSA_PKCS1_SHA512),
            Alg::PS256 => rsa(&RSA_PSS_SHA256),
            Alg::PS384 => rsa(&RSA_PSS_SHA384),
            Alg::PS512 => rsa(&RSA_PSS_SHA512),
            Alg::ES256 | Alg::ES384 | Alg::EdDSA => match &*self.0 {
                Material::P256(pair) | Material::P384(pair) => {
                    pair.sign(&SystemRandom::new(), message).expect("signature").as_ref().to_vec()
                }
                Material::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
                Material::Hmac(_) | Material::Rsa(_) => panic!("{self:?} cannot sign by {}", alg.name()),
            },
        }
    }

    /// A compact JWS over exactly these bytes, by the key's own algorithm: no check of anything.
    pub(crate) fn sign(&self, header: impl Json, payload: impl Json) -> String {
        self.sign_by(self.alg(), header, payload)
    }

    /// A compact JWS over exactly these bytes, by `alg`, whatever the header says.
    pub(crate) fn sign_by(&self, alg: Alg, header: impl Json, payload: impl Json) -> String {
        let mut token = BASE64URL_NOPAD.encode(&header.json());
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&payload.json()));
        let signature = self.sign_bytes(alg, token.as_bytes());
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&signature));
        token
    }

    /// Whether `token` carries this key's signature by `alg`; nothing else of it is looked at.
    pub(crate) fn verifies(&self, alg: Alg, token: &str) -> bool {
        let Some((message, signature)) = token.rsplit_once('.') else { return false };
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
        let asymmetric = |algorithm: &'static dyn signature::VerificationAlgorithm, public: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, public).verify(message.as_bytes(), &signature).is_ok()
        };
        match &*self.0 {
            Material::Hmac(_) => self.sign_bytes(alg, message.as_bytes()) == signature,
            Material::Rsa(pair) => {
                let algorithm: &'static dyn signature::VerificationAlgorithm = match alg {
                    Alg::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Alg::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Alg::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Alg::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Alg::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Alg::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                asymmetric(algorithm, pair.public_key().as_ref())
            }
            Material::P256(pair) => asymmetric(&signature::ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()),
            Material::P384(pair) => asymmetric(&signature::ECDSA_P384_SHA384_FIXED, pair.public_key().as_ref()),
            Material::Ed25519(pair) => asymmetric(&signature::ED25519, pair.public_key().as_ref()),
        }
    }
}

/// What is signed exactly as it is: a JSON value in its usual form, any text, any bytes.
pub(crate) trait Json {
    fn json(&self) -> Vec<u8>;
}

impl Json for Value {
    fn json(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Json for &Value {
    fn json(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Json for &str {
    fn json(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Json for String {
    fn json(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Json for Vec<u8> {
    fn json(&self) -> Vec<u8> {
        self.clone()
    }
}

/// A key set document of these members.
pub(crate) fn key_set(keys: impl IntoIterator<Item = Value>) -> Value {
    json!({"keys": keys.into_iter().collect::<Vec<_>>()})
}

/// An RSA public key of any size that nobody can sign with: for the key policy.
pub(crate) fn unusable_rsa_jwk(kid: &str, bits: usize) -> Value {
    let mut modulus = random(bits / 8);
    modulus[0] |= 0x80;
    *modulus.last_mut().expect("bytes") |= 1;
    json!({"kty": "RSA", "kid": kid, "use": "sig", "n": BASE64URL_NOPAD.encode(&modulus), "e": "AQAB"})
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
