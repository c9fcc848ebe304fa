//! Passwords: how long they must be, how they are made, and how they are kept (argon2id, PHC strings).
//!
//! Hashing is slow on purpose and takes 19 MiB: it runs on threads that may block, and only on half the cores at once,
//! so that requests are answered meanwhile. Any thread of a tokio runtime may ask.

use std::fmt;
use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Fewest characters (NIST SP 800-63B-4 section 3.1.1.2: the password is the only factor).
pub const MIN_CHARS: usize = 15;

/// Most bytes: enough for every phrase, and an end to what a caller can make us hash.
pub const MAX_BYTES: usize = 1024;

const GENERATED_CHARS: usize = 32;
const SALT_BYTES: usize = 16;

/// 64 characters, so that six random bits choose each of them alike. None needs quoting in a shell or a URL, none looks
/// like an option.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";

/// How many hash at once; each takes 19 MiB.
static SEATS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Arc::new(Semaphore::new((cores / 2).max(1)))
});

/// A password in the clear; never printed, wiped when dropped.
#[derive(Clone)]
pub struct Password(Arc<Zeroizing<String>>);

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Fewer than [`MIN_CHARS`].
    #[error("must have {MIN_CHARS} characters or more")]
    TooShort,
    /// More than [`MAX_BYTES`].
    #[error("must have {MAX_BYTES} bytes at most")]
    TooLong,
}

/// Why there is no hash, or no comparison with one. Says nothing about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    /// The system has no randomness to give.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// The hash could not be computed, for want of memory or of a thread.
    #[error("the password cannot be hashed now")]
    Failed,
    /// What is stored is no PHC string of argon2.
    #[error("the stored hash is none")]
    Malformed,
}

impl Password {
    /// Takes a password that somebody chose: every character counts, nothing is cut off or replaced.
    ///
    /// # Errors
    /// It is too short or too long.
    pub fn new(text: String) -> Result<Self, PasswordFault> {
        let text = Zeroizing::new(text);
        if text.len() > MAX_BYTES {
            return Err(PasswordFault::TooLong);
        }
        if text.chars().count() < MIN_CHARS {
            return Err(PasswordFault::TooShort);
        }
        Ok(Self(Arc::new(text)))
    }

    /// A new password of 32 characters (192 bits) from the randomness of the operating system.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; GENERATED_CHARS]);
        getrandom::fill(bytes.as_mut_slice())?;
        let character = |byte: &u8| ALPHABET.get(usize::from(byte & 63)).copied().map_or('A', char::from);
        Ok(Self(Arc::new(Zeroizing::new(bytes.iter().map(character).collect()))))
    }

    /// The text, to be shown once to whoever asked for a new one.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored: argon2id with 19 MiB, two passes, one lane and a salt of its own, as a PHC string.
    ///
    /// # Errors
    /// See [`HashFault`].
    pub async fn hash(&self) -> Result<String, HashFault> {
        let password = self.clone();
        seated(move || {
            let mut salt = [0_u8; SALT_BYTES];
            getrandom::fill(&mut salt).map_err(|_| HashFault::NoRandomness)?;
            let hash: PasswordHash = Argon2::default()
                .hash_password_with_salt(password.expose().as_bytes(), &salt)
                .map_err(|_| HashFault::Failed)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether this is the password that `phc` was made of.
    ///
    /// # Errors
    /// See [`HashFault`]; then nothing is known about the password.
    pub async fn fits(&self, phc: &str) -> Result<bool, HashFault> {
        let (password, phc) = (self.clone(), phc.to_owned());
        seated(move || {
            let hash = PasswordHash::new(&phc).map_err(|_| HashFault::Malformed)?;
            match Argon2::default().verify_password(password.expose().as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(_) => Err(HashFault::Malformed),
            }
        })
        .await
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// Does slow work where it may block, when there is a seat. The seat goes with the work: whoever stops waiting for it
/// does not free a core that is still at it.
async fn seated<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HashFault> + Send + 'static,
) -> Result<T, HashFault> {
    let seat = Arc::clone(&SEATS).acquire_owned().await.map_err(|_| HashFault::Failed)?;
    let working = tokio::task::spawn_blocking(move || {
        let _seat = seat;
        work()
    });
    working.await.map_err(|_| HashFault::Failed)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other_does() {
        let password = Password::new("correct horse battery staple \u{fc}".into()).unwrap();
        let phc = password.hash().await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(!phc.contains("horse"), "{phc}");
        assert_eq!(password.fits(&phc).await, Ok(true));
        assert_eq!(Password::new("correct horse battery staple u".into()).unwrap().fits(&phc).await, Ok(false));
        assert_eq!(password.fits("$argon2id$nonsense").await, Err(HashFault::Malformed));
        assert_eq!(password.fits("hunter2").await, Err(HashFault::Malformed));
    }

    #[tokio::test]
    async fn the_same_password_is_never_stored_alike() {
        let password = Password::new("a".repeat(MIN_CHARS)).unwrap();
        assert_ne!(password.hash().await.unwrap(), password.hash().await.unwrap());
    }

    #[test]
    fn characters_count_for_the_least_and_bytes_for_the_most() {
        assert_eq!(Password::new("a".repeat(14)).unwrap_err(), PasswordFault::TooShort);
        assert_eq!(Password::new("\u{1f600}".repeat(14)).unwrap_err(), PasswordFault::TooShort);
        assert!(Password::new("\u{1f600}".repeat(15)).is_ok());
        assert!(Password::new("a".repeat(1024)).is_ok());
        assert_eq!(Password::new("a".repeat(1025)).unwrap_err(), PasswordFault::TooLong);
    }

    #[test]
    fn a_generated_password_is_long_and_new_and_not_printed() {
        let (a, b) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_eq!(a.expose().len(), 32);
        assert_ne!(a.expose(), b.expose());
        assert_eq!(format!("{a:?}"), "Password(redacted)");
    }
}
