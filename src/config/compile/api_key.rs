//! What API keys look like and where they may stand.

use super::{Compiler, header};
use crate::config::keys::ApiKeys as Raw;
use crate::config::walk::Item;
use crate::gate::credential::Place;
use crate::gate::headers::IdentityHeaders;
use crate::gate::verify::api_key::ApiKeyForm;

/// The forms of a realm, by position; none where one is not complete.
pub(super) fn forms(work: &mut Compiler<'_>, raw: &[Item<Raw>], identity: &IdentityHeaders) -> Vec<Option<ApiKeyForm>> {
    let mut prefixes: Vec<&str> = Vec::new();
    let mut forms = Vec::with_capacity(raw.len());
    for item in raw {
        let Raw { prefix, checksum, from } = &item.value;
        work.not_empty(from);
        let places = places(work, &from.value, identity);
        if let Some(prefix) = prefix.get() {
            let text = prefix.value.as_str();
            // What a cookie and a query can carry, too (RFC 6265 section 4.1.1).
            let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
            if !(1..=64).contains(&text.len()) || !text.bytes().all(fits) {
                work.fault(&prefix.at, "expected 1 to 64 visible characters without `\"`, `,`, `;` and `\\`");
            } else if prefixes.iter().any(|known| known.starts_with(text) || text.starts_with(*known)) {
                work.fault(&prefix.at, "one prefix begins another: a key could be of either kind");
            }
            prefixes.push(text);
        }
        forms.push(prefix.value().map(|prefix| ApiKeyForm {
            prefix: prefix.as_str().into(),
            checksum: checksum.value,
            from: places,
        }));
    }
    forms
}

/// Places of credentials.
pub(super) fn places(work: &mut Compiler<'_>, list: &[Item<String>], identity: &IdentityHeaders) -> Vec<Place> {
    let mut places = Vec::with_capacity(list.len());
    for item in list {
        let Some(place) = work.good(&item.at, Place::parse(&item.value)) else { continue };
        if let Place::Header(name) = &place {
            if header::is_gateways(name.as_str()) || name == http::header::COOKIE {
                work.fault(&item.at, format!("`{name}` cannot hold a credential; for a cookie write \"cookie:NAME\""));
            } else if identity.owns(name.as_str()) {
                work.fault(&item.at, format!("`{name}` is an identity header and cannot hold a credential"));
            }
        }
        if places.contains(&place) {
            work.fault(&item.at, "stands here twice");
        } else {
            places.push(place);
        }
    }
    places
}
