//! What requests ask for: everything that decides about one token of a session.

use super::{RefreshRecord, Session, refresh};
use crate::secret::CredentialDigest;
use crate::store::statement::Statement;
use crate::store::{AddressEntry, Client, Store, StoreError, addresses, clients};

/// A session and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionInForce {
    /// The session, whatever its state.
    pub session: Session,
    /// Whose it is.
    pub subject: Client,
    /// The principal's list; empty = every address.
    pub addresses: Vec<AddressEntry>,
    /// Access tokens of the session that were ended one by one (`jti`), until some time after they have expired.
    pub revoked_tokens: Vec<String>,
}

/// A refresh token, its session, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct RefreshInForce {
    /// The refresh token, whatever its state.
    pub token: RefreshRecord,
    /// Its session, whatever its state.
    pub session: Session,
    /// Whose it is.
    pub subject: Client,
    /// The principal's list; empty = every address.
    pub addresses: Vec<AddressEntry>,
}

impl Store {
    /// Everything about the session with this id, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn session_in_force(&self, realm: &str, sid: &str) -> Result<Option<SessionInForce>, StoreError> {
        // One statement, so that all of it is of one moment; see also `keys::in_force`.
        let found = Statement::new("WITH found AS (SELECT 'session' AS part, s.subject_id AS this_principal, ")
            .push(super::COLUMNS)
            .push(", ")
            .push(clients::COLUMNS)
            .push(" FROM sessions s JOIN principals p ON p.id = s.subject_id AND p.realm = s.realm")
            .bind(" WHERE s.id = ", sid)
            .bind(" AND s.realm = ", realm);
        let rows = with_list(found, BEFORE_THE_LIST)
            .push(" UNION ALL SELECT 'revoked', NULL, r.jti, ")
            .nulls(BEFORE_THE_LIST - 2 + addresses::WIDTH)
            .bind(" FROM revoked_tokens r WHERE r.sid = ", sid)
            .bind(" AND r.realm = ", realm)
            .read(&*self.inner.database)
            .await?;
        let mut found = None;
        let (mut addresses, mut revoked_tokens) = (Vec::new(), Vec::new());
        for mut row in rows {
            match row.text()?.as_str() {
                "session" => {
                    row.skip(1);
                    found = Some((super::read(&mut row)?, clients::read(&mut row)?));
                }
                "revoked" => {
                    row.skip(1);
                    revoked_tokens.push(row.text()?);
                }
                _ => {
                    row.skip(BEFORE_THE_LIST);
                    addresses.push(addresses::read(&mut row)?);
                }
            }
        }
        addresses.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        revoked_tokens.sort_unstable();
        Ok(found.map(|(session, subject)| SessionInForce { session, subject, addresses, revoked_tokens }))
    }

    /// Everything about the refresh token with this `jti`, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn refresh_in_force(&self, realm: &str, jti: &str) -> Result<Option<RefreshInForce>, StoreError> {
        let found = refresh_found().bind(" WHERE r.jti = ", jti).bind(" AND s.realm = ", realm);
        self.read_refresh(found).await
    }

    /// Everything about the refresh token whose text has this SHA-256, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn refresh_by_digest(
        &self,
        realm: &str,
        digest: &CredentialDigest,
    ) -> Result<Option<RefreshInForce>, StoreError> {
        let at_rest = self.at_rest(digest);
        let found = refresh_found().bind(" WHERE r.digest = ", at_rest.as_slice()).bind(" AND s.realm = ", realm);
        self.read_refresh(found).await
    }

    async fn read_refresh(&self, found: Statement) -> Result<Option<RefreshInForce>, StoreError> {
        let rows = with_list(found, BEFORE_ITS_LIST).read(&*self.inner.database).await?;
        let mut found = None;
        let mut addresses = Vec::new();
        for mut row in rows {
            if row.text()? == "token" {
                row.skip(1);
                found = Some((refresh::read(&mut row)?, super::read(&mut row)?, clients::read(&mut row)?));
            } else {
                row.skip(BEFORE_ITS_LIST);
                addresses.push(addresses::read(&mut row)?);
            }
        }
        addresses.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(found.map(|(token, session, subject)| RefreshInForce { token, session, subject, addresses }))
    }
}

fn refresh_found() -> Statement {
    Statement::new("WITH found AS (SELECT 'token' AS part, s.subject_id AS this_principal, ")
        .push(refresh::COLUMNS)
        .push(", ")
        .push(super::COLUMNS)
        .push(", ")
        .push(clients::COLUMNS)
        .push(" FROM refresh_tokens r JOIN sessions s ON s.id = r.sid")
        .push(" JOIN principals p ON p.id = s.subject_id AND p.realm = s.realm")
}

/// Columns between the name of the part and the address entry: the principal's id, the session, the principal.
const BEFORE_THE_LIST: usize = 1 + super::WIDTH + clients::WIDTH;

/// The same of a refresh token.
const BEFORE_ITS_LIST: usize = BEFORE_THE_LIST + refresh::WIDTH;

/// Ends the bracket of what was found, and adds the list of its principal.
fn with_list(found: Statement, before: usize) -> Statement {
    found
        .push(") SELECT found.*, ")
        .nulls(addresses::WIDTH)
        .push(" FROM found UNION ALL SELECT 'address', ")
        .nulls(before)
        .push(", ")
        .push(addresses::COLUMNS)
        .push(" FROM found CROSS JOIN ip_entries e")
        .push(" WHERE e.owner_kind = 'client' AND e.owner_id = found.this_principal")
}
