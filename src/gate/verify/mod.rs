//! Verifying one credential: four answers, and an outage is never «invalid».

pub mod api_key;
pub mod jwks;
pub mod jwt;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::network::NetworkSet;
use super::outcome::{Reason, Why};
use crate::clock::UnixMillis;
use crate::identity::Principal;

/// What a verifier answers. That there is no credential at all is found out before a verifier is asked.
#[derive(Clone, Debug)]
pub enum Verification {
    /// Proven.
    Verified(Arc<Verified>),
    /// Not good: 401.
    Rejected(Reason, Why),
    /// Cannot be told now: 503, never 401.
    Unavailable(Reason, Why),
}

/// A proven identity with everything prepared that later steps need of it.
#[derive(Debug)]
pub struct Verified {
    /// Who.
    pub principal: Principal,
    /// Identity headers, ready to be set.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// When the credential ends, leeway included: refused when now is this or later.
    pub expires: Option<UnixMillis>,
    /// Address lists of client and key; each must hold the address.
    pub allow_ips: Vec<NetworkSet>,
    /// The issuer whose keys proved it.
    pub issuer: Option<Arc<jwt::Issuer>>,
}
