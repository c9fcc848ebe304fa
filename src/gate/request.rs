//! What the gate sees of a request. No proxy type appears here: `proxy` makes this view, and so do `explain` and tests.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};
use uuid::fmt::Hyphenated;

use crate::clock::UnixMillis;

/// A request as the gate sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, case-sensitive.
    pub method: &'a Method,
    /// The path as received, without the query; always judged before it is used.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// Value of `Host` or `:authority`.
    pub host: Option<&'a str>,
    /// All header fields, in the order received.
    pub headers: &'a HeaderMap,
    /// Address of the connection's other end; none on a Unix socket, and where nobody knows it.
    pub peer: Option<IpAddr>,
    /// What the handshake of its connection told; none without TLS.
    pub handshake: Option<&'a Handshake>,
    /// The one clock reading of this request.
    pub now: UnixMillis,
}

/// What the TLS handshake of a connection told. True of the connection, whoever's requests come over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The name that the client asked for (RFC 6066 section 3), in lower case and without a trailing dot; none: it named
    /// none.
    pub server_name: Option<Box<str>>,
    /// The client's certificate, verified against the authorities of the listener; none: it showed none.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// A verified certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its names: `uri:…`, `dns:…` (lower case), `email:…` of the subject alternative names, in their order; where it has
    /// none of any kind, `cn:…`.
    pub names: Box<[Box<str>]>,
    /// SHA-256 of the certificate in DER, in lower-case hexadecimal: safe to log.
    pub fingerprint: Box<str>,
    /// The end of its validity: the connection may outlive it, the identity does not.
    pub not_after: UnixMillis,
}

/// Identifies a request in answers, logs and upstream: a UUIDv7, or what a trusted proxy sent.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Clone, PartialEq, Eq)]
enum Text {
    Own([u8; Hyphenated::LENGTH]),
    Adopted(Box<str>),
}

thread_local! {
    /// What makes ids differ: a keyed hash of a number that counts up. Asking the system costs more than a decision does,
    /// and an id needs not be a secret. The keys are the system's randomness, and each thread has its own.
    static RANDOMNESS: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
}

impl RequestId {
    /// A new UUIDv7 (RFC 9562).
    pub fn generate(now: UnixMillis) -> Self {
        let random: u128 = RANDOMNESS.with(|(keys, count)| {
            let number = count.get();
            count.set(number.wrapping_add(1));
            u128::from(keys.hash_one((number, 0_u8))) << 64 | u128::from(keys.hash_one((number, 1_u8)))
        });
        let [random @ .., _, _, _, _, _, _] = random.to_ne_bytes();
        let millis = u64::try_from(now.0).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(Text::Own(text))
    }

    /// Takes over an id from a trusted proxy: 1 to 128 characters of `A-Za-z0-9._-`.
    pub fn adopt(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        fits.then(|| Self(Text::Adopted(text.into())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It is made of digits and dashes.
            Text::Own(text) => std::str::from_utf8(text).unwrap_or_default(),
            Text::Adopted(text) => text,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_new_id_is_a_uuid_of_its_time_and_no_two_are_alike() {
        let now = UnixMillis(1_763_682_354_007);
        let make = move || (0..1000).map(|_| RequestId::generate(now).as_str().to_owned()).collect::<Vec<_>>();
        let there = std::thread::spawn(make);
        let ids: HashSet<String> = make().into_iter().chain(there.join().unwrap()).collect();
        assert_eq!(ids.len(), 2000);
        for id in ids {
            let id = uuid::Uuid::parse_str(&id).unwrap();
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            assert_eq!(id.get_timestamp().unwrap().to_unix(), (1_763_682_354, 7_000_000));
        }
    }

    #[test]
    fn only_harmless_ids_are_taken_over() {
        assert!(RequestId::adopt("01J9-abc_DEF.7").is_some());
        for bad in ["", "a b", "a\"b", "a\nb", "ä", &"x".repeat(129)] {
            assert!(RequestId::adopt(bad).is_none(), "{bad:?}");
        }
    }
}
