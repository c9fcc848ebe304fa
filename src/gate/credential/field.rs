//! Credentials in header fields: `Authorization: Bearer …` (RFC 6750 section 2.1) and bare values elsewhere.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::{Held, ambiguous, is_token_byte, only, trim};
use crate::gate::outcome::{Denial, Why};

/// What the field `name` holds over all its lines.
pub(super) fn read<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Held<'r>, Denial> {
    let mut lines = headers.get_all(name).iter();
    let Some(first) = lines.next() else { return Ok(Held::Nothing) };
    if lines.next().is_none()
        && let Some(text) = ordinary(first.as_bytes(), name)
    {
        return Ok(Held::Text(Cow::Borrowed(text)));
    }
    read_closely(headers, name)
}

fn read_closely<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Held<'r>, Denial> {
    let read_line = if *name == AUTHORIZATION { read_authorization } else { read_bare };
    let lines = headers.get_all(name);
    // A proxy in front may have joined two lines to one (RFC 9110 section 5.3).
    if lines.iter().any(|line| line.as_bytes().contains(&b',') && !is_json(line.as_bytes())) {
        return Err(ambiguous(Why::Repeated));
    }
    only(lines.into_iter().map(|line| read_line(trim(line.as_bytes()))))
}

/// Whether the credential is an object: the commas of a signature in JSON (RFC 7515 section 7.2) join no lines. It is one
/// credential, a malformed one.
fn is_json(line: &[u8]) -> bool {
    let line = trim(line);
    let text = line.split(|&byte| byte == b' ').find(|part| !part.is_empty() && !part.eq_ignore_ascii_case(b"Bearer"));
    text.is_some_and(|text| text.starts_with(b"{"))
}

/// What nearly every request has, found in one pass: `Bearer`, a blank and a text, or the text alone, in which nothing
/// needs a closer look. Finds nothing that [`read_closely`] would judge differently.
fn ordinary<'r>(line: &'r [u8], name: &HeaderName) -> Option<&'r str> {
    let text = if *name == AUTHORIZATION {
        let (scheme, text) = line.split_first_chunk::<7>()?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        text
    } else {
        line
    };
    // No early end: so the compiler looks at many bytes at once.
    let plain = text.iter().fold(true, |plain, b| plain & b.is_ascii_graphic() & !matches!(b, b',' | b'"'));
    if text.is_empty() || !plain { None } else { std::str::from_utf8(text).ok() }
}

fn read_bare(line: &[u8]) -> Held<'_> {
    match visible(line) {
        Some(text) => Held::text(Cow::Borrowed(text)),
        None => Held::Malformed(Why::Format),
    }
}

fn read_authorization(line: &[u8]) -> Held<'_> {
    let Some(line) = visible(line) else { return Held::Malformed(Why::Format) };
    if line.is_empty() {
        return Held::Nothing;
    }
    let (scheme, token) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.bytes().all(is_token_byte) {
        return Held::Malformed(Why::Format);
    }
    if scheme.eq_ignore_ascii_case("Basic") {
        return Held::NoCredential;
    }
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Held::Malformed(Why::Scheme);
    }
    let token = token.trim_start_matches(' ');
    if token.contains('"') {
        return Held::Malformed(Why::Format);
    }
    match Held::text(Cow::Borrowed(token)) {
        Held::Nothing => Held::NoCredential,
        held => held,
    }
}

/// The line as text, if it has neither control characters nor anything beyond ASCII.
fn visible(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    text.bytes().all(|b| matches!(b, b' '..=b'~')).then_some(text)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_quick_reader_sees_what_the_close_one_sees(
            scheme in "([Bb]earer|BEARER|Basic|Bear er|)", blanks in "[ \\t]{0,2}", text in "[a-c.=~ ,\"\\\\\\t\u{e9}]{0,6}", bare in any::<bool>(),
        ) {
            let name = if bare { HeaderName::from_static("x-api-key") } else { AUTHORIZATION };
            let line = if bare { text } else { format!("{scheme}{blanks}{text}") };
            let headers: HeaderMap = [(name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap())].into_iter().collect();
            prop_assert_eq!(read(&headers, &name), read_closely(&headers, &name));
        }
    }
}
