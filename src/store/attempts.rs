//! Failed logins: counted by whatever is to be protected (an account, an address), in the store, so that all nodes count
//! together and a restart forgets nothing.
//!
//! Keys of an account are `account:` and its identifier as it is compared, and the same with `@` and a network for what
//! is counted apart for known addresses. Whoever sets the account free, or removes it, removes both.

use std::time::Duration;

use super::backend::{Row, Value};
use super::statement::Statement;
use super::{Store, StoreError, Write};
use crate::clock::UnixMillis;

/// What failures lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptRule {
    /// From so many failures on, each one locks.
    pub free: u32,
    /// For how long the first of those does; each further one for twice as long.
    pub first_lock: Duration,
    /// Never for longer.
    pub longest_lock: Duration,
    /// So long after the first failure all are forgotten, unless a lock is in force.
    pub window: Duration,
}

impl AttemptRule {
    /// How long the last of so many failures locks.
    fn lock(&self, failed: u32) -> Option<Duration> {
        let beyond = failed.checked_sub(self.free)?;
        Some(self.first_lock.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX)).min(self.longest_lock))
    }
}

/// Failures under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// What is protected.
    pub key: String,
    /// How many.
    pub failed: u32,
    /// When the first of them was.
    pub first_failed_at: UnixMillis,
    /// Nothing is tried until then.
    pub locked_until: Option<UnixMillis>,
}

/// What is known before a login is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptsSeen {
    /// Under which of the keys there are failures, and how many.
    pub attempts: Vec<Attempts>,
    /// The account was used well from this network lately.
    pub known_address: bool,
}

const COLUMNS: &str = "key, failed, first_failed_at, locked_until";

impl Store {
    /// Failures under these keys, as far as there are any, forgotten ones too: [`Write::note_failure`] tells them apart.
    /// `address`: an account's key and a network; `since`: what is lately.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn attempts(
        &self,
        realm: &str,
        keys: &[&str],
        address: (&str, &str),
        since: UnixMillis,
    ) -> Result<AttemptsSeen, StoreError> {
        let rows = Statement::new("SELECT key, failed, first_failed_at, locked_until FROM attempts")
            .bind(" WHERE realm = ", realm)
            .bind_list(" AND key IN ", keys.iter().copied())
            .bind(" UNION ALL SELECT NULL, 0, last_at, NULL FROM known_addresses WHERE realm = ", realm)
            .bind(" AND key = ", address.0)
            .bind(" AND network = ", address.1)
            .bind(" AND last_at >= ", since)
            .read(&*self.inner.database)
            .await?;
        let mut seen = AttemptsSeen::default();
        for mut row in rows {
            match row.opt_text()? {
                Some(key) => seen.attempts.push(read(key, &mut row)?),
                None => seen.known_address = true,
            }
        }
        seen.attempts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(seen)
    }
}

impl Write {
    /// Counts a failure, and locks as the rule says. Returns what it has come to.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn note_failure(
        &mut self,
        realm: &str,
        key: &str,
        rule: &AttemptRule,
        at: UnixMillis,
    ) -> Result<Attempts, StoreError> {
        let forgotten = UnixMillis(at.0.saturating_sub(millis(rule.window)));
        let first: Vec<Value> = vec![realm.into(), key.into(), 1.into(), at.into(), at.plus(rule.window).into()];
        // In one statement with the look at what is there: of failures at the same time, none is lost.
        let rows = Statement::new("INSERT INTO attempts (realm, key, failed, first_failed_at, expires_at)")
            .bind_rows(" VALUES ", [first])
            .push(" ON CONFLICT (realm, key) DO UPDATE SET failed = CASE")
            .bind(" WHEN attempts.first_failed_at <= ", forgotten)
            .bind(" AND COALESCE(attempts.locked_until, 0) <= ", at)
            .push(" THEN 1 ELSE attempts.failed + 1 END, first_failed_at = CASE")
            .bind(" WHEN attempts.first_failed_at <= ", forgotten)
            .bind(" AND COALESCE(attempts.locked_until, 0) <= ", at)
            .push(" THEN excluded.first_failed_at ELSE attempts.first_failed_at END RETURNING ")
            .push(COLUMNS)
            .fetch(&mut *self.transaction)
            .await?;
        let mut row = rows.into_iter().next().ok_or_else(|| StoreError::corrupt("a failure was not counted"))?;
        let mut attempts = read(row.text()?, &mut row)?;
        // What is over is none; a lock is never made shorter.
        attempts.locked_until = attempts.locked_until.filter(|until| *until > at);
        attempts.locked_until = attempts.locked_until.max(rule.lock(attempts.failed).map(|lock| at.plus(lock)));
        let kept = attempts.first_failed_at.plus(rule.window);
        Statement::new("UPDATE attempts SET")
            .bind(" locked_until = ", attempts.locked_until)
            .bind(", expires_at = ", attempts.locked_until.map_or(kept, |until| until.max(kept)))
            .bind(" WHERE realm = ", realm)
            .bind(" AND key = ", key)
            .execute(&mut *self.transaction)
            .await?;
        Ok(attempts)
    }

    /// Forgets all failures under a key. False: there were none.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn clear_failures(&mut self, realm: &str, key: &str) -> Result<bool, StoreError> {
        let cleared = Statement::new("DELETE FROM attempts")
            .bind(" WHERE realm = ", realm)
            .bind(" AND key = ", key)
            .execute(&mut *self.transaction)
            .await?;
        Ok(cleared > 0)
    }

    /// Takes back one failure. A lock stays as it is.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn forgive_one(&mut self, realm: &str, key: &str) -> Result<(), StoreError> {
        Statement::new("UPDATE attempts SET failed = failed - 1 WHERE failed > 0")
            .bind(" AND realm = ", realm)
            .bind(" AND key = ", key)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Notes that an account was used well from a network.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn know_address(
        &mut self,
        realm: &str,
        key: &str,
        network: &str,
        at: UnixMillis,
    ) -> Result<(), StoreError> {
        Statement::new("INSERT INTO known_addresses (realm, key, network, last_at)")
            .bind_rows(" VALUES ", [vec![realm.into(), key.into(), network.into(), at.into()]])
            .push(" ON CONFLICT (realm, key, network) DO UPDATE SET last_at = excluded.last_at")
            .push(" WHERE known_addresses.last_at < excluded.last_at")
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Forgets all failures of an account, those that are counted apart for known addresses too.
    pub(super) async fn forget_failures_of(&mut self, realm: &str, identifier: &str) -> Result<(), StoreError> {
        let key = account_key(identifier);
        // By the networks themselves: both identifiers and networks may have an `@` or anything else in them.
        Statement::new("DELETE FROM attempts")
            .bind(" WHERE realm = ", realm)
            .bind(" AND key IN (SELECT ", key.as_str())
            .bind(" UNION ALL SELECT key || '@' || network FROM known_addresses WHERE realm = ", realm)
            .bind(" AND key = ", key.as_str())
            .push(")")
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Forgets everything about the logins of an account.
    pub(super) async fn forget_logins_of(&mut self, realm: &str, identifier: &str) -> Result<(), StoreError> {
        self.forget_failures_of(realm, identifier).await?;
        Statement::new("DELETE FROM known_addresses")
            .bind(" WHERE realm = ", realm)
            .bind(" AND key = ", account_key(identifier))
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

/// `identifier` as it is compared.
fn account_key(identifier: &str) -> String {
    format!("account:{identifier}")
}

fn read(key: String, row: &mut Row) -> Result<Attempts, StoreError> {
    Ok(Attempts {
        key,
        failed: u32::try_from(row.int()?).unwrap_or(u32::MAX),
        first_failed_at: row.time()?,
        locked_until: row.opt_time()?,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_locks_for_twice_as_long_up_to_the_longest() {
        let secs = Duration::from_secs;
        let rule = AttemptRule { free: 5, first_lock: secs(1), longest_lock: secs(900), window: secs(3600) };
        let locks: Vec<_> = (3..18).map(|failed| rule.lock(failed).map(|lock| lock.as_secs())).collect();
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900].map(Some);
        assert_eq!(locks, [[None, None].as_slice(), &expected].concat());
        for failed in [36, 37, 38, 1000, u32::MAX] {
            assert_eq!(rule.lock(failed), Some(secs(900)), "{failed}");
        }
        let endless = AttemptRule { longest_lock: Duration::MAX, ..rule };
        assert!(endless.lock(u32::MAX) >= endless.lock(30));
    }
}
