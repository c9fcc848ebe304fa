//! A token that is spent: once, on whichever node it arrives. Who it is about is asked again first, so that an outage
//! costs nobody their token; then one conditional write spends it.

use http::HeaderValue;
use http::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use serde_json::{Map, Value, json};

use super::delegate::Bearer;
use super::facts::{Facts, Person};
use super::mint::Minted;
use super::own;
use super::policy::{Action, Format, Kind};
use super::recognize::{self, Standing};
use super::refusal::{Cause, Refusal};
use super::trace::{Target, with};
use super::{Reply, Service};
use crate::identity::{Principal, ScopeSet};
use crate::store::{IssuedInForce, IssuedToken, NewIssued, Write};

impl<'a> Service<'a> {
    pub(super) async fn redeem(self) -> Result<Reply, Refusal> {
        let Action::Redeem { token, field, session, cookie, location } = &self.grant.action else {
            return Err(Refusal::Internal);
        };
        let kind = self.kind(*token)?;
        let fields = self.fields()?;
        let text = match field {
            Some(field) => fields.get(&**field).and_then(Value::as_str).unwrap_or_default(),
            None => self.ask.presented.as_deref().map_or("", String::as_str),
        };
        let found = self.find_spendable(kind, text).await?;
        let facts = self.facts().request(fields);
        let facts = self.ask_again(&found, facts).await?;
        let session = session.map(|kind| self.kind(kind)).transpose()?;
        let begun = session.map(|kind| self.bearer_token(kind, &bearer(&found))).transpose()?;
        self.spend(&found, begun.as_ref().map(|(_, row)| row)).await?;
        let minted = session.zip(begun.map(|(minted, _)| minted));
        let cookie = cookie.as_deref().zip(minted.as_ref());
        let cookie = cookie.map(|(name, (kind, minted))| set_cookie(name, kind, minted)).transpose()?;
        let facts = match &minted {
            Some((kind, minted)) => facts.token(&kind.name, minted.clone()),
            None => facts,
        };
        let mut reply = self.answer(&facts).about(&found.token.subject);
        if let Some(location) = location {
            reply = reply.without_body(303);
            let location = HeaderValue::from_str(location).map_err(|_| Refusal::Internal)?;
            reply.headers.push((LOCATION, location));
        }
        // The token stands in this request's URL, which no other site shall be told.
        reply.headers.push((REFERRER_POLICY, HeaderValue::from_static("no-referrer")));
        reply.headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
        Ok(reply)
    }

    /// The token's record, if the token is good and not spent.
    async fn find_spendable(self, kind: &Kind, text: &str) -> Result<IssuedInForce, Refusal> {
        let realm = &*self.realm.realm;
        let found = match kind.format {
            Format::Jwt { .. } => {
                let claims = own::read(self.realm, kind, text, self.ask.now).map_err(own::Bad::refusal)?;
                self.inner.store.issued_token(realm, &claims.id).await?
            }
            Format::Opaque { .. } => {
                let digest = own::opaque_digest(kind, text).ok_or(Refusal::TokenInvalid(Cause::Format))?;
                self.inner.store.issued_in_force(realm, &digest).await?
            }
        };
        let found = found.ok_or(Refusal::TokenInvalid(Cause::Unknown))?;
        let token = &found.token;
        if *token.kind != *kind.name {
            return Err(Refusal::TokenInvalid(Cause::TokenUse));
        }
        // A back end spends what its own keys have asked for, whatever else it gets hold of.
        if self.ask.caller.as_ref().is_some_and(|caller| !made_for(token, caller)) {
            return Err(Refusal::TokenInvalid(Cause::Unknown));
        }
        match recognize::of_issued(&found, self.ask.now) {
            Standing::Good => Ok(found),
            Standing::Spent => Err(self.replayed(&token.id).await),
            Standing::Expired => Err(Refusal::TokenExpired),
            Standing::Disabled => Err(Refusal::TokenRevoked(Cause::Disabled)),
            Standing::Revoked | Standing::Replaced | Standing::Gone => Err(Refusal::TokenRevoked(Cause::Revoked)),
        }
    }

    /// Whoever the token is about may still.
    async fn ask_again(self, found: &IssuedInForce, facts: Facts<'a>) -> Result<Facts<'a>, Refusal> {
        let claims = &found.token.claims;
        let path = claims.get("path").and_then(Value::as_object).cloned().unwrap_or_default();
        let owner = match &found.owner {
            Some(owner) => Person::of(owner, &ScopeSet::default()),
            None => {
                let name = claims.get("owner").and_then(Value::as_str).unwrap_or_default().to_owned();
                Person { subject: name.clone(), identifier: name, ..Person::default() }
            }
        };
        let facts = facts.owner(owner).path(path);
        let id = || Map::from_iter([("id".to_owned(), json!(found.token.subject))]);
        let name = claims.get("looked_up_as").and_then(Value::as_str);
        let subject = name.and_then(|name| self.realm.subjects.iter().find(|subject| *subject.name == *name));
        match subject {
            None if name.is_some() => Err(Refusal::TokenRevoked(Cause::Revoked)), // it is not configured any more
            // A look-up that makes somebody is not asked twice.
            Some(subject) if subject.method == http::Method::GET => {
                let again = self.look_up(subject, &|name| facts.find(name)).await?;
                Ok(facts.subject(again.fields))
            }
            Some(_) | None => Ok(facts.subject(id())),
        }
    }

    async fn spend(self, found: &IssuedInForce, session: Option<&NewIssued>) -> Result<(), Refusal> {
        let (id, now) = (&found.token.id, self.ask.now);
        let ip = self.ask.client_ip.map(|ip| ip.to_string());
        let mut write: Write = self.inner.store.begin().await?;
        if !write.spend_token(&self.realm.realm, id, ip.as_deref(), now).await? {
            drop(write);
            return Err(self.replayed(id).await);
        }
        let mut event = self.done("token.redeemed", Target { kind: "token", id: Some(id) });
        if let Some(session) = session {
            write.issue_token(session).await?;
            event = with(event, "session", json!(session.id));
        }
        write.audit(with(event, "subject", json!(found.token.subject)));
        write.commit().await?;
        Ok(())
    }

    /// Leaves a trace of a token that comes a second time.
    async fn replayed(self, id: &str) -> Refusal {
        let noted = async {
            let mut write = self.inner.store.begin().await?;
            write.audit(self.denied("token.replayed", Target { kind: "token", id: Some(id) }, "spent"));
            write.commit().await
        };
        match noted.await {
            Ok(_) => Refusal::TokenRevoked(Cause::Spent),
            Err(error) => error.into(),
        }
    }
}

/// Whether the token was asked for by a key of the same owner.
fn made_for(token: &IssuedToken, caller: &Principal) -> bool {
    match &caller.account {
        Some(account) => token.owner_id.as_deref() == Some(&*account.id),
        None => {
            let owner = token.claims.get("owner").and_then(Value::as_str);
            token.owner_id.is_none() && owner.is_some() && owner == caller.client.as_deref()
        }
    }
}

/// Whom the session is for: the same as the token was, on behalf of the same key.
fn bearer(found: &IssuedInForce) -> Bearer<'_> {
    let token = &found.token;
    let mut claims = token.claims.clone();
    let bound = claims.remove("bound");
    Bearer {
        subject: &token.subject,
        actor: token.issued_by.as_deref(),
        issued_by: token.issued_by.as_deref(),
        owner_id: token.owner_id.as_deref(),
        owner: token.claims.get("owner").and_then(Value::as_str).unwrap_or_default(),
        claims,
        bound: bound.and_then(|bound| bound.as_object().cloned()).unwrap_or_default(),
    }
}

/// A cookie that only the gateway reads: no script, no plain connection, no other host.
fn set_cookie(name: &str, kind: &Kind, minted: &Minted) -> Result<HeaderValue, Refusal> {
    let seconds = kind.ttl.as_secs();
    let text = format!("{name}={}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax", &*minted.text);
    let mut value = HeaderValue::try_from(text).map_err(|_| Refusal::Internal)?;
    value.set_sensitive(true);
    Ok(value)
}
