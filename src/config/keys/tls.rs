//! TLS of a listener.

use crate::config::section::section;
use crate::config::value::secret::SecretRef;
use crate::config::value::tls::{Alpn, CertificateDemand, SuiteName, TlsVersion};
use crate::config::walk::Item;

section! {
    /// `tls` of a listener. All of it takes effect with a reload, for handshakes from then on.
    Tls {
        /// At least one. A client is shown the one that has the name it asks for, else the first.
        required certificates: Vec<Item<TlsCertificate>>;
        /// The oldest version that is spoken: `"1.2"` or `"1.3"`.
        default min_version: TlsVersion = r#""1.2""#;
        /// Cipher suites by their IANA names, the most wanted first; where it is left out, all that are safe.
        optional cipher_suites: Vec<Item<SuiteName>>;
        /// What may be spoken over it, the most wanted first; the admin listener speaks `"http/1.1"` only.
        default alpn: Vec<Item<Alpn>> = r#"["h2", "http/1.1"]"#;
        /// Whether clients can resume their sessions, by tickets whose keys change by themselves. Processes do not share them.
        default session_tickets: bool = "true";
        /// File of the authorities (PEM) that vouch for certificates of clients; where it is left out, clients are not asked for one.
        optional client_ca: String;
        /// Whether clients must have a certificate: `"required"` or `"optional"`. With `client_ca` they must, where it is left out.
        optional client_certificates: CertificateDemand;
    }
}

section! {
    /// A certificate and its key.
    TlsCertificate {
        /// File of the certificate (PEM) and those between it and its authority, its own first.
        required cert: String;
        /// Its private key (PEM), without a passphrase.
        required key: SecretRef;
    }
}
