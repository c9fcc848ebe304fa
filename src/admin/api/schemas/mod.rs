//! What answers hold: every member with its name, kind and meaning, declared once. The OpenAPI document is made of it,
//! and tests hold real answers against it. What requests hold stands at the endpoints (`fields`).

mod check;
mod issuing;
mod table;

use serde_json::{Map, Value, json};

pub use check::{conforms, fits};

/// An object of answers.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: &'static str,
    /// For the documentation; ends with a dot.
    pub(super) about: &'static str,
    pub(super) members: &'static [Member],
}

/// A member of such an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    name: &'static str,
    holds: Holds,
    nullable: bool,
    /// Whether it is left out at times.
    optional: bool,
    about: &'static str,
}

/// What a member holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    Text,
    Word(&'static [&'static str]),
    Texts,
    Integer,
    Boolean,
    Time,
    /// An object with members of somebody else's choice.
    Object,
    /// An object of this schema.
    One(&'static str),
    /// A list of such objects.
    Many(&'static str),
}

impl Member {
    /// A member that is always there.
    pub(super) const fn new(name: &'static str, holds: Holds, about: &'static str) -> Self {
        Self { name, holds, nullable: false, optional: false, about }
    }

    /// A member that is always there, and null where there is nothing to say.
    pub(super) const fn or_null(name: &'static str, holds: Holds, about: &'static str) -> Self {
        Self { nullable: true, ..Self::new(name, holds, about) }
    }

    /// A member that is left out at times.
    pub(super) const fn at_times(name: &'static str, holds: Holds, about: &'static str) -> Self {
        Self { optional: true, ..Self::new(name, holds, about) }
    }
}

/// Every schema.
pub(super) fn all() -> impl Iterator<Item = &'static Schema> {
    table::SCHEMAS.iter().chain(issuing::SCHEMAS)
}

impl Schema {
    /// The schema called `name`.
    pub(super) fn by_name(name: &str) -> Option<&'static Self> {
        all().find(|schema| schema.name == name)
    }

    /// As JSON Schema.
    pub(super) fn to_json(&self) -> Value {
        let members: Map<String, Value> =
            self.members.iter().map(|member| (member.name.to_owned(), member.to_json())).collect();
        let required: Vec<_> =
            self.members.iter().filter(|member| !member.optional).map(|member| member.name).collect();
        json!({ "type": "object", "description": self.about, "properties": members, "required": required })
    }
}

impl Member {
    fn to_json(self) -> Value {
        let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let schema = match self.holds {
            Holds::Text => json!({ "type": "string" }),
            Holds::Word(words) => json!({ "type": "string", "enum": words }),
            Holds::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Holds::Integer => json!({ "type": "integer" }),
            Holds::Boolean => json!({ "type": "boolean" }),
            Holds::Time => json!({ "type": "string", "format": "date-time" }),
            Holds::Object => json!({ "type": "object" }),
            Holds::One(name) => reference(name),
            Holds::Many(name) => json!({ "type": "array", "items": reference(name) }),
        };
        let mut schema = if self.nullable { json!({ "anyOf": [schema, { "type": "null" }] }) } else { schema };
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), self.about.into());
        }
        schema
    }
}
