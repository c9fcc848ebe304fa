//! Credentials in the query (RFC 6750 section 2.3): `name=value` joined by `&`, percent-encoded, `+` for a blank.

use std::borrow::Cow;

use super::{Held, Place, only};
use crate::gate::outcome::{Denial, Why};
use crate::gate::policy::RoutePlace;

/// What the parameter `name` holds.
pub(super) fn read<'r>(query: &'r str, name: &str) -> Result<Held<'r>, Denial> {
    only(query.split('&').filter_map(|pair| {
        let (its_name, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_called(its_name, name).then(|| decode(value).map_or(Held::Malformed(Why::Format), Held::text))
    }))
}

/// The query without the parameters that are declared places; `None` when nothing changes, an empty text when nothing
/// is left. Every other parameter stays byte for byte what it was.
pub fn strip_query(query: &str, places: &[RoutePlace]) -> Option<String> {
    let is_declared = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        places.iter().any(|place| matches!(&place.place, Place::Query(declared) if is_called(name, declared)))
    };
    if !query.split('&').any(is_declared) {
        return None;
    }
    let mut kept = String::with_capacity(query.len());
    let mut first = true;
    for pair in query.split('&').filter(|pair| !is_declared(pair)) {
        if !first {
            kept.push('&');
        }
        first = false;
        kept.push_str(pair);
    }
    Some(kept)
}

fn is_called(encoded: &str, name: &str) -> bool {
    // Decoding never makes a text longer.
    encoded.len() >= name.len() && decode(encoded).is_some_and(|decoded| decoded == name)
}

/// Undoes the encoding once; none for broken escapes and for bytes that are no UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
