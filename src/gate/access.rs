//! What somebody known may do: addresses, plan, roles, scopes, attributes, limits. In this order.

use std::net::IpAddr;

use http::Method;
use serde_json::Value;

use super::limit::{LimitBy, LimitKey, Quota};
use super::outcome::{Denial, Reason, Why};
use super::policy::{Route, ScopePart, ScopeTemplate};
use super::trail::Trail;
use super::verify::Verified;
use crate::clock::UnixMillis;
use crate::identity::{CredentialKind, Principal};

/// The route's own lists: denied before allowed. Where a list stands, an unknown address is refused.
pub(super) fn check_route_addresses(route: &Route, ip: Option<IpAddr>, trail: &mut Trail) -> Result<(), Denial> {
    if route.deny_ips.is_none() && route.allow_ips.is_none() {
        return Ok(());
    }
    let Some(ip) = ip else {
        trail.refuse("address", || "the route has a list of addresses, and this one is unknown".to_owned());
        return Err(Denial::because(Reason::IpDenied, Why::NoAddress));
    };
    if let Some(network) = route.deny_ips.as_ref().and_then(|list| list.find(ip)) {
        trail.refuse("address", || format!("{ip} is denied by {network}"));
        return Err(Denial::because(Reason::IpDenied, Why::Denied));
    }
    if let Some(list) = &route.allow_ips {
        let Some(network) = list.find(ip) else {
            trail.refuse("address", || format!("{ip} is in none of the {} allowed networks", list.len()));
            return Err(Denial::because(Reason::IpDenied, Why::NotListed));
        };
        trail.pass("address", || format!("{ip} is allowed by {network}"));
    }
    Ok(())
}

/// The lists kept on client and key: each must hold the address.
pub(super) fn check_own_addresses(identity: &Verified, ip: Option<IpAddr>, trail: &mut Trail) -> Result<(), Denial> {
    for list in &identity.allow_ips {
        let Some(ip) = ip else {
            trail.refuse("address", || "client or key have a list of addresses, and this one is unknown".to_owned());
            return Err(Denial::because(Reason::IpDenied, Why::NoAddress));
        };
        let Some(network) = list.find(ip) else {
            trail.refuse("address", || format!("{ip} is not in the list of the client or key"));
            return Err(Denial::because(Reason::IpDenied, Why::ClientList));
        };
        trail.pass("address", || format!("{ip} is allowed to the client or key by {network}"));
    }
    Ok(())
}

/// Plan, roles, scopes, attributes.
pub(super) fn check(
    route: &Route,
    params: &[&str],
    method: &Method,
    principal: &Principal,
    trail: &mut Trail,
) -> Result<(), Denial> {
    check_plan(route, principal, trail)?;
    check_roles(route, principal, trail)?;
    check_scopes(route, params, method, principal, trail)?;
    check_attributes(route, principal, trail)
}

fn check_plan(route: &Route, principal: &Principal, trail: &mut Trail) -> Result<(), Denial> {
    if route.plans.is_empty() {
        return Ok(());
    }
    let plan = principal.plan.as_deref().unwrap_or_default();
    let held = route.plans.iter().any(|wanted| **wanted == *plan);
    let saw = || format!("has {plan:?}, needs one of {}", list(route.plans.iter().map(|p| &**p)));
    judge("plan", held, saw, trail, || Reason::PlanDenied.into())
}

fn check_roles(route: &Route, principal: &Principal, trail: &mut Trail) -> Result<(), Denial> {
    if route.roles.is_empty() {
        return Ok(());
    }
    let held = route.roles.iter().any(|wanted| principal.roles.iter().any(|role| **role == **wanted));
    let saw = || {
        let has = list(principal.roles.iter().map(|r| &**r));
        format!("has {has}, needs one of {}", list(route.roles.iter().map(|r| &**r)))
    };
    judge("roles", held, saw, trail, || Reason::RoleDenied.into())
}

fn check_scopes(
    route: &Route,
    params: &[&str],
    method: &Method,
    principal: &Principal,
    trail: &mut Trail,
) -> Result<(), Denial> {
    if route.scopes.is_empty() && route.scopes_any.is_empty() {
        return Ok(());
    }
    let granted = |template: &ScopeTemplate| match template.0.as_slice() {
        [ScopePart::Text(scope)] => principal.scopes.allows(scope),
        _ => principal.scopes.allows(&template.render_in(params, method, &mut [0; 128])),
    };
    let held =
        route.scopes.iter().all(granted) && (route.scopes_any.is_empty() || route.scopes_any.iter().any(granted));
    let needed = |templates: &[ScopeTemplate], between: &str| {
        templates.iter().map(|template| template.render(params, method)).collect::<Vec<_>>().join(between)
    };
    let saw = || {
        let all = needed(&route.scopes, " and ");
        let any = needed(&route.scopes_any, " or ");
        let both = if all.is_empty() || any.is_empty() { "" } else { ", and " };
        format!("has {}, needs {all}{both}{any}", list(principal.scopes.iter()))
    };
    judge("scopes", held, saw, trail, || {
        let scope = needed(if route.scopes.is_empty() { &route.scopes_any } else { &route.scopes }, " ");
        Denial { scope: Some(scope.into()), ..Reason::InsufficientScope.into() }
    })
}

fn check_attributes(route: &Route, principal: &Principal, trail: &mut Trail) -> Result<(), Denial> {
    for (path, wanted) in &route.attributes {
        let value = path.find(&principal.attributes);
        let held = value.is_some_and(|value| wanted.contains(value));
        let saw = || {
            let has = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            format!("{path} is {has}, needs one of {}", Value::Array(wanted.clone()))
        };
        judge("attributes", held, saw, trail, || Reason::AttributeDenied.into())?;
    }
    Ok(())
}

/// Counts the request against every limit of the route; when one refuses, none has counted it. A rehearsal is not
/// counted.
pub(super) fn count(
    route: &Route,
    identity: Option<&Verified>,
    ip: Option<IpAddr>,
    now: UnixMillis,
    trail: &mut Trail,
) -> Result<Option<Quota>, Denial> {
    let principal = identity.map(|identity| &identity.principal);
    let plan = principal.and_then(|principal| principal.plan.as_deref());
    let mut tightest: Option<Quota> = None;
    for counting in [false, true] {
        if !counting && route.limits.len() < 2 {
            continue; // nothing else could refuse after it was counted
        }
        for limiter in &route.limits {
            let key = limit_key(limiter.spec().by, principal, ip);
            let take = counting && !trail.is_rehearsal();
            let quota = if take { limiter.take(key, plan, now) } else { limiter.peek(key, plan, now) };
            if !quota.allowed {
                trail.limited_by = Some(quota.name.clone());
                trail.refuse("limits", || format!("{}: {} requests are used up", quota.name, quota.limit));
                return Err(Denial {
                    retry_after: Some(quota.retry_after),
                    quota: Some(Box::new(quota)),
                    ..Reason::RateLimited.into()
                });
            }
            if counting {
                trail.pass("limits", || format!("{}: {} of {} left", quota.name, quota.remaining, quota.limit));
                if tightest.as_ref().is_none_or(|tightest| quota.remaining < tightest.remaining) {
                    tightest = Some(quota);
                }
            }
        }
    }
    Ok(tightest)
}

/// What a request is counted by; one that lacks it is counted by its address, never let off.
fn limit_key<'a>(by: LimitBy, principal: Option<&'a Principal>, ip: Option<IpAddr>) -> LimitKey<'a> {
    let id = principal.and_then(|principal| match by {
        LimitBy::Client => principal.client.as_deref(),
        LimitBy::Subject => Some(&*principal.subject),
        // A token's id is new with every token: counting by it would let off whoever fetches tokens often.
        LimitBy::Key if principal.kind == CredentialKind::ApiKey => principal.credential_id.as_deref(),
        LimitBy::Key | LimitBy::Address => None,
    });
    let issuer = principal.and_then(|principal| principal.issuer.as_deref());
    id.map_or(LimitKey::Address(ip), |id| LimitKey::Id { issuer, id })
}

fn judge(
    name: &'static str,
    held: bool,
    saw: impl FnOnce() -> String,
    trail: &mut Trail,
    denial: impl FnOnce() -> Denial,
) -> Result<(), Denial> {
    if held {
        trail.pass(name, saw);
        return Ok(());
    }
    trail.refuse(name, saw);
    Err(denial())
}

/// For people: a list, cut where it gets long.
fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.take(21).collect();
    match items.as_slice() {
        [] => "nothing".to_owned(),
        [shown @ .., _] if items.len() > 20 => format!("{}, …", shown.join(", ")),
        all => all.join(", "),
    }
}
