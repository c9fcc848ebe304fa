//! A session as it was read, with its principal, and what a token of it proves: compiled for the realm of one
//! configuration. Status, roles, plan, scopes and addresses are those of the principal now, not those of the token's birth.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;

use super::entry::{List, list, live, map_weight};
use super::ledger::{Ledger, Tick};
use super::{Kept, KeySource, Sought};
use crate::clock::UnixMillis;
use crate::gate::network::NetworkSet;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Realm;
use crate::gate::verify::Verification;
use crate::gate::verify::own::OwnToken;
use crate::identity::{Account, CredentialKind, OwnerScopes, Principal, ScopeSet};
use crate::store::{ClientStatus, SessionInForce, StoreError};

/// Stands in the ledger for all sessions.
pub(super) const EVERY_SESSION: &str = "every session";

/// A session, and how its principal stands at the moment.
#[derive(Clone, Debug)]
pub struct SessionFound {
    /// As the store has it, the principal's attributes replaced by those of the directory where there is one.
    pub record: SessionInForce,
    /// What the directory says.
    pub live: Live,
    /// To be asked for again after this, whatever the feed says; none = the feed tells of every change.
    pub good_for: Option<(UnixMillis, Duration)>,
}

/// What the directory says of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It may sign in.
    Active,
    /// It may not, or is gone.
    Inactive,
    /// It does not answer.
    Unknown,
}

impl SessionFound {
    /// A session whose principal the store knows all about.
    pub fn of_store(record: SessionInForce) -> Self {
        Self { record, live: Live::Active, good_for: None }
    }
}

/// A session, whatever its state.
#[derive(Debug)]
pub(in crate::gate::verify) struct SessionEntry {
    realm: Arc<str>,
    found: SessionFound,
    id: Arc<str>,
    account: Arc<str>,
    addresses: List,
    clean_at: AtomicU64,
    compiled: ArcSwapOption<Compiled>,
}

/// The principal of a session, for one configuration.
#[derive(Debug)]
pub(in crate::gate::verify) struct Compiled {
    realm: Weak<Realm>,
    /// From then on an address list is another.
    until: Option<UnixMillis>,
    /// Without what is the single token's.
    pub(in crate::gate::verify) principal: Principal,
    pub(in crate::gate::verify) allow_ips: Vec<NetworkSet>,
}

#[async_trait]
impl Kept for SessionEntry {
    type Record = SessionFound;

    const WHAT: &'static str = "sessions";
    /// A directory may have to be asked, too.
    const DEADLINE: Duration = Duration::from_secs(5);

    async fn find(source: &dyn KeySource, sought: &Sought) -> Result<Option<SessionFound>, StoreError> {
        match &sought.id {
            Some(id) => source.session(&sought.realm, id).await,
            None => Ok(None),
        }
    }

    fn belongs(SessionFound { record, .. }: &SessionFound, realm: &str) -> bool {
        let SessionInForce { session, subject, .. } = record;
        *session.realm == *realm && *subject.realm == *realm && session.subject_id == subject.id
    }

    fn keep(found: SessionFound, realm: &Arc<str>, read: Tick, _before: Option<&Self>) -> Self {
        Self {
            realm: Arc::clone(realm),
            id: found.record.session.id.as_str().into(),
            account: found.record.subject.id.as_str().into(),
            addresses: list(&found.record.addresses),
            found,
            clean_at: AtomicU64::new(read),
            compiled: ArcSwapOption::empty(),
        }
    }

    fn realm(&self) -> &str {
        &self.realm
    }

    fn holds(&self, ledger: &Ledger) -> bool {
        ledger.holds(&self.clean_at, &self.realm, &[&self.id, &self.account, EVERY_SESSION])
    }

    fn weight(&self) -> u32 {
        let subject = &self.found.record.subject;
        let words: usize =
            subject.roles.iter().chain(subject.scopes.iter().flatten()).map(|word| word.len() + 96).sum();
        let revoked: usize = self.found.record.revoked_tokens.iter().map(|jti| jti.len() + 32).sum();
        let all = 3072 + 2 * map_weight(&subject.attributes) + words + revoked + 512 * self.addresses.len();
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

impl SessionEntry {
    /// Whether what the directory said is young enough. A clock that was put back makes it old.
    pub(super) fn is_current(&self, now: UnixMillis) -> bool {
        self.found.good_for.is_none_or(|(from, time)| from <= now && now < from.plus(time))
    }

    /// Whether `token` is newer than what is known of the session: another node has renewed it, and the feed was slower
    /// than the token.
    pub(in crate::gate::verify) fn is_behind(&self, token: &OwnToken) -> bool {
        self.found.record.session.current_jti.as_ref().is_some_and(|current| token.is_after(current))
    }

    /// What `token`, one of this session, proves at `now`, if anything.
    pub(in crate::gate::verify) fn judge(&self, token: &OwnToken, realm: &Arc<Realm>, now: UnixMillis) -> Verification {
        match self.fault(token) {
            Some(verification) => verification,
            None => Verification::Verified(token.verified(&self.compiled(realm, now), realm)),
        }
    }

    fn fault(&self, token: &OwnToken) -> Option<Verification> {
        let SessionInForce { session, subject, revoked_tokens, .. } = &self.found.record;
        let revoked = |why| Some(Verification::Rejected(Reason::TokenRevoked, why));
        if !token.is_about(subject.subject.as_deref().unwrap_or(&subject.id)) {
            return Some(Verification::Rejected(Reason::TokenInvalid, Why::Claims));
        }
        if session.revoked_at.is_some() || revoked_tokens.iter().any(|jti| **jti == **token.id()) {
            return revoked(Why::Revoked);
        }
        if session.current_jti.as_ref().is_some_and(|current| **current != **token.id()) {
            return revoked(Why::Replaced);
        }
        match (subject.status, self.found.live) {
            (ClientStatus::Active, Live::Active) => None,
            (ClientStatus::Disabled, _) | (ClientStatus::Active, Live::Inactive) => revoked(Why::Disabled),
            (ClientStatus::Active, Live::Unknown) => {
                Some(Verification::Unavailable(Reason::DirectoryUnavailable, Why::DirectoryFailing))
            }
        }
    }

    fn compiled(&self, realm: &Arc<Realm>, now: UnixMillis) -> Arc<Compiled> {
        if let Some(compiled) = self.compiled.load_full()
            && std::ptr::eq(compiled.realm.as_ptr(), Arc::as_ptr(realm))
            && compiled.until.is_none_or(|until| now < until)
        {
            return compiled;
        }
        let subject = &self.found.record.subject;
        let roles: Vec<Arc<str>> = subject.roles.iter().map(|role| role.as_str().into()).collect();
        let of_roles = (!roles.is_empty()).then(|| realm.roles.expand(&roles));
        let granted = OwnerScopes::new(subject.scopes.as_ref().map(ScopeSet::patterns), of_roles);
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let name: Arc<str> = subject.subject.as_deref().unwrap_or(&subject.id).into();
        let until = self.addresses.iter().filter_map(|(_, until)| *until).filter(|end| now < *end).min();
        let compiled = Arc::new(Compiled {
            realm: Arc::downgrade(realm),
            until,
            principal: Principal {
                kind: CredentialKind::Jwt,
                client: Some(Arc::clone(&name)),
                subject: name,
                credential_id: None,
                issuer: Some("self".into()),
                tenant: text(&subject.tenant),
                plan: text(&subject.plan),
                roles,
                scopes: granted.granted().clone(),
                attributes: Arc::new(subject.attributes.clone()),
                account: Some(Account {
                    id: Arc::clone(&self.account),
                    session: Some(Arc::clone(&self.id)),
                    narrowed: None,
                }),
            },
            allow_ips: live(&self.addresses, now).into_iter().collect(),
        });
        self.compiled.store(Some(Arc::clone(&compiled)));
        compiled
    }
}
