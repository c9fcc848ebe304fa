//! What has run out of sessions, tokens and counters, removed a part at a time: others want to write, too.

use std::time::Duration;

use super::statement::Statement;
use super::{Store, StoreError};
use crate::clock::UnixMillis;

/// What has expired is kept for so long: a clock that is set back revives nothing.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Networks that were known once are so for so long.
const KNOWN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Rows that are removed with one statement.
const TOGETHER: u64 = 1000;

/// Sessions that are removed with one statement; their ids are bound to the next.
const SESSIONS_TOGETHER: u64 = 200;

/// Takes `$2` of the rows that ended at `$1` or before.
const REMOVE_SOME: [(&str, Age); 5] = [
    (
        "DELETE FROM refresh_tokens WHERE jti IN \
         (SELECT jti FROM refresh_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        Age::Kept,
    ),
    (
        "DELETE FROM issued_tokens WHERE id IN \
         (SELECT id FROM issued_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1",
        Age::Kept,
    ),
    (
        "DELETE FROM revoked_tokens WHERE jti IN \
         (SELECT jti FROM revoked_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        Age::Kept,
    ),
    (
        "DELETE FROM attempts WHERE expires_at <= $1 AND (realm, key) IN \
         (SELECT realm, key FROM attempts WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        Age::Expired,
    ),
    (
        "DELETE FROM known_addresses WHERE last_at <= $1 AND (realm, key, network) IN \
         (SELECT realm, key, network FROM known_addresses WHERE last_at <= $1 ORDER BY last_at LIMIT $2)",
        Age::Known,
    ),
];

/// When a row may go.
#[derive(Clone, Copy, Debug)]
enum Age {
    Expired,
    Kept,
    Known,
}

impl Age {
    fn before(self, now: UnixMillis) -> UnixMillis {
        let age = match self {
            Self::Expired => Duration::ZERO,
            Self::Kept => KEPT,
            Self::Known => KNOWN,
        };
        UnixMillis(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Store {
    /// Removes sessions and tokens that expired more than a day ago, counters that have run out, and networks that were
    /// not seen for thirty days. Returns how many rows.
    ///
    /// # Errors
    /// The store is out of reach; a part may be removed already.
    pub async fn prune_tokens(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let mut removed = 0;
        for (sql, age) in REMOVE_SOME {
            loop {
                let mut transaction = self.inner.database.begin().await?;
                let some =
                    transaction.execute(sql, vec![age.before(now).into(), TOGETHER.cast_signed().into()]).await?;
                transaction.commit().await?;
                removed += some;
                if some < TOGETHER {
                    break;
                }
            }
        }
        loop {
            let some = self.prune_sessions(Age::Kept.before(now)).await?;
            removed += some;
            if some < SESSIONS_TOGETHER {
                return Ok(removed);
            }
        }
    }

    async fn prune_sessions(&self, before: UnixMillis) -> Result<u64, StoreError> {
        let mut write = self.begin().await?;
        let rows = Statement::new("DELETE FROM sessions")
            .bind(" WHERE id IN (SELECT id FROM sessions WHERE expires_at <= ", before)
            .bind(" ORDER BY expires_at LIMIT ", SESSIONS_TOGETHER.cast_signed())
            .bind(") AND expires_at <= ", before)
            .push(" RETURNING id")
            .fetch(&mut *write.transaction)
            .await?;
        let gone = rows.into_iter().map(|mut row| row.text()).collect::<Result<Vec<_>, _>>()?;
        if !gone.is_empty() {
            write.delete_tokens_of(&gone).await?;
        }
        write.commit().await?;
        Ok(u64::try_from(gone.len()).unwrap_or(u64::MAX))
    }
}
