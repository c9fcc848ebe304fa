//! Bodies as typed tables: a template is JSON-shaped, in which some strings stand for values that are known later.
//!
//! A string that is exactly `$name` becomes the value with its own type; `{name}` inside a longer string is
//! interpolated; `$$` and `{{` stand for `$` and `{`; `{ first = [a, b] }` becomes the first alternative whose names all
//! have a value. A member whose value is missing is left out. The order of members is kept.

use serde_json::{Map, Value};

/// A template, checked when it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Constant(Value),
    Name(Box<str>),
    Text(Vec<Piece>),
    First(Vec<Node>),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Name(Box<str>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A text for people for the first fault, with the path of the member: a bare `$`, an open brace, an empty name.
    pub fn parse(value: &Value) -> Result<Self, String> {
        Node::parse(value, "").map(Self)
    }

    /// Every name that occurs, in order, possibly repeated.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.0.collect(&mut names);
        names
    }

    /// The value, with `lookup` for names; none when everything in it is missing.
    pub fn render(&self, lookup: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
        self.0.render(lookup)
    }
}

impl Node {
    fn parse(value: &Value, path: &str) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::parse_text(text).map_err(|fault| format!("{}: {fault}", here(path)))?,
            Value::Array(items) => Self::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| Self::parse(item, &format!("{path}[{i}]")))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => match (members.get("first"), members.len()) {
                (Some(Value::Array(alternatives)), 1) => {
                    Self::First(alternatives.iter().map(|a| Self::parse(a, path)).collect::<Result<_, _>>()?)
                }
                _ => Self::Table(
                    members
                        .iter()
                        .map(|(name, member)| {
                            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                            Ok((name.clone(), Self::parse(member, &path)?))
                        })
                        .collect::<Result<_, String>>()?,
                ),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Constant(value.clone()),
        })
    }

    fn parse_text(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('$') {
            if let Some(rest) = name.strip_prefix('$') {
                return Self::parse_pieces(rest, String::from("$"));
            }
            check_name(name)?;
            return Ok(Self::Name(name.into()));
        }
        Self::parse_pieces(text, String::new())
    }

    fn parse_pieces(text: &str, mut literal: String) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                literal.push('{');
                rest = after;
                continue;
            }
            let end = rest.find('}').ok_or("`{` is not closed; write `{{` for a brace")?;
            check_name(&rest[..end])?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Name(rest[..end].into()));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if pieces.is_empty() {
            return Ok(Self::Constant(Value::String(literal)));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self::Text(pieces))
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Constant(_) => {}
            Self::Name(name) => names.push(name),
            Self::Text(pieces) => names.extend(pieces.iter().filter_map(|piece| match piece {
                Piece::Name(name) => Some(&**name),
                Piece::Text(_) => None,
            })),
            Self::First(nodes) | Self::List(nodes) => nodes.iter().for_each(|node| node.collect(names)),
            Self::Table(members) => members.iter().for_each(|(_, node)| node.collect(names)),
        }
    }

    fn render(&self, lookup: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Name(name) => lookup(name),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(literal) => text.push_str(literal),
                        Piece::Name(name) => match lookup(name)? {
                            Value::String(value) => text.push_str(&value),
                            other => text.push_str(&other.to_string()),
                        },
                    }
                }
                Some(Value::String(text))
            }
            Self::First(alternatives) => alternatives.iter().find_map(|node| node.render(lookup)),
            Self::List(items) => Some(Value::Array(items.iter().filter_map(|item| item.render(lookup)).collect())),
            Self::Table(members) => {
                let mut table = Map::new();
                for (name, node) in members {
                    if let Some(value) = node.render(lookup) {
                        table.insert(name.clone(), value);
                    }
                }
                Some(Value::Object(table))
            }
        }
    }
}

fn here(path: &str) -> &str {
    if path.is_empty() { "template" } else { path }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if fits { Ok(()) } else { Err(format!("{name:?} is no name; write `$$` for a dollar and `{{{{` for a brace")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: Value) -> Option<Value> {
        let lookup = |name: &str| match name {
            "id" => Some(json!(42)),
            "name" => Some(json!("Ann")),
            _ => None,
        };
        Template::parse(&template).unwrap().render(&lookup)
    }

    #[test]
    fn a_lone_name_keeps_its_type_and_an_inner_name_becomes_text() {
        assert_eq!(render(json!({"a": "$id", "b": "no. {id}"})), Some(json!({"a": 42, "b": "no. 42"})));
    }

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(
            render(json!({"a": "$$id", "b": "{{id}", "c": "$$"})),
            Some(json!({"a": "$id", "b": "{id}", "c": "$"}))
        );
    }

    #[test]
    fn a_missing_value_leaves_the_member_out() {
        assert_eq!(render(json!({"a": "$nope", "b": "x{nope}", "c": 1})), Some(json!({"c": 1})));
    }

    #[test]
    fn the_first_alternative_that_is_complete_is_taken() {
        assert_eq!(render(json!({"first": ["{nope}", "hi {name}"]})), Some(json!("hi Ann")));
    }

    #[test]
    fn member_order_is_kept() {
        let rendered = render(json!({"z": 1, "a": "$id", "m": {"y": 1, "b": 2}})).unwrap();
        assert_eq!(rendered.to_string(), r#"{"z":1,"a":42,"m":{"y":1,"b":2}}"#);
    }

    #[test]
    fn a_broken_template_is_refused_with_its_place() {
        for bad in [json!({"a": "$"}), json!({"a": {"b": "x{"}}), json!({"a": "{}"}), json!(["$a b"])] {
            assert!(Template::parse(&bad).is_err(), "{bad}");
        }
        assert!(Template::parse(&json!({"a": {"b": "x{"}})).unwrap_err().starts_with("a.b: "));
    }
}
