//! The strict check of a request head (RFC 9112), made on the raw bytes before the proxy engine parses them: what two
//! readers could frame or address differently is refused here, because the engine repairs some of it silently.

use crate::gate::outcome::{Denial, Reason, Why};

/// How long a field name may be; the longest registered ones have about forty bytes.
pub(super) const MAX_NAME: usize = 256;
/// How many header lines a request may have.
pub(super) const MAX_LINES: usize = 100;
/// The engine refuses a request whose `Connection` lists ten options, but only after it has connected upstream.
const MAX_OPTIONS: usize = 9;
/// Room for the method and the version beside the target while the request line is still incomplete.
const LINE_SLACK: usize = 64;

/// Upper bounds in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The request target.
    pub(super) target: usize,
    /// All header lines together.
    pub(super) headers: usize,
}

impl Limits {
    /// The bounds, kept below those of the engine: it would answer in its own words otherwise.
    pub(super) fn new(target: usize, headers: usize) -> Self {
        Self { target: target.min(65_000), headers: headers.min(900 * 1024) }
    }
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It can be read in more than one way.
    Framing,
    /// `Host` is missing, repeated, or says something else than the target.
    Host,
    /// The target has a character that does not belong there.
    Target,
    /// The target is longer than allowed.
    TargetTooLong,
    /// The header lines are too large or too many.
    HeadersTooLarge,
    /// CONNECT.
    Method,
    /// It did not arrive in time.
    Slow,
}

impl Fault {
    /// The denial that is answered.
    pub(super) fn denial(self) -> Denial {
        match self {
            Self::Framing => Denial::because(Reason::BadRequest, Why::Framing),
            Self::Host => Denial::because(Reason::BadRequest, Why::Host),
            Self::Target => Denial::because(Reason::PathAmbiguous, Why::Character),
            Self::TargetTooLong => Denial::new(Reason::UriTooLong),
            Self::HeadersTooLarge => Denial::new(Reason::HeadersTooLarge),
            Self::Method => Denial {
                allow: Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".into()),
                ..Denial::because(Reason::MethodNotAllowed, Why::Method)
            },
            Self::Slow => Denial::new(Reason::RequestTimeout),
        }
    }
}

/// How a request continues after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of the body; none when it is chunked.
    pub(super) length: Option<u64>,
    /// Whether the request asks for another protocol.
    pub(super) upgrade: bool,
}

/// Looks for the end of a head while it arrives. Every byte is looked at once, however slowly they come.
#[derive(Debug, Default)]
pub(super) struct Scan {
    seen: usize,
    line_end: Option<usize>,
}

impl Scan {
    /// Looks at what has arrived since the last call. Gives the length of the head once it is complete.
    ///
    /// # Errors
    /// What is plainly wrong is told at once, so that nobody has to wait for the deadline.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<usize>, Fault> {
        if bytes.first().is_some_and(|first| !is(*first, TOKEN)) {
            return Err(Fault::Framing);
        }
        for (at, byte) in bytes.iter().enumerate().skip(self.seen) {
            if *byte != b'\n' {
                continue;
            }
            let line = bytes.get(..=at).unwrap_or_default();
            if !line.ends_with(b"\r\n") {
                return Err(Fault::Framing);
            }
            if line.ends_with(b"\r\n\r\n") {
                return Ok(Some(line.len()));
            }
            self.line_end.get_or_insert(line.len());
        }
        self.seen = bytes.len();
        match self.line_end {
            None if bytes.len() > limits.target.saturating_add(LINE_SLACK) => Err(Fault::TargetTooLong),
            Some(end) if bytes.len() - end > limits.headers.saturating_add(2) => Err(Fault::HeadersTooLarge),
            None | Some(_) => Ok(None),
        }
    }
}

/// Checks a complete head, the empty line included.
///
/// # Errors
/// The first fault.
pub(super) fn check(head: &[u8], limits: Limits) -> Result<Shape, Fault> {
    let (line, mut rest) = split_line(head).ok_or(Fault::Framing)?;
    let line = RequestLine::read(line, limits)?;
    if rest.len().saturating_sub(2) > limits.headers {
        return Err(Fault::HeadersTooLarge);
    }
    let mut fields = Fields::default();
    loop {
        let (field, after) = split_line(rest).ok_or(Fault::Framing)?;
        if field.is_empty() {
            return if after.is_empty() { fields.judge(&line) } else { Err(Fault::Framing) };
        }
        fields.take(field)?;
        rest = after;
    }
}

/// What can be told of a request that is refused: for the log only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch<'a> {
    /// The method, or nothing.
    pub(super) method: &'a str,
    /// The path, or nothing.
    pub(super) path: &'a str,
    /// `1.0`, `1.1`, or nothing.
    pub(super) version: &'static str,
}

/// Reads as much of a request line as is there and harmless.
pub(super) fn sketch(bytes: &[u8]) -> Sketch<'_> {
    let line = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    let line = line.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = |table: u8| {
        let bytes = words.next().filter(|word| word.iter().all(|byte| is(*byte, table)));
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let (method, target, version) = (word(TOKEN), word(TARGET), word(TARGET));
    let version = match version {
        "HTTP/1.1" => "1.1",
        "HTTP/1.0" => "1.0",
        _ => "",
    };
    let method = if method.len() <= 32 { method } else { "" };
    Sketch { method, path: target.split('?').next().unwrap_or_default(), version }
}

#[derive(Debug)]
struct RequestLine<'a> {
    authority: Option<&'a [u8]>,
    old: bool,
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8], limits: Limits) -> Result<Self, Fault> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Fault::Framing);
        };
        if method.is_empty() || !method.iter().all(|byte| is(*byte, TOKEN)) {
            return Err(Fault::Framing);
        }
        let old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Fault::Framing),
        };
        if method == b"CONNECT" {
            return Err(Fault::Method);
        }
        check_target(target, limits)?;
        Ok(Self { authority: authority(target)?, old })
    }
}

/// Whether a target is short enough and has no character that does not belong there.
pub(super) fn check_target(target: &[u8], limits: Limits) -> Result<(), Fault> {
    if target.len() > limits.target {
        return Err(Fault::TargetTooLong);
    }
    let query = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    // Some read a backslash as a slash, and the engine takes no backtick in a path.
    let odd = |(at, byte): &(usize, &u8)| !is(**byte, TARGET) || (matches!(byte, b'\\' | b'`') && *at < query);
    match target.iter().enumerate().find(odd) {
        Some((_, odd)) if odd.is_ascii_control() => Err(Fault::Framing),
        Some(_) => Err(Fault::Target),
        None => Ok(()),
    }
}

/// The authority of a target in absolute form; none in origin form. Every other form is refused.
fn authority(target: &[u8]) -> Result<Option<&[u8]>, Fault> {
    const SCHEME: &[u8] = b"http://";
    if target.first() == Some(&b'/') {
        return Ok(None);
    }
    let (Some(scheme), Some(rest)) = (target.get(..SCHEME.len()), target.get(SCHEME.len()..)) else {
        return Err(Fault::Framing);
    };
    let end = rest.iter().position(|byte| *byte == b'/').ok_or(Fault::Framing)?;
    match rest.get(..end) {
        Some(authority) if scheme.eq_ignore_ascii_case(SCHEME) && plain_authority(authority) => Ok(Some(authority)),
        Some(_) | None => Err(Fault::Framing),
    }
}

/// Whether an authority is a host and perhaps a port, and nothing besides.
pub(super) fn plain_authority(authority: &[u8]) -> bool {
    !authority.is_empty()
        && authority
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
        && http::uri::Authority::try_from(authority).is_ok()
}

#[derive(Debug, Default)]
struct Fields<'a> {
    lines: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    options: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Fault> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(Fault::HeadersTooLarge);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Fault::Framing)?;
        let (Some(name), Some(value)) = (line.get(..colon), line.get(colon + 1..)) else {
            return Err(Fault::Framing);
        };
        if name.len() > MAX_NAME {
            return Err(Fault::HeadersTooLarge);
        }
        // A folded line (obs-fold) begins with a blank: its name is no token.
        let well_formed =
            !name.is_empty() && name.iter().all(|byte| is(*byte, TOKEN)) && value.iter().all(|byte| is(*byte, VALUE));
        if !well_formed {
            return Err(Fault::Framing);
        }
        self.note(name, trim(value))
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.replace(value).is_some() || value.is_empty() || value.contains(&b'@') {
                return Err(Fault::Host);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = digits(value).ok_or(Fault::Framing)?;
            if self.length.replace(length).is_some() {
                return Err(Fault::Framing);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if std::mem::replace(&mut self.chunked, true) || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Framing);
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.options += connection_options(value)?;
            if self.options > MAX_OPTIONS {
                return Err(Fault::Framing);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn judge(self, line: &RequestLine<'_>) -> Result<Shape, Fault> {
        if self.chunked && (line.old || self.length.is_some()) {
            return Err(Fault::Framing);
        }
        let host_fits = match (self.host, line.authority) {
            (Some(host), Some(authority)) => host == authority,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => line.old,
        };
        if !host_fits {
            return Err(Fault::Host);
        }
        let length = if self.chunked { None } else { Some(self.length.unwrap_or(0)) };
        Ok(Shape { length, upgrade: self.upgrade && !line.old })
    }
}

/// How many options a `Connection` value lists. They name fields that end here (RFC 9110 section 7.6.1): names that are
/// none, and fields that nobody may take away on the client's word, are refused.
fn connection_options(value: &[u8]) -> Result<usize, Fault> {
    const KEPT: [&[u8]; 4] = [b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"];
    let mut count = 0;
    for option in value.split(|byte| *byte == b',').map(trim).filter(|option| !option.is_empty()) {
        let harmless = option.len() <= MAX_NAME
            && option.iter().all(|byte| is(*byte, TOKEN))
            && !KEPT.iter().any(|kept| option.eq_ignore_ascii_case(kept));
        if !harmless {
            return Err(Fault::Framing);
        }
        count += 1;
    }
    Ok(count)
}

/// A plain decimal number: no sign, no list, no leading zero, not beyond what every reader can hold.
pub(super) fn digits(value: &[u8]) -> Option<u64> {
    let plain = match value {
        [] => false,
        [b'0', _, ..] => false,
        digits => digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit),
    };
    if !plain {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The line before the first line feed, without its CRLF, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end)?.strip_suffix(b"\r")?;
    Some((line, bytes.get(end + 1..)?))
}

/// A value without the blanks around it.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// May stand in a token.
pub(super) const TOKEN: u8 = 1;
const TARGET: u8 = 2;
/// May stand in a field's value.
pub(super) const VALUE: u8 = 4;

/// Whether nothing in a target, or in a part of one, is out of place.
pub(super) fn is_target(part: &[u8]) -> bool {
    part.iter().all(|byte| is(*byte, TARGET))
}

/// Which bytes may stand where: RFC 9110 section 5.6.2 (token), section 5.5 (value), RFC 3986 (target; `#` begins a
/// fragment, which is never sent). Browsers send `{`, `}`, `|`, `^` as they are, in a query `` ` `` too, and nobody reads
/// them in two ways.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric()
            || matches!(b, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(b, b'^' | b'_' | b'`' | b'|' | b'~')
        {
            classes[byte] |= TOKEN;
        }
        if b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>') {
            classes[byte] |= TARGET;
        }
        if b == b'\t' || (b >= 0x20 && b != 0x7f) {
            classes[byte] |= VALUE;
        }
        byte += 1;
    }
    classes
};

/// Whether a byte may stand there.
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
