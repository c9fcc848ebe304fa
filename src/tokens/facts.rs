//! What the templates of a grant's answer may use. A name that has no value leaves its member out; which names there can
//! be is checked when the configuration is read.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Ask;
use super::mint::Minted;
use super::policy::{Grant, RealmTokens, Timestamps};
use crate::clock::UnixMillis;
use crate::identity::{Principal, ScopeSet};
use crate::store::Client;

/// Values by name.
#[derive(Clone)]
pub(super) struct Facts<'a> {
    realm: &'a RealmTokens,
    grant: &'a Grant,
    ask: &'a Ask,
    tokens: Vec<(&'a str, Minted)>,
    scope: Option<String>,
    principal: Option<Person>,
    owner: Option<Person>,
    subject: Map<String, Value>,
    request: Map<String, Value>,
    /// Path names of another request, whose token is spent now.
    path: Option<Map<String, Value>>,
}

/// A principal as templates see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// What its tokens are about.
    pub(super) subject: String,
    /// Id in the store.
    pub(super) id: Option<String>,
    /// As it is called.
    pub(super) identifier: String,
    /// Plan.
    pub(super) plan: Option<String>,
    /// Tenant.
    pub(super) tenant: Option<String>,
    /// Roles.
    pub(super) roles: Vec<String>,
    /// Scopes, joined by blanks.
    pub(super) scopes: String,
    /// All else.
    pub(super) attributes: Map<String, Value>,
}

impl Person {
    /// A principal of the store.
    pub(super) fn of(client: &Client, scopes: &ScopeSet) -> Self {
        Self {
            subject: client.subject.clone().unwrap_or_else(|| client.id.clone()),
            id: Some(client.id.clone()),
            identifier: client.identifier.clone(),
            plan: client.plan.clone(),
            tenant: client.tenant.clone(),
            roles: client.roles.clone(),
            scopes: scopes.iter().collect::<Vec<_>>().join(" "),
            attributes: client.attributes.clone(),
        }
    }

    /// Whoever proved to be asking.
    pub(super) fn proven(caller: &Principal) -> Self {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            subject: caller.subject.to_string(),
            id: caller.account.as_ref().map(|account| account.id.to_string()),
            identifier: caller.client.as_deref().unwrap_or(&caller.subject).to_owned(),
            plan: text(&caller.plan),
            tenant: text(&caller.tenant),
            roles: caller.roles.iter().map(|role| role.to_string()).collect(),
            scopes: caller.scopes.iter().collect::<Vec<_>>().join(" "),
            attributes: (*caller.attributes).clone(),
        }
    }

    fn find(&self, name: &str) -> Option<Value> {
        match name {
            "subject" => Some(json!(self.subject)),
            "id" => self.id.as_ref().map(|id| json!(id)),
            "client" => Some(json!(self.subject)),
            "identifier" => Some(json!(self.identifier)),
            "plan" => self.plan.as_ref().map(|plan| json!(plan)),
            "tenant" => self.tenant.as_ref().map(|tenant| json!(tenant)),
            "role" => self.roles.first().map(|role| json!(role)),
            "roles" => Some(json!(self.roles)),
            "scopes" => Some(json!(self.scopes)),
            name => member(&self.attributes, name),
        }
    }
}

impl<'a> Facts<'a> {
    pub(super) fn new(realm: &'a RealmTokens, grant: &'a Grant, ask: &'a Ask) -> Self {
        Self {
            realm,
            grant,
            ask,
            tokens: Vec::new(),
            scope: None,
            principal: None,
            owner: None,
            subject: Map::new(),
            request: Map::new(),
            path: None,
        }
    }

    pub(super) fn token(mut self, kind: &'a str, minted: Minted) -> Self {
        self.tokens.push((kind, minted));
        self
    }

    pub(super) fn tokens(mut self, minted: Vec<(&'a str, Minted)>) -> Self {
        self.tokens.extend(minted);
        self
    }

    pub(super) fn scope(mut self, scope: Option<String>) -> Self {
        self.scope = scope;
        self
    }

    pub(super) fn principal(mut self, person: Person) -> Self {
        self.principal = Some(person);
        self
    }

    pub(super) fn owner(mut self, person: Person) -> Self {
        self.owner = Some(person);
        self
    }

    pub(super) fn subject(mut self, subject: Map<String, Value>) -> Self {
        self.subject = subject;
        self
    }

    pub(super) fn request(mut self, fields: Map<String, Value>) -> Self {
        self.request = fields;
        self
    }

    pub(super) fn path(mut self, names: Map<String, Value>) -> Self {
        self.path = Some(names);
        self
    }

    /// The value of a name.
    pub(super) fn find(&self, name: &str) -> Option<Value> {
        let (group, rest) = name.split_once('.').unwrap_or((name, ""));
        match group {
            "token" => self.find_token(rest),
            "principal" => self.principal.as_ref()?.find(rest),
            "owner" => self.owner.as_ref()?.find(rest),
            "subject" => member(&self.subject, rest),
            "request" if rest.is_empty() => Some(Value::Object(self.request.clone())),
            "request" => member(&self.request, rest),
            "path" => self.path_value(rest),
            "key" => self.key(rest),
            "realm" => Some(json!(&*self.realm.realm)),
            "request_id" => Some(json!(self.ask.request_id)),
            "client_ip" => self.ask.client_ip.map(|ip| json!(ip.to_string())),
            name => self.path_value(name),
        }
    }

    /// The path's names with their values.
    pub(super) fn path_values(&self) -> Map<String, Value> {
        let names = self.grant.params.iter().zip(&*self.ask.params);
        names.map(|(name, value)| (name.to_string(), json!(&**value))).collect()
    }

    fn path_value(&self, name: &str) -> Option<Value> {
        match &self.path {
            Some(path) => path.get(name).cloned(),
            None => {
                let position = self.grant.params.iter().position(|known| **known == *name)?;
                self.ask.params.get(position).map(|value| json!(&**value))
            }
        }
    }

    fn key(&self, name: &str) -> Option<Value> {
        let caller = self.ask.caller.as_ref();
        match name {
            "id" => caller?.credential_id.as_ref().map(|id| json!(&**id)),
            "owner" => match (&self.owner, caller) {
                (Some(owner), _) => Some(json!(owner.identifier)),
                (None, Some(caller)) => caller.client.as_ref().map(|client| json!(&**client)),
                (None, None) => None,
            },
            _ => None,
        }
    }

    fn find_token(&self, name: &str) -> Option<Value> {
        let (kind, part) = name.split_once('.').unwrap_or((name, ""));
        let (_, minted) = self.tokens.iter().find(|(known, _)| *known == kind)?;
        Some(match part {
            "" => json!(&*minted.text),
            "expires_at" => self.time(minted.expires),
            "issued_at" => self.time(minted.issued),
            "expires_in" => json!(minted.expires.since(minted.issued).as_secs()),
            _ => return None,
        })
    }

    fn time(&self, at: UnixMillis) -> Value {
        match self.realm.timestamps {
            Timestamps::Rfc3339 => match jiff::Timestamp::from_second(at.secs()) {
                Ok(time) => json!(time.to_string()),
                Err(_) => json!(at.to_string()),
            },
            Timestamps::Rfc3339Millis => json!(at.to_string()),
            Timestamps::Unix => json!(at.secs()),
        }
    }

    /// The body where the configuration has none: that of RFC 6749 section 5.1.
    pub(super) fn standard(&self) -> Value {
        let mut body = Map::new();
        for (kind, minted) in &self.tokens {
            match self.realm.kinds.iter().find(|known| *known.name == **kind).map(|kind| &*kind.token_use) {
                Some("refresh") => _ = body.insert("refresh_token".into(), json!(&*minted.text)),
                Some(_) => {
                    body.insert("access_token".into(), json!(&*minted.text));
                    body.insert("token_type".into(), json!("Bearer"));
                    body.insert("expires_in".into(), json!(minted.expires.since(minted.issued).as_secs()));
                }
                None => {}
            }
        }
        if let Some(scope) = &self.scope {
            body.insert("scope".into(), json!(scope));
        }
        Value::Object(body)
    }
}

/// The member at a dotted path.
fn member(object: &Map<String, Value>, path: &str) -> Option<Value> {
    if let Some(value) = object.get(path) {
        return Some(value.clone()).filter(|value| !value.is_null());
    }
    let (first, rest) = path.split_once('.')?;
    member(object.get(first)?.as_object()?, rest)
}
