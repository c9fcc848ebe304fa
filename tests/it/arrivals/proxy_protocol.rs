//! The PROXY protocol over real sockets (attacks H-55, H-59).

use std::time::Duration;

use super::{CLIENT, House, assert_refused};

const LISTENER: &str = "{ address = \"127.0.0.1:0\", proxy_protocol = true }";
const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1\"]";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn house() -> House {
    House::with(LISTENER, TRUSTING)
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n").into_bytes()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    [V2, &[0x20 | command, family], &u16::try_from(body.len()).expect("short").to_be_bytes(), body].concat()
}

/// Of an IPv4 client, with extensions behind.
fn v2_of(client: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    v2(1, 0x11, &[&client[..], &[192, 0, 2, 1, 0x12, 0x67, 1, 187], extensions].concat())
}

fn v2_of_ipv6(client: &str) -> Vec<u8> {
    let client: std::net::Ipv6Addr = client.parse().expect("an address");
    v2(1, 0x21, &[&client.octets()[..], &[0; 15], &[1, 0x12, 0x67, 1, 187]].concat())
}

#[test]
fn the_client_of_the_header_is_the_client_for_lists_logs_and_upstreams() {
    let house = house();
    // CRC32C and the authority, as HAProxy would send them: not looked at.
    let extensions = [&[3, 0, 4, 1, 2, 3, 4, 2, 0, 8][..], b"api.test"].concat();
    for header in [
        v1(CLIENT),
        v2_of([203, 0, 113, 7], &[]),
        v2_of([203, 0, 113, 7], &extensions),
        format!("PROXY TCP6 ::ffff:{CLIENT} ::1 4711 443\r\n").into_bytes(),
        v2_of_ipv6(&format!("::ffff:{CLIENT}")),
    ] {
        let reply = house.behind(&header, &house.call("/listed/x")).ok();
        let line = house.gateway.line_of(&reply);
        assert_eq!((line["peer_ip"].as_str(), line["client_ip"].as_str()), (Some(CLIENT), Some(CLIENT)), "{line}");
        assert_eq!(house.upstream.last().header("X-Forwarded-For"), Some(CLIENT));
        house.upstream.forget();
    }
    for header in [v1("203.0.113.8"), v2_of([203, 0, 113, 8], &[]), v2_of_ipv6("2001:db8::7"), v1("127.0.0.1")] {
        house.behind(&header, &house.call("/listed/x")).denied("ip_denied");
        house.upstream.assert_untouched();
    }
    let reply = house.behind(v2_of_ipv6("2001:db8::7"), &house.call("/public/x")).ok();
    assert_eq!(house.gateway.line_of(&reply)["client_ip"], "2001:db8::7");
    // A head that does not reach the gate is logged with the same address.
    let reply = house.gateway.caller().send_raw([&v1(CLIENT)[..], b"GET /a b HTTP/1.1\r\n\r\n"].concat()).is(400);
    assert_eq!(house.gateway.line_of(&reply)["peer_ip"], CLIENT);
}

#[test]
fn every_request_of_the_connection_is_the_clients() {
    let house = house();
    let mut connection = house.gateway.caller().connect();
    connection.write(v1(CLIENT));
    for _ in 0..3 {
        house.call("/listed/x").send_on(&mut connection).ok();
    }
    // A second header is no request.
    assert_eq!(connection.send_raw([v1(CLIENT), house.call("/listed/x").bytes()].concat()).status, 400);
    connection.assert_closed();
}

#[test]
fn a_header_may_arrive_byte_by_byte_and_together_with_requests() {
    let house = house();
    for header in [v1(CLIENT), v2_of([203, 0, 113, 7], &[4, 0, 1, 0])] {
        let mut connection = house.gateway.caller().connect();
        for byte in &header {
            connection.write([*byte]);
        }
        house.call("/listed/x").send_on(&mut connection).ok();

        let two = house.call("/listed/x").bytes().repeat(2);
        let mut connection = house.gateway.caller().connect();
        connection.write([header, two].concat());
        for _ in 0..2 {
            connection.read_reply(false).expect("an answer").ok();
        }
    }
}

#[test]
fn a_connection_of_the_proxy_itself_has_the_proxys_address() {
    let house = house();
    for header in [v2(0, 0x00, &[]), v2(0, 0x11, &[203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187])] {
        let reply = house.behind(&header, &house.call("/listed/x")).denied("ip_denied");
        assert_eq!(house.gateway.line_of(&reply)["peer_ip"], "127.0.0.1", "{header:?}");
        house.behind(&header, &house.call("/listed/x").header("X-Forwarded-For", CLIENT)).ok();
    }
}

/// With the proxy's own address such a client would have its trust, and could say whose address he likes.
#[test]
fn h55_a_client_that_the_proxy_does_not_know_has_no_address_and_is_believed_in_nothing() {
    for trusting in [TRUSTING, "trusted_proxies = [\"127.0.0.1\", \"unix\"]"] {
        let house = House::with(LISTENER, trusting);
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            format!("PROXY UNKNOWN {CLIENT} 192.0.2.1 4711 443\r\n").into_bytes(),
            v2(1, 0x31, &[0; 216]),
            v2(1, 0x00, &[]),
        ] {
            let reply = house.behind(&header, &house.call("/listed/x")).denied("ip_denied");
            let line = house.gateway.line_of(&reply);
            assert!(line["peer_ip"].is_null() && line["client_ip"].is_null(), "{line}");
            for (name, value) in [("X-Forwarded-For", CLIENT), ("Forwarded", "for=203.0.113.7")] {
                house.behind(&header, &house.call("/listed/x").header(name, value)).denied("ip_denied");
            }
            house.upstream.assert_untouched();
            let told = [("X-Forwarded-For", CLIENT), ("X-Real-IP", CLIENT), ("X-Forwarded-Proto", "https")];
            let call = told.iter().fold(house.call("/public/x"), |call, (name, value)| call.header(name, value));
            house.behind(&header, &call.header("X-Request-Id", "theirs")).ok();
            let sent = house.upstream.last();
            assert_eq!(["X-Forwarded-For", "X-Real-IP"].map(|name| sent.header(name)), [None, None]);
            assert_eq!(sent.header("X-Forwarded-Proto"), Some("http"));
            assert!(sent.header("X-Request-Id").is_some_and(|id| id != "theirs"));
            house.upstream.forget();
        }
    }
}

#[test]
fn forwarding_headers_are_believed_of_the_client_of_the_header_and_not_of_who_sent_it() {
    let house = House::with(LISTENER, "trusted_proxies = [\"127.0.0.1\", \"198.51.100.0/24\"]");
    let call = |told: &str| house.call("/listed/x").header("X-Forwarded-For", told);
    house.behind(v1("192.0.2.9"), &call(CLIENT)).denied("ip_denied");
    house.behind(v1("198.51.100.1"), &call(CLIENT)).ok();
    house.behind(v1("198.51.100.1"), &call("192.0.2.9")).denied("ip_denied");
    house.behind(v1(CLIENT), &call("192.0.2.9")).ok();
}

#[test]
fn h59_a_header_of_an_untrusted_peer_is_not_read() {
    let house = house();
    let stranger = house.gateway.caller().from("127.0.0.2");
    for header in [v1(CLIENT), v2_of([203, 0, 113, 7], &[]), v1("127.0.0.1"), Vec::new()] {
        let mut connection = stranger.connect();
        connection.write([header, house.call("/public/x").bytes()].concat());
        assert_refused(connection);
    }
    house.becomes_turned_away("untrusted_peer", 4);
    house.upstream.assert_untouched();

    // With the next reload it may be another one.
    let file = std::fs::read_to_string(house.gateway.directory().join("portcullis.toml")).expect("the file");
    house.gateway.rewrite("portcullis.toml", &file.replace(TRUSTING, "trusted_proxies = [\"127.0.0.2\"]"));
    house.gateway.reload().expect("a good configuration");
    stranger.send_raw([v1(CLIENT), house.call("/listed/x").bytes()].concat()).ok();
    let mut connection = house.gateway.caller().connect();
    connection.write(v1(CLIENT));
    assert_refused(connection);
}

#[test]
fn what_is_not_exactly_a_header_closes_the_connection() {
    let house = house();
    let request = house.call("/public/x").bytes();
    let text = |line: &str| [line.as_bytes(), &request].concat();
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let malformed = [
        request.clone(),
        text("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n"),
        text("PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n"),
        text("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443 1\r\n"),
        text("PROXY TCP4 203.0.113.07 192.0.2.1 4711 443\r\n"),
        text("PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\n"),
        text("PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n"),
        text("PROXY TCP4 ::1 ::1 4711 443\r\n"),
        text("PROXY TCP6 203.0.113.7 192.0.2.1 4711 443\r\n"),
        text("PROXY  TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"),
        text("PROXY UDP4 203.0.113.7 192.0.2.1 4711 443\r\n"),
        text("proxy TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"),
        text(" PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"),
        text(&long),
        [&v2(2, 0x11, &[0; 12])[..], &request].concat(),
        [&v2(1, 0x12, &[0; 12])[..], &request].concat(),
        [&v2(1, 0x11, &[0; 11])[..], &request].concat(),
        [&v2(1, 0x21, &[0; 35])[..], &request].concat(),
        [&v2(1, 0x11, &[0; 4097])[..], &request].concat(),
        [V2, &[0x11, 0x11, 0, 12], &[0; 12], &request].concat(),
        b"\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), // TLS
    ];
    for bytes in &malformed {
        let mut connection = house.gateway.caller().connect();
        connection.write(bytes);
        assert_refused(connection);
    }
    house.becomes_turned_away("proxy_header", u32::try_from(malformed.len()).expect("few"));
    house.upstream.assert_untouched();
    // Who breaks off within a header has not sent one either, and who only looks whether somebody listens is no fault.
    for start in [&b"PROXY TCP4 203"[..], &V2[..7]] {
        let mut connection = house.gateway.caller().connect();
        connection.write(start);
        connection.finish();
        assert_refused(connection);
    }
    let looking = house.gateway.caller().connect();
    looking.finish();
    assert_refused(looking);
    house.becomes_turned_away("proxy_header", u32::try_from(malformed.len() + 2).expect("few"));
    house.behind(v1(CLIENT), &house.call("/listed/x")).ok();
}

#[test]
fn a_slow_header_is_ended_by_the_deadline_however_often_a_byte_of_it_comes() {
    let house = House::with(LISTENER, &format!("{TRUSTING}\nhandshake_timeout = \"400ms\""));
    let silent = house.gateway.caller().connect();
    let mut dripping = house.gateway.caller().connect();
    let mut drip = dripping.split();
    let dripping_on = std::thread::spawn(move || {
        for byte in v1(CLIENT).iter().take(20) {
            drip.write([*byte]);
            std::thread::sleep(Duration::from_millis(50)); // the client's pace, not a proof of anything
        }
    });
    let waited = assert_refused(silent);
    assert!(waited >= Duration::from_millis(350), "{waited:?}");
    dripping.assert_closed();
    dripping_on.join().expect("the client");
    house.becomes_turned_away("handshake_timeout", 2);
    // The deadline is for the header alone: what comes after it has deadlines of its own.
    let mut connection = house.gateway.caller().connect();
    connection.write(v1(CLIENT));
    std::thread::sleep(Duration::from_millis(600)); // longer than the deadline
    house.call("/listed/x").send_on(&mut connection).ok();
}

#[test]
fn h59_a_header_is_refused_with_400_where_it_is_not_enabled() {
    let house = House::with("127.0.0.1:0", TRUSTING);
    for header in [v1(CLIENT), v2_of([203, 0, 113, 7], &[]), v2(0, 0, &[])] {
        let mut connection = house.gateway.caller().connect();
        let reply = connection.send_raw([header, house.call("/listed/x").bytes()].concat());
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_eq!(house.gateway.line_of(&reply)["client_ip"], serde_json::Value::Null);
        connection.assert_closed();
    }
    house.upstream.assert_untouched();
}
