//! References to secrets, and digests of keys. Nothing here ever repeats what was written.

use serde_json::json;
use toml::de::DeValue;

use super::word::Encoding;
use crate::config::section::section;
use crate::config::walk::{Item, Kind, Shape, Slot, Value, Walk};
use crate::secret::{CredentialDigest, Secret};

section! {
    /// A secret, or rather where it is found.
    SecretKeys {
        /// Environment variable that holds the secret.
        optional env: String;
        /// File that holds the secret.
        optional file: String;
        /// The secret itself. Whoever reads the file knows it: `check` warns.
        optional inline: Literal;
        /// How the text stands for the bytes; without it, the text's bytes are the secret's.
        optional encoding: Encoding;
    }
}

/// Text that must not be seen.
#[derive(Clone, Debug)]
pub(crate) struct Literal(pub(crate) Secret);

impl Shape for Literal {
    fn kind() -> Kind {
        String::kind()
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        walk.text(value, "text").map(|text| Self(Secret::new(text.as_bytes().to_vec())))
    }
}

/// Where a secret is found.
#[derive(Clone, Debug)]
pub(crate) struct SecretRef {
    /// Where.
    pub(crate) origin: Origin,
    /// How its text stands for its bytes.
    pub(crate) encoding: Option<Encoding>,
}

/// Where a secret is found.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(String),
    /// Here.
    Inline(Secret),
}

const EXPECTED: &str = "a reference to a secret: `{ env = \"NAME\" }`, `{ file = \"path\" }`, or, readable by everybody who reads this file, `{ inline = \"…\" }`";

impl Shape for SecretRef {
    fn kind() -> Kind {
        // The keys of the table stand in one place of the reference, not at each secret.
        let text = json!({ "type": "string" });
        let properties =
            json!({ "env": text, "file": text, "inline": text, "encoding": { "enum": ["base64", "hex"] } });
        let one_of = json!([{ "required": ["env"] }, { "required": ["file"] }, { "required": ["inline"] }]);
        Kind::Leaf(
            "secret",
            json!({ "type": "object", "properties": properties, "additionalProperties": false, "oneOf": one_of }),
        )
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            walk.unexpected(value, EXPECTED);
            return None;
        }
        let keys = SecretKeys::read(value, walk)?;
        let encoding = match &keys.encoding {
            Slot::Given(item) => Some(item.value),
            Slot::Absent(_) => None,
            Slot::Bad => return None,
        };
        let origin = match (keys.env, keys.file, keys.inline) {
            (Slot::Given(env), Slot::Absent(_), Slot::Absent(_)) => Origin::Env(variable(env, walk, value)?),
            (Slot::Absent(_), Slot::Given(file), Slot::Absent(_)) => Origin::File(file.value),
            (Slot::Absent(_), Slot::Absent(_), Slot::Given(literal)) => Origin::Inline(literal.value.0),
            (Slot::Bad, _, _) | (_, Slot::Bad, _) | (_, _, Slot::Bad) => return None,
            _ => {
                walk.fault(value.span(), format!("expected {EXPECTED}, exactly one of them"));
                return None;
            }
        };
        Some(Self { origin, encoding })
    }
}

/// A name that is none may well be a secret that was put into the wrong place.
fn variable(name: Item<String>, walk: &mut Walk<'_>, value: &Value<'_>) -> Option<String> {
    let text = name.value;
    let fits = !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits {
        return Some(text);
    }
    walk.inside("env", |walk| walk.fault(value.span(), "expected the name of an environment variable"));
    None
}

/// SHA-256 of a key: as text, or where the text is found.
#[derive(Clone, Debug)]
pub(crate) enum DigestSource {
    /// It stands here.
    Here(CredentialDigest),
    /// It is found there, as 64 hexadecimal digits.
    There(SecretRef),
}

impl Shape for DigestSource {
    fn kind() -> Kind {
        let hex = Kind::Leaf("64 hex digits", json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" }));
        Kind::OneOf(vec![hex, SecretRef::kind()])
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => {
                let digest = CredentialDigest::from_hex(text);
                if digest.is_none() {
                    let hint = "the key's SHA-256 as 64 hexadecimal digits, as `portcullis key hash` prints it";
                    walk.fault(value.span(), format!("expected {hint}"));
                }
                digest.map(Self::Here)
            }
            DeValue::Table(_) => SecretRef::read(value, walk).map(Self::There),
            _ => {
                walk.unexpected(value, "64 hexadecimal digits or a reference to a secret");
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
    fn a_reference_names_exactly_one_origin() {
        assert!(matches!(read::<SecretRef>("{ env = \"A_B\" }").unwrap().origin, Origin::Env(name) if name == "A_B"));
        assert!(read::<SecretRef>("{ file = \"x\", encoding = \"hex\" }").is_ok());
        for bad in ["{}", "{ encoding = \"hex\" }", "{ env = \"A\", file = \"b\" }", "{ env = 1 }"] {
            assert_eq!(read::<SecretRef>(bad).unwrap_err().len(), 1, "{bad}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_never_repeated() {
        for slip in [
            "\"hunter2\"",
            "{ inlin = \"hunter2\" }",
            "{ env = \"hunter2!\" }",
            "{ inline = [\"hunter2\"] }",
            "{ inline = \"hunter2\", encoding = \"hunter2x\", file = \"f\" }",
        ] {
            let problems = read::<SecretRef>(slip).unwrap_err().concat();
            let told = problems.replace("hunter2x", "");
            assert!(!told.contains("hunter2"), "{slip}: {problems}");
        }
        assert!(!read::<DigestSource>("\"hunter2\"").unwrap_err().concat().contains("hunter2"));
    }
}
