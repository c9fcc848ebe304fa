//! What may stand in a field of a body: `"string!"`, `"string<=255"`, or a table of such.

use serde_json::json;
use toml::de::DeValue;

use super::Named;
use crate::config::walk::{Kind, Shape, Value, Walk, shorten};
use crate::nearest::hint;
use crate::tokens::policy::FieldKind;

/// Most characters that a field may be said to have.
const MOST: usize = 65_536;

/// A field as it is written.
#[derive(Clone, Debug)]
pub(crate) enum FieldSpec {
    /// One value, and whether it must be there.
    One(FieldKind, bool),
    /// An object with these fields.
    Table(Named<FieldSpec>),
}

const EXPECTED: &str = "a type of fields, such as \"string!\", or a table of fields";

impl Shape for FieldSpec {
    fn kind() -> Kind {
        let pattern = "^((string(<=[1-9][0-9]*)?)|email|http_url|object|integer|boolean)!?$";
        let any_of = json!([{ "type": "string", "pattern": pattern }, { "type": "object" }]);
        Kind::Leaf("type of a field, or table of such", json!({ "anyOf": any_of }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => Named::read(value, walk).map(Self::Table),
            DeValue::String(text) => match parse(text) {
                Ok((kind, required)) => Some(Self::One(kind, required)),
                Err(fault) => {
                    walk.fault(value.span(), fault);
                    None
                }
            },
            _ => {
                walk.unexpected(value, EXPECTED);
                None
            }
        }
    }
}

fn parse(text: &str) -> Result<(FieldKind, bool), String> {
    let (rest, required) = text.strip_suffix('!').map_or((text, false), |rest| (rest, true));
    let (name, most) = rest.split_once("<=").map_or((rest, None), |(name, most)| (name, Some(most)));
    let kind = match name {
        "string" => FieldKind::Text(most.map(bound).transpose()?),
        "email" => FieldKind::Email,
        "http_url" => FieldKind::HttpUrl,
        "object" => FieldKind::Object,
        "integer" => FieldKind::Integer,
        "boolean" => FieldKind::Boolean,
        _ => {
            let names = ["string", "email", "http_url", "object", "integer", "boolean"];
            let hint = hint(name, names);
            return Err(format!(
                "{:?} is no type of fields; expected one of {}{hint}",
                shorten(text),
                names.join(", ")
            ));
        }
    };
    if most.is_some() && name != "string" {
        return Err(String::from("only a string has a greatest length"));
    }
    Ok((kind, required))
}

fn bound(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|most| (1..=MOST).contains(most) && !text.starts_with(['0', '+']));
    number.ok_or_else(|| format!("expected a number of characters from 1 to {MOST} after `<=`; `!` stands at the end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::read;

    #[test]
    fn a_type_has_a_length_and_a_mark_in_this_order() {
        assert_eq!(parse("string"), Ok((FieldKind::Text(None), false)));
        assert_eq!(parse("string<=255!"), Ok((FieldKind::Text(Some(255)), true)));
        assert_eq!(parse("http_url!"), Ok((FieldKind::HttpUrl, true)));
        for bad in ["", "!", "strng", "string!<=3", "string<=0", "string<=", "string<=+3", "email<=3", "string<=70000"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_table_holds_fields_and_a_fault_in_it_has_its_place() {
        assert!(matches!(read::<FieldSpec>("{ a = 'email!', b = { c = 'object' } }"), Ok(FieldSpec::Table(_))));
        let faults = read::<FieldSpec>("{ a = { b = 'strin' }, c = 3 }").unwrap_err();
        assert!(faults[0].starts_with("a.b|") && faults[0].ends_with("did you mean `string`?"), "{faults:?}");
        assert!(faults[1].starts_with("c|expected a type of fields"), "{faults:?}");
    }
}
