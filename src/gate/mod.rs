//! The gate decides. Plain Rust over `http` types: no proxy, no SQL, no file format, no clock reads belong here; what
//! happens to a request and why does.

mod access;
pub mod client_ip;
pub mod cors;
pub mod credential;
pub mod dialect;
pub mod document;
pub mod endpoint;
pub mod headers;
pub mod limit;
pub mod network;
pub mod outcome;
pub mod path;
pub mod policy;
pub mod request;
pub mod route;
pub mod shadow;
pub mod trail;
mod upstream;
pub mod verify;
mod why;

use std::sync::Arc;

use client_ip::ClientAddress;
use cors::Preflight;
use http::Method;
use http::header::ORIGIN;
use outcome::{Decision, Denial, Permit, Reason, Why};
use policy::{Realm, Route, Snapshot};
use request::Request;
use route::{Found, Params};
use trail::Trail;
use verify::stored::StoredKeys;
use verify::{Authenticator, Case, Recognized};

use crate::clock::Stopwatch;

/// Decides about requests. Holds what survives reloads: the cache of verified tokens and the keys of the store.
#[derive(Debug)]
pub struct Gate {
    authenticator: Authenticator,
}

impl Gate {
    /// A gate whose cache of verified tokens takes up to `cache_bytes`; 0 switches it off. `keys`: those of the store.
    pub fn new(cache_bytes: u64, keys: Arc<StoredKeys>) -> Self {
        Self { authenticator: Authenticator::new(cache_bytes, keys) }
    }

    /// Decides about one request; the trail tells what was found out on the way.
    ///
    /// # Errors
    /// The denial to answer.
    pub async fn decide(
        &self,
        snapshot: &Snapshot,
        request: &Request<'_>,
        trail: &mut Trail,
    ) -> Result<Decision, Denial> {
        let stopwatch = Stopwatch::start();
        let decision = self.judge(snapshot, request, stopwatch, trail).await;
        trail.decision = stopwatch.elapsed();
        match &decision {
            Ok(Decision::Forward(_)) => {}
            Ok(Decision::Preflight(_)) => trail.preflight = true,
            Err(denial) => (trail.reason, trail.why) = (Some(denial.reason), denial.why),
        }
        decision
    }

    /// The order of decisions, whole.
    async fn judge(
        &self,
        snapshot: &Snapshot,
        request: &Request<'_>,
        begun: Stopwatch,
        trail: &mut Trail,
    ) -> Result<Decision, Denial> {
        let client = find_client(snapshot, request, trail);
        check_target_size(snapshot, request, trail)?;
        let served = find_realm(snapshot, request, trail)?;
        let realm = served.realm;
        let path = check_path(realm, request, trail)?;
        let judged = match answer_preflight(served, &path, request, trail) {
            Some(preflight) => Ok(Decision::Preflight(preflight)),
            None => {
                self.judge_route(snapshot, served, &path, request, client, begun, trail).await.map(Decision::Forward)
            }
        };
        match shadow::unenforced(realm, request.method, trail) {
            Some(route) => shadow::let_through(judged, (realm, route), &path, request, client, trail),
            None => judged,
        }
    }

    /// What depends on the route.
    #[expect(clippy::too_many_arguments, reason = "what was found out so far, handed on once")]
    async fn judge_route(
        &self,
        snapshot: &Snapshot,
        served: Served<'_>,
        path: &str,
        request: &Request<'_>,
        client: ClientAddress,
        begun: Stopwatch,
        trail: &mut Trail,
    ) -> Result<Permit, Denial> {
        let realm = served.realm;
        let (route, params) = find_route(served, path, request, trail)?;
        access::check_route_addresses(route, client.ip, trail)?;
        let case = Case::new(snapshot, realm, route, client.ip, request.now, begun).open(trail.open);
        let identity = match self.authenticator.recognize(&case, request, trail)? {
            Recognized::Nobody => None,
            Recognized::Proven(identity) => Some(identity),
            Recognized::Unseen(unseen) => Some(self.authenticator.verify(&case, unseen, trail).await?),
        };
        if let Some(identity) = &identity {
            access::check_own_addresses(identity, client.ip, trail)?;
            access::check(route, params.as_slice(), request.method, &identity.principal, trail)?;
        }
        let quota = access::count(route, identity.as_deref(), client.ip, request.now, trail)?;
        let (target, credential_in_url) = forwarded_target(realm, route, path, request)?;
        if let Some(identity) = identity.as_deref().filter(|_| !trail.is_rehearsal()) {
            self.authenticator.note_use(identity, client.ip, request.now);
        }
        let (realm, route) = (Arc::clone(realm), Arc::clone(route));
        let ClientAddress { ip: client_ip, peer_trusted } = client;
        // Only who answers itself asks for them.
        let names = if route.grant.is_some() { params.as_slice() } else { &[] };
        let params = names.iter().map(|name| Box::from(*name)).collect();
        Ok(Permit {
            realm,
            route,
            identity,
            target,
            client_ip,
            peer_trusted,
            quota,
            credential_in_url,
            params,
            enforced: true,
        })
    }

    /// Entries in the cache of verified tokens, about.
    pub fn cached_tokens(&self) -> u64 {
        self.authenticator.cached_tokens()
    }
}

fn find_client(snapshot: &Snapshot, request: &Request<'_>, trail: &mut Trail) -> ClientAddress {
    let client = client_ip::resolve(request.peer, request.headers, &snapshot.trusted_proxies);
    trail.peer_ip = request.peer;
    trail.client_ip = client.ip;
    trail.pass("client address", || match (client.ip, client.peer_trusted) {
        (Some(ip), false) => format!("{ip}, the other end of the connection"),
        (Some(ip), true) => format!("{ip}, as told by trusted proxies"),
        (None, true) => "unknown: what the proxies tell cannot be relied on".to_owned(),
        (None, false) => "none: the other end of the connection is on a Unix socket".to_owned(),
    });
    client
}

fn check_target_size(snapshot: &Snapshot, request: &Request<'_>, trail: &mut Trail) -> Result<(), Denial> {
    let size = request.path.len() + request.query.map_or(0, |query| query.len() + 1);
    if size <= snapshot.sizes.target {
        return Ok(());
    }
    trail.refuse("size", || format!("the target has {size} bytes, allowed are {}", snapshot.sizes.target));
    Err(Reason::UriTooLong.into())
}

/// The realm of a request, and why it is that.
#[derive(Clone, Copy)]
struct Served<'a> {
    realm: &'a Arc<Realm>,
    host: &'a str,
    /// The host is an owner's own: the store knows it, not the configuration.
    owned: bool,
}

fn find_realm<'a>(snapshot: &'a Snapshot, request: &Request<'a>, trail: &mut Trail) -> Result<Served<'a>, Denial> {
    let host = request.host.unwrap_or_default();
    let served = serving(snapshot, host).map_err(|why| {
        trail.refuse("realm", || format!("{host:?} is no host"));
        Denial::because(Reason::BadRequest, why)
    })?;
    // A client may use a connection for every host that the certificate is for (RFC 9113 section 9.1.1), but what was said
    // of it in the handshake holds for the host that it was made for.
    if let Some(name) = request.handshake.and_then(|handshake| handshake.server_name.as_deref())
        && let Some(other) = realm_of_connection(snapshot, name, host)
        && served.is_none_or(|served| served.realm.index != other.index)
    {
        trail
            .refuse("realm", || format!("the connection is for {name:?} of {}, not for the host {host:?}", other.name));
        return Err(Reason::MisdirectedRequest.into());
    }
    let Some(served) = served else {
        trail.refuse("realm", || format!("no realm serves the host {host:?}"));
        return Err(Reason::UnknownHost.into());
    };
    trail.realm = Some(Arc::clone(served.realm));
    trail.pass("realm", || format!("{} serves the host {host:?}", served.realm.name));
    Ok(served)
}

/// The realm that a host belongs to; none: nobody's.
fn serving<'a>(snapshot: &'a Snapshot, host: &'a str) -> Result<Option<Served<'a>>, Why> {
    let configured = snapshot.hosts.find(host)?.and_then(|index| snapshot.realms.get(index));
    let owned = || {
        let name = snapshot.owned_hosts.find(host)?;
        snapshot.realms.iter().find(|realm| realm.name == name && realm.hosts_from.is_some())
    };
    let realm = configured.or_else(owned);
    Ok(realm.map(|realm| Served { realm, host, owned: configured.is_none() }))
}

/// The realm of the name that a client asked for in the handshake, where that tells more than the host of its request.
/// What is no name of anybody's, an address above all, tells nothing.
fn realm_of_connection<'a>(snapshot: &'a Snapshot, name: &'a str, host: &str) -> Option<&'a Arc<Realm>> {
    if name == host || name.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    serving(snapshot, name).ok().flatten().map(|served| served.realm)
}

fn check_path<'r>(
    realm: &Realm,
    request: &Request<'r>,
    trail: &mut Trail,
) -> Result<std::borrow::Cow<'r, str>, Denial> {
    match path::normalize(request.path, realm.path_rules) {
        Ok(path) => {
            trail.pass("path", || format!("{path}"));
            Ok(path)
        }
        Err(why) => {
            trail.refuse("path", || format!("{:?}: {}", request.path, why.text()));
            Err(Denial::because(Reason::PathAmbiguous, why))
        }
    }
}

fn answer_preflight(served: Served<'_>, path: &str, request: &Request<'_>, trail: &mut Trail) -> Option<Preflight> {
    let preflight = cors::preflight(served, path, request)?;
    trail.route = Some(Arc::clone(preflight.route()));
    trail.pass("route", || format!("{:?}", preflight.route().name));
    if trail.steps.is_some() {
        match preflight.objection(request.headers) {
            None => trail.pass("preflight", || "allowed; the gateway answers, nothing is forwarded".to_owned()),
            Some(objection) => trail.refuse("preflight", || format!("{objection}; the gateway answers so")),
        }
    }
    Some(preflight)
}

/// Looks among the routes of this host first, if there are any, then among those of all hosts. A host that an owner
/// brought along has those of the tables that say so.
fn look_up<'p>(Served { realm, host, owned }: Served<'_>, path: &'p str, method: &Method) -> Found<'p> {
    for (hosts, table) in &realm.host_tables {
        let listed = if owned { hosts.takes_owned() } else { hosts.find(host).is_ok_and(|found| found.is_some()) };
        if listed {
            match table.find(path, method) {
                Found::Nothing => {}
                found => return found,
            }
        }
    }
    realm.table.find(path, method)
}

fn find_route<'s, 'p>(
    served: Served<'s>,
    path: &'p str,
    request: &Request<'_>,
    trail: &mut Trail,
) -> Result<(&'s Arc<Route>, Params<'p>), Denial> {
    match look_up(served, path, request.method) {
        Found::Route(index, params) => match served.realm.routes.get(index) {
            Some(route) => {
                trail.route = Some(Arc::clone(route));
                trail.pass("route", || format!("{:?}", route.name));
                Ok((route, params))
            }
            None => Err(Reason::Internal.into()),
        },
        Found::OtherMethods(allow) => {
            trail.refuse("route", || format!("{} is not allowed here, but {allow} are", request.method));
            if request.headers.contains_key(ORIGIN) {
                trail.neighbour = cors::neighbour(served, path, &allow);
            }
            Err(Denial { allow: Some(allow), ..Reason::MethodNotAllowed.into() })
        }
        // Never served, wherever they lead (RFC 9110 sections 9.3.6 and 9.3.8).
        Found::Nothing if matches!(*request.method, Method::TRACE | Method::CONNECT) => {
            trail.refuse("route", || format!("{} is never served", request.method));
            let allow = Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".into());
            Err(Denial { allow, ..Denial::because(Reason::MethodNotAllowed, Why::Method) })
        }
        Found::Nothing => {
            trail.refuse("route", || "no route has this path".to_owned());
            Err(Reason::NoRoute.into())
        }
    }
}

/// Path and query for the upstream, where they are not what was received; and whether a credential stood in the query.
fn forwarded_target(
    realm: &Realm,
    route: &Route,
    path: &str,
    request: &Request<'_>,
) -> Result<(Option<Box<str>>, bool), Denial> {
    let stripped = stripped(realm, route, path)?;
    let without = request.query.and_then(|query| credential::strip_query(query, &route.places));
    let in_url = without.is_some();
    let without = without.filter(|_| !route.forward_credential);
    if stripped == request.path && without.is_none() {
        return Ok((None, in_url));
    }
    let query = without.as_deref().or(request.query).filter(|query| !query.is_empty() || request.query == Some(""));
    let target = match query {
        Some(query) => format!("{stripped}?{query}").into(),
        None => stripped.into(),
    };
    Ok((Some(target), in_url))
}

/// What is left of `path` without the route's prefix.
fn stripped<'p>(realm: &Realm, route: &Route, path: &'p str) -> Result<&'p str, Denial> {
    let Some(prefix) = &route.strip_prefix else { return Ok(path) };
    match path.strip_prefix(&**prefix) {
        Some("") => Ok("/"),
        // It is a path of its own and must not read differently from what was judged.
        Some(rest) if rest.starts_with('/') && path::normalize(rest, realm.path_rules).as_deref() == Ok(rest) => {
            Ok(rest)
        }
        Some(_) | None => Err(Reason::PathAmbiguous.into()),
    }
}
