//! Prefixed ids that sort by the time of their making (ULID: 48 bits of milliseconds, 80 random bits, Crockford's base
//! 32): readable in logs, no secret, not guessable.

use crate::clock::UnixMillis;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// As many as 128 bits take.
const DIGITS: usize = 26;

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// A user.
    User,
    /// A client.
    Client,
    /// An owner of keys.
    Owner,
    /// An API key.
    Key,
    /// An entry of an address list.
    Address,
    /// An admin token.
    AdminToken,
    /// A session.
    Session,
    /// A token that was issued. Its id alone may be all that a caller needs: 128 random bits, no time.
    Token,
    /// A key that tokens are signed with.
    SigningKey,
}

impl IdKind {
    /// What its ids start with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::User => "usr_",
            Self::Client => "cli_",
            Self::Owner => "own_",
            Self::Key => "key_",
            Self::Address => "ip_",
            Self::AdminToken => "adm_",
            Self::Session => "ses_",
            Self::Token => "tok_",
            Self::SigningKey => "sig_",
        }
    }

    /// A new id.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate(self, now: UnixMillis) -> Result<String, getrandom::Error> {
        let random = random()?;
        let millis = u128::try_from(now.0.max(0)).unwrap_or(0) & ((1 << 48) - 1);
        let number = if self == Self::Token { random } else { (millis << 80) | (random >> 48) };
        let mut id = String::with_capacity(self.prefix().len() + DIGITS);
        id.push_str(self.prefix());
        push(&mut id, number);
        Ok(id)
    }

    /// Whether `text` is an id of this kind, by its form.
    pub fn fits(self, text: &str) -> bool {
        text.strip_prefix(self.prefix())
            .is_some_and(|rest| rest.len() == DIGITS && rest.bytes().all(|b| ALPHABET.contains(&b)))
    }
}

/// 128 random bits, for what must not be guessed: the `jti` of a token.
///
/// # Errors
/// The system has no randomness to give.
pub fn random_id() -> Result<String, getrandom::Error> {
    let mut id = String::with_capacity(DIGITS);
    push(&mut id, random()?);
    Ok(id)
}

fn random() -> Result<u128, getrandom::Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

fn push(id: &mut String, number: u128) {
    for place in (0..DIGITS).rev() {
        let digit = usize::try_from((number >> (5 * place)) & 31).unwrap_or(0);
        id.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'0')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_no_two_are_alike() {
        let at = |millis| IdKind::Key.generate(UnixMillis(millis)).unwrap();
        let (old, new, again) = (at(1_000), at(1_800_000_000_000), at(1_800_000_000_000));
        assert!(old < new, "{old} {new}");
        assert_ne!(new, again);
        assert!(IdKind::Key.fits(&new) && !IdKind::Client.fits(&new));
        assert!(!IdKind::Key.fits("key_01"));
    }

    #[test]
    fn what_must_not_be_guessed_has_no_time_in_it() {
        let ids: std::collections::BTreeSet<_> = (0..100).map(|_| random_id().unwrap()).collect();
        assert!(ids.len() == 100 && ids.iter().all(|id| id.len() == 26));
        let firsts: std::collections::BTreeSet<_> = ids.iter().map(|id| id[..10].to_owned()).collect();
        assert!(firsts.len() > 90, "{firsts:?}");
        let tokens: Vec<_> = (0..3).map(|_| IdKind::Token.generate(UnixMillis(0)).unwrap()).collect();
        assert!(tokens.iter().all(|id| IdKind::Token.fits(id)));
        assert!(!tokens.iter().all(|id| id.starts_with("tok_00")), "{tokens:?}");
    }

    #[test]
    fn the_time_stands_in_front() {
        // 2^48 - 1 milliseconds fill the first ten digits.
        assert!(IdKind::Key.generate(UnixMillis((1 << 48) - 1)).unwrap().starts_with("key_7ZZZZZZZZZ"));
        assert!(IdKind::Key.generate(UnixMillis(0)).unwrap().starts_with("key_0000000000"));
    }
}
