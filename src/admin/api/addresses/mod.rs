//! Address lists of principals and keys. An empty list lets every address pass: taking its last entry away has to be
//! meant.

mod change;
mod look;

use std::collections::HashMap;

use http::Method;
use ipnet::IpNet;

use super::call::Call;
use super::endpoint::{Endpoint, Handler};
use super::fields::{Field, Kind};
use super::find::{self, REALM_OF_ID};
use super::paging::{CURSOR, LIMIT, Part};
use super::{Answer, Refusal, json};
use crate::store::{AddressEntry, Holder, IdKind};

pub(super) use look::{Look, look};

const READ: Option<&str> = Some("admin:read");
const CLIENTS: Option<&str> = Some("admin:clients");
const KEYS: Option<&str> = Some("admin:keys");

static NEW: &[Field] = &[
    Field::required("network", Kind::Network, "A network in canonical form; a bare address is /32 or /128."),
    Field::nullable("note", Kind::Text(200), "For people."),
    Field::nullable("expires_at", Kind::Time, "The entry counts until then; default for ever."),
];

static ADDRESS: &[Field] = &[Field::required("address", Kind::Address, "The address.")];

static CONFIRM: &[Field] = &[
    Field::optional("confirm", Kind::Word(&["open"]), "`open` where the last entry goes and every address may come."),
    REALM_OF_ID,
];

const fn list(path: &'static str, name: &'static str, about: &'static str, handler: Handler) -> Endpoint {
    Endpoint {
        method: Method::GET,
        path,
        scope: READ,
        name,
        about,
        query: &[REALM_OF_ID, CURSOR, LIMIT],
        body: None,
        status: 200,
        answers: "address_entry",
        list: true,
        creates: false,
        handler,
    }
}

const fn add(path: &'static str, scope: Option<&'static str>, name: &'static str, handler: Handler) -> Endpoint {
    Endpoint {
        method: Method::POST,
        path,
        scope,
        name,
        about: "Adds an entry to an address list.",
        query: &[REALM_OF_ID],
        body: Some(NEW),
        status: 201,
        answers: "address_entry",
        list: false,
        creates: true,
        handler,
    }
}

const fn remove(path: &'static str, scope: Option<&'static str>, name: &'static str, handler: Handler) -> Endpoint {
    Endpoint {
        method: Method::DELETE,
        path,
        scope,
        name,
        about: "Removes an entry, by its id or its network. Taking the last one away has to be confirmed.",
        query: CONFIRM,
        body: None,
        status: 200,
        answers: "removed",
        list: false,
        creates: false,
        handler,
    }
}

const fn test(path: &'static str, name: &'static str, about: &'static str, handler: Handler) -> Endpoint {
    Endpoint {
        method: Method::POST,
        path,
        scope: READ,
        name,
        about,
        query: &[REALM_OF_ID],
        body: Some(ADDRESS),
        status: 200,
        answers: "address_test",
        list: false,
        creates: false,
        handler,
    }
}

pub(super) static ENDPOINTS: &[Endpoint] = &[
    list("/admin/v1/clients/{id}/ip-allowlist", "list_client_addresses", "The address list of a principal.", |call| {
        Box::pin(listed(call, Holder::Client))
    }),
    list("/admin/v1/keys/{id}/ip-allowlist", "list_key_addresses", "The address list of a key.", |call| {
        Box::pin(listed(call, Holder::Key))
    }),
    add("/admin/v1/clients/{id}/ip-allowlist", CLIENTS, "add_client_address", |call| {
        Box::pin(change::add(call, Holder::Client))
    }),
    add("/admin/v1/keys/{id}/ip-allowlist", KEYS, "add_key_address", |call| Box::pin(change::add(call, Holder::Key))),
    remove("/admin/v1/clients/{id}/ip-allowlist/{entry}", CLIENTS, "remove_client_address", |call| {
        Box::pin(change::remove(call, Holder::Client))
    }),
    remove("/admin/v1/keys/{id}/ip-allowlist/{entry}", KEYS, "remove_key_address", |call| {
        Box::pin(change::remove(call, Holder::Key))
    }),
    test(
        "/admin/v1/clients/{id}/ip-allowlist/test",
        "test_client_address",
        "Whether an address may use the credentials of a principal.",
        |call| Box::pin(look::test(call, Holder::Client)),
    ),
    test(
        "/admin/v1/keys/{id}/ip-allowlist/test",
        "test_key_address",
        "Whether an address may use a key: its own list and its owner's.",
        |call| Box::pin(look::test(call, Holder::Key)),
    ),
];

async fn listed(call: &Call<'_>, holder: Holder) -> Result<Answer, Refusal> {
    let part = Part::asked(call, &[IdKind::Address])?;
    let id = call.id(0);
    if id.starts_with(json::DECLARED) {
        let declared = declared(call, holder, id)?;
        return Ok(part.answer(Vec::new(), &declared, json::declared_address));
    }
    match holder {
        Holder::Client => drop(find::client(call, id).await?),
        Holder::Key => drop(find::key(call, id).await?),
    }
    let entries = part.cut(call.store().addresses(holder, id).await?, |entry| &entry.id);
    let stored = entries.iter().map(|entry| (entry.id.clone(), json::address(entry))).collect();
    Ok(part.answer(stored, &[], json::declared_address))
}

/// The list of a client or key of the configuration.
fn declared(call: &Call<'_>, holder: Holder, id: &str) -> Result<Vec<IpNet>, Refusal> {
    let realms = find::declaring(call)?;
    Ok(match holder {
        Holder::Client => find::declared_client(&realms, id)?.1.ip_allowlist.clone(),
        Holder::Key => find::declared_key(&realms, id)?.2.ip_allowlist.clone(),
    })
}

/// Entries for something new.
pub(super) fn entries(
    call: &Call<'_>,
    holder: Holder,
    id: &str,
    networks: &[IpNet],
) -> Result<Vec<AddressEntry>, Refusal> {
    networks.iter().map(|network| change::entry(call, holder, id, *network)).collect()
}

/// The networks of each of these holders.
pub(super) async fn networks(
    call: &Call<'_>,
    holder: Holder,
    ids: &[&str],
) -> Result<HashMap<String, Vec<IpNet>>, Refusal> {
    let mut networks: HashMap<String, Vec<IpNet>> = HashMap::new();
    for entry in call.store().address_lists(holder, ids).await? {
        networks.entry(entry.holder_id).or_default().push(entry.network);
    }
    Ok(networks)
}
