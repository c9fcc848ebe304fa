//! The list of endpoints, and finding one.

use std::future::Future;
use std::pin::Pin;

use http::Method;

use super::call::Call;
use super::fields::{Field, decode};
use super::{Answer, Refusal};

/// What a handler gives.
pub(super) type Doing<'a> = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send + 'a>>;

/// What an endpoint does.
pub(super) type Handler = for<'a> fn(&'a Call<'a>) -> Doing<'a>;

/// One route of the admin API.
pub struct Endpoint {
    /// Method.
    pub method: Method,
    /// Whole path, `/admin/v1/…`, with `{name}` for one segment each.
    pub path: &'static str,
    /// Scope that a token needs; none = no token will do, only somebody on the machine.
    pub scope: Option<&'static str>,
    /// `operationId`.
    pub name: &'static str,
    /// For the documentation; ends with a dot.
    pub about: &'static str,
    /// Query parameters.
    pub query: &'static [Field],
    /// Members of the body; none = no body is taken.
    pub body: Option<&'static [Field]>,
    /// Status of the good answer.
    pub status: u16,
    /// What the good answer holds: name of a schema (see `schemas`).
    pub answers: &'static str,
    /// Whether the answer is a list `{ data, next_cursor }` of them.
    pub list: bool,
    /// Whether it makes something: `Idempotency-Key` is understood.
    pub creates: bool,
    pub(super) handler: Handler,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Every endpoint.
pub static ENDPOINTS: &[&[Endpoint]] = &[
    super::views::ENDPOINTS,
    super::clients::ENDPOINTS,
    super::addresses::ENDPOINTS,
    super::keys::ENDPOINTS,
    super::sessions::ENDPOINTS,
    super::tokens::ENDPOINTS,
    super::signing_keys::ENDPOINTS,
    super::audit::ENDPOINTS,
    super::admin_tokens::ENDPOINTS,
];

/// All of them in one row.
pub(super) fn all() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().copied().flatten()
}

/// What there is for a method and a path.
#[derive(Debug)]
pub(super) enum Found {
    /// This endpoint, with the values of `{name}`, decoded.
    Endpoint(&'static Endpoint, Vec<String>),
    /// Only other methods: the value of `Allow`.
    OtherMethods(String),
    /// Nothing.
    Nothing,
}

/// Looks among all endpoints. A segment that is written out goes before `{name}`.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let mut allow: Vec<&str> = Vec::new();
    let mut best: Option<(&'static Endpoint, Vec<String>)> = None;
    for endpoint in all() {
        let Some(values) = matches(endpoint.path, path) else { continue };
        if endpoint.method == *method {
            if best.as_ref().is_none_or(|(_, others)| values.len() < others.len()) {
                best = Some((endpoint, values));
            }
        } else {
            allow.push(endpoint.method.as_str());
        }
    }
    match best {
        Some((endpoint, values)) => Found::Endpoint(endpoint, values),
        None if allow.is_empty() => Found::Nothing,
        None => {
            allow.sort_unstable();
            allow.dedup();
            Found::OtherMethods(allow.join(", "))
        }
    }
}

/// The values of `{name}` when `path` fits `pattern`, segment by segment: taken apart before it is decoded, so that `%2F`
/// is part of a value.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut expected, mut given) = (pattern.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(values),
            (Some(name), Some(text)) if name.starts_with('{') => {
                values.push(decode(text, false).filter(|value| !value.is_empty())?);
            }
            (Some(a), Some(b)) if a == b => {}
            (Some(_) | None, Some(_)) | (Some(_), None) => return None,
        }
    }
}

/// The names of `{name}` in a path.
pub(super) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_segment_by_segment_and_an_encoded_slash_stays_in_its_segment() {
        let pattern = "/admin/v1/clients/{id}/ip-allowlist/{entry}";
        assert_eq!(
            matches(pattern, "/admin/v1/clients/cfg%3Ashop/ip-allowlist/10.0.0.0%2F8"),
            Some(vec!["cfg:shop".to_owned(), "10.0.0.0/8".to_owned()])
        );
        for other in [
            "/admin/v1/clients/x/ip-allowlist/",
            "/admin/v1/clients//ip-allowlist/x",
            "/admin/v1/clients/x/ip-allowlist/10.0.0.0/8",
            "/admin/v1/clients/x/ip-allowlist/%ff",
            "/admin/v1/clients/x/ip-allowlist/%2",
            "/admin/v1/clients/x/ip-allowlist/x/",
            "/admin/v1/Clients/x/ip-allowlist/x",
            "",
        ] {
            assert_eq!(matches(pattern, other), None, "{other}");
        }
    }

    #[test]
    fn no_two_endpoints_answer_the_same_request() {
        let shape = |path: &str| {
            path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
        };
        let mut seen = std::collections::HashSet::new();
        for endpoint in all() {
            assert!(seen.insert((endpoint.method.clone(), shape(endpoint.path))), "{endpoint:?}");
            assert!(endpoint.path.starts_with("/admin/"), "{endpoint:?}");
        }
    }
}
