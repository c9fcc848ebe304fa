//! What a route changes on the way to the upstream.

use http::{HeaderName, HeaderValue};

use super::Compiler;
use crate::config::compile::header::{alias, settable};
use crate::config::keys::{Route as Raw, RouteHeaders};
use crate::gate::headers::IdentityHeaders;
use crate::gate::route::Pattern;

/// What is cut from the front of the path: whole segments that every path of the route begins with.
pub(super) fn strip_prefix(work: &mut Compiler<'_>, raw: &Raw, pattern: Option<&Pattern>) -> Option<Box<str>> {
    let item = raw.strip_prefix.get()?;
    let prefix = item.value.as_str();
    let trimmed = prefix.trim_end_matches('/');
    if !prefix.starts_with('/') || trimmed.is_empty() {
        work.fault(&item.at, "expected the beginning of a path, such as \"/v1\"");
    } else if trimmed != prefix {
        work.fault(&item.at, format!("ends with a slash; write {trimmed:?}"));
    } else if pattern.is_some_and(|pattern| !begins(pattern.literal_prefix(), prefix)) {
        work.fault(&item.at, "the route's `path` does not begin with these segments, as literals");
    }
    Some(prefix.into())
}

fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Header fields that are set and removed.
pub(super) fn headers(
    work: &mut Compiler<'_>,
    raw: &RouteHeaders,
    identity: &IdentityHeaders,
) -> (Vec<(HeaderName, HeaderValue)>, Vec<HeaderName>) {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    let mut seen: Vec<String> = Vec::new();
    for (name, item) in &raw.add.value.0 {
        let parsed = settable(work, &item.at, name, identity);
        if seen.contains(&alias(name)) {
            work.fault(&item.at, "stands here twice");
        }
        seen.push(alias(name));
        match HeaderValue::from_str(&item.value) {
            Ok(value) => add.extend(parsed.map(|name| (name, value))),
            Err(_) => work.fault(&item.at, "expected a value of a header field: visible characters and blanks"),
        }
    }
    for item in &raw.remove.value {
        remove.extend(settable(work, &item.at, &item.value, identity));
        if seen.contains(&alias(&item.value)) {
            work.fault(&item.at, "stands here twice, or in `add` as well: what is added replaces what was there");
        }
        seen.push(alias(&item.value));
    }
    (add, remove)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_cut_at_the_end_of_a_literal_segment_only() {
        let cuts = |pattern: &str, prefix| begins(Pattern::parse(pattern).unwrap().literal_prefix(), prefix);
        assert!(cuts("/v1/orders/{id}", "/v1"));
        assert!(cuts("/v1/**", "/v1"));
        assert!(cuts("/v1", "/v1"));
        assert!(!cuts("/v1/{id}/x", "/v1/x"));
        assert!(!cuts("/v10/**", "/v1"));
        assert!(!cuts("/{version}/a", "/v1"));
    }
}
