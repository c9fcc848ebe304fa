//! What a route takes as proof, of whom, and where it looks for it.

use super::{Compiler, RealmParts};
use crate::config::compile::api_key::places as read_places;
use crate::config::keys::Route as Raw;
use crate::config::problem::At;
use crate::config::value::word::AuthKind;
use crate::config::walk::Slot;
use crate::gate::credential::Place;
use crate::gate::policy::{Auth, RoutePlace};

/// The kinds of credentials. None: a problem was noted.
pub(super) fn auth(work: &mut Compiler<'_>, raw: &Raw, parts: &RealmParts<'_>) -> Option<Auth> {
    let list = raw.auth.get()?;
    if list.value.is_empty() {
        let text =
            "the list is empty; `[\"public\"]` lets everybody pass, `[\"jwt\"]` or `[\"api_key\"]` ask for proof";
        work.fault(&list.at, text);
        return None;
    }
    let mut auth = Auth { public: false, anonymous: false, jwt: false, api_key: false, opaque: None };
    for item in &list.value {
        let flag = match item.value {
            AuthKind::Jwt => &mut auth.jwt,
            AuthKind::ApiKey => &mut auth.api_key,
            AuthKind::Public => &mut auth.public,
            AuthKind::Anonymous => &mut auth.anonymous,
        };
        if std::mem::replace(flag, true) {
            work.fault(&item.at, "stands here twice");
        }
    }
    let at = &list.at;
    if auth.public && (auth.anonymous || auth.jwt || auth.api_key) {
        work.fault(at, "`public` stands alone: on a public route nothing is looked at");
        return None;
    }
    if auth.anonymous && !auth.jwt && !auth.api_key {
        work.fault(at, "`anonymous` stands beside `jwt` or `api_key`; a route for everybody is `[\"public\"]`");
    }
    if auth.jwt && parts.issuers.is_empty() {
        work.fault(at, "`jwt` needs at least one of the realm's [[issuers]]");
    }
    if auth.api_key && parts.forms.is_empty() {
        work.fault(at, "`api_key` needs [[api_keys]], which say what the keys look like");
    }
    if auth.public || auth.anonymous {
        let who = if auth.public { "a public route" } else { "a route for `anonymous` requests" };
        for (key, place) in demands(raw) {
            work.fault(place, format!("{who} cannot demand {key}: there may be nobody who has it"));
        }
    }
    if auth.public {
        for place in [raw.issuers.get().map(|item| &item.at), raw.from.get().map(|item| &item.at)].into_iter().flatten()
        {
            work.fault(place, "a public route looks at no credential");
        }
    }
    Some(auth)
}

/// What only somebody known can have.
fn demands(raw: &Raw) -> Vec<(&'static str, &At)> {
    let lists = [
        ("`scopes`", &raw.scopes),
        ("`scopes_any`", &raw.scopes_any),
        ("`roles`", &raw.roles),
        ("a `plan`", &raw.plan),
    ];
    let attributes = raw.attributes.given.then_some(("`attributes`", &raw.attributes.at));
    lists.into_iter().filter_map(|(key, slot)| Some((key, &slot.get()?.at))).chain(attributes).collect()
}

/// Positions of the issuers whose JWTs are taken.
pub(super) fn issuers(work: &mut Compiler<'_>, raw: &Raw, auth: Auth, parts: &RealmParts<'_>) -> Vec<usize> {
    let list = match &raw.issuers {
        Slot::Given(list) => list,
        Slot::Absent(_) if auth.jwt => return (0..parts.issuers.len()).collect(),
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
            Some(index) => found.push(index),
            None if item.value == "self" => {
                work.fault(&item.at, "the realm's own issuer `self` is not available in this version");
            }
            // An issuer without a good name has its own problem, and may be the one that is meant.
            None if parts.issuers.contains(&None) => {}
            None => work.unknown(&item.at, "issuer", &item.value, parts.issuers.iter().flatten().copied()),
        }
    }
    found
}

/// Where credentials are looked for: each place once, with all that may stand there.
pub(super) fn places(work: &mut Compiler<'_>, raw: &Raw, auth: Auth, parts: &RealmParts<'_>) -> Vec<RoutePlace> {
    let mut places: Vec<RoutePlace> = Vec::new();
    let forms = || parts.forms.iter().enumerate().filter_map(|(index, form)| Some((index, form.as_ref()?)));
    if auth.public {
        return places;
    }
    if let Some(list) = raw.from.get() {
        work.not_empty(list);
        let api_keys: Vec<_> = if auth.api_key { forms().map(|(index, _)| index).collect() } else { Vec::new() };
        return read_places(work, &list.value, parts.identity)
            .into_iter()
            .map(|place| RoutePlace { place, jwt: auth.jwt, api_keys: api_keys.clone(), opaque: false })
            .collect();
    }
    if auth.jwt {
        let place = Place::Header(http::header::AUTHORIZATION);
        places.push(RoutePlace { place, jwt: true, api_keys: Vec::new(), opaque: false });
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
