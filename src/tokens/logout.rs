//! Ending what the request's token belongs to. When it is answered, nothing of it works any more on this node.

use super::facts::Person;
use super::mint;
use super::policy::Revokes;
use super::refusal::Refusal;
use super::trace::{Target, with};
use super::{Reply, Service};

impl Service<'_> {
    pub(super) async fn logout(self, revokes: Revokes) -> Result<Reply, Refusal> {
        let (session, jti) = self.own_token()?;
        let caller = self.ask.caller.as_ref().ok_or(Refusal::NoSession)?;
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
        let person = Person {
            subject: caller.subject.to_string(),
            id: Some(account.id.to_string()),
            identifier: caller.client.as_deref().unwrap_or(&caller.subject).to_owned(),
            plan: caller.plan.as_deref().map(str::to_owned),
            tenant: caller.tenant.as_deref().map(str::to_owned),
            roles: caller.roles.iter().map(|role| role.to_string()).collect(),
            scopes: caller.scopes.iter().collect::<Vec<_>>().join(" "),
            attributes: (*caller.attributes).clone(),
        };
        Ok(self.answer(&self.facts().principal(person)).about(&caller.subject))
    }
}
