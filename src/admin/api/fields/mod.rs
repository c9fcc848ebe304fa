//! What may stand in a query or a body: declared once, read with all its faults at once, and printed as JSON Schema.
//! What the values mean (whether a realm exists, a name is taken) does not belong here.

mod read;
mod schema;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::Refusal;
use crate::clock::UnixMillis;

pub(super) use read::decode;
pub(super) use schema::{object_schema, value_schema};

/// Most texts or networks in one list.
const MAX_ITEMS: usize = 256;

/// Most bytes of a [`Kind::Object`] as compact JSON.
const MAX_OBJECT: usize = 16 * 1024;

/// Deepest nesting of a [`Kind::Object`]; 1 = an object of plain values.
const MAX_DEPTH: usize = 8;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text of 1 to so many characters, none of them a control character.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts of 1 to so many characters, without duplicates; at most 256 of them.
    Texts(usize),
    /// A list of networks in canonical form, without duplicates, at most 256 of them; a loose one is refused with the
    /// corrected form.
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
    /// A list of JSON objects with these members, at most so many.
    Objects(usize, &'static [Field]),
    /// Header fields: an object of name to text or list of texts, or a list of `Name: value`.
    Headers,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Field {
    /// A field that may be left out.
    pub const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, required: false, nullable: false, about }
    }

    /// A field that must be there.
    pub const fn required(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { required: true, ..Self::optional(name, kind, about) }
    }

    /// A field that may be left out, or be `null` for «none».
    pub const fn nullable(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { nullable: true, ..Self::optional(name, kind, about) }
    }
}

/// Values that fit their declaration. Those who ask for a kind that was not declared get nothing.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Values {
    /// As JSON: networks and addresses in canonical form, times in milliseconds.
    fields: Map<String, Value>,
}

impl std::fmt::Debug for Values {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
    }
}

impl Values {
    /// Reads a JSON body (an object without duplicate members; nothing at all stands for `{}`) by `fields`: unknown
    /// members, missing ones and wrong values are all told at once.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]. No value is repeated in it, but corrected networks and names of members.
    pub(super) fn from_json(body: &[u8], fields: &[Field]) -> Result<Self, Refusal> {
        read::json(body, fields)
    }

    /// Reads a query by `fields`: texts become what their kind says; nothing may stand twice. A list is separated by
    /// commas.
    ///
    /// # Errors
    /// As [`Values::from_json`].
    pub(super) fn from_query(query: &str, fields: &[Field]) -> Result<Self, Refusal> {
        read::query(query, fields)
    }

    /// Whether the field was given (`null` included).
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let items = self.fields.get(name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    pub(super) fn network(&self, name: &str) -> Option<IpNet> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn networks(&self, name: &str) -> Option<Vec<IpNet>> {
        let items = self.fields.get(name)?.as_array()?;
        Some(items.iter().filter_map(|item| item.as_str()?.parse().ok()).collect())
    }

    pub(super) fn address(&self, name: &str) -> Option<IpAddr> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn time(&self, name: &str) -> Option<UnixMillis> {
        self.integer(name).map(UnixMillis)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.fields.get(name)?.as_i64()
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.fields.get(name)?.as_bool()
    }

    pub(super) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.fields.get(name)?.as_object()
    }

    /// The objects of a [`Kind::Objects`], each read by its own declaration.
    pub(super) fn objects(&self, name: &str) -> Option<Vec<Self>> {
        let items = self.fields.get(name)?.as_array()?;
        Some(items.iter().filter_map(|item| Some(Self { fields: item.as_object()?.clone() })).collect())
    }

    /// Header fields in their order, as `(name, value)`.
    pub(super) fn headers(&self, name: &str) -> Option<Vec<(&str, &str)>> {
        let items = self.fields.get(name)?.as_array()?;
        Some(items.iter().filter_map(|item| Some((item.get(0)?.as_str()?, item.get(1)?.as_str()?))).collect())
    }
}

#[cfg(test)]
mod tests;
