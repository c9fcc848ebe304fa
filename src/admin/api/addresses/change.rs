//! Entries that come and go.

use ipnet::IpNet;
use serde_json::json;

use crate::admin::api::call::Call;
use crate::admin::api::rules::Faults;
use crate::admin::api::{Answer, Refusal, find, json, keys};
use crate::gate::network::{NetworkFault, parse_network};
use crate::store::{AddressEntry, ClientChange, Fault, Holder, IdKind, KeyChange, Write};

/// Most entries of a list: every read of a key reads them.
const MAX_ENTRIES: usize = 1000;

const EMPTY: &str = "the list is empty now: every address is allowed";

/// An entry without note or end.
pub(super) fn entry(call: &Call<'_>, holder: Holder, id: &str, network: IpNet) -> Result<AddressEntry, Refusal> {
    Ok(AddressEntry {
        id: IdKind::Address.generate(call.now)?,
        holder,
        holder_id: id.to_owned(),
        network,
        note: None,
        expires_at: None,
        created_by: call.actor.id.clone(),
        created_at: call.now,
    })
}

pub(super) async fn add(call: &Call<'_>, holder: Holder) -> Result<Answer, Refusal> {
    let id = call.id(0);
    refuse_declared(call, holder)?;
    let Some(network) = call.body.network("network") else { return Err(Refusal::field("network", "is required")) };
    let expires_at = call.body.time("expires_at");
    let mut faults = Faults::default();
    faults.end("expires_at", expires_at, call.now);
    faults.result()?;
    let note = call.body.text("note").map(str::to_owned);
    let entry = AddressEntry { note, expires_at, ..entry(call, holder, id, network)? };

    let mut write = call.store().begin().await?;
    let realm = take_hold(call, &mut write, holder).await?;
    let before = write.addresses(holder, id).await?;
    if let Some(same) = before.iter().find(|other| other.network == network) {
        return Err(Refusal::Conflict {
            code: "conflict",
            text: format!("{network} is in the list already; to change the entry, remove it and add it again"),
            target: Some(same.id.clone()),
        });
    }
    if before.len() >= MAX_ENTRIES {
        let text = format!("the list has {MAX_ENTRIES} entries already: join networks, or remove what has run out");
        return Err(Refusal::conflict("wrong_state", text));
    }
    write.add_address(&realm, &entry).await.map_err(|error| match error.fault {
        Fault::Conflict => Refusal::conflict("conflict", format!("{network} is in the list already")),
        _ => error.into(),
    })?;
    let shown = json::address(&entry);
    let mut detail = json::members(&shown, &["id", "network", "note", "expires_at"]);
    let closes = json::networks(&before, call.now).is_empty();
    detail.insert("first".to_owned(), closes.into());
    write.audit(call.event("ip.added", &realm, (holder.as_str(), id), detail));
    let warnings: Vec<_> = closes
        .then(|| "it is the first entry of the list: no other address is allowed from now on".to_owned())
        .into_iter()
        .collect();
    let location = format!("/admin/v1/{}/{id}/ip-allowlist/{}", path_of(holder), entry.id);
    call.finish(write, Some(&entry.id), false, Answer::created(json::noting(shown, &warnings), location)).await
}

pub(super) async fn remove(call: &Call<'_>, holder: Holder) -> Result<Answer, Refusal> {
    let (id, named) = (call.id(0), call.id(1));
    refuse_declared(call, holder)?;
    let network = if IdKind::Address.fits(named) { None } else { Some(network_named(named)?) };

    let mut write = call.store().begin().await?;
    let realm = take_hold(call, &mut write, holder).await?;
    let entries = write.addresses(holder, id).await?;
    let meant = entries.iter().find(|entry| network.map_or(entry.id == named, |network| entry.network == network));
    let none = || Refusal::NotFound(format!("the list of {id} has no entry {named:?}"));
    let entry = meant.ok_or_else(none)?;
    let left = write.remove_address(holder, id, entry.network, call.now).await?.ok_or_else(none)?;
    // Only who makes the difference is asked: a list whose entries have run out lets everybody pass already.
    let opens = !left && json::counts(entry, call.now);
    if opens && call.query.text("confirm") != Some("open") {
        return Err(Refusal::Conflict {
            code: "confirmation_required",
            text: format!(
                "{} is the last entry: without it every address may use {id}; `confirm=open` says that it is meant",
                entry.network
            ),
            target: Some(entry.id.clone()),
        });
    }
    let detail = json::members(&json::address(entry), &["id", "network", "note", "expires_at"]);
    write.audit(call.event("ip.removed", &realm, (holder.as_str(), id), detail));
    if opens {
        write.audit(call.event("ip.list_emptied", &realm, (holder.as_str(), id), serde_json::Map::new()));
    }
    let warnings: Vec<_> = opens.then(|| EMPTY.to_owned()).into_iter().collect();
    let body = json!({ "deleted": entry.id, "network": json::network(&entry.network), "open": !left });
    call.finish(write, None, false, Answer::ok(json::noting(body, &warnings))).await
}

fn network_named(text: &str) -> Result<IpNet, Refusal> {
    parse_network(text).map_err(|fault| match fault {
        NetworkFault::NotCanonical(form) => Refusal::field("entry", format!("is written loosely: write {form}")),
        NetworkFault::Malformed => Refusal::field("entry", "must be the id of an entry (`ip_…`) or a network"),
    })
}

fn refuse_declared(call: &Call<'_>, holder: Holder) -> Result<(), Refusal> {
    match holder {
        Holder::Client => find::refuse_declared_client(call, call.id(0)),
        Holder::Key => find::refuse_declared_key(call, call.id(0)),
    }
}

/// Gives the holder a new version, since its list is part of it, and thereby keeps its row for this transaction: of two
/// who take an entry away at the same time, the second sees what the first has left. Returns the holder's realm.
async fn take_hold(call: &Call<'_>, write: &mut Write, holder: Holder) -> Result<String, Refusal> {
    let (id, version) = (call.id(0), call.version()?);
    match holder {
        Holder::Client => {
            let before = find::client_to_change(call, write, id).await?;
            if write.update_client(id, version, &ClientChange::default(), call.now).await? {
                Ok(before.realm)
            } else {
                Err(find::not_changed(version, find::no_client(id)))
            }
        }
        Holder::Key => {
            let before = find::key_to_change(call, write, id).await?;
            if write.update_key(id, version, &KeyChange::default(), call.now).await? {
                Ok(before.realm)
            } else {
                Err(keys::not_changed(&before, version))
            }
        }
    }
}

fn path_of(holder: Holder) -> &'static str {
    match holder {
        Holder::Client => "clients",
        Holder::Key => "keys",
    }
}
