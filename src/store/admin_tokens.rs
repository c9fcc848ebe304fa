//! Tokens for administration.

use std::time::Duration;

use super::backend::Row;
use super::statement::Statement;
use super::{AdminToken, Store, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

/// A token in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAdminToken {
    /// From [`super::IdKind::generate`].
    pub id: String,
    /// For people.
    pub name: String,
    /// Last four characters.
    pub hint: String,
    /// SHA-256 of its text.
    pub digest: CredentialDigest,
    /// What it may do.
    pub scopes: Vec<String>,
    /// In which realms; none = in all.
    pub realms: Option<Vec<String>>,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
    /// Who makes it.
    pub created_by: String,
    /// When.
    pub at: UnixMillis,
}

/// A use is noted again after so long.
const NOTED: Duration = Duration::from_secs(60);

impl Store {
    /// The token whose text has this SHA-256, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn admin_token(&self, digest: &CredentialDigest) -> Result<Option<AdminToken>, StoreError> {
        let at_rest = self.at_rest(digest);
        let rows = select().bind(" WHERE digest = ", at_rest.as_slice()).read(&*self.inner.database).await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// All tokens, in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn admin_tokens(&self) -> Result<Vec<AdminToken>, StoreError> {
        let rows = select().push(" ORDER BY id").read(&*self.inner.database).await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }

    /// Notes that a token was used, if the last note is older than a minute.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn note_admin_token(&self, id: &str, at: UnixMillis) -> Result<(), StoreError> {
        let due = |statement: Statement| {
            let old = UnixMillis(at.0.saturating_sub(i64::try_from(NOTED.as_millis()).unwrap_or(i64::MAX)));
            statement.bind(" WHERE id = ", id).bind(" AND (last_used_at IS NULL OR last_used_at < ", old).push(")")
        };
        // Asked first: most requests need not wait for the place of a writer.
        if due(Statement::new("SELECT 1 FROM admin_tokens")).read(&*self.inner.database).await?.is_empty() {
            return Ok(());
        }
        let mut transaction = self.inner.database.begin().await?;
        due(Statement::new("UPDATE admin_tokens SET").bind(" last_used_at = ", at)).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

impl Write {
    /// Makes a token.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn create_admin_token(&mut self, token: &NewAdminToken) -> Result<(), StoreError> {
        let values = vec![
            token.id.as_str().into(),
            token.name.as_str().into(),
            self.store.at_rest(&token.digest).as_slice().into(),
            token.hint.as_str().into(),
            token.scopes.as_slice().into(),
            token.realms.as_deref().into(),
            token.expires_at.into(),
            token.created_by.as_str().into(),
            token.at.into(),
        ];
        Statement::new(
            "INSERT INTO admin_tokens (id, name, digest, hint, scopes, realms, expires_at, created_by, created_at)",
        )
        .bind_rows(" VALUES ", [values])
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Ends a token. False: it is not there or was revoked already.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_admin_token(&mut self, id: &str, at: UnixMillis) -> Result<bool, StoreError> {
        let ended = Statement::new("UPDATE admin_tokens SET")
            .bind(" revoked_at = ", at)
            .bind(" WHERE revoked_at IS NULL AND id = ", id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(ended > 0)
    }
}

fn select() -> Statement {
    Statement::new(
        "SELECT id, name, hint, scopes, realms, expires_at, revoked_at, last_used_at, created_by, created_at \
         FROM admin_tokens",
    )
}

fn read(row: &mut Row) -> Result<AdminToken, StoreError> {
    Ok(AdminToken {
        id: row.text()?,
        name: row.text()?,
        hint: row.text()?,
        scopes: row.texts()?,
        realms: row.opt_texts()?,
        expires_at: row.opt_time()?,
        revoked_at: row.opt_time()?,
        last_used_at: row.opt_time()?,
        created_by: row.text()?,
        created_at: row.time()?,
    })
}
