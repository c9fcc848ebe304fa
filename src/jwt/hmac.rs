//! What an HMAC secret must be, and what it should not look like.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};

use super::KeyFault;

/// Refuses a secret that is shorter than `needed` bytes or one byte over and over.
pub(super) fn check_secret(secret: &[u8], needed: usize) -> Result<(), KeyFault> {
    if secret.len() < needed {
        let text = format!("the secret has {} bytes; at least {needed} are needed, as many as the hash", secret.len());
        return Err(KeyFault::new("size", text));
    }
    if secret.windows(2).all(|pair| pair.first() == pair.last()) {
        return Err(KeyFault::new("weak", "the secret is one byte over and over"));
    }
    Ok(())
}

/// What a secret looks like as text when it looks like at least 32 bytes in `hex` or `base64`: the operator may have
/// forgotten to say `encoding`. A guess, good for a warning only.
pub fn looks_encoded(secret: &[u8]) -> Option<&'static str> {
    let text = secret.trim_ascii();
    if text.len() >= 64 && text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit) {
        return Some("hex");
    }
    // A random value has letters of both cases and digits; a sentence with dashes that decodes by chance does not.
    let mixed = text.iter().any(u8::is_ascii_uppercase)
        && text.iter().any(u8::is_ascii_lowercase)
        && text.iter().any(u8::is_ascii_digit);
    let decodes = || {
        let decoded = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD].iter().find_map(|form| form.decode(text).ok());
        decoded.is_some_and(|bytes| zeroize::Zeroizing::new(bytes).len() >= 32)
    };
    (mixed && decodes()).then_some("base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_looks_like_an_encoding_is_noticed() {
        let bytes: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(37)).collect();
        for (encoded, expected) in [
            (data_encoding::HEXLOWER.encode(&bytes), Some("hex")),
            (data_encoding::HEXUPPER.encode(&bytes), Some("hex")),
            (BASE64.encode(&bytes), Some("base64")),
            (BASE64URL_NOPAD.encode(&bytes), Some("base64")),
            (format!("{}\n", BASE64URL.encode(&bytes)), Some("base64")),
            (data_encoding::HEXLOWER.encode(&bytes[..16]), None),
            (BASE64.encode(&bytes[..23]), None),
            ("correct-horse-battery-staple-correct-horse-battery".into(), None),
        ] {
            assert_eq!(looks_encoded(encoded.as_bytes()), expected, "{encoded}");
        }
        assert_eq!(looks_encoded(&bytes), None);
    }
}
