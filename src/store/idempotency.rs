//! Answers to creations, kept for a day for those who ask twice.

use serde_json::Value;

use super::{Store, StoreError, Write};
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
        let _ = (actor_id, key, now);
        unimplemented!()
    }

    /// Removes what has run out.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn forget(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let _ = now;
        unimplemented!()
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
        let _ = (actor_id, key, answer, now);
        unimplemented!()
    }
}
