//! The strict check of a request head, as `front_door::head` makes it of HTTP/1 (RFC 9113 section 8). The engine has
//! refused before what is malformed by the letter of HTTP/2: names in upper case, fields of the connection, `te` other
//! than `trailers`, pseudo-header fields that are missing, repeated or out of place, lengths that contradict each other.

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::super::head::{self, Fault, Limits, MAX_LINES, MAX_NAME};

/// What a field takes beside its name and value, as a line of HTTP/1: a colon, a blank, the end of the line.
const AROUND: usize = 4;

/// Checks a head, and joins the pieces of `cookie` (RFC 9113 section 8.2.3): nobody may judge one of them and forward
/// another.
///
/// # Errors
/// The first fault.
pub(super) fn settle(header: &mut RequestHeader, limits: Limits) -> Result<(), Fault> {
    if header.method == Method::CONNECT {
        return Err(Fault::Method);
    }
    let target = header.raw_path();
    head::check_target(target, limits)?;
    if target.first() != Some(&b'/') {
        return Err(Fault::Framing);
    }
    check_host(header)?;
    if let Some(cookies) = joined_cookies(&header.headers) {
        let cookies = HeaderValue::try_from(cookies).map_err(|_| Fault::Framing)?;
        header.insert_header(COOKIE, cookies).map_err(|_| Fault::HeadersTooLarge)?;
    }
    check_fields(&header.headers, limits)
}

/// Both say the same where both are there; the engine has compared them, but a second one would be no less wrong here.
fn check_host(header: &RequestHeader) -> Result<(), Fault> {
    let mut hosts = header.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let authority = header.uri.authority().map(|authority| authority.as_str().as_bytes());
    if authority.is_some_and(|authority| !head::plain_authority(authority)) {
        return Err(Fault::Host);
    }
    match (authority, hosts.next(), hosts.next()) {
        (Some(_), None, None) => Ok(()),
        (Some(authority), Some(host), None) if host == authority => Ok(()),
        (None, Some(host), None) if !host.is_empty() && !host.contains(&b'@') => Ok(()),
        (_, _, _) => Err(Fault::Host),
    }
}

fn joined_cookies(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut pieces = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let (first, second) = (pieces.next()?, pieces.next()?);
    let mut joined = [first, b"; ", second].concat();
    for piece in pieces {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(piece);
    }
    Some(joined)
}

fn check_fields(headers: &HeaderMap, limits: Limits) -> Result<(), Fault> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + AROUND).sum();
    if size > limits.headers || headers.len() > MAX_LINES || headers.keys().any(|name| name.as_str().len() > MAX_NAME) {
        return Err(Fault::HeadersTooLarge);
    }
    // RFC 9113 section 8.2.1. On the way to an upstream of HTTP/1 they would be lost, and another value be read.
    if headers.values().any(|value| head::trim(value.as_bytes()).len() != value.len()) {
        return Err(Fault::Framing);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if head::digits(length.as_bytes()).is_some() => Ok(()),
        (Some(_), _) => Err(Fault::Framing),
    }
}

/// What can be told of a request that is refused: for the log only.
pub(super) fn sketch(header: &RequestHeader) -> head::Sketch<'_> {
    let method = Some(header.method.as_str()).filter(|method| method.len() <= 32).unwrap_or_default();
    let target = header.raw_path();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let path = path.get(..path.len().min(1024)).unwrap_or_default();
    let path = if head::is_target(path) { std::str::from_utf8(path).unwrap_or_default() } else { "" };
    head::Sketch { method, path, version: "2" }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LIMITS: Limits = Limits { target: 64, headers: 200 };

    fn request(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        RequestHeader::from(request.body(()).unwrap().into_parts().0)
    }

    fn judged(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Result<(), Fault> {
        settle(&mut request(method, uri, fields), LIMITS)
    }

    #[test]
    fn what_http_1_refuses_is_refused() {
        assert_eq!(judged("GET", "http://a.test/x?y", &[]), Ok(()));
        assert_eq!(judged("GET", "http://a.test:8080/", &[("host", "a.test:8080")]), Ok(()));
        assert_eq!(judged("GET", "/x", &[("host", "a.test")]), Ok(()));
        for (uri, fields, fault) in [
            ("/x", &[][..], Fault::Host),
            ("/x", &[("host", "")], Fault::Host),
            ("/x", &[("host", "u@a.test")], Fault::Host),
            ("http://a.test/x", &[("host", "b.test")], Fault::Host),
            ("http://a.test/x", &[("host", "a.test"), ("host", "a.test")], Fault::Host),
            ("http://u@a.test/x", &[], Fault::Host),
            ("http://a!b.test/x", &[], Fault::Host),
            ("*", &[("host", "a.test")], Fault::Framing),
            ("http://a.test/a\\b", &[], Fault::Target),
            ("http://a.test/\"", &[], Fault::Target),
            ("http://a.test/x", &[("content-length", "5"), ("content-length", "5")], Fault::Framing),
            ("http://a.test/x", &[("content-length", "+5")], Fault::Framing),
            ("http://a.test/x", &[("content-length", "05")], Fault::Framing),
            ("http://a.test/x", &[("authorization", " Bearer x")], Fault::Framing),
            ("http://a.test/x", &[("authorization", "Bearer x\t")], Fault::Framing),
        ] {
            assert_eq!(judged("GET", uri, fields), Err(fault), "{uri} {fields:?}");
        }
        assert_eq!(judged("CONNECT", "http://a.test/", &[]), Err(Fault::Method));
    }

    #[test]
    fn sizes_are_those_of_http_1() {
        let long = format!("http://a.test/{}", "x".repeat(63));
        assert_eq!(judged("GET", &long, &[]), Ok(()));
        assert_eq!(judged("GET", &(long + "x"), &[]), Err(Fault::TargetTooLong));
        let fits = "x".repeat(200 - AROUND - 3);
        assert_eq!(judged("GET", "http://a.test/", &[("x-y", &fits)]), Ok(()));
        assert_eq!(judged("GET", "http://a.test/", &[("x-y", &(fits + "x"))]), Err(Fault::HeadersTooLarge));
        let many = vec![("x", ""); MAX_LINES + 1];
        let roomy = Limits { headers: 10_000, ..LIMITS };
        assert_eq!(settle(&mut request("GET", "http://a.test/", &many), roomy), Err(Fault::HeadersTooLarge));
    }

    #[test]
    fn pieces_of_cookies_are_one_field_before_anybody_looks() {
        let mut crumbs = request("GET", "http://a.test/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")]);
        settle(&mut crumbs, LIMITS).unwrap();
        let cookies: Vec<_> = crumbs.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
        let many = vec![("cookie", "a=1"); 2 * MAX_LINES];
        let roomy = Limits { headers: 10_000, ..LIMITS };
        assert_eq!(settle(&mut request("GET", "http://a.test/", &many), roomy), Ok(()), "one field in many pieces");
    }

    #[test]
    fn what_is_logged_of_a_refused_request_is_harmless() {
        let refused = request("GET", "http://a.test/a?token=secret", &[]);
        assert_eq!(sketch(&refused), head::Sketch { method: "GET", path: "/a", version: "2" });
    }
}
