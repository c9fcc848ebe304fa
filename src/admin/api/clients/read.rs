//! Principals as they are.

use crate::admin::api::call::Call;
use crate::admin::api::paging::Part;
use crate::admin::api::{Answer, Refusal, addresses, find, json};
use crate::gate::policy::{DeclaredClient, Realm};
use crate::store::{ClientFilter, ClientKind, ClientStatus, Holder, IdKind};

pub(super) async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let part = Part::asked(call, &[IdKind::Client, IdKind::Owner, IdKind::User])?;
    let filter = ClientFilter {
        realms: find::realm_filter(call)?,
        ids: None,
        identifier: call.query.text("identifier").map(str::to_owned),
        kind: call.query.text("kind").and_then(ClientKind::by_name),
        status: call.query.text("status").and_then(ClientStatus::by_name),
        tenant: call.query.text("tenant").map(str::to_owned),
        role: call.query.text("role").map(str::to_owned),
    };
    let clients = match part.page() {
        Some(page) => call.store().clients(&filter, &page).await?,
        None => Vec::new(),
    };
    let ids: Vec<_> = clients.iter().map(|client| client.id.as_str()).collect();
    let networks = addresses::networks(call, Holder::Client, &ids).await?;
    let stored = clients
        .iter()
        .map(|client| (client.id.clone(), json::client(client, networks.get(&client.id).map_or(&[], Vec::as_slice))))
        .collect();
    let realms = find::declaring(call)?;
    let declared: Vec<_> = realms
        .iter()
        .flat_map(|realm| realm.view.clients.iter().map(move |client| (&**realm, client)))
        .filter(|(_, client)| matches(&filter, client))
        .collect();
    Ok(part
        .answer(stored, &declared, |(realm, client): &(&Realm, &DeclaredClient)| json::declared_client(realm, client)))
}

fn matches(filter: &ClientFilter, client: &DeclaredClient) -> bool {
    let status = if client.disabled { ClientStatus::Disabled } else { ClientStatus::Active };
    filter.identifier.as_ref().is_none_or(|identifier| client.name.eq_ignore_ascii_case(identifier))
        && filter.kind.is_none_or(|kind| kind == ClientKind::Client)
        && filter.status.is_none_or(|wanted| wanted == status)
        && filter.tenant.as_ref().is_none_or(|tenant| client.tenant.as_ref() == Some(tenant))
        && filter.role.as_ref().is_none_or(|role| client.roles.contains(role))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    if id.starts_with(json::DECLARED) {
        let realms = find::declaring(call)?;
        let (realm, client) = find::declared_client(&realms, id)?;
        return Ok(Answer::ok(json::declared_client(realm, client)));
    }
    let client = find::client(call, id).await?;
    let networks = json::networks(&call.store().addresses(Holder::Client, id).await?);
    Ok(Answer::versioned(json::client(&client, &networks), client.version))
}
