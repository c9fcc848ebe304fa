//! Credentials in cookies (RFC 6265 section 4.2): `name=value` separated by `;`, over all `Cookie` lines.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;

use super::{Held, Place, only, trim};
use crate::gate::outcome::{Denial, Why};
use crate::gate::policy::RoutePlace;

/// What the cookie `name` holds.
pub(super) fn read<'r>(headers: &'r HeaderMap, name: &str) -> Result<Held<'r>, Denial> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    only(pairs.filter_map(|pair| {
        let (its_name, value) = split(pair);
        (its_name == name.as_bytes()).then(|| read_value(value))
    }))
}

/// A `Cookie` value, which need not be UTF-8, without the cookies that are declared places; `None` when nothing changes,
/// nothing at all when nothing is left. Every other cookie stays byte for byte what it was.
pub fn strip_cookies(cookies: &[u8], places: &[RoutePlace]) -> Option<Vec<u8>> {
    let is_declared = |pair: &[u8]| {
        let (name, _) = split(pair);
        places.iter().any(|place| matches!(&place.place, Place::Cookie(declared) if declared.as_bytes() == name))
    };
    if !cookies.split(|b| *b == b';').any(is_declared) {
        return None;
    }
    let mut kept = Vec::with_capacity(cookies.len());
    for pair in cookies.split(|b| *b == b';').filter(|pair| !is_declared(pair)) {
        if kept.is_empty() {
            kept.extend_from_slice(pair.trim_ascii_start());
        } else {
            kept.push(b';');
            kept.extend_from_slice(pair);
        }
    }
    Some(kept)
}

/// Name and value without the blanks around them. Servers differ in whether they trim names: the reader that trims is
/// the one to guard against.
fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|b| *b == b'=') {
        Some(at) => (trim(&pair[..at]), trim(&pair[at + 1..])),
        None => (trim(pair), b""),
    }
}

fn read_value(value: &[u8]) -> Held<'_> {
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        bare => bare,
    };
    // RFC 6265 section 4.1.1: none of these belongs to a value, and old servers split at them.
    if value.iter().any(|b| matches!(b, b'"' | b',' | b'\\')) {
        return Held::Malformed(Why::Format);
    }
    match std::str::from_utf8(value) {
        Ok(text) => Held::text(Cow::Borrowed(text)),
        Err(_) => Held::Malformed(Why::Format),
    }
}
