//! A key of the store as it was read, and what it proves: compiled for the realm of one configuration, and again after
//! a reload, without asking the store. What depends on the time is judged at each request.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::ledger::{Ledger, Tick};
use super::uses::Uses;
use super::{Kept, KeySource, READ_DEADLINE, Sought};
use crate::clock::UnixMillis;
use crate::gate::network::NetworkSet;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Realm;
use crate::gate::verify::{Verification, Verified};
use crate::identity::{Account, CredentialKind, OwnerScopes, Principal, ScopeSet};
use crate::store::{AddressEntry, ClientStatus, KeyInForce, KeyStatus, StoreError};

/// One text of a key, whatever its state.
#[derive(Debug)]
pub(in crate::gate::verify) struct Entry {
    /// Name of the realm.
    realm: Arc<str>,
    record: Record,
    uses: Arc<Uses>,
    /// Up to when the ledger is known to hold nothing against it.
    clean_at: AtomicU64,
    compiled: ArcSwapOption<Compiled>,
}

/// What decides of a [`KeyInForce`], without what is only told to people: there may be very many of these.
#[derive(Debug)]
struct Record {
    id: Arc<str>,
    status: KeyStatus,
    expires_at: Option<UnixMillis>,
    not_after: Option<UnixMillis>,
    scopes: Option<Box<[Box<str>]>>,
    addresses: List,
    owner: Owner,
    /// The owner's, and the key's over them.
    attributes: Arc<Map<String, Value>>,
}

/// Networks, each until when it counts.
pub(super) type List = Box<[(IpNet, Option<UnixMillis>)]>;

#[derive(Debug)]
struct Owner {
    id: Arc<str>,
    identifier: Arc<str>,
    status: ClientStatus,
    roles: Box<[Arc<str>]>,
    scopes: Option<Box<[Box<str>]>>,
    plan: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    addresses: List,
}

#[derive(Debug)]
struct Compiled {
    /// A reload makes other realms; as long as this is kept, none of them has the same address.
    realm: Weak<Realm>,
    /// From then on an address list is another.
    until: Option<UnixMillis>,
    verified: Arc<Verified>,
}

#[async_trait]
impl Kept for Entry {
    type Record = KeyInForce;

    const WHAT: &'static str = "keys";
    const DEADLINE: Duration = READ_DEADLINE;

    async fn find(source: &dyn KeySource, sought: &Sought) -> Result<Option<KeyInForce>, StoreError> {
        source.find(&sought.realm, sought.digest).await
    }

    fn belongs(KeyInForce { key, owner, .. }: &KeyInForce, realm: &str) -> bool {
        *key.realm == *realm && *owner.realm == *realm && key.owner_id == owner.id
    }

    /// The uses of the same text so far are counted on.
    fn keep(record: KeyInForce, realm: &Arc<str>, read: Tick, before: Option<&Self>) -> Self {
        let uses = before.map(|entry| &entry.uses).filter(|uses| uses.are_of(&record)).cloned();
        let uses = uses.unwrap_or_else(|| Arc::new(Uses::of(&record)));
        let record = Record::new(record, Arc::clone(uses.key_id()));
        let (realm, clean_at) = (Arc::clone(realm), AtomicU64::new(read));
        Self { realm, record, uses, clean_at, compiled: ArcSwapOption::empty() }
    }

    fn realm(&self) -> &str {
        &self.realm
    }

    fn holds(&self, ledger: &Ledger) -> bool {
        ledger.holds(&self.clean_at, &self.realm, &[&self.record.id, &self.record.owner.id])
    }

    /// The record, what is compiled from it, and the cache's own nodes.
    fn weight(&self) -> u32 {
        let Record { scopes, addresses, owner, attributes, .. } = &self.record;
        let scopes = [scopes, &owner.scopes].into_iter().flatten().flatten().map(|scope| scope.len());
        let words: usize = scopes.chain(owner.roles.iter().map(|role| role.len())).map(|len| len + 64).sum();
        let addresses = 512 * (addresses.len() + owner.addresses.len());
        let all = BASE_WEIGHT + 4 * (words + owner.identifier.len()) + 2 * map_weight(attributes) + addresses;
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

impl Entry {
    /// Id of the key.
    pub(in crate::gate::verify) fn id(&self) -> &Arc<str> {
        &self.record.id
    }

    /// What it proves at `now`, if anything.
    pub(in crate::gate::verify) fn judge(&self, realm: &Arc<Realm>, now: UnixMillis) -> Verification {
        match self.fault(now) {
            Some((reason, why)) => Verification::Rejected(reason, why),
            None => Verification::Verified(self.compiled(realm, now)),
        }
    }

    fn fault(&self, now: UnixMillis) -> Option<(Reason, Why)> {
        let Record { status, expires_at, not_after, owner, .. } = &self.record;
        match (status, owner.status) {
            (KeyStatus::Revoked, _) => return Some((Reason::KeyRevoked, Why::Revoked)),
            (KeyStatus::Disabled, _) | (_, ClientStatus::Disabled) => {
                return Some((Reason::KeyDisabled, Why::Disabled));
            }
            (KeyStatus::Active, ClientStatus::Active) => {}
        }
        if not_after.is_some_and(|end| now >= end) {
            return Some((Reason::KeyExpired, Why::Rotated));
        }
        expires_at.is_some_and(|end| now >= end).then_some((Reason::KeyExpired, Why::Expired))
    }

    fn compiled(&self, realm: &Arc<Realm>, now: UnixMillis) -> Arc<Verified> {
        if let Some(compiled) = &*self.compiled.load()
            && std::ptr::eq(compiled.realm.as_ptr(), Arc::as_ptr(realm))
            && compiled.until.is_none_or(|until| now < until)
        {
            return Arc::clone(&compiled.verified);
        }
        let entries = self.record.owner.addresses.iter().chain(&self.record.addresses);
        let until = entries.filter_map(|(_, until)| *until).filter(|end| now < *end).min();
        let verified = Arc::new(self.compile(realm, now));
        let compiled = Compiled { realm: Arc::downgrade(realm), until, verified: Arc::clone(&verified) };
        self.compiled.store(Some(Arc::new(compiled)));
        verified
    }

    fn compile(&self, realm: &Realm, now: UnixMillis) -> Verified {
        let Record { id, expires_at, not_after, scopes, addresses, owner, attributes, .. } = &self.record;
        let roles = (!owner.roles.is_empty()).then(|| realm.roles.expand(&owner.roles));
        let granted = OwnerScopes::new(owner.scopes.as_ref().map(ScopeSet::patterns), roles);
        let principal = Principal {
            kind: CredentialKind::ApiKey,
            subject: Arc::clone(&owner.identifier),
            client: Some(Arc::clone(&owner.identifier)),
            credential_id: Some(Arc::clone(id)),
            issuer: None,
            tenant: owner.tenant.clone(),
            plan: owner.plan.clone(),
            roles: owner.roles.to_vec(),
            scopes: granted.of_key(scopes.as_ref().map(ScopeSet::patterns)),
            attributes: Arc::clone(attributes),
            account: Some(Account { id: Arc::clone(&owner.id), session: None, narrowed: None }),
        };
        Verified {
            headers: realm.identity_headers.prepare(&realm.name, &principal),
            principal,
            expires: [*not_after, *expires_at].into_iter().flatten().min(),
            allow_ips: [&owner.addresses, addresses].into_iter().filter_map(|list| live(list, now)).collect(),
            issuer: None,
            uses: Some(Arc::clone(&self.uses)),
        }
    }
}

/// With two scopes this makes 2.4 KB, which is what is taken then, allocator included (`benches/store`).
const BASE_WEIGHT: usize = 1792;

impl Record {
    fn new(record: KeyInForce, id: Arc<str>) -> Self {
        let KeyInForce { key, owner, not_after, key_addresses, owner_addresses } = record;
        let mut attributes = owner.attributes;
        attributes.extend(key.attributes);
        Self {
            id,
            status: key.status,
            expires_at: key.expires_at,
            not_after,
            scopes: boxed(key.scopes),
            addresses: list(&key_addresses),
            owner: Owner {
                id: owner.id.into(),
                identifier: owner.identifier.into(),
                status: owner.status,
                roles: owner.roles.into_iter().map(Arc::from).collect(),
                scopes: boxed(owner.scopes),
                plan: owner.plan.map(Arc::from),
                tenant: owner.tenant.map(Arc::from),
                addresses: list(&owner_addresses),
            },
            attributes: Arc::new(attributes),
        }
    }
}

pub(super) fn list(entries: &[AddressEntry]) -> List {
    entries.iter().map(|entry| (entry.network, entry.expires_at)).collect()
}

fn boxed(scopes: Option<Vec<String>>) -> Option<Box<[Box<str>]>> {
    scopes.map(|scopes| scopes.into_iter().map(String::into).collect())
}

impl fmt::Display for Entry {
    /// For `explain`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { id, status, expires_at, not_after, owner, .. } = &self.record;
        write!(f, "a key of the store: {id} of owner {:?}, {}", owner.identifier, status.as_str())?;
        if owner.status != ClientStatus::Active {
            write!(f, ", its owner {}", owner.status.as_str())?;
        }
        if let Some(end) = expires_at {
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
pub(super) fn live(list: &List, now: UnixMillis) -> Option<NetworkSet> {
    let counts = |until: &Option<UnixMillis>| until.is_none_or(|end| now < end);
    (!list.is_empty()).then(|| list.iter().filter(|(_, until)| counts(until)).map(|(network, _)| *network).collect())
}

pub(super) fn map_weight(map: &Map<String, Value>) -> usize {
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
