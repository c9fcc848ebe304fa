//! Framing and desynchronisation (attacks section 3.1): where one request ends and the next begins is what the gateway
//! and the upstream agree on, or the request is refused and the connection ends. Every case is sent three ways: alone, in
//! front of a request for `/admin/x` that nobody may make, and at the end of a connection that was used before.

mod heads;
mod sequence;

use crate::support::caller::{Connection, Reply};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

const NEXT: &str = "GET /admin/x HTTP/1.1\r\nHost: api.test\r\n\r\n";
const GOOD: &str = "GET /public/good HTTP/1.1\r\nHost: api.test\r\n\r\n";

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

fn house() -> House {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::standard(&standard, &upstream);
    House { upstream, standard, gateway }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// All answers until the connection ends.
fn answers(connection: &mut Connection) -> Vec<Reply> {
    std::iter::from_fn(|| connection.read_reply(false)).collect()
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.status).collect()
}

impl House {
    fn connect(&self) -> Connection {
        self.gateway.caller().connect()
    }

    /// Every answer to these bytes, the client's side being ended behind them.
    fn exchange(&self, bytes: &[u8]) -> Vec<Reply> {
        let mut connection = self.connect();
        connection.write(bytes);
        connection.finish();
        answers(&mut connection)
    }

    /// The targets that the upstream saw since the last time, each with the length of its body.
    fn seen(&self) -> Vec<(String, usize)> {
        let seen = self.upstream.requests();
        self.upstream.forget();
        seen.into_iter().map(|request| (request.target, request.body.len())).collect()
    }

    fn untouched(&self, what: &[u8]) {
        for bytes in self.upstream.raw_bytes() {
            assert!(bytes.is_empty(), "{}: the upstream got {}", shown(what), shown(&bytes));
        }
    }

    /// Refused with this status, whichever way it is sent; the connection ends, and not a byte goes upstream.
    fn refused(&self, status: u16, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let last_of = |replies: &[Reply], expected: &[u16]| {
            assert_eq!(statuses(replies), expected, "{}", shown(bytes));
            assert!(replies.iter().last().is_some_and(Reply::says_close), "{}: {replies:?}", shown(bytes));
        };
        let mut alone = self.connect();
        alone.write(bytes);
        last_of(&answers(&mut alone), &[status]);
        self.untouched(bytes);

        last_of(&self.exchange(&[bytes, NEXT.as_bytes()].concat()), &[status]);
        self.untouched(bytes);

        let mut used = self.connect();
        used.send_raw(GOOD).ok();
        self.upstream.forget();
        used.write([bytes, NEXT.as_bytes()].concat());
        last_of(&answers(&mut used), &[status]);
        self.untouched(bytes);
    }

    /// Answered with 200, whichever way it is sent; the upstream sees it once, with a body of this length, and what
    /// follows is judged on its own.
    fn taken(&self, bytes: impl AsRef<[u8]>, target: &str, body: usize) {
        let bytes = bytes.as_ref();
        let once = [(target.to_owned(), body)];
        assert_eq!(statuses(&self.exchange(bytes)), [200], "{}", shown(bytes));
        assert_eq!(self.seen(), once, "{}", shown(bytes));

        let replies = self.exchange(&[bytes, NEXT.as_bytes()].concat());
        assert_eq!(statuses(&replies), [200, 401], "{}", shown(bytes));
        assert_eq!(self.seen(), once, "{}", shown(bytes));

        let mut used = self.connect();
        used.send_raw(GOOD).ok();
        self.upstream.forget();
        used.write(bytes);
        assert_eq!(used.read_reply(false).map(|reply| reply.status), Some(200), "{}", shown(bytes));
        used.send_raw(NEXT).denied("missing_credentials");
        used.send_raw(GOOD).ok();
        assert_eq!(self.seen(), [once[0].clone(), ("/public/good".to_owned(), 0)], "{}", shown(bytes));
    }

    /// A chunked body that is refused where it breaks. What the upstream has seen of it is no whole request.
    fn broken(&self, body: &str) {
        let call = post("Transfer-Encoding: chunked", body);
        for before in ["", GOOD] {
            let replies = self.exchange(format!("{before}{call}{NEXT}").as_bytes());
            let expected = if before.is_empty() { vec![400] } else { vec![200, 400] };
            assert_eq!(statuses(&replies), expected, "{body:.200?}");
            assert!(replies.iter().last().is_some_and(Reply::says_close), "{body:.200?}");
            let seen = self.seen();
            assert!(seen.iter().all(|(target, _)| target == "/public/good"), "{body:.200?}: {seen:?}");
        }
    }

    /// Either [`House::refused`] or [`House::taken`] with a body of `length` bytes that hides another request.
    fn harmless(&self, head: &[u8], body: &[u8]) {
        let bytes = [head, b"\r\n\r\n", body].concat();
        // Alone; in front of another; at the end of a connection that was used, in front of another.
        for (before, after) in [("", ""), ("", NEXT), (GOOD, NEXT)] {
            let mut connection = self.connect();
            if !before.is_empty() {
                connection.send_raw(before).ok();
                self.upstream.forget();
            }
            connection.write(&bytes);
            connection.write(after);
            connection.finish();
            match (statuses(&answers(&mut connection)).as_slice(), after) {
                ([400], _) => self.untouched(&bytes),
                ([200], "") | ([200, 401], NEXT) => {
                    assert_eq!(self.seen(), [("/public/x".to_owned(), body.len())], "{}", shown(&bytes));
                }
                (got, _) => panic!("{}: {got:?}", shown(&bytes)),
            }
        }
    }
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /public/x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n\r\n{body}")
}

/// A body that is another request for whoever stops reading at its first chunk.
const SMUGGLED: &str = "0\r\n\r\nGET /admin/smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
