//! Fetching what secret references refer to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use super::Compiler;
use crate::config::files::MAX_SECRET;
use crate::config::problem::At;
use crate::config::value::secret::{Origin, SecretRef};
use crate::config::value::word::Encoding;
use crate::config::walk::Item;
use crate::secret::Secret;

/// What became of a reference.
pub(super) enum Found {
    /// The bytes.
    Bytes(Secret),
    /// Secrets are not to be read: something else must stand in.
    StandIn,
    /// There was a problem, which was noted.
    Nothing,
}

/// Fetches a secret. Where secrets are not to be read, nothing is touched.
pub(super) fn secret(work: &mut Compiler<'_>, reference: &Item<SecretRef>) -> Found {
    secret_if(work.sources.secrets, work, reference)
}

/// Fetches a secret, or touches nothing.
pub(super) fn secret_if(read: bool, work: &mut Compiler<'_>, reference: &Item<SecretRef>) -> Found {
    match &reference.value.origin {
        Origin::Inline(_) => {
            work.warn(&reference.at, "the secret stands in the configuration; everybody who reads the file knows it");
        }
        Origin::File(name) if read => {
            let path = reference.at.resolve(name);
            if is_readable_by_all(&path) {
                let text = format!("the file {} can be read by every user of this machine", path.display());
                work.warn(&reference.at, text);
            }
        }
        Origin::File(_) | Origin::Env(_) => {}
    }
    if read { fetch(work, &reference.at, &reference.value) } else { Found::StandIn }
}

/// Fetches what is no secret, such as a public key: a file is read in any case.
pub(super) fn public(work: &mut Compiler<'_>, reference: &Item<SecretRef>) -> Found {
    match &reference.value.origin {
        Origin::Env(_) if !work.sources.secrets => Found::StandIn,
        Origin::Env(_) | Origin::File(_) | Origin::Inline(_) => fetch(work, &reference.at, &reference.value),
    }
}

/// A secret that nobody knows, long enough for every hash.
pub(super) fn stand_in(work: &mut Compiler<'_>, at: &At) -> Option<Secret> {
    let mut bytes = vec![0; 64];
    let filled = getrandom::fill(&mut bytes).map_err(|_| String::from("there is no randomness for a stand-in"));
    work.good(at, filled).map(|()| Secret::new(bytes))
}

fn is_readable_by_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
}

fn fetch(work: &mut Compiler<'_>, at: &At, reference: &SecretRef) -> Found {
    let (bytes, what) = match &reference.origin {
        Origin::Env(name) => match (work.sources.env)(name) {
            Some(value) => (Secret::new(value.into_bytes()), format!("the environment variable {name}")),
            None => {
                work.fault(at, format!("the environment variable {name} is not set"));
                return Found::Nothing;
            }
        },
        Origin::File(name) => match work.file(at, name, MAX_SECRET) {
            Some((path, bytes)) => (Secret::new(bytes.to_vec()), format!("the file {}", path.display())),
            None => return Found::Nothing,
        },
        Origin::Inline(secret) => (secret.clone(), String::from("the secret")),
    };
    let text = without_newline(bytes.expose());
    let decoded = match reference.encoding {
        None => Some(text.to_vec()),
        Some(Encoding::Hex) => HEXLOWER_PERMISSIVE.decode(text).ok(),
        Some(Encoding::Base64) => {
            [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD].iter().find_map(|form| form.decode(text).ok())
        }
    };
    match decoded {
        None => {
            work.fault(at, format!("{what} is not of the given encoding"));
            Found::Nothing
        }
        Some(bytes) if bytes.is_empty() => {
            work.fault(at, format!("{what} is empty"));
            Found::Nothing
        }
        Some(bytes) => Found::Bytes(Secret::new(bytes)),
    }
}

/// One line end is cut: editors and shells add it.
fn without_newline(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::config::Sources;
    use crate::config::files::Files;

    fn found(origin: Origin, encoding: Option<Encoding>, secrets: bool) -> Result<Vec<u8>, String> {
        let env = |name: &str| (name == "HEX").then(|| String::from("6162\n"));
        let sources = Sources { env: &env, secrets };
        let mut files = Files::default();
        let mut work = Compiler {
            sources: &sources,
            root: PathBuf::new(),
            files: &mut files,
            problems: Vec::new(),
            warnings: Vec::new(),
            routes: Vec::new(),
        };
        let at = At::file(Arc::from(Path::new("p.toml")));
        let item = Item { value: SecretRef { origin, encoding }, at, given: true };
        match secret(&mut work, &item) {
            Found::Bytes(secret) => Ok(secret.expose().to_vec()),
            Found::StandIn => Err(String::from("stand-in")),
            Found::Nothing => Err(work.problems[0].text.clone()),
        }
    }

    #[test]
    fn one_trailing_newline_is_cut_and_no_more() {
        assert_eq!(found(Origin::Env("HEX".into()), None, true), Ok(b"6162".to_vec()));
        assert_eq!(without_newline(b"a\n\n"), b"a\n");
        assert_eq!(without_newline(b"a\r\n"), b"a");
        assert_eq!(without_newline(b"a b "), b"a b ");
    }

    #[test]
    fn an_encoding_is_undone_strictly() {
        let inline = |text: &str| Origin::Inline(Secret::new(text.as_bytes().to_vec()));
        assert_eq!(found(Origin::Env("HEX".into()), Some(Encoding::Hex), true), Ok(b"ab".to_vec()));
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(found(inline(text), Some(Encoding::Base64), true), Ok(vec![0xfb, 0xff]), "{text}");
        }
        for text in ["zz", "abc"] {
            assert!(found(inline(text), Some(Encoding::Hex), true).is_err(), "{text}");
        }
        assert!(found(inline(""), None, true).is_err());
    }

    #[test]
    fn a_missing_secret_names_where_it_was_looked_for() {
        let missing = found(Origin::Env("NOPE".into()), None, true).unwrap_err();
        assert_eq!(missing, "the environment variable NOPE is not set");
        let missing = found(Origin::File("no/such".into()), None, true).unwrap_err();
        assert_eq!(missing, "the file no/such does not exist");
    }

    #[test]
    fn without_secrets_nothing_is_read() {
        assert_eq!(found(Origin::File("no/such".into()), None, false), Err(String::from("stand-in")));
    }
}
