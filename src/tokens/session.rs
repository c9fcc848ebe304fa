//! Beginning a session: its row, its tokens, and their answer.

use std::net::IpAddr;

use serde_json::Map;

use super::facts::Person;
use super::mint::{self, Content, Minted};
use super::policy::{Action, Format, Kind, RealmTokens};
use super::refusal::{Cause, Refusal};
use super::trace::Target;
use super::{Reply, Service};
use crate::clock::UnixMillis;
use crate::identity::{OwnerScopes, ScopeSet};
use crate::store::{AddressEntry, Client, Expected, IdKind, NewIssued, NewRefresh, NewSession, Write, random_id};

/// Characters of a user agent that are kept.
const AGENT: usize = 256;

/// Whom a session is for.
pub(super) struct Beginner<'a> {
    /// The principal, as it is now.
    pub(super) client: &'a Client,
    /// The hash that its password was found to fit: the session begins only if it is still that.
    pub(super) password_phc: Option<String>,
    /// Scopes that the token is narrowed to.
    pub(super) scope: Option<String>,
}

/// A session that is to begin: everything but the writing.
pub(super) struct Beginning<'a> {
    session: NewSession,
    refresh: Option<NewRefresh>,
    issued: Option<NewIssued>,
    expected: Expected,
    pub(super) minted: Vec<(&'a str, Minted)>,
}

impl<'a> Service<'a> {
    /// Prepares a session with an access token and, where `refresh` is given, a refresh token.
    pub(super) fn prepare(
        self,
        who: &Beginner<'_>,
        access: usize,
        refresh: Option<usize>,
    ) -> Result<Beginning<'a>, Refusal> {
        let now = self.ask.now;
        let (access, refresh) = (self.kind(access)?, refresh.map(|kind| self.kind(kind)).transpose()?);
        let id = IdKind::Session.generate(now)?;
        let jti = random_id()?;
        let subject = name_of(who.client);
        let made = self.access_token(access, &jti, subject, &id, (who.scope.as_deref(), None))?;
        let mut minted = vec![(&*access.name, made.minted)];
        let mut issued = made.row;
        if let Some(issued) = &mut issued {
            issued.owner_id = Some(who.client.id.clone());
        }
        let mut row = None;
        let mut expires_at = mint::end(access, now);
        if let Some(kind) = refresh {
            let (token, refresh) = self.refresh_token(kind, &id, subject, 0, now)?;
            expires_at = expires_at.max(refresh.expires_at);
            minted.push((&*kind.name, token));
            row = Some(refresh);
        }
        let agent = self.ask.user_agent.as_deref().map(|agent| agent.chars().take(AGENT).collect());
        Ok(Beginning {
            session: NewSession {
                id,
                realm: self.realm.realm.to_string(),
                subject_id: who.client.id.clone(),
                grant: self.grant.action.as_str().to_owned(),
                client_ip: self.ask.client_ip.map(|ip| ip.to_string()),
                user_agent: agent,
                at: now,
                expires_at,
                current_jti: (refresh.is_none() && self.realm.renews()).then_some(jti),
            },
            refresh: row,
            issued,
            expected: Expected { password_phc: who.password_phc.clone() },
            minted,
        })
    }

    /// Writes a session that was prepared.
    ///
    /// # Errors
    /// [`Refusal::InvalidCredentials`]: the principal was switched off, or its password changed, in the meantime.
    pub(super) async fn begin(self, write: &mut Write, beginning: &Beginning<'_>) -> Result<(), Refusal> {
        let Beginning { session, refresh, issued, expected, .. } = beginning;
        let ip = self.ask.client_ip.map(|ip| ip.to_string());
        if !write.begin_session(session, refresh.as_ref(), expected, ip.as_deref()).await? {
            return Err(Refusal::InvalidCredentials(Cause::Disabled));
        }
        if let Some(token) = issued {
            write.issue_token(token).await?;
        }
        let id = Some(session.subject_id.as_str());
        let event = self.done("login.ok", Target { kind: "client", id });
        write.audit(super::trace::with(event, "session", session.id.clone().into()));
        Ok(())
    }

    /// The answer to whoever has a session now.
    pub(super) fn welcome(self, person: Person, minted: Vec<(&'a str, Minted)>, scope: Option<String>) -> Reply {
        let subject = person.subject.clone();
        self.answer(&self.facts().principal(person).tokens(minted).scope(scope)).about(&subject)
    }

    /// An access token of a session: narrowed to some scopes, and over at `last`, where there are any.
    pub(super) fn access_token(
        self,
        kind: &Kind,
        jti: &str,
        subject: &str,
        session: &str,
        (scope, last): (Option<&str>, Option<UnixMillis>),
    ) -> Result<Access, Refusal> {
        let now = self.ask.now;
        let end = mint::end(kind, now);
        let (issued, expires) = (mint::whole_seconds(now), last.map_or(end, |last| last.min(end)));
        match kind.format {
            Format::Jwt { .. } => {
                let content = Content {
                    id: jti,
                    subject,
                    client: Some(subject),
                    session: Some(session),
                    scope,
                    actor: None,
                    issued,
                    expires,
                };
                Ok(Access { minted: mint::jwt(self.realm, kind, &content, now)?, row: None })
            }
            Format::Opaque { .. } => {
                let (minted, digest) = mint::opaque(kind, issued, expires)?;
                let row = NewIssued {
                    id: jti.to_owned(),
                    realm: self.realm.realm.to_string(),
                    kind: kind.name.to_string(),
                    digest: Some(digest),
                    slot: None,
                    subject: subject.to_owned(),
                    issued_by: None,
                    owner_id: None,
                    sid: Some(session.to_owned()),
                    claims: Map::new(),
                    issued_at: issued,
                    expires_at: expires,
                };
                Ok(Access { minted, row: Some(row) })
            }
        }
    }

    /// A new refresh token of a session that was begun at `begun`.
    pub(super) fn refresh_token(
        self,
        kind: &Kind,
        session: &str,
        subject: &str,
        generation: i64,
        begun: UnixMillis,
    ) -> Result<(Minted, NewRefresh), Refusal> {
        let now = self.ask.now;
        let jti = random_id()?;
        let issued = mint::whole_seconds(now);
        let mut expires = mint::end(kind, now);
        if let Some(most) = kind.max_session {
            expires = expires.min(mint::whole_seconds(begun.plus(most)));
        }
        if now >= expires {
            return Err(Refusal::RefreshExpired);
        }
        let row = NewRefresh {
            jti,
            sid: session.to_owned(),
            generation,
            digest: None,
            issued_at: issued,
            expires_at: expires,
        };
        self.refresh_text(kind, row, subject)
    }

    /// The text of a refresh token, and its row with the digest where the text is opaque.
    pub(super) fn refresh_text(
        self,
        kind: &Kind,
        row: NewRefresh,
        subject: &str,
    ) -> Result<(Minted, NewRefresh), Refusal> {
        match kind.format {
            Format::Jwt { .. } => {
                let content = Content {
                    id: &row.jti,
                    subject,
                    client: Some(subject),
                    session: Some(&row.sid),
                    scope: None,
                    actor: None,
                    issued: row.issued_at,
                    expires: row.expires_at,
                };
                Ok((mint::jwt(self.realm, kind, &content, self.ask.now)?, row))
            }
            Format::Opaque { .. } => {
                let (minted, digest) = mint::opaque(kind, row.issued_at, row.expires_at)?;
                Ok((minted, NewRefresh { digest: Some(digest), ..row }))
            }
        }
    }

    /// Whether the request comes from where the principal may come from.
    ///
    /// # Errors
    /// It does not, or from where it comes is not known.
    pub(super) fn check_addresses(self, entries: &[AddressEntry]) -> Result<(), Refusal> {
        if self.realm.address_exempt.contains(&self.grant.action.as_str()) {
            return Ok(());
        }
        if allows(entries, self.ask.client_ip, self.ask.now) {
            Ok(())
        } else {
            Err(Refusal::AddressDenied { known: self.ask.client_ip.is_some() })
        }
    }
}

/// An access token that was made.
pub(super) struct Access {
    pub(super) minted: Minted,
    /// What is kept of it; nothing of a signed one.
    pub(super) row: Option<NewIssued>,
}

/// An empty list allows every address; one whose entries have all run out allows none.
fn allows(entries: &[AddressEntry], ip: Option<IpAddr>, now: UnixMillis) -> bool {
    let live = |entry: &&AddressEntry| entry.expires_at.is_none_or(|end| now < end);
    let holds = |ip: IpAddr| entries.iter().filter(live).any(|entry| entry.network.contains(&ip.to_canonical()));
    entries.is_empty() || ip.is_some_and(holds)
}

/// What tokens of a principal are about.
pub(super) fn name_of(client: &Client) -> &str {
    client.subject.as_deref().unwrap_or(&client.id)
}

impl RealmTokens {
    /// Whether access tokens are renewed by themselves: then only the newest of a session is good.
    pub(super) fn renews(&self) -> bool {
        self.grants.iter().any(|grant| matches!(grant.action, Action::Renew { .. }))
    }

    /// What a principal may do.
    pub fn scopes_of(&self, client: &Client) -> ScopeSet {
        let roles = (!client.roles.is_empty()).then(|| self.roles.expand(&client.roles));
        OwnerScopes::new(client.scopes.as_ref().map(ScopeSet::patterns), roles).granted().clone()
    }
}
