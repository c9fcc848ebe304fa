//! Finding the one credential of a request, and emptying its place before the request is sent on. Only declared places
//! are looked at; what the text means is the verifiers' business.

mod cookie;
mod field;
mod query;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::HeaderName;
use http::header;

pub use cookie::strip_cookies;
pub use query::strip_query;

use super::outcome::{Denial, Reason, Why};
use super::policy::RoutePlace;
use super::request::Request;

/// Where a credential may stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A header field. In `Authorization` the scheme Bearer is expected.
    Header(HeaderName),
    /// A parameter of the query.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// Fields that frame or route the message: emptying them would break it.
const NO_PLACES: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const MAX_NAME: usize = 64;

impl Place {
    /// Reads `header:NAME`, `query:NAME`, `cookie:NAME`. Names have 1 to 64 characters.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text
            .split_once(':')
            .ok_or_else(|| format!("{text:?} is no place: write header:NAME, query:NAME or cookie:NAME"))?;
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!("the name in {text:?} must have 1 to {MAX_NAME} characters"));
        }
        match kind {
            "header" => {
                let header =
                    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
                if header == header::COOKIE {
                    return Err("a credential in a cookie is written cookie:NAME".into());
                }
                if NO_PLACES.contains(&header) {
                    return Err(format!("the header {name} cannot hold a credential"));
                }
                Ok(Self::Header(header))
            }
            "query" if name.bytes().all(|b| b.is_ascii_graphic()) => Ok(Self::Query(name.into())),
            "query" => Err(format!("the parameter {name:?} must be visible ASCII")),
            "cookie" if name.bytes().all(is_token_byte) => Ok(Self::Cookie(name.into())),
            "cookie" => Err(format!("{name:?} is no cookie name")),
            _ => Err(format!("{kind:?} is no kind of place: expected header, query or cookie")),
        }
    }
}

/// What was found in the declared places.
#[derive(Debug)]
pub enum Presented<'r, 'p> {
    /// Nothing, or `Basic …`, or an empty Bearer.
    Nothing,
    /// One text, at one of the route's places.
    One {
        /// Where.
        place: &'p RoutePlace,
        /// The text, exactly as sent (query: percent-decoded); visible ASCII without blanks, not empty.
        text: Cow<'r, str>,
    },
    /// One place holds what cannot be a credential.
    Malformed {
        /// Where.
        place: &'p RoutePlace,
        /// Scheme or form.
        why: Why,
    },
}

/// Looks at the declared places only. `places` names each place once.
///
/// # Errors
/// 400 `ambiguous_credential` when two places are filled or one is filled twice, even with equal values.
pub fn find<'r, 'p>(request: &Request<'r>, places: &'p [RoutePlace]) -> Result<Presented<'r, 'p>, Denial> {
    let mut presented = Presented::Nothing;
    for place in places {
        let held = match &place.place {
            Place::Header(name) => field::read(request.headers, name)?,
            Place::Query(name) => query::read(request.query.unwrap_or_default(), name)?,
            Place::Cookie(name) => cookie::read(request.headers, name)?,
        };
        let found = match held {
            Held::Nothing | Held::NoCredential => continue,
            Held::Text(text) => Presented::One { place, text },
            Held::Malformed(why) => Presented::Malformed { place, why },
        };
        if !matches!(presented, Presented::Nothing) {
            return Err(ambiguous(Why::TwoPlaces));
        }
        presented = found;
    }
    Ok(presented)
}

/// What one line, parameter or cookie holds.
#[derive(Debug, PartialEq, Eq)]
enum Held<'r> {
    /// It is empty.
    Nothing,
    /// Something that is no credential of ours, but fills its line: `Basic …`, `Bearer` alone.
    NoCredential,
    Text(Cow<'r, str>),
    Malformed(Why),
}

impl<'r> Held<'r> {
    /// A text that a verifier may see: visible ASCII without blanks.
    fn text(text: Cow<'r, str>) -> Self {
        match text.as_bytes() {
            [] => Self::Nothing,
            bytes if bytes.iter().all(u8::is_ascii_graphic) => Self::Text(text),
            _ => Self::Malformed(Why::Format),
        }
    }
}

/// The one that holds anything; two are ambiguous, for another party might take the other one.
fn only<'r>(candidates: impl Iterator<Item = Held<'r>>) -> Result<Held<'r>, Denial> {
    let mut only = Held::Nothing;
    for candidate in candidates.filter(|held| *held != Held::Nothing) {
        if only != Held::Nothing {
            return Err(ambiguous(Why::Repeated));
        }
        only = candidate;
    }
    Ok(only)
}

fn ambiguous(why: Why) -> Denial {
    Denial::because(Reason::AmbiguousCredential, why)
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Without blanks and tabs at both ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
