//! Reading by declaration.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Field, Kind, MAX_DEPTH, MAX_ITEMS, MAX_OBJECT, Values};
use crate::admin::api::Refusal;
use crate::gate::network::{NetworkFault, parse_network};
use crate::jwt::json::strict_object;
use crate::nearest;

/// So many faults are told at once.
const MAX_FAULTS: usize = 100;

/// Most bytes of a query.
const MAX_QUERY: usize = 8 * 1024;

/// Where something is wrong with the whole body or query.
const BODY: &str = "body";
const QUERY: &str = "query";

/// What is wrong, and where.
#[derive(Default)]
struct Faults {
    told: Vec<(String, String)>,
    untold: usize,
}

impl Faults {
    fn add(&mut self, at: &str, text: impl Into<String>) {
        self.add_with(at, || text.into());
    }

    /// Makes the text only where it is told: a body can hold a hundred thousand faults.
    fn add_with(&mut self, at: &str, text: impl FnOnce() -> String) {
        if self.told.len() < MAX_FAULTS {
            self.told.push((at.to_owned(), text()));
        } else {
            self.untold += 1;
        }
    }

    fn result(mut self, values: Values) -> Result<Values, Refusal> {
        if self.told.is_empty() {
            return Ok(values);
        }
        if self.untold > 0 {
            self.told.push((BODY.to_owned(), format!("has {} more faults", self.untold)));
        }
        Err(Refusal::Invalid(self.told))
    }
}

pub(super) fn json(body: &[u8], fields: &[Field]) -> Result<Values, Refusal> {
    let body = body.trim_ascii();
    let members = match body.first() {
        None => Map::new(),
        Some(b'{') => strict_object(body).map_err(|fault| Refusal::field(BODY, told(&fault)))?,
        Some(_) => return Err(Refusal::field(BODY, "must be a JSON object")),
    };
    let mut faults = Faults::default();
    let values = object(&members, fields, "", &mut faults);
    faults.result(values)
}

/// What the JSON reader says of an object: texts of the body are not repeated in it.
fn told(fault: &serde_json::Error) -> String {
    if fault.is_data() { fault.to_string() } else { format!("is not JSON: {fault}") }
}

pub(super) fn query(query: &str, fields: &[Field]) -> Result<Values, Refusal> {
    if query.len() > MAX_QUERY {
        return Err(Refusal::field(QUERY, format!("is longer than {MAX_QUERY} bytes")));
    }
    let mut faults = Faults::default();
    let mut members = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(text)) = (decode(name, true), decode(text, true)) else {
            faults.add(QUERY, "is not percent-encoded UTF-8");
            continue;
        };
        let value = match fields.iter().find(|field| field.name == name) {
            Some(field) => from_text(field.kind, &text),
            None => Value::Null,
        };
        if members.insert(name.clone(), value).is_some() {
            faults.add(&shown(&name), "stands there twice");
        }
    }
    let values = object(&members, fields, "", &mut faults);
    faults.result(values)
}

/// What a text of the query stands for; what it cannot stand for stays a text and is told later.
fn from_text(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Texts(_) | Kind::Networks => text.split(',').map(Value::from).collect(),
        Kind::Integer(..) => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        Kind::Boolean => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        Kind::Text(_)
        | Kind::Word(_)
        | Kind::Network
        | Kind::Address
        | Kind::Time
        | Kind::Object
        | Kind::Objects(..)
        | Kind::Headers => text.into(),
    }
}

/// Takes `%XX` for what it stands for, and `+` for a blank where `form` (as forms are encoded); none where that is no
/// UTF-8 or a `%` stands alone.
pub(in crate::admin::api) fn decode(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                *data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()?.first()?
            }
            b'+' if form => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn object(members: &Map<String, Value>, fields: &[Field], within: &str, faults: &mut Faults) -> Values {
    let mut values = Values::default();
    for (name, value) in members {
        let at = format!("{within}{}", shown(name));
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            let hint = || nearest::hint(name, fields.iter().map(|field| field.name));
            faults.add_with(&at, || format!("is not known here{}", hint()));
            continue;
        };
        let value = match value {
            Value::Null if field.nullable => Some(Value::Null),
            value => read(field.kind, value, &at, faults),
        };
        if let Some(value) = value {
            values.fields.insert(name.clone(), value);
        }
    }
    for field in fields.iter().filter(|field| field.required && !members.contains_key(field.name)) {
        faults.add(&format!("{within}{}", field.name), "is required");
    }
    values
}

/// A name that was sent, as far as it is repeated.
fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn read(kind: Kind, value: &Value, at: &str, faults: &mut Faults) -> Option<Value> {
    let read = match (kind, value) {
        (Kind::Text(most), Value::String(text)) => {
            let fits = is_text(text, most).then(|| value.clone());
            fits.ok_or_else(|| expected(kind))
        }
        (Kind::Word(words), Value::String(text)) => {
            let fits = words.contains(&text.as_str()).then(|| value.clone());
            fits.ok_or_else(|| format!("{}{}", expected(kind), nearest::hint(text, words.iter().copied())))
        }
        (Kind::Texts(_) | Kind::Networks, Value::Array(items)) => return list(kind, items, at, faults),
        (Kind::Network, Value::String(text)) => network(text),
        (Kind::Address, Value::String(text)) => {
            text.parse::<IpAddr>().map(|ip| ip.to_canonical().to_string().into()).map_err(|_| expected(kind))
        }
        (Kind::Time, Value::String(text)) => {
            text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond().into()).map_err(|_| expected(kind))
        }
        (Kind::Integer(least, most), Value::Number(number)) => {
            let fits = number.as_i64().filter(|number| (least..=most).contains(number)).map(Value::from);
            fits.ok_or_else(|| expected(kind))
        }
        (Kind::Boolean, Value::Bool(_)) => Ok(value.clone()),
        (Kind::Object, Value::Object(_)) => free(value),
        (Kind::Objects(most, fields), Value::Array(items)) => return objects(items, most, fields, at, faults),
        (Kind::Headers, Value::Array(_) | Value::Object(_)) => headers(value).ok_or_else(|| expected(kind)),
        (_, _) => Err(expected(kind)),
    };
    read.map_err(|fault| faults.add(at, fault)).ok()
}

fn is_text(text: &str, most: usize) -> bool {
    !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text(most) => format!("must be a text of 1 to {most} characters without control characters"),
        Kind::Word(words) => format!("must be one of: {}", words.join(", ")),
        Kind::Texts(most) => format!("must be a list of at most {MAX_ITEMS} texts of 1 to {most} characters"),
        Kind::Networks => format!("must be a list of at most {MAX_ITEMS} networks such as 203.0.113.0/24"),
        Kind::Network => "must be a network such as 203.0.113.0/24 or an address".to_owned(),
        Kind::Address => "must be an address such as 203.0.113.7 or 2001:db8::7".to_owned(),
        Kind::Time => "must be a time with its offset such as 2027-01-31T12:00:00Z".to_owned(),
        Kind::Integer(least, most) => format!("must be a whole number from {least} to {most}"),
        Kind::Boolean => "must be true or false".to_owned(),
        Kind::Object => "must be an object".to_owned(),
        Kind::Objects(most, _) => format!("must be a list of at most {most} objects"),
        Kind::Headers => "must be an object of header names and values, or a list of `Name: value`".to_owned(),
    }
}

/// A list of texts or of networks.
fn list(kind: Kind, items: &[Value], at: &str, faults: &mut Faults) -> Option<Value> {
    if items.len() > MAX_ITEMS {
        faults.add(at, expected(kind));
        return None;
    }
    let item_kind = if let Kind::Texts(most) = kind { Kind::Text(most) } else { Kind::Network };
    let mut values: Vec<Value> = Vec::with_capacity(items.len());
    let mut seen = HashSet::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let at = format!("{at}[{n}]");
        let Some(value) = read(item_kind, item, &at, faults) else { continue };
        if seen.insert(value.to_string()) {
            values.push(value);
        } else {
            faults.add(&at, "stands there twice");
        }
    }
    Some(Value::Array(values))
}

fn network(text: &str) -> Result<Value, String> {
    match parse_network(text) {
        Ok(network) => Ok(network.to_string().into()),
        Err(NetworkFault::Malformed) => Err(expected(Kind::Network)),
        Err(NetworkFault::NotCanonical(form)) => Err(format!("is written loosely: write {form}")),
    }
}

/// A free object.
fn free(value: &Value) -> Result<Value, String> {
    if depth(value) > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} levels deep"));
    }
    if value.to_string().len() > MAX_OBJECT {
        return Err(format!("is longer than {MAX_OBJECT} bytes"));
    }
    Ok(value.clone())
}

/// How deeply `value` is nested. The reader has bounded it already.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn objects(items: &[Value], most: usize, fields: &'static [Field], at: &str, faults: &mut Faults) -> Option<Value> {
    let kind = Kind::Objects(most, fields);
    if items.len() > most {
        faults.add(at, expected(kind));
        return None;
    }
    let mut values = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        match item.as_object() {
            Some(members) => values.push(object(members, fields, &format!("{at}[{n}]."), faults).fields.into()),
            None => faults.add(&format!("{at}[{n}]"), expected(Kind::Object)),
        }
    }
    Some(Value::Array(values))
}

/// Header fields as a list of `[name, value]`. Whether they can be sent is for those to say who send them.
fn headers(value: &Value) -> Option<Value> {
    let mut pairs = Vec::new();
    match value {
        Value::Array(lines) => {
            for line in lines {
                let (name, value) = line.as_str()?.split_once(':')?;
                pairs.push(json!([name.trim(), value.trim()]));
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(value) => pairs.push(json!([name, value])),
                    Value::Array(values) => {
                        for value in values {
                            pairs.push(json!([name, value.as_str()?]));
                        }
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    (pairs.len() <= MAX_ITEMS).then_some(Value::Array(pairs))
}
