//! A new text for a key whose id, settings and history stay.

use super::{SECRET, secret};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;
use crate::store::statement::Statement;
use crate::store::{ChangeKind, StoreError, Write};

/// So many ended texts of a key are known as such; older ones are unknown texts.
const ENDED: i64 = 10;

/// A new text for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// What it starts with: not always as the text before, which may have been imported by digest.
    pub prefix: String,
    /// Its last four characters.
    pub hint: String,
    /// SHA-256 of it.
    pub digest: CredentialDigest,
    /// The text so far works until then; now or earlier = it ends at once.
    pub old_until: UnixMillis,
}

impl Write {
    /// Gives an active key, not expired, a new text; its id and all else stay. A text that was still in its overlap
    /// ends at once: two work at most. False: the key is not active, has expired, or has another version.
    ///
    /// # Errors
    /// [`crate::store::Fault::Conflict`]: a key of the realm has this text already.
    pub async fn rotate_key(
        &mut self,
        id: &str,
        version: Option<i64>,
        rotation: &Rotation,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = Statement::new("UPDATE api_keys SET version = version + 1")
            .bind(", updated_at = ", at)
            .bind(", prefix = ", rotation.prefix.as_str())
            .bind(" WHERE status = 'active' AND (expires_at IS NULL OR expires_at > ", at)
            .bind(") AND id = ", id)
            .bind_some(" AND version = ", version)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        let realm = row.text()?;
        Statement::new("UPDATE api_key_secrets SET state = 'ended'")
            .bind(" WHERE state = 'overlap' AND key_id = ", id)
            .execute(&mut *self.transaction)
            .await?;
        let old = if rotation.old_until > at { "overlap" } else { "ended" };
        Statement::new("UPDATE api_key_secrets SET")
            .bind(" state = ", old)
            .bind(", not_after = ", rotation.old_until)
            .bind(" WHERE state = 'current' AND key_id = ", id)
            .execute(&mut *self.transaction)
            .await?;
        Statement::new("INSERT INTO api_key_secrets (")
            .push(SECRET)
            .bind_rows(") VALUES ", [secret(&realm, &self.store.at_rest(&rotation.digest), id, &rotation.hint, at)])
            .execute(&mut *self.transaction)
            .await?;
        Statement::new("DELETE FROM api_key_secrets WHERE state = 'ended'")
            .bind(" AND realm = ", realm.as_str())
            .bind(" AND key_id = ", id)
            .bind(" AND digest NOT IN (SELECT digest FROM api_key_secrets WHERE state = 'ended' AND key_id = ", id)
            .bind(" ORDER BY created_at DESC, digest LIMIT ", ENDED)
            .push(")")
            .execute(&mut *self.transaction)
            .await?;
        self.change(&realm, ChangeKind::Key, id, at);
        // Nodes may have noted the new text as unknown.
        self.change(&realm, ChangeKind::KeysAdded, "", at);
        Ok(true)
    }
}
