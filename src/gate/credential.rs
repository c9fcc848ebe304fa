//! Finding the one credential of a request, and emptying its place before the request is sent on.

use http::HeaderName;

use super::outcome::{Denial, Why};
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

impl Place {
    /// Reads `header:NAME`, `query:NAME`, `cookie:NAME`.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }
}

/// What was found in the declared places.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'r> {
    /// Nothing, or `Basic …`, or an empty Bearer.
    Nothing,
    /// One text, at the place with this index in the route's list.
    One {
        /// Index into the route's places.
        place: usize,
        /// The text, exactly as sent (query: percent-decoded).
        text: std::borrow::Cow<'r, str>,
    },
    /// One place holds what cannot be a credential.
    Malformed {
        /// Index into the route's places.
        place: usize,
        /// Scheme or form.
        why: Why,
    },
}

/// Looks at the declared places only.
///
/// # Errors
/// 400 `ambiguous_credential` when two places are filled or one is filled twice, even with equal values.
pub fn find<'r>(_request: &Request<'r>, _places: &[RoutePlace]) -> Result<Presented<'r>, Denial> {
    unimplemented!()
}

/// The query without the parameters that are declared places; `None` when nothing changes.
pub fn strip_query(_query: &str, _places: &[RoutePlace]) -> Option<String> {
    unimplemented!()
}

/// A `Cookie` value without the cookies that are declared places; `None` when nothing changes.
pub fn strip_cookies(_cookies: &str, _places: &[RoutePlace]) -> Option<String> {
    unimplemented!()
}
