//! Bodies of grants: JSON by the fields that a grant declares, and the forms of the OAuth endpoints. What is no JSON at
//! all is told from JSON that does not fit; of the latter, everything that is wrong is told at once.
//!
//! What the values mean (whether a password fits, a subject exists) does not belong here.

mod fields;
mod form;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub(in crate::tokens) use self::form::decode;
pub use self::form::{Form, read_form};
pub use crate::identifier::canonical_identifier;
use crate::jwt::json::any_value;
use crate::tokens::policy::Grant;

/// What is wrong with one field. Nothing of its value is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Where: names joined by dots (`partner.email`); empty: the body as a whole.
    pub field: String,
    /// What, for people.
    pub message: String,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It is no JSON, or no form.
    Syntax,
    /// It does not fit: at least one problem.
    Fields(Vec<FieldProblem>),
    /// It is of another type, or compressed.
    ContentType,
}

/// Reads a body by the fields of `grant`: an object without a member that stands there twice. In the result are declared
/// fields that were given, and nothing else, in the order of their declaration; blanks around an e-mail address are cut
/// off. Where no field is declared, there may be no body.
///
/// # Errors
/// See [`BodyFault`]. No body makes this panic, and none takes more than linear time.
pub fn read_json(
    grant: &Grant,
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    body: &[u8],
) -> Result<Map<String, Value>, BodyFault> {
    let plain = |encoding: &str| encoding.trim().is_empty() || encoding.trim().eq_ignore_ascii_case("identity");
    if !content_encoding.is_none_or(plain) || grant.strict_content_type && !content_type.is_none_or(is_json) {
        return Err(BodyFault::ContentType);
    }
    if body.is_empty() && grant.fields.is_empty() {
        return Ok(Map::new());
    }
    let (value, twice) = any_value(body).map_err(|_| BodyFault::Syntax)?;
    let mut problems = fields::Problems::default();
    for way in twice {
        problems.add(&way.join("."), fields::TWICE);
    }
    let read = match &value {
        Value::Object(members) => fields::read(&grant.fields, grant.unknown, members, "", &mut problems),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            problems.add("", "must be a JSON object");
            Map::new()
        }
    };
    problems.none_or().map(|()| read)
}

/// Whether a media type is JSON in UTF-8, the only encoding that it has (RFC 8259 section 8.1).
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/').unwrap_or_default();
    let charset = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    let json = essence == "application/json" || !kind.is_empty() && subtype.len() > 5 && subtype.ends_with("+json");
    json && parts.filter_map(charset).all(|charset| matches!(&*charset, "utf-8" | "utf8"))
}
