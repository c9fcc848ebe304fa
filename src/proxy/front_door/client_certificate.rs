//! Names in a client's certificate. Its signature was verified before; what stands in it was chosen by whoever asked an
//! authority for it.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::UnixMillis;
use crate::gate::request::ClientCertificate;

/// So many names at most: they are compared with each other, and logged.
const MOST_NAMES: usize = 64;
/// Bytes of the longest name.
const LONGEST_NAME: usize = 512;

/// Reads a certificate in DER. None: it cannot be read, or a name in it is none that could be compared, logged and sent on
/// without harm. Half of a certificate's names would be another certificate.
pub(super) fn read(der: &[u8]) -> Option<ClientCertificate> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let names = match certificate.subject_alternative_name().ok()? {
        Some(extension) => {
            let listed = extension.value.general_names.iter();
            listed.filter_map(alternative).collect::<Option<Vec<_>>>()?
        }
        None => common_name(&certificate)?.into_iter().collect(),
    };
    let fits = |name: &Box<str>| {
        // What follows the kind of name, which we put before it.
        let name = name.split_once(':').map_or("", |(_, name)| name);
        (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    if names.len() > MOST_NAMES || !names.iter().all(fits) {
        return None;
    }
    Some(ClientCertificate {
        names: names.into(),
        fingerprint: HEXLOWER.encode(&Sha256::digest(der)).into(),
        not_after: UnixMillis(certificate.validity().not_after.timestamp().saturating_mul(1000)),
    })
}

/// A subject alternative name. The outer none: of a kind that nobody is known by; the inner: it is malformed.
fn alternative(name: &GeneralName<'_>) -> Option<Option<Box<str>>> {
    // They are ASCII (IA5String, RFC 5280 section 4.2.1.6), whatever the parser lets pass.
    let ascii = |kind: &str, name: &str| name.is_ascii().then(|| format!("{kind}:{name}").into());
    match name {
        GeneralName::URI(name) => Some(ascii("uri", name)),
        GeneralName::DNSName(name) => Some(ascii("dns", &name.to_ascii_lowercase())),
        GeneralName::RFC822Name(name) => Some(ascii("email", name)),
        GeneralName::Invalid(..) => Some(None),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_) => None,
    }
}

/// The common name, for certificates of old: only where there is exactly one. The outer none: it is no text.
fn common_name(certificate: &X509Certificate<'_>) -> Option<Option<Box<str>>> {
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return Some(None) };
    let name = name.as_str().ok()?;
    Some(Some(format!("cn:{name}").into()))
}
