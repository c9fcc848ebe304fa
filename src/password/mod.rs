//! Passwords: how long they must be, how they are made, and how they are kept and compared.
//!
//! New ones are kept as argon2id. Hashes that come from elsewhere ([`check_imported`]) are compared as well, until the
//! next good login replaces them ([`needs_rehash`]). All of that is slow on purpose, and happens in the bounded pool of
//! a [`Hasher`], away from the threads that serve.

mod hashing;
mod phc;
mod scheme;
mod workers;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use hashing::{HashFault, Hasher, QUEUE, Work};
pub use phc::{ImportFault, Phc, check_imported, needs_rehash};

/// Fewest characters (NIST SP 800-63B-4 section 3.1.1.2: the password is the only factor).
pub const MIN_CHARS: usize = 15;

/// Most bytes: enough for every phrase, and an end to what a caller can make us hash.
pub const MAX_BYTES: usize = 1024;

const GENERATED_CHARS: usize = 32;

/// 64 characters, so that six random bits choose each of them alike. None needs quoting in a shell or a URL, none looks
/// like an option.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";

/// What somebody gives as a password: any text of 1 to [`MAX_BYTES`] bytes, for the rules of today say nothing about a
/// password that was chosen before them. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct Attempted(Arc<Zeroizing<String>>);

/// A password in the clear that may be set; never printed, wiped when dropped.
#[derive(Clone, Debug)]
pub struct Password(Attempted);

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// Fewer than [`MIN_CHARS`].
    #[error("must have {MIN_CHARS} characters or more")]
    TooShort,
    /// More than [`MAX_BYTES`].
    #[error("must have {MAX_BYTES} bytes at most")]
    TooLong,
}

impl Attempted {
    /// Takes what was given: every character counts, nothing is cut off or replaced.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn new(text: String) -> Result<Self, PasswordFault> {
        let text = Zeroizing::new(text);
        match text.len() {
            0 => Err(PasswordFault::Empty),
            1..=MAX_BYTES => Ok(Self(Arc::new(text))),
            _ => Err(PasswordFault::TooLong),
        }
    }

    /// The text, for those who must pass it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Password {
    /// Takes a password that somebody chose: every character counts, nothing is cut off or replaced.
    ///
    /// # Errors
    /// It is too short or too long.
    pub fn new(text: String) -> Result<Self, PasswordFault> {
        let given = Attempted::new(text).map_err(|fault| match fault {
            PasswordFault::Empty | PasswordFault::TooShort => PasswordFault::TooShort,
            PasswordFault::TooLong => PasswordFault::TooLong,
        })?;
        if given.expose().chars().count() < MIN_CHARS { Err(PasswordFault::TooShort) } else { Ok(Self(given)) }
    }

    /// A new password of 32 characters (192 bits) from the randomness of the operating system.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; GENERATED_CHARS]);
        getrandom::fill(bytes.as_mut_slice())?;
        let character = |byte: &u8| ALPHABET.get(usize::from(byte & 63)).copied().map_or('A', char::from);
        Ok(Self(Attempted(Arc::new(Zeroizing::new(bytes.iter().map(character).collect())))))
    }

    /// The text, to be shown once to whoever asked for a new one.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The same, as somebody gives it who knows it.
    pub fn attempted(&self) -> &Attempted {
        &self.0
    }

    /// What is stored: see [`Hasher::hash`].
    ///
    /// # Errors
    /// See [`HashFault`].
    pub async fn hash(&self, hasher: &Hasher) -> Result<Phc, HashFault> {
        hasher.hash(&self.0).await
    }
}

impl fmt::Debug for Attempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_count_for_the_least_and_bytes_for_the_most() {
        assert_eq!(Password::new(String::new()).unwrap_err(), PasswordFault::TooShort);
        assert_eq!(Password::new("a".repeat(14)).unwrap_err(), PasswordFault::TooShort);
        assert_eq!(Password::new("\u{1f600}".repeat(14)).unwrap_err(), PasswordFault::TooShort);
        assert!(Password::new("\u{1f600}".repeat(15)).is_ok());
        assert!(Password::new("a".repeat(1024)).is_ok());
        assert_eq!(Password::new("a".repeat(1025)).unwrap_err(), PasswordFault::TooLong);
    }

    #[test]
    fn whoever_signs_in_may_have_a_short_password_but_has_one() {
        assert_eq!(Attempted::new(String::new()).unwrap_err(), PasswordFault::Empty);
        for good in ["a", " ", "\0", &"a".repeat(1024)] {
            assert_eq!(Attempted::new(good.to_owned()).unwrap().expose(), good);
        }
        assert_eq!(Attempted::new("a".repeat(1025)).unwrap_err(), PasswordFault::TooLong);
    }

    #[test]
    fn a_generated_password_is_long_and_new_and_not_printed() {
        let (a, b) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_eq!(a.expose().len(), 32);
        assert_ne!(a.expose(), b.expose());
        assert_eq!(format!("{a:?}"), "Password(redacted)");
    }
}
