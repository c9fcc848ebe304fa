//! Keys as they are.

use crate::admin::api::call::Call;
use crate::admin::api::paging::Part;
use crate::admin::api::{Answer, Refusal, addresses, find, json};
use crate::clock::UnixMillis;
use crate::gate::policy::{DeclaredClient, DeclaredKeyView, Realm};
use crate::store::{Holder, IdKind, KeyFilter, KeyStatus};

pub(super) async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let query = &call.query;
    let part = Part::asked(call, &[IdKind::Key])?;
    let filter = KeyFilter {
        realms: find::realm_filter(call)?,
        owner_id: owner_id(call).await?,
        hint: query.text("hint").map(str::to_owned),
        status: query.text("status").and_then(KeyStatus::by_name),
        unused_since: query.time("unused_since"),
        expiring_before: query.time("expiring_before"),
        in_overlap_at: query.boolean("in_overlap").filter(|asked| *asked).map(|_| call.now),
    };
    let keys = match part.page() {
        Some(page) => call.store().keys(&filter, &page).await?,
        None => Vec::new(),
    };
    let ids: Vec<_> = keys.iter().map(|key| key.id.as_str()).collect();
    let networks = addresses::networks(call, Holder::Key, &ids).await?;
    let stored = keys
        .iter()
        .map(|key| {
            let networks = networks.get(&key.id).map_or(&[][..], Vec::as_slice);
            (key.id.clone(), json::key(key, networks, call.now))
        })
        .collect();
    let realms = find::declaring(call)?;
    let declared: Vec<_> = realms
        .iter()
        .flat_map(|realm| find::declared_keys(realm).map(move |(client, key)| (&**realm, client, key)))
        .filter(|(_, client, key)| matches(call, &filter, client, key))
        .collect();
    let to_json = |(realm, client, key): &(&Realm, &DeclaredClient, &DeclaredKeyView)| {
        json::declared_key(realm, client, key, call.now)
    };
    Ok(part.answer(stored, &declared, to_json))
}

/// The owner that is asked for, by id. Somebody who is not there has no keys.
async fn owner_id(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    match (call.query.text("owner_id"), call.query.text("owner")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Refusal::field("owner", "must not stand beside owner_id")),
        (Some(id), None) => Ok(Some(id.to_owned())),
        (None, Some(identifier)) => {
            let realm = find::realm_for(call, call.query.text("realm"))?;
            let owner = call.store().client_called(&realm.name, identifier).await?;
            // A declared owner, or nobody: no stored key has such an owner id.
            Ok(Some(owner.map_or_else(|| format!("{}{identifier}", json::DECLARED), |owner| owner.id)))
        }
    }
}

/// What a declared key does not have (a hint, a use, a rotation) cannot be asked for.
fn matches(call: &Call<'_>, filter: &KeyFilter, client: &DeclaredClient, key: &DeclaredKeyView) -> bool {
    let owned = filter
        .owner_id
        .as_ref()
        .is_none_or(|id| id.strip_prefix(json::DECLARED).is_some_and(|name| client.name.eq_ignore_ascii_case(name)));
    let status = json::declared_status(client, key);
    let expiring = |before: UnixMillis| {
        status == KeyStatus::Active
            && !json::has_expired(key.expires, call.now)
            && key.expires.is_some_and(|end| end < before)
    };
    owned
        && filter.hint.is_none()
        && filter.unused_since.is_none()
        && filter.in_overlap_at.is_none()
        && filter.status.is_none_or(|wanted| wanted == status)
        && filter.expiring_before.is_none_or(expiring)
}

pub(super) async fn show(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id(0);
    if id.starts_with(json::DECLARED) {
        let realms = find::declaring(call)?;
        let (realm, client, key) = find::declared_key(&realms, id)?;
        return Ok(Answer::ok(json::declared_key(realm, client, key, call.now)));
    }
    let key = find::key(call, id).await?;
    let networks = json::networks(&call.store().addresses(Holder::Key, id).await?);
    Ok(Answer::versioned(json::key(&key, &networks, call.now), key.version))
}
