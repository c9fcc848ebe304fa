//! Which identity headers a permit stands for: one answer for whoever forwards, whoever only decides, and whoever explains.

use std::fmt;

use http::header::MaxSizeReached;
use http::{HeaderMap, HeaderValue, Method};

use crate::clock::UnixMillis;
use crate::gate::outcome::Permit;
use crate::gate::request::RequestId;
use crate::jwt::KeyFault;

/// The request that an identity is told for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path as it was received, without the query. Where the permit says that another is sent on, that one counts.
    pub path: &'a str,
    /// Its id.
    pub request_id: &'a RequestId,
    /// When the identity is told.
    pub now: UnixMillis,
}

/// Why the headers of a request could not be made what its upstream may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There are more fields than a map takes.
    TooMany,
    /// The assertion could not be signed.
    Unsigned(KeyFault),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("too many fields"),
            Self::Unsigned(fault) => write!(f, "the assertion could not be signed: {fault}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<MaxSizeReached> for Fault {
    fn from(_: MaxSizeReached) -> Self {
        Self::TooMany
    }
}

/// Sets the identity headers that `permit` stands for, the signed assertion among them: nothing is told of who has proven
/// nothing, but that a request is anonymous where the names of a profile say so. What `headers` held before under owned
/// names is for the caller to remove.
///
/// # Errors
/// See [`Fault`]. The headers must not be used then.
pub fn set_identity(permit: &Permit, asked: &Asked<'_>, headers: &mut HeaderMap) -> Result<(), Fault> {
    let names = &permit.realm().identity_headers;
    let Some(verified) = permit.identity() else {
        if let Some(name) = names.anonymous().filter(|_| is_anonymous(permit)) {
            headers.try_insert(name, HeaderValue::from_static("true"))?;
        }
        return Ok(());
    };
    for (name, value) in &verified.headers {
        headers.try_insert(name, value.clone())?;
    }
    if let Some(assertion) = names.assertion() {
        let value = assertion.sign(permit, &verified.principal, asked).map_err(Fault::Unsigned)?;
        headers.try_insert(assertion.header(), value)?;
    }
    Ok(())
}

/// The same for people, who have no use for a signature: of an assertion they are shown the claims.
pub fn identity_for_people(permit: &Permit, asked: &Asked<'_>) -> Vec<(String, String)> {
    let names = &permit.realm().identity_headers;
    let Some(verified) = permit.identity() else {
        let name = names.anonymous().filter(|_| is_anonymous(permit));
        return name.map(|name| (name.to_string(), "true".to_owned())).into_iter().collect();
    };
    let plain = verified.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default()));
    let mut told: Vec<_> = plain.map(|(name, value)| (name, value.to_owned())).collect();
    if let Some(assertion) = names.assertion() {
        let claims = assertion.claims(permit, &verified.principal, asked);
        told.push((assertion.header().to_string(), format!("signed: {}", String::from_utf8_lossy(&claims))));
    }
    told
}

/// Whether nobody had to prove anything here, but could have.
fn is_anonymous(permit: &Permit) -> bool {
    permit.enforced() && permit.route().auth.anonymous
}
