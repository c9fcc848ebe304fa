//! What became known about a request, in the order it became known: a refused request is logged as fully as an allowed
//! one, and `explain` prints the same trail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cors::Cors;
use super::outcome::{Reason, Why};
use super::policy::{Realm, Route};
use crate::identity::CredentialKind;

/// Facts of one request.
#[derive(Debug, Default)]
pub struct Trail {
    /// Address of the connection's other end.
    pub peer_ip: Option<IpAddr>,
    /// The client's address as far as it is believed.
    pub client_ip: Option<IpAddr>,
    /// The realm.
    pub realm: Option<Arc<Realm>>,
    /// The route.
    pub route: Option<Arc<Route>>,
    /// A route that has the path, but not the method; one with CORS, if there is one.
    pub neighbour: Option<Arc<Route>>,
    /// The request asks beforehand what a page of another origin may do, and is answered.
    pub preflight: bool,
    /// What kind of credential was presented.
    pub credential: Option<CredentialKind>,
    /// Who proved to be asking.
    pub verified: Option<Arc<super::verify::Verified>>,
    /// Id of the key that was presented, where it is one, but no longer good; fingerprint of a certificate that proves
    /// nothing here.
    pub spent_key: Option<Arc<str>>,
    /// Issuer that the token is judged by, known before it is verified; not told again of a token known already. See
    /// [`Trail::judged_by`].
    pub issuer: Option<Arc<str>>,
    /// How the credential was judged.
    pub authentication: Option<Authentication>,
    /// Whether the cache of verified tokens was asked, and knew.
    pub token_cache: Option<bool>,
    /// Whether the cache of the store's keys was asked, and knew something that still counts.
    pub key_cache: Option<bool>,
    /// Whether the cache of texts that are no key was asked, and knew something that still counts.
    pub unknown_key_cache: Option<bool>,
    /// Name of the limit that refused.
    pub limited_by: Option<Arc<str>>,
    /// Why the request was refused.
    pub reason: Option<Reason>,
    /// The finer cause.
    pub why: Option<Why>,
    /// Why the request would have been refused on a route that is not enforced.
    pub would_deny: Option<(Reason, Option<Why>)>,
    /// The gateway has answered the request itself; whom that is about, if it is told.
    pub granted: Option<Option<Box<str>>>,
    /// How long the decision took.
    pub decision: Duration,
    /// Steps for `explain`; none when nobody asks for them.
    pub steps: Option<Vec<Step>>,
    /// The request is open already: see [`Trail::of_open`].
    pub open: bool,
}

/// How a credential was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Good.
    Ok,
    /// Not good.
    Rejected,
    /// Could not be told.
    Unavailable,
}

impl Authentication {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One step of a decision, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which step.
    pub name: &'static str,
    /// What it saw and which rule applied.
    pub saw: String,
    /// Whether the request passed it.
    pub passed: bool,
}

impl Trail {
    /// The issuer whose keys judged the credential.
    pub fn judged_by(&self) -> Option<&Arc<str>> {
        let proven = self.verified.as_ref().and_then(|verified| verified.principal.issuer.as_ref());
        proven.or(self.issuer.as_ref())
    }

    /// Id of the credential: proven, or known and refused.
    pub fn credential_id(&self) -> Option<&str> {
        let proven = self.verified.as_ref().and_then(|verified| verified.principal.credential_id.as_deref());
        proven.or(self.spent_key.as_deref())
    }

    /// Which pages may read the answer: as the route says or, where none stands behind it, the realm.
    pub fn cors(&self) -> Option<&Cors> {
        match (self.route.as_ref().or(self.neighbour.as_ref()), &self.realm) {
            (Some(route), _) => route.cors_in_force(),
            (None, realm) => realm.as_ref()?.cors.as_deref(),
        }
    }

    /// A trail of a request that nobody sent: it records steps, and its decision leaves nothing behind.
    pub fn explaining() -> Self {
        Self { steps: Some(Vec::new()), ..Self::default() }
    }

    /// A trail of a request that was allowed before, is open, and is judged again: its decision leaves nothing behind, and
    /// too many failures from its address do not hide what has become of its credential.
    pub fn of_open() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Whether the request is only asked about: nothing may be counted or noted for it.
    pub fn is_rehearsal(&self) -> bool {
        self.open || self.steps.is_some()
    }

    /// Records a step that was passed; `saw` is only made when somebody asks for steps.
    pub fn pass(&mut self, name: &'static str, saw: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step { name, saw: saw(), passed: true });
        }
    }

    /// Records the step that refused.
    pub fn refuse(&mut self, name: &'static str, saw: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step { name, saw: saw(), passed: false });
        }
    }
}
