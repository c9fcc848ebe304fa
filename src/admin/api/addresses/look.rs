//! Whether an address passes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::declared;
use crate::admin::api::call::Call;
use crate::admin::api::{Answer, Refusal, find, json};
use crate::clock::UnixMillis;
use crate::gate::network::NetworkSet;
use crate::store::{AddressEntry, Holder};

/// What a list says to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin::api) enum Look {
    /// The list is empty: every address passes.
    Open,
    /// This network holds it.
    By(IpNet),
    /// None of the networks holds it.
    Outside,
}

/// What a stored list says. What has run out does not count.
pub(in crate::admin::api) fn look(entries: &[AddressEntry], ip: IpAddr, now: UnixMillis) -> Look {
    look_at(&json::networks(entries, now), ip)
}

fn look_at(networks: &[IpNet], ip: IpAddr) -> Look {
    if networks.is_empty() {
        return Look::Open;
    }
    networks.iter().copied().collect::<NetworkSet>().find(ip).map_or(Look::Outside, Look::By)
}

pub(super) async fn test(call: &Call<'_>, holder: Holder) -> Result<Answer, Refusal> {
    let Some(ip) = call.body.address("address") else { return Err(Refusal::field("address", "is required")) };
    let lists = lists(call, holder).await?;
    let mut by = None;
    for (whose, networks) in &lists {
        match look_at(networks, ip) {
            Look::Open => {}
            Look::By(network) => by = by.or(Some((whose, network))),
            Look::Outside => {
                let reason = format!("none of the {} networks of the {whose}'s list holds {ip}", networks.len());
                return Ok(answer(false, None, reason));
            }
        }
    }
    let reason = match by {
        Some((whose, network)) => format!("{network} of the {whose}'s list holds {ip}"),
        None => "there is no list: every address passes".to_owned(),
    };
    Ok(answer(true, by.map(|(_, network)| network), reason))
}

fn answer(allowed: bool, by: Option<IpNet>, reason: String) -> Answer {
    Answer::ok(json!({ "allowed": allowed, "by": by.as_ref().map(json::network), "reason": reason }))
}

/// The lists that must all let an address pass, each with whose it is.
async fn lists(call: &Call<'_>, holder: Holder) -> Result<Vec<(&'static str, Vec<IpNet>)>, Refusal> {
    let id = call.id(0);
    if id.starts_with(json::DECLARED) {
        let own = declared(call, holder, id)?;
        return Ok(match holder {
            Holder::Client => vec![("client", own)],
            Holder::Key => {
                let realms = find::declaring(call)?;
                let (_, client, _) = find::declared_key(&realms, id)?;
                vec![("key", own), ("owner", client.ip_allowlist.clone())]
            }
        });
    }
    let stored = async |holder, id: &str| -> Result<Vec<IpNet>, Refusal> {
        Ok(json::networks(&call.store().addresses(holder, id).await?, call.now))
    };
    Ok(match holder {
        Holder::Client => {
            let client = find::client(call, id).await?;
            vec![("client", stored(Holder::Client, &client.id).await?)]
        }
        Holder::Key => {
            let key = find::key(call, id).await?;
            let own = stored(Holder::Key, &key.id).await?;
            vec![("key", own), ("owner", stored(Holder::Client, &key.owner_id).await?)]
        }
    })
}
