//! What went wrong on the way to a server, for the log: in words of ours, since the engine's may quote what was received.

use pingora::{Error, ErrorType};

/// Texts of the TLS library, and what they mean. A name stands first: what follows it comes from the certificate.
const TLS: [(&str, &str); 7] = [
    ("certificate not valid for name", "its certificate is for another name"),
    ("certificate expired", "its certificate has expired"),
    ("UnknownIssuer", "its certificate is of an authority that is not trusted"),
    ("certificate not valid yet", "its certificate is not valid yet"),
    ("invalid peer certificate", "its certificate cannot be verified"),
    ("received fatal alert", "it refused the TLS handshake; it may want a certificate (`client_cert`), or another one"),
    ("received corrupt message", "it does not speak TLS"),
];

/// The fault in short.
pub(in crate::proxy) fn of(error: &Error) -> &str {
    if *error.etype() != ErrorType::TLSHandshakeFailure {
        return error.reason_str();
    }
    let text = error.to_string();
    TLS.iter().find(|(theirs, _)| text.contains(theirs)).map_or("its TLS handshake failed", |(_, ours)| ours)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{CertificateError, InvalidMessage};

    use super::*;

    #[test]
    fn what_the_tls_library_says_is_understood() {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(1));
        let expected = ServerName::try_from("api.internal").unwrap().to_owned();
        let other = CertificateError::NotValidForNameContext { expected, presented: vec!["UnknownIssuer".into()] };
        for (error, told) in [
            (other.into(), "another name"),
            (CertificateError::ExpiredContext { time: at, not_after: at }.into(), "has expired"),
            (CertificateError::NotValidYetContext { time: at, not_before: at }.into(), "not valid yet"),
            (CertificateError::UnknownIssuer.into(), "not trusted"),
            (CertificateError::BadSignature.into(), "cannot be verified"),
            (rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired), "client_cert"),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
            (rustls::Error::DecryptError, "failed"),
        ] {
            let error = Error::explain(ErrorType::TLSHandshakeFailure, format!("TLS connect() failed: {error}"));
            assert!(of(&error).contains(told), "{error}");
        }
        assert_eq!(of(&Error::new(ErrorType::ConnectRefused)), "ConnectRefused");
    }
}
