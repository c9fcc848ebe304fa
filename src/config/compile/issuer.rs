//! Whose JWTs are believed.

use std::sync::Arc;
use std::time::Duration;

use super::Compiler;
use super::secret::{Found, public, secret, stand_in};
use crate::config::files::MAX_KEYS;
use crate::config::keys::{ClaimNames, Issuer as Raw, IssuerKeys};
use crate::config::problem::At;
use crate::config::value::measure::LONGEST;
use crate::config::value::secret::SecretRef;
use crate::config::walk::{Item, Slot};
use crate::gate::verify::jwks::{Location, RemoteKeySet, RemoteSpec, acceptable_url, discovery_url};
use crate::gate::verify::jwt::{ClaimMap, ClaimPath, Issuer, KeySource};
use crate::jwt::{ASSERTION_TYP, Algorithm, Family, KeyRing, VerifyKey, looks_encoded};

/// A token without these could be anybody's, for anybody, for ever.
const ALWAYS: [&str; 3] = ["exp", "iss", "aud"];

/// The issuers of a realm, by position; none where one is not complete.
pub(super) fn issuers(work: &mut Compiler<'_>, raw: &[Item<Raw>]) -> Vec<Option<Arc<Issuer>>> {
    let mut names: Vec<&str> = Vec::new();
    let mut issuers = Vec::with_capacity(raw.len());
    for (index, item) in raw.iter().enumerate() {
        if let Some(name) = item.value.name.get() {
            work.label(&name.at, &name.value);
            if name.value == "self" {
                work.fault(&name.at, "`self` is the realm's own issuer; choose another name");
            } else if names.contains(&name.value.as_str()) {
                work.fault(&name.at, format!("another issuer is called {:?}, too", name.value));
            }
            names.push(&name.value);
        }
        issuers.push(issuer(work, &item.value, index).map(Arc::new));
    }
    issuers
}

fn issuer(work: &mut Compiler<'_>, raw: &Raw, index: usize) -> Option<Issuer> {
    if let Some(issuer) = raw.issuer.get() {
        work.plain(&issuer.at, &issuer.value);
    }
    let algorithms = algorithms(work, &raw.algorithms);
    let audience = raw.audience.get().map(|list| {
        work.not_empty(list);
        texts(work, &list.value)
    });
    work.at_most(&raw.leeway, Duration::from_secs(600));
    work.positive(&raw.max_ttl, LONGEST);
    let typ: Vec<_> = texts(work, &raw.typ.value).iter().map(|typ| media_type(typ)).collect();
    if typ.iter().any(|typ| **typ == *ASSERTION_TYP) {
        work.fault(&raw.typ.at, format!("`{ASSERTION_TYP}` is what gateways assert to upstreams, and no credential"));
    }
    let mut required_claims = texts(work, &raw.required_claims.value);
    required_claims
        .extend(ALWAYS.iter().filter(|claim| !contains(&raw.required_claims.value, claim)).map(|c| Box::from(*c)));
    let claims = claims(work, &raw.claims.value);
    let keys = match (&raw.keys, &algorithms) {
        (Slot::Given(keys), Some(algorithms)) => key_source(work, raw, keys, algorithms),
        _ => None,
    };
    Some(Issuer {
        name: Arc::from(raw.name.value()?.as_str()),
        index,
        issuer: raw.issuer.value()?.as_str().into(),
        audience: audience?,
        algorithms: algorithms?,
        keys: keys?,
        leeway: raw.leeway.value,
        max_ttl: raw.max_ttl.value,
        typ,
        required_claims,
        claims: claims?,
    })
}

fn contains(list: &[Item<String>], text: &str) -> bool {
    list.iter().any(|item| item.value == text)
}

fn texts(work: &mut Compiler<'_>, list: &[Item<String>]) -> Vec<Box<str>> {
    work.distinct(list);
    list.iter()
        .map(|item| {
            work.plain(&item.at, &item.value);
            Box::from(item.value.as_str())
        })
        .collect()
}

/// `typ` compares without letter case and without `application/` (RFC 7515 section 4.1.9).
pub(super) fn media_type(text: &str) -> Box<str> {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower).into()
}

fn algorithms(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<Algorithm>>>) -> Option<Vec<Algorithm>> {
    let list = slot.get()?;
    work.not_empty(list);
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for item in &list.value {
        if algorithms.contains(&item.value) {
            work.fault(&item.at, "stands here twice");
        } else if algorithms.first().is_some_and(|first| first.family() != item.value.family()) {
            work.fault(&item.at, "is of another family than the first; declare a second issuer for it");
            return None;
        }
        algorithms.push(item.value);
    }
    (!algorithms.is_empty()).then_some(algorithms)
}

fn claims(work: &mut Compiler<'_>, names: &ClaimNames) -> Option<ClaimMap> {
    let mut path = |item: &Item<String>| match item.value.as_str() {
        "" => Some(None),
        text => work.good(&item.at, ClaimPath::parse(text)).map(Some),
    };
    let client = path(&names.client);
    let scopes = path(&names.scopes);
    let roles = path(&names.roles);
    let tenant = path(&names.tenant);
    let plan = path(&names.plan);
    let subject = path(&names.subject);
    if matches!(subject, Some(None)) {
        work.fault(&names.subject.at, "a subject cannot be left out");
    }
    Some(ClaimMap { subject: subject??, client: client?, scopes: scopes?, roles: roles?, tenant: tenant?, plan: plan? })
}

fn key_source(
    work: &mut Compiler<'_>,
    raw: &Raw,
    keys: &Item<IssuerKeys>,
    algorithms: &[Algorithm],
) -> Option<KeySource> {
    let IssuerKeys { secret, public_key, jwks_file, jwks_url, discovery, .. } = &keys.value;
    let given = [
        secret.get().is_some(),
        public_key.get().is_some(),
        jwks_file.get().is_some(),
        jwks_url.get().is_some(),
        discovery.get().is_some(),
    ];
    let bad = matches!(secret, Slot::Bad)
        || matches!(public_key, Slot::Bad)
        || matches!(jwks_file, Slot::Bad)
        || matches!(jwks_url, Slot::Bad)
        || matches!(discovery, Slot::Bad);
    if given.iter().filter(|given| **given).count() != 1 {
        if !bad {
            let text = "expected exactly one of `secret`, `public_key`, `jwks_file`, `jwks_url`, `discovery`";
            work.fault(&keys.at, text);
        }
        return None;
    }
    let hmac = algorithms.iter().any(|algorithm| algorithm.family() == Family::Hmac);
    if hmac != secret.get().is_some() {
        let text = if hmac {
            "HS256, HS384 and HS512 need a `secret`: whoever can read a key that verifies them can also sign"
        } else {
            "a `secret` serves HS256, HS384 and HS512 only"
        };
        work.fault(&keys.at, text);
        return None;
    }
    if jwks_url.get().is_none() && discovery.get().is_none() {
        only_for_fetched(work, &keys.value);
    }
    match (secret, public_key, jwks_file, jwks_url, discovery) {
        (Slot::Given(secret), ..) => hmac_key(work, secret, algorithms),
        (_, Slot::Given(key), ..) => public_key_ring(work, key, algorithms),
        (_, _, Slot::Given(file), ..) => key_set_file(work, file, algorithms),
        (_, _, _, Slot::Given(url), _) => {
            work.good(&url.at, acceptable_url(&url.value))?;
            remote(work, raw, &keys.value, Location::Url(url.value.as_str().into()), algorithms)
        }
        (_, _, _, _, Slot::Given(discovery)) => {
            if !discovery.value {
                work.fault(&discovery.at, "`discovery` is `true` or left out");
                return None;
            }
            let issuer = raw.issuer.get()?;
            let fit = discovery_url(&issuer.value).map_err(|fault| format!("for discovery: {fault}"));
            work.good(&issuer.at, fit)?;
            remote(work, raw, &keys.value, Location::Discovery(issuer.value.as_str().into()), algorithms)
        }
        _ => None,
    }
}

fn only_for_fetched(work: &mut Compiler<'_>, keys: &IssuerKeys) {
    let places: [(bool, &At); 5] = [
        (keys.refresh.given, &keys.refresh.at),
        (keys.cooldown.given, &keys.cooldown.at),
        (keys.max_stale.given, &keys.max_stale.at),
        (keys.timeout.given, &keys.timeout.at),
        (keys.max_size.given, &keys.max_size.at),
    ];
    let ca = keys.ca.get().map(|ca| (true, &ca.at));
    for (_, at) in places.into_iter().chain(ca).filter(|(given, _)| *given) {
        work.fault(at, "only means something with `jwks_url` or `discovery`");
    }
}

fn hmac_key(work: &mut Compiler<'_>, reference: &Item<SecretRef>, algorithms: &[Algorithm]) -> Option<KeySource> {
    let secret = match secret(work, reference) {
        Found::Bytes(secret) => secret,
        Found::StandIn => stand_in(work, &reference.at)?,
        Found::Nothing => return None,
    };
    if let Some(form) = looks_encoded(secret.expose()).filter(|_| reference.value.encoding.is_none()) {
        let text = format!("the secret looks like {form}; if it is, add `encoding = \"{form}\"`");
        work.warn(&reference.at, text);
    }
    let key = VerifyKey::from_secret(&secret, algorithms).map_err(|fault| fault.text);
    work.good(&reference.at, key).map(|key| KeySource::Static(KeyRing::single(key)))
}

fn public_key_ring(work: &mut Compiler<'_>, key: &Item<SecretRef>, algorithms: &[Algorithm]) -> Option<KeySource> {
    match public(work, key) {
        Found::Bytes(pem) => {
            let key_read = VerifyKey::from_pem(pem.expose(), algorithms).map_err(|fault| fault.text);
            work.good(&key.at, key_read).map(|key| KeySource::Static(KeyRing::single(key)))
        }
        // No key at all verifies nothing.
        Found::StandIn => KeyRing::parse_set(br#"{"keys":[]}"#, algorithms).ok().map(|set| KeySource::Static(set.ring)),
        Found::Nothing => None,
    }
}

fn key_set_file(work: &mut Compiler<'_>, file: &Item<String>, algorithms: &[Algorithm]) -> Option<KeySource> {
    let (path, bytes) = work.file(&file.at, &file.value, MAX_KEYS)?;
    let path = path.display();
    let set = KeyRing::parse_set(&bytes, algorithms).map_err(|fault| format!("the file {path}: {}", fault.text));
    let set = work.good(&file.at, set)?;
    // Keys for other algorithms may stand beside ours. Any other fault is refused: this file is the operator's own.
    for (kid, fault) in set.skipped.iter().filter(|(_, fault)| fault.why != "alg") {
        work.fault(&file.at, format!("the file {path}, key {kid:?}: {}", fault.text));
    }
    if set.ring.is_empty() {
        work.fault(&file.at, format!("the file {path} holds no key for the issuer's algorithms"));
    }
    Some(KeySource::Static(set.ring))
}

fn remote(
    work: &mut Compiler<'_>,
    raw: &Raw,
    keys: &IssuerKeys,
    location: Location,
    algorithms: &[Algorithm],
) -> Option<KeySource> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    work.positive(&keys.refresh, DAY);
    work.positive(&keys.cooldown, DAY);
    work.positive(&keys.max_stale, LONGEST);
    work.positive(&keys.timeout, Duration::from_secs(60));
    if keys.max_stale.value < keys.refresh.value {
        work.fault(&keys.max_stale.at, "shorter than `refresh`: the keys would be out of use between two fetches");
    }
    if !(1..=16 << 20).contains(&keys.max_size.value.0) {
        work.fault(&keys.max_size.at, "expected a size from \"1B\" to \"16MiB\"");
    }
    let ca = match &keys.ca {
        Slot::Given(ca) => Some(work.authorities(&ca.at, &ca.value)?),
        Slot::Absent(_) => None,
        Slot::Bad => return None,
    };
    let spec = RemoteSpec {
        name: Arc::from(raw.name.value()?.as_str()),
        location,
        ca,
        refresh: keys.refresh.value,
        cooldown: keys.cooldown.value,
        max_stale: keys.max_stale.value,
        timeout: keys.timeout.value,
        max_size: usize::try_from(keys.max_size.value.0).unwrap_or(usize::MAX),
        algorithms: algorithms.to_vec(),
    };
    Some(KeySource::Remote(Arc::new(RemoteKeySet::new(spec))))
}
