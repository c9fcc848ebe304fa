//! An opaque token as it was read, and what it proves. It is as good as the key that it was made with, the key's owner, and
//! its session, where it has any of these.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::entry::map_weight;
use super::ledger::{Ledger, Tick};
use super::{Kept, KeySource, READ_DEADLINE, Sought};
use crate::clock::UnixMillis;
use crate::gate::outcome::{Reason, Why};
use crate::gate::policy::Realm;
use crate::gate::verify::own::OwnToken;
use crate::gate::verify::{Verification, Verified};
use crate::identity::{Account, CredentialKind, Principal, ScopeSet};
use crate::store::{ClientStatus, IssuedInForce, KeyStatus, StoreError};

/// An opaque token, whatever its state.
#[derive(Debug)]
pub(in crate::gate::verify) struct TokenEntry {
    realm: Arc<str>,
    record: IssuedInForce,
    id: Arc<str>,
    /// A token of a session is judged by that.
    of_session: Option<Arc<OwnToken>>,
    clean_at: AtomicU64,
    compiled: ArcSwapOption<(Weak<Realm>, Arc<Verified>)>,
}

/// What an opaque token proves.
pub(in crate::gate::verify) enum Proof {
    /// This is all.
    Done(Verification),
    /// Its session has the word.
    Session(Arc<OwnToken>),
}

#[async_trait]
impl Kept for TokenEntry {
    type Record = IssuedInForce;

    const WHAT: &'static str = "opaque tokens";
    const DEADLINE: Duration = READ_DEADLINE;

    async fn find(source: &dyn KeySource, sought: &Sought) -> Result<Option<IssuedInForce>, StoreError> {
        source.token(&sought.realm, sought.digest).await
    }

    fn belongs(record: &IssuedInForce, realm: &str) -> bool {
        *record.token.realm == *realm && record.owner.as_ref().is_none_or(|owner| *owner.realm == *realm)
    }

    fn keep(record: IssuedInForce, realm: &Arc<str>, read: Tick, _before: Option<&Self>) -> Self {
        let id: Arc<str> = record.token.id.as_str().into();
        let of_session = record.token.sid.as_deref();
        let of_session =
            of_session.map(|sid| Arc::new(OwnToken::opaque(Arc::clone(&id), sid, record.token.expires_at)));
        let (realm, clean_at) = (Arc::clone(realm), AtomicU64::new(read));
        Self { realm, record, id, of_session, clean_at, compiled: ArcSwapOption::empty() }
    }

    fn realm(&self) -> &str {
        &self.realm
    }

    fn holds(&self, ledger: &Ledger) -> bool {
        let token = &self.record.token;
        let others = [&token.slot, &token.issued_by, &token.owner_id, &token.sid];
        let mut ids = [&*self.id; 5];
        for (place, id) in ids.iter_mut().skip(1).zip(others) {
            *place = id.as_deref().unwrap_or(&self.id);
        }
        ledger.holds(&self.clean_at, &self.realm, &ids)
    }

    fn weight(&self) -> u32 {
        let owner = self.record.owner.as_ref().map_or(0, |owner| 512 + map_weight(&owner.attributes));
        u32::try_from(2048 + 2 * map_weight(&self.record.token.claims) + owner).unwrap_or(u32::MAX)
    }
}

impl TokenEntry {
    /// Id of the token.
    pub(in crate::gate::verify) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What it proves at `now` where tokens of `kind` are taken, if anything.
    pub(in crate::gate::verify) fn judge(&self, kind: &str, realm: &Arc<Realm>, now: UnixMillis) -> Proof {
        if let Some((reason, why)) = self.fault(kind, now) {
            return Proof::Done(Verification::Rejected(reason, why));
        }
        match &self.of_session {
            Some(token) => Proof::Session(Arc::clone(token)),
            None => Proof::Done(Verification::Verified(self.compiled(realm))),
        }
    }

    fn fault(&self, kind: &str, now: UnixMillis) -> Option<(Reason, Why)> {
        let IssuedInForce { token, key, key_gone, owner, session, .. } = &self.record;
        if *token.kind != *kind {
            return Some((Reason::TokenInvalid, Why::TokenUse));
        }
        let key_over = key.as_ref().is_some_and(|(_, end)| end.is_some_and(|end| now >= end));
        let ended = token.revoked_at.is_some()
            || key_over
            || token.used_at.is_some()
            || *key_gone
            || token.owner_id.is_some() && owner.is_none()
            || token.sid.is_some() && session.is_none()
            || session.as_ref().is_some_and(|session| session.revoked_at.is_some());
        if ended {
            return Some((Reason::TokenRevoked, Why::Revoked));
        }
        let key_in_force = key.as_ref().is_none_or(|(status, _)| *status == KeyStatus::Active);
        if !key_in_force || owner.as_ref().is_some_and(|owner| owner.status != ClientStatus::Active) {
            return Some((Reason::TokenRevoked, Why::Disabled));
        }
        (now >= token.expires_at).then_some((Reason::TokenExpired, Why::Expired))
    }

    fn compiled(&self, realm: &Arc<Realm>) -> Arc<Verified> {
        if let Some(compiled) = &*self.compiled.load()
            && std::ptr::eq(compiled.0.as_ptr(), Arc::as_ptr(realm))
        {
            return Arc::clone(&compiled.1);
        }
        let verified = Arc::new(self.compile(realm));
        self.compiled.store(Some(Arc::new((Arc::downgrade(realm), Arc::clone(&verified)))));
        verified
    }

    /// Neither roles nor scopes: the token says who somebody is, not what the owner of the key may do. The owner's list of
    /// addresses is for its own servers, and this one is held by somebody else's browser.
    fn compile(&self, realm: &Realm) -> Verified {
        let IssuedInForce { token, owner, .. } = &self.record;
        let owner = owner.as_ref();
        let text = |text: Option<&String>| text.map(|text| Arc::from(text.as_str()));
        let principal = Principal {
            kind: CredentialKind::Opaque,
            subject: token.subject.as_str().into(),
            client: owner.map(|owner| owner.identifier.as_str().into()),
            credential_id: Some(Arc::clone(&self.id)),
            issuer: Some("self".into()),
            tenant: text(owner.and_then(|owner| owner.tenant.as_ref())),
            plan: text(owner.and_then(|owner| owner.plan.as_ref())),
            roles: Vec::new(),
            scopes: ScopeSet::default(),
            attributes: Arc::new(bound(&token.claims)),
            account: token.owner_id.as_deref().map(|id| Account { id: id.into(), session: None, narrowed: None }),
        };
        Verified {
            headers: realm.identity_headers.prepare(&realm.name, &principal),
            principal,
            expires: Some(token.expires_at),
            allow_ips: Vec::new(),
            issuer: None,
            uses: None,
        }
    }
}

/// What the token is bound to.
fn bound(claims: &Map<String, Value>) -> Map<String, Value> {
    claims.get("bound").and_then(Value::as_object).cloned().unwrap_or_default()
}
