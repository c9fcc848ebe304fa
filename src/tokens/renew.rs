//! The access token of the request for a new one. The session knows which of its tokens is the one; the exchange is one
//! conditional write.

use super::facts::Person;
use super::mint;
use super::refusal::{Cause, Refusal};
use super::session::name_of;
use super::trace::Target;
use super::{Reply, Service};
use crate::identity::{renewals, renewed_id};
use crate::store::random_id;

impl Service<'_> {
    pub(super) async fn renew(self, access: usize) -> Result<Reply, Refusal> {
        let access = self.kind(access)?;
        let (session, jti) = self.own_token()?;
        let realm = &*self.realm.realm;
        let found = self.inner.store.session_in_force(realm, session).await?;
        let found = found.ok_or(Refusal::TokenRevoked(Cause::Revoked))?;
        let mut subject = found.subject;
        let next = renewed_id(&random_id()?, renewals(jti).saturating_add(1));
        // What a token was narrowed to, so is the next one.
        let account = self.ask.caller.as_ref().and_then(|caller| caller.account.as_ref());
        let narrowed = account.and_then(|account| account.narrowed.as_deref());
        let now = self.ask.now;
        let last = access.max_session.map(|most| mint::whole_seconds(found.session.created_at.plus(most)));
        if last.is_some_and(|last| now >= last) {
            return Err(Refusal::TokenExpired);
        }
        let made = self.access_token(access, &next, name_of(&subject), session, (narrowed, last))?;
        let mut write = self.inner.store.begin().await?;
        if !write.renew_session(session, jti, &next, made.minted.expires, now).await? {
            return Err(Refusal::TokenRevoked(Cause::Replaced));
        }
        if let Some(mut row) = made.row {
            row.owner_id = Some(subject.id.clone());
            write.issue_token(&row).await?;
        }
        write.audit(self.done("renew.ok", Target { kind: "session", id: Some(session) }));
        let seq = write.commit().await?;
        self.settle(seq).await;
        self.realm.default_roles(&mut subject);
        let person = Person::of(&subject, &self.realm.scopes_of(&subject));
        let name = person.subject.clone();
        Ok(self.answer(&self.facts().principal(person).token(&access.name, made.minted)).about(&name))
    }

    /// Session and id of the token that the request came with.
    ///
    /// # Errors
    /// It came with something else: a key, or a token of another issuer.
    pub(super) fn own_token(&self) -> Result<(&str, &str), Refusal> {
        let caller = self.ask.caller.as_ref().ok_or(Refusal::NoSession)?;
        let account = caller.account.as_ref();
        let session = account.and_then(|account| account.session.as_deref());
        session.zip(caller.credential_id.as_deref()).ok_or(Refusal::NoSession)
    }
}
