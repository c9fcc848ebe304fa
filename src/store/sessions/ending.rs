//! How sessions end: one, all of a principal, or a single access token of one. What was ended stays ended, and every
//! node is told.

use crate::clock::UnixMillis;
use crate::store::statement::Statement;
use crate::store::{ChangeKind, StoreError, Write};

/// Sessions that are ended with one statement: none may take long.
const ENDED_TOGETHER: i64 = 500;

impl Write {
    /// Ends a session, its refresh token, and the tokens that were issued in it. False: it is not there or had ended
    /// already.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_session(&mut self, id: &str, reason: &str, at: UnixMillis) -> Result<bool, StoreError> {
        let rows = Statement::new("UPDATE sessions SET")
            .bind(" revoked_at = ", at)
            .bind(", revoke_reason = ", reason)
            .bind(" WHERE revoked_at IS NULL AND id = ", id)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        self.end_tokens_of(&[id.to_owned()], at).await?;
        self.change(&row.text()?, ChangeKind::Session, id, at);
        Ok(true)
    }

    /// Ends all sessions of a principal, but for one if that is wanted; the principal's row is taken first, so that no
    /// login slips through. Returns how many were not over yet.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_sessions_of(
        &mut self,
        subject_id: &str,
        reason: &str,
        except: Option<&str>,
        at: UnixMillis,
    ) -> Result<u64, StoreError> {
        let taken = match except {
            None => Statement::new("UPDATE principals SET").bind(" not_before = ", at),
            Some(_) => Statement::new("UPDATE principals SET not_before = not_before"),
        };
        let rows =
            taken.bind(" WHERE id = ", subject_id).push(" RETURNING realm").fetch(&mut *self.transaction).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(0) };
        let realm = row.text()?;
        let ended = self.end_sessions_of(subject_id, reason, except, at).await?;
        self.change(&realm, ChangeKind::Client, subject_id, at);
        Ok(ended)
    }

    /// Ends one access token of a session before its time. That it was ended is kept until after `expires_at`.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_jti(
        &mut self,
        realm: &str,
        sid: &str,
        jti: &str,
        expires_at: UnixMillis,
        at: UnixMillis,
    ) -> Result<(), StoreError> {
        // The session's row first: whoever renews the token at the same time is before this, or finds it.
        Statement::new("UPDATE sessions SET last_seen_at = last_seen_at")
            .bind(" WHERE id = ", sid)
            .execute(&mut *self.transaction)
            .await?;
        Statement::new("INSERT INTO revoked_tokens (jti, realm, sid, expires_at)")
            .bind_rows(" VALUES ", [vec![jti.into(), realm.into(), sid.into(), expires_at.into()]])
            .push(" ON CONFLICT (jti) DO NOTHING")
            .execute(&mut *self.transaction)
            .await?;
        self.change(realm, ChangeKind::Session, sid, at);
        Ok(())
    }

    /// Ends the sessions of a principal whose row this transaction holds; it tells nobody.
    pub(in crate::store) async fn end_sessions_of(
        &mut self,
        subject_id: &str,
        reason: &str,
        except: Option<&str>,
        at: UnixMillis,
    ) -> Result<u64, StoreError> {
        let mut live = 0;
        loop {
            let rows = Statement::new("UPDATE sessions SET")
                .bind(" revoked_at = ", at)
                .bind(", revoke_reason = ", reason)
                .bind(" WHERE revoked_at IS NULL AND id IN (SELECT id FROM sessions WHERE subject_id = ", subject_id)
                .bind_some(" AND id <> ", except)
                .bind(" AND revoked_at IS NULL ORDER BY id LIMIT ", ENDED_TOGETHER)
                .push(") RETURNING id, expires_at")
                .fetch(&mut *self.transaction)
                .await?;
            if rows.is_empty() {
                return Ok(live);
            }
            let mut ended = Vec::with_capacity(rows.len());
            for mut row in rows {
                ended.push(row.text()?);
                live += u64::from(row.time()? > at);
            }
            self.end_tokens_of(&ended, at).await?;
        }
    }

    /// Removes what was issued in sessions that are gone.
    pub(in crate::store) async fn delete_tokens_of(&mut self, sessions: &[String]) -> Result<(), StoreError> {
        for statement in ["DELETE FROM issued_tokens WHERE sid IN ", "DELETE FROM revoked_tokens WHERE sid IN "] {
            Statement::new("")
                .bind_list(statement, sessions.iter().map(String::as_str))
                .execute(&mut *self.transaction)
                .await?;
        }
        Ok(())
    }

    async fn end_tokens_of(&mut self, sessions: &[String], at: UnixMillis) -> Result<(), StoreError> {
        Statement::new("UPDATE refresh_tokens SET state = 'revoked' WHERE state = 'active'")
            .bind_list(" AND sid IN ", sessions.iter().map(String::as_str))
            .execute(&mut *self.transaction)
            .await?;
        Statement::new("UPDATE issued_tokens SET")
            .bind(" revoked_at = ", at)
            .bind_list(" WHERE revoked_at IS NULL AND sid IN ", sessions.iter().map(String::as_str))
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}
