//! What the gateway gives to everybody who asks, the same for all: it was made when the configuration was loaded.

use crate::secret::CredentialDigest;

/// A document.
#[derive(Debug)]
pub struct Document {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub body: Box<[u8]>,
    /// Names this version of it (RFC 9110 section 8.8.3), with its quotation marks.
    pub etag: Box<str>,
}

impl Document {
    /// A document of these bytes.
    pub fn new(media_type: &'static str, body: Vec<u8>) -> Self {
        let digest = CredentialDigest::of(&body).to_hex();
        let etag = format!("\"{}\"", digest.get(..32).unwrap_or(&digest)).into();
        Self { media_type, body: body.into(), etag }
    }

    /// Whether a client that sends this `If-None-Match` has this version already (RFC 9110 section 13.1.2).
    pub fn is_had(&self, if_none_match: &str) -> bool {
        if_none_match.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == &*self.etag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_by_its_tag_and_every_change_makes_another() {
        let (one, other) = (Document::new("text/plain", b"1".to_vec()), Document::new("text/plain", b"2".to_vec()));
        assert_ne!(one.etag, other.etag);
        for had in [&*one.etag, "*", &format!("\"x\", {}", one.etag), &format!("W/{}", one.etag)] {
            assert!(one.is_had(had), "{had}");
        }
        for not in ["", "\"x\"", &*other.etag, one.etag.trim_matches('"')] {
            assert!(!one.is_had(not), "{not}");
        }
    }
}
