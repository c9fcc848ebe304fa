//! Ending a token (RFC 7009). Whatever cannot be ended is answered like what was: the purpose is achieved already.

use super::standard;
use crate::tokens::recognize::{Known, recognize};
use crate::tokens::refusal::Refusal;
use crate::tokens::trace::Target;
use crate::tokens::{Reply, Service};

impl Service<'_> {
    pub(in crate::tokens) async fn revoke(self) -> Result<Reply, Refusal> {
        let form = self.form()?;
        let client = self.client(&form).await?;
        let token = form.get("token").ok_or_else(|| standard("invalid_request", "token is missing."))?;
        let known = recognize(&self.inner.store, self.realm, token, self.ask.now).await?;
        let id = &client.proven.client.id;
        if self.belongs(&known, id).await? {
            self.end(&known).await?;
        }
        self.welcome_client(&client).await?;
        Ok(Reply::json(200, &serde_json::json!({})).about(&client.proven.client.identifier))
    }

    /// Whether the token was issued to the client with this id.
    async fn belongs(self, known: &Known, client: &str) -> Result<bool, Refusal> {
        Ok(match known {
            Known::Access(claims) => {
                let session = self.inner.store.session(claims.session.as_deref().unwrap_or_default()).await?;
                session.is_some_and(|session| session.subject_id == client && session.realm == *self.realm.realm)
            }
            Known::Refresh(found) => found.session.subject_id == client,
            Known::Issued(found) => found.token.owner_id.as_deref() == Some(client),
            Known::Nothing => false,
        })
    }

    async fn end(self, known: &Known) -> Result<(), Refusal> {
        let (realm, now) = (&*self.realm.realm, self.ask.now);
        let mut write = self.inner.store.begin().await?;
        let target = match known {
            Known::Access(claims) => {
                let session = claims.session.as_deref().unwrap_or_default();
                write.revoke_jti(realm, session, &claims.id, claims.expires, now).await?;
                Target { kind: "token", id: Some(&claims.id) }
            }
            // The tokens of the whole session go with it (RFC 7009 section 2.1).
            Known::Refresh(found) => {
                write.revoke_session(&found.session.id, "revoked by the client", now).await?;
                Target { kind: "session", id: Some(&found.session.id) }
            }
            Known::Issued(found) => {
                write.revoke_token(realm, &found.token.id, now).await?;
                Target { kind: "token", id: Some(&found.token.id) }
            }
            Known::Nothing => return Ok(()),
        };
        write.audit(self.done("token.revoked", target));
        let seq = write.commit().await?;
        self.settle(seq).await;
        Ok(())
    }
}
