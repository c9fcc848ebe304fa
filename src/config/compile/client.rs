//! Declared clients and their keys.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::Compiler;
use super::certificate::Certificates;
use super::scope::Scopes;
use super::secret::{Found, secret};
use crate::config::keys::{Client, ClientKey};
use crate::config::value::Named;
use crate::config::value::secret::DigestSource;
use crate::config::walk::{Item, Slot};
use crate::gate::headers::IdentityHeaders;
use crate::gate::network::NetworkSet;
use crate::gate::policy::Roles;
use crate::gate::verify::Verified;
use crate::gate::verify::api_key::{DeclaredKey, DeclaredKeys};
use crate::gate::verify::certificate::{CertificateClient, DeclaredCertificates};
use crate::identity::{CredentialKind, OwnerScopes, Principal};
use crate::secret::CredentialDigest;

/// What clients of a realm refer to.
pub(super) struct Around<'a> {
    /// Name of the realm.
    pub(super) realm: &'a str,
    /// Scopes that exist.
    pub(super) scopes: &'a Scopes,
    /// Roles with their scopes.
    pub(super) roles: &'a Roles,
    /// Identity headers, prepared for each key.
    pub(super) identity: &'a IdentityHeaders,
    /// Whether the realm says what keys look like.
    pub(super) has_forms: bool,
}

/// The keys and certificates of all declared clients.
pub(super) fn clients(
    work: &mut Compiler<'_>,
    clients: &Named<Client>,
    around: &Around<'_>,
) -> (DeclaredKeys, DeclaredCertificates) {
    let mut keys = HashMap::new();
    let mut seen = Seen::default();
    for (name, item) in &clients.0 {
        work.plain(&item.at, name);
        if !around.has_forms && !item.value.keys.value.is_empty() {
            work.warn(&item.value.keys.at, "no [[api_keys]] says what keys look like: these are never accepted");
        }
        client(work, name, &item.value, around, &mut seen, &mut keys);
    }
    (keys.into_iter().collect(), seen.certificates.finish())
}

/// Ids, digests and names of certificates so far, with the key path of each.
#[derive(Default)]
struct Seen<'r> {
    certificates: Certificates<'r>,
    ids: HashMap<&'r str, &'r str>,
    digests: HashMap<CredentialDigest, &'r str>,
}

fn client<'r>(
    work: &mut Compiler<'_>,
    name: &str,
    raw: &'r Client,
    around: &Around<'_>,
    seen: &mut Seen<'r>,
    keys: &mut HashMap<CredentialDigest, DeclaredKey>,
) {
    for role in &raw.roles.value {
        if !around.roles.0.contains_key(role.value.as_str()) {
            work.unknown(&role.at, "role", &role.value, around.roles.0.keys().map(|known| &**known));
        }
    }
    work.distinct(&raw.roles.value);
    let own = raw.scopes.get().map(|scopes| around.scopes.granted(work, &scopes.value));
    let roles = raw.roles.value.iter().map(|role| role.value.as_str());
    let granted = OwnerScopes::new(own, (roles.len() > 0).then(|| around.roles.expand(roles)));
    for text in [&raw.plan, &raw.tenant].into_iter().filter_map(Slot::get) {
        work.plain(&text.at, &text.value);
    }
    let base = Principal {
        kind: CredentialKind::ApiKey,
        subject: Arc::from(name),
        client: Some(Arc::from(name)),
        credential_id: None,
        issuer: None,
        tenant: raw.tenant.value().map(|tenant| Arc::from(tenant.as_str())),
        plan: raw.plan.value().map(|plan| Arc::from(plan.as_str())),
        roles: raw.roles.value.iter().map(|role| Arc::from(role.value.as_str())).collect(),
        scopes: granted.granted().clone(),
        attributes: Arc::new(raw.attributes.value.0.iter().map(|(n, any)| (n.clone(), any.value.0.clone())).collect()),
        account: None,
    };
    let client_list = address_list(work, &raw.ip_allowlist);
    let by_certificate = CertificateClient {
        principal: Principal { kind: CredentialKind::Mtls, ..base.clone() },
        allow_ips: client_list.iter().cloned().collect(),
        disabled: raw.disabled.value,
    };
    seen.certificates.add(work, &raw.certificates.value, by_certificate);

    for item in &raw.keys.value {
        let ClientKey { id, sha256, scopes, expires, disabled, ip_allowlist } = &item.value;
        if let Some(id) = id.get() {
            work.plain(&id.at, &id.value);
            if let Some(other) = seen.ids.insert(&id.value, &id.at.key) {
                work.fault(&id.at, format!("{other} is called {:?}, too", id.value));
            }
        }
        let effective = granted.of_key(scopes.get().map(|list| around.scopes.granted(work, &list.value)));
        let key_list = address_list(work, ip_allowlist);
        let (Some(digest), Some(id)) = (sha256.get().and_then(|source| digest(work, source)), id.get()) else {
            continue;
        };
        if let Some(other) = seen.digests.insert(digest, &item.at.key) {
            work.fault(&item.at.inside("sha256"), format!("is the same key as {other}"));
            continue;
        }
        let principal =
            Principal { credential_id: Some(Arc::from(id.value.as_str())), scopes: effective, ..base.clone() };
        let verified = Verified {
            headers: around.identity.prepare(around.realm, &principal),
            principal,
            expires: expires.value().copied(),
            allow_ips: client_list.iter().cloned().chain(key_list).collect(),
            issuer: None,
            uses: None,
        };
        let disabled = raw.disabled.value || disabled.value;
        keys.insert(digest, DeclaredKey { verified: Arc::new(verified), disabled });
    }
}

/// The addresses of a list; none = every address.
fn address_list(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<IpNet>>>) -> Option<NetworkSet> {
    let list = slot.get()?;
    if list.value.is_empty() {
        work.warn(&list.at, "the list is empty: every address is allowed; leave it out to say so");
        return None;
    }
    Some(list.value.iter().map(|network| network.value).collect())
}

/// The digest of a key. None: a problem was noted, or secrets are not to be read.
fn digest(work: &mut Compiler<'_>, source: &Item<DigestSource>) -> Option<CredentialDigest> {
    let reference = match &source.value {
        DigestSource::Here(digest) => return Some(*digest),
        DigestSource::There(reference) => Item { value: reference.clone(), at: source.at.clone(), given: source.given },
    };
    let Found::Bytes(text) = secret(work, &reference) else { return None };
    // Bytes that were decoded already may be the digest itself.
    let encoded = reference.value.encoding.is_some();
    let hex = if encoded { data_encoding::HEXLOWER.encode(text.expose()).into() } else { text.expose().to_vec() };
    let digest = std::str::from_utf8(&hex).ok().and_then(CredentialDigest::from_hex);
    if digest.is_none() {
        work.fault(&source.at, "what was found is no SHA-256 of a key: expected 64 hexadecimal digits");
    }
    digest
}
