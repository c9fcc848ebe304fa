//! Requests to the admin API, in the making.

use http::Method;
use serde_json::Value;

use crate::admin::api::Ask;
use crate::clock::UnixMillis;
use crate::gate::request::RequestId;

/// A request in the making.
#[derive(Clone, Debug)]
pub(super) struct Asking(Ask);

impl Asking {
    /// `path` below `/admin/v1`; its segments are encoded here.
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        let mut text = "/admin/v1".to_owned();
        for segment in path {
            text.push('/');
            text.push_str(&encoded(segment));
        }
        Self(Ask {
            method,
            path: text,
            query: String::new(),
            body: Vec::new(),
            idempotency_key: None,
            if_match: None,
            request_id: String::new(),
        })
    }

    pub(super) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// Adds a member to the query, where there is one.
    pub(super) fn query(mut self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        let Some(value) = value else { return self };
        if !self.0.query.is_empty() {
            self.0.query.push('&');
        }
        self.0.query.push_str(name);
        self.0.query.push('=');
        self.0.query.push_str(&encoded(value.as_ref()));
        self
    }

    pub(super) fn body(mut self, body: &Value) -> Self {
        self.0.body = body.to_string().into_bytes();
        self
    }

    pub(super) fn idempotency_key(mut self, key: Option<&str>) -> Self {
        self.0.idempotency_key = key.map(str::to_owned);
        self
    }

    /// Only if the thing has still this version.
    pub(super) fn if_version(mut self, version: Option<i64>) -> Self {
        self.0.if_match = version.map(|version| format!("\"{version}\""));
        self
    }

    /// The finished request, under an id of its own.
    pub(super) fn done(self, now: UnixMillis) -> Ask {
        Ask { request_id: RequestId::generate(now).as_str().to_owned(), ..self.0 }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_given_can_leave_its_place_in_a_path_or_query() {
        let ask = Asking::get(&["clients", "cfg:a/../b?c#d"]).query("x", Some("1&y=2 +ä")).query("z", None::<&str>);
        let ask = ask.query("w", Some("3")).done(UnixMillis(1_763_682_354_007));
        assert_eq!(ask.path, "/admin/v1/clients/cfg%3Aa%2F..%2Fb%3Fc%23d");
        assert_eq!(ask.query, "x=1%26y%3D2%20%2B%C3%A4&w=3");
        assert!(!ask.request_id.is_empty());
    }

    #[test]
    fn a_version_is_sent_as_an_entity_tag() {
        let ask = Asking::post(&["keys"]).if_version(Some(7)).done(UnixMillis(0));
        assert_eq!(ask.if_match.as_deref(), Some("\"7\""));
    }
}
