//! What the gateway asserts to an upstream: a short JWT about who asks, bound to the one request that it goes along with
//! (`htm` and `htu` in the manner of RFC 9449). It cannot be taken for an access token: it has a type of its own.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::identity::MAX_VALUE;
use super::telling::Asked;
use crate::gate::document::Document;
use crate::gate::outcome::Permit;
use crate::identity::Principal;
use crate::jwt::{KeyFault, Signer};

/// How assertions are made.
#[derive(Debug)]
pub struct Terms {
    /// Where they stand.
    pub header: HeaderName,
    /// Their `iss`.
    pub issuer: Box<str>,
    /// Their `aud`; none: the name of the upstream that gets them.
    pub audience: Option<Box<str>>,
    /// How long they are good.
    pub ttl: Duration,
    /// What signs them.
    pub signer: Signer,
    /// The keys by which others verify them, where these are published.
    pub document: Option<Arc<Document>>,
}

/// Makes assertions.
#[derive(Debug)]
pub struct Assertion(Terms);

/// The claims, in their order.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    realm: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
}

impl Assertion {
    /// Makes them in this way.
    pub fn new(terms: Terms) -> Self {
        Self(terms)
    }

    /// Where they stand.
    pub fn header(&self) -> &HeaderName {
        &self.0.header
    }

    /// The keys by which others verify them, where these are published.
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.0.document.as_ref()
    }

    /// What is asserted, as JSON.
    pub(super) fn claims(&self, permit: &Permit, principal: &Principal, asked: &Asked<'_>) -> Vec<u8> {
        let Terms { issuer, audience, ttl, .. } = &self.0;
        let realm = &*permit.realm().name;
        let upstream = permit.route().upstream.as_ref().map_or(realm, |upstream| &*upstream.name);
        let target = permit.target().unwrap_or(asked.path);
        let scope: Vec<_> = principal.scopes.iter().collect();
        let roles: Vec<_> = principal.roles.iter().map(|role| &**role).collect();
        let iat = asked.now.secs();
        let claims = Claims {
            iss: issuer,
            aud: audience.as_deref().unwrap_or(upstream),
            sub: &principal.subject,
            iat,
            exp: iat.saturating_add_unsigned(ttl.as_secs()),
            jti: asked.request_id.as_str(),
            htm: asked.method.as_str(),
            htu: target.split_once('?').map_or(target, |(path, _)| path),
            realm,
            method: principal.kind.as_str(),
            client: principal.client.as_deref(),
            credential_id: principal.credential_id.as_deref(),
            credential_issuer: principal.issuer.as_deref(),
            scope: Some(scope.join(" ")).filter(|scope| (1..=MAX_VALUE).contains(&scope.len())),
            roles: Some(roles).filter(|roles| (1..=MAX_VALUE).contains(&size(roles))),
            plan: principal.plan.as_deref(),
            tenant: principal.tenant.as_deref(),
        };
        // A structure of texts and numbers can always be written.
        serde_json::to_vec(&claims).unwrap_or_default()
    }

    /// The value of the header.
    ///
    /// # Errors
    /// The cryptography refused.
    pub(super) fn sign(
        &self,
        permit: &Permit,
        principal: &Principal,
        asked: &Asked<'_>,
    ) -> Result<HeaderValue, KeyFault> {
        let token = self.0.signer.sign(&self.claims(permit, principal, asked))?;
        // It is base64url and dots.
        HeaderValue::try_from(token).map_err(|_| KeyFault::unsigned("the token is no value of a header field"))
    }
}

/// As in a header: half a list would be another list.
fn size(list: &[&str]) -> usize {
    list.iter().map(|item| item.len() + 1).sum()
}
