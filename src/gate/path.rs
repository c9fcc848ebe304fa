//! The normal form of a path: what decides is byte for byte what is sent on.

use std::borrow::Cow;

use super::outcome::Why;

/// What a realm tolerates in paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// `%2F` in a segment stays as it is instead of being refused.
    pub encoded_slash: bool,
    /// `;` stays as it is instead of being refused.
    pub parameters: bool,
}

/// The normal form of `path`: percent-encoded unreserved characters (RFC 3986 section 2.3) decoded once, all else as it
/// was, the case of hex digits included. Borrowed when nothing changes. A normal form is its own normal form.
///
/// # Errors
/// What two parties could read differently: no leading slash, dot segments in any spelling (also where an encoded slash
/// or parameters would uncover them), empty segments but a last one, escapes that are broken or not UTF-8, encoded
/// slashes and raw `;` unless the rules lift them, raw or encoded `\` and control characters, raw `#`, `?`, blanks and
/// everything beyond ASCII.
pub fn normalize(path: &str, rules: PathRules) -> Result<Cow<'_, str>, Why> {
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let normal = decode_unreserved(path, rules)?;
    // After decoding, so that no spelling of a dot slips through.
    check_segments(&normal, rules)?;
    Ok(normal)
}

/// Whether nothing in the path needs a closer look: what most paths are, found in one pass.
fn is_plain(path: &str) -> bool {
    let mut before = b'.';
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let plain =
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || byte == b'/' && before != b'/';
            before = byte;
            plain
        })
}

fn decode_unreserved(path: &str, rules: PathRules) -> Result<Cow<'_, str>, Why> {
    let mut decoded: Option<String> = None;
    let mut kept = 0;
    let mut at = 0;
    while let Some(offset) = path.get(at..).and_then(|rest| rest.find('%')) {
        at += offset;
        let byte = escape_at(path, at)?;
        let mut next = at + 3;
        match byte {
            b if is_unreserved(b) => {
                let text = decoded.get_or_insert_with(|| String::with_capacity(path.len()));
                text.push_str(path.get(kept..at).unwrap_or_default());
                text.push(char::from(b));
                kept = next;
            }
            b'/' if !rules.encoded_slash => return Err(Why::EncodedSlash),
            b'\\' => return Err(Why::Character),
            b if b.is_ascii_control() => return Err(Why::Character),
            b if !b.is_ascii() => next = check_character(path, at)?,
            _ => {}
        }
        at = next;
    }
    Ok(match decoded {
        None => Cow::Borrowed(path),
        Some(mut text) => {
            text.push_str(path.get(kept..).unwrap_or_default());
            Cow::Owned(text)
        }
    })
}

/// The byte that the escape at `at` stands for.
fn escape_at(path: &str, at: usize) -> Result<u8, Why> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match path.as_bytes().get(at..at + 3) {
        Some(&[b'%', high, low]) => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low).ok_or(Why::Escape),
        _ => Err(Why::Escape),
    }
}

/// Checks that the escapes from `at` on spell one character beyond ASCII that is no control character; where it ends.
fn check_character(path: &str, at: usize) -> Result<usize, Why> {
    let mut bytes = [escape_at(path, at)?, 0, 0, 0];
    let length = match bytes[0] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Err(Why::Escape),
    };
    for (n, byte) in bytes.iter_mut().enumerate().take(length).skip(1) {
        *byte = escape_at(path, at + 3 * n)?;
    }
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(Why::Escape)?;
    if text.chars().any(char::is_control) { Err(Why::Character) } else { Ok(at + 3 * length) }
}

fn check_segments(path: &str, rules: PathRules) -> Result<(), Why> {
    let mut segments = path.strip_prefix('/').ok_or(Why::Character)?.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Why::EmptySegment);
        }
        if hides_dots(segment) {
            return Err(Why::DotSegment);
        }
        for byte in segment.bytes() {
            match byte {
                b';' if !rules.parameters => return Err(Why::Parameters),
                b'\\' | b'#' | b'?' => return Err(Why::Character),
                b if !b.is_ascii_graphic() => return Err(Why::Character),
                _ => {}
            }
        }
        if segment.starts_with(';') {
            return Err(Why::EmptySegment);
        }
    }
    Ok(())
}

/// Whether somebody who drops parameters, or decodes slashes or semicolons, would see a dot segment here.
fn hides_dots(segment: &str) -> bool {
    let is_dots = |part: &str| {
        let after = part.trim_start_matches('.');
        let ends = after.is_empty() || [";", "%3B", "%3b"].iter().any(|end| after.starts_with(end));
        ends && matches!(part.len() - after.len(), 1 | 2)
    };
    segment.contains('.') && segment.split("%2F").flat_map(|part| part.split("%2f")).any(is_dots)
}

/// RFC 3986 section 2.3.
pub(in crate::gate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRICT: PathRules = PathRules { encoded_slash: false, parameters: false };
    const LAX: PathRules = PathRules { encoded_slash: true, parameters: true };

    fn refused(path: &str, why: Why) {
        assert_eq!(normalize(path, STRICT), Err(why), "{path:?}");
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        for path in
            ["/", "/a", "/a/", "/a/b.c/~d_e-f", "/a:b@c!$&'()*+,=", "/...", "/.a/..b/c..", "/%C3%A9", "/A%25b%3f"]
        {
            assert!(matches!(normalize(path, STRICT), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_once() {
        assert_eq!(normalize("/%61dmin/%7e%2D%5F/x%2ey", STRICT).unwrap(), "/admin/~-_/x.y");
        assert_eq!(normalize("/%25%36%31", STRICT).unwrap(), "/%2561");
    }

    #[test]
    fn other_escapes_stay_as_they_came() {
        for path in
            ["/a%3bb", "/a%3Bb", "/%25", "/%3f", "/%23", "/%20", "/%22%3c", "/%252e%252e/x", "/%EF%BC%8E%EF%BC%8E"]
        {
            assert_eq!(normalize(path, STRICT).unwrap(), path);
        }
    }

    #[test]
    fn a_dot_segment_is_refused_in_every_spelling() {
        for path in [
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/.%2e",
            "/%2E/",
            "/a/%2e",
            "/public/..;/admin",
            "/..;x",
            "/.;x/a",
        ] {
            refused(path, Why::DotSegment);
            assert_eq!(normalize(path, LAX), Err(Why::DotSegment), "{path:?}");
        }
    }

    #[test]
    fn a_dot_segment_behind_an_encoded_slash_or_semicolon_is_refused_too() {
        for path in ["/a%2F..", "/..%2fa", "/a%2F%2e%2e%2Fb", "/a%2f.", "/a%2F..;x", "/..%3bx", "/a%2fb%2F.."] {
            assert_eq!(normalize(path, LAX), Err(Why::DotSegment), "{path:?}");
        }
        for path in ["/a%2F...%2Fb", "/https:%2F%2Fexample.com%2F", "/a.%2F.b", "/v1.2;x"] {
            assert_eq!(normalize(path, LAX).unwrap(), path);
        }
    }

    #[test]
    fn slashes_and_parameters_pass_only_where_the_realm_says_so() {
        refused("/a%2Fb", Why::EncodedSlash);
        refused("/a%2fb", Why::EncodedSlash);
        assert_eq!(normalize("/a%2Fb", PathRules { encoded_slash: true, ..STRICT }).unwrap(), "/a%2Fb");
        assert_eq!(normalize("/a;x%2Fb", PathRules { encoded_slash: true, ..STRICT }), Err(Why::Parameters));
        for path in ["/admin;x", "/;/admin", "/admin;/x"] {
            refused(path, Why::Parameters);
        }
        let parameters = PathRules { parameters: true, ..STRICT };
        assert_eq!(normalize("/admin;x=1/y", parameters).unwrap(), "/admin;x=1/y");
        for path in ["/;/admin", "/a/;x", "/;"] {
            assert_eq!(normalize(path, parameters), Err(Why::EmptySegment), "{path:?}");
        }
    }

    #[test]
    fn an_empty_segment_is_refused() {
        for path in ["//", "//a", "/a//b", "/a//"] {
            refused(path, Why::EmptySegment);
        }
    }

    #[test]
    fn a_broken_escape_or_one_that_is_not_utf8_is_refused() {
        for path in [
            "/%",
            "/%2",
            "/%zz",
            "/%u002e",
            "/%+1",
            "/%c0%ae",
            "/%C0%80",
            "/%e0%80%ae",
            "/%ED%A0%80",
            "/%F4%90%80%80",
            "/%ff",
            "/%80",
            "/%C3",
            "/%C3a",
            "/%C3/%A9",
            "/%C3%41",
            "/%E2%82",
            "/%E2%82x",
            "/%é",
        ] {
            refused(path, Why::Escape);
        }
    }

    #[test]
    fn characters_that_do_not_belong_in_a_path_are_refused() {
        for path in [
            "",
            "a",
            "*",
            "admin/x",
            "http://other/admin",
            "/a\\b",
            "/a%5cb",
            "/a%5Cb",
            "/a#b",
            "/a?b",
            "/a b",
            "/a\tb",
            "/a\0",
            "/é",
            "/．．/x",
            "/%00",
            "/%0a",
            "/%1f",
            "/%7F",
            "/%C2%85",
        ] {
            refused(path, Why::Character);
            if path.starts_with('/') {
                assert_eq!(normalize(path, LAX), Err(Why::Character), "{path:?}");
            }
        }
    }

    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "/", ".", "..", ";", "%2e", "%2E", "%2f", "%2F", "%5c", "%25", "%3b", "%61", "%C3%A9", "%C3", "%A9", "%00", "a", "B", "~", "%", "25", "2e",
            ]).prop_map(str::to_owned),
            1 => "\\PC",
            1 => (0u8..=255).prop_map(|b| format!("%{b:02x}")),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_and_holds_nothing_to_misread(
            path in paths(), encoded_slash in any::<bool>(), parameters in any::<bool>(),
        ) {
            let rules = PathRules { encoded_slash, parameters };
            if let Ok(normal) = normalize(&path, rules) {
                prop_assert!(matches!(normalize(&normal, rules), Ok(Cow::Borrowed(same)) if same == normal));
                prop_assert!(normal.bytes().all(|b| b.is_ascii_graphic()));
                for segment in normal.split('/') {
                    prop_assert!(!matches!(segment.split(';').next(), Some("." | "..")));
                }
                let escapes = normal.split('%').skip(1).map(|rest| u8::from_str_radix(&rest[..2], 16).unwrap());
                prop_assert!(escapes.clone().all(|b| !is_unreserved(b) && !b.is_ascii_control() && b != b'\\'));
                prop_assert!(encoded_slash || escapes.clone().all(|b| b != b'/'));
                let mut seen = normal.trim_start_matches('/').split('/').rev();
                prop_assert!(seen.next().is_some() && seen.all(|segment| !segment.is_empty()));
            }
        }

        #[test]
        fn a_path_that_looks_plain_passes_every_check(path in "/?([a-b0-9A._~;%#?\\\\ -]{0,2}/{0,2}){0,4}") {
            if is_plain(&path) {
                prop_assert!(matches!(decode_unreserved(&path, STRICT), Ok(Cow::Borrowed(same)) if same == path));
                prop_assert_eq!(check_segments(&path, STRICT), Ok(()));
            }
        }

        #[test]
        fn no_text_makes_it_panic_and_lax_rules_take_what_strict_ones_take(path in any::<String>()) {
            prop_assert!(normalize(&path, LAX).is_ok() || normalize(&path, STRICT).is_err());
        }
    }
}
