//! Members of an object, held against declared fields.

use serde_json::{Map, Value};
use url::Url;

use super::{BodyFault, FieldProblem};
use crate::identifier::{is_email, is_hidden};
use crate::tokens::policy::{Field, FieldKind, UnknownFields};

/// What is said of a member that stands there twice.
pub(super) const TWICE: &str = "must be given once";
const REQUIRED: &str = "is required";

/// So many problems are told at once.
const MOST: usize = 64;
/// Characters of a name that somebody else made up.
const LONGEST_NAME: usize = 100;
/// Longest URL, in bytes.
const LONGEST_URL: usize = 2048;

/// What was found, in its order.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<FieldProblem>);

impl Problems {
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        if self.0.len() < MOST {
            let harmless = |c: char| if c.is_control() || is_hidden(c) { '?' } else { c };
            let field = field.chars().take(LONGEST_NAME).map(harmless).collect();
            self.0.push(FieldProblem { field, message: message.into() });
        }
    }

    /// # Errors
    /// There are some.
    pub(super) fn none_or(self) -> Result<(), BodyFault> {
        if self.0.is_empty() { Ok(()) } else { Err(BodyFault::Fields(self.0)) }
    }
}

/// The declared ones of `members`, in the order of their declaration. `way`: names of the objects around them, with a dot
/// behind each.
pub(super) fn read(
    fields: &[Field],
    unknown: UnknownFields,
    members: &Map<String, Value>,
    way: &str,
    problems: &mut Problems,
) -> Map<String, Value> {
    let mut read = Map::new();
    for field in fields {
        let place = format!("{way}{}", field.name);
        match members.get(&*field.name) {
            None if field.required => problems.add(&place, REQUIRED),
            None => {}
            Some(Value::Null) if field.required => problems.add(&place, REQUIRED),
            Some(value) => match value_of(field, unknown, value, &place, problems) {
                Ok(value) => drop(read.insert(field.name.to_string(), value)),
                Err(message) => problems.add(&place, message),
            },
        }
    }
    if unknown == UnknownFields::Refuse {
        for name in members.keys().filter(|name| fields.iter().all(|field| *field.name != ***name)) {
            problems.add(&format!("{way}{name}"), "is not known");
        }
    }
    read
}

fn value_of(
    field: &Field,
    unknown: UnknownFields,
    value: &Value,
    place: &str,
    problems: &mut Problems,
) -> Result<Value, String> {
    let told = |text: &str| Err(text.to_owned());
    match (&field.kind, value) {
        (FieldKind::Text(most), Value::String(text)) => match most {
            Some(most) if text.chars().count() > *most => Err(format!("must have at most {most} characters")),
            _ if text.is_empty() && field.required => told("must not be empty"),
            _ => Ok(value.clone()),
        },
        (FieldKind::Email, Value::String(text)) => match text.trim() {
            "" if !field.required => Ok("".into()),
            "" => told("must not be empty"),
            text if is_email(text) => Ok(text.into()),
            _ => told("must be an e-mail address"),
        },
        (FieldKind::HttpUrl, Value::String(text)) => match &**text {
            "" if !field.required => Ok("".into()),
            "" => told("must not be empty"),
            text if is_http_url(text) => Ok(text.into()),
            _ => told("must be an absolute http or https URL"),
        },
        (FieldKind::Text(_) | FieldKind::Email | FieldKind::HttpUrl, _) => told("must be a string"),
        (FieldKind::Object, Value::Object(_)) | (FieldKind::Boolean, Value::Bool(_)) => Ok(value.clone()),
        (FieldKind::Integer, Value::Number(number)) if !number.is_f64() => Ok(value.clone()),
        (FieldKind::Table(fields), Value::Object(members)) => {
            Ok(read(fields, unknown, members, &format!("{place}."), problems).into())
        }
        (FieldKind::Object | FieldKind::Table(_), _) => told("must be an object"),
        (FieldKind::Integer, _) => told("must be a whole number"),
        (FieldKind::Boolean, _) => told("must be true or false"),
    }
}

/// Read twice: what parsers repair in silence (blanks, line breaks, `http:example.org`, `\`) is refused before one sees it.
fn is_http_url(text: &str) -> bool {
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || is_hidden(c) || matches!(c, '\\' | '<' | '>' | '"' | '`');
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = !text.chars().any(odd) && !authority.is_empty() && !authority.contains('@');
    let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    text.len() <= LONGEST_URL && plain && http && Url::parse(text).is_ok_and(|url| url.host_str().is_some())
}
