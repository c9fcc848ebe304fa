//! Tokens are issued here: how credentials are made, rotated, spent and withdrawn. What requests may do is the gate's
//! business, and neither names the other.
//!
//! A grant's work is done on the runtime of the store, and goes on to its end when the client leaves meanwhile: what was
//! written is then what the next request finds. One file a grant; what they share is in `session` (beginning one),
//! `mint` (making texts), `own` (reading them), `facts` (what templates may use) and `trace` (the audit trail).

mod delegate;
mod directory;
mod facts;
mod logout;
mod memory;
mod mint;
mod oauth;
mod own;
mod password;
pub mod policy;
mod redeem;
mod refresh;
mod refusal;
mod renew;
mod session;
mod subject;
mod throttle;
mod trace;

pub mod body;
pub mod callback;
pub mod recognize;
pub mod signing;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use callback::Callback;
pub use directory::Live;
use facts::Facts;
use policy::{Action, Grant, RealmTokens};
pub use refusal::{Cause, Refusal};
use throttle::Throttle;

use crate::clock::UnixMillis;
use crate::identity::Principal;
use crate::password::Hasher;
use crate::store::{SessionInForce, Store};

/// Waits until changes of the store count on this node.
#[async_trait]
pub trait Settled: Send + Sync + fmt::Debug {
    /// Waits, for a bounded time, until everything up to the feed's row `seq` counts in what the gate remembers.
    async fn settled(&self, seq: i64);
}

/// What the token service works with.
#[derive(Debug)]
pub struct Parts {
    /// Where everything is written.
    pub store: Store,
    /// The store's runtime.
    pub runtime: Handle,
    /// Asks applications.
    pub callback: Arc<dyn Callback>,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// Waits for the feed.
    pub settled: Arc<dyn Settled>,
}

/// The token service. Shared by all realms; what differs between them is handed in with each request.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    runtime: Handle,
    callback: Arc<dyn Callback>,
    hasher: Hasher,
    settled: Arc<dyn Settled>,
    throttle: Throttle,
    directory: directory::Memory,
    subjects: subject::Memory,
}

/// A request to a grant, after the gate has allowed it.
pub struct Ask {
    /// Values of the path's names, in their order.
    pub params: Box<[Box<str>]>,
    /// Who asks; none where the grant itself finds out.
    pub caller: Option<Principal>,
    /// When the caller's credential ends.
    pub caller_expires: Option<UnixMillis>,
    /// The token to be spent, where it stands in the request's head.
    pub presented: Option<Zeroizing<String>>,
    /// `Authorization`.
    pub authorization: Option<Zeroizing<String>>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// The body, whole.
    pub body: Zeroizing<Vec<u8>>,
    /// The client's address as far as it is known.
    pub client_ip: Option<IpAddr>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// Names the request in logs.
    pub request_id: String,
    /// The one clock reading of the request.
    pub now: UnixMillis,
}

impl fmt::Debug for Ask {
    /// Without what may be secret: the body, and the credentials of the head.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// A good answer.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header fields, all but those of the message itself.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON; none = no body.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// Whom it is about, for the log.
    pub subject: Option<String>,
}

impl fmt::Debug for Reply {
    /// Without what may be secret: the body, and fields such as cookies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// JSON that nobody may keep (RFC 6749 section 5.1).
    fn json(status: u16, body: &Value) -> Self {
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (PRAGMA, HeaderValue::from_static("no-cache")),
        ];
        Self { status, headers, body: Some(Zeroizing::new(body.to_string().into_bytes())), subject: None }
    }

    fn without_body(mut self, status: u16) -> Self {
        (self.status, self.body) = (status, None);
        self.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        self
    }

    fn about(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }
}

impl Tokens {
    /// A service on an open store.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, runtime, callback, hasher, settled } = parts;
        Self(Arc::new(Inner {
            store,
            runtime,
            callback,
            hasher,
            settled,
            throttle: Throttle::default(),
            directory: directory::Memory::default(),
            subjects: subject::Memory::default(),
        }))
    }

    /// Answers a request to the grant number `grant` of `realm`.
    ///
    /// # Errors
    /// Why there is nothing for it.
    pub async fn serve(&self, realm: Arc<RealmTokens>, grant: usize, ask: Ask) -> Result<Reply, Refusal> {
        let inner = Arc::clone(&self.0);
        let work = self.0.runtime.spawn(async move {
            let grant = realm.grants.get(grant).ok_or(Refusal::Internal)?;
            Service { inner: &inner, realm: &realm, grant, ask: &ask }.serve().await
        });
        work.await.unwrap_or_else(|fault| {
            if fault.is_panic() {
                tracing::error!("a grant ended by a fault of the program");
                return Err(Refusal::Internal);
            }
            Err(Refusal::StoreUnavailable) // the process ends
        })
    }

    /// Makes the principal of a session what it is at the moment: with the roles of everybody where it has none, and, where
    /// it lives in a directory, as that tells. To be asked on the store's runtime.
    pub async fn stand(&self, realm: &RealmTokens, record: &mut SessionInForce, now: UnixMillis) -> Live {
        directory::stand(&self.0, realm, record, now).await
    }
}

/// One request at work.
#[derive(Clone, Copy)]
struct Service<'a> {
    inner: &'a Inner,
    realm: &'a RealmTokens,
    grant: &'a Grant,
    ask: &'a Ask,
}

impl<'a> Service<'a> {
    async fn serve(self) -> Result<Reply, Refusal> {
        match &self.grant.action {
            Action::Password { .. } => self.password().await,
            Action::Refresh { token, access, refresh } => self.refresh(token, *access, *refresh).await,
            Action::Renew { access } => self.renew(*access).await,
            Action::Delegate { subject, token, bind } => self.delegate(*subject, *token, bind).await,
            Action::Redeem { .. } => self.redeem().await,
            Action::Logout { revokes } => self.logout(*revokes).await,
            Action::ClientCredentials { access } => self.client_credentials(*access).await,
            Action::Revoke => self.revoke().await,
            Action::Introspect => self.introspect().await,
            Action::Jwks => Ok(self.jwks()),
            Action::Metadata => Ok(self.metadata()),
        }
    }

    /// The fields of the body; nothing is looked at where there are none.
    fn fields(self) -> Result<Map<String, Value>, Refusal> {
        if self.grant.fields.is_empty() {
            return Ok(Map::new());
        }
        let Ask { content_type, content_encoding, body, .. } = self.ask;
        body::read_json(self.grant, content_type.as_deref(), content_encoding.as_deref(), body)
            .map_err(|fault| self.refuse_body(fault))
    }

    fn refuse_body(self, fault: body::BodyFault) -> Refusal {
        match fault {
            body::BodyFault::Syntax => Refusal::Syntax,
            body::BodyFault::Fields(problems) => Refusal::Fields { problems, message: self.grant.invalid.clone() },
            body::BodyFault::ContentType => Refusal::ContentType,
        }
    }

    /// A kind that the grant names.
    fn kind(self, index: usize) -> Result<&'a policy::Kind, Refusal> {
        self.realm.kinds.get(index).ok_or(Refusal::Internal)
    }

    /// The grant's answer, made of `facts`.
    fn answer(self, facts: &Facts<'_>) -> Reply {
        let body = match &self.grant.response {
            Some(template) => template.render(&|name| facts.find(name)).unwrap_or(Value::Object(Map::new())),
            None => facts.standard(),
        };
        let reply = Reply::json(self.grant.status, &body);
        // There is nothing to say in it (RFC 9110 section 15.3.5).
        if reply.status == 204 { reply.without_body(204) } else { reply }
    }

    fn facts(self) -> Facts<'a> {
        Facts::new(self.realm, self.grant, self.ask)
    }

    /// Waits until a change counts here, so that nothing that has just ended works any more when its end is answered.
    async fn settle(self, seq: Option<i64>) {
        if let Some(seq) = seq {
            self.inner.settled.settled(seq).await;
        }
    }
}
