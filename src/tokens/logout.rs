//! Ending what the request's token belongs to. When it is answered, nothing of it works any more on this node.

use super::facts::Person;
use super::mint;
use super::policy::Revokes;
use super::refusal::Refusal;
use super::trace::{Target, with};
use super::{Reply, Service};
use crate::identity::{CredentialKind, Principal};

impl Service<'_> {
    pub(super) async fn logout(self, revokes: Revokes) -> Result<Reply, Refusal> {
        let caller = self.ask.caller.as_ref().ok_or(Refusal::NoSession)?;
        if caller.kind == CredentialKind::Opaque {
            return self.end_opaque(caller).await;
        }
        let (session, jti) = self.own_token()?;
        let account = caller.account.as_ref().ok_or(Refusal::NoSession)?;
        let now = self.ask.now;
        let mut write = self.inner.store.begin().await?;
        let (what, ended) = match revokes {
            Revokes::Token => {
                let expires = self.ask.caller_expires.unwrap_or_else(|| mint::whole_seconds(now));
                write.revoke_jti(&self.realm.realm, session, jti, expires, now).await?;
                write.revoke_token(&self.realm.realm, jti, now).await?;
                ("token", 1)
            }
            Revokes::Session => ("session", u64::from(write.revoke_session(session, "logout", now).await?)),
            Revokes::Subject => ("subject", write.revoke_sessions_of(&account.id, "logout", None, now).await?),
        };
        let event = with(self.done("logout", Target { kind: "session", id: Some(session) }), "ends", what.into());
        write.audit(with(event, "count", ended.into()));
        let seq = write.commit().await?;
        self.settle(seq).await;
        Ok(self.goodbye(caller))
    }

    /// A token that is a session by itself.
    async fn end_opaque(self, caller: &Principal) -> Result<Reply, Refusal> {
        let id = caller.credential_id.as_deref().ok_or(Refusal::NoSession)?;
        let mut write = self.inner.store.begin().await?;
        write.revoke_token(&self.realm.realm, id, self.ask.now).await?;
        write.audit(self.done("logout", Target { kind: "token", id: Some(id) }));
        let seq = write.commit().await?;
        self.settle(seq).await;
        Ok(self.goodbye(caller))
    }

    fn goodbye(self, caller: &Principal) -> Reply {
        self.answer(&self.facts().principal(Person::proven(caller))).about(&caller.subject)
    }
}
