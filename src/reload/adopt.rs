//! What a new snapshot takes over from the old one: keys that were fetched or read, requests that were counted.
//!
//! Without it a reload would forgive everybody who has used up a limit, and every issuer out of reach would be lost.

use std::collections::HashMap;
use std::sync::Arc;

use crate::gate::limit::Limiter;
use crate::gate::policy::{Realm, Snapshot};
use crate::gate::verify::jwks::RemoteKeySet;
use crate::gate::verify::jwt::KeySource;
use crate::tokens::policy::Issuing;

/// Lets `new`, which nobody else holds yet, go on with what `old` has learnt. What means something else starts anew.
pub(super) fn adopt(new: &mut Snapshot, old: &Snapshot) {
    if let (Some(limit), Some(before)) = (&mut new.failure_limit, &old.failure_limit) {
        *limit = continued(limit, before);
    }
    new.owned_hosts = Arc::clone(&old.owned_hosts);
    for realm in &mut new.realms {
        let Some(before) = old.realms.iter().find(|before| before.name == realm.name) else { continue };
        match Arc::get_mut(realm) {
            Some(realm) => {
                adopt_key_sets(realm, before);
                adopt_own_keys(realm, before);
                adopt_limits(realm, before);
            }
            None => tracing::warn!(realm = &*realm.name, "keys and counted requests were not taken over"),
        }
    }
}

/// Keys to sign with go on being known where the store cannot be asked for them.
pub(super) fn adopt_keys(new: &Issuing, old: &Issuing) {
    for realm in new.realms.iter().flatten() {
        let before = old.realms.iter().flatten().find(|before| before.realm == realm.realm);
        if let Some(before) = before.filter(|before| before.keys.is_loaded()) {
            realm.keys.replace(before.keys.all().to_vec());
        }
    }
}

fn adopt_key_sets(realm: &mut Realm, before: &Realm) {
    let known: Vec<&Arc<RemoteKeySet>> = before.issuers.iter().filter_map(|issuer| issuer.keys.remote()).collect();
    for issuer in realm.issuers.iter_mut().filter_map(Arc::get_mut) {
        let KeySource::Remote(set) = &mut issuer.keys else { continue };
        // Several issuers may use one key set: each goes on with its own figures.
        let namesakes = known.iter().filter(|known| known.spec().name == set.spec().name);
        if let Some(continued) = namesakes.chain(&known).find_map(|known| set.continuing(known)) {
            *set = Arc::new(continued);
        }
    }
}

/// Keys of the realm's own are put into the new handle, which the token service shares: until the store is asked again,
/// they sign and verify on.
fn adopt_own_keys(realm: &Realm, before: &Realm) {
    let own = |realm: &Realm| realm.issuers.iter().find_map(|issuer| issuer.keys.own().cloned());
    if let (Some(keys), Some(known)) = (own(realm), own(before).filter(|known| known.is_loaded())) {
        keys.replace(known.all().to_vec());
    }
}

fn adopt_limits(realm: &mut Realm, before: &Realm) {
    let known: HashMap<&str, &Arc<Limiter>> =
        before.routes.iter().flat_map(|route| &route.limits).map(|limit| (&*limit.spec().name, limit)).collect();
    let mut adopted: HashMap<Arc<str>, Arc<Limiter>> = HashMap::new(); // routes that share a limit go on sharing it
    for route in realm.routes.iter_mut().filter_map(Arc::get_mut) {
        for limit in &mut route.limits {
            let Some(before) = known.get(&*limit.spec().name) else { continue };
            let name = Arc::clone(&limit.spec().name);
            *limit = Arc::clone(adopted.entry(name).or_insert_with(|| continued(limit, before)));
        }
    }
}

fn continued(limit: &Arc<Limiter>, before: &Arc<Limiter>) -> Arc<Limiter> {
    if limit.spec() == before.spec() {
        return Arc::clone(before);
    }
    Arc::new(Limiter::new(limit.spec().clone()).adopting(before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn snapshot() -> Snapshot {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.toml");
        let text = "[realms.shop]\nhosts = ['shop.example']\ntokens = { access = { ttl = '1h' } }\ndirectory = { type = 'local' }\n\
                    grants = [{ type = 'password', path = '/login' }]\n";
        std::fs::write(&path, text).unwrap();
        load(&path, &Sources { env: &|_| None, secrets: true }).unwrap_or_else(|problems| panic!("{problems}")).snapshot
    }

    #[test]
    fn keys_that_were_read_outlive_a_reload() {
        let (old, mut new) = (snapshot(), snapshot());
        let keys = |snapshot: &Snapshot| snapshot.realms[0].issuers[0].keys.own().cloned().unwrap();
        adopt(&mut new, &old);
        assert!(!keys(&new).is_loaded(), "what was never read is not known");
        keys(&old).replace(Vec::new());
        adopt(&mut new, &old);
        assert!(keys(&new).is_loaded());
        assert!(!Arc::ptr_eq(&keys(&new), &keys(&old)), "what the token service has is the new handle");
    }
}
