//! What the gate sees of a request. No proxy type appears here: `proxy` makes this view, and so do `explain` and tests.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, Method};

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
    /// Address of the connection's other end; none on a Unix socket.
    pub peer: Option<IpAddr>,
    /// The one clock reading of this request.
    pub now: UnixMillis,
}

/// Identifies a request in answers, logs and upstream: a UUIDv7, or what a trusted proxy sent.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// A new UUIDv7 (RFC 9562).
    pub fn generate() -> Self {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        Self((&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer)).into())
    }

    /// Takes over an id from a trusted proxy: 1 to 128 characters of `A-Za-z0-9._-`.
    pub fn adopt(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        assert!(RequestId::adopt("01J9-abc_DEF.7").is_some());
        for bad in ["", "a b", "a\"b", "a\nb", "ä", &"x".repeat(129)] {
            assert!(RequestId::adopt(bad).is_none(), "{bad:?}");
        }
    }
}
