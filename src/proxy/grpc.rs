//! Refusals of gRPC calls. Such a client looks at the trailers of an answer and nowhere else; a refusal is therefore an
//! answer of trailers only, with status 200 (gRPC over HTTP/2, "Responses").

use std::fmt::Write as _;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Version};
use pingora::http::RequestHeader;

use crate::gate::dialect::Rendered;
use crate::gate::outcome::{Denial, Reason};

const TYPE: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Whether the request is a gRPC call: over HTTP/2, with `application/grpc`, alone or with a message format (`+proto`).
/// `application/grpc-web` is another protocol: its clients read statuses of HTTP as everybody does.
pub(super) fn asked(header: &RequestHeader) -> bool {
    let Some(kind) = header.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let (Some(name), rest) = (kind.get(..TYPE.len()), kind.get(TYPE.len()..).unwrap_or_default()) else { return false };
    header.version == Version::HTTP_2
        && name.eq_ignore_ascii_case(TYPE.as_bytes())
        && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

/// The same refusal for a gRPC client. `WWW-Authenticate`, `X-Request-Id`, `Retry-After` and what else the realm's answer
/// says in its head stay; its body does not.
pub(super) fn refusal(denial: &Denial, rendered: Rendered) -> Rendered {
    let mut headers = rendered.headers;
    headers.retain(|(name, _)| *name != CONTENT_TYPE && *name != CONTENT_LENGTH);
    headers.push((CONTENT_TYPE, HeaderValue::from_static(TYPE)));
    headers.push((STATUS, HeaderValue::from(code(denial.reason))));
    let message = denial.detail.as_ref().and_then(|detail| detail.message.as_deref());
    let message = HeaderValue::try_from(encoded(message.unwrap_or(denial.reason.public().message)));
    headers.extend(message.ok().map(|message| (MESSAGE, message)));
    let wait = headers.iter().find(|(name, _)| *name == RETRY_AFTER).and_then(|(_, value)| value.to_str().ok());
    let wait = wait.and_then(|seconds| seconds.parse::<u32>().ok()).map(|seconds| u64::from(seconds) * 1000);
    headers.extend(wait.map(|millis| (PUSHBACK, HeaderValue::from(millis))));
    Rendered { status: 200, headers, body: Vec::new() }
}

/// The code of a refusal, by the status that its reason has where no dialect says otherwise. It is the mapping that gRPC
/// clients apply to bare statuses of HTTP (grpc, "HTTP to gRPC Status Code Mapping"), but where they would learn less than
/// is known: a limit is RESOURCE_EXHAUSTED and not UNAVAILABLE, which clients repeat at once, and so is whatever is too
/// large; what took too long is DEADLINE_EXCEEDED; a method that is not served is UNIMPLEMENTED.
fn code(reason: Reason) -> u16 {
    match reason.public().status {
        401 => 16,                  // UNAUTHENTICATED
        403 => 7,                   // PERMISSION_DENIED
        404 | 405 => 12,            // UNIMPLEMENTED
        408 | 504 => 4,             // DEADLINE_EXCEEDED
        413 | 414 | 429 | 431 => 8, // RESOURCE_EXHAUSTED
        502 | 503 => 14,            // UNAVAILABLE
        400 | 415 | 500 => 13,      // INTERNAL
        _ => 2,                     // UNKNOWN
    }
}

/// Percent-encoding as gRPC has it: everything but printable ASCII, and the percent sign.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            break;
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use http::header::WWW_AUTHENTICATE;

    use super::*;
    use crate::gate::dialect::Dialect;
    use crate::gate::request::RequestId;

    fn request(version: Version, content_type: &str) -> RequestHeader {
        let request = Request::builder().uri("http://a/").version(version).header(CONTENT_TYPE, content_type);
        RequestHeader::from(request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_call_is_told_by_its_content_type_over_http_2() {
        for kind in ["application/grpc", "application/grpc+proto", "Application/GRPC; charset=x"] {
            assert!(asked(&request(Version::HTTP_2, kind)), "{kind}");
            assert!(!asked(&request(Version::HTTP_11, kind)), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/json", "application/grp", ""] {
            assert!(!asked(&request(Version::HTTP_2, kind)), "{kind}");
        }
    }

    /// The table of the documentation.
    #[test]
    fn every_reason_has_the_code_that_clients_expect() {
        for reason in Reason::ALL {
            let expected = match reason.public().status {
                400 | 415 | 500 => "INTERNAL",
                401 => "UNAUTHENTICATED",
                403 => "PERMISSION_DENIED",
                404 | 405 => "UNIMPLEMENTED",
                408 | 504 => "DEADLINE_EXCEEDED",
                413 | 414 | 429 | 431 => "RESOURCE_EXHAUSTED",
                502 | 503 => "UNAVAILABLE",
                _ => "UNKNOWN",
            };
            let numbers = [
                ("UNKNOWN", 2),
                ("DEADLINE_EXCEEDED", 4),
                ("PERMISSION_DENIED", 7),
                ("RESOURCE_EXHAUSTED", 8),
                ("UNIMPLEMENTED", 12),
                ("INTERNAL", 13),
                ("UNAVAILABLE", 14),
                ("UNAUTHENTICATED", 16),
            ];
            let number = numbers.iter().find(|(name, _)| *name == expected).map(|(_, number)| *number);
            assert_eq!(Some(code(*reason)), number, "{reason}");
        }
    }

    #[test]
    fn a_refusal_keeps_its_head_and_has_no_body() {
        let dialect = Dialect::builtin("shop");
        let id = RequestId::adopt("r1").unwrap();
        let denial = Denial { retry_after: Some(Duration::from_secs(7)), ..Denial::new(Reason::RateLimited) };
        let refused = refusal(&denial, dialect.render(&denial, &id));
        let said = |name: &str| {
            let found: Vec<_> = refused.headers.iter().filter(|(own, _)| own.as_str() == name).collect();
            assert!(found.len() <= 1, "{name}");
            found.first().map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        assert_eq!((refused.status, refused.body.is_empty()), (200, true));
        assert_eq!(said("content-type"), "application/grpc");
        assert_eq!((said("grpc-status"), said("grpc-message")), ("8".into(), "Too many requests.".into()));
        assert_eq!((said("retry-after"), said("grpc-retry-pushback-ms")), ("7".into(), "7000".into()));
        assert_eq!(said("x-request-id"), "r1");
        let denial = Denial::new(Reason::MissingCredentials);
        let refused = refusal(&denial, dialect.render(&denial, &id));
        assert!(refused.headers.iter().any(|(name, _)| *name == WWW_AUTHENTICATE));
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encoded("100% of ä\n"), "100%25 of %C3%A4%0A");
    }
}
