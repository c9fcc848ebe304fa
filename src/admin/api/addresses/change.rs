//! Entries that come and go.

use ipnet::IpNet;
use serde_json::{Map, json};

use crate::admin::api::call::Call;
use crate::admin::api::rules::Faults;
use crate::admin::api::{Answer, Refusal, find, json};
use crate::gate::network::{NetworkFault, parse_network};
use crate::store::{AddressEntry, Fault, Holder, IdKind, Write};

/// Most entries of a list: every read of a key reads them.
const MAX_ENTRIES: usize = 1000;

const CLOSED: &str = "it is the only entry of the list: no other address is allowed";
const OPEN: &str = "the list is empty now: every address is allowed";
const SHUT: &str = "every entry that is left has run out: no address is allowed";

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
    let held = held(call, &mut write, holder).await?;
    let before = write.addresses(holder, id).await?;
    if let Some(same) = before.iter().find(|other| other.network == network) {
        return Err(taken(network, Some(same.id.clone())));
    }
    write.add_address(&held.realm, &entry).await.map_err(|error| match error.fault {
        Fault::Conflict => taken(network, None),
        _ => error.into(),
    })?;
    held.only_we_changed(call, &mut write, holder).await?;
    let after = write.addresses(holder, id).await?;
    if after.len() > MAX_ENTRIES {
        let text = format!("the list has {MAX_ENTRIES} entries already: join networks, or remove what has run out");
        return Err(Refusal::conflict("wrong_state", text));
    }
    let shown = json::address(&entry);
    let detail = json::members(&shown, &["id", "network", "note", "expires_at"]);
    write.audit(call.event("ip.added", &held.realm, (holder.as_str(), id), detail));
    let warnings = if after.len() == 1 { vec![CLOSED.to_owned()] } else { Vec::new() };
    let location = format!("/admin/v1/{}/{id}/ip-allowlist/{}", path_of(holder), entry.id);
    call.finish(write, Some(&entry.id), false, Answer::created(json::noting(shown, &warnings), location)).await
}

pub(super) async fn remove(call: &Call<'_>, holder: Holder) -> Result<Answer, Refusal> {
    let (id, named) = (call.id(0), call.id(1));
    refuse_declared(call, holder)?;
    let network = if IdKind::Address.fits(named) { None } else { Some(network_named(named)?) };

    let mut write = call.store().begin().await?;
    let held = held(call, &mut write, holder).await?;
    let entries = write.addresses(holder, id).await?;
    let meant = entries.iter().find(|entry| network.map_or(entry.id == named, |network| entry.network == network));
    let none = || Refusal::NotFound(format!("the list of {id} has no entry {named:?}"));
    let entry = meant.ok_or_else(none)?;
    write.remove_address(holder, id, entry.network, call.now).await?.ok_or_else(none)?;
    held.only_we_changed(call, &mut write, holder).await?;
    // Read again: by now the row of the holder is ours, and nobody else takes the other of the last two away.
    let left = write.addresses(holder, id).await?;
    let opens = left.is_empty();
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
    write.audit(call.event("ip.removed", &held.realm, (holder.as_str(), id), detail));
    let mut warnings = Vec::new();
    if opens {
        write.audit(call.event("ip.list_emptied", &held.realm, (holder.as_str(), id), Map::new()));
        warnings.push(OPEN.to_owned());
    } else if !left.iter().any(|entry| json::counts(entry, call.now)) {
        warnings.push(SHUT.to_owned());
    }
    let body = json!({ "deleted": entry.id, "network": json::network(&entry.network), "open": opens });
    call.finish(write, None, false, Answer::ok(json::noting(body, &warnings))).await
}

fn taken(network: IpNet, target: Option<String>) -> Refusal {
    let text = format!("{network} is in the list already; to change its entry, remove it and add it again");
    Refusal::Conflict { code: "conflict", text, target }
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

/// Whose list it is.
struct Held {
    realm: String,
    /// What `If-Match` demands of it.
    version: Option<i64>,
}

async fn held(call: &Call<'_>, write: &mut Write, holder: Holder) -> Result<Held, Refusal> {
    let (id, version) = (call.id(0), call.version()?);
    let realm = match holder {
        Holder::Client => find::client_to_change(call, write, id).await?.realm,
        Holder::Key => find::key_to_change(call, write, id).await?.realm,
    };
    Ok(Held { realm, version })
}

impl Held {
    /// A list is a part of its holder, which has got a new version by now: the next one after the demanded one, or
    /// somebody else was faster.
    async fn only_we_changed(&self, call: &Call<'_>, write: &mut Write, holder: Holder) -> Result<(), Refusal> {
        let Some(version) = self.version else { return Ok(()) };
        let now = match holder {
            Holder::Client => write.client(call.id(0)).await?.map(|client| client.version),
            Holder::Key => write.key(call.id(0)).await?.map(|key| key.version),
        };
        if now == version.checked_add(1) { Ok(()) } else { Err(Refusal::Stale) }
    }
}

fn path_of(holder: Holder) -> &'static str {
    match holder {
        Holder::Client => "clients",
        Holder::Key => "keys",
    }
}
