//! A key of the store as it was read, and what it proves: compiled for the realm of one configuration, and again after
//! a reload, without asking the store. What depends on the time is judged at each request.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};

use super::ledger::{Ledger, Tick};
use super::uses::Uses;
use crate::clock::UnixMillis;
use crate::gate::network::NetworkSet;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Realm;
use crate::gate::verify::{Verification, Verified};
use crate::identity::{CredentialKind, OwnerScopes, Principal, ScopeSet};
use crate::store::{AddressEntry, ClientStatus, KeyInForce, KeyStatus};

/// One text of a key, whatever its state.
#[derive(Debug)]
pub(in crate::gate::verify) struct Entry {
    record: KeyInForce,
    uses: Arc<Uses>,
    /// Up to when the ledger is known to hold nothing against it.
    clean_at: AtomicU64,
    compiled: ArcSwapOption<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    /// A reload makes other realms; as long as this is kept, none of them has the same address.
    realm: Weak<Realm>,
    /// From then on an address list is another.
    until: Option<UnixMillis>,
    verified: Arc<Verified>,
}

impl Entry {
    /// `read`: from before the read began. `uses`: those of the same text so far, if there are any.
    pub(super) fn new(record: KeyInForce, read: Tick, uses: Option<Arc<Uses>>) -> Self {
        let uses = uses.filter(|uses| uses.are_of(&record)).unwrap_or_else(|| Arc::new(Uses::of(&record)));
        Self { record, uses, clean_at: AtomicU64::new(read), compiled: ArcSwapOption::empty() }
    }

    pub(super) fn uses(&self) -> &Arc<Uses> {
        &self.uses
    }

    /// Id of the key.
    pub(in crate::gate::verify) fn id(&self) -> &str {
        &self.record.key.id
    }

    pub(super) fn realm(&self) -> &str {
        &self.record.key.realm
    }

    /// Whether it is still as it was read, as far as the ledger knows.
    pub(super) fn holds(&self, ledger: &Ledger) -> bool {
        let KeyInForce { key, .. } = &self.record;
        ledger.holds(&self.clean_at, &key.realm, &key.id, &key.owner_id)
    }

    /// What it proves at `now`, if anything.
    pub(in crate::gate::verify) fn judge(&self, realm: &Arc<Realm>, now: UnixMillis) -> Verification {
        match self.fault(now) {
            Some((reason, why)) => Verification::Rejected(reason, why),
            None => Verification::Verified(self.compiled(realm, now)),
        }
    }

    fn fault(&self, now: UnixMillis) -> Option<(Reason, Why)> {
        let KeyInForce { key, owner, not_after, .. } = &self.record;
        match (key.status, owner.status) {
            (KeyStatus::Revoked, _) => return Some((Reason::KeyRevoked, Why::Revoked)),
            (KeyStatus::Disabled, _) | (_, ClientStatus::Disabled) => {
                return Some((Reason::KeyDisabled, Why::Disabled));
            }
            (KeyStatus::Active, ClientStatus::Active) => {}
        }
        if not_after.is_some_and(|end| now >= end) {
            return Some((Reason::KeyExpired, Why::Rotated));
        }
        key.expires_at.is_some_and(|end| now >= end).then_some((Reason::KeyExpired, Why::Expired))
    }

    fn compiled(&self, realm: &Arc<Realm>, now: UnixMillis) -> Arc<Verified> {
        if let Some(compiled) = &*self.compiled.load()
            && std::ptr::eq(compiled.realm.as_ptr(), Arc::as_ptr(realm))
            && compiled.until.is_none_or(|until| now < until)
        {
            return Arc::clone(&compiled.verified);
        }
        let lists = [&self.record.owner_addresses, &self.record.key_addresses];
        let until = lists.into_iter().flatten().filter_map(|entry| entry.expires_at).filter(|end| now < *end).min();
        let verified = Arc::new(self.compile(realm, now));
        let compiled = Compiled { realm: Arc::downgrade(realm), until, verified: Arc::clone(&verified) };
        self.compiled.store(Some(Arc::new(compiled)));
        verified
    }

    fn compile(&self, realm: &Realm, now: UnixMillis) -> Verified {
        let KeyInForce { key, owner, not_after, key_addresses, owner_addresses } = &self.record;
        let roles = (!owner.roles.is_empty()).then(|| realm.roles.expand(&owner.roles));
        let granted = OwnerScopes::new(owner.scopes.as_ref().map(ScopeSet::patterns), roles);
        let name: Arc<str> = owner.identifier.as_str().into();
        let mut attributes = owner.attributes.clone();
        attributes.extend(key.attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        let principal = Principal {
            kind: CredentialKind::ApiKey,
            subject: Arc::clone(&name),
            client: Some(name),
            credential_id: Some(key.id.as_str().into()),
            issuer: None,
            tenant: owner.tenant.as_deref().map(Arc::from),
            plan: owner.plan.as_deref().map(Arc::from),
            roles: owner.roles.iter().map(|role| role.as_str().into()).collect(),
            scopes: granted.of_key(key.scopes.as_ref().map(ScopeSet::patterns)),
            attributes: Arc::new(attributes),
        };
        Verified {
            headers: realm.identity_headers.prepare(&realm.name, &principal),
            principal,
            expires: [*not_after, key.expires_at].into_iter().flatten().min(),
            allow_ips: [owner_addresses, key_addresses].into_iter().filter_map(|list| live(list, now)).collect(),
            issuer: None,
            uses: Some(Arc::clone(&self.uses)),
        }
    }

    /// What it takes in memory, about: the record, what is compiled from it, and the cache's own nodes.
    pub(super) fn weight(&self) -> u32 {
        let KeyInForce { key, owner, key_addresses, owner_addresses, .. } = &self.record;
        let lists = [Some(&owner.roles), owner.scopes.as_ref(), key.scopes.as_ref()];
        let words: usize = lists.into_iter().flatten().flatten().map(|word| word.len() + 64).sum();
        let texts = key.name.len() + owner.identifier.len() + key.revoke_reason.as_ref().map_or(0, String::len);
        let attributes = map_weight(&key.attributes) + map_weight(&owner.attributes);
        let addresses = 512 * (key_addresses.len() + owner_addresses.len());
        let all = BASE_WEIGHT + 4 * (words + texts) + 2 * attributes + addresses;
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

/// With two scopes this makes 3.3 KB, of which 3.0 are allocated.
const BASE_WEIGHT: usize = 2560;

impl fmt::Display for Entry {
    /// For `explain`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyInForce { key, owner, not_after, .. } = &self.record;
        write!(f, "a key of the store: {} of owner {:?}, {}", key.id, owner.identifier, key.status.as_str())?;
        if owner.status != ClientStatus::Active {
            write!(f, ", its owner {}", owner.status.as_str())?;
        }
        if let Some(end) = key.expires_at {
            write!(f, ", expires {end}")?;
        }
        if let Some(end) = not_after {
            write!(f, "; this is the text before its rotation, good until {end}")?;
        }
        Ok(())
    }
}

/// The networks of a list; none = there is no list, and every address is allowed. A list whose entries have all run out
/// is still a list: it allows no address, for time alone must not open what somebody has closed.
fn live(list: &[AddressEntry], now: UnixMillis) -> Option<NetworkSet> {
    let counts = |entry: &&AddressEntry| entry.expires_at.is_none_or(|end| now < end);
    (!list.is_empty()).then(|| list.iter().filter(counts).map(|entry| entry.network).collect())
}

fn map_weight(map: &Map<String, Value>) -> usize {
    map.iter().map(|(name, value)| 96 + name.len() + value_weight(value)).sum()
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(value_weight).sum::<usize>(),
        Value::Object(map) => 64 + map_weight(map),
    }
}
