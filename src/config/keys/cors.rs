//! `cors`: which pages of other origins may read answers.

use std::time::Duration;

use serde_json::json;
use toml::de::DeValue;

use crate::config::section::section;
use crate::config::walk::{Item, Kind, Shape, Value, Walk};

section! {
    /// `[cors]`
    Cors {
        /// Whose pages: origins as browsers write them (`"https://app.example.com"`, with a port that is not the scheme's own), names below a domain (`"https://*.example.com"`), or `"*"` alone for everybody's.
        required origins: Vec<Item<String>>;
        /// Methods that pages may use, as far as the route takes them; all of the route's where it is left out. Browsers use GET, HEAD and POST whether they are listed or not.
        optional methods: Vec<Item<String>>;
        /// Header fields that pages may send, or `"*"` alone for whichever they ask for. Where it is left out: `Authorization`, `Content-Type` and those that the route's credentials may stand in.
        optional headers: Vec<Item<String>>;
        /// Header fields of answers that pages may read, or `"*"` alone. Where it is left out: `X-Request-Id`, `WWW-Authenticate`, `Retry-After` and those of the route's limits.
        optional expose: Vec<Item<String>>;
        /// Lets browsers add cookies and client certificates; not for `origins = ["*"]`.
        default credentials: bool = "false";
        /// How long browsers may remember the answer to a preflight; at most a day.
        default max_age: Duration = r#""10m""#;
    }
}

/// `cors` of a route or grant.
#[derive(Debug)]
pub(crate) enum OwnCors {
    /// `false`.
    Off,
    /// Instead of the realm's.
    Table(Box<Cors>),
}

impl Shape for OwnCors {
    fn kind() -> Kind {
        Kind::OneOf(vec![Cors::kind(), Kind::Leaf("`false`", json!({ "const": false }))])
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::Table(_) => Cors::read(value, walk).map(|table| Self::Table(Box::new(table))),
            _ => {
                walk.unexpected(value, "a table such as `{ origins = [\"https://app.example.com\"] }`, or `false`");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::read;

    #[test]
    fn it_is_said_anew_or_switched_off() {
        assert!(matches!(read::<OwnCors>("false"), Ok(OwnCors::Off)));
        assert!(matches!(read::<OwnCors>("{ origins = ['*'] }"), Ok(OwnCors::Table(_))));
        for bad in ["true", "'*'", "['*']", "{}", "{ origins = '*' }"] {
            assert!(read::<OwnCors>(bad).is_err(), "{bad}");
        }
    }
}
