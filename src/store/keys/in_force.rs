//! What requests ask for: everything about the key of a presented text.

use super::{BESIDE, COLUMNS, WIDTH};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;
use crate::store::statement::Statement;
use crate::store::{Holder, KeyInForce, Store, StoreError, addresses, clients};

/// As many columns as there are of the text, the key and its owner.
const BEFORE_THE_LIST: usize = 4 + WIDTH + clients::WIDTH;

impl Store {
    /// Everything about the key whose text has this SHA-256, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn key_in_force(&self, realm: &str, digest: &CredentialDigest) -> Result<Option<KeyInForce>, StoreError> {
        // One statement, so that all of it is of one moment: were the key deleted between reading it and reading its
        // list, the list would be empty, and that means every address. CROSS JOIN: SQLite takes the tables in this order
        // then, instead of all lists there are.
        let rows = Statement::new("WITH found AS (SELECT k.id AS this_key, p.id AS this_owner, s.state, s.not_after, ")
            .push(COLUMNS)
            .push(", ")
            .push(clients::COLUMNS)
            .push(" FROM api_keys k")
            .push(BESIDE)
            .bind(" JOIN api_key_secrets s ON s.key_id = k.id WHERE s.realm = ", realm)
            .bind(" AND s.digest = ", self.at_rest(digest).as_slice())
            .push(") SELECT found.*, ")
            .nulls(addresses::WIDTH)
            .push(" FROM found UNION ALL SELECT ")
            .nulls(BEFORE_THE_LIST)
            .push(", ")
            .push(addresses::COLUMNS)
            .push(" FROM found CROSS JOIN ip_entries e WHERE e.owner_kind = 'key' AND e.owner_id = found.this_key")
            .push(" UNION ALL SELECT ")
            .nulls(BEFORE_THE_LIST)
            .push(", ")
            .push(addresses::COLUMNS)
            .push(" FROM found CROSS JOIN ip_entries e WHERE e.owner_kind = 'client' AND e.owner_id = found.this_owner")
            .read(&*self.inner.database)
            .await?;
        let mut in_force = None;
        let (mut key_addresses, mut owner_addresses) = (Vec::new(), Vec::new());
        for mut row in rows {
            if row.opt_text()?.is_none() {
                row.skip(BEFORE_THE_LIST - 1);
                let entry = addresses::read(&mut row)?;
                match entry.holder {
                    Holder::Key => key_addresses.push(entry),
                    Holder::Client => owner_addresses.push(entry),
                }
                continue;
            }
            row.skip(1);
            let ended = row.text()? == "ended";
            let not_after = row.opt_time()?;
            // An ended text is refused by a node whose clock is late, too.
            let not_after = if ended { Some(UnixMillis(0)) } else { not_after };
            in_force = Some((super::read(&mut row)?, clients::read(&mut row)?, not_after));
        }
        key_addresses.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        owner_addresses.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(in_force.map(|(key, owner, not_after)| KeyInForce { key, owner, not_after, key_addresses, owner_addresses }))
    }
}
