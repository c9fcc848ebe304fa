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
    let fits = |name: &str| {
        // What follows the kind of name, which we put before it.
        let name = name.split_once(':').map_or("", |(_, name)| name);
        (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    if names.len() > MOST_NAMES || !names.iter().all(|name| fits(name)) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn made(common: &[&str], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.not_after = date_time_ymd(2030, 1, 1);
        params.distinguished_name = DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.to_owned().try_into().unwrap())
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.to_owned().try_into().unwrap())
    }

    fn names(der: &[u8]) -> Option<Vec<String>> {
        read(der).map(|certificate| certificate.names.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn names_are_told_with_their_kind_in_their_order() {
        let email = SanType::Rfc822Name("Ann@Partner.Example".to_owned().try_into().unwrap());
        let address = SanType::IpAddress([127, 0, 0, 1].into());
        let der =
            made(&["ignored"], vec![dns("Worker.Partner.Example"), address, uri("spiffe://partner/Worker"), email]);
        let expected = ["dns:worker.partner.example", "uri:spiffe://partner/Worker", "email:Ann@Partner.Example"];
        let certificate = read(&der).unwrap();
        assert_eq!(certificate.names.iter().map(|name| &**name).collect::<Vec<_>>(), expected);
        assert_eq!(certificate.not_after, UnixMillis(1_893_456_000_000));
        assert_eq!(&*certificate.fingerprint, HEXLOWER.encode(&Sha256::digest(&der)));
    }

    #[test]
    fn a_common_name_counts_only_where_there_are_no_alternative_names() {
        assert_eq!(names(&made(&["Worker 7"], Vec::new())), Some(vec!["cn:Worker 7".to_owned()]));
        // Alternative names of kinds that nobody is known by are alternative names.
        assert_eq!(names(&made(&["worker"], vec![SanType::IpAddress([127, 0, 0, 1].into())])), Some(Vec::new()));
        assert_eq!(names(&made(&[], Vec::new())), Some(Vec::new()));
    }

    #[test]
    fn a_name_that_could_deceive_a_reader_spoils_the_whole_certificate() {
        for bad in ["a\r\nb", "a\0b", "\u{7f}", ""] {
            assert_eq!(names(&made(&[], vec![uri("spiffe://good/one"), uri(bad)])), None, "{bad:?}");
            assert_eq!(names(&made(&[], vec![dns(bad)])), None, "{bad:?}");
        }
        for bad in ["a\nb", "a\u{85}b", "\u{1b}[2J"] {
            assert_eq!(names(&made(&[bad], Vec::new())), None, "{bad:?}");
        }
    }

    #[test]
    fn names_are_bounded_in_length_and_number() {
        let (fits, long) = ("x".repeat(LONGEST_NAME), "x".repeat(LONGEST_NAME + 1));
        assert!(names(&made(&[], vec![uri(&fits)])).is_some());
        assert!(names(&made(&[], vec![uri(&long)])).is_none());
        let many = |count: usize| (0..count).map(|number| dns(&format!("n{number}.test"))).collect();
        assert!(names(&made(&[], many(MOST_NAMES))).is_some());
        assert!(names(&made(&[], many(MOST_NAMES + 1))).is_none());
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        let good = made(&[], vec![dns("a.test")]);
        let more = [good.as_slice(), b"x"].concat();
        for der in [&[][..], b"nonsense", &good[..good.len() - 1], &more] {
            assert_eq!(names(der), None);
        }
    }

    proptest! {
        #[test]
        fn no_certificate_makes_it_panic(changes in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 1..8), cut in 0.5..1.0_f64) {
            let mut der = made(&["common"], vec![dns("a.test"), uri("spiffe://a/b")]);
            for (at, byte) in changes {
                let at = (der.len() as f64 * at) as usize;
                der[at] = byte;
            }
            der.truncate((der.len() as f64 * cut) as usize + 1);
            if let Some(certificate) = read(&der) {
                prop_assert!(certificate.names.iter().all(|name| !name.chars().any(char::is_control)));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _read = read(&der);
        }
    }
}
