//! Ending a token (RFC 7009). Whatever cannot be ended is answered like what was: the purpose is achieved already.

use super::client::Proven;
use super::standard;
use crate::tokens::recognize::{Known, recognize};
use crate::tokens::refusal::Refusal;
use crate::tokens::trace::Target;
use crate::tokens::{Reply, Service};

impl Service<'_> {
    pub(in crate::tokens) async fn revoke(self) -> Result<Reply, Refusal> {
        let form = self.form()?;
        let proven = self.client(&form).await?;
        let token = form.get("token").ok_or_else(|| standard("invalid_request", "token is missing."))?;
        let known = recognize(&self.inner.store, self.realm, token, self.ask.now).await?;
        self.end(&proven, known).await?;
        Ok(Reply::json(200, &serde_json::json!({})).about(&proven.client.identifier))
    }

    /// Ends the token, if it is the client's own.
    async fn end(self, proven: &Proven<'_>, known: Known) -> Result<(), Refusal> {
        let (realm, now) = (&*self.realm.realm, self.ask.now);
        let client = &proven.client.id;
        let mut write = self.inner.store.begin().await?;
        let target = match &known {
            Known::Access(claims) => {
                let session = claims.session.as_deref().unwrap_or_default();
                let found = self.inner.store.session(session).await?;
                if !found.is_some_and(|session| session.subject_id == *client && *session.realm == *realm) {
                    return Ok(());
                }
                write.revoke_jti(realm, session, &claims.id, claims.expires, now).await?;
                Target { kind: "token", id: Some(&claims.id) }
            }
            // The tokens of the whole session go with it (RFC 7009 section 2.1).
            Known::Refresh(found) if found.session.subject_id == *client => {
                write.revoke_session(&found.session.id, "revoked by the client", now).await?;
                Target { kind: "session", id: Some(&found.session.id) }
            }
            Known::Issued(found) if found.token.owner_id.as_ref() == Some(client) => {
                write.revoke_token(realm, &found.token.id, now).await?;
                Target { kind: "token", id: Some(&found.token.id) }
            }
            Known::Refresh(_) | Known::Issued(_) | Known::Nothing => return Ok(()),
        };
        write.audit(self.done("token.revoked", target));
        proven.turn.succeeded(&mut write, realm, client, now).await?;
        let seq = write.commit().await?;
        self.settle(seq).await;
        Ok(())
    }
}
