//! Points in time: always with their offset, so that nobody has to guess a time zone.

use serde_json::json;
use toml::de::DeValue;

use crate::clock::UnixMillis;
use crate::config::walk::{Kind, Shape, Value, Walk};

impl Shape for UnixMillis {
    fn kind() -> Kind {
        Kind::Leaf("time", json!({ "type": "string", "format": "date-time" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "a time with its offset, such as 2027-01-31T12:00:00Z";
        let text = match value.get_ref() {
            DeValue::Datetime(time) => time.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => {
                walk.unexpected(value, expected);
                return None;
            }
        };
        let time = text.parse::<jiff::Timestamp>().ok();
        if time.is_none() {
            walk.fault(value.span(), format!("expected {expected}"));
        }
        time.map(|time| Self(time.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::read;

    #[test]
    fn a_time_is_read_with_its_offset_from_both_spellings() {
        let expected = Ok(UnixMillis(1_801_396_800_000));
        for text in ["2027-01-31T12:00:00Z", "2027-01-31 13:00:00+01:00", "\"2027-01-31T12:00:00Z\""] {
            assert_eq!(read::<UnixMillis>(text), expected, "{text}");
        }
    }

    #[test]
    fn a_time_without_offset_is_refused() {
        for text in ["2027-01-31T12:00:00", "2027-01-31", "12:00:00", "\"2027-01-31\"", "\"tomorrow\"", "1801396800"] {
            assert!(read::<UnixMillis>(text).is_err(), "{text}");
        }
    }
}
