//! The keys that realms sign with: made where there are none, read from the store, put into the handle that the gate
//! verifies with.

use std::sync::Arc;
use std::time::Duration;

use super::policy::{Issuing, RealmTokens};
use crate::clock::UnixMillis;
use crate::jwt::{Algorithm, Generated, KeyFault, OwnKey, generate, take_up};
use crate::store::{NewSigningKey, SigningKeyRecord, SigningKeyState, Store, StoreError};

/// After a rotation the old key verifies for the longest life of a token, and this much more.
pub const SLACK: Duration = Duration::from_secs(300);

/// Makes the keys that the realms lack. Where two nodes do so at once, both keys are good.
///
/// # Errors
/// The store is out of reach.
pub async fn ensure(store: &Store, issuing: &Issuing, now: UnixMillis) -> Result<(), StoreError> {
    for realm in issuing.realms.iter().flatten() {
        let wanted = realm.algorithms();
        let missing = lacking(&store.signing_keys(Some(&realm.realm)).await?, &wanted);
        if missing.is_empty() {
            continue;
        }
        let mut write = store.begin_alone().await?;
        // Another node may have been faster.
        for algorithm in lacking(&write.signing_keys(Some(&realm.realm)).await?, &missing) {
            let made = make(algorithm)?;
            write.add_signing_key(&new_key(&made, &realm.realm, algorithm, "node", (now, now))).await?;
            tracing::info!(realm = &*realm.realm, kid = made.kid, %algorithm, "a signing key was made");
        }
        write.commit().await?;
    }
    Ok(())
}

fn lacking(keys: &[SigningKeyRecord], wanted: &[Algorithm]) -> Vec<Algorithm> {
    let signs = |key: &SigningKeyRecord, algorithm: Algorithm| {
        key.alg == algorithm.as_str() && matches!(key.state, SigningKeyState::Active | SigningKeyState::Next)
    };
    wanted.iter().copied().filter(|algorithm| !keys.iter().any(|key| signs(key, *algorithm))).collect()
}

/// Makes a key.
///
/// # Errors
/// The system has no randomness to give.
pub fn make(algorithm: Algorithm) -> Result<Generated, StoreError> {
    generate(algorithm).map_err(|fault| StoreError::corrupt(format!("a signing key cannot be made: {fault}")))
}

/// A key as it is written: made `now`, signing from `activate_at` on.
pub fn new_key<'m>(
    made: &'m Generated,
    realm: &str,
    algorithm: Algorithm,
    created_by: &str,
    (now, activate_at): (UnixMillis, UnixMillis),
) -> NewSigningKey<'m> {
    NewSigningKey {
        kid: made.kid.clone(),
        realm: realm.to_owned(),
        alg: algorithm.as_str().to_owned(),
        state: if activate_at <= now { SigningKeyState::Active } else { SigningKeyState::Next },
        private: &made.private,
        public_jwk: made.public.clone(),
        created_by: created_by.to_owned(),
        at: now,
        activate_at,
        retire_at: None,
    }
}

/// Reads the keys of all realms into their handles. A key that cannot be read is left out, and told of.
///
/// # Errors
/// The store is out of reach.
pub async fn load(store: &Store, issuing: &Issuing) -> Result<(), StoreError> {
    if issuing.realms.iter().flatten().next().is_none() {
        return Ok(());
    }
    let records = store.signing_keys(None).await?;
    for realm in issuing.realms.iter().flatten() {
        let of_realm = records.iter().filter(|record| *record.realm == *realm.realm);
        put(realm, of_realm.filter_map(|record| own_key(record).map(Arc::new)).collect());
    }
    Ok(())
}

/// Nothing is verified anew where nothing has changed.
fn put(realm: &RealmTokens, keys: Vec<Arc<OwnKey>>) {
    let facts = |keys: &[Arc<OwnKey>]| -> Vec<_> {
        keys.iter().map(|key| (key.kid.clone(), key.activate_at, key.retire_at)).collect()
    };
    if !realm.keys.is_loaded() || facts(&realm.keys.all()) != facts(&keys) {
        realm.keys.replace(keys);
    }
}

fn own_key(record: &SigningKeyRecord) -> Option<OwnKey> {
    if record.state == SigningKeyState::Disabled {
        return None;
    }
    let algorithm = Algorithm::by_name(&record.alg);
    let key = algorithm.ok_or_else(|| KeyFault::unknown_algorithm(&record.alg)).and_then(|algorithm| {
        let (signing, verify) = take_up(&record.private, algorithm)?;
        Ok(OwnKey {
            kid: record.kid.as_str().into(),
            algorithm,
            signing,
            verify: Arc::new(verify),
            public: record.public_jwk.clone(),
            activate_at: record.activate_at,
            retire_at: record.retire_at,
        })
    });
    key.map_err(|fault| tracing::error!(kid = record.kid, %fault, "a signing key cannot be used")).ok()
}
