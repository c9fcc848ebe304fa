//! Principals as they are to be.

use serde_json::{Map, Value, json};

use super::create::{refuse_declared_name, taken};
use crate::admin::api::call::Call;
use crate::admin::api::rules::Faults;
use crate::admin::api::{Answer, Refusal, find, json};
use crate::password::{Password, Phc};
use crate::store::{Client, ClientChange, ClientSource, ClientStatus, Holder, Write};

/// Most ids of ended keys that the audit trail keeps of one removal; their number is kept in any case.
const MAX_ENDED: usize = 100;

/// Most of them that the answer names.
const MAX_TOLD: usize = 1000;

pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let (id, body) = (call.id(0), &call.body);
    find::refuse_declared_client(call, id)?;
    let version = call.version()?;
    let change = ClientChange {
        identifier: body.text("identifier").map(str::to_owned),
        roles: body.texts("roles"),
        plan: body.has("plan").then(|| body.text("plan").map(str::to_owned)),
        tenant: body.has("tenant").then(|| body.text("tenant").map(str::to_owned)),
        scopes: body.has("scopes").then(|| body.texts("scopes")),
        attributes: body.object("attributes").cloned(),
        ..ClientChange::default()
    };
    if change == ClientChange::default() {
        return Err(Refusal::field("body", "holds nothing that is to be changed"));
    }
    let mut write = call.store().begin().await?;
    let before = find::client_to_change(call, &mut write, id).await?;
    if change.identifier.is_some() {
        refuse_of_the_application(&before, "identifier")?;
    }
    allowed(call, &before, &change)?;
    let changed = match write.update_client(id, version, &change, call.now).await {
        Ok(changed) => changed,
        Err(error) => {
            drop(write);
            let identifier = change.identifier.as_deref().unwrap_or_default();
            return Err(taken(call, &before.realm, identifier, error).await);
        }
    };
    let shown = after(&mut write, id, changed, version).await?;
    let differences = json::differences(&shown.before(&before), &shown.body);
    finish(call, write, "client.updated", differences, shown).await
}

/// Of a principal that lives in the application, some things are the application's.
fn refuse_of_the_application(before: &Client, field: &str) -> Result<(), Refusal> {
    match before.source {
        ClientSource::Local => Ok(()),
        ClientSource::Directory => Err(Refusal::field(field, "is kept by the realm's directory: change it there")),
    }
}

/// Whether the realm has what is to be granted.
fn allowed(call: &Call<'_>, before: &Client, change: &ClientChange) -> Result<(), Refusal> {
    let realm = find::realm_of(call, &before.realm, &before.id)?;
    let mut faults = Faults::default();
    faults.identifier("identifier", change.identifier.as_deref());
    faults.roles(&realm, "roles", change.roles.as_deref().unwrap_or_default());
    faults.scopes(&realm, "scopes", change.scopes.as_ref().and_then(|scopes| scopes.as_deref()).unwrap_or_default());
    faults.result()?;
    change.identifier.as_deref().map_or(Ok(()), |identifier| refuse_declared_name(&realm, identifier))
}

pub(super) async fn disable(call: &Call<'_>) -> Result<Answer, Refusal> {
    set_status(call, ClientStatus::Disabled, "client.disabled").await
}

pub(super) async fn enable(call: &Call<'_>) -> Result<Answer, Refusal> {
    set_status(call, ClientStatus::Active, "client.enabled").await
}

/// Asked for twice, it is so all the same.
async fn set_status(call: &Call<'_>, status: ClientStatus, action: &str) -> Result<Answer, Refusal> {
    let change = ClientChange { status: Some(status), ..ClientChange::default() };
    apply(call, &change, action, |before| if before.status == status { None } else { Some(Map::new()) }).await
}

pub(super) async fn unlock(call: &Call<'_>) -> Result<Answer, Refusal> {
    let change = ClientChange { unlock: true, ..ClientChange::default() };
    apply(call, &change, "client.unlocked", |before| {
        Some(json::members(&json!({ "locked_until": json::opt_time(before.locked_until) }), &["locked_until"]))
    })
    .await
}

/// A password that was given is never repeated; one that was made is shown here and nowhere again.
pub(super) async fn password(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_client(call, id)?;
    let given = Given::read(call)?;
    find::client(call, id).await?; // hashing is dear: nobody is hashed for who is not there
    let how = Map::from_iter([("generated".to_owned(), matches!(given, Given::Nothing(_)).into())]);
    let (phc, made) = match given {
        Given::Hash(phc) => (phc, None),
        Given::Text(password) => (password.hash(call.hasher()).await?, None),
        Given::Nothing(password) => (password.hash(call.hasher()).await?, Some(password)),
    };
    let version = call.version()?;

    let mut write = call.store().begin().await?;
    let before = find::client_to_change(call, &mut write, id).await?;
    refuse_of_the_application(&before, "password")?;
    let change = ClientChange { password_phc: Some(Some(phc)), ..ClientChange::default() };
    let changed = write.update_client(id, version, &change, call.now).await?;
    let mut shown = after(&mut write, id, changed, version).await?;
    if let Some(password) = made {
        shown.body = json::with(shown.body, [("password", password.expose().into())]);
    }
    finish(call, write, "client.password_set", how, shown).await
}

/// What is to be set.
enum Given {
    Text(Password),
    Hash(Phc),
    /// Then one is made.
    Nothing(Password),
}

impl Given {
    fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        let (text, hash) = (call.body.text("password"), call.body.text("password_hash"));
        let mut faults = Faults::default();
        let phc = faults.password_hash("password_hash", hash);
        let password = match text.map(|text| Password::new(text.to_owned())) {
            Some(Err(fault)) => {
                faults.add("password", fault.to_string());
                None
            }
            Some(Ok(password)) => Some(password),
            None => None,
        };
        if text.is_some() && hash.is_some() {
            faults.add("password_hash", "does not go with a password: give the one or the other");
        }
        faults.result()?;
        Ok(match (password, phc) {
            (Some(password), _) => Self::Text(password),
            (None, Some(phc)) => Self::Hash(phc),
            (None, None) => Self::Nothing(Password::generate()?),
        })
    }
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_client(call, id)?;
    let version = call.version()?;
    let mut write = call.store().begin().await?;
    let before = find::client_to_change(call, &mut write, id).await?;
    let ended = write.delete_client(id, version, call.now).await?;
    let ended = ended.ok_or_else(|| find::not_changed(version, find::no_client(id)))?;

    let mut detail = json::members(&json::client(&before, &[]), &["kind", "identifier", "roles", "tenant"]);
    detail.insert("keys_ended".to_owned(), ended.iter().take(MAX_ENDED).cloned().collect());
    detail.insert("keys_ended_count".to_owned(), ended.len().into());
    write.audit(call.event("client.deleted", &before.realm, ("client", id), detail));
    let told = ended.get(..MAX_TOLD).unwrap_or(&ended);
    let body = json!({ "deleted": id, "keys_ended": told, "keys_ended_count": ended.len() });
    call.finish(write, None, false, Answer::ok(body)).await
}

/// One change; `detail` says what the audit trail keeps of it, or that there is nothing to do.
async fn apply(
    call: &Call<'_>,
    change: &ClientChange,
    action: &str,
    detail: impl FnOnce(&Client) -> Option<Map<String, Value>>,
) -> Result<Answer, Refusal> {
    let id = call.id(0);
    find::refuse_declared_client(call, id)?;
    let version = call.version()?;
    let mut write = call.store().begin().await?;
    let before = find::client_to_change(call, &mut write, id).await?;
    let Some(detail) = detail(&before) else {
        if version.is_some_and(|version| version != before.version) {
            return Err(Refusal::Stale);
        }
        let shown = after(&mut write, id, true, version).await?;
        return call.finish(write, None, false, Answer::versioned(shown.body, shown.version)).await;
    };
    let changed = write.update_client(id, version, change, call.now).await?;
    let shown = after(&mut write, id, changed, version).await?;
    finish(call, write, action, detail, shown).await
}

/// A principal as it is now.
struct Shown {
    id: String,
    realm: String,
    version: i64,
    networks: Vec<ipnet::IpNet>,
    body: Value,
}

impl Shown {
    /// The same as it was, with the addresses of now: they were not touched.
    fn before(&self, before: &Client) -> Value {
        json::client(before, &self.networks)
    }
}

async fn after(write: &mut Write, id: &str, changed: bool, version: Option<i64>) -> Result<Shown, Refusal> {
    if !changed {
        return Err(find::not_changed(version, find::no_client(id)));
    }
    let client = write.client(id).await?.ok_or_else(|| find::no_client(id))?;
    let networks = json::networks(&write.addresses(Holder::Client, id).await?);
    let body = json::client(&client, &networks);
    Ok(Shown { id: client.id, realm: client.realm, version: client.version, networks, body })
}

async fn finish(
    call: &Call<'_>,
    mut write: Write,
    action: &str,
    detail: Map<String, Value>,
    shown: Shown,
) -> Result<Answer, Refusal> {
    write.audit(call.event(action, &shown.realm, ("client", &shown.id), detail));
    call.finish(write, None, false, Answer::versioned(shown.body, shown.version)).await
}
