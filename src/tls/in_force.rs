//! The TLS in force: what the next handshake of each listener is made with.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ListenerTls;
use crate::clock::UnixMillis;

/// Something for each listener; none where the listener is plain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners<T> {
    /// Of the listeners of `server.listen`, in their order.
    pub server: Vec<Option<T>>,
    /// Of the admin listener.
    pub admin: Option<T>,
}

impl<T> Listeners<T> {
    fn each(&self) -> impl Iterator<Item = &Option<T>> {
        self.server.iter().chain([&self.admin])
    }

    /// Those that are not plain.
    pub fn secured(&self) -> impl Iterator<Item = &T> {
        self.each().flatten()
    }
}

/// The TLS of a listener, which a reload replaces whole.
#[derive(Debug)]
pub struct InForce(ArcSwap<ListenerTls>);

impl InForce {
    fn new(tls: ListenerTls) -> Self {
        Self(ArcSwap::from_pointee(tls))
    }

    /// What the next handshake is made with.
    pub fn current(&self) -> Arc<ListenerTls> {
        self.0.load_full()
    }

    /// Puts another in force, unless it is made of the same: session tickets go on being good then, and only then. Whoever
    /// was vouched for by an authority that is gone cannot resume.
    fn replace(&self, tls: ListenerTls) {
        if **self.0.load() != tls {
            self.0.store(Arc::new(tls));
        }
    }
}

impl Listeners<Arc<InForce>> {
    /// Puts the first in force.
    pub fn begin(tls: Listeners<ListenerTls>) -> Self {
        let one = |tls: Option<ListenerTls>| tls.map(|tls| Arc::new(InForce::new(tls)));
        Self { server: tls.server.into_iter().map(one).collect(), admin: one(tls.admin) }
    }

    /// Keys of listeners that would be plain from now on, or no longer: that is a matter of a start.
    pub fn restart_only_changes(&self, tls: &Listeners<ListenerTls>) -> Vec<&'static str> {
        let shape = |secured: &mut dyn Iterator<Item = bool>| secured.collect::<Vec<_>>();
        let before = shape(&mut self.server.iter().map(Option::is_some));
        let after = shape(&mut tls.server.iter().map(Option::is_some));
        let same = [("server.listen", before == after), ("admin.listen", self.admin.is_some() == tls.admin.is_some())];
        same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }

    /// Puts another TLS in force, which has the same shape.
    pub fn replace(&self, tls: Listeners<ListenerTls>) {
        for (now, then) in self.each().zip(tls.server.into_iter().chain([tls.admin])) {
            if let (Some(now), Some(then)) = (now, then) {
                now.replace(then);
            }
        }
    }

    /// Each listener, each of its certificates, and when that expires.
    pub fn expiries(&self) -> Vec<(Arc<str>, Arc<str>, UnixMillis)> {
        let mut expiries = Vec::new();
        for tls in self.secured().map(|one| one.current()) {
            for certificate in tls.certificates() {
                let label = Arc::from(certificate.label());
                expiries.push((Arc::clone(tls.listener()), label, certificate.not_after()));
            }
        }
        expiries
    }
}
