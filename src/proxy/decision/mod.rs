//! The decision endpoint: another proxy asks about a request that it will forward itself. The same gate decides; what is
//! allowed is answered with 200 and the headers that tell who asks, what is not with the refusal that the client would get.

mod original;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};
use pingora::Result;
use pingora::proxy::Session;

pub(super) use original::Original;

use super::exchange::Exchange;
use super::{Gateway, adapt, answer, forward, guard};
use crate::gate::dialect::Rendered;
use crate::gate::headers::{Asked, set_identity};
use crate::gate::limit::Quota;
use crate::gate::outcome::{Decision, Denial, Permit, Reason, Why};

/// Answers a request for the endpoint, or one that is not on a listener that has nothing else.
///
/// # Errors
/// The client could not be written to.
pub(super) async fn serve(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
    exchange.asked = true;
    let judged = guard::contain(judge(gateway, session, exchange)).await;
    match judged.unwrap_or_else(|guard::Panicked| Err(Reason::Internal.into())) {
        Ok(allowed) => answer::give(session, allowed).await,
        Err(denial) => answer::refuse(session, exchange, &denial).await,
    }
}

async fn judge(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> std::result::Result<Rendered, Denial> {
    let Exchange { live, trail, at, original, .. } = exchange;
    let header = session.req_header();
    let endpoint = live.snapshot.decision.as_ref();
    let rest = endpoint.and_then(|endpoint| endpoint.rest(adapt::target(header).ok()?));
    let rest = rest.ok_or(Denial::new(Reason::NoRoute))?;
    let trusted = &live.snapshot.trusted_proxies;
    if !trusted.trusts(trail.peer_ip) {
        return Err(Denial::because(Reason::BadRequest, Why::UntrustedPeer));
    }
    let original = original.insert(Box::new(Original::of(header, rest, trail.peer_ip, trusted)?));
    let question = adapt::view(header, trail.peer_ip, None, *at)?;
    let decision = gateway.gate.decide(&live.snapshot, &original.view(question), trail).await?;
    let forwarded = match decision {
        Decision::Forward(permit) => Some(permit).filter(|permit| !permit.route().is_answered_here()),
        Decision::Preflight(_) => None,
    };
    let Some(permit) = forwarded else {
        // The application, which would get it, has no such thing.
        trail.preflight = false;
        return Err(Denial::because(Reason::NoRoute, Why::Grant));
    };
    // The proxy replaces those that it is told; an application may know more names, and more spellings.
    let identity = &permit.realm().identity_headers;
    if permit.enforced() && header.headers.keys().any(|name| identity.is_never_told(name.as_str())) {
        return Err(Denial::because(Reason::BadRequest, Why::Forged));
    }
    allowed(permit.forwarded_by_another(), exchange)
}

/// The headers that an upstream would get, in an answer that nobody may keep.
fn allowed(permit: Permit, exchange: &mut Exchange) -> std::result::Result<Rendered, Denial> {
    let request_id = exchange.id().clone();
    let Some(original) = &exchange.original else { return Err(Reason::Internal.into()) };
    let (method, path, now) = (original.method(), original.path(), exchange.now());
    let mut told = HeaderMap::new();
    if let Err(fault) = set_identity(&permit, &Asked { method, path, request_id: &request_id, now }, &mut told) {
        forward::log_untold(&request_id, &fault);
        return Err(Reason::Internal.into());
    }
    let mut headers: Vec<_> = told.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
    headers.extend(permit.quota().into_iter().flat_map(Quota::fields));
    headers.extend(HeaderValue::from_str(request_id.as_str()).ok().map(|id| (answer::REQUEST_ID, id)));
    headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Ok(Rendered { status: 200, headers, body: Vec::new() })
}
