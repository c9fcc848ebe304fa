//! The admin API without its transport: what is asked, by whom, and what is answered. The HTTP listener and the command
//! line both come here, so that both say the same and leave the same trail.
//!
//! One list ([`ENDPOINTS`]) holds every route with its scope, its fields and its documentation; the router,
//! the checks, the OpenAPI document and its test are made of it.

mod actor;
mod answer;
mod call;
mod denials;
mod endpoint;
mod fields;
mod find;
mod json;
mod openapi;
mod paging;
mod rules;
mod schemas;

mod addresses;
mod admin_tokens;
mod audit;
mod clients;
mod keys;
mod sessions;
mod signing_keys;
mod tokens;
mod views;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use serde_json::Value;

pub use actor::{Actor, ActorKind};
pub use answer::{Answer, Refusal};
pub use endpoint::{ENDPOINTS, Endpoint};
pub use openapi::openapi;
pub use schemas::{conforms, fits};

use crate::clock::Clock;
use crate::gate::policy::Realm;
use crate::password::Hasher;
use crate::store::Store;
use crate::tokens::policy::Issuing;

/// One request to the admin API.
#[derive(Clone)]
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path, from `/admin/v1/…` on; percent-encoded.
    pub path: String,
    /// Query without `?`; empty = none.
    pub query: String,
    /// Body; empty = none.
    pub body: Vec<u8>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// Id of the request: in the audit trail and in `instance`.
    pub request_id: String,
}

impl std::fmt::Debug for Ask {
    /// Without the body: it may hold a password or a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ask({} {}, {} bytes, {})", self.method, self.path, self.body.len(), self.request_id)
    }
}

/// What the admin API needs of the process it runs in: a gateway, or a command on the machine.
#[async_trait]
pub trait Surroundings: Send + Sync {
    /// The realms of the configuration in force.
    fn realms(&self) -> Vec<Arc<Realm>>;

    /// What the realms of the configuration in force issue.
    fn issuing(&self) -> Arc<Issuing>;

    /// Number of the configuration in force; none where no gateway runs in this process.
    fn generation(&self) -> Option<u64>;

    /// Loads the configuration again. Returns its generation.
    ///
    /// # Errors
    /// Every problem, for people; or that nothing can be reloaded here.
    async fn reload(&self) -> Result<u64, Vec<String>>;

    /// The verdict on a request, step by step, without side effects: the JSON that `portcullis explain --json` prints.
    ///
    /// # Errors
    /// What is wrong with the question, for people.
    async fn explain(&self, question: Value) -> Result<Value, String>;

    /// What this process remembers of a refused request: the fields of its line in the access log.
    fn refused(&self, request_id: &str) -> Option<Value>;

    /// Waits (bounded) until this process has taken in the feed up to `seq`: what it answers afterwards is true here.
    async fn applied(&self, seq: i64);

    /// The same for the keys that realms sign with.
    async fn signing_keys_applied(&self, seq: i64);

    /// How long other nodes may need at most to take in a change.
    fn propagation(&self) -> Duration;
}

/// The admin API.
pub struct Admin {
    store: Store,
    surroundings: Arc<dyn Surroundings>,
    clock: Arc<dyn Clock>,
    hasher: Hasher,
    denials: denials::Denials,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Admin {
    /// The admin API of `store`. `hasher`: the one of the process, where passwords that are set are hashed.
    pub fn new(store: Store, surroundings: Arc<dyn Surroundings>, clock: Arc<dyn Clock>, hasher: Hasher) -> Self {
        Self { store, surroundings, clock, hasher, denials: denials::Denials::default() }
    }

    /// Who asks, by the text of `Authorization`. What is refused is audited.
    ///
    /// # Errors
    /// The answer to give: 401, or 503 when the store is out of reach.
    pub async fn authenticate(
        &self,
        authorization: Option<&str>,
        ip: Option<std::net::IpAddr>,
        request_id: &str,
    ) -> Result<Actor, Answer> {
        actor::authenticate(self, authorization, ip, request_id).await
    }

    /// Does what is asked: finds the endpoint, checks scope and realm, reads the fields, calls it, writes the audit
    /// trail. Every refusal is an answer.
    pub async fn dispatch(&self, ask: Ask, actor: &Actor) -> Answer {
        call::dispatch(self, ask, actor).await
    }
}
