//! Telling of a token (RFC 7662). Whatever is not good is `{"active": false}` and nothing else.

use serde_json::{Map, Value, json};

use super::{joined, standard};
use crate::clock::UnixMillis;
use crate::identity::ScopeSet;
use crate::store::{IssuedInForce, RefreshInForce};
use crate::tokens::directory::{self, Live};
use crate::tokens::recognize::{Claims, Known, Standing, of_issued, of_refresh, of_session, recognize};
use crate::tokens::refusal::Refusal;
use crate::tokens::session::name_of;
use crate::tokens::{Reply, Service};

impl Service<'_> {
    pub(in crate::tokens) async fn introspect(self) -> Result<Reply, Refusal> {
        let form = self.form()?;
        let client = self.client(&form).await?;
        let token = form.get("token").ok_or_else(|| standard("invalid_request", "token is missing."))?;
        let told = match recognize(&self.inner.store, self.realm, token, self.ask.now).await? {
            Known::Access(claims) => self.tell_access(&claims).await?,
            Known::Refresh(found) => self.tell_refresh(&found),
            Known::Issued(found) => self.tell_issued(&found).await?,
            Known::Nothing => None,
        };
        self.welcome_client(&client).await?;
        let body = told.map_or_else(|| json!({ "active": false }), Value::Object);
        Ok(Reply::json(200, &body).about(&client.proven.client.identifier))
    }

    async fn tell_access(self, claims: &Claims) -> Result<Option<Map<String, Value>>, Refusal> {
        let scope = claims.all.get("scope").and_then(Value::as_str);
        let scopes = scope.map(|scope| ScopeSet::literal(scope.split(' ')));
        let told = self.tell_session(claims.session.as_deref(), &claims.id, claims.expires, scopes).await?;
        Ok(told.map(|mut told| {
            told.insert("exp".into(), json!(claims.expires.secs()));
            told.insert("iat".into(), json!(claims.issued.secs()));
            told.insert("iss".into(), json!(&*self.realm.issuer));
            told.extend(claims.all.get("aud").map(|aud| ("aud".to_owned(), aud.clone())));
            told
        }))
    }

    /// An access token of a session that lives.
    async fn tell_session(
        self,
        session: Option<&str>,
        jti: &str,
        expires: UnixMillis,
        narrowed: Option<ScopeSet>,
    ) -> Result<Option<Map<String, Value>>, Refusal> {
        let Some(session) = session else { return Ok(None) };
        let found = self.inner.store.session_in_force(&self.realm.realm, session).await?;
        if of_session(jti, expires, found.as_ref(), self.ask.now) != Standing::Good {
            return Ok(None);
        }
        let Some(mut found) = found else { return Ok(None) };
        match directory::stand(self.inner, self.realm, &mut found, self.ask.now).await {
            Live::Stored | Live::Told { active: true, .. } => {}
            Live::Told { active: false, .. } => return Ok(None),
            Live::Silent => return Err(Refusal::DirectoryUnavailable),
        }
        let granted = self.realm.scopes_of(&found.subject);
        let scopes = narrowed.map_or_else(|| granted.clone(), |narrowed| granted.intersection(&narrowed));
        let mut told = active("Bearer", name_of(&found.subject), jti);
        told.insert("client_id".into(), json!(name_of(&found.subject)));
        told.insert("username".into(), json!(found.subject.identifier));
        told.insert("scope".into(), json!(joined(&scopes)));
        Ok(Some(told))
    }

    fn tell_refresh(self, found: &RefreshInForce) -> Option<Map<String, Value>> {
        (of_refresh(found, self.ask.now) == Standing::Good).then(|| {
            let mut told = active("refresh_token", name_of(&found.subject), &found.token.jti);
            told.insert("exp".into(), json!(found.token.expires_at.secs()));
            told.insert("iat".into(), json!(found.token.issued_at.secs()));
            told
        })
    }

    async fn tell_issued(self, found: &IssuedInForce) -> Result<Option<Map<String, Value>>, Refusal> {
        let token = &found.token;
        if of_issued(found, self.ask.now) != Standing::Good {
            return Ok(None);
        }
        let told = match &token.sid {
            Some(session) => self.tell_session(Some(session), &token.id, token.expires_at, None).await?,
            None => Some(active(&token.kind, &token.subject, &token.id)),
        };
        Ok(told.map(|mut told| {
            told.insert("exp".into(), json!(token.expires_at.secs()));
            told.insert("iat".into(), json!(token.issued_at.secs()));
            told
        }))
    }
}

fn active(kind: &str, subject: &str, id: &str) -> Map<String, Value> {
    Map::from_iter([
        ("active".to_owned(), json!(true)),
        ("sub".to_owned(), json!(subject)),
        ("jti".to_owned(), json!(id)),
        ("token_type".to_owned(), json!(kind)),
    ])
}
