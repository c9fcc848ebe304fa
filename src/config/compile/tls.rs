//! TLS of listeners.

use std::sync::Arc;

use super::secret::{self, Found};
use super::{Compiler, Input};
use crate::clock::{Clock, SystemClock, UnixMillis};
use crate::config::files::MAX_KEYS;
use crate::config::keys::{Listener, Tls, TlsCertificate};
use crate::config::value::tls::{Alpn, CertificateDemand, TlsVersion};
use crate::config::walk::{Item, Slot};
use crate::tls::{Certificate, Clients, ListenerTls, Listeners, Oldest, Protocol, Terms, certificates_in, suites};

/// Which listener it is: the admin API is served by HTTP/1.1 alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Serves {
    Requests,
    Administration,
}

/// The TLS of every listener that has it.
pub(super) fn listeners(work: &mut Compiler<'_>, input: &Input) -> Listeners<ListenerTls> {
    // As rustls will see it: certificates are of the world outside, whatever time a test has set.
    let now = SystemClock.now();
    let listed = &input.server.listen.value;
    let server = listed.iter().map(|listener| of(work, &listener.value, Serves::Requests, now)).collect();
    Listeners { server, admin: of(work, &input.admin.listen.value, Serves::Administration, now) }
}

fn of(work: &mut Compiler<'_>, listener: &Listener, serves: Serves, now: UnixMillis) -> Option<ListenerTls> {
    let tls = listener.tls.get()?;
    let Tls { certificates, min_version, cipher_suites, alpn, session_tickets, client_ca, client_certificates } =
        &tls.value;
    let certificates = shown(work, certificates, now);
    let suites = match cipher_suites {
        Slot::Given(list) => {
            work.not_empty(list);
            distinct(work, list, |suite| suite.0);
            Some(list.value.iter().map(|item| item.value.0).collect())
        }
        Slot::Absent(_) => Some(suites().map(|(_, suite)| suite).collect()),
        Slot::Bad => None,
    };
    let protocols = protocols(work, alpn, serves);
    let clients = clients(work, client_ca, client_certificates);
    let terms = Terms {
        listener: Arc::from(listener.address.value()?.to_string()),
        certificates: certificates?,
        oldest: match min_version.value {
            TlsVersion::Tls12 => Oldest::Tls12,
            TlsVersion::Tls13 => Oldest::Tls13,
        },
        suites: suites?,
        protocols,
        tickets: session_tickets.value,
        clients: clients?,
    };
    // Those are told already.
    let complete = !terms.certificates.is_empty() && !terms.suites.is_empty();
    complete.then(|| work.good(&tls.at, ListenerTls::new(terms))).flatten()
}

/// The certificates of a listener; none where one is no good.
fn shown(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<TlsCertificate>>>, now: UnixMillis) -> Option<Vec<Certificate>> {
    let list = slot.get()?;
    work.not_empty(list);
    let read: Vec<_> = list.value.iter().map(|item| certificate(work, item.value.cert.get()?, now)).collect();
    for (index, item) in list.value.iter().enumerate() {
        let (Some(Some(certificate)), Some(cert)) = (read.get(index), item.value.cert.get()) else { continue };
        let earlier = || read.iter().take(index).flatten();
        for name in certificate.names() {
            if let Some(other) = earlier().find(|other| other.names().contains(name)) {
                let text = format!("the certificate is for {name:?}, and so is {:?}", other.label());
                work.fault(&cert.at, text + ": only one of them could be shown");
            }
        }
    }
    let keyed = read.into_iter().zip(&list.value).map(|(read, item)| with_key(work, read, &item.value));
    keyed.collect::<Vec<_>>().into_iter().collect()
}

fn certificate(work: &mut Compiler<'_>, cert: &Item<String>, now: UnixMillis) -> Option<Certificate> {
    let (path, pem) = work.file(&cert.at, &cert.value, MAX_KEYS)?;
    let told = |fault: &str| format!("the file {} {fault}", path.display());
    let certificate = match Certificate::read(&cert.value, &pem) {
        Ok(certificate) => certificate,
        Err(faults) => {
            faults.iter().for_each(|fault| work.fault(&cert.at, told(fault)));
            return None;
        }
    };
    if certificate.not_after() <= now {
        work.warn(&cert.at, told(&format!("holds a certificate that expired at {}", certificate.not_after())));
    } else if certificate.not_before() > now {
        let from = certificate.not_before();
        work.warn(&cert.at, told(&format!("holds a certificate that is not valid before {from}")));
    }
    Some(certificate)
}

/// Puts its key to a certificate. The key is looked for also where the certificate is no good.
fn with_key(work: &mut Compiler<'_>, certificate: Option<Certificate>, raw: &TlsCertificate) -> Option<Certificate> {
    let key = raw.key.get()?;
    match (secret::secret(work, key), certificate?) {
        (Found::Bytes(pem), certificate) => work.good(&key.at, certificate.with_key(pem.expose())),
        (Found::StandIn, certificate) => Some(certificate),
        (Found::Nothing, _) => None,
    }
}

fn protocols(work: &mut Compiler<'_>, alpn: &Item<Vec<Item<Alpn>>>, serves: Serves) -> Vec<Protocol> {
    work.not_empty(alpn);
    distinct(work, alpn, |word| *word);
    let offered = |word: Alpn| match word {
        Alpn::H2 => Protocol::H2,
        Alpn::Http11 => Protocol::Http11,
    };
    if serves == Serves::Requests {
        return alpn.value.iter().map(|item| offered(item.value)).collect();
    }
    for item in alpn.value.iter().filter(|item| alpn.given && item.value == Alpn::H2) {
        work.fault(&item.at, "the admin listener speaks \"http/1.1\" only");
    }
    vec![Protocol::Http11]
}

/// Whose certificates clients may show. The outer none: there was a problem.
fn clients(
    work: &mut Compiler<'_>,
    authorities: &Slot<String>,
    demand: &Slot<CertificateDemand>,
) -> Option<Option<Clients>> {
    let authorities = match authorities {
        Slot::Given(name) => {
            let pem = work.authorities(&name.at, &name.value)?;
            certificates_in(&pem)?
        }
        Slot::Absent(_) => {
            if let Some(demand) = demand.get() {
                work.fault(&demand.at, "is of no use without `client_ca`, the authorities that vouch for clients");
            }
            return Some(None);
        }
        Slot::Bad => return None,
    };
    let required = match demand {
        Slot::Given(demand) => demand.value == CertificateDemand::Required,
        Slot::Absent(_) => true,
        Slot::Bad => return None,
    };
    Some(Some(Clients { authorities, required }))
}

/// What stands twice in a list is a slip.
fn distinct<T, K: PartialEq>(work: &mut Compiler<'_>, list: &Item<Vec<Item<T>>>, key: impl Fn(&T) -> K) {
    for (index, item) in list.value.iter().enumerate() {
        if list.value.iter().take(index).any(|earlier| key(&earlier.value) == key(&item.value)) {
            work.fault(&item.at, "stands here twice");
        }
    }
}
