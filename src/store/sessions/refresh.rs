//! Refresh tokens: rows of a session, of which one at most is in force.

use super::OF_AN_ACTIVE_PRINCIPAL;
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;
use crate::store::backend::Row;
use crate::store::record::words;
use crate::store::statement::Statement;
use crate::store::{StoreError, Write};

words! {
    /// What became of a refresh token.
    RefreshState {
        /// Nobody has used it yet.
        Active = "active",
        /// It was used, and has a successor.
        Rotated = "rotated",
        /// It was ended.
        Revoked = "revoked",
    }
}

/// A refresh token in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefresh {
    /// From [`crate::store::random_id`].
    pub jti: String,
    /// Its session.
    pub sid: String,
    /// How many there were before it in the session.
    pub generation: i64,
    /// SHA-256 of its text; none where the text names the `jti`.
    pub digest: Option<CredentialDigest>,
    /// When.
    pub issued_at: UnixMillis,
    /// Refused from then on.
    pub expires_at: UnixMillis,
}

/// A refresh token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRecord {
    /// Names it.
    pub jti: String,
    /// Its session.
    pub sid: String,
    /// How many there were before it in the session.
    pub generation: i64,
    /// What became of it.
    pub state: RefreshState,
    /// When it was issued.
    pub issued_at: UnixMillis,
    /// Refused from then on.
    pub expires_at: UnixMillis,
    /// When it was used.
    pub rotated_at: Option<UnixMillis>,
    /// `jti` of the one that it was used for.
    pub successor: Option<String>,
}

/// What [`read`] takes, in its order. `r` is the refresh token.
pub(super) const COLUMNS: &str =
    "r.jti, r.sid, r.generation, r.state, r.issued_at, r.expires_at, r.rotated_at, r.successor";

/// How many they are.
pub(super) const WIDTH: usize = 8;

impl Write {
    /// Uses a refresh token for the next one of its session, which then lasts until `session_expires_at`. False: it is
    /// not in force, or its session or principal is not; then nothing is done.
    ///
    /// # Errors
    /// [`crate::store::Fault::Conflict`]: the id of the new one is taken.
    pub async fn rotate_refresh(
        &mut self,
        old_jti: &str,
        new: &NewRefresh,
        session_expires_at: UnixMillis,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        // PostgreSQL: the session's row first, as whoever ends the session takes it. Else the two could pass each other,
        // and the successor would be written after all others were ended.
        let in_force = Statement::new("UPDATE sessions SET last_seen_at = last_seen_at")
            .bind(" WHERE revoked_at IS NULL AND expires_at > ", at)
            .bind(" AND id = ", new.sid.as_str())
            .push(" AND ")
            .push(OF_AN_ACTIVE_PRINCIPAL)
            .execute(&mut *self.transaction)
            .await?;
        if in_force == 0 {
            return Ok(false);
        }
        let rotated = Statement::new("UPDATE refresh_tokens SET state = 'rotated'")
            .bind(", rotated_at = ", at)
            .bind(", successor = ", new.jti.as_str())
            .bind(" WHERE state = 'active' AND expires_at > ", at)
            .bind(" AND jti = ", old_jti)
            .bind(" AND sid = ", new.sid.as_str())
            .push(
                " AND EXISTS (SELECT 1 FROM sessions s JOIN principals p ON p.id = s.subject_id \
                 WHERE s.id = refresh_tokens.sid AND s.revoked_at IS NULL AND p.status = 'active')",
            )
            .execute(&mut *self.transaction)
            .await?;
        if rotated == 0 {
            return Ok(false);
        }
        self.insert_refresh(new).await?;
        Statement::new("UPDATE sessions SET")
            .bind(" last_seen_at = ", at)
            .bind(", expires_at = ", session_expires_at)
            .bind(" WHERE id = ", new.sid.as_str())
            .execute(&mut *self.transaction)
            .await?;
        Ok(true)
    }

    /// The refresh token as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn refresh_token(&mut self, jti: &str) -> Result<Option<RefreshRecord>, StoreError> {
        let rows = Statement::new("SELECT ")
            .push(COLUMNS)
            .bind(" FROM refresh_tokens r WHERE r.jti = ", jti)
            .fetch(&mut *self.transaction)
            .await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    pub(super) async fn insert_refresh(&mut self, new: &NewRefresh) -> Result<(), StoreError> {
        let digest = new.digest.map(|digest| self.store.at_rest(&digest));
        let values = vec![
            new.jti.as_str().into(),
            new.sid.as_str().into(),
            new.generation.into(),
            RefreshState::Active.as_str().into(),
            digest.as_ref().map(<[u8; 32]>::as_slice).into(),
            new.issued_at.into(),
            new.expires_at.into(),
        ];
        Statement::new("INSERT INTO refresh_tokens (jti, sid, generation, state, digest, issued_at, expires_at)")
            .bind_rows(" VALUES ", [values])
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

/// A refresh token from [`COLUMNS`].
pub(super) fn read(row: &mut Row) -> Result<RefreshRecord, StoreError> {
    Ok(RefreshRecord {
        jti: row.text()?,
        sid: row.text()?,
        generation: row.int()?,
        state: row.word(RefreshState::by_name)?,
        issued_at: row.time()?,
        expires_at: row.time()?,
        rotated_at: row.opt_time()?,
        successor: row.opt_text()?,
    })
}
