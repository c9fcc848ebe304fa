//! Whether an answer is what the documentation says.

use serde_json::Value;

use super::{Holds, Member, Schema};
use crate::admin::api::{Answer, Endpoint};

/// Whether `value` is what the schema called `name` says: every member declared, none missing, all of their kind.
///
/// # Errors
/// The first thing that is not, with its place.
pub fn conforms(name: &str, value: &Value) -> Result<(), String> {
    object(name, value, name)
}

/// Whether `answer` is one that `endpoint` may give: its good answer, or a problem.
///
/// # Errors
/// What is amiss, with its place.
pub fn fits(endpoint: &Endpoint, answer: &Answer) -> Result<(), String> {
    let body = answer.body.as_ref();
    if answer.status >= 400 {
        let body = body.ok_or("a refusal without problem details")?;
        return if body["status"] == answer.status { conforms("problem", body) } else { Err("another status".into()) };
    }
    if answer.status != endpoint.status {
        return Err(format!("status {}, declared is {}", answer.status, endpoint.status));
    }
    let body = match body {
        None if answer.status == 204 => return Ok(()),
        None => return Err("no body".to_owned()),
        Some(body) => body,
    };
    if !endpoint.list {
        return conforms(endpoint.answers, body);
    }
    let members = body.as_object().ok_or("no object")?;
    if members.keys().ne(["data", "next_cursor"]) {
        return Err(format!("a list has data and next_cursor, this has {:?}", members.keys()));
    }
    if !(body["next_cursor"].is_null() || body["next_cursor"].is_string()) {
        return Err("next_cursor is neither a text nor null".to_owned());
    }
    body["data"].as_array().ok_or("data is no list")?.iter().try_for_each(|item| conforms(endpoint.answers, item))
}

fn object(name: &str, value: &Value, at: &str) -> Result<(), String> {
    let schema = Schema::by_name(name).ok_or_else(|| format!("{at}: there is no schema {name:?}"))?;
    let members = value.as_object().ok_or_else(|| format!("{at}: no object"))?;
    for member in schema.members {
        match members.get(member.name) {
            None if member.optional => {}
            None => return Err(format!("{at}.{}: missing", member.name)),
            Some(value) => check(*member, value, &format!("{at}.{}", member.name))?,
        }
    }
    match members.keys().find(|name| !schema.members.iter().any(|member| member.name == name.as_str())) {
        Some(unknown) => Err(format!("{at}.{unknown}: not declared")),
        None => Ok(()),
    }
}

fn check(member: Member, value: &Value, at: &str) -> Result<(), String> {
    let right = match (member.holds, value) {
        (_, Value::Null) => member.nullable,
        (Holds::Word(words), Value::String(text)) => words.contains(&text.as_str()),
        (Holds::Text, Value::String(_)) | (Holds::Boolean, Value::Bool(_)) | (Holds::Object, Value::Object(_)) => true,
        (Holds::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
        (Holds::Integer, Value::Number(number)) => !number.is_f64(),
        (Holds::Time, Value::String(text)) => text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
        (Holds::One(name), value) => return object(name, value, at),
        (Holds::Many(name), Value::Array(items)) => {
            return items.iter().enumerate().try_for_each(|(n, item)| object(name, item, &format!("{at}[{n}]")));
        }
        (_, _) => false,
    };
    if right { Ok(()) } else { Err(format!("{at}: not {:?}", member.holds)) }
}
