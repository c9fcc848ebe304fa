//! Where a value stands in the claims: by name, or by JSON pointer.

use std::fmt;

use serde_json::{Map, Value};

/// Where a value stands in the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPath {
    /// A top-level member, byte for byte.
    Name(Box<str>),
    /// A JSON pointer (RFC 6901).
    Pointer(Box<str>),
}

impl ClaimPath {
    /// A leading `/` makes a pointer.
    ///
    /// # Errors
    /// A text for people: empty, or a `~` that is neither `~0` nor `~1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected the name of a claim, or a JSON pointer such as \"/realm_access/roles\"".into());
        }
        if !text.starts_with('/') {
            return Ok(Self::Name(text.into()));
        }
        if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err("in a JSON pointer `~` is written `~0` and `/` is written `~1`".into());
        }
        Ok(Self::Pointer(text.into()))
    }

    /// The value in `claims`, or in a client's attributes.
    pub(in crate::gate) fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let pointer = match self {
            Self::Name(name) => return claims.get(&**name),
            Self::Pointer(pointer) => pointer,
        };
        let end = pointer.char_indices().skip(1).find(|(_, c)| *c == '/').map_or(pointer.len(), |(at, _)| at);
        let (first, rest) = pointer.split_at_checked(end)?;
        let first = first.strip_prefix('/')?.replace("~1", "/").replace("~0", "~");
        claims.get(&first)?.pointer(rest)
    }
}

impl fmt::Display for ClaimPath {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Pointer(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_taken_byte_for_byte_and_a_pointer_descends() {
        let Value::Object(claims) = json!({
            "https://x/roles": 1, "a.b": 2, "a": {"b": 3, "c": [4, {"d": 5}], "": 6}, "m~n": 7, "e/f": 8, "": 9, "~1": 10
        }) else {
            unreachable!()
        };
        for (path, expected) in [
            ("https://x/roles", Some(1)),
            ("a.b", Some(2)),
            ("/a/b", Some(3)),
            ("/a/c/0", Some(4)),
            ("/a/c/1/d", Some(5)),
            ("/a/", Some(6)),
            ("/m~0n", Some(7)),
            ("/e~1f", Some(8)),
            ("/", Some(9)),
            ("/~01", Some(10)),
            ("/a/c/00", None),
            ("/a/c/-", None),
            ("/a/b/c", None),
            ("/A/b", None),
            ("A", None),
        ] {
            let found = ClaimPath::parse(path).unwrap().find(&claims).and_then(Value::as_i64);
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in ["", "/a~", "/a~2", "/~/b", "/~~0"] {
            assert!(ClaimPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_pointer_finds_what_the_json_library_finds(text in "(/[ab~01é]{0,3}){1,3}") {
            let value = json!({"a": {"b": 1, "a": [1, 2]}, "é": {"0": 2}, "~": 3, "": {"": 4}, "/": [5, 6]});
            if let Ok(path) = ClaimPath::parse(&text) {
                prop_assert_eq!(path.find(value.as_object().unwrap()), value.pointer(&text));
            }
        }
    }
}
