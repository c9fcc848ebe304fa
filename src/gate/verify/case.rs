//! One request on its way through verification, and what follows from the answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::api_key::DeclaredKey;
use super::own::OwnToken;
use super::stored::{Entry, Proof, SessionEntry, TokenEntry};
use super::{Verification, Verified};
use crate::clock::{Stopwatch, UnixMillis};
use crate::gate::limit::{LimitKey, Quota};
use crate::gate::outcome::{Denial, Reason, Why};
use crate::gate::policy::{OpaqueForm, Realm, Route, Snapshot};
use crate::gate::trail::{Authentication, Trail};
use crate::identity::Principal;

/// Whoever is refused because of too much work may come again after that: work is done within seconds, or not at all.
const SOON: Duration = Duration::from_secs(1);

/// What verification of one request needs.
pub(in crate::gate) struct Case<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) realm: &'a Arc<Realm>,
    pub(super) route: &'a Route,
    pub(super) ip: Option<IpAddr>,
    pub(super) now: UnixMillis,
    pub(super) begun: Stopwatch,
    /// The request is open already, and is judged again.
    open: bool,
}

impl<'a> Case<'a> {
    /// `now` and `begun` are the same moment.
    pub(in crate::gate) fn new(
        snapshot: &'a Snapshot,
        realm: &'a Arc<Realm>,
        route: &'a Route,
        ip: Option<IpAddr>,
        now: UnixMillis,
        begun: Stopwatch,
    ) -> Self {
        Self { snapshot, realm, route, ip, now, begun, open: false }
    }

    /// The same, for a request that is `open` already.
    pub(in crate::gate) fn open(self, open: bool) -> Self {
        Self { open, ..self }
    }

    /// The failure limit of the address, when it is used up. Only asked when something is amiss: whoever is known
    /// already is never refused by it. Nor is what is open: by using the limit up, somebody whose credential is
    /// withdrawn could keep that from being seen.
    pub(super) fn blocked(&self) -> Option<Quota> {
        if self.open {
            return None;
        }
        let limit = self.snapshot.failure_limit.as_ref()?;
        Some(limit.peek(LimitKey::Address(self.ip), None, self.now)).filter(|quota| !quota.allowed)
    }

    /// From what verification says to what happens.
    pub(super) fn conclude(&self, verification: Verification, trail: &mut Trail) -> Result<Arc<Verified>, Denial> {
        match verification {
            Verification::Verified(identity) => {
                trail.authentication = Some(Authentication::Ok);
                trail.verified = Some(Arc::clone(&identity));
                trail.pass("verify", || describe(&identity.principal));
                Ok(identity)
            }
            Verification::Withheld(quota) => Err(too_many_failures(quota, trail)),
            Verification::Rejected(reason, why) => {
                if let Some(quota) = self.blocked() {
                    return Err(too_many_failures(quota, trail));
                }
                if let Some(limit) = self.snapshot.failure_limit.as_ref().filter(|_| !trail.is_rehearsal()) {
                    limit.take(LimitKey::Address(self.ip), None, self.now);
                }
                trail.authentication = Some(Authentication::Rejected);
                trail.refuse("verify", || why.text().to_owned());
                Err(Denial::because(reason, why))
            }
            Verification::Unavailable(reason, why) => {
                trail.authentication = Some(Authentication::Unavailable);
                trail.refuse("verify", || why.text().to_owned());
                let retry_after = (reason == Reason::Overloaded).then_some(SOON);
                Err(Denial { retry_after, ..Denial::because(reason, why) })
            }
        }
    }

    pub(super) fn absent(&self, trail: &mut Trail) -> Result<(), Denial> {
        if self.route.auth.anonymous {
            trail.pass("credential", || "none, and the route takes anonymous requests".to_owned());
            return Ok(());
        }
        trail.refuse("credential", || match (self.route.auth.mtls, self.route.places.is_empty()) {
            (false, _) => "none in the places that the route looks at".to_owned(),
            (true, false) => "none in the places that the route looks at, and no client certificate".to_owned(),
            (true, true) => "the connection has no client certificate".to_owned(),
        });
        Err(Reason::MissingCredentials.into())
    }

    pub(super) fn ambiguous(&self, denial: Denial, trail: &mut Trail) -> Denial {
        if let Some(quota) = self.blocked() {
            return too_many_failures(quota, trail);
        }
        trail.refuse("credential", || denial.why.map_or("", Why::text).to_owned());
        denial
    }

    /// The kind of opaque tokens that the route takes.
    pub(super) fn opaque(&self) -> Option<&'a OpaqueForm> {
        self.realm.own.as_ref()?.opaque.get(self.route.auth.opaque?)
    }

    pub(super) fn judge_opaque(&self, entry: &TokenEntry, trail: &mut Trail) -> Proof {
        let kind = self.opaque().map_or("", |form| &form.kind);
        let proof = entry.judge(kind, self.realm, self.now);
        if let Proof::Done(Verification::Rejected(..)) = &proof {
            trail.spent_key = Some(Arc::clone(entry.id()));
        }
        proof
    }

    pub(super) fn judge_session(&self, entry: &SessionEntry, token: &OwnToken, trail: &mut Trail) -> Verification {
        let verification = entry.judge(token, self.realm, self.now);
        if let Verification::Rejected(..) = &verification {
            trail.spent_key = Some(Arc::clone(token.id()));
        }
        verification
    }

    pub(super) fn judge(&self, entry: &Entry, trail: &mut Trail) -> Verification {
        trail.pass("key", || entry.to_string());
        let verification = entry.judge(self.realm, self.now);
        if let Verification::Rejected(..) = &verification {
            trail.spent_key = Some(Arc::clone(entry.id()));
        }
        verification
    }

    pub(super) fn judge_declared(&self, key: &DeclaredKey, trail: &mut Trail) -> Verification {
        let verification = key.judge(self.now);
        if let Verification::Rejected(..) = &verification {
            trail.spent_key.clone_from(&key.verified.principal.credential_id);
        }
        verification
    }
}

fn too_many_failures(quota: Quota, trail: &mut Trail) -> Denial {
    trail.refuse("failure limit", || "too many failed verifications came from this address".to_owned());
    trail.limited_by = Some(quota.name);
    Denial { retry_after: Some(quota.retry_after), ..Denial::because(Reason::RateLimited, Why::FailureLimit) }
}

fn describe(principal: &Principal) -> String {
    let mut text = format!("{} of subject {:?}", principal.kind, principal.subject);
    if let Some(client) = &principal.client {
        text.push_str(&format!(", client {client:?}"));
    }
    if let Some(id) = &principal.credential_id {
        text.push_str(&format!(", id {id:?}"));
    }
    if let Some(issuer) = &principal.issuer {
        text.push_str(&format!(", issuer {issuer:?}"));
    }
    text
}
