//! The audit trail of everything that issues, ends, or refuses to issue.

use serde_json::{Map, Value, json};

use super::Service;
use crate::store::{AuditEntry, AuditOutcome};

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'t> {
    /// `session`, `client`, `token`.
    pub(super) kind: &'static str,
    /// Its id; none where there is nothing of that kind.
    pub(super) id: Option<&'t str>,
}

impl Service<'_> {
    /// An event of this request.
    pub(super) fn event(self, action: &str, target: Target<'_>, outcome: AuditOutcome) -> AuditEntry {
        let caller = self.ask.caller.as_ref();
        let (actor_kind, actor_id) = match caller {
            Some(caller) => {
                (caller.kind.as_str(), caller.credential_id.as_deref().unwrap_or(&caller.subject).to_owned())
            }
            None => ("request", target.id.unwrap_or_default().to_owned()),
        };
        AuditEntry {
            at: self.ask.now,
            realm: Some(self.realm.realm.to_string()),
            actor_kind: actor_kind.to_owned(),
            actor_id,
            actor_ip: self.ask.client_ip,
            action: action.to_owned(),
            target_kind: Some(target.kind.to_owned()),
            target_id: target.id.map(str::to_owned),
            outcome,
            reason: None,
            request_id: Some(self.ask.request_id.clone()),
            detail: Map::from_iter([("grant".to_owned(), json!(&*self.grant.path))]),
        }
    }

    /// Something was done.
    pub(super) fn done(self, action: &str, target: Target<'_>) -> AuditEntry {
        self.event(action, target, AuditOutcome::Ok)
    }

    /// Something was refused, and why.
    pub(super) fn denied(self, action: &str, target: Target<'_>, reason: &str) -> AuditEntry {
        AuditEntry { reason: Some(reason.to_owned()), ..self.event(action, target, AuditOutcome::Denied) }
    }
}

/// An event with a further detail.
pub(super) fn with(mut event: AuditEntry, name: &str, value: Value) -> AuditEntry {
    event.detail.insert(name.to_owned(), value);
    event
}
