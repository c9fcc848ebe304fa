//! A certificate that a listener shows, with its key.

use std::fmt;
use std::sync::Arc;

use rustls::crypto;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::certificates_in;
use crate::clock::UnixMillis;

/// Modulus of the weakest RSA key, in bits (NIST SP 800-131A).
const LEAST_RSA: usize = 2048;

/// Signatures that can be forged, so that no client believes them.
const FORGEABLE: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
];

/// A certificate that a listener shows, with what it says of itself.
#[derive(Clone)]
pub struct Certificate {
    label: Arc<str>,
    names: Vec<Box<str>>,
    not_before: UnixMillis,
    not_after: UnixMillis,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: Option<Arc<CertifiedKey>>,
    made_of: [u8; 32],
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, until) = (&self.names, self.not_after);
        f.debug_struct("Certificate").field("label", &self.label).field("names", names).field("until", &until).finish()
    }
}

impl Certificate {
    /// Reads a chain in PEM, the certificate of the server first. `label`: what it is called.
    ///
    /// # Errors
    /// Texts for people, which say what is wrong with the file: all of it.
    pub fn read(label: &str, pem: &[u8]) -> Result<Self, Vec<String>> {
        let chain = certificates_in(pem).ok_or_else(|| vec!["holds no certificates as PEM".to_owned()])?;
        let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let Ok((_, parsed)) = X509Certificate::from_der(own) else {
            return Err(vec!["holds something as its first certificate that is none".to_owned()]);
        };
        let mut faults = Vec::new();
        let (names, addresses) = names(&parsed);
        if names.is_empty() && addresses == 0 {
            faults.push(
                "holds a certificate without names (subjectAltName), which no client accepts; \
                 the certificate of the server must be the first of the file"
                    .to_owned(),
            );
        }
        if let Ok(PublicKey::RSA(key)) = parsed.public_key().parsed()
            && bits(key.modulus) < LEAST_RSA
        {
            let found = bits(key.modulus);
            faults.push(format!("holds a certificate whose RSA key has {found} bits; {LEAST_RSA} are the least"));
        }
        let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
        if let Some((_, hash)) = FORGEABLE.iter().find(|(id, _)| *id == algorithm) {
            faults.push(format!("holds a certificate that is signed with {hash}, which no client accepts"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let millis = |time: &x509_parser::time::ASN1Time| UnixMillis(time.timestamp().saturating_mul(1000));
        let (not_before, not_after) = (millis(&parsed.validity().not_before), millis(&parsed.validity().not_after));
        let made_of = Sha256::digest(chain.iter().flat_map(|one| one.iter().copied()).collect::<Vec<_>>()).into();
        Ok(Self { label: label.into(), names, not_before, not_after, chain, key: None, made_of })
    }

    /// Puts its key to it, a PEM text.
    ///
    /// # Errors
    /// A text for people: what is wrong with the key.
    pub fn with_key(self, pem: &[u8]) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
            let encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
            match encrypted {
                true => {
                    "the key is encrypted; write it without a passphrase (`openssl pkey -in KEY -out NEW`) \
                         into a file that only the gateway may read"
                }
                false => "expected a private key as PEM (PKCS#8, PKCS#1 or SEC1)",
            }
            .to_owned()
        })?;
        let digest = Sha256::new().chain_update(self.made_of).chain_update(key.secret_der()).finalize();
        let provider = crypto::ring::default_provider();
        let loaded = CertifiedKey::from_der(self.chain.clone(), key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key is that of another certificate; the certificate of the server must be the first of its file"
            }
            _ => {
                "the key is of a kind that is not supported; expected RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519"
            }
        })?;
        Ok(Self { key: Some(Arc::new(loaded)), made_of: digest.into(), ..self })
    }

    /// What it is called: the file that it was read from, as written.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The host names it is for, in lower case; `*.` stands for one label.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The beginning of its validity.
    pub fn not_before(&self) -> UnixMillis {
        self.not_before
    }

    /// The end of its validity.
    pub fn not_after(&self) -> UnixMillis {
        self.not_after
    }

    /// Certificate and key; none where the key was not to be read.
    pub(super) fn key(&self) -> Option<&Arc<CertifiedKey>> {
        self.key.as_ref()
    }

    pub(super) fn made_of(&self) -> [u8; 32] {
        self.made_of
    }
}

/// The host names of a certificate, and how many addresses it has.
fn names(certificate: &X509Certificate<'_>) -> (Vec<Box<str>>, usize) {
    let (mut names, mut addresses) = (Vec::new(), 0);
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        for name in &extension.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase().into());
            } else if let GeneralName::IPAddress(_) = name {
                addresses += 1;
            }
        }
    }
    (names, addresses)
}

/// Bits of a number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let spare = digits.first().map_or(0, |first| first.leading_zeros());
    (digits.len() * 8).saturating_sub(usize::try_from(spare).unwrap_or_default())
}
