//! Shadow mode (`enforce = false`): everything is decided, counted and logged, and nothing of it is done. A request goes
//! on as it came, so that a gateway can be tried in front of real traffic. What could be read in two ways (path, framing)
//! is refused even so, and grants are served.

use std::sync::Arc;

use http::Method;

use super::client_ip::ClientAddress;
use super::outcome::{Decision, Denial, Permit, Reason};
use super::policy::{Realm, Route};
use super::request::Request;
use super::stripped;
use super::trail::Trail;

/// The route that forwards what is not enforced; none where the decision binds: on routes that are enforced, of grants,
/// and for what is only asked about. What no route names goes where the realm's requests go.
pub(super) fn unenforced(realm: &Realm, method: &Method, trail: &Trail) -> Option<Arc<Route>> {
    if trail.is_rehearsal() { None } else { open_route(realm, method, trail) }
}

fn open_route(realm: &Realm, method: &Method, trail: &Trail) -> Option<Arc<Route>> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return None;
    }
    match &trail.route {
        Some(route) if route.enforce || route.grant.is_some() => None,
        Some(route) => Some(Arc::clone(route)),
        None => realm.unmatched.clone(),
    }
}

/// Whether what was decided in a rehearsal would be carried out; if not, the request goes on whatever it is.
pub fn is_carried_out(judged: &Result<Decision, Denial>, method: &Method, trail: &Trail) -> bool {
    let binds = |denial: &Denial| denial.reason == Reason::PathAmbiguous;
    judged.as_ref().is_err_and(binds)
        || trail.realm.as_ref().is_none_or(|realm| open_route(realm, method, trail).is_none())
}

/// Notes what enforcement would have answered, and lets the request through without an identity.
///
/// # Errors
/// The path could be read in two ways.
pub(super) fn let_through(
    judged: Result<Decision, Denial>,
    (realm, route): (&Arc<Realm>, Arc<Route>),
    path: &str,
    request: &Request<'_>,
    client: ClientAddress,
    trail: &mut Trail,
) -> Result<Decision, Denial> {
    match judged {
        Ok(_) => {}
        Err(denial) if denial.reason == Reason::PathAmbiguous => return Err(denial),
        Err(denial) => trail.would_deny = Some((denial.reason, denial.why)),
    }
    let stripped = stripped(realm, &route, path)?;
    let target = (stripped != request.path).then(|| match request.query {
        Some(query) => format!("{stripped}?{query}").into(),
        None => stripped.into(),
    });
    Ok(Decision::Forward(Permit {
        realm: Arc::clone(realm),
        route,
        identity: None,
        target,
        client_ip: client.ip,
        peer_trusted: client.peer_trusted,
        quota: None,
        credential_in_url: false,
        params: Box::default(),
        enforced: false,
    }))
}
