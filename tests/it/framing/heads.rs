//! Heads and bodies that two readers could frame differently (H-01 to H-08).

use super::{NEXT, SMUGGLED, house, post, statuses};

#[test]
fn h01_a_length_beside_a_transfer_coding_is_refused() {
    let house = house();
    for length in [0, 5, SMUGGLED.len()] {
        let (length, chunked) = (format!("Content-Length: {length}"), "Transfer-Encoding: chunked");
        house.refused(400, post(&format!("{length}\r\n{chunked}"), SMUGGLED));
        house.refused(400, post(&format!("{chunked}\r\n{length}"), SMUGGLED));
        house.refused(400, post(&format!("{length}\r\nX: y\r\n{chunked}"), "5\r\nhello\r\n0\r\n\r\n"));
    }
}

#[test]
fn h02_no_spelling_of_the_transfer_coding_parts_gateway_and_upstream() {
    let house = house();
    let plain = [
        " Transfer-Encoding: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding\t:\tchunked",
        "Transfer Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer Encoding:chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding: chunked, cow",
        "Transfer-Encoding: cow, chunked",
        "Content-Encoding: chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunk",
        "TrAnSFer-EnCODinG: cHuNkeD",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer\r-Encoding: chunked",
        "Transfer-Encoding: cow chunked bar",
        "X:X\rTransfer-Encoding: chunked",
        "X:X\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "\u{0}Transfer-Encoding: chunked",
        "Foo: bar\r\n\rTransfer-Encoding: chunked",
    ];
    let mut spellings: Vec<Vec<u8>> = plain.iter().map(|spelling| spelling.as_bytes().to_vec()).collect();
    for byte in (0x01..0x20).chain(0x7f..=0xff) {
        for (before, after) in [
            ("Transfer-Encoding:", "chunked"),
            ("Transfer-Encoding", ": chunked"),
            ("", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", ""),
            ("X: X", "Transfer-Encoding: chunked"),
        ] {
            spellings.push([before.as_bytes(), &[byte], after.as_bytes()].concat());
        }
    }
    for spelling in &spellings {
        let length = format!("Content-Length: {}", SMUGGLED.len());
        let start = "POST /public/x HTTP/1.1\r\nHost: api.test\r\n".as_bytes();
        house.harmless(&[start, length.as_bytes(), b"\r\n", spelling].concat(), SMUGGLED.as_bytes());
        house.harmless(&[start, spelling, b"\r\n", length.as_bytes()].concat(), SMUGGLED.as_bytes());
    }
}

#[test]
fn h04_http_10_has_no_chunks_and_no_body_without_a_length() {
    let house = house();
    for connection in ["close", "keep-alive"] {
        house.refused(
            400,
            format!(
                "POST /public/x HTTP/1.0\r\nHost: api.test\r\nConnection: {connection}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{SMUGGLED}"
            ),
        );
    }
    // What follows a head without a length is no body, and on a connection that ends it is nothing at all.
    let replies = house.exchange(format!("POST /public/x HTTP/1.0\r\nHost: api.test\r\n\r\n{NEXT}").as_bytes());
    assert_eq!(statuses(&replies), [200]);
    assert!(replies[0].says_close());
    assert_eq!(house.seen(), [("/public/x".to_owned(), 0)]);
    // Kept alive, with a length.
    let call = "POST /public/x HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    house.taken(call, "/public/x", 5);
}

#[test]
fn h05_a_length_is_one_plain_number() {
    let house = house();
    let body = "hello";
    for value in [
        "5, 6",
        "5, 5",
        "5,5",
        "+5",
        "-1",
        "-0",
        "0x5",
        "1_0",
        "5 5",
        "5;",
        "5.0",
        "5e0",
        "05",
        "",
        "12345678901234567890",
        "99999999999999999999",
        "18446744073709551621",
        "5\u{a0}",
        "\u{665}",
        "five",
    ] {
        house.refused(400, post(&format!("Content-Length: {value}"), body));
    }
    for (first, second) in [("5", "6"), ("6", "5"), ("5", "5"), ("", "43"), ("0", "5")] {
        house.refused(400, post(&format!("Content-Length: {first}\r\nContent-Length: {second}"), body));
        house.refused(400, post(&format!("Content-Length: {first}\r\nX: y\r\ncontent-length: {second}"), body));
    }
    // Blanks around a value are no part of it (RFC 9110 section 5.5).
    for value in ["5", "5 ", "\t5\t "] {
        house.taken(post(&format!("Content-Length: {value}"), body), "/public/x", 5);
    }
}

#[test]
fn h05_names_that_only_look_like_a_length_are_ordinary_headers() {
    let house = house();
    for name in ["Content_Length", "Content-Length-", "X-Content-Length", "Content.Length"] {
        house.taken(post(&format!("{name}: {}", NEXT.len()), ""), "/public/x", 0);
    }
    for name in ["Content-Length ", "Content Length", " Content-Length", "Content-Length\u{0}", "\u{b}Content-Length"] {
        house.refused(400, post(&format!("{name}: 5"), "hello"));
    }
}

#[test]
fn h07_trailers_are_dropped_and_bounded() {
    let house = house();
    for trailers in [
        "Authorization: Bearer x\r\n",
        "X-Auth-Subject: mallory\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: other.test\r\nConnection: close\r\n",
        "A: b\r\nC: d\r\nE: f\r\n",
    ] {
        let call = post("Transfer-Encoding: chunked\r\nTrailer: X-End", &format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
        house.taken(&call, "/public/x", 5);
        house.exchange(call.as_bytes());
        let seen = house.upstream.only();
        assert!(seen.trailers.is_empty(), "{seen:?}");
        assert_eq!(seen.header("host"), Some("api.test"));
        for name in ["Authorization", "X-Auth-Subject", "Trailer", "Content-Length"] {
            assert_eq!(seen.all(name), [""; 0], "{name}");
        }
        house.upstream.forget();
    }
    for (count, size) in [(1, 64 * 1024), (9000, 1)] {
        let trailers = format!("X: {}\r\n", "y".repeat(size)).repeat(count);
        house.broken(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    }
}

#[test]
fn a_chunked_body_is_framed_in_one_way_or_refused() {
    let house = house();
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;\u{0}\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
        "5\r\nhello\r\n0\r\n folded: x\r\n\r\n",
        "5\r\nhello\r\n0\r\n: x\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "100000000000000005\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "five\r\nhello\r\n0\r\n\r\n",
    ] {
        house.broken(body);
    }
    house.broken(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(9000)));
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        "005;name=\"value\";x\r\nhello\r\n000;last\r\n\r\n",
    ] {
        house.taken(post("Transfer-Encoding: chunked", body), "/public/x", 5);
    }
    let big = format!("{:X}\r\n{}\r\n0\r\n\r\n", 300_000, "b".repeat(300_000));
    house.taken(post("Transfer-Encoding: chunked", &big), "/public/x", 300_000);
    let many = "1\r\nx\r\n".repeat(20_000) + "0\r\n\r\n";
    house.taken(post("transfer-encoding: CHUNKED", &many), "/public/x", 20_000);
}

#[test]
fn h08_lines_and_fields_have_one_form() {
    let house = house();
    let get = |rest: &str| format!("GET /public/x HTTP/1.1\r\n{rest}");
    for rest in [
        "Host: api.test\nX: y\r\n\r\n",
        "Host: api.test\r\nX: y\n\r\n",
        "Host: api.test\r\nX: y\r\n\n",
        "Host: api.test\n\n",
        "Host: api.test\n\r\r\n\r\n",
        "Host: api.test\rX: y\r\n\r\n",
        "Host: api.test\r\nX: a\rb\r\n\r\n",
        "Host: api.test\r\nX: a\0b\r\n\r\n",
        "Host: api.test\r\nX: a\x1bb\r\n\r\n",
        "Host: api.test\r\nX: a\x7fb\r\n\r\n",
        "Host: api.test\r\nX-Auth-Subject: a\r\n b\r\n\r\n",
        "Host: api.test\r\nX-Auth-Subject: a\r\n\tb\r\n\r\n",
        "Host: api.test\r\nAuthorization: Bearer\r\n x\r\n\r\n",
        "Host: api.test\r\nAuthorization:\r\n Bearer x\r\n\r\n",
        " X: y\r\nHost: api.test\r\n\r\n",
        "\tHost: api.test\r\n\r\n",
        "Host: api.test\r\nX : y\r\n\r\n",
        "Host: api.test\r\nX\t: y\r\n\r\n",
        "Host: api.test\r\n: y\r\n\r\n",
        "Host: api.test\r\nX\r\n\r\n",
        "Host: api.test\r\nX;y: z\r\n\r\n",
        "Host: api.test\r\n\"X\": z\r\n\r\n",
        "Host: api.test\r\nX\u{e9}: z\r\n\r\n",
    ] {
        house.refused(400, get(rest));
    }
    for line in [
        "GET  /public/x HTTP/1.1",
        "GET /public/x  HTTP/1.1",
        "GET /public/x\tHTTP/1.1",
        "GET /public/x HTTP/1.1 ",
        " GET /public/x HTTP/1.1",
        "GET /public/x",
        "GET /public/x HTTP/1.1\r",
        "GET /public/x HTTP/1.2",
        "GET /public/x HTTP/2.0",
        "GET /public/x HTTP/0.9",
        "GET /public/x http/1.1",
        "GET /public/x HTTP/1.1 HTTP/1.1",
        "G(T /public/x HTTP/1.1",
    ] {
        house.refused(400, format!("{line}\r\nHost: api.test\r\n\r\n"));
    }
    for first in ["\r\n", "\n", "\r\n\r\n"] {
        house.refused(400, format!("{first}{}", get("Host: api.test\r\n\r\n")));
    }
}
