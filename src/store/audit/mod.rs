//! The audit trail: append-only, one hash chain a node. How rows are chained stands in `chain`, how that is checked in
//! `verify`; what is worth an event is for those to say who do something.

mod chain;
mod prune;
mod verify;

use super::backend::Row;
use super::statement::Statement;
use super::{AuditEntry, AuditEvent, AuditOutcome, Page, Store, StoreError};
use crate::clock::UnixMillis;

pub(super) use chain::append;
pub use verify::Verdict;

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of these realms (events of no realm are left out then); none = all.
    pub realms: Option<Vec<String>>,
    /// Id of who did it.
    pub actor_id: Option<String>,
    /// Id of what it was done to.
    pub target_id: Option<String>,
    /// What was done: exact, or everything that starts with it when it ends with a dot (`key.`).
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<AuditOutcome>,
    /// From then on.
    pub since: Option<UnixMillis>,
    /// Before then.
    pub until: Option<UnixMillis>,
    /// Only events with a greater `seq` (to follow), oldest first; none = newest first.
    pub after: Option<i64>,
    /// Only events with a smaller `seq` (the next part of a list, newest first).
    pub before: Option<i64>,
}

impl Store {
    /// Events, see [`AuditFilter::after`] for their order. `seq` grows in the order of commits: whoever follows misses
    /// none. An event that somebody has meddled with is shown as far as it can be read.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn audit_events(&self, filter: &AuditFilter, limit: usize) -> Result<Vec<AuditEvent>, StoreError> {
        let mut statement = Statement::new(
            "SELECT seq, chain, position, hash, at, realm, actor_kind, actor_id, actor_ip, action, target_kind, \
             target_id, outcome, reason, request_id, detail FROM audit_events WHERE 1 = 1",
        );
        if let Some(realms) = &filter.realms {
            statement = statement.bind_list(" AND realm IN ", realms.iter().map(String::as_str));
        }
        statement = match filter.action.as_deref() {
            Some(prefix) if prefix.ends_with('.') => {
                statement.bind(" AND SUBSTR(action, 1, LENGTH(", prefix).bind(")) = ", prefix)
            }
            action => statement.bind_some(" AND action = ", action),
        };
        let rows = statement
            .bind_some(" AND actor_id = ", filter.actor_id.as_deref())
            .bind_some(" AND target_id = ", filter.target_id.as_deref())
            .bind_some(" AND outcome = ", filter.outcome.map(AuditOutcome::as_str))
            .bind_some(" AND at >= ", filter.since)
            .bind_some(" AND at < ", filter.until)
            .bind_some(" AND seq > ", filter.after)
            .bind_some(" AND seq < ", filter.before)
            .push(if filter.after.is_some() { " ORDER BY seq" } else { " ORDER BY seq DESC" })
            .bind(" LIMIT ", Page { after: None, limit }.rows())
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }
}

fn read(row: &mut Row) -> Result<AuditEvent, StoreError> {
    Ok(AuditEvent {
        seq: row.int()?,
        chain: row.text()?,
        position: row.int()?,
        hash: row.bytes()?.try_into().unwrap_or_default(),
        entry: AuditEntry {
            at: row.time()?,
            realm: row.opt_text()?,
            actor_kind: row.text()?,
            actor_id: row.text()?,
            actor_ip: row.opt_text()?.and_then(|text| text.parse().ok()),
            action: row.text()?,
            target_kind: row.opt_text()?,
            target_id: row.opt_text()?,
            outcome: row.word(AuditOutcome::by_name)?,
            reason: row.opt_text()?,
            request_id: row.opt_text()?,
            detail: serde_json::from_str(&row.text()?).unwrap_or_default(),
        },
    })
}
