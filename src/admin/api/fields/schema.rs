//! Declarations as JSON Schema (2020-12, which OpenAPI 3.1 is built on).

use serde_json::{Map, Value, json};

use super::{Field, Kind, MAX_ITEMS};

/// An object with these members.
pub(in crate::admin::api) fn object_schema(fields: &[Field]) -> Value {
    let members: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), member(field))).collect();
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "properties": members, "additionalProperties": false });
    if let Some(schema) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

fn member(field: &Field) -> Value {
    let schema = value_schema(field.kind);
    let mut schema = if field.nullable { json!({ "anyOf": [schema, { "type": "null" }] }) } else { schema };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), field.about.into());
    }
    schema
}

/// What a kind is.
pub(in crate::admin::api) fn value_schema(kind: Kind) -> Value {
    let list = |items: Value| json!({ "type": "array", "items": items, "maxItems": MAX_ITEMS, "uniqueItems": true });
    match kind {
        Kind::Text(most) => json!({ "type": "string", "minLength": 1, "maxLength": most }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Texts(most) => list(value_schema(Kind::Text(most))),
        Kind::Networks => list(value_schema(Kind::Network)),
        Kind::Network => json!({ "type": "string", "examples": ["203.0.113.0/24", "2001:db8::/48"] }),
        Kind::Address => json!({ "type": "string", "examples": ["203.0.113.7", "2001:db8::7"] }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Object => json!({ "type": "object" }),
        Kind::Objects(most, fields) => json!({ "type": "array", "items": object_schema(fields), "maxItems": most }),
        Kind::Headers => json!({
            "oneOf": [
                { "type": "object", "additionalProperties": { "type": ["string", "array"], "items": { "type": "string" } } },
                { "type": "array", "items": { "type": "string" }, "maxItems": MAX_ITEMS },
            ],
        }),
    }
}
