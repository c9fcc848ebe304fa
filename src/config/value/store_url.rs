//! Where a store is, as it is written. A database's URL may hold a password, so no problem repeats what was written.

use serde_json::json;
use toml::de::DeValue;

use super::secret::SecretRef;
use crate::config::walk::{Kind, Shape, Value, Walk};
use crate::nearest::hint;
use crate::secret::Secret;

/// Where a store is: as text, or where the text is found.
#[derive(Clone, Debug)]
pub(crate) enum StoreUrl {
    /// It stands here.
    Here(StorePlace),
    /// It is found there.
    There(SecretRef),
}

/// What the URL of a store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StorePlace {
    /// There is to be no store.
    Nowhere,
    /// This file of SQLite.
    Sqlite(String),
    /// This database of PostgreSQL: the whole URL.
    Postgres(Secret),
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::Here(StorePlace::Nowhere)
    }
}

impl Shape for StoreUrl {
    fn kind() -> Kind {
        let pattern = "^(none|sqlite:.+|postgres(ql)?://.+)$";
        let text = Kind::Leaf("text", json!({ "type": "string", "pattern": pattern }));
        Kind::OneOf(vec![text, SecretRef::kind()])
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => place(text).map_err(|fault| walk.fault(value.span(), fault)).ok().map(Self::Here),
            DeValue::Table(_) => SecretRef::read(value, walk).map(Self::There),
            _ => {
                walk.unexpected(value, &format!("{KNOWN}, or a reference to a secret"));
                None
            }
        }
    }
}

const KNOWN: &str = "\"sqlite:PATH\", \"postgres://USER@HOST/DATABASE\" or \"none\"";

/// Reads the URL of a store.
///
/// # Errors
/// A text for people.
pub(crate) fn place(text: &str) -> Result<StorePlace, String> {
    if text == "none" {
        return Ok(StorePlace::Nowhere);
    }
    if text.len() > 2048 || text.chars().any(char::is_control) {
        return Err(String::from("expected at most 2048 characters, no control characters"));
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => return Err(format!("expected {KNOWN}")),
    };
    match scheme {
        // The two slashes are the habit of others: they mean nothing.
        "sqlite" => sqlite(rest.strip_prefix("//").unwrap_or(rest)),
        "postgres" | "postgresql" => postgres(text, rest),
        // What only looks like a scheme may be a password.
        unknown if rest.starts_with("//") => {
            let hint = hint(unknown, ["sqlite", "postgres", "postgresql"]);
            Err(format!("there is no store of the kind \"{unknown}\"; expected {KNOWN}{hint}"))
        }
        unknown => Err(format!("expected {KNOWN}{}", hint(unknown, ["sqlite"]))),
    }
}

/// Whether a URL of PostgreSQL holds a password.
pub(crate) fn has_password(url: &str) -> bool {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    let (authority, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty()) || after.contains("password=")
}

/// A scheme (RFC 3986 section 3.1), short enough to be none that hides a secret.
fn is_scheme(text: &str) -> bool {
    text.len() <= 16
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn sqlite(path: &str) -> Result<StorePlace, String> {
    if path.is_empty() {
        return Err(String::from("the path of the file is missing: write such as \"sqlite:portcullis.db\""));
    }
    if path.starts_with(":memory:") {
        let text = "a store in memory would forget every key at the next start; name a file, or write \"none\"";
        return Err(String::from(text));
    }
    if path.contains('?') {
        return Err(String::from("the path of the file takes no options: leave out `?` and what follows"));
    }
    if path.ends_with('/') {
        return Err(String::from(
            "the path names a directory; expected a file in it, such as \"sqlite:/var/lib/portcullis/portcullis.db\"",
        ));
    }
    Ok(StorePlace::Sqlite(path.to_owned()))
}

fn postgres(text: &str, rest: &str) -> Result<StorePlace, String> {
    if rest.len() < 3 || !rest.starts_with("//") || text.contains(char::is_whitespace) {
        return Err(String::from("expected such as \"postgres://USER@HOST/DATABASE\""));
    }
    Ok(StorePlace::Postgres(Secret::new(text.as_bytes().to_vec())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::value::read;

    fn file(path: &str) -> Result<StorePlace, String> {
        Ok(StorePlace::Sqlite(path.to_owned()))
    }

    #[test]
    fn a_file_is_named_with_and_without_slashes() {
        assert_eq!(place("sqlite:portcullis.db"), file("portcullis.db"));
        assert_eq!(place("sqlite:/var/lib/p.db"), file("/var/lib/p.db"));
        assert_eq!(place("sqlite:///var/lib/p.db"), file("/var/lib/p.db"));
        assert_eq!(place("sqlite://p.db"), file("p.db"));
        for bad in ["sqlite:", "sqlite://", "sqlite::memory:", "sqlite://:memory:", "sqlite:a?mode=ro", "sqlite:a/"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_database_is_named_by_its_whole_url() {
        for url in ["postgres://gate@db.example/portcullis", "postgresql:///portcullis?host=/run/postgresql"] {
            assert_eq!(place(url), Ok(StorePlace::Postgres(Secret::new(url.as_bytes().to_vec()))), "{url}");
        }
        for bad in ["postgres:", "postgres://", "postgres:db", "postgres://a b/c"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_noticed() {
        for url in ["postgres://u:p@h/d", "postgres://u:p@q@h/d", "postgres://h/d?user=u&password=p"] {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://u@h/d", "postgres://u:@h/d", "postgres://h:5432/d", "postgres:///d?host=/run"] {
            assert!(!has_password(url), "{url}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_never_repeated() {
        for slip in [
            "hunter2",
            "hunter2:x",
            "u:hunter2",
            "postgres:u:hunter2",
            "pg://u:hunter2@h/d",
            "u:hunter2@h",
            "my sql://u:hunter2@h",
        ] {
            let fault = place(slip).unwrap_err();
            assert!(!fault.contains("hunter2"), "{slip}: {fault}");
        }
        assert!(!read::<StoreUrl>("[\"hunter2\"]").unwrap_err().concat().contains("hunter2"));
        assert!(!format!("{:?}", place("postgres://u:hunter2@h/d")).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(sqlite|postgres)?:?[/:@?a-c]{0,12}|\\PC{0,30}") {
            if place(&text).is_ok() {
                has_password(&text);
            }
        }
    }
}
