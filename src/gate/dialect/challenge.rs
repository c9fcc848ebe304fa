//! The challenge of a refusal (RFC 9110 section 11.6.1, RFC 6750 section 3).

use http::HeaderValue;

use crate::gate::outcome::Reason;

/// Longest `scope` parameter; scopes beyond are left out.
const MAX_SCOPE: usize = 1024;

/// `WWW-Authenticate`, complete but for the scopes.
#[derive(Debug)]
pub(super) struct Challenge {
    value: HeaderValue,
    takes_scope: bool,
}

impl Challenge {
    /// Every 401 has one; other statuses only where RFC 6750 section 3.1 gives the reason an error code and the dialect
    /// has not moved it.
    pub(super) fn new(realm: &str, reason: Reason, status: u16) -> Option<Self> {
        let public = reason.public();
        if status != 401 && (public.bearer_error.is_none() || status != public.status) {
            return None;
        }
        // A client proves who it is by Basic (RFC 6749 section 5.2).
        let scheme = if reason == Reason::InvalidClient { "Basic" } else { "Bearer" };
        let mut text = format!("{scheme} realm={}", quote(realm));
        if let Some(error) = public.bearer_error {
            text.push_str(&format!(", error={}", quote(error)));
        }
        let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"));
        Some(Self { value, takes_scope: public.bearer_error == Some("insufficient_scope") })
    }

    pub(super) fn value(&self, scope: Option<&str>) -> HeaderValue {
        let Some(scope) = scope.filter(|_| self.takes_scope).map(bounded).filter(|scope| !scope.is_empty()) else {
            return self.value.clone();
        };
        let with_scope = [self.value.as_bytes(), b", scope=", quote(scope).as_bytes()].concat();
        HeaderValue::try_from(with_scope).unwrap_or_else(|_| self.value.clone())
    }
}

/// As many whole scopes as fit.
fn bounded(scopes: &str) -> &str {
    match scopes.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_SCOPE).last() {
        Some(end) if end < scopes.len() => scopes[..end].rsplit_once(' ').map_or("", |(whole, _)| whole),
        _ => scopes,
    }
}

/// A quoted-string (RFC 9110 section 5.6.4); what is not printable ASCII does not belong in one.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| matches!(c, ' '..='~')) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
