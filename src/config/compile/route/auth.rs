//! What a route takes as proof, of whom, and where it looks for it.

use super::{Compiler, Guard, RealmParts};
use crate::config::compile::api_key::places as read_places;
use crate::config::problem::At;
use crate::config::value::word::AuthKind;
use crate::config::walk::{Item, Slot};
use crate::gate::credential::Place;
use crate::gate::policy::{Auth, RoutePlace};

/// The kinds of credentials. None: a problem was noted.
pub(super) fn auth(work: &mut Compiler<'_>, raw: &Guard<'_>, parts: &RealmParts<'_>) -> Option<Auth> {
    let (list, at) = raw.auth?;
    if list.is_empty() {
        let text =
            "the list is empty; `[\"public\"]` lets everybody pass, `[\"jwt\"]` or `[\"api_key\"]` ask for proof";
        work.fault(at, text);
        return None;
    }
    let mut auth = Auth { public: false, anonymous: false, jwt: false, api_key: false, mtls: false, opaque: None };
    let mut opaque = false;
    for item in list {
        let flag = match item.value {
            AuthKind::Jwt => &mut auth.jwt,
            AuthKind::ApiKey => &mut auth.api_key,
            AuthKind::Opaque => &mut opaque,
            AuthKind::Mtls => &mut auth.mtls,
            AuthKind::Public => &mut auth.public,
            AuthKind::Anonymous => &mut auth.anonymous,
        };
        if std::mem::replace(flag, true) {
            work.fault(&item.at, "stands here twice");
        }
    }
    let from_a_place = auth.jwt || auth.api_key || opaque;
    let proves = from_a_place || auth.mtls;
    if auth.public && (auth.anonymous || proves) {
        work.fault(at, "`public` stands alone: on a public route nothing is looked at");
        return None;
    }
    if auth.anonymous && !proves {
        let text =
            "`anonymous` stands beside `jwt`, `api_key`, `opaque` or `mtls`; a route for everybody is `[\"public\"]`";
        work.fault(at, text);
    }
    if auth.jwt && parts.believed().count() == 0 {
        let text = if parts.kinds.is_some() {
            "`jwt` needs at least one of the realm's [[issuers]], or [tokens.access]"
        } else {
            "`jwt` needs at least one of the realm's [[issuers]]"
        };
        work.fault(at, text);
    }
    if auth.api_key && parts.forms.is_empty() {
        work.fault(at, "`api_key` needs [[api_keys]], which say what the keys look like");
    }
    if auth.mtls
        && !from_a_place
        && let Some(from) = raw.from.get()
    {
        work.fault(&from.at, "a certificate belongs to the connection and stands in no place of the request");
    }
    auth.opaque = token(work, raw, at, opaque, parts)?;
    if auth.public || auth.anonymous {
        let who = if auth.public { "a public route" } else { "a route for `anonymous` requests" };
        for (key, place) in demands(raw) {
            work.fault(place, format!("{who} cannot demand {key}: there may be nobody who has it"));
        }
    }
    if auth.public {
        for list in [raw.issuers.get(), raw.from.get()].into_iter().flatten() {
            work.fault(&list.at, "a public route looks at no credential");
        }
    }
    Some(auth)
}

/// Which kind of opaque tokens is meant: its position among those. None outside: a problem was noted.
#[allow(clippy::option_option)] // the outer one is the compiler's habit, the inner one what is meant
fn token(
    work: &mut Compiler<'_>,
    raw: &Guard<'_>,
    at: &At,
    wanted: bool,
    parts: &RealmParts<'_>,
) -> Option<Option<usize>> {
    match (raw.token, wanted) {
        (Slot::Given(name), false) => {
            work.fault(&name.at, "only means something with `opaque` in `auth`");
            Some(None)
        }
        (Slot::Absent(_), false) => Some(None),
        (Slot::Absent(_) | Slot::Given(_), true) if parts.kinds.is_none() => {
            work.fault(at, "`opaque` needs [tokens], which say what the realm's tokens look like");
            None
        }
        (Slot::Absent(_), true) => {
            work.fault(at, "`opaque` needs `token`, which says of which kind the tokens are");
            None
        }
        (Slot::Given(name), true) => parts.kinds.and_then(|kinds| kinds.for_routes(work, name)).map(Some),
        // A grant has another use for this key, or it could not be read.
        (Slot::Bad, wanted) => (!wanted).then_some(None),
    }
}

/// What only somebody known can have.
fn demands<'r>(raw: &Guard<'r>) -> Vec<(&'static str, &'r At)> {
    let lists =
        [("`scopes`", raw.scopes), ("`scopes_any`", raw.scopes_any), ("`roles`", raw.roles), ("a `plan`", raw.plan)];
    let attributes = raw.attributes.filter(|table| table.given).map(|table| ("`attributes`", &table.at));
    lists.into_iter().filter_map(|(key, slot)| Some((key, &slot.get()?.at))).chain(attributes).collect()
}

/// Positions of the issuers whose JWTs are taken.
pub(super) fn issuers(
    work: &mut Compiler<'_>,
    slot: &Slot<Vec<Item<String>>>,
    auth: Auth,
    parts: &RealmParts<'_>,
) -> Vec<usize> {
    let list = match slot {
        Slot::Given(list) => list,
        Slot::Absent(_) if auth.jwt => return parts.believed().collect(),
        Slot::Absent(_) | Slot::Bad => return Vec::new(),
    };
    work.not_empty(list);
    work.distinct(&list.value);
    if !auth.jwt && !auth.public {
        work.fault(&list.at, "only means something with `jwt` in `auth`");
    }
    let mut found = Vec::new();
    for item in &list.value {
        match parts.issuers.iter().position(|name| *name == Some(item.value.as_str())) {
            Some(index) if parts.believed().any(|believed| believed == index) => found.push(index),
            Some(_) => work.fault(&item.at, "the realm issues no access tokens: there is no [tokens.access]"),
            None if item.value == "self" => {
                work.fault(&item.at, "`self` is the realm's own issuer, but it issues nothing: there is no [tokens]");
            }
            // An issuer without a good name has its own problem, and may be the one that is meant.
            None if parts.issuers.contains(&None) => {}
            None => work.unknown(&item.at, "issuer", &item.value, parts.issuers.iter().flatten().copied()),
        }
    }
    found
}

/// Where credentials are looked for: each place once, with all that may stand there.
pub(super) fn places(
    work: &mut Compiler<'_>,
    from: &Slot<Vec<Item<String>>>,
    auth: Auth,
    parts: &RealmParts<'_>,
) -> Vec<RoutePlace> {
    let mut places: Vec<RoutePlace> = Vec::new();
    let forms = || parts.forms.iter().enumerate().filter_map(|(index, form)| Some((index, form.as_ref()?)));
    let opaque = auth.opaque.is_some();
    if auth.public {
        return places;
    }
    if let Some(list) = from.get() {
        work.not_empty(list);
        let api_keys: Vec<_> = if auth.api_key { forms().map(|(index, _)| index).collect() } else { Vec::new() };
        return read_places(work, &list.value, parts.identity)
            .into_iter()
            .map(|place| RoutePlace { place, jwt: auth.jwt, api_keys: api_keys.clone(), opaque })
            .collect();
    }
    if auth.jwt || opaque {
        let place = Place::Header(http::header::AUTHORIZATION);
        places.push(RoutePlace { place, jwt: auth.jwt, api_keys: Vec::new(), opaque });
    }
    if auth.api_key {
        for (index, form) in forms() {
            for place in &form.from {
                match places.iter_mut().find(|known| known.place == *place) {
                    Some(known) => known.api_keys.push(index),
                    None => places.push(RoutePlace {
                        place: place.clone(),
                        jwt: false,
                        api_keys: vec![index],
                        opaque: false,
                    }),
                }
            }
        }
    }
    places
}
