//! The normal form of a path: what decides is byte for byte what is sent on.

use std::borrow::Cow;

use super::outcome::Why;

/// What a realm tolerates in paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// `%2F` in a segment stays as it is instead of being refused.
    pub encoded_slash: bool,
    /// `;` stays as it is instead of being refused.
    pub parameters: bool,
}

/// The normal form of `path`: percent-encoded unreserved characters (RFC 3986 section 2.3) decoded once, all else as it
/// was. Borrowed when nothing changes.
///
/// # Errors
/// What two parties could read differently; see `docs/` for the list.
pub fn normalize(_path: &str, _rules: PathRules) -> Result<Cow<'_, str>, Why> {
    unimplemented!()
}
