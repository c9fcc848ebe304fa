//! A new principal.

use serde_json::Value;

use crate::admin::api::call::Call;
use crate::admin::api::rules::Faults;
use crate::admin::api::{Answer, Refusal, addresses, find, json};
use crate::gate::policy::Realm;
use crate::store::{ClientKind, Fault, Holder, NewClient, StoreError};

pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let realm = find::realm_for(call, call.body.text("realm"))?;
    let kind = call.body.text("kind").and_then(ClientKind::by_name).unwrap_or(ClientKind::Client);
    let identifier = call.body.text("identifier").unwrap_or_default();
    let roles = call.body.texts("roles").unwrap_or_default();
    let scopes = call.body.texts("scopes");
    let networks = call.body.networks("ip_allowlist").unwrap_or_default();

    let mut faults = Faults::default();
    faults.identifier("identifier", Some(identifier));
    faults.roles(&realm, "roles", &roles);
    faults.scopes(&realm, "scopes", scopes.as_deref().unwrap_or_default());
    let password_phc = faults.password_hash("password_hash", call.body.text("password_hash"));
    faults.result()?;
    refuse_declared_name(&realm, identifier)?;

    let id = kind.id_kind().generate(call.now)?;
    let new = NewClient {
        id: id.clone(),
        realm: realm.name.to_string(),
        kind,
        identifier: identifier.to_owned(),
        roles,
        plan: call.body.text("plan").map(str::to_owned),
        tenant: call.body.text("tenant").map(str::to_owned),
        scopes,
        attributes: call.body.object("attributes").cloned().unwrap_or_default(),
        password_phc,
        created_by: call.actor.id.clone(),
        at: call.now,
    };
    let mut write = call.store().begin().await?;
    if let Err(error) = write.create_client(&new).await {
        drop(write);
        return Err(taken(call, &realm.name, identifier, error).await);
    }
    let entries = addresses::entries(call, Holder::Client, &id, &networks)?;
    for entry in &entries {
        write.add_address(&realm.name, entry).await?;
    }
    let made = write.client(&id).await?.ok_or_else(|| find::no_client(&id))?;
    let shown = json::client(&made, &networks);
    write.audit(call.event("client.created", &realm.name, ("client", &id), detail(&shown)));

    let location = Some(format!("/admin/v1/clients/{id}"));
    let answer = Answer { status: 201, location, ..Answer::versioned(shown, made.version) };
    call.finish(write, Some(&id), false, answer).await
}

/// Applications see identifiers: a stored one must not pass for a declared one.
pub(super) fn refuse_declared_name(realm: &Realm, identifier: &str) -> Result<(), Refusal> {
    let same = realm.view.clients.iter().find(|client| client.name.eq_ignore_ascii_case(identifier));
    same.map_or(Ok(()), |client| {
        Err(Refusal::Conflict {
            code: "conflict",
            text: format!("the configuration declares a client {:?} ({})", client.name, client.source),
            target: Some(json::declared_client_id(client)),
        })
    })
}

/// What a refused identifier is answered with; the transaction must be gone.
pub(super) async fn taken(call: &Call<'_>, realm: &str, identifier: &str, error: StoreError) -> Refusal {
    if error.fault != Fault::Conflict {
        return error.into();
    }
    let other = match call.store().client_called(realm, identifier).await {
        Ok(other) => other,
        Err(error) => return error.into(),
    };
    Refusal::Conflict {
        code: "conflict",
        text: format!("{identifier:?} is the identifier of another client of the realm {realm} (letter case aside)"),
        target: other.map(|other| other.id),
    }
}

/// What the audit trail keeps of a new record: what somebody chose.
fn detail(shown: &Value) -> serde_json::Map<String, Value> {
    let chosen =
        ["kind", "identifier", "roles", "plan", "tenant", "scopes", "attributes", "has_password", "ip_allowlist"];
    json::members(shown, &chosen)
}
