//! The decision endpoint: another proxy asks about a request that it will forward itself. The same gate decides; what is
//! allowed is answered with 200 and the headers that tell who asks, what is not with the refusal that the client would get.

mod original;

use http::HeaderValue;
use http::header::CACHE_CONTROL;
use pingora::Result;
use pingora::proxy::Session;

pub(super) use original::Original;

use super::exchange::Exchange;
use super::{Gateway, adapt, answer, guard};
use crate::gate::dialect::Rendered;
use crate::gate::limit::Quota;
use crate::gate::outcome::{Denial, Permit, Reason, Why};
use crate::gate::policy::DecisionEndpoint;

/// Whether a request is for the endpoint.
pub(super) fn is_asked(session: &Session, endpoint: &DecisionEndpoint) -> bool {
    adapt::target(session.req_header()).is_ok_and(|target| rest(target, endpoint).is_some())
}

/// What a target has after the path of the endpoint; none: it is for something else.
fn rest<'t>(target: &'t str, endpoint: &DecisionEndpoint) -> Option<&'t str> {
    let rest = target.strip_prefix(&*endpoint.path)?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

/// Answers a request for the endpoint, or one that is not on a listener that has nothing else.
///
/// # Errors
/// The client could not be written to.
pub(super) async fn serve(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
    exchange.asked = true;
    let denial = match guard::contain(judge(gateway, session, exchange)).await {
        Ok(Ok(permit)) => {
            let rendered = allowed(&permit, exchange);
            return answer::give(session, rendered).await;
        }
        Ok(Err(denial)) => denial,
        Err(guard::Panicked) => Denial::new(Reason::Internal),
    };
    answer::refuse(session, exchange, &denial).await
}

async fn judge(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> std::result::Result<Permit, Denial> {
    let Exchange { live, trail, at, original, .. } = exchange;
    let header = session.req_header();
    let endpoint = live.snapshot.decision.as_ref();
    let rest = endpoint.and_then(|endpoint| rest(adapt::target(header).ok()?, endpoint));
    let rest = rest.ok_or(Denial::new(Reason::NoRoute))?;
    let trusted = &live.snapshot.trusted_proxies;
    if !trusted.trusts(trail.peer_ip) {
        return Err(Denial::because(Reason::BadRequest, Why::UntrustedPeer));
    }
    let original = original.insert(Box::new(Original::of(header, rest, trail.peer_ip, trusted)?));
    let question = adapt::view(header, trail.peer_ip, None, *at)?;
    let permit = gateway.gate.decide(&live.snapshot, &original.view(question), trail).await?;
    if permit.route().grant.is_some() {
        // The application, which would get it, has no such thing.
        return Err(Denial::because(Reason::NoRoute, Why::Grant));
    }
    // The proxy replaces those that it knows; an application may know more spellings.
    let identity = &permit.realm().identity_headers;
    if permit.enforced() && header.headers.keys().any(|name| identity.is_disguised(name.as_str())) {
        return Err(Denial::because(Reason::BadRequest, Why::Forged));
    }
    Ok(permit)
}

/// The headers that an upstream would get, in an answer that nobody may keep.
fn allowed(permit: &Permit, exchange: &mut Exchange) -> Rendered {
    let identity = permit.identity().map_or(&[][..], |verified| &verified.headers);
    let mut headers = identity.to_vec();
    headers.extend(permit.quota().into_iter().flat_map(Quota::fields));
    headers.extend(HeaderValue::from_str(exchange.id().as_str()).ok().map(|id| (answer::REQUEST_ID, id)));
    headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Rendered { status: 200, headers, body: Vec::new() }
}
