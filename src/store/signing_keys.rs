//! The keys that realms sign with. Their secret halves lie sealed, see [`super::seal`].

use serde_json::Value;

use super::backend::Row;
use super::record::words;
use super::seal::{self, Place};
use super::statement::Statement;
use super::{ChangeKind, Store, StoreError, Write};
use crate::clock::UnixMillis;
use crate::secret::Secret;

words! {
    /// What a signing key does.
    SigningKeyState {
        /// It is published, and signs later.
        Next = "next",
        /// It signs.
        Active = "active",
        /// It only verifies any more.
        Passive = "passive",
        /// It does nothing.
        Disabled = "disabled",
    }
}

/// A signing key, unsealed.
#[derive(Clone, Debug, PartialEq)]
pub struct SigningKeyRecord {
    /// Names it.
    pub kid: String,
    /// Name of the realm.
    pub realm: String,
    /// Signature algorithm.
    pub alg: String,
    /// What it does.
    pub state: SigningKeyState,
    /// Its secret half.
    pub private: Secret,
    /// Its public half as a JSON Web Key; none: it has none.
    pub public_jwk: Option<Value>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Signs from then on.
    pub activate_at: UnixMillis,
    /// Verifies no more from then on.
    pub retire_at: Option<UnixMillis>,
}

/// A signing key in the making.
#[derive(Clone, Debug)]
pub struct NewSigningKey<'a> {
    /// Names it.
    pub kid: String,
    /// Name of the realm.
    pub realm: String,
    /// Signature algorithm.
    pub alg: String,
    /// What it does.
    pub state: SigningKeyState,
    /// Its secret half.
    pub private: &'a Secret,
    /// Its public half.
    pub public_jwk: Option<Value>,
    /// Who makes it.
    pub created_by: String,
    /// When.
    pub at: UnixMillis,
    /// Signs from then on.
    pub activate_at: UnixMillis,
    /// Verifies no more from then on.
    pub retire_at: Option<UnixMillis>,
}

/// What of a signing key is to be changed; none = stays. The inner option: none = taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningKeyChange {
    /// What it does.
    pub state: Option<SigningKeyState>,
    /// Since when it signs.
    pub activate_at: Option<UnixMillis>,
    /// Until when it verifies.
    pub retire_at: Option<Option<UnixMillis>>,
}

/// What [`SigningKeyRecord`] is read from.
const COLUMNS: &str =
    "kid, realm, alg, state, private_sealed, public_jwk, created_by, created_at, activate_at, retire_at";

impl Store {
    /// The signing keys of a realm or of all, whatever they do, in the order of their activation.
    ///
    /// # Errors
    /// The store is out of reach, or a key does not open.
    pub async fn signing_keys(&self, realm: Option<&str>) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows = select(realm).read(&*self.inner.database).await?;
        rows.into_iter().map(|mut row| self.unsealed(&mut row)).collect()
    }

    /// How many signing keys do not open.
    pub(super) async fn sealed_for_ever(&self) -> Result<usize, StoreError> {
        let rows =
            Statement::new("SELECT ").push(COLUMNS).push(" FROM signing_keys").read(&*self.inner.database).await?;
        Ok(rows.into_iter().filter_map(|mut row| self.unsealed(&mut row).err()).count())
    }

    fn unsealed(&self, row: &mut Row) -> Result<SigningKeyRecord, StoreError> {
        let (kid, realm, alg) = (row.text()?, row.text()?, row.text()?);
        let state = row.word(SigningKeyState::by_name)?;
        let private = seal::unseal(self.seal_key(), Place { realm: &realm, kid: &kid, alg: &alg }, &row.bytes()?)?;
        let strange = |_| StoreError::corrupt("a public key is not readable");
        let public_jwk = row.opt_text()?.map(|text| serde_json::from_str(&text).map_err(strange)).transpose()?;
        Ok(SigningKeyRecord {
            kid,
            realm,
            alg,
            state,
            private,
            public_jwk,
            created_by: row.text()?,
            created_at: row.time()?,
            activate_at: row.time()?,
            retire_at: row.opt_time()?,
        })
    }
}

fn select(realm: Option<&str>) -> Statement {
    Statement::new("SELECT ")
        .push(COLUMNS)
        .push(" FROM signing_keys")
        .bind_some(" WHERE realm = ", realm)
        .push(" ORDER BY activate_at, kid")
}

impl Write {
    /// As [`Store::signing_keys`], as this transaction sees them.
    ///
    /// # Errors
    /// The store is out of reach, or a key does not open.
    pub async fn signing_keys(&mut self, realm: Option<&str>) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows = select(realm).fetch(&mut *self.transaction).await?;
        rows.into_iter().map(|mut row| self.store.unsealed(&mut row)).collect()
    }

    /// Adds a signing key, and tells nodes.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: there is one of this name.
    pub async fn add_signing_key(&mut self, key: &NewSigningKey<'_>) -> Result<(), StoreError> {
        let place = Place { realm: &key.realm, kid: &key.kid, alg: &key.alg };
        let sealed = seal::seal(self.store.seal_key(), place, key.private)?;
        let values = vec![
            key.kid.as_str().into(),
            key.realm.as_str().into(),
            key.alg.as_str().into(),
            key.state.as_str().into(),
            sealed.as_slice().into(),
            key.public_jwk.as_ref().map(Value::to_string).into(),
            key.created_by.as_str().into(),
            key.at.into(),
            key.activate_at.into(),
            key.retire_at.into(),
        ];
        Statement::new("INSERT INTO signing_keys (")
            .push(COLUMNS)
            .bind_rows(") VALUES ", [values])
            .execute(&mut *self.transaction)
            .await?;
        self.change(&key.realm, ChangeKind::SigningKeys, "", key.at);
        Ok(())
    }

    /// Changes a signing key, and tells nodes. False: there is none of this name.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn change_signing_key(
        &mut self,
        kid: &str,
        change: &SigningKeyChange,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = Statement::new("UPDATE signing_keys SET kid = kid")
            .bind_some(", state = ", change.state.map(SigningKeyState::as_str))
            .bind_some(", activate_at = ", change.activate_at)
            .bind_some(", retire_at = ", change.retire_at)
            .bind(" WHERE kid = ", kid)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        self.change(&row.text()?, ChangeKind::SigningKeys, "", at);
        Ok(true)
    }

    /// Gives the signing keys of a realm to another name: sealed anew, for they open in their realm only.
    pub(super) async fn rename_in_signing_keys(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let rows = Statement::new("SELECT ")
            .push(COLUMNS)
            .bind(" FROM signing_keys WHERE realm = ", from)
            .fetch(&mut *self.transaction)
            .await?;
        for mut row in rows {
            let key = self.store.unsealed(&mut row)?;
            let place = Place { realm: to, kid: &key.kid, alg: &key.alg };
            let sealed = seal::seal(self.store.seal_key(), place, &key.private)?;
            Statement::new("UPDATE signing_keys SET")
                .bind(" realm = ", to)
                .bind(", private_sealed = ", sealed.as_slice())
                .bind(" WHERE kid = ", key.kid.as_str())
                .execute(&mut *self.transaction)
                .await?;
        }
        Ok(())
    }
}
