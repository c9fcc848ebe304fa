//! Ending a token (RFC 7009). Whatever cannot be ended is answered like what was: the purpose is achieved already.

use super::client::Proven;
use super::standard;
use crate::store::{IssuedInForce, RefreshInForce};
use crate::tokens::policy::{Format, Kind};
use crate::tokens::refusal::Refusal;
use crate::tokens::trace::Target;
use crate::tokens::{Reply, Service, mint, own};

/// What a token turns out to be.
pub(super) enum Known {
    /// A signed access token of a session.
    Access(own::Claims),
    /// A refresh token.
    Refresh(Box<RefreshInForce>),
    /// Something that was issued and is in the store by itself.
    Issued(Box<IssuedInForce>),
    /// Nothing of this realm.
    Nothing,
}

impl Service<'_> {
    pub(in crate::tokens) async fn revoke(self) -> Result<Reply, Refusal> {
        let form = self.form()?;
        let proven = self.client(&form).await?;
        let token = form.get("token").ok_or_else(|| standard("invalid_request", "token is missing."))?;
        let known = self.recognize(token).await?;
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

    /// What a text is, whatever its state.
    pub(super) async fn recognize(self, text: &str) -> Result<Known, Refusal> {
        let (store, realm) = (&self.inner.store, &*self.realm.realm);
        if text.contains('.') {
            let claims = match own::read_any(self.realm, text, self.ask.now) {
                Ok(claims) => claims,
                Err(own::Bad::NoKeys) => return Err(Refusal::KeysUnavailable),
                Err(own::Bad::Invalid(_) | own::Bad::Expired) => return Ok(Known::Nothing),
            };
            let kind = claims.all.get("token_use").and_then(serde_json::Value::as_str);
            return Ok(match kind {
                Some("refresh") => {
                    let found = store.refresh_in_force(realm, &claims.id).await?;
                    found.map_or(Known::Nothing, |found| Known::Refresh(Box::new(found)))
                }
                Some("access") => Known::Access(claims),
                _ => {
                    let found = store.issued_token(realm, &claims.id).await?;
                    found.map_or(Known::Nothing, |found| Known::Issued(Box::new(found)))
                }
            });
        }
        for kind in self.realm.kinds.iter().filter(|kind| matches!(kind.format, Format::Opaque { .. })) {
            if let Some(known) = self.recognize_opaque(kind, text).await? {
                return Ok(known);
            }
        }
        Ok(Known::Nothing)
    }

    async fn recognize_opaque(self, kind: &Kind, text: &str) -> Result<Option<Known>, Refusal> {
        let Some(digest) = own::opaque_digest(kind, text) else { return Ok(None) };
        let (store, realm) = (&self.inner.store, &*self.realm.realm);
        if *kind.token_use == *"refresh" {
            let found = store.refresh_by_digest(realm, &digest).await?;
            return Ok(found.map(|found| Known::Refresh(Box::new(found))));
        }
        let found = store.issued_in_force(realm, &digest).await?;
        Ok(found.filter(|found| *found.token.kind == *kind.name).map(|found| Known::Issued(Box::new(found))))
    }
}

/// Whether `end` is still to come, in whole seconds as tokens tell it.
pub(super) fn lasts(end: crate::clock::UnixMillis, now: crate::clock::UnixMillis) -> bool {
    mint::whole_seconds(now) < end
}
