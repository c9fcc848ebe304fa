//! One request as one line of JSON: every field of the contract, in its order, `null` where there is nothing to say.
//!
//! Texts come from whoever sends requests: control characters, line separators and direction marks are escaped, and
//! each field has its largest length, so that a line stays one line, in a pipe as on a terminal.

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::redact::Redactor;
use super::{Ending, Outcome};
use crate::clock::UnixMillis;

/// Largest lengths of fields, in bytes of UTF-8 before escaping.
mod cap {
    pub(super) const PATH: usize = 2048;
    pub(super) const USER_AGENT: usize = 256;
    pub(super) const METHOD: usize = 32;
    pub(super) const NAME: usize = 128;
}

/// Names of what served the request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) realm: Option<&'a str>,
    pub(super) route: Option<&'a str>,
    pub(super) upstream: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// As the trail has them; the upstream only if the request got so far.
    pub(super) fn of(ending: &Ending<'a>) -> Self {
        let route = ending.trail.route.as_deref();
        Self {
            realm: ending.trail.realm.as_deref().map(|realm| &*realm.name),
            route: route.map(|route| &*route.name),
            upstream: route
                .filter(|_| got_so_far(ending))
                .and_then(|route| route.upstream.as_ref())
                .map(|upstream| &*upstream.name),
        }
    }
}

/// Whether the request was sent to the upstream of its route, or meant to be.
fn got_so_far(ending: &Ending<'_>) -> bool {
    match ending.outcome {
        Outcome::Denied | Outcome::Allowed | Outcome::Preflight => false,
        // A proxy that asks about such a request forwards it itself.
        Outcome::WouldDeny => ending.upstream.is_some(),
        Outcome::Forwarded | Outcome::Granted | Outcome::Ended | Outcome::Error => true,
    }
}

/// Remembers the text of the last second that was written: most lines share it with their predecessor.
#[derive(Debug, Default)]
struct Stamp {
    second: i64,
    text: String,
}

impl Stamp {
    /// Date and time of `at` without the fraction.
    fn seconds(&mut self, at: UnixMillis) -> &str {
        if self.text.is_empty() || self.second != at.secs() {
            self.second = at.secs();
            self.text = UnixMillis(self.second.saturating_mul(1000)).to_string();
            self.text.truncate(19);
        }
        &self.text
    }
}

/// What a thread needs to make lines; kept, so that a line costs no allocation.
#[derive(Default)]
struct Desk {
    stamp: Stamp,
    line: Vec<u8>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Makes the line of `ending`, newline included, and shows it to `take`. False: this thread is at one already.
pub(super) fn made(ending: &Ending<'_>, names: Names<'_>, redactor: &Redactor, take: impl FnOnce(&[u8])) -> bool {
    DESK.with(|desk| match desk.try_borrow_mut() {
        Ok(mut desk) => {
            let Desk { stamp, line } = &mut *desk;
            line.clear();
            write(line, stamp, ending, names, redactor);
            take(line);
            true
        }
        Err(_) => false,
    })
}

/// How a member begins that is not the first.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Appends the line of `ending`, newline included.
fn write(out: &mut Vec<u8>, stamp: &mut Stamp, ending: &Ending<'_>, names: Names<'_>, redactor: &Redactor) {
    let trail = ending.trail;
    let principal = trail.verified.as_deref().map(|verified| &verified.principal);
    let user_agent = ending.user_agent.map(|text| redactor.clean(text));

    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(stamp.seconds(ending.at).as_bytes());
    out.push(b'.');
    digits(out, u64::try_from(ending.at.0.rem_euclid(1000)).unwrap_or(0), 3);
    out.extend_from_slice(b"Z\"");

    let mut line = Line(out);
    line.text(member!("request_id"), Some(ending.request_id.as_str()), cap::NAME);
    line.text(member!("realm"), names.realm, cap::NAME);
    line.text(member!("route"), names.route, cap::NAME);
    line.text(member!("method"), Some(&redactor.clean(ending.method)), cap::METHOD);
    line.text(member!("path"), Some(&redactor.clean(ending.path)), cap::PATH);
    line.number(member!("status"), u64::from(ending.status));
    line.text(member!("outcome"), Some(ending.outcome.as_str()), cap::NAME);
    let (reason, why) = match (trail.reason, trail.would_deny) {
        (None, Some((reason, why))) => (Some(reason), trail.why.or(why)),
        (reason, _) => (reason, trail.why),
    };
    line.text(member!("reason"), reason.map(|reason| reason.as_str()), cap::NAME);
    line.text(member!("why"), why.map(|why| why.as_str()), cap::NAME);
    line.address(member!("client_ip"), trail.client_ip);
    line.address(member!("peer_ip"), trail.peer_ip.or_else(|| ending.peer.map(|peer| peer.ip())));
    line.text(member!("credential"), trail.credential.map(|kind| kind.as_str()), cap::NAME);
    line.text(member!("credential_id"), trail.credential_id(), cap::NAME);
    let granted = trail.granted.as_ref().and_then(|subject| subject.as_deref());
    line.text(member!("subject"), granted.or(principal.map(|p| &*p.subject)), cap::NAME);
    line.text(member!("client"), principal.and_then(|p| p.client.as_deref()), cap::NAME);
    line.text(member!("issuer"), trail.judged_by().map(|name| &**name), cap::NAME);
    line.text(member!("upstream"), names.upstream, cap::NAME);
    line.text(member!("server"), ending.server, cap::NAME);
    line.number(member!("bytes_in"), ending.bytes_in);
    line.number(member!("bytes_out"), ending.bytes_out);
    line.millis(member!("duration_ms"), Some(ending.duration));
    line.number(member!("decision_us"), u64::try_from(trail.decision.as_micros()).unwrap_or(u64::MAX));
    line.millis(member!("upstream_ms"), ending.upstream);
    line.text(member!("http_version"), Some(ending.http_version), cap::NAME);
    line.text(member!("user_agent"), user_agent.as_deref(), cap::USER_AGENT);
    out.extend_from_slice(b"}\n");
}

/// An object that has at least one member already.
struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn begin(&mut self, member: &str) {
        self.0.extend_from_slice(member.as_bytes());
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }

    fn text(&mut self, member: &str, value: Option<&str>, cap: usize) {
        self.begin(member);
        let Some(value) = value else { return self.null() };
        self.0.push(b'"');
        escaped(self.0, value, cap);
        self.0.push(b'"');
    }

    fn address(&mut self, member: &str, value: Option<IpAddr>) {
        self.begin(member);
        let Some(value) = value else { return self.null() };
        self.0.push(b'"');
        match value {
            IpAddr::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.0.push(b'.');
                    }
                    digits(self.0, octet.into(), 1);
                }
            }
            IpAddr::V6(address) => {
                write!(self.0, "{address}").ok(); // a vector takes everything
            }
        }
        self.0.push(b'"');
    }

    fn number(&mut self, member: &str, value: u64) {
        self.begin(member);
        digits(self.0, value, 1);
    }

    /// Milliseconds with three decimals.
    fn millis(&mut self, member: &str, value: Option<Duration>) {
        self.begin(member);
        let Some(value) = value else { return self.null() };
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        digits(self.0, micros / 1000, 1);
        self.0.push(b'.');
        digits(self.0, micros % 1000, 3);
    }
}

/// Decimal digits, at least `width` of them.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut text = [b'0'; 20];
    let mut used = 0;
    for place in text.iter_mut().rev() {
        if value == 0 && used >= width {
            break;
        }
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
    }
    out.extend_from_slice(text.get(20 - used..).unwrap_or_default());
}

/// `text` as the inside of a JSON string, cut after `cap` bytes (an ellipsis shows it).
fn escaped(out: &mut Vec<u8>, text: &str, cap: usize) {
    // No early end: so the compiler looks at many bytes at once.
    let plain =
        |text: &str| text.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~') & !matches!(b, b'"' | b'\\'));
    if text.len() <= cap && plain(text) {
        return out.extend_from_slice(text.as_bytes());
    }
    for (at, c) in text.char_indices() {
        if at + c.len_utf8() > cap {
            out.extend_from_slice("…".as_bytes());
            break;
        }
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            _ if is_unprintable(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).ok(); // a vector takes everything
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// C0, DEL, C1, line separators, and marks that change the direction of what follows. All below U+10000.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::gate::outcome::{Reason, Why};
    use crate::gate::request::RequestId;
    use crate::gate::trail::Trail;
    use crate::gate::verify::Verified;
    use crate::identity::{CredentialKind, Principal, ScopeSet};

    const FIELDS: &[&str] = &[
        "ts",
        "request_id",
        "realm",
        "route",
        "method",
        "path",
        "status",
        "outcome",
        "reason",
        "why",
        "client_ip",
        "peer_ip",
        "credential",
        "credential_id",
        "subject",
        "client",
        "issuer",
        "upstream",
        "server",
        "bytes_in",
        "bytes_out",
        "duration_ms",
        "decision_us",
        "upstream_ms",
        "http_version",
        "user_agent",
    ];

    fn line(trail: &Trail, method: &str, path: &str, user_agent: Option<&str>, names: Names<'_>) -> String {
        let ending = Ending {
            at: UnixMillis(1_763_682_354_007),
            request_id: &RequestId::adopt("req-1").unwrap(),
            trail,
            outcome: Outcome::Denied,
            status: 401,
            method,
            path,
            server: None,
            bytes_in: 0,
            bytes_out: 1_234_567,
            duration: Duration::from_micros(12_045),
            upstream: None,
            http_version: "1.1",
            user_agent,
            peer: Some(([192, 0, 2, 1], 4711).into()),
        };
        let mut out = Vec::new();
        write(&mut out, &mut Stamp::default(), &ending, names, &Redactor::new(["sk_"]));
        String::from_utf8(out).unwrap()
    }

    fn parsed(line: &str) -> Value {
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(line.ends_with('\n'));
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_line_has_every_field_of_the_contract_in_its_order() {
        let trail = Trail {
            credential: Some(CredentialKind::Jwt),
            issuer: Some("idp".into()),
            reason: Some(Reason::TokenInvalid),
            why: Some(Why::Signature),
            client_ip: Some([203, 0, 113, 9].into()),
            decision: Duration::from_micros(17),
            ..Trail::default()
        };
        let names = Names { realm: Some("shop"), route: Some("/orders"), upstream: None };
        let line = parsed(&line(&trail, "GET", "/orders", Some("curl/8"), names));
        assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), FIELDS);
        assert_eq!(
            line.to_string(),
            concat!(
                r#"{"ts":"2025-11-20T23:45:54.007Z","request_id":"req-1","realm":"shop","route":"/orders","method":"GET","#,
                r#""path":"/orders","status":401,"outcome":"denied","reason":"token_invalid","why":"signature","#,
                r#""client_ip":"203.0.113.9","peer_ip":"192.0.2.1","credential":"jwt","credential_id":null,"#,
                r#""subject":null,"client":null,"issuer":"idp","upstream":null,"server":null,"bytes_in":0,"#,
                r#""bytes_out":1234567,"duration_ms":12.045,"decision_us":17,"upstream_ms":null,"#,
                r#""http_version":"1.1","user_agent":"curl/8"}"#,
            )
        );
    }

    #[test]
    fn who_proved_to_be_asking_is_named_and_no_credential_is() {
        let principal = Principal {
            kind: CredentialKind::ApiKey,
            subject: "acme".into(),
            client: Some("acme".into()),
            credential_id: Some("key-1".into()),
            issuer: None,
            tenant: None,
            plan: None,
            roles: Vec::new(),
            scopes: ScopeSet::default(),
            attributes: Arc::default(),
            account: None,
        };
        let verified = Verified {
            principal,
            headers: Box::default(),
            expires: None,
            allow_ips: Vec::new(),
            issuer: None,
            uses: None,
        };
        let trail = Trail { verified: Some(Arc::new(verified)), ..Trail::default() };
        let text = line(&trail, "GET", "/x/sk_0123456789/y", Some("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"), Names::default());
        let line = parsed(&text);
        assert_eq!(line["subject"], "acme");
        assert_eq!(line["credential_id"], "key-1");
        assert_eq!(line["path"], "/x/[redacted]/y");
        assert_eq!(line["user_agent"], "[redacted]");
    }

    #[test]
    fn hostile_texts_are_escaped_and_cut() {
        let hostile = "\r\n\u{1b}[31m\u{2028}\u{2029}\u{202e}\u{7f}\u{9b}\"\\ä";
        let text = line(&Trail::default(), "GET", "/", Some(hostile), Names::default());
        assert!(text.contains(r#"\u000d\u000a\u001b[31m\u2028\u2029\u202e\u007f\u009b\"\\ä"#), "{text}");
        assert_eq!(parsed(&text)["user_agent"], hostile);

        let long = parsed(&line(&Trail::default(), "GET", &"ä".repeat(40_000), None, Names::default()));
        assert_eq!(long["path"], format!("{}…", "ä".repeat(1024)));
    }

    #[test]
    fn a_second_is_rendered_once_and_anew_when_it_changes() {
        let mut stamp = Stamp::default();
        assert_eq!(stamp.seconds(UnixMillis(0)), "1970-01-01T00:00:00");
        assert_eq!(stamp.seconds(UnixMillis(999)), "1970-01-01T00:00:00");
        assert_eq!(stamp.seconds(UnixMillis(1000)), "1970-01-01T00:00:01");
        assert_eq!(stamp.seconds(UnixMillis(-1)), "1969-12-31T23:59:59");
    }

    proptest! {
        #[test]
        fn whatever_was_sent_a_line_is_one_valid_object(
            method in any::<String>(), path in any::<String>(), agent in proptest::option::of(any::<String>()),
            realm in any::<String>(),
        ) {
            let names = Names { realm: Some(&realm), ..Names::default() };
            let text = line(&Trail::default(), &method, &path, agent.as_deref(), names);
            let line = parsed(&text);
            prop_assert_eq!(line.as_object().unwrap().len(), FIELDS.len());
            prop_assert!(!text.trim_end_matches('\n').chars().any(is_unprintable));
        }
    }
}
