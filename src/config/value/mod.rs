//! The kinds of values that stand in a configuration: each knows how it is read and how it is described.

pub(crate) mod address;
pub(crate) mod field;
pub(crate) mod issuing;
pub(crate) mod measure;
pub(crate) mod rate;
pub(crate) mod secret;
pub(crate) mod store_url;
pub(crate) mod time;
pub(crate) mod tls;
pub(crate) mod word;

use serde_json::json;
use toml::de::{DeInteger, DeValue};

use super::walk::{Item, Kind, Shape, Value, Walk};

impl Shape for bool {
    fn kind() -> Kind {
        Kind::Leaf("boolean", json!({ "type": "boolean" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => {
                walk.unexpected(value, "`true` or `false`");
                None
            }
        }
    }
}

impl Shape for u32 {
    fn kind() -> Kind {
        Kind::Leaf("integer", json!({ "type": "integer", "minimum": 0, "maximum": Self::MAX }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let DeValue::Integer(digits) = value.get_ref() else {
            walk.unexpected(value, "an integer");
            return None;
        };
        let number = integer(digits).and_then(|number| Self::try_from(number).ok());
        if number.is_none() {
            walk.fault(value.span(), format!("expected an integer from 0 to {}", Self::MAX));
        }
        number
    }
}

impl Shape for String {
    fn kind() -> Kind {
        Kind::Leaf("text", json!({ "type": "string" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        walk.text(value, "text").map(str::to_owned)
    }
}

/// A list. One bad element makes the whole list bad: half a list would mean something else.
impl<T: Shape> Shape for Vec<Item<T>> {
    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let DeValue::Array(elements) = value.get_ref() else {
            walk.unexpected(value, "a list");
            return None;
        };
        let items: Vec<_> =
            elements.iter().enumerate().map(|(n, element)| walk.element(n, |walk| walk.item(element))).collect();
        items.into_iter().collect()
    }
}

/// A table with free names, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, Item<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<T: Shape> Shape for Named<T> {
    fn kind() -> Kind {
        Kind::Named(Box::new(T::kind()))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let table = walk.table(value)?;
        let entries: Vec<_> = table
            .iter()
            .map(|(name, value)| {
                let name: &str = name.get_ref();
                walk.inside(name, |walk| walk.item(value)).map(|item| (name.to_owned(), item))
            })
            .collect();
        entries.into_iter().collect::<Option<_>>().map(Self)
    }
}

/// Any value, as JSON: for templates and attributes. The order of members is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Any(pub(crate) serde_json::Value);

impl Shape for Any {
    fn kind() -> Kind {
        Kind::Leaf("any value", json!({}))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        json_of(value, walk).map(Self)
    }
}

fn json_of(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<serde_json::Value> {
    Some(match value.get_ref() {
        DeValue::String(text) => json!(text),
        DeValue::Boolean(value) => json!(value),
        DeValue::Datetime(time) => json!(time.to_string()),
        DeValue::Integer(digits) => match integer(digits) {
            Some(number) => json!(number),
            None => {
                walk.fault(value.span(), "the integer is too large");
                return None;
            }
        },
        DeValue::Float(digits) => match digits.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => serde_json::Value::Number(number),
            None => {
                walk.fault(value.span(), "expected a finite number");
                return None;
            }
        },
        DeValue::Array(elements) => {
            let items: Vec<_> =
                elements.iter().enumerate().map(|(n, e)| walk.element(n, |walk| json_of(e, walk))).collect();
            serde_json::Value::Array(items.into_iter().collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let members: Vec<_> = table
                .iter()
                .map(|(name, value)| {
                    let name: &str = name.get_ref();
                    walk.inside(name, |walk| json_of(value, walk)).map(|value| (name.to_owned(), value))
                })
                .collect();
            serde_json::Value::Object(members.into_iter().collect::<Option<_>>()?)
        }
    })
}

fn integer(digits: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(digits.as_str(), digits.radix()).ok()
}

/// Reads a value that stands alone.
#[cfg(test)]
pub(crate) fn read<T: Shape>(toml: &str) -> Result<T, Vec<String>> {
    let source = super::walk::Source::new(std::sync::Arc::from(std::path::Path::new("t")), String::new().into());
    let mut problems = Vec::new();
    let value = DeValue::parse(toml).expect("the test's TOML");
    let read = T::read(&value, &mut Walk::new(&source, &mut problems));
    match read {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems.into_iter().map(|problem| format!("{}|{}", problem.key, problem.text)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_bounded_and_never_rounded() {
        assert_eq!(read::<u32>("0x10"), Ok(16));
        assert_eq!(read::<u32>("1_000"), Ok(1000));
        for bad in ["-1", "4294967296", "99999999999999999999999999", "1.0", "\"1\""] {
            assert!(read::<u32>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_bad_element_of_a_list_is_told_with_its_place() {
        let problems = read::<Vec<Item<bool>>>("[true, 1, \"x\"]").unwrap_err();
        assert_eq!(
            problems,
            ["[1]|expected `true` or `false`, found an integer", "[2]|expected `true` or `false`, found text"]
        );
    }

    #[test]
    fn templates_keep_the_order_of_their_members() {
        let Any(value) = read("{ z = 1, a = [true, 2.5], m = { y = \"$x\" } }").unwrap();
        assert_eq!(value.to_string(), r#"{"z":1,"a":[true,2.5],"m":{"y":"$x"}}"#);
        assert!(read::<Any>("nan").is_err());
        assert!(read::<Any>("[99999999999999999999]").is_err());
    }

    #[test]
    fn a_value_is_never_repeated_in_a_problem() {
        let problems = read::<Named<bool>>("{ key = \"hunter2\" }").unwrap_err();
        assert!(!problems.concat().contains("hunter2"), "{problems:?}");
    }
}
