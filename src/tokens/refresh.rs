//! A refresh token for new tokens.
//!
//! What claims the token is one conditional write, which also proves that its session and its principal live: of many that
//! come at once, one wins. An old token that comes back is refused; whether its session ends for that depends on how long
//! ago it was replaced (`reuse_leeway`), for honest clients send twice what was lost on the way. Rotated and revoked are
//! two states: what was revoked never comes into anybody's leeway.

use super::facts::Person;
use super::mint;
use super::own::{self, Bad};
use super::policy::{Format, Kind};
use super::refusal::{Cause, Refusal};
use super::session::name_of;
use super::trace::{Target, with};
use super::{Reply, Service, directory};
use crate::store::{ClientSource, NewRefresh, RefreshInForce, RefreshRecord, RefreshState, Write, random_id};

/// What becomes of a token that is not the one in force.
enum Old {
    /// It is answered again, with this successor.
    Again(Box<RefreshRecord>),
    /// It is refused, and nothing else happens.
    Refused(Cause),
    /// It is refused, and its session ends.
    Ends,
}

impl Service<'_> {
    pub(super) async fn refresh(self, field: &str, access: usize, refresh: usize) -> Result<Reply, Refusal> {
        let fields = self.fields()?;
        let text = fields.get(field).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (access, kind) = (self.kind(access)?, self.kind(refresh)?);
        let found = self.find(kind, text).await?;
        self.check_addresses(&found.addresses)?;
        self.still_welcome(&found).await?;
        match found.token.state {
            RefreshState::Revoked => Err(Refusal::RefreshInvalid(Cause::Revoked)),
            RefreshState::Active if !kind.rotate => self.keep(access, kind, &found, text).await,
            RefreshState::Active => self.rotate(access, kind, found).await,
            RefreshState::Rotated => {
                let mut write = self.inner.store.begin().await?;
                let old = self.judge_old(kind, &found.token, &mut write).await?;
                self.answer_old(access, kind, &found, old, write).await
            }
        }
    }

    /// The token's record, if it is one that could be good.
    async fn find(self, kind: &Kind, text: &str) -> Result<RefreshInForce, Refusal> {
        let (store, realm) = (&self.inner.store, &*self.realm.realm);
        let found = match kind.format {
            Format::Jwt { .. } => {
                let claims = own::read(self.realm, kind, text, self.ask.now).map_err(|bad| match bad {
                    Bad::Invalid(cause) => Refusal::RefreshInvalid(cause),
                    Bad::Expired => Refusal::RefreshExpired,
                    Bad::NoKeys => Refusal::KeysUnavailable,
                })?;
                store.refresh_in_force(realm, &claims.id).await?
            }
            Format::Opaque { .. } => {
                let digest = own::opaque_digest(kind, text).ok_or(Refusal::RefreshInvalid(Cause::Format))?;
                store.refresh_by_digest(realm, &digest).await?
            }
        };
        let found = found.ok_or(Refusal::RefreshInvalid(Cause::Unknown))?;
        if self.ask.now >= found.token.expires_at {
            return Err(Refusal::RefreshExpired);
        }
        if found.session.revoked_at.is_some() {
            return Err(Refusal::RefreshInvalid(Cause::Revoked));
        }
        Ok(found)
    }

    /// Whoever the session is of may still sign in.
    async fn still_welcome(self, found: &RefreshInForce) -> Result<(), Refusal> {
        let subject = &found.subject;
        let live = match subject.source {
            ClientSource::Local => None,
            ClientSource::Directory => directory::live(self.inner, self.realm, name_of(subject), self.ask.now).await?,
        };
        if let Some((live, _)) = &live {
            self.check_addresses(&directory::as_entries(live))?;
        }
        if subject.status.may_act() && live.is_none_or(|(live, _)| live.active) {
            Ok(())
        } else {
            Err(Refusal::RefreshInvalid(Cause::Disabled))
        }
    }

    async fn rotate(self, access: &Kind, kind: &Kind, found: RefreshInForce) -> Result<Reply, Refusal> {
        let RefreshInForce { token, session, subject, .. } = &found;
        let generation = token.generation.saturating_add(1);
        let (refreshed, row) =
            self.refresh_token(kind, &session.id, name_of(subject), generation, session.created_at)?;
        let expires_at = row.expires_at.max(mint::end(access, self.ask.now));
        let mut write = self.inner.store.begin().await?;
        if !write.rotate_refresh(&token.jti, &row, expires_at, self.ask.now).await? {
            // Somebody else was faster, or the session has just ended.
            let Some(token) = write.refresh_token(&token.jti).await? else {
                return Err(Refusal::RefreshInvalid(Cause::Unknown));
            };
            let old = self.judge_old(kind, &token, &mut write).await?;
            return self.answer_old(access, kind, &found, old, write).await;
        }
        write.audit(self.done("refresh.ok", Target { kind: "session", id: Some(&session.id) }));
        self.reply(access, kind, &found, refreshed, write).await
    }

    /// A kind that is not rotated: the same token goes on.
    async fn keep(self, access: &Kind, kind: &Kind, found: &RefreshInForce, text: &str) -> Result<Reply, Refusal> {
        let write = self.inner.store.begin().await?;
        let token = &found.token;
        let same = mint::Minted { text: text.to_owned().into(), issued: token.issued_at, expires: token.expires_at };
        self.reply(access, kind, found, same, write).await
    }

    async fn reply(
        self,
        access: &Kind,
        kind: &Kind,
        found: &RefreshInForce,
        refreshed: mint::Minted,
        mut write: Write,
    ) -> Result<Reply, Refusal> {
        let RefreshInForce { session, subject, .. } = found;
        let made = self.access_token(access, &random_id()?, name_of(subject), &session.id, (None, None))?;
        if let Some(mut row) = made.row {
            row.owner_id = Some(subject.id.clone());
            write.issue_token(&row).await?;
        }
        write.commit().await?;
        let mut subject = subject.clone();
        self.realm.default_roles(&mut subject);
        let person = Person::of(&subject, &self.realm.scopes_of(&subject));
        let name = person.subject.clone();
        let facts = self.facts().principal(person).token(&access.name, made.minted).token(&kind.name, refreshed);
        Ok(self.answer(&facts).about(&name))
    }

    async fn judge_old(self, kind: &Kind, token: &RefreshRecord, write: &mut Write) -> Result<Old, Refusal> {
        let RefreshRecord { state, rotated_at, successor, .. } = token;
        let (RefreshState::Rotated, Some(rotated_at)) = (state, rotated_at) else {
            return Ok(Old::Refused(Cause::Revoked));
        };
        // A clock that lies behind the one that wrote this makes no time pass.
        let age = self.ask.now.since(*rotated_at);
        if age < kind.reuse_grace
            && let Some(successor) = successor
            && let Some(successor) = write.refresh_token(successor).await?
            && successor.state == RefreshState::Active
        {
            return Ok(Old::Again(Box::new(successor)));
        }
        Ok(if age < kind.reuse_leeway { Old::Refused(Cause::Replaced) } else { Old::Ends })
    }

    async fn answer_old(
        self,
        access: &Kind,
        kind: &Kind,
        found: &RefreshInForce,
        old: Old,
        mut write: Write,
    ) -> Result<Reply, Refusal> {
        let target = Target { kind: "session", id: Some(&found.session.id) };
        match old {
            Old::Again(successor) => {
                let row = NewRefresh {
                    jti: successor.jti,
                    sid: successor.sid,
                    generation: successor.generation,
                    digest: None,
                    issued_at: successor.issued_at,
                    expires_at: successor.expires_at,
                };
                let (refreshed, _) = self.refresh_text(kind, row, name_of(&found.subject))?;
                write.audit(with(self.done("refresh.ok", target), "again", true.into()));
                self.reply(access, kind, found, refreshed, write).await
            }
            Old::Refused(cause) => {
                write.audit(self.denied("refresh.denied", target, "replaced"));
                write.commit().await?;
                Err(Refusal::RefreshInvalid(cause))
            }
            Old::Ends => {
                let ended =
                    write.revoke_session(&found.session.id, "a refresh token was used twice", self.ask.now).await?;
                if ended {
                    write.audit(self.denied("refresh.reuse_detected", target, "refresh_reused"));
                }
                let seq = write.commit().await?;
                self.settle(seq).await;
                Err(if ended { Refusal::RefreshReused } else { Refusal::RefreshInvalid(Cause::Revoked) })
            }
        }
    }
}
