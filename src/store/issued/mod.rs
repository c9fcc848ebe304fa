//! Tokens that are known one by one: spent on first use, replaced by the next one of their slot, or known by their
//! digest alone.

mod in_force;

use serde_json::{Map, Value};

use super::backend::{self, Row};
use super::statement::Statement;
use super::{ChangeKind, Fault, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

pub use in_force::IssuedInForce;

/// A token in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct NewIssued {
    /// From [`super::IdKind::generate`]; the `jti` where it has one.
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// Name of its kind in the configuration.
    pub kind: String,
    /// SHA-256 of its text; none where the text names the id.
    pub digest: Option<CredentialDigest>,
    /// Of all tokens of a kind with the same slot, the last one counts; none: it stands for itself.
    pub slot: Option<String>,
    /// Whom it is about.
    pub subject: String,
    /// Id of the key that asked for it.
    pub issued_by: Option<String>,
    /// Id of the principal whose key that is.
    pub owner_id: Option<String>,
    /// The session that it ends with.
    pub sid: Option<String>,
    /// What it says.
    pub claims: Map<String, Value>,
    /// When.
    pub issued_at: UnixMillis,
    /// Refused from then on.
    pub expires_at: UnixMillis,
}

/// A token, without its text.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedToken {
    /// `tok_…`
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// Name of its kind in the configuration.
    pub kind: String,
    /// See [`NewIssued::slot`].
    pub slot: Option<String>,
    /// Whom it is about.
    pub subject: String,
    /// Id of the key that asked for it.
    pub issued_by: Option<String>,
    /// Id of the principal whose key that is.
    pub owner_id: Option<String>,
    /// The session that it ends with.
    pub sid: Option<String>,
    /// What it says.
    pub claims: Map<String, Value>,
    /// When it was issued.
    pub issued_at: UnixMillis,
    /// Refused from then on.
    pub expires_at: UnixMillis,
    /// When it was spent.
    pub used_at: Option<UnixMillis>,
    /// From where.
    pub used_ip: Option<String>,
    /// Ended since then.
    pub revoked_at: Option<UnixMillis>,
}

/// What [`read`] takes, in its order. `t` is the token.
const COLUMNS: &str = "t.id, t.realm, t.kind, t.slot, t.subject, t.issued_by, t.owner_id, t.sid, t.claims, t.issued_at, \
     t.expires_at, t.used_at, t.used_ip, t.revoked_at";

/// How many they are.
const WIDTH: usize = 14;

impl Write {
    /// Issues a token; one with a slot takes the place of the one that is in there, whatever became of that.
    ///
    /// # Errors
    /// [`Fault::Conflict`]: the id or the text is taken, or the session that it is to end with is over.
    pub async fn issue_token(&mut self, token: &NewIssued) -> Result<(), StoreError> {
        if let Some(sid) = &token.sid {
            // Whoever ends the session takes this row, too, and then finds the token.
            let alive = Statement::new("UPDATE sessions SET last_seen_at = last_seen_at WHERE revoked_at IS NULL")
                .bind(" AND id = ", sid.as_str())
                .bind(" AND realm = ", token.realm.as_str())
                .bind(" AND expires_at > ", token.issued_at)
                .execute(&mut *self.transaction)
                .await?;
            if alive == 0 {
                return Err(StoreError::new(Fault::Conflict, "the session is over"));
            }
        }
        let digest = token.digest.map(|digest| self.store.at_rest(&digest));
        let values: Vec<backend::Value> = vec![
            token.id.as_str().into(),
            token.realm.as_str().into(),
            token.kind.as_str().into(),
            digest.as_ref().map(<[u8; 32]>::as_slice).into(),
            token.slot.as_deref().into(),
            token.subject.as_str().into(),
            token.issued_by.as_deref().into(),
            token.owner_id.as_deref().into(),
            token.sid.as_deref().into(),
            (&token.claims).into(),
            token.issued_at.into(),
            token.expires_at.into(),
        ];
        Statement::new(
            "INSERT INTO issued_tokens (id, realm, kind, digest, slot, subject, issued_by, owner_id, sid, claims, \
             issued_at, expires_at)",
        )
        .bind_rows(" VALUES ", [values])
        .push(
            " ON CONFLICT (realm, kind, slot) DO UPDATE SET id = excluded.id, digest = excluded.digest, \
             subject = excluded.subject, issued_by = excluded.issued_by, owner_id = excluded.owner_id, \
             sid = excluded.sid, claims = excluded.claims, issued_at = excluded.issued_at, \
             expires_at = excluded.expires_at, used_at = NULL, used_ip = NULL, revoked_at = NULL",
        )
        .execute(&mut *self.transaction)
        .await?;
        if let Some(slot) = &token.slot {
            // Another node may remember the one before.
            self.change(&token.realm, ChangeKind::Token, slot, token.issued_at);
        }
        Ok(())
    }

    /// Spends a token. False: it was spent, ended or replaced, has expired, or is not there.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn spend_token(
        &mut self,
        realm: &str,
        id: &str,
        ip: Option<&str>,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let spent = Statement::new("UPDATE issued_tokens SET")
            .bind(" used_at = ", at)
            .bind(", used_ip = ", ip)
            .bind(" WHERE used_at IS NULL AND revoked_at IS NULL AND expires_at > ", at)
            .bind(" AND id = ", id)
            .bind(" AND realm = ", realm)
            .execute(&mut *self.transaction)
            .await?;
        Ok(spent > 0)
    }

    /// Ends a token. False: it is not there or had ended already.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn revoke_token(&mut self, realm: &str, id: &str, at: UnixMillis) -> Result<bool, StoreError> {
        let ended = Statement::new("UPDATE issued_tokens SET")
            .bind(" revoked_at = ", at)
            .bind(" WHERE revoked_at IS NULL AND id = ", id)
            .bind(" AND realm = ", realm)
            .execute(&mut *self.transaction)
            .await?;
        if ended > 0 {
            self.change(realm, ChangeKind::Token, id, at);
        }
        Ok(ended > 0)
    }

    /// Ends what the keys of a principal were given; it tells nobody.
    pub(super) async fn end_tokens_for(&mut self, owner_id: &str, at: UnixMillis) -> Result<(), StoreError> {
        Statement::new("UPDATE issued_tokens SET")
            .bind(" revoked_at = ", at)
            .bind(" WHERE revoked_at IS NULL AND owner_id = ", owner_id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

/// A token from [`COLUMNS`].
fn read(row: &mut Row) -> Result<IssuedToken, StoreError> {
    Ok(IssuedToken {
        id: row.text()?,
        realm: row.text()?,
        kind: row.text()?,
        slot: row.opt_text()?,
        subject: row.text()?,
        issued_by: row.opt_text()?,
        owner_id: row.opt_text()?,
        sid: row.opt_text()?,
        claims: row.object()?,
        issued_at: row.time()?,
        expires_at: row.time()?,
        used_at: row.opt_time()?,
        used_ip: row.opt_text()?,
        revoked_at: row.opt_time()?,
    })
}
