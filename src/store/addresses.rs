//! Address lists of principals and keys.

use ipnet::IpNet;

use super::backend::Row;
use super::statement::Statement;
use super::{AddressEntry, ChangeKind, Fault, Holder, Store, StoreError, Write};
use crate::clock::UnixMillis;

/// What [`read`] takes, in its order. `e` is the entry.
pub(super) const COLUMNS: &str =
    "e.id, e.owner_kind, e.owner_id, e.cidr, e.note, e.expires_at, e.created_by, e.created_at";

/// How many they are.
pub(super) const WIDTH: usize = 8;

impl Store {
    /// A list, in the order of its entries' ids; those that have run out included.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn addresses(&self, holder: Holder, id: &str) -> Result<Vec<AddressEntry>, StoreError> {
        let rows = select(holder, id).read(&*self.inner.database).await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }

    /// The lists of several holders (a part of a list of them), in the order of the entries' ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn address_lists(&self, holder: Holder, ids: &[&str]) -> Result<Vec<AddressEntry>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = Statement::new("SELECT ")
            .push(COLUMNS)
            .bind(" FROM ip_entries e WHERE e.owner_kind = ", holder.as_str())
            .bind_list(" AND e.owner_id IN ", ids.iter().copied())
            .push(" ORDER BY e.id")
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }
}

impl Write {
    /// A list as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn addresses(&mut self, holder: Holder, id: &str) -> Result<Vec<AddressEntry>, StoreError> {
        let rows = select(holder, id).fetch(&mut *self.transaction).await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }

    /// Adds an entry; `realm` is the holder's. The holder has a new version then: its list is a part of it.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the network is in the list already, or the holder is gone.
    pub async fn add_address(&mut self, realm: &str, entry: &AddressEntry) -> Result<(), StoreError> {
        let found = self.touch(entry.holder, &entry.holder_id, entry.created_at).await?;
        if found.as_deref() != Some(realm) {
            return Err(StoreError::new(Fault::Conflict, "whose list it is, is gone"));
        }
        let values = vec![
            entry.id.as_str().into(),
            realm.into(),
            entry.holder.as_str().into(),
            entry.holder_id.as_str().into(),
            entry.network.trunc().to_string().into(),
            entry.note.as_deref().into(),
            entry.expires_at.into(),
            entry.created_by.as_str().into(),
            entry.created_at.into(),
        ];
        Statement::new(
            "INSERT INTO ip_entries (id, realm, owner_kind, owner_id, cidr, note, expires_at, created_by, created_at)",
        )
        .bind_rows(" VALUES ", [values])
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Removes an entry, by network. None: there is no such entry. Else whether an entry that counts at `at` is left:
    /// without one, every address is allowed from now on. The holder has a new version then.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn remove_address(
        &mut self,
        holder: Holder,
        id: &str,
        network: IpNet,
        at: UnixMillis,
    ) -> Result<Option<bool>, StoreError> {
        let removed = Statement::new("DELETE FROM ip_entries")
            .bind(" WHERE owner_kind = ", holder.as_str())
            .bind(" AND owner_id = ", id)
            .bind(" AND cidr = ", network.trunc().to_string())
            .execute(&mut *self.transaction)
            .await?;
        if removed == 0 {
            return Ok(None);
        }
        // Before the rest is looked at: else two who take away the last two entries would each see the other's.
        self.touch(holder, id, at).await?;
        let left = Statement::new("SELECT 1 FROM ip_entries")
            .bind(" WHERE owner_kind = ", holder.as_str())
            .bind(" AND owner_id = ", id)
            .bind(" AND (expires_at IS NULL OR expires_at > ", at)
            .push(") LIMIT 1")
            .fetch(&mut *self.transaction)
            .await?;
        Ok(Some(!left.is_empty()))
    }

    /// Gives the holder a new version, by which its row is ours until the end, and tells nodes of it. Returns its realm.
    async fn touch(&mut self, holder: Holder, id: &str, at: UnixMillis) -> Result<Option<String>, StoreError> {
        let (table, kind) = match holder {
            Holder::Client => ("UPDATE principals", ChangeKind::Client),
            Holder::Key => ("UPDATE api_keys", ChangeKind::Key),
        };
        let rows = Statement::new(table)
            .bind(" SET version = version + 1, updated_at = ", at)
            .bind(" WHERE id = ", id)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
        let realm = row.text()?;
        self.change(&realm, kind, id, at);
        Ok(Some(realm))
    }
}

fn select(holder: Holder, id: &str) -> Statement {
    Statement::new("SELECT ")
        .push(COLUMNS)
        .bind(" FROM ip_entries e WHERE e.owner_kind = ", holder.as_str())
        .bind(" AND e.owner_id = ", id)
        .push(" ORDER BY e.id")
}

/// An entry from [`COLUMNS`].
pub(super) fn read(row: &mut Row) -> Result<AddressEntry, StoreError> {
    Ok(AddressEntry {
        id: row.text()?,
        holder: row.word(Holder::by_name)?,
        holder_id: row.text()?,
        network: row.word(|text| text.parse().ok())?,
        note: row.opt_text()?,
        expires_at: row.opt_time()?,
        created_by: row.text()?,
        created_at: row.time()?,
    })
}
