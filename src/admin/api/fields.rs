//! What may stand in a query or a body: declared once, read with all its faults at once, and printed as JSON Schema.

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::Refusal;
use crate::clock::UnixMillis;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text of 1 to so many characters, none of them a control character.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts of 1 to so many characters, without duplicates; at most 256 of them.
    Texts(usize),
    /// A list of networks in canonical form; a loose one is refused with the corrected form.
    Networks,
    /// One network, likewise; a bare address is /32 or /128.
    Network,
    /// One address.
    Address,
    /// RFC 3339 with an offset.
    Time,
    /// From the one to the other.
    Integer(i64, i64),
    /// A truth value.
    Boolean,
    /// A JSON object, at most 16 KiB of text, 8 levels deep.
    Object,
    /// A list of JSON objects, at most so many.
    Objects(usize),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// Whether `null` may stand for «none».
    pub nullable: bool,
    /// For the documentation; ends with a dot.
    pub about: &'static str,
}

/// Values that fit their declaration.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    fields: Map<String, Value>,
}

impl Values {
    /// Reads a JSON body (an object without duplicate members) by `fields`: unknown members, missing ones and wrong
    /// values are all told at once.
    pub(super) fn from_json(body: &[u8], fields: &[Field]) -> Result<Self, Refusal> {
        let _ = (body, fields);
        unimplemented!()
    }

    /// Reads a query by `fields`: texts become what their kind says; nothing may stand twice. A list is separated by commas.
    pub(super) fn from_query(query: &str, fields: &[Field]) -> Result<Self, Refusal> {
        let _ = (query, fields);
        unimplemented!()
    }

    /// Whether the field was given (`null` included).
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn network(&self, name: &str) -> Option<IpNet> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn networks(&self, name: &str) -> Option<Vec<IpNet>> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn address(&self, name: &str) -> Option<std::net::IpAddr> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn time(&self, name: &str) -> Option<UnixMillis> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        let _ = name;
        unimplemented!()
    }

    pub(super) fn objects(&self, name: &str) -> Option<Vec<&Map<String, Value>>> {
        let _ = name;
        unimplemented!()
    }
}
