//! What a signing key does at a time: told by the times of all keys of its realm and algorithm, not by the word in its row.

use serde_json::{Value, json};

use crate::admin::api::json::{opt_time, time};
use crate::clock::UnixMillis;
use crate::store::{SigningKeyRecord, SigningKeyState};

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It is published, verifies, and signs later.
    Next,
    /// It signs.
    Active,
    /// It only verifies any more.
    Passive,
    /// It has had its time.
    Retired,
    /// It was switched off.
    Disabled,
}

impl Doing {
    pub(super) fn of(key: &SigningKeyRecord, keys: &[SigningKeyRecord], now: UnixMillis) -> Self {
        if key.state == SigningKeyState::Disabled {
            Self::Disabled
        } else if !works(key, now) {
            Self::Retired
        } else if key.activate_at > now {
            Self::Next
        } else if signer(keys, &key.realm, &key.alg, now).is_some_and(|signer| signer.kid == key.kid) {
            Self::Active
        } else {
            Self::Passive
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Retired => "retired",
            Self::Disabled => "disabled",
        }
    }
}

/// Whether a key verifies at `at`.
pub(super) fn works(key: &SigningKeyRecord, at: UnixMillis) -> bool {
    key.state != SigningKeyState::Disabled && key.retire_at.is_none_or(|end| at < end)
}

/// The keys of a realm by this algorithm.
pub(super) fn of_kind<'k>(
    keys: &'k [SigningKeyRecord],
    realm: &str,
    alg: &str,
) -> impl Iterator<Item = &'k SigningKeyRecord> {
    keys.iter().filter(move |key| key.realm == realm && key.alg == alg)
}

/// The key that signs at `at`, as [`crate::jwt::OwnKeys::signing`] chooses it.
pub(super) fn signer<'k>(
    keys: &'k [SigningKeyRecord],
    realm: &str,
    alg: &str,
    at: UnixMillis,
) -> Option<&'k SigningKeyRecord> {
    of_kind(keys, realm, alg)
        .filter(|key| key.activate_at <= at && works(key, at))
        .max_by(|a, b| (a.activate_at, &a.kid).cmp(&(b.activate_at, &b.kid)))
}

/// Whether another key signs from `at` on, for as long as nobody says otherwise.
pub(super) fn has_successor(keys: &[SigningKeyRecord], key: &SigningKeyRecord, at: UnixMillis) -> bool {
    of_kind(keys, &key.realm, &key.alg)
        .any(|other| other.kid != key.kid && other.activate_at <= at && works(other, at) && other.retire_at.is_none())
}

/// A key without its secret half.
pub(super) fn to_json(key: &SigningKeyRecord, keys: &[SigningKeyRecord], now: UnixMillis) -> Value {
    json!({
        "kid": key.kid,
        "realm": key.realm,
        "alg": key.alg,
        "state": Doing::of(key, keys, now).as_str(),
        "activate_at": time(key.activate_at),
        "retire_at": opt_time(key.retire_at),
        "public_jwk": key.public_jwk,
        "created_by": key.created_by,
        "created_at": time(key.created_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(kid: &str, activate_at: i64, retire_at: Option<i64>) -> SigningKeyRecord {
        SigningKeyRecord {
            kid: kid.into(),
            realm: "shop".into(),
            alg: "HS256".into(),
            state: SigningKeyState::Active,
            private: Secret::new(vec![0; 32]),
            public_jwk: None,
            created_by: "node".into(),
            created_at: UnixMillis(0),
            activate_at: UnixMillis(activate_at),
            retire_at: retire_at.map(UnixMillis),
        }
    }

    fn states(keys: &[SigningKeyRecord], now: i64) -> Vec<&'static str> {
        keys.iter().map(|key| Doing::of(key, keys, UnixMillis(now)).as_str()).collect()
    }

    #[test]
    fn the_time_alone_says_what_a_key_does() {
        let mut keys = vec![key("a", 0, Some(300)), key("b", 100, None), key("c", 200, None)];
        assert_eq!(states(&keys, 50), ["active", "next", "next"]);
        assert_eq!(states(&keys, 100), ["passive", "active", "next"]);
        assert_eq!(states(&keys, 299), ["passive", "passive", "active"]);
        assert_eq!(states(&keys, 300), ["retired", "passive", "active"]);
        keys[2].state = SigningKeyState::Disabled;
        assert_eq!(states(&keys, 300), ["retired", "active", "disabled"]);
        keys[1].alg = "HS512".into();
        assert_eq!(states(&keys, 250), ["active", "active", "disabled"], "each algorithm has its own");
    }

    #[test]
    fn a_key_that_ends_by_itself_succeeds_nobody() {
        let keys = [key("a", 0, Some(300)), key("b", 100, None), key("c", 200, None)];
        let succeeded = |key: &SigningKeyRecord, at| has_successor(&keys, key, UnixMillis(at));
        assert!(!succeeded(&keys[1], 150), "a signs again, but not for long; c does not sign yet");
        assert!(succeeded(&keys[1], 200) && succeeded(&keys[0], 100));
    }
}
