//! What requests ask for: everything that decides about one token.

use super::{COLUMNS, IssuedToken, WIDTH};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;
use crate::store::statement::Statement;
use crate::store::{AddressEntry, Client, KeyStatus, Session, Store, StoreError, addresses, clients, sessions};

/// A token, and everything that it depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedInForce {
    /// The token, whatever its state.
    pub token: IssuedToken,
    /// State and expiry of the key that asked for it; none: no key did, or it is gone.
    pub key: Option<(KeyStatus, Option<UnixMillis>)>,
    /// A key asked for it that is gone.
    pub key_gone: bool,
    /// Whose key that is; none: nobody's, or the principal is gone.
    pub owner: Option<Client>,
    /// The owner's list; empty = every address.
    pub owner_addresses: Vec<AddressEntry>,
    /// The session that it ends with; none: there is none, or it is gone.
    pub session: Option<Session>,
}

/// Columns between the name of the part and the address entry: the token, its owner's id, the key, the owner, the session.
const BEFORE_THE_LIST: usize = WIDTH + 1 + 2 + 1 + clients::WIDTH + 1 + sessions::WIDTH;

impl Store {
    /// Everything about the token whose text has this SHA-256, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn issued_in_force(
        &self,
        realm: &str,
        digest: &CredentialDigest,
    ) -> Result<Option<IssuedInForce>, StoreError> {
        let at_rest = self.at_rest(digest);
        self.read_issued(found().bind(" WHERE t.digest = ", at_rest.as_slice()).bind(" AND t.realm = ", realm)).await
    }

    /// Everything about the token with this id, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn issued_token(&self, realm: &str, id: &str) -> Result<Option<IssuedInForce>, StoreError> {
        self.read_issued(found().bind(" WHERE t.id = ", id).bind(" AND t.realm = ", realm)).await
    }

    async fn read_issued(&self, found: Statement) -> Result<Option<IssuedInForce>, StoreError> {
        // One statement, so that all of it is of one moment; see also `keys::in_force`.
        let rows = found
            .push(") SELECT found.*, ")
            .nulls(addresses::WIDTH)
            .push(" FROM found UNION ALL SELECT 'address', ")
            .nulls(BEFORE_THE_LIST)
            .push(", ")
            .push(addresses::COLUMNS)
            .push(" FROM found CROSS JOIN ip_entries e")
            .push(" WHERE e.owner_kind = 'client' AND e.owner_id = found.this_owner")
            .read(&*self.inner.database)
            .await?;
        let mut found = None;
        let mut owner_addresses = Vec::new();
        for mut row in rows {
            if row.text()? != "token" {
                row.skip(BEFORE_THE_LIST);
                owner_addresses.push(addresses::read(&mut row)?);
                continue;
            }
            let token = super::read(&mut row)?;
            row.skip(1);
            let (status, expires_at) = (row.opt_word(KeyStatus::by_name)?, row.opt_time()?);
            let owner = if row.opt_text()?.is_some() {
                Some(clients::read(&mut row)?)
            } else {
                row.skip(clients::WIDTH);
                None
            };
            let session = if row.opt_text()?.is_some() { Some(sessions::read(&mut row)?) } else { None };
            found = Some((token, status.map(|status| (status, expires_at)), owner, session));
        }
        owner_addresses.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(found.map(|(token, key, owner, session)| {
            let key_gone = token.issued_by.is_some() && key.is_none();
            IssuedInForce { token, key, key_gone, owner, owner_addresses, session }
        }))
    }
}

fn found() -> Statement {
    Statement::new("WITH found AS (SELECT 'token' AS part, ")
        .push(COLUMNS)
        .push(", p.id AS this_owner, k.status AS key_status, k.expires_at AS key_expires_at, p.id AS has_owner, ")
        .push(clients::COLUMNS)
        .push(", s.id AS has_session, ")
        .push(sessions::COLUMNS)
        .push(" FROM issued_tokens t LEFT JOIN api_keys k ON k.id = t.issued_by AND k.realm = t.realm")
        .push(" LEFT JOIN principals p ON p.id = t.owner_id AND p.realm = t.realm")
        .push(" LEFT JOIN sessions s ON s.id = t.sid AND s.realm = t.realm")
}
