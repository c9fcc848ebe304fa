//! Keys that exist elsewhere already, in batches.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::backend;
use super::keys::{INSERTED, SECRET, secret};
use super::statement::{Statement, TOGETHER};
use super::{ChangeKind, Fault, IdKind, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::CredentialDigest;

/// A key that exists already.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedKey {
    /// SHA-256 of its text.
    pub digest: CredentialDigest,
    /// Last four characters of its text; empty when only the digest is known.
    pub hint: String,
    /// Prefix; empty when only the digest is known.
    pub prefix: String,
    /// Id of the principal it belongs to.
    pub owner_id: String,
    /// For people.
    pub name: String,
    /// Scopes; none = as its owner's.
    pub scopes: Option<Vec<String>>,
    /// Free attributes.
    pub attributes: Map<String, Value>,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New keys.
    pub added: u64,
    /// Keys whose text the realm knew already: left as they were.
    pub known: u64,
}

impl Write {
    /// Makes all of these keys that the realm does not know yet; one row in the feed for the whole batch. A text that
    /// is in the batch twice is made once, as it stands there first, and then known.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: an owner is gone. Then nothing of the batch is written.
    pub async fn import_keys(
        &mut self,
        realm: &str,
        keys: &[ImportedKey],
        created_by: &str,
        at: UnixMillis,
    ) -> Result<Imported, StoreError> {
        self.owners_are_there(realm, keys).await?;
        // In the order of the digests: two who import the same keys then wait for each other in one direction only.
        let mut new: BTreeMap<[u8; 32], (String, &ImportedKey)> = BTreeMap::new();
        for key in keys {
            let id = IdKind::Key
                .generate(at)
                .map_err(|_| StoreError::new(Fault::Unreachable, "the system has no randomness to give"))?;
            new.entry(self.store.at_rest(&key.digest)).or_insert((id, key));
        }
        let digests: Vec<_> = new.keys().copied().collect();
        for some in digests.chunks(TOGETHER) {
            let known = Statement::new("SELECT digest FROM api_key_secrets")
                .bind(" WHERE realm = ", realm)
                .bind_list(" AND digest IN ", some.iter().map(<[u8; 32]>::as_slice))
                .fetch(&mut *self.transaction)
                .await?;
            for mut row in known {
                let digest: Result<[u8; 32], _> = row.bytes()?.try_into();
                digest.ok().and_then(|digest| new.remove(&digest));
            }
        }
        let new: Vec<_> = new.into_iter().collect();
        let mut added = 0;
        for some in new.chunks(TOGETHER) {
            added += self.insert(realm, some, created_by, at).await?;
        }
        if added > 0 {
            self.change(realm, ChangeKind::KeysAdded, "", at);
        }
        Ok(Imported { added, known: u64::try_from(keys.len()).unwrap_or(u64::MAX).saturating_sub(added) })
    }

    async fn owners_are_there(&mut self, realm: &str, keys: &[ImportedKey]) -> Result<(), StoreError> {
        let owners: BTreeSet<&str> = keys.iter().map(|key| key.owner_id.as_str()).collect();
        let owners: Vec<&str> = owners.into_iter().collect();
        for some in owners.chunks(TOGETHER) {
            let found = Statement::new("SELECT id FROM principals")
                .bind(" WHERE realm = ", realm)
                .bind_list(" AND id IN ", some.iter().copied())
                .fetch(&mut *self.transaction)
                .await?;
            if found.len() != some.len() {
                return Err(StoreError::new(Fault::Conflict, "an owner is gone"));
            }
        }
        Ok(())
    }

    /// Returns how many there are new. Fewer than were given: somebody else was faster with them.
    async fn insert(
        &mut self,
        realm: &str,
        keys: &[([u8; 32], (String, &ImportedKey))],
        created_by: &str,
        at: UnixMillis,
    ) -> Result<u64, StoreError> {
        let rows = keys.iter().map(|(_, (id, key))| -> Vec<backend::Value> {
            vec![
                id.as_str().into(),
                realm.into(),
                key.owner_id.as_str().into(),
                key.name.as_str().into(),
                key.prefix.as_str().into(),
                key.scopes.as_deref().into(),
                (&key.attributes).into(),
                "active".into(),
                key.expires_at.into(),
                created_by.into(),
                at.into(),
                at.into(),
                1.into(),
            ]
        });
        let mut inserted = Statement::new("INSERT INTO api_keys (")
            .push(INSERTED)
            .bind_rows(") VALUES ", rows)
            .execute(&mut *self.transaction)
            .await?;
        let rows = keys.iter().map(|(at_rest, (id, key))| secret(realm, at_rest, id, &key.hint, at));
        let secrets = Statement::new("INSERT INTO api_key_secrets (")
            .push(SECRET)
            .bind_rows(") VALUES ", rows)
            .push(" ON CONFLICT (realm, digest) DO NOTHING")
            .execute(&mut *self.transaction)
            .await?;
        if secrets < inserted {
            inserted -= Statement::new("DELETE FROM api_keys")
                .bind_list(" WHERE id IN ", keys.iter().map(|(_, (id, _))| id.as_str()))
                .push(" AND NOT EXISTS (SELECT 1 FROM api_key_secrets s WHERE s.key_id = api_keys.id)")
                .execute(&mut *self.transaction)
                .await?;
        }
        Ok(inserted)
    }
}
