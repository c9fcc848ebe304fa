//! Whether an address passes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

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

/// What a stored list says. What has run out holds no address, but a list of nothing else is a list still, as it is to
/// the gate: time alone opens nothing.
pub(in crate::admin::api) fn look(entries: &[AddressEntry], ip: IpAddr, now: UnixMillis) -> Look {
    let live = entries.iter().filter(|entry| json::counts(entry, now)).map(|entry| entry.network);
    look_at(entries.is_empty(), live, ip)
}

fn look_at(empty: bool, live: impl Iterator<Item = IpNet>, ip: IpAddr) -> Look {
    if empty {
        return Look::Open;
    }
    live.collect::<NetworkSet>().find(ip).map_or(Look::Outside, Look::By)
}

pub(super) async fn test(call: &Call<'_>, holder: Holder) -> Result<Answer, Refusal> {
    let Some(ip) = call.body.address("address") else { return Err(Refusal::field("address", "is required")) };
    let looks = match call.id(0) {
        id if id.starts_with(json::DECLARED) => declared_looks(call, holder, id, ip)?,
        id => stored_looks(call, holder, id, ip).await?,
    };
    let (mut by, mut reason) = (None, "there is no list: every address passes".to_owned());
    for (whose, look) in looks {
        match look {
            Look::Open => {}
            Look::By(network) if by.is_none() => {
                reason = format!("{network} of the {whose}'s list holds {ip}");
                by = Some(network);
            }
            Look::By(_) => {}
            Look::Outside => return Ok(answer(false, None, format!("nothing in the {whose}'s list holds {ip}"))),
        }
    }
    Ok(answer(true, by, reason))
}

fn answer(allowed: bool, by: Option<IpNet>, reason: String) -> Answer {
    Answer::ok(json!({ "allowed": allowed, "by": by.as_ref().map(json::network), "reason": reason }))
}

/// What the lists say that must all let an address pass, each with whose it is.
type Looks = Vec<(&'static str, Look)>;

fn declared_looks(call: &Call<'_>, holder: Holder, id: &str, ip: IpAddr) -> Result<Looks, Refusal> {
    let look = |list: &[IpNet]| look_at(list.is_empty(), list.iter().copied(), ip);
    let realms = find::declaring(call)?;
    Ok(match holder {
        Holder::Client => vec![("client", look(&find::declared_client(&realms, id)?.1.ip_allowlist))],
        Holder::Key => {
            let (_, client, key) = find::declared_key(&realms, id)?;
            vec![("key", look(&key.ip_allowlist)), ("owner", look(&client.ip_allowlist))]
        }
    })
}

async fn stored_looks(call: &Call<'_>, holder: Holder, id: &str, ip: IpAddr) -> Result<Looks, Refusal> {
    let stored = async |holder, id: &str| -> Result<Look, Refusal> {
        Ok(look(&call.store().addresses(holder, id).await?, ip, call.now))
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
