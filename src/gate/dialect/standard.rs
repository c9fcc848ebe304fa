//! The errors of RFC 6749 section 5.2 as a dialect: `error` and `error_description`. Where the standard has no error for a
//! refusal, those that it has for the authorization endpoint (section 4.1.2.1) say it best.

use serde_json::json;

use super::{DialectSpec, Entry};
use crate::gate::outcome::Reason;
use crate::reply::Template;

/// Reason to error, for it and the reasons below it.
const ERRORS: &[(Reason, &str)] = &[
    (Reason::BadRequest, "invalid_request"),
    (Reason::UnsupportedMediaType, "invalid_request"),
    (Reason::PayloadTooLarge, "invalid_request"),
    (Reason::UriTooLong, "invalid_request"),
    (Reason::HeadersTooLarge, "invalid_request"),
    (Reason::RequestTimeout, "invalid_request"),
    (Reason::NotFound, "invalid_request"),
    (Reason::MethodNotAllowed, "invalid_request"),
    (Reason::MissingCredentials, "invalid_client"),
    (Reason::TokenInvalid, "invalid_grant"),
    (Reason::InvalidCredentials, "invalid_grant"),
    (Reason::InvalidClient, "invalid_client"),
    (Reason::Forbidden, "access_denied"),
    (Reason::RateLimited, "temporarily_unavailable"),
    (Reason::Unavailable, "temporarily_unavailable"),
    (Reason::Internal, "server_error"),
];

pub(super) fn spec() -> DialectSpec {
    let body = Template::parse(&json!({ "error": "$code", "error_description": "$message" }));
    let entry = |error: &str| Entry { code: Some(error.to_owned()), ..Entry::default() };
    let on = ERRORS.iter().map(|(reason, error)| (*reason, entry(error))).collect();
    DialectSpec { body: body.ok(), status: Vec::new(), on }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_an_error_of_the_standard() {
        for reason in Reason::ALL {
            let mut lineage = reason.lineage();
            assert!(lineage.any(|reason| ERRORS.iter().any(|(known, _)| *known == reason)), "{reason}");
        }
        assert!(spec().body.is_some());
    }
}
