//! Keys that exist elsewhere already: digests, or texts that are hashed here. A batch is taken whole or not at all.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use crate::admin::api::call::Call;
use crate::admin::api::fields::Values;
use crate::admin::api::find::{self, Named};
use crate::admin::api::rules::{self, Faults};
use crate::admin::api::{Answer, Refusal};
use crate::gate::policy::Realm;
use crate::secret::CredentialDigest;
use crate::store::{Client, Fault, Imported, ImportedKey};

/// What keys are called that nobody gives a name.
const NAME: &str = "imported";

/// Most owners that the audit trail names of one batch.
const MAX_OWNERS: usize = 20;

pub(super) async fn import(call: &Call<'_>) -> Result<Answer, Refusal> {
    let realm = find::realm_for(call, call.body.text("realm"))?;
    let rows = call.body.objects("keys").unwrap_or_default();
    let mut batch = Batch { call, realm, owners: HashMap::new(), faults: Faults::default() };
    let (mut keys, mut seen, mut known) = (Vec::with_capacity(rows.len()), HashSet::new(), 0);
    for (n, row) in rows.iter().enumerate() {
        let Some(key) = batch.row(n, row).await? else { continue };
        // What stands there twice, or is declared in the configuration, is known.
        if !batch.realm.declared.0.contains_key(&key.digest) && seen.insert(key.digest) {
            keys.push(key);
        } else {
            known += 1;
        }
    }
    let Batch { realm, faults, .. } = batch;
    faults.result()?;

    let mut write = call.store().begin().await?;
    let imported = write.import_keys(&realm.name, &keys, &call.actor.id, call.now).await;
    let imported = imported.map_err(|error| match error.fault {
        Fault::Conflict => Refusal::conflict("conflict", "an owner went away meanwhile: nothing was written"),
        _ => error.into(),
    })?;
    let imported = Imported { known: imported.known + known, ..imported };
    let owners: BTreeSet<_> = keys.iter().map(|key| key.owner_id.as_str()).collect();
    let detail = json!({
        "rows": rows.len(),
        "added": imported.added,
        "known": imported.known,
        "owners": owners.iter().take(MAX_OWNERS).collect::<Vec<_>>(),
        "owners_count": owners.len(),
    });
    let detail = detail.as_object().cloned().unwrap_or_default();
    write.audit(call.event("keys.imported", &realm.name, ("realm", &realm.name), detail));
    let body = json!({ "added": imported.added, "known": imported.known });
    call.finish(write, None, false, Answer::ok(body)).await
}

struct Batch<'c> {
    call: &'c Call<'c>,
    realm: Arc<Realm>,
    /// Most rows of a batch have the same owner: each is looked up once.
    owners: HashMap<(bool, String), Result<Client, String>>,
    faults: Faults,
}

impl Batch<'_> {
    /// One row. None: what is wrong with it was noted.
    async fn row(&mut self, n: usize, row: &Values) -> Result<Option<ImportedKey>, Refusal> {
        let at = |field: &str| format!("keys[{n}].{field}");
        let text = self.text(n, row);
        let owner_id = self.owner(n, row).await?;
        let scopes = row.texts("scopes");
        self.faults.scopes(&self.realm, &at("scopes"), scopes.as_deref().unwrap_or_default());
        let expires_at = row.time("expires_at");
        self.faults.end(&at("expires_at"), expires_at, self.call.now);
        let (Some((digest, hint, prefix)), Some(owner_id)) = (text, owner_id) else { return Ok(None) };
        Ok(Some(ImportedKey {
            digest,
            hint,
            prefix,
            owner_id,
            name: row.text("name").unwrap_or(NAME).to_owned(),
            scopes,
            attributes: row.object("attributes").cloned().unwrap_or_default(),
            expires_at,
        }))
    }

    /// Digest, hint and prefix. No text is repeated in a fault.
    fn text(&mut self, n: usize, row: &Values) -> Option<(CredentialDigest, String, String)> {
        let format = self.call.body.text("format");
        let mut fault = |field: &str, text: &str| self.faults.add(format!("keys[{n}].{field}"), text);
        match (row.text("sha256"), row.text("key")) {
            (Some(_), None) if format == Some("plain") => fault("sha256", "does not belong there: the format is plain"),
            (None, Some(_)) if format == Some("sha256") => fault("key", "does not belong there: the format is sha256"),
            (Some(hex), None) => match CredentialDigest::from_hex(hex) {
                Some(digest) => return Some((digest, String::new(), String::new())),
                None => fault("sha256", "must be the SHA-256 of a key: 64 hexadecimal digits"),
            },
            (None, Some(key)) => match self.realm.api_keys.iter().find(|form| key.starts_with(&*form.prefix)) {
                None => fault("key", "starts with no prefix of the realm's [[api_keys]]: it would never be accepted"),
                Some(form) if form.check(key).is_err() => fault(
                    "key",
                    "is not as the realm's [[api_keys]] says: it would never be accepted (a checksum comes last, unless \
                     `checksum = false`)",
                ),
                Some(form) => {
                    return Some((CredentialDigest::of(key.as_bytes()), rules::hint(key), form.prefix.to_string()));
                }
            },
            (Some(_), Some(_)) => fault("key", "must not stand beside sha256"),
            (None, None) => fault("sha256", "is required, or `key`"),
        }
        None
    }

    /// Id of the owner: the row's, else the batch's.
    async fn owner(&mut self, n: usize, row: &Values) -> Result<Option<String>, Refusal> {
        let named = match (row.text("owner_id"), row.text("owner"), self.call.body.text("owner_id")) {
            (Some(id), None, _) | (None, None, Some(id)) => Named::Id(id),
            (None, Some(identifier), _) => Named::Identifier(identifier),
            (Some(_), Some(_), _) => {
                self.faults.add(format!("keys[{n}].owner"), "must not stand beside owner_id");
                return Ok(None);
            }
            (None, None, None) => {
                self.faults.add(format!("keys[{n}].owner_id"), "is required, here or for the whole batch");
                return Ok(None);
            }
        };
        let cached = named.key();
        if !self.owners.contains_key(&cached) {
            let owner = find::owner(self.call, &self.realm, &named).await?;
            self.owners.insert(cached.clone(), owner);
        }
        Ok(match self.owners.get(&cached) {
            Some(Ok(owner)) => Some(owner.id.clone()),
            Some(Err(fault)) => {
                self.faults.add(format!("keys[{n}].{}", named.field()), fault.clone());
                None
            }
            None => None,
        })
    }
}
