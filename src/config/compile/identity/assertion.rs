//! `[identity_headers.assertion]`

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::Names;
use crate::config::RouteSummary;
use crate::config::compile::Compiler;
use crate::config::compile::route::RealmParts;
use crate::config::compile::secret::{Found, public, secret};
use crate::config::compile::tokens::{self, Minting};
use crate::config::keys::{Assertion as Raw, Realm};
use crate::config::problem::At;
use crate::config::value::secret::{Origin, SecretRef};
use crate::config::walk::{Item, Slot};
use crate::gate::document::Document;
use crate::gate::headers::{Assertion, Terms};
use crate::gate::policy::{Route, RouteView};
use crate::gate::route::Pattern;
use crate::jwt::{self, ASSERTION_TYP, Algorithm, KeyFault, Signer};

/// Shorter, and clocks that differ a little spoil it; longer, and it is a credential.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(600);
/// Keys in the document besides the one that signs.
const MOST_PUBLISHED: usize = 8;

/// Compiles the table. None: a problem was noted.
pub(super) fn assertion(
    work: &mut Compiler<'_>,
    realm: &Realm,
    item: &Item<Raw>,
    minting: Option<&Minting>,
    names: &mut Names,
) -> Option<Assertion> {
    let raw = &item.value;
    if raw.header.value.is_empty() {
        work.fault(&raw.header.at, "expected the name of a header field; leave the whole table out for no assertion");
    }
    let header = names.name(work, &raw.header);
    for text in [raw.audience.get(), raw.issuer.get()].into_iter().flatten() {
        work.plain(&text.at, &text.value);
    }
    let issuer = match minting {
        Some(minting) if raw.issuer.absent().is_some() => minting.issuer.clone(),
        Some(_) | None => tokens::issuer(work, realm, &raw.issuer),
    };
    if !TTL.contains(&raw.ttl.value) {
        work.fault(&raw.ttl.at, "expected a duration from \"5s\" to \"10m\"");
    }
    let signer = raw.key.get().and_then(|key| signer(work, key));
    let published = published(work, raw);
    let signer = signer?;
    let document = raw.jwks_path.get().map(|_| {
        let mut keys = vec![signer.public().clone()];
        keys.extend(published.into_iter().filter(|key| key != signer.public()));
        Arc::new(Document::new("application/jwk-set+json", json!({ "keys": keys }).to_string().into_bytes()))
    });
    Some(Assertion::new(Terms {
        header: header?,
        issuer,
        audience: raw.audience.value().map(|audience| audience.as_str().into()),
        ttl: raw.ttl.value,
        signer,
        document,
    }))
}

fn signer(work: &mut Compiler<'_>, key: &Item<SecretRef>) -> Option<Signer> {
    let pem = match secret(work, key) {
        Found::Bytes(pem) => pem,
        Found::StandIn => {
            let made = jwt::generate(Algorithm::ES256).map_err(|fault| fault.text);
            work.good(&key.at, made)?.private
        }
        Found::Nothing => return None,
    };
    let signer = Signer::from_pem(pem.expose(), ASSERTION_TYP);
    work.good(&key.at, signer.map_err(|fault| told(key, &fault)))
}

fn published(work: &mut Compiler<'_>, raw: &Raw) -> Vec<Value> {
    let list = &raw.published;
    if !list.value.is_empty() && raw.jwks_path.absent().is_some() {
        work.fault(&list.at, "only means something with `jwks_path`");
    }
    if list.value.len() > MOST_PUBLISHED {
        work.fault(&list.at, format!("at most {MOST_PUBLISHED} keys"));
    }
    let mut keys = Vec::new();
    for item in &list.value {
        let Found::Bytes(pem) = public(work, item) else { continue };
        let key = jwt::public_key(pem.expose()).map_err(|fault| told(item, &fault));
        let Some(key) = work.good(&item.at, key) else { continue };
        if keys.contains(&key) {
            work.fault(&item.at, "stands here twice");
        }
        keys.push(key);
    }
    keys
}

/// A fault with where the key came from.
fn told(key: &Item<SecretRef>, fault: &KeyFault) -> String {
    match &key.value.origin {
        Origin::File(name) => format!("the file {}: {fault}", key.at.resolve(name).display()),
        Origin::Env(name) => format!("the environment variable {name}: {fault}"),
        Origin::Inline(_) => fault.to_string(),
    }
}

/// The route with the number `index` that gives the public keys to everybody; none where there is none.
pub(in crate::config::compile) fn document(
    work: &mut Compiler<'_>,
    (name, raw): (&str, &Realm),
    parts: &mut RealmParts<'_>,
    index: usize,
) -> Option<Arc<Route>> {
    let path = raw.identity_headers.value.assertion.get()?.value.jwks_path.get()?;
    let pattern = work.good(&path.at, Pattern::parse(&path.value))?;
    if pattern.literal_prefix() != path.value {
        work.fault(&path.at, "expected one path, without `{name}` and `**`");
    }
    let methods = [Method::GET, Method::HEAD];
    parts.lookup.add(work, &path.at, &Slot::Absent(At::default()), (&pattern, &methods), index);
    let view = RouteView {
        path: path.value.clone(),
        methods: methods.iter().map(Method::to_string).collect(),
        auth: vec![String::from("public")],
        ..RouteView::default()
    };
    let document = parts.identity.assertion()?.document().cloned();
    let cors = parts.cors.as_ref().map(|said| said.to(&methods, None));
    let route = Route { view, document, cors, ..Route::open(Arc::from(path.value.as_str()), index) };
    work.routes.push(RouteSummary::of(name, &route, String::from("keys of assertions"), []));
    Some(Arc::new(route))
}
