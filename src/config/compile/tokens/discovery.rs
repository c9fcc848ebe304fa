//! The documents by which others find out how to verify tokens, and where everything is.

use std::sync::Arc;

use http::Method;

use super::grant::Granted;
use super::kind::Kinds;
use crate::config::compile::route::RealmParts;
use crate::config::compile::{Compiler, url};
use crate::config::problem::At;
use crate::config::walk::Slot;
use crate::gate::policy::{Route, RouteView};
use crate::gate::route::Pattern;
use crate::gate::verify::jwks::acceptable_url;
use crate::jwt::Family;
use crate::tokens::policy::{Action, Grant, Metadata, UnknownFields};

const JWKS: &str = "/.well-known/jwks.json";
const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Whether the documents would make sense.
pub(super) fn check(work: &mut Compiler<'_>, at: &At, issuer: &str, kinds: &Kinds) {
    // The well-known place of an issuer with a path is another one (RFC 8414 section 3.1).
    if let Err(fault) = acceptable_url(issuer).and_then(|()| url::upstream(issuer).map(drop)) {
        let text =
            format!("needs an `issuer` of scheme, host and port alone, such as \"https://api.example.com\": {fault}");
        work.fault(at, text);
    }
    if kinds.complete() && kinds.algorithms().iter().all(|algorithm| algorithm.family() == Family::Hmac) {
        work.warn(at, "there is no key that could be published: all tokens are signed with shared secrets");
    }
}

/// The two grants that answer, with the numbers from `route` and `grant` on.
pub(super) fn grants(
    work: &mut Compiler<'_>,
    at: &At,
    (route, grant): (usize, usize),
    parts: &mut RealmParts<'_>,
) -> Vec<Granted> {
    let built_in = [(JWKS, Action::Jwks), (METADATA, Action::Metadata)];
    let mut granted = Vec::new();
    for (offset, (path, action)) in built_in.into_iter().enumerate() {
        let Some(pattern) = work.good(at, Pattern::parse(path)) else { continue };
        let everywhere = Slot::Bad;
        parts.lookup.add(work, at, &everywhere, (&pattern, &[Method::GET]), route + offset);
        let cors = parts.cors.as_ref().map(|said| said.to(&[Method::GET], None));
        granted.push(Granted {
            route: Route { cors, ..public_route(path, route + offset, grant + offset) },
            grant: Grant {
                path: Arc::from(path),
                params: Vec::new(),
                action,
                fields: Vec::new(),
                unknown: UnknownFields::Ignore,
                strict_content_type: false,
                max_body: 0,
                status: 200,
                response: None,
                invalid: None,
            },
        });
    }
    granted
}

fn public_route(path: &str, index: usize, grant: usize) -> Route {
    let view = RouteView {
        path: path.to_owned(),
        methods: vec![String::from("GET")],
        auth: vec![String::from("public")],
        ..RouteView::default()
    };
    Route { view, grant: Some(grant), ..Route::open(Arc::from(path), index) }
}

/// Where the standard endpoints are.
pub(super) fn metadata(grants: &[Grant], scopes: Vec<Box<str>>) -> Metadata {
    let path = |action: fn(&Action) -> bool| {
        grants.iter().find(|grant| action(&grant.action)).map(|grant| Box::from(&*grant.path))
    };
    Metadata {
        token: path(|action| matches!(action, Action::ClientCredentials { .. })),
        revocation: path(|action| matches!(action, Action::Revoke)),
        introspection: path(|action| matches!(action, Action::Introspect)),
        jwks: path(|action| matches!(action, Action::Jwks)),
        scopes,
    }
}
