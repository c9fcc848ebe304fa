//! Client certificates: whose they are. A certificate is a fact of the connection: it decides where a route takes it and
//! no other credential is presented. Whether it is genuine was found out in the handshake; here only names count.

use std::collections::HashMap;
use std::sync::Arc;

use super::cache::{CacheKey, Found};
use super::{Authenticator, Case, Verification, Verified};
use crate::gate::network::NetworkSet;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Realm;
use crate::gate::request::{ClientCertificate, Request};
use crate::gate::trail::Trail;
use crate::identity::{CredentialKind, Principal};
use crate::secret::CredentialDigest;

/// A certificate with more names than this is nobody's: each is looked up.
const MAX_NAMES: usize = 64;

/// Longest name that can be given to a client.
const MAX_NAME: usize = 512;

/// What a client's certificate is known by: one of its names, or the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// `uri:…`, `dns:…`, `email:…` or `cn:…`, as [`ClientCertificate::names`] has them.
    Name(Box<str>),
    /// SHA-256 of the certificate in DER, in lower-case hexadecimal.
    Fingerprint(Box<str>),
}

impl CertificateName {
    /// Reads `uri:URI`, `dns:NAME`, `email:ADDRESS`, `cn:NAME`, `sha256:FINGERPRINT`. Names of hosts are put into lower
    /// case, fingerprints may be written as openssl prints them.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        // What has no such form may be a key that was pasted here: it is not repeated.
        const FORMS: &str =
            "expected uri:URI, dns:NAME, email:ADDRESS, cn:NAME, or sha256:FINGERPRINT for one certificate";
        let (kind, name) = text.split_once(':').ok_or(FORMS)?;
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!("what follows `{kind}:` must have 1 to {MAX_NAME} bytes"));
        }
        if kind != "sha256" && name.contains('*') {
            return Err(
                "names are exact, `*` stands for nothing: write each name, or pin a certificate by sha256:…".into()
            );
        }
        match kind {
            "uri" => uri(name).map(|()| Self::Name(text.into())),
            "dns" => dns(name).map(|name| Self::Name(format!("dns:{name}").into())),
            "email" => email(name).map(|()| Self::Name(text.into())),
            "cn" if name.trim() == name && !name.chars().any(char::is_control) => Ok(Self::Name(text.into())),
            "cn" => Err("a common name has no control characters, and no blanks at its ends".into()),
            "sha256" => CredentialDigest::from_hex(&name.replace(':', ""))
                .map(|digest| Self::Fingerprint(digest.to_hex().into()))
                .ok_or_else(|| "a fingerprint is the certificate's SHA-256: 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints them".into()),
            _ => Err(FORMS.into()),
        }
    }
}

fn uri(name: &str) -> Result<(), String> {
    let scheme = name.split_once(':').map_or("", |(scheme, _)| scheme);
    let has_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if has_scheme && name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("{name:?} is no URI: expected one such as spiffe://example.org/billing, compared byte for byte"))
}

fn dns(name: &str) -> Result<String, String> {
    let fits =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.len() <= 253 && name.split('.').all(fits) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(format!(
        "{name:?} is no name of a host as certificates have it: expected one such as billing.internal, without a dot at its end; other alphabets as xn--…"
    ))
}

fn email(name: &str) -> Result<(), String> {
    let parts = name.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if parts && name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("{name:?} is no e-mail address: expected one such as batch@example.org, compared byte for byte"))
}

/// A client of the configuration, as its certificates prove it.
#[derive(Debug)]
pub struct CertificateClient {
    /// Who; the id of the credential is the certificate's, once there is one.
    pub principal: Principal,
    /// The client's list of addresses.
    pub allow_ips: Vec<NetworkSet>,
    /// Whether the client is switched off.
    pub disabled: bool,
}

impl CertificateClient {
    fn verified(&self, certificate: &ClientCertificate, realm: &Realm) -> Verified {
        let id = Some(&*certificate.fingerprint).filter(|fingerprint| !fingerprint.is_empty());
        let principal = Principal { credential_id: id.map(Arc::from), ..self.principal.clone() };
        Verified {
            headers: realm.identity_headers.prepare(&realm.name, &principal),
            principal,
            expires: Some(certificate.not_after),
            allow_ips: self.allow_ips.clone(),
            issuer: None,
            uses: None,
        }
    }
}

type ByText = HashMap<Box<str>, Arc<CertificateClient>>;

/// Certificates of the clients of the configuration.
#[derive(Debug, Default)]
pub struct DeclaredCertificates {
    names: ByText,
    fingerprints: ByText,
}

/// Whose a certificate is.
#[derive(Clone, Copy, Debug)]
enum Owner<'a> {
    Nobody,
    One(&'a Arc<CertificateClient>),
    /// Several clients have names that are in it.
    Several,
}

impl FromIterator<(CertificateName, Arc<CertificateClient>)> for DeclaredCertificates {
    fn from_iter<I: IntoIterator<Item = (CertificateName, Arc<CertificateClient>)>>(names: I) -> Self {
        let mut declared = Self::default();
        for (name, client) in names {
            match name {
                CertificateName::Name(name) => declared.names.insert(name, client),
                CertificateName::Fingerprint(fingerprint) => declared.fingerprints.insert(fingerprint, client),
            };
        }
        declared
    }
}

impl DeclaredCertificates {
    /// The client that is known by `name`.
    pub fn get(&self, name: &CertificateName) -> Option<&Arc<CertificateClient>> {
        match name {
            CertificateName::Name(name) => self.names.get(name),
            CertificateName::Fingerprint(fingerprint) => self.fingerprints.get(fingerprint),
        }
    }

    /// Every name and the fingerprint have a say: a certificate that two clients share proves neither.
    fn owner(&self, certificate: &ClientCertificate) -> Owner<'_> {
        let by_name = certificate.names.iter().filter_map(|name| self.names.get(name));
        let mut found = self.fingerprints.get(&certificate.fingerprint).into_iter().chain(by_name);
        match found.next() {
            None => Owner::Nobody,
            Some(first) if found.all(|other| Arc::ptr_eq(first, other)) => Owner::One(first),
            Some(_) => Owner::Several,
        }
    }
}

impl Authenticator {
    /// What the connection's certificate proves; none where it has none, or the route takes none.
    pub(super) fn look_at_certificate(
        &self,
        case: &Case<'_>,
        request: &Request<'_>,
        trail: &mut Trail,
    ) -> Option<Verification> {
        if !case.route.auth.mtls {
            return None;
        }
        let certificate = request.handshake?.certificate.as_deref()?;
        trail.credential = Some(CredentialKind::Mtls);
        trail.pass("credential", || describe(certificate));
        let verification = self.judge_certificate(case, certificate);
        if let Verification::Rejected(..) = &verification {
            trail.spent_key = Some(Arc::from(&*certificate.fingerprint));
        }
        Some(verification)
    }

    /// A certificate that was seen before costs one look into the cache; it is kept there beside the tokens. No token has
    /// its digest: DER is no text that stands in a header.
    fn judge_certificate(&self, case: &Case<'_>, certificate: &ClientCertificate) -> Verification {
        if case.now >= certificate.not_after {
            return Verification::Rejected(Reason::TokenExpired, Why::Expired);
        }
        let key = CredentialDigest::from_hex(&certificate.fingerprint).map(|digest| CacheKey {
            digest,
            realm: case.realm.index,
            configuration: case.snapshot.generation,
            keys: 0,
        });
        if let Some(Found::Foreign(verified)) = key.and_then(|key| self.cache.get(&key)) {
            return Verification::Verified(verified);
        }
        if certificate.names.len() > MAX_NAMES {
            return Verification::Rejected(Reason::TokenInvalid, Why::Size);
        }
        let client = match case.realm.certificates.owner(certificate) {
            Owner::Nobody => return Verification::Rejected(Reason::TokenInvalid, Why::Certificate),
            Owner::Several => return Verification::Rejected(Reason::TokenInvalid, Why::SharedCertificate),
            Owner::One(client) if client.disabled => return Verification::Rejected(Reason::KeyDisabled, Why::Disabled),
            Owner::One(client) => client,
        };
        let verified = Arc::new(client.verified(certificate, case.realm));
        if let Some(key) = key {
            let bytes = certificate.names.iter().map(|name| name.len()).sum();
            self.cache.insert(key, Found::Foreign(Arc::clone(&verified)), bytes);
        }
        Verification::Verified(verified)
    }
}

/// For people: its names, as many as can be read at a glance.
fn describe(certificate: &ClientCertificate) -> String {
    let mut names: Vec<_> = certificate.names.iter().take(8).map(|name| &**name).collect();
    if certificate.names.len() > names.len() {
        names.push("…");
    }
    let names =
        if names.is_empty() { "without a name".to_owned() } else { format!("with the names {}", names.join(", ")) };
    match &*certificate.fingerprint {
        "" => format!("a client certificate {names}"),
        fingerprint => format!("a client certificate {names}; sha256:{fingerprint}"),
    }
}
