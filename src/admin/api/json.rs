//! Records as the JSON of the admin API: what is stored and what is declared in the configuration look alike. No secret
//! is here to be shown.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::clock::UnixMillis;
use crate::gate::policy::{DeclaredClient, DeclaredKeyView, Realm};
use crate::store::{AddressEntry, AdminToken, Client, Key, KeyStatus, Session};

/// What ids of the configuration start with.
pub(super) const DECLARED: &str = "cfg:";

/// RFC 3339 with milliseconds.
pub(super) fn time(at: UnixMillis) -> Value {
    at.to_string().into()
}

pub(super) fn opt_time(at: Option<UnixMillis>) -> Value {
    at.map_or(Value::Null, time)
}

/// The networks of a list. Those that have run out stand there, too: a list of nothing else is not an open one.
pub(super) fn networks(entries: &[AddressEntry]) -> Vec<IpNet> {
    entries.iter().map(|entry| entry.network).collect()
}

/// Whether an entry has not run out.
pub(super) fn counts(entry: &AddressEntry, now: UnixMillis) -> bool {
    entry.expires_at.is_none_or(|end| now < end)
}

/// A network; one address is /32 or /128.
pub(super) fn network(network: &IpNet) -> Value {
    network.to_string().into()
}

fn list(networks: &[IpNet]) -> Value {
    networks.iter().map(network).collect()
}

/// A principal of the store.
pub(super) fn client(client: &Client, networks: &[IpNet]) -> Value {
    json!({
        "id": client.id,
        "realm": client.realm,
        "kind": client.kind.as_str(),
        "identifier": client.identifier,
        "subject": client.subject,
        "status": client.status.as_str(),
        "roles": client.roles,
        "plan": client.plan,
        "tenant": client.tenant,
        "scopes": client.scopes,
        "attributes": client.attributes,
        "has_password": client.has_password,
        "certificates": [],
        "locked_until": opt_time(client.locked_until),
        "last_login_at": opt_time(client.last_login_at),
        "ip_allowlist": list(networks),
        "source": "store",
        "declared_at": null,
        "created_by": client.created_by,
        "created_at": time(client.created_at),
        "updated_at": time(client.updated_at),
        "version": client.version,
    })
}

/// A client of the configuration.
pub(super) fn declared_client(realm: &Realm, client: &DeclaredClient) -> Value {
    json!({
        "id": declared_client_id(client),
        "realm": &*realm.name,
        "kind": "client",
        "identifier": client.name,
        "subject": null,
        "status": if client.disabled { "disabled" } else { "active" },
        "roles": client.roles,
        "plan": client.plan,
        "tenant": client.tenant,
        "scopes": client.scopes,
        "attributes": client.attributes,
        "has_password": false,
        "certificates": client.certificates,
        "locked_until": null,
        "last_login_at": null,
        "ip_allowlist": list(&client.ip_allowlist),
        "source": "config",
        "declared_at": client.source,
        "created_by": null,
        "created_at": null,
        "updated_at": null,
        "version": 0,
    })
}

/// Id of a client of the configuration.
pub(super) fn declared_client_id(client: &DeclaredClient) -> String {
    format!("{DECLARED}{}", client.name)
}

/// Id of a key of the configuration.
pub(super) fn declared_key_id(client: &DeclaredClient, key: &DeclaredKeyView) -> String {
    format!("{DECLARED}{}/{}", client.name, key.id)
}

/// A key of the store.
pub(super) fn key(key: &Key, networks: &[IpNet], now: UnixMillis) -> Value {
    let overlap = key.overlap.as_ref().filter(|overlap| now < overlap.until && key.status != KeyStatus::Revoked);
    json!({
        "id": key.id,
        "realm": key.realm,
        "owner_id": key.owner_id,
        "owner": key.owner,
        "name": key.name,
        "prefix": known(&key.prefix),
        "hint": known(&key.hint),
        "scopes": key.scopes,
        "attributes": key.attributes,
        "status": key.status.as_str(),
        "expired": has_expired(key.expires_at, now),
        "expires_at": opt_time(key.expires_at),
        "revoked_at": opt_time(key.revoked_at),
        "revoke_reason": key.revoke_reason,
        "overlap": overlap.map(|overlap| json!({
            "hint": known(&overlap.hint),
            "until": time(overlap.until),
            "last_used_at": opt_time(overlap.last_used_at),
        })),
        "last_used_at": opt_time(key.last_used_at),
        "last_used_ip": key.last_used_ip,
        "use_count": key.use_count,
        "ip_allowlist": list(networks),
        "source": "store",
        "declared_at": null,
        "created_by": key.created_by,
        "created_at": time(key.created_at),
        "updated_at": time(key.updated_at),
        "version": key.version,
    })
}

/// A key of the configuration.
pub(super) fn declared_key(realm: &Realm, client: &DeclaredClient, key: &DeclaredKeyView, now: UnixMillis) -> Value {
    json!({
        "id": declared_key_id(client, key),
        "realm": &*realm.name,
        "owner_id": declared_client_id(client),
        "owner": client.name,
        "name": key.id,
        "prefix": null,
        "hint": null,
        "scopes": key.scopes,
        "attributes": {},
        "status": declared_status(client, key).as_str(),
        "expired": has_expired(key.expires, now),
        "expires_at": opt_time(key.expires),
        "revoked_at": null,
        "revoke_reason": null,
        "overlap": null,
        "last_used_at": null,
        "last_used_ip": null,
        "use_count": null,
        "ip_allowlist": list(&key.ip_allowlist),
        "source": "config",
        "declared_at": key.source,
        "created_by": null,
        "created_at": null,
        "updated_at": null,
        "version": 0,
    })
}

/// State of a key of the configuration: switched off with its client.
pub(super) fn declared_status(client: &DeclaredClient, key: &DeclaredKeyView) -> KeyStatus {
    if client.disabled || key.disabled { KeyStatus::Disabled } else { KeyStatus::Active }
}

/// Whether an end is reached: refused when now is this or later.
pub(super) fn has_expired(end: Option<UnixMillis>, now: UnixMillis) -> bool {
    end.is_some_and(|end| now >= end)
}

/// What is empty where it is not known.
fn known(text: &str) -> Option<&str> {
    if text.is_empty() { None } else { Some(text) }
}

/// An entry of an address list.
pub(super) fn address(entry: &AddressEntry) -> Value {
    json!({
        "id": entry.id,
        "network": network(&entry.network),
        "note": entry.note,
        "expires_at": opt_time(entry.expires_at),
        "created_by": entry.created_by,
        "created_at": time(entry.created_at),
    })
}

/// An entry of a list of the configuration; its network is its id.
pub(super) fn declared_address(entry: &IpNet) -> Value {
    json!({
        "id": network(entry),
        "network": network(entry),
        "note": null,
        "expires_at": null,
        "created_by": null,
        "created_at": null,
    })
}

/// A session; `client`: what its principal is called.
pub(super) fn session(session: &Session, client: Option<&str>, now: UnixMillis) -> Value {
    let state = match session.revoked_at {
        Some(_) => "revoked",
        None if now >= session.expires_at => "expired",
        None => "live",
    };
    json!({
        "id": session.id,
        "realm": session.realm,
        "client_id": session.subject_id,
        "client": client,
        "grant": session.grant,
        "state": state,
        "client_ip": session.client_ip,
        "user_agent": session.user_agent,
        "created_at": time(session.created_at),
        "last_seen_at": time(session.last_seen_at),
        "expires_at": time(session.expires_at),
        "revoked_at": opt_time(session.revoked_at),
        "revoke_reason": session.revoke_reason,
    })
}

pub(super) fn admin_token(token: &AdminToken) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "hint": token.hint,
        "scopes": token.scopes,
        "realms": token.realms,
        "expires_at": opt_time(token.expires_at),
        "revoked_at": opt_time(token.revoked_at),
        "last_used_at": opt_time(token.last_used_at),
        "created_by": token.created_by,
        "created_at": time(token.created_at),
    })
}

/// `body` with members added to it.
pub(super) fn with<const N: usize>(body: Value, members: [(&str, Value); N]) -> Value {
    let Value::Object(mut body) = body else { return body };
    body.extend(members.map(|(name, value)| (name.to_owned(), value)));
    body.into()
}

/// `body` with what should be looked at, for people, if there is anything.
pub(super) fn noting(body: Value, warnings: &[String]) -> Value {
    if warnings.is_empty() { body } else { with(body, [("warnings", json!(warnings))]) }
}

/// What an update makes of a record, for the audit trail: `{ field: { old, new } }` of what differs.
pub(super) fn differences(old: &Value, new: &Value) -> Map<String, Value> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return Map::new() };
    let differs = |name: &str, value: &Value| {
        let of_itself = matches!(name, "updated_at" | "version");
        !of_itself && old.get(name) != Some(value)
    };
    new.iter()
        .filter(|(name, value)| differs(name, value))
        .map(|(name, value)| (name.clone(), json!({ "old": old.get(name), "new": value })))
        .collect()
}

/// Some members of an object.
pub(super) fn members(object: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), object.get(name)?.clone()))).collect()
}
