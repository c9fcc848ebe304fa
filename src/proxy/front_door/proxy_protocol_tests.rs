use proptest::prelude::*;

use super::*;

fn client(text: &str) -> Origin {
    Origin::Client(text.parse().unwrap())
}

fn complete(header: &[u8]) -> Option<Origin> {
    match scan(header) {
        Ok(Scan::Complete { origin, length }) if length == header.len() => Some(origin),
        _ => None,
    }
}

fn v2_header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2, &[0x20 | command, family], &length, body].concat()
}

const IPV4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];

fn ipv6(source: &str) -> Vec<u8> {
    let addresses = [source, "2001:db8::2"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets()).concat();
    [addresses, vec![0x12, 0x67, 1, 187]].concat()
}

#[test]
fn a_header_says_whose_connection_it_is() {
    for (header, origin) in [
        ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", client("203.0.113.7:4711")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 0\r\n", client("[2001:db8::1]:4711")),
        ("PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2\r\n", client("[2001:db8::1]:1")),
        ("PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", client("203.0.113.7:1")),
        ("PROXY UNKNOWN\r\n", Origin::Unknown),
        ("PROXY UNKNOWN whatever it is \0\r\n", Origin::Unknown),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Origin::Unknown,
        ),
    ] {
        assert_eq!(complete(header.as_bytes()), Some(origin), "{header:?}");
    }
    let extension = [0x04, 0, 2, 0, 0];
    for (header, origin) in [
        (v2_header(1, 0x11, &IPV4), client("203.0.113.7:4711")),
        (v2_header(1, 0x11, &[&IPV4[..], &extension].concat()), client("203.0.113.7:4711")),
        (v2_header(1, 0x21, &ipv6("2001:db8::1")), client("[2001:db8::1]:4711")),
        (v2_header(1, 0x21, &ipv6("::ffff:203.0.113.7")), client("203.0.113.7:4711")),
        (v2_header(1, 0x31, &[0; 216]), Origin::Unknown),
        (v2_header(1, 0x00, &[]), Origin::Unknown),
        (v2_header(1, 0x00, &extension), Origin::Unknown),
        (v2_header(0, 0x00, &[]), Origin::Peer),
        (v2_header(0, 0x11, &IPV4), Origin::Peer),
        (v2_header(0, 0xff, &extension), Origin::Peer),
        (v2_header(1, 0x11, &[&IPV4[..], &[0; LONGEST_V2 - 12]].concat()), client("203.0.113.7:4711")),
    ] {
        assert_eq!(complete(&header), Some(origin), "{header:?}");
    }
}

#[test]
fn what_is_not_exactly_a_header_is_none() {
    for bad in [
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
        "proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
        " PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
        "PROXY tcp4 203.0.113.7 192.0.2.1 1 2\r\n",
        "PROXY TCP5 203.0.113.7 192.0.2.1 1 2\r\n",
        "PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 2 \r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n",
        "PROXY TCP4 203.0.113.7  192.0.2.1 1 2\r\n",
        "PROXY TCP4 203.0.113.7\t192.0.2.1 1 2\r\n",
        "PROXY TCP4 203.0.113.07 192.0.2.1 1 2\r\n",
        "PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n",
        "PROXY TCP4 203.0.113.256 192.0.2.1 1 2\r\n",
        "PROXY TCP4 203.0.113.7 x 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 -1 2\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 65536\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 \r\n",
        "PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\rX",
        "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\r\n",
    ] {
        assert_eq!(scan(bad.as_bytes()), Err(Malformed), "{bad:?}");
    }
    assert_eq!(scan(b"PROXY TCP4 203.0.113.\xb7 192.0.2.1 1 2\r\n"), Err(Malformed));
    for length in [LONGEST_V1 - 2, LONGEST_V1 - 1, LONGEST_V1, 1000] {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 14));
        let fits = long.len() <= LONGEST_V1;
        assert_eq!(complete(long.as_bytes()).is_some(), fits, "{length}");
    }
    for (command, family, body) in [
        (2, 0x11, &IPV4[..]),
        (0xf, 0x11, &IPV4),
        (1, 0x12, &IPV4),
        (1, 0x10, &IPV4),
        (1, 0x01, &IPV4),
        (1, 0x22, &[0; 36]),
        (1, 0x41, &[0; 216]),
        (1, 0x11, &IPV4[..11]),
        (1, 0x11, &[]),
        (1, 0x21, &IPV4),
        (1, 0x31, &[0; 215]),
        (0, 0x00, &[0; LONGEST_V2 + 1]),
    ] {
        assert_eq!(scan(&v2_header(command, family, body)), Err(Malformed), "{command} {family:x} {}", body.len());
    }
    let mut other_version = v2_header(1, 0x11, &IPV4);
    for version in [0x01, 0x11, 0x31, 0xf1] {
        other_version[12] = version;
        assert_eq!(scan(&other_version), Err(Malformed));
    }
}

/// What is announced too long, or is of no kind, is not waited for.
#[test]
fn what_cannot_become_a_header_is_refused_at_its_first_wrong_byte() {
    assert_eq!(scan(b"G"), Err(Malformed));
    assert_eq!(scan(b"PX"), Err(Malformed));
    assert_eq!(scan(b"\r\n\r\n\0\r\nQUIT\r"), Err(Malformed));
    assert_eq!(scan(&[V2, &[0x21, 0x11, 0xff, 0xff]].concat()), Err(Malformed));
    assert_eq!(scan(&[V2, &[0x21, 0x12, 0, 12]].concat()), Err(Malformed));
    assert_eq!(scan(&[b'P'; 200]), Err(Malformed));
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let v1 =
        (any::<Ipv4Addr>(), any::<u16>()).prop_map(|(ip, port)| format!("PROXY TCP4 {ip} 192.0.2.1 {port} 80\r\n"));
    let v1_ipv6 = (any::<Ipv6Addr>(), any::<u16>()).prop_map(|(ip, port)| format!("PROXY TCP6 {ip} ::1 {port} 80\r\n"));
    let v2 = prop::collection::vec(any::<u8>(), 12..300).prop_map(|body| v2_header(1, 0x11, &body));
    let local = prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| v2_header(0, 0, &body));
    prop_oneof![v1.prop_map(String::into_bytes), v1_ipv6.prop_map(String::into_bytes), v2, local]
}

proptest! {
    /// Whoever reads no more than is asked for reads nothing beyond a header of version 2, and may hand back what
    /// follows one of version 1.
    #[test]
    fn a_header_is_the_same_however_it_is_cut(header in header(), cut in 1_usize..20, after in "[ -~]{0,200}") {
        let sent = [&header[..], after.as_bytes()].concat();
        let mut read = Vec::new();
        let scanned = loop {
            match scan(&read) {
                Ok(Scan::More(more)) => {
                    prop_assert!(more > 0);
                    let next = sent.len().min(read.len() + more.min(cut));
                    prop_assert!(next > read.len());
                    read.extend_from_slice(&sent[read.len()..next]);
                }
                other => break other,
            }
        };
        let whole = scan(&header);
        prop_assert_eq!(scanned, whole);
        prop_assert!(matches!(whole, Ok(Scan::Complete { length, .. }) if length == header.len()), "{:?}", whole);
        prop_assert!(header.starts_with(V1) || read.len() == header.len());
    }

    #[test]
    fn garbage_is_never_more_than_refused(
        start in prop::sample::select(vec![&b""[..], V1, V2, b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
        text in "[0-9a-f.: \r\n]{0,120}",
    ) {
        for tail in [&rest[..], text.as_bytes()] {
            let bytes = [start, tail].concat();
            if let Ok(Scan::Complete { length, .. }) = scan(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            if let Ok(Scan::More(more)) = scan(&bytes) {
                prop_assert!(more > 0 && bytes.len() + more <= FIXED_V2 + LONGEST_V2);
            }
        }
    }
}
