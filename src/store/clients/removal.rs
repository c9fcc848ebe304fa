//! Removing a principal: nothing of it is left, and nothing of it can come into being meanwhile.

use crate::clock::UnixMillis;
use crate::store::statement::Statement;
use crate::store::{ChangeKind, StoreError, Write};

/// Keys that are removed with one statement.
const DELETED_TOGETHER: i64 = 1000;

/// Sessions that are removed with one statement; their ids are bound to the next.
const SESSIONS_TOGETHER: i64 = 500;

impl Write {
    /// Removes a principal with its keys, address lists, sessions and tokens, if it has still this version. None: it has
    /// not, or is not there; else the ids of the keys that ended with it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn delete_client(
        &mut self,
        id: &str,
        version: Option<i64>,
        at: UnixMillis,
    ) -> Result<Option<Vec<String>>, StoreError> {
        // PostgreSQL: only an update of a column that is unique keeps others from making keys for this principal in
        // the meantime. Nobody ever sees what is put there.
        let rows = Statement::new("UPDATE principals SET identifier_norm = identifier_norm || ' ' || id")
            .bind(" WHERE id = ", id)
            .bind_some(" AND version = ", version)
            .push(" RETURNING realm, identifier_norm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        let (realm, identifier) = (row.text()?, row.text()?);
        self.delete_sessions_of(id).await?;
        let identifier = identifier.strip_suffix(id).and_then(|rest| rest.strip_suffix(' ')).unwrap_or(&identifier);
        self.forget_logins_of(&realm, identifier).await?;
        let mut keys = Vec::new();
        loop {
            // Some at a time, for no statement may take long.
            let rows = Statement::new("DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys")
                .bind(" WHERE owner_id = ", id)
                .bind(" ORDER BY id LIMIT ", DELETED_TOGETHER)
                .push(") RETURNING id")
                .fetch(&mut *self.transaction)
                .await?;
            if rows.is_empty() {
                break;
            }
            for mut row in rows {
                keys.push(row.text()?);
            }
        }
        keys.sort_unstable();
        // Last: whoever adds to a list holds the row of its holder, and that is gone by now.
        let lists = Statement::new("DELETE FROM ip_entries WHERE owner_kind = 'client'").bind(" AND owner_id = ", id);
        lists.execute(&mut *self.transaction).await?;
        for some in keys.chunks(500) {
            Statement::new("DELETE FROM ip_entries WHERE owner_kind = 'key'")
                .bind_list(" AND owner_id IN ", some.iter().map(String::as_str))
                .execute(&mut *self.transaction)
                .await?;
            Statement::new("DELETE FROM issued_tokens")
                .bind_list(" WHERE issued_by IN ", some.iter().map(String::as_str))
                .execute(&mut *self.transaction)
                .await?;
        }
        Statement::new("DELETE FROM principals").bind(" WHERE id = ", id).execute(&mut *self.transaction).await?;
        self.change(&realm, ChangeKind::Client, id, at);
        for key in &keys {
            self.change(&realm, ChangeKind::Key, key, at);
        }
        Ok(Some(keys))
    }

    /// With everything of them, and with what keys of the principal were given.
    async fn delete_sessions_of(&mut self, id: &str) -> Result<(), StoreError> {
        loop {
            // Their refresh tokens go with them.
            let rows = Statement::new("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions")
                .bind(" WHERE subject_id = ", id)
                .bind(" ORDER BY id LIMIT ", SESSIONS_TOGETHER)
                .push(") RETURNING id")
                .fetch(&mut *self.transaction)
                .await?;
            if rows.is_empty() {
                break;
            }
            let gone = rows.into_iter().map(|mut row| row.text()).collect::<Result<Vec<_>, _>>()?;
            self.delete_tokens_of(&gone).await?;
        }
        Statement::new("DELETE FROM issued_tokens")
            .bind(" WHERE owner_id = ", id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}
