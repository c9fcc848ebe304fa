//! Arguments that many verbs share, and how their texts are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::Stop;
use crate::clock::UnixMillis;

/// Where the work is done, and how its outcome is printed.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Via {
    /// Ask the admin API at this URL (https, or http on this machine) instead of opening the store
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) admin: Option<String>,
    /// Read the admin token from this file; `-` = standard input [default: the variable PORTCULLIS_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Trust these authorities only (PEM) when asking the admin API
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(in crate::cli) admin_ca: Option<PathBuf>,
    /// Print the JSON of the admin API
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Of verbs that end something.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(in crate::cli) struct Sure {
    /// Do not ask before something ends
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,
}

/// Of verbs that show a secret once.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(in crate::cli) struct Showing {
    /// What goes to standard output; `secret`: the secret alone, everything else goes to standard error
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "json")]
    pub(in crate::cli) output: Option<Output>,
}

/// See [`Showing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Output {
    /// The secret alone.
    Secret,
}

/// Of verbs that make something.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Making {
    /// Asking twice with the same key makes one thing: the second time says what there is
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) idempotency_key: Option<String>,
}

/// How long keys and tokens live by the admin API's default, which is the command line's as well.
const DEFAULT_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Which part of a list.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Paging {
    /// At most so many at once (1 to 200)
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(in crate::cli) limit: u16,
    /// Go on where a part ended
    #[arg(long, value_name = "CURSOR", conflicts_with = "all")]
    pub(in crate::cli) cursor: Option<String>,
    /// All parts, one after the other; with --json one line of JSON a part
    #[arg(long)]
    pub(in crate::cli) all: bool,
}

/// Which client, by id or identifier.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct WhichClient {
    /// Its id, or its identifier
    #[arg(value_name = "ID")]
    pub(in crate::cli) id: String,
    /// Its realm, where several have a client of that name
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
}

/// Which key, by id or its last four characters.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct WhichKey {
    /// Its id, or the last four characters of its text
    #[arg(value_name = "ID")]
    pub(in crate::cli) id: String,
    /// Its realm, where several have a key like that
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Expiry {
    /// Never.
    Never,
    /// So long from now on.
    In(Duration),
    /// At this time.
    At(UnixMillis),
}

impl Expiry {
    /// As the admin API takes it.
    ///
    /// # Errors
    /// It lies beyond the calendar.
    pub(super) fn json(self, now: UnixMillis) -> Result<Value, Stop> {
        let at = match self {
            Self::Never => return Ok(Value::Null),
            Self::In(span) => now.plus(span),
            Self::At(at) => at,
        };
        rfc_3339(at).map(Value::String)
    }
}

impl Making {
    /// The `expires_at` of something new. Asked for again under an `Idempotency-Key`, it must be the same request: a span
    /// from now would make another one of it each time.
    ///
    /// # Errors
    /// It lies beyond the calendar, or cannot be said twice.
    pub(super) fn expires_at(&self, expires: Expiry, now: UnixMillis) -> Result<Option<Value>, Stop> {
        match (expires, &self.idempotency_key) {
            // What the admin API does by itself.
            (Expiry::In(DEFAULT_LIFE), Some(_)) => Ok(None),
            (Expiry::In(_), Some(_)) => Err(not_twice()),
            (expires, _) => expires.json(now).map(Some),
        }
    }
}

/// A span from now is something else each time it is asked for.
pub(super) fn not_twice() -> Stop {
    let text = "with --idempotency-key, give --expires a time such as 2027-01-01T00:00:00Z (or leave it out): a span ends \
                at another time when it is asked for again";
    Stop::Wrong(text.to_owned())
}

/// A time as text.
///
/// # Errors
/// It lies beyond the calendar.
pub(super) fn rfc_3339(at: UnixMillis) -> Result<String, Stop> {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(_) => Ok(at.to_string()),
        Err(_) => Err(Stop::Wrong("this time lies beyond the calendar".to_owned())),
    }
}

/// Reads `90d`, `never` or a time.
pub(in crate::cli) fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    if let Ok(span) = span(text) {
        return Ok(Expiry::In(span));
    }
    let wrong = || "expected a span such as 90d, a time such as 2027-01-01T00:00:00Z, or never".to_owned();
    crate::cli::parse_time(text).map(Expiry::At).map_err(|_| wrong())
}

/// A moment behind or before us: a time, or a span from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Moment {
    /// So far away from now.
    Away(Duration),
    /// This one.
    At(UnixMillis),
}

impl Moment {
    /// Seen as past.
    pub(super) fn ago(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::Away(span) => UnixMillis(now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))),
            Self::At(at) => at,
        }
    }

    /// Seen as future.
    pub(super) fn ahead(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::Away(span) => now.plus(span),
            Self::At(at) => at,
        }
    }
}

/// Reads a span or a time.
pub(in crate::cli) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(span) = span(text) {
        return Ok(Moment::Away(span));
    }
    let wrong = || "expected a span such as 90d, or a time such as 2026-01-31T12:00:00Z".to_owned();
    crate::cli::parse_time(text).map(Moment::At).map_err(|_| wrong())
}

/// Reads a whole number and its unit: `30s`, `15m`, `24h`, `90d`, `2w`; `0` needs none.
pub(in crate::cli) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and s, m, h, d or w, such as 24h".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        Some('w') => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number = text.get(..text.len() - 1).filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let seconds = number.and_then(|n| n.parse::<u64>().ok()).and_then(|n| n.checked_mul(unit));
    seconds.filter(|seconds| *seconds <= 100 * 366 * 86_400).map(Duration::from_secs).ok_or_else(wrong)
}

/// One attribute with its value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Attribute {
    /// Its name.
    pub(in crate::cli) name: String,
    /// Its value, typed.
    pub(in crate::cli) value: Value,
}

/// Reads `name=text` or `name:=JSON`.
pub(in crate::cli) fn attribute(given: &str) -> Result<Attribute, String> {
    let Some((name, text)) = given.split_once('=') else {
        return Err("expected name=text, or name:=JSON for a number, a truth value, a list".to_owned());
    };
    let (name, value) = match name.strip_suffix(':') {
        Some(name) => {
            let value =
                serde_json::from_str(text).map_err(|error| format!("{name}: what follows := is no JSON: {error}"));
            (name, value?)
        }
        None => (name, Value::String(text.to_owned())),
    };
    if name.is_empty() {
        return Err("the name of the attribute is missing".to_owned());
    }
    Ok(Attribute { name: name.to_owned(), value })
}

/// All attributes as one object; the last one of a name counts.
pub(super) fn attributes(given: &[Attribute]) -> Map<String, Value> {
    given.iter().map(|attribute| (attribute.name.clone(), attribute.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_have_a_unit_and_an_end() {
        assert_eq!(span("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(span("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(span("0"), Ok(Duration::ZERO));
        for bad in ["", "d", "90", "-1d", "1.5h", "1 h", "+1d", "99999999999999999999d", "40000d", "1é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_expiry_is_a_span_a_time_or_never() {
        let now = UnixMillis(1_763_682_354_007);
        assert_eq!(expiry("never").unwrap().json(now).ok(), Some(Value::Null));
        assert_eq!(expiry("1d").unwrap().json(now).ok(), Some(json!("2025-11-21T23:45:54.007Z")));
        let fixed = expiry("2027-01-01T00:00:00+01:00").unwrap().json(now).ok();
        assert_eq!(fixed, Some(json!("2026-12-31T23:00:00.000Z")));
        assert!(expiry("2027-01-01").unwrap_err().contains("never"));
    }

    #[test]
    fn an_attribute_is_text_unless_it_says_otherwise() {
        assert_eq!(attribute("a=1").unwrap(), Attribute { name: "a".into(), value: json!("1") });
        assert_eq!(attribute("a:=1").unwrap(), Attribute { name: "a".into(), value: json!(1) });
        assert_eq!(attribute("a:=[\"x=y\"]").unwrap().value, json!(["x=y"]));
        assert_eq!(attribute("a==b").unwrap().value, json!("=b"));
        for bad in ["a", "=x", ":=1", "a:=nope"] {
            assert!(attribute(bad).is_err(), "{bad}");
        }
    }
}
