//! The JSON Schema of a configuration, for editors: made of the table of keys.

use serde_json::{Map, Value, json};

use super::keys::{Realm, Root};
use super::walk::{Key, Kind, Shape};

/// The schema (JSON Schema 2020-12) of both forms of a file: `portcullis.toml` or a single file, and a realm file.
pub fn schema() -> Value {
    let mut realm_file = of(&Realm::kind());
    if let Some(required) = realm_file.get_mut("required").and_then(Value::as_array_mut) {
        required.insert(0, json!("realm"));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Portcullis configuration",
        "anyOf": [{ "$ref": "#/$defs/main" }, { "$ref": "#/$defs/realm_file" }],
        "$defs": { "main": of(&Root::kind()), "realm_file": realm_file },
    })
}

fn of(kind: &Kind) -> Value {
    match kind {
        Kind::Leaf(_, schema) => schema.clone(),
        Kind::List(inner) => json!({ "type": "array", "items": of(inner) }),
        Kind::Named(inner) => json!({ "type": "object", "additionalProperties": of(inner) }),
        Kind::OneOf(kinds) => json!({ "anyOf": kinds.iter().map(of).collect::<Vec<_>>() }),
        Kind::Table(section) => {
            let mut properties = Map::new();
            for key in &section.keys {
                properties.insert(String::from(key.name), described(key));
            }
            let required: Vec<_> = section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
            json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": section.open.as_ref().map_or(json!(false), |key| described(key)),
            })
        }
    }
}

fn described(key: &Key) -> Value {
    let mut schema = of(&key.kind);
    if let Some(members) = schema.as_object_mut() {
        members.insert(String::from("description"), json!(key.doc));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_every_key_and_no_other() {
        let schema = schema();
        let listen = &schema["$defs"]["main"]["properties"]["server"]["properties"]["listen"];
        assert_eq!(listen["items"]["required"], json!(["address"]));
        let routes = &schema["$defs"]["realm_file"]["properties"]["routes"]["items"];
        assert_eq!(routes["required"], json!(["path", "auth"]));
        assert_eq!(routes["additionalProperties"], json!(false));
        assert!(routes["properties"]["scopes"]["description"].is_string());
        let tokens = &schema["$defs"]["realm_file"]["properties"]["tokens"];
        assert_eq!(tokens["additionalProperties"]["required"], json!(["ttl"]));
        assert_eq!(tokens["additionalProperties"]["properties"]["use"]["type"], json!("string"));
        assert_eq!(schema["$defs"]["realm_file"]["required"], json!(["realm", "hosts"]));
    }
}
