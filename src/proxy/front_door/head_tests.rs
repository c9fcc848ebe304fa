use pingora::protocols::http::ServerSession;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

const LIMITS: Limits = Limits { target: 64, headers: 4096 };

/// The verdict on a head given with `¦` for CRLF, the empty line added.
fn verdict(head: &str) -> Result<Shape, Fault> {
    let bytes = format!("{}\r\n\r\n", head.replace('¦', "\r\n")).into_bytes();
    judge(&bytes)
}

fn judge(bytes: &[u8]) -> Result<Shape, Fault> {
    match Scan::default().advance(bytes, LIMITS)? {
        Some(end) => check(bytes.get(..end).unwrap(), LIMITS),
        None => Err(Fault::Slow),
    }
}

fn shape(length: Option<u64>, upgrade: bool) -> Result<Shape, Fault> {
    Ok(Shape { length, upgrade })
}

#[test]
fn ordinary_requests_pass() {
    for (head, expected) in [
        ("GET / HTTP/1.1¦Host: a", shape(Some(0), false)),
        ("GET /a/b?c=d&e=%7B~:@!$'()*+,;=[] HTTP/1.1¦Host: a:80", shape(Some(0), false)),
        ("get / HTTP/1.1¦host:a", shape(Some(0), false)),
        ("POST / HTTP/1.1¦Host: a¦Content-Length: 5", shape(Some(5), false)),
        ("POST / HTTP/1.1¦Host: a¦Content-Length:\t0  ", shape(Some(0), false)),
        ("POST / HTTP/1.1¦Host: a¦TRANSFER-ENCODING: Chunked", shape(None, false)),
        ("GET / HTTP/1.0", shape(Some(0), false)),
        ("GET / HTTP/1.0¦Host: a¦Content-Length: 3", shape(Some(3), false)),
        ("GET / HTTP/1.1¦Host: a¦Upgrade: websocket¦Connection: upgrade", shape(Some(0), true)),
        ("GET / HTTP/1.0¦Upgrade: websocket", shape(Some(0), false)),
        ("GET / HTTP/1.1¦Host: a¦X_A.b: \u{e9}¦Empty:", shape(Some(0), false)),
        ("GET http://a/b?c HTTP/1.1¦Host: a", shape(Some(0), false)),
        ("GET HTTP://a:8080/ HTTP/1.1¦Host: a:8080", shape(Some(0), false)),
        ("GET / HTTP/1.1¦Host: a¦Connection: close, X-Tenant", shape(Some(0), false)),
    ] {
        assert_eq!(verdict(head), expected, "{head:?}");
    }
}

#[test]
fn a_length_that_two_readers_could_read_differently_is_refused() {
    let values =
        ["5, 5", "5,6", "+5", "-1", "0x5", "1_0", "5\u{a0}", "05", "00", "", "5 5", "5;", "12345678901234567890", "½"];
    for value in values {
        assert_eq!(
            verdict(&format!("POST / HTTP/1.1¦Host: a¦Content-Length: {value}")),
            Err(Fault::Framing),
            "{value:?}"
        );
    }
    for second in ["5", "6", ""] {
        let head = format!("POST / HTTP/1.1¦Host: a¦Content-Length: 5¦Content-Length: {second}");
        assert_eq!(verdict(&head), Err(Fault::Framing), "{second:?}");
    }
}

#[test]
fn a_transfer_coding_is_chunked_alone_or_refused() {
    let values =
        ["gzip, chunked", "chunked, chunked", "identity", "\u{b}chunked", "chunked;q=1", "\"chunked\"", "xchunked", ""];
    for value in values {
        let head = format!("POST / HTTP/1.1¦Host: a¦Transfer-Encoding: {value}");
        assert_eq!(verdict(&head), Err(Fault::Framing), "{value:?}");
    }
    for fields in [
        "Transfer-Encoding: chunked¦Transfer-Encoding: chunked",
        "Content-Length: 5¦Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked¦Content-Length: 5",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: X\rTransfer-Encoding: chunked",
        "X: X\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding:¦ chunked",
        "Transfer\u{0}-Encoding: chunked",
    ] {
        assert_eq!(verdict(&format!("POST / HTTP/1.1¦Host: a¦{fields}")), Err(Fault::Framing), "{fields:?}");
    }
    assert_eq!(verdict("POST / HTTP/1.0¦Host: a¦Transfer-Encoding: chunked"), Err(Fault::Framing));
}

#[test]
fn lines_and_fields_are_of_the_one_known_form() {
    for head in [
        "GET / HTTP/1.1¦Host: a¦X: a¦ folded",
        "GET / HTTP/1.1¦Host: a¦X: a¦\tfolded",
        "GET / HTTP/1.1¦ Host: a",
        "GET / HTTP/1.1¦Host: a¦X : a",
        "GET / HTTP/1.1¦Host: a¦: a",
        "GET / HTTP/1.1¦Host: a¦no colon",
        "GET / HTTP/1.1¦Host: a¦X@Y: a",
        "GET / HTTP/1.1¦Host: a¦X\u{e9}: a",
        "GET / HTTP/1.1¦Host: a¦X: a\u{0}b",
        "GET / HTTP/1.1¦Host: a¦X: a\u{1}b",
        "GET / HTTP/1.1¦Host: a¦X: a\u{7f}b",
        "GET / HTTP/1.1¦Host: a¦X: a\rb",
        "GET / HTTP/1.1\r¦Host: a",
        "¦GET / HTTP/1.1¦Host: a",
    ] {
        assert_eq!(verdict(head), Err(Fault::Framing), "{head:?}");
    }
    for bytes in [
        b"GET / HTTP/1.1\nHost: a\n\n".as_slice(),
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
    ] {
        assert_eq!(judge(bytes), Err(Fault::Framing), "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn a_request_line_has_exactly_three_words_and_a_known_version() {
    for head in [
        "GET  / HTTP/1.1¦Host: a",
        "GET /  HTTP/1.1¦Host: a",
        " GET / HTTP/1.1¦Host: a",
        "GET / HTTP/1.1 ¦Host: a",
        "GET /a b HTTP/1.1¦Host: a",
        "GET\t/\tHTTP/1.1¦Host: a",
        "GET / HTTP/1.1 HTTP/1.1¦Host: a",
        "GET /¦Host: a",
        "GET / HTTP/0.9¦Host: a",
        "GET / HTTP/1.2¦Host: a",
        "GET / HTTP/2.0¦Host: a",
        "GET / http/1.1¦Host: a",
        "GET / HTTP/01.1¦Host: a",
        "G@T / HTTP/1.1¦Host: a",
        "PRI * HTTP/2.0",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2¦GET / HTTP/1.1¦Host: a",
    ] {
        assert_eq!(verdict(head), Err(Fault::Framing), "{head:?}");
    }
}

#[test]
fn a_target_is_a_path_of_plain_characters() {
    for target in ["/a#b", "/#", "/a\\b", "/\u{e9}", "/a\"b", "/<a>", "/?a#b", "/?a\"b", "/a`b"] {
        assert_eq!(verdict(&format!("GET {target} HTTP/1.1¦Host: a")), Err(Fault::Target), "{target:?}");
    }
    for target in ["/a{b}", "/a|b", "/a^b", "/?a\\b", "/?{a}|b^`"] {
        assert_eq!(verdict(&format!("GET {target} HTTP/1.1¦Host: a")), shape(Some(0), false), "{target:?}");
    }
    for target in [
        "*",
        "see",
        "?a",
        "a/b",
        "/a\u{0}b",
        "/a\u{7f}",
        "https://a/",
        "http:/a/",
        "http://",
        "http://a",
        "http://a?b",
        "http:///x",
        "http://u@a/",
        "ftp://a/",
    ] {
        assert_eq!(verdict(&format!("GET {target} HTTP/1.1¦Host: a")), Err(Fault::Framing), "{target:?}");
    }
    assert_eq!(verdict("GET http:/\\a/ HTTP/1.1¦Host: a"), Err(Fault::Target));
    assert_eq!(verdict("OPTIONS * HTTP/1.1¦Host: a"), Err(Fault::Framing));
    assert_eq!(verdict("CONNECT a:443 HTTP/1.1¦Host: a:443"), Err(Fault::Method));
}

#[test]
fn there_is_one_host_and_the_target_says_no_other() {
    for head in [
        "GET / HTTP/1.1",
        "GET / HTTP/1.1¦Host:",
        "GET / HTTP/1.1¦Host: a¦Host: a",
        "GET / HTTP/1.1¦Host: a¦Host: b",
        "GET / HTTP/1.0¦Host: a¦Host: a",
        "GET / HTTP/1.1¦Host: u@a",
        "GET http://b/ HTTP/1.1¦Host: a",
        "GET http://a:80/ HTTP/1.1¦Host: a",
        "GET http://a/ HTTP/1.1",
        "GET http://a/ HTTP/1.0",
    ] {
        assert_eq!(verdict(head), Err(Fault::Host), "{head:?}");
    }
}

#[test]
fn a_client_cannot_nominate_what_is_not_its_own() {
    for value in [
        "\"X-User\"",
        ":authority",
        "host",
        "close, Host",
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "a b",
        "1,2,3,4,5,6,7,8,9,10",
    ] {
        assert_eq!(verdict(&format!("GET / HTTP/1.1¦Host: a¦Connection: {value}")), Err(Fault::Framing), "{value:?}");
    }
    assert_eq!(verdict("GET / HTTP/1.1¦Host: a¦Connection: 1,2,3,4,5¦Connection: 6,7,8,9,10"), Err(Fault::Framing));
}

#[test]
fn what_is_too_large_is_refused_at_its_bound() {
    let target = |length: usize| verdict(&format!("GET /{} HTTP/1.1¦Host: a", "x".repeat(length - 1)));
    assert_eq!(target(64), shape(Some(0), false));
    assert_eq!(target(65), Err(Fault::TargetTooLong));
    // "Host: a" and "X: " with their line ends take 9 + 5 bytes.
    let headers = |length: usize| verdict(&format!("GET / HTTP/1.1¦Host: a¦X: {}", "x".repeat(length - 14)));
    assert_eq!(headers(4096), shape(Some(0), false));
    assert_eq!(headers(4097), Err(Fault::HeadersTooLarge));
    let lines = |count: usize| verdict(&format!("GET / HTTP/1.1¦Host: a{}", "¦X: 1".repeat(count - 1)));
    assert_eq!(lines(100), shape(Some(0), false));
    assert_eq!(lines(101), Err(Fault::HeadersTooLarge));
}

#[test]
fn what_never_ends_is_refused_before_it_ends() {
    let mut scan = Scan::default();
    assert_eq!(scan.advance(&[b'G'; 64 + LINE_SLACK], LIMITS), Ok(None));
    assert_eq!(scan.advance(&[b'G'; 65 + LINE_SLACK], LIMITS), Err(Fault::TargetTooLong));
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    head.resize(head.len() + 4098, b'x');
    let mut scan = Scan::default();
    assert_eq!(scan.advance(&head, LIMITS), Ok(None));
    head.push(b'x');
    assert_eq!(scan.advance(&head, LIMITS), Err(Fault::HeadersTooLarge));
}

#[test]
fn the_end_is_found_however_the_bytes_arrive() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut scan = Scan::default();
    for end in 1..head.len() {
        assert_eq!(scan.advance(&head[..end], LIMITS), Ok(None));
    }
    assert_eq!(scan.advance(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nmore", LIMITS), Ok(Some(head.len())));
}

#[test]
fn a_refused_request_is_sketched_only_as_far_as_it_is_harmless() {
    assert_eq!(sketch(b"GET /a?token=x HTTP/1.1\r\n"), Sketch { method: "GET", path: "/a", version: "1.1" });
    assert_eq!(sketch(b"GET /a\x1b[31m HTTP/1.0\r\n"), Sketch { method: "GET", path: "", version: "1.0" });
    assert_eq!(sketch(b"\x16\x03\x01"), Sketch::default());
    assert_eq!(sketch(b""), Sketch::default());
}

/// Heads that are nearly right: a good one with some bytes changed, inserted or taken out.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let good = prop::sample::select(vec![
        "GET /a/b?c=d HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
        "PUT http://a.test/x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.0\r\nX_Auth.Subject: \u{e9}\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a:1\r\nUpgrade: websocket\r\nConnection: Upgrade, x\r\n\r\n",
    ]);
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b" \t\r\n:,;/@#%\\\0_-.A0".to_vec())];
    let edits = prop::collection::vec((0..3u8, any::<prop::sample::Index>(), byte), 0..4);
    (good, edits).prop_map(|(good, edits)| {
        let mut bytes = good.as_bytes().to_vec();
        for (kind, at, byte) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

/// How the engine reads a head: method, target, fields.
type Reading = (String, Vec<u8>, Vec<(String, Vec<u8>)>);

fn engine_reads(head: &[u8]) -> Option<Reading> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        client.write_all(head).await.unwrap();
        let mut session = ServerSession::new_http1(Box::new(server));
        if !session.read_request().await.ok()? {
            return None;
        }
        let header = session.req_header();
        let fields = header.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Some((header.method.to_string(), header.raw_path().to_vec(), fields.collect()))
    })
}

fn plain_reading(head: &[u8]) -> Option<Reading> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        _ => return None,
    }
    let fields = request.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
    Some((request.method?.into(), request.path?.into(), fields.collect()))
}

/// Whether two readers of another make take a head that passes, and in the same way.
fn is_read_alike(head: &[u8], shape: Shape) -> Result<(), TestCaseError> {
    let (Some(mut plain), Some(mut engine)) = (plain_reading(head), engine_reads(head)) else {
        return Err(TestCaseError::fail("a reader refuses it"));
    };
    plain.2.sort();
    engine.2.sort();
    prop_assert_eq!(&plain, &engine);
    prop_assert!(head.starts_with(plain.0.as_bytes()));
    let chunked = plain.2.iter().any(|(name, _)| name == "transfer-encoding");
    prop_assert_eq!(shape.length.is_none(), chunked);
    Ok(())
}

#[test]
fn every_byte_that_may_stand_in_a_target_or_a_field_is_read_alike() {
    for byte in 0..=255u8 {
        for (before, after) in [
            ("GET /", "x HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /?", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET http://a/x", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET http://a/?x", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX", ": y\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: y", "z\r\n\r\n"),
        ] {
            let head = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            if let Ok(shape) = check(&head, LIMITS) {
                is_read_alike(&head, shape).unwrap_or_else(|fault| panic!("{byte:#04x} after {before:?}: {fault}"));
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_check_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let passed = judge(&bytes).is_ok() && check(&bytes, LIMITS).is_ok();
        prop_assert!(!passed || !sketch(&bytes).method.is_empty());
    }

    #[test]
    fn what_passes_is_read_alike_by_every_reader(bytes in nearly_right()) {
        let Ok(Some(end)) = Scan::default().advance(&bytes, LIMITS) else { return Ok(()) };
        let head = &bytes[..end];
        if let Ok(shape) = check(head, LIMITS) {
            is_read_alike(head, shape)?;
        }
    }
}
