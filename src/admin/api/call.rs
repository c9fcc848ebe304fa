//! One call: from what is asked to what is answered.

use serde_json::{Map, Value};

use super::fields::Values;
use super::{Actor, Admin, Answer, Ask, Refusal, Surroundings};
use crate::clock::UnixMillis;
use crate::store::{AuditEntry, Store, Write};

/// A call that may be made: the endpoint was found, the scope is there, query and body were read.
pub(super) struct Call<'a> {
    pub(super) admin: &'a Admin,
    pub(super) actor: &'a Actor,
    /// The time of the call.
    pub(super) now: UnixMillis,
    /// The values of `{name}` in the path, decoded.
    pub(super) path: Vec<String>,
    /// The query, by its declaration.
    pub(super) query: Values,
    /// The body, by its declaration.
    pub(super) body: Values,
    pub(super) ask: &'a Ask,
}

impl Call<'_> {
    pub(super) fn store(&self) -> &Store {
        &self.admin.store
    }

    pub(super) fn surroundings(&self) -> &dyn Surroundings {
        &*self.admin.surroundings
    }

    /// The n-th `{name}` of the path.
    pub(super) fn id(&self, n: usize) -> &str {
        self.path.get(n).map_or("", String::as_str)
    }

    /// The realm is one of the configuration, and the actor may enter it.
    ///
    /// # Errors
    /// See [`Refusal::Realm`]; a realm that is not configured is an invalid field `realm`.
    pub(super) fn enter(&self, realm: &str) -> Result<(), Refusal> {
        let _ = realm;
        unimplemented!()
    }

    /// The version that `If-Match` demands; none = whatever it is.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: no version.
    pub(super) fn version(&self) -> Result<Option<i64>, Refusal> {
        unimplemented!()
    }

    /// An audit event of this call that went well.
    pub(super) fn event(
        &self,
        action: &str,
        realm: &str,
        target: (&str, &str),
        detail: Map<String, Value>,
    ) -> AuditEntry {
        let _ = (action, realm, target, detail);
        unimplemented!()
    }

    /// Commits, waits until this process has taken the change in, and gives `answer`. A creation (`made` = id of what was
    /// made) is remembered under its `Idempotency-Key`; `secret`: the answer holds one and is not kept.
    ///
    /// # Errors
    /// The store refuses. Nothing was written.
    pub(super) async fn finish(
        &self,
        write: Write,
        made: Option<&str>,
        secret: bool,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        let _ = (write, made, secret, answer);
        unimplemented!()
    }
}

pub(super) async fn dispatch(admin: &Admin, ask: Ask, actor: &Actor) -> Answer {
    let _ = (admin, ask, actor);
    unimplemented!()
}
