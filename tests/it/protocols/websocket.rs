//! WebSockets with a client and a server from elsewhere.

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::{Bytes, Message};

use super::{agree, application, closed, field, lives, socket, try_socket};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::scripted::Scripted;

fn before(application: &Scripted, more: &str) -> (Gateway, Standard) {
    let standard = Standard::new();
    (Gateway::builder().standard_with(&standard, more).place("upstream", application.addr()).start(), standard)
}

#[test]
fn messages_of_every_kind_and_size_pass_both_ways() {
    let application = application();
    let (gateway, standard) = before(&application, "");
    let bearer = format!("Bearer {}", standard.alice().sign());
    let mut socket = socket(gateway.addr(), "api.test", "/jwt/ws", &[("Authorization", &bearer)]);
    for size in [0_usize, 1, 125, 126, 65_535, 65_536, 1_000_000, 5_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
        for message in [Message::binary(bytes), Message::text("ä".repeat(size / 2))] {
            socket.send(message.clone()).expect("sent");
            assert!(socket.read().expect("an answer") == message, "{size}");
        }
    }
    // In pieces, with a ping between them.
    let piece = |opcode, text: &'static str, last| {
        Message::Frame(Frame::message(Bytes::from_static(text.as_bytes()), OpCode::Data(opcode), last))
    };
    socket.send(piece(Data::Text, "in three ", false)).expect("sent");
    socket.send(piece(Data::Continue, "pieces ", false)).expect("sent");
    socket.send(Message::Ping("between".into())).expect("sent");
    socket.send(piece(Data::Continue, "at least", true)).expect("sent");
    assert_eq!(socket.read().expect("an answer"), Message::Pong("between".into()));
    assert_eq!(socket.read().expect("an answer"), Message::text("in three pieces at least"));
    // What is sent ahead arrives in order.
    for n in 0..500 {
        socket.send(Message::text(format!("{n}"))).expect("sent");
    }
    for n in 0..500 {
        assert_eq!(socket.read().expect("an answer"), Message::text(format!("{n}")));
    }
}

#[test]
fn what_either_side_says_when_it_closes_arrives_at_the_other() {
    let saying = |code: u16| CloseFrame { code: CloseCode::from(code), reason: "that is why".into() };
    let application = Scripted::start(move |line, _| {
        let Some(head) = line.request() else { return };
        let key = field(&head, "sec-websocket-key").expect("a WebSocket");
        let mut socket = agree(line, key);
        match socket.read() {
            Ok(Message::Text(code)) => {
                socket.close(Some(saying(code.parse().expect("a code")))).expect("sent");
                while socket.read().is_ok() {}
            }
            Ok(Message::Close(Some(frame))) => {
                // Heard: it is answered in kind, and that is the last.
                assert_eq!(&*frame.reason, "that is why");
                while socket.read().is_ok() {}
            }
            other => panic!("{other:?}"),
        }
    });
    let (gateway, _) = before(&application, "");
    for code in [1000, 1001, 1011, 3000, 4401] {
        let open = || try_socket(gateway.addr(), "api.test", "/public/ws", &[]).expect("a WebSocket");
        let mut asking = open();
        asking.send(Message::text(code.to_string())).expect("sent");
        assert_eq!(closed(asking), Some(saying(code)));

        let mut leaving = open();
        leaving.close(Some(saying(code))).expect("sent");
        assert_eq!(closed(leaving).map(|frame| u16::from(frame.code)), Some(code));
    }
    gateway.metric_becomes("portcullis_requests_total", &[("code", "101"), ("outcome", "forwarded")], 10.0);
}

#[test]
fn whoever_may_not_open_one_reaches_nobody() {
    let application = application();
    let (gateway, standard) = before(&application, "");
    let refused = |target: &str, fields: &[super::Field]| try_socket(gateway.addr(), "api.test", target, fields).err();
    let expired = format!("Bearer {}", standard.alice().expires_in(-1).sign());
    let good = format!("Bearer {}", standard.alice().sign());
    assert_eq!(refused("/jwt/ws", &[]), Some(401));
    assert_eq!(refused("/jwt/ws", &[("Authorization", "Bearer rubbish")]), Some(401));
    assert_eq!(refused("/jwt/ws", &[("Authorization", &expired)]), Some(401));
    assert_eq!(refused("/admin/ws", &[("Authorization", &good)]), Some(403));
    assert_eq!(refused("/nowhere/ws", &[("Authorization", &good)]), Some(404));
    assert_eq!(application.connections(), 0);
    // The credential may stand where a browser can put it.
    let target = format!("/query/ws?token={}", standard.alice().sign());
    assert!(lives(&mut socket(gateway.addr(), "api.test", &target, &[])));
}

#[test]
fn a_server_that_does_not_say_whether_it_agrees_is_a_gateway_timeout() {
    let silent = Scripted::start(|line, _| {
        line.request();
        line.until_closed();
    });
    let route = "\n[[routes]]\npath = \"/hasty/**\"\nauth = [\"public\"]\ntimeouts = { read = \"300ms\" }\n";
    let (gateway, _) = before(&silent, route);
    assert_eq!(try_socket(gateway.addr(), "api.test", "/hasty/ws", &[]).err(), Some(504));
}

#[test]
fn a_tunnel_may_be_silent_for_longer_than_an_answer_and_not_for_ever() {
    let application = application();
    let route = "\n[[routes]]\npath = \"/hasty/**\"\nauth = [\"public\"]\n\
                 timeouts = { read = \"200ms\", tunnel = \"1s\" }\n";
    let (gateway, _) = before(&application, route);
    let mut socket = socket(gateway.addr(), "api.test", "/hasty/ws", &[]);
    let begun = portcullis::clock::Stopwatch::start();
    assert!(socket.read().is_err(), "nobody says anything");
    let silent = begun.elapsed();
    assert!(silent >= std::time::Duration::from_millis(900), "{silent:?}");
    let line = gateway.log().line_where("the tunnel", |line| line["status"] == 101);
    assert_eq!((&line["outcome"], &line["reason"]), (&"error".into(), &"upstream_timeout".into()));
}

#[test]
fn control_frames_of_the_upstream_arrive() {
    let application = Scripted::start(|line, _| {
        let Some(head) = line.request() else { return };
        let mut socket = agree(line, field(&head, "sec-websocket-key").expect("a WebSocket"));
        let ping = Frame::ping(Bytes::from_static(b"still there?"));
        assert_eq!(ping.header().opcode, OpCode::Control(Control::Ping));
        socket.send(Message::Frame(ping)).expect("sent");
        let pong = socket.read().expect("an answer");
        socket.send(Message::text(format!("{pong:?}"))).expect("sent");
    });
    let (gateway, _) = before(&application, "");
    let mut socket = try_socket(gateway.addr(), "api.test", "/public/ws", &[]).expect("a WebSocket");
    assert_eq!(socket.read().expect("a ping"), Message::Ping("still there?".into()));
    assert!(socket.read().expect("an answer").to_text().expect("a text").starts_with("Pong("));
}
