//! Pepper and seal key: read or made on first start, and known again by their fingerprints.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Fault, OpenError, StoreError};
use crate::secret::{CredentialDigest, Secret};

/// What a database is used with.
#[derive(Debug)]
pub(super) struct Secrets {
    pub(super) pepper: Pepper,
    pub(super) seal_key: Secret,
}

/// Keys the digests of credentials at rest.
#[derive(Clone)]
pub(super) struct Pepper(Hmac<Sha256>);

impl Pepper {
    fn new(secret: &Secret) -> Result<Self, OpenError> {
        let key = Hmac::new_from_slice(secret.expose());
        key.map(Self).map_err(|_| OpenError::Wrong(String::from("store.pepper cannot be used as a key")))
    }

    /// HMAC-SHA-256 of a SHA-256, so that keys can be imported by digest.
    pub(super) fn at_rest(&self, digest: &CredentialDigest) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(digest.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(redacted)")
    }
}

/// One of the two secrets, and where it comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// As the configuration calls it: `pepper`, `seal_key`.
    pub(super) name: &'static str,
    /// From the configuration.
    pub(super) given: Option<&'a Secret>,
    /// Where it is kept if it is not given; none: it must be given.
    pub(super) file: Option<&'a Path>,
    /// Fingerprint of the one that the database was made with; none: it is new.
    pub(super) recorded: Option<&'a str>,
}

impl Secrets {
    /// Both secrets with their fingerprints. `may_make`: files that are missing are made for a new database.
    pub(super) fn settle(
        pepper: Origin<'_>,
        seal_key: Origin<'_>,
        may_make: bool,
    ) -> Result<(Self, String, String), OpenError> {
        let (pepper, first) = pepper.settle(may_make)?;
        let (seal_key, second) = seal_key.settle(may_make)?;
        Ok((Self { pepper: Pepper::new(&pepper)?, seal_key }, first, second))
    }
}

impl Origin<'_> {
    fn settle(&self, may_make: bool) -> Result<(Secret, String), OpenError> {
        let name = self.name;
        let secret = match (self.given, self.file) {
            (Some(given), _) => given.clone(),
            (None, None) => {
                return Err(OpenError::Wrong(format!("store.{name} must be given when the store is PostgreSQL")));
            }
            (None, Some(file)) => match (read(file)?, self.recorded) {
                (Some(secret), _) => secret,
                (None, Some(_)) => {
                    return Err(OpenError::Wrong(format!(
                        "{} is missing: the database was made with it and is of no use without it; it belongs to the \
                         backup, so put it back (or give store.{name})",
                        file.display()
                    )));
                }
                (None, None) if may_make => make(file)?,
                (None, None) => {
                    return Err(OpenError::Wrong(format!("{} is missing: the store was never set up", file.display())));
                }
            },
        };
        let fingerprint = fingerprint(name, &secret)?;
        if self.recorded.is_some_and(|recorded| recorded != fingerprint) {
            let origin = match (self.given, self.file) {
                (None, Some(file)) => file.display().to_string(),
                _ => format!("store.{name}"),
            };
            return Err(OpenError::Wrong(format!(
                "{origin} does not fit this database: it was made with another one, which belongs to its backup"
            )));
        }
        Ok((secret, fingerprint))
    }
}

/// Tells secrets apart and gives nothing of them away. No digest of a credential can come out alike: what goes in is
/// longer than a SHA-256.
fn fingerprint(name: &str, secret: &Secret) -> Result<String, OpenError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose())
        .map_err(|_| OpenError::Wrong(format!("store.{name} cannot be used as a key")))?;
    mac.update(b"portcullis: fingerprint of the store's ");
    mac.update(name.as_bytes());
    Ok(mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// `portcullis.db` + `pepper` = `portcullis.db.pepper`.
pub(super) fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    PathBuf::from(path)
}

/// None: there is no such file.
fn read(path: &Path) -> Result<Option<Secret>, OpenError> {
    let wrong = |why: &str| OpenError::Wrong(format!("{}: {why}", path.display()));
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error.kind().to_string())),
    };
    let meta = file.metadata().map_err(|error| wrong(&error.kind().to_string()))?;
    if meta.permissions().mode() & 0o007 != 0 {
        return Err(wrong("every user of this machine has access to this secret: `chmod 600` it"));
    }
    let mut text = Zeroizing::new(String::with_capacity(128));
    let read = file.take(128).read_to_string(&mut text);
    let bytes = read.ok().and_then(|_| HEXLOWER_PERMISSIVE.decode(text.trim_ascii().as_bytes()).ok());
    match bytes.map(Secret::new) {
        Some(secret) if secret.expose().len() == 32 => Ok(Some(secret)),
        Some(_) | None => Err(wrong("is not what was written there: 64 hexadecimal digits are expected")),
    }
}

/// Makes a secret that is there as a whole or not at all. Where another process was faster, its secret counts.
fn make(path: &Path) -> Result<Secret, OpenError> {
    let failed = |error: &io::Error| OpenError::Wrong(format!("{} cannot be made: {}", path.display(), error.kind()));
    let mut bytes = Zeroizing::new([0_u8; 32]);
    let mut suffix = [0_u8; 8];
    getrandom::fill(&mut *bytes)
        .and_then(|()| getrandom::fill(&mut suffix))
        .map_err(|_| StoreError::new(Fault::Unreachable, "the system has no randomness to give"))?;
    let draft = beside(path, &format!("{}.new", HEXLOWER.encode(&suffix)));
    let made = write(&draft, &*bytes).and_then(|()| publish(&draft, path));
    // The draft has had its time, whatever came of it.
    drop(fs::remove_file(&draft));
    made.map_err(|error| failed(&error))?;
    read(path)?.ok_or_else(|| failed(&io::ErrorKind::NotFound.into()))
}

fn write(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let mut text = Zeroizing::new(HEXLOWER.encode(bytes));
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // Some file systems have no second names; the database is locked meanwhile, so that nobody else is here.
        Err(_) => fs::rename(draft, path)?,
    }
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(file: &'a Path, recorded: Option<&'a str>) -> Origin<'a> {
        Origin { name: "pepper", given: None, file: Some(file), recorded }
    }

    #[test]
    fn a_secret_that_was_made_is_read_again_and_nobody_else_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.db.pepper");
        let (made, fingerprint) = origin(&file, None).settle(true).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(origin(&file, Some(&fingerprint)).settle(false).unwrap().0, made);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left behind");

        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(origin(&file, Some(&fingerprint)).settle(false).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_secret_that_is_missing_is_made_for_a_new_database_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.db.pepper");
        let error = origin(&file, Some("00")).settle(true).unwrap_err().to_string();
        assert!(error.contains("a.db.pepper is missing") && error.contains("backup"), "{error}");
        assert!(!file.exists());
    }

    #[test]
    fn two_that_make_a_secret_at_once_have_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.db.pepper");
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| make(&file).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(made.windows(2).all(|two| two[0] == two[1]));
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.db.pepper");
        make(&file).unwrap();
        let text = fs::read(&file).unwrap();
        fs::write(&file, &text[..40]).unwrap();
        assert!(origin(&file, None).settle(true).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }

    #[test]
    fn digests_at_rest_are_an_hmac_of_the_sha_256() {
        // Computed with another implementation: HMAC-SHA-256("pepper", SHA-256("abc")).
        let pepper = Pepper::new(&Secret::new(b"pepper".to_vec())).unwrap();
        let digest = pepper.at_rest(&CredentialDigest::of(b"abc"));
        assert_eq!(HEXLOWER.encode(&digest), "b12400da6894f717f507b6acede14a1ff5f6b6ec56c96150ab1968c0b4bf3239");
    }
}
