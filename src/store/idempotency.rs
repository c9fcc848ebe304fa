//! Answers to creations, kept for a day for those who ask twice.

use std::time::Duration;

use serde_json::Value;

use super::statement::Statement;
use super::{Fault, Store, StoreError, Write};
use crate::clock::UnixMillis;

/// What is remembered of a creation.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// SHA-256 over method, path and body: what was asked.
    pub fingerprint: [u8; 32],
    /// Id of what was made.
    pub target_id: String,
    /// Status of the answer.
    pub status: u16,
    /// Body of the answer; none where it held a secret, which is shown once.
    pub body: Option<Value>,
}

const KEPT: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// What `actor_id` was answered under this `Idempotency-Key`, unless it has run out.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn remembered(
        &self,
        actor_id: &str,
        key: &str,
        now: UnixMillis,
    ) -> Result<Option<Remembered>, StoreError> {
        let rows = Statement::new("SELECT fingerprint, target_id, status, body FROM idempotency")
            .bind(" WHERE actor_id = ", actor_id)
            .bind(" AND key = ", key)
            .bind(" AND expires_at > ", now)
            .read(&*self.inner.database)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        let strange = || StoreError::corrupt("an answer kept for a repeated request is not readable");
        Ok(Some(Remembered {
            fingerprint: row.bytes()?.try_into().map_err(|_| strange())?,
            target_id: row.text()?,
            status: row.int()?.try_into().map_err(|_| strange())?,
            body: row.opt_text()?.map(|text| serde_json::from_str(&text).map_err(|_| strange())).transpose()?,
        }))
    }

    /// Removes what has run out.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn forget(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let mut transaction = self.inner.database.begin().await?;
        let removed = Statement::new("DELETE FROM idempotency")
            .bind(" WHERE expires_at <= ", now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(removed)
    }
}

impl Write {
    /// Remembers an answer together with what it answers.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: somebody was faster with the same key.
    pub async fn remember(
        &mut self,
        actor_id: &str,
        key: &str,
        answer: &Remembered,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let values = vec![
            actor_id.into(),
            key.into(),
            answer.fingerprint.as_slice().into(),
            answer.target_id.as_str().into(),
            i64::from(answer.status).into(),
            answer.body.as_ref().map(Value::to_string).into(),
            now.plus(KEPT).into(),
        ];
        let kept =
            Statement::new("INSERT INTO idempotency (actor_id, key, fingerprint, target_id, status, body, expires_at)")
                .bind_rows(" VALUES ", [values])
                .push(
                    " ON CONFLICT (actor_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, \
                 target_id = excluded.target_id, status = excluded.status, body = excluded.body, \
                 expires_at = excluded.expires_at",
                )
                .bind(" WHERE idempotency.expires_at <= ", now)
                .execute(&mut *self.transaction)
                .await?;
        match kept {
            0 => Err(StoreError::new(Fault::Conflict, "somebody was faster with the same idempotency key")),
            _ => Ok(()),
        }
    }
}
