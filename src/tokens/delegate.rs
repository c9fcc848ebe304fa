//! A key's owner gets a token for somebody else: the caller is remembered as the one who acts (RFC 8693 section 4.1).

use serde_json::{Map, Value, json};

use super::facts::Person;
use super::mint::{self, Content, Minted};
use super::policy::{Format, Kind};
use super::refusal::{Cause, Refusal};
use super::trace::{Target, with};
use super::{Reply, Service};
use crate::identity::Principal;
use crate::reply::Template;
use crate::secret::CredentialDigest;
use crate::store::{NewIssued, random_id};

/// Somebody a token is made for.
pub(super) struct Bearer<'a> {
    /// `sub`
    pub(super) subject: &'a str,
    /// What asks for it.
    pub(super) actor: Option<&'a str>,
    /// The key that asks for it, if it is one of the store: the token ends with it.
    pub(super) issued_by: Option<&'a str>,
    /// The key's owner, in the store.
    pub(super) owner_id: Option<&'a str>,
    /// The key's owner, as the application calls it.
    pub(super) owner: &'a str,
    /// What is kept with it, to be looked at when it is spent.
    pub(super) claims: Map<String, Value>,
    /// Values that it is bound to.
    pub(super) bound: Map<String, Value>,
}

impl<'a> Service<'a> {
    pub(super) async fn delegate(
        self,
        subject: usize,
        token: usize,
        bind: &[(Box<str>, Template)],
    ) -> Result<Reply, Refusal> {
        let caller = self.ask.caller.as_ref().ok_or(Refusal::TokenInvalid(Cause::Unknown))?;
        let fields = self.fields()?;
        let (subject, kind) = (self.realm.subjects.get(subject).ok_or(Refusal::Internal)?, self.kind(token)?);
        let owner = self.owner(caller).await?;
        let facts = self.facts().request(fields).owner(owner);
        let found = self.look_up(subject, &|name| facts.find(name)).await?;
        let facts = facts.subject(found.fields);
        let bound: Map<String, Value> = bind
            .iter()
            .filter_map(|(name, template)| Some((name.to_string(), template.render(&|name| facts.find(name))?)))
            .collect();
        let owner = caller.client.as_deref().unwrap_or(&caller.subject);
        let claims = Map::from_iter([
            ("looked_up_as".to_owned(), json!(&*subject.name)),
            ("path".to_owned(), Value::Object(facts.path_values())),
        ]);
        let bearer = Bearer {
            subject: &found.id,
            actor: caller.credential_id.as_deref(),
            issued_by: caller.account.as_ref().and(caller.credential_id.as_deref()),
            owner_id: caller.account.as_ref().map(|account| &*account.id),
            owner,
            claims,
            bound,
        };
        let (minted, row) = self.bearer_token(kind, &bearer)?;
        let mut write = self.inner.store.begin().await?;
        write.issue_token(&row).await?;
        let event = self.done("token.minted", Target { kind: "token", id: Some(&row.id) });
        let event = with(event, "kind", json!(&*kind.name));
        write.audit(with(event, "subject", json!(found.id)));
        let seq = write.commit().await?;
        self.settle(seq).await;
        Ok(self.answer(&facts.token(&kind.name, minted)).about(&found.id))
    }

    /// A token that is handed to somebody else, and its row.
    pub(super) fn bearer_token(self, kind: &Kind, bearer: &Bearer<'_>) -> Result<(Minted, NewIssued), Refusal> {
        let now = self.ask.now;
        let (issued, expires) = (mint::whole_seconds(now), mint::end(kind, now));
        let id = random_id()?;
        let (minted, digest) = match kind.format {
            Format::Jwt { .. } => {
                let content = Content {
                    id: &id,
                    subject: bearer.subject,
                    client: Some(bearer.owner),
                    session: None,
                    scope: None,
                    actor: bearer.actor,
                    issued,
                    expires,
                };
                (mint::jwt(self.realm, kind, &content, now)?, None)
            }
            Format::Opaque { .. } => {
                let (minted, digest) = mint::opaque(kind, issued, expires)?;
                (minted, Some(digest))
            }
        };
        let mut claims = bearer.claims.clone();
        claims.insert("owner".to_owned(), json!(bearer.owner));
        claims.insert("bound".to_owned(), Value::Object(bearer.bound.clone()));
        let row = NewIssued {
            id,
            realm: self.realm.realm.to_string(),
            kind: kind.name.to_string(),
            digest,
            slot: slot(kind, bearer),
            subject: bearer.subject.to_owned(),
            issued_by: bearer.issued_by.map(str::to_owned),
            owner_id: bearer.owner_id.map(str::to_owned),
            sid: None,
            claims,
            issued_at: issued,
            expires_at: expires,
        };
        Ok((minted, row))
    }

    /// The key's owner as templates see it.
    async fn owner(self, caller: &Principal) -> Result<Person, Refusal> {
        let stored = match &caller.account {
            Some(account) => self.inner.store.client(&account.id).await?,
            None => None,
        };
        Ok(match stored {
            Some(client) => Person::of(&client, &caller.scopes),
            None => Person::proven(caller),
        })
    }
}

/// What there may be one token of: the owner's own, for no owner ends another's. None: as many as are asked for. The digest
/// keeps it short whatever the values are.
fn slot(kind: &Kind, bearer: &Bearer<'_>) -> Option<String> {
    if kind.one_per.is_empty() {
        return None;
    }
    let mut values = vec![json!(bearer.owner)];
    values.extend(kind.one_per.iter().map(|name| match &**name {
        "subject" => json!(bearer.subject),
        name => bearer.bound.get(name).cloned().unwrap_or_default(),
    }));
    let digest = CredentialDigest::of(Value::Array(values).to_string().as_bytes());
    Some(format!("slot_{}", digest.to_hex()))
}

impl super::policy::CallbackUrl {
    /// The last name in it.
    pub(super) fn last_name(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|part| match part {
            super::policy::UrlPart::Name(name) => Some(&**name),
            super::policy::UrlPart::Text(_) => None,
        })
    }
}
