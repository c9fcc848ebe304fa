//! `cors`: whose it is, what stands in it where it says nothing, and what is refused.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::gate::policy::{Realm, Route};

const APP: &str = "https://app.example.com";

fn realm(rest: &str) -> Arc<Realm> {
    Arc::clone(&shop(rest).unwrap().snapshot.realms[0])
}

fn route<'r>(realm: &'r Realm, name: &str) -> &'r Route {
    realm.routes.iter().find(|route| &*route.name == name).unwrap()
}

/// What answers of a route tell a page of [`APP`].
fn told(route: &Route) -> Vec<String> {
    let headers = HeaderMap::from_iter([(http::header::ORIGIN, HeaderValue::from_static(APP))]);
    let fields = route.cors.iter().flat_map(|cors| cors.fields(&headers));
    fields.map(|(_, value)| value.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_routes_own_stands_in_place_of_the_realms() {
    let realm = realm(&format!(
        "cors = {{ origins = ['{APP}'], expose = [] }}\n{PUBLIC}\
         [[routes]]\npath = '/own'\nauth = ['public']\ncors = {{ origins = ['*'], expose = ['X-Total'] }}\n\
         [[routes]]\npath = '/off'\nauth = ['public']\ncors = false\n"
    ));
    assert_eq!(told(route(&realm, "/")), [APP]);
    assert_eq!(told(route(&realm, "/own")), ["*", "X-Total"]);
    assert!(told(route(&realm, "/off")).is_empty() && route(&realm, "/off").cors.is_none());
    assert!(realm.cors.is_some());
}

#[test]
fn without_a_word_there_is_none() {
    let realm = realm(PUBLIC);
    assert!(realm.cors.is_none() && realm.routes.iter().all(|route| route.cors.is_none()));
}

#[test]
fn what_is_exposed_by_itself_is_what_the_gateway_says_on_the_route() {
    let limits =
        "[limits.a]\nby = 'address'\nrate = '1/s'\n[limits.b]\nby = 'address'\nrate = '1/s'\nheaders = 'x-ratelimit'\n";
    let realm = realm(&format!(
        "cors = {{ origins = ['{APP}'] }}\n{PUBLIC}[[routes]]\npath = '/a'\nauth = ['public']\nlimits = ['a']\n\
         [[routes]]\npath = '/b'\nauth = ['public']\nlimits = ['a', 'b']\n{limits}"
    ));
    let plain = "X-Request-Id, WWW-Authenticate, Retry-After";
    let a = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset";
    assert_eq!(told(route(&realm, "/")), [APP, plain]);
    assert_eq!(told(route(&realm, "/a")), [APP, &format!("{plain}, {a}")]);
    let x = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset";
    assert_eq!(told(route(&realm, "/b")), [APP, &format!("{plain}, {a}, {x}")]);
}

#[test]
fn in_shadow_mode_it_is_kept_and_does_not_hold() {
    let realm = realm(&format!(
        "enforce = false\ncors = {{ origins = ['{APP}'] }}\n{PUBLIC}[[routes]]\npath = '/bound'\nauth = ['public']\nenforce = true\n"
    ));
    assert!(realm.cors.is_none(), "refusals of the realm itself");
    let shadowed = route(&realm, "/");
    assert!(shadowed.cors.is_some() && shadowed.cors_in_force().is_none());
    assert!(route(&realm, "/bound").cors_in_force().is_some());
}

#[test]
fn every_origin_with_credentials_is_refused() {
    let text = "any page could act";
    refused(shop(&format!("cors = {{ origins = ['*'], credentials = true }}\n{PUBLIC}")), "cors.credentials", text);
    refused(
        shop(&format!("{PUBLIC}cors = {{ origins = ['*'], credentials = true }}\n")),
        "routes[0].cors.credentials",
        text,
    );
    assert!(shop(&format!("cors = {{ origins = ['https://*.example.com'], credentials = true }}\n{PUBLIC}")).is_ok());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let cors = |keys: &str| shop(&format!("cors = {{ origins = ['{APP}'], {keys} }}\n{PUBLIC}"));
    refused(shop(&format!("cors = {{ origins = [] }}\n{PUBLIC}")), "cors.origins", "leave the table out");
    refused(
        shop(&format!("cors = {{ origins = ['{APP}/'] }}\n{PUBLIC}")),
        "cors.origins[0]",
        &format!("write {APP:?}"),
    );
    refused(shop(&format!("cors = {{ origins = ['{APP}', '*'] }}\n{PUBLIC}")), "cors.origins[1]", "stands alone");
    refused(shop(&format!("cors = {{ origins = ['{APP}', '{APP}'] }}\n{PUBLIC}")), "cors.origins[1]", "twice");
    refused(cors("methods = ['GET', '*']"), "cors.methods[1]", "leave `methods` out");
    refused(cors("methods = ['get']"), "cors.methods[0]", "write \"GET\"");
    refused(cors("headers = ['a', '*']"), "cors.headers[1]", "stands alone");
    refused(cors("headers = ['a', 'A']"), "cors.headers[1]", "twice");
    refused(cors("expose = ['a b']"), "cors.expose[0]", "name of a header field");
    refused(cors("expose = ['*'], credentials = true"), "cors.expose", "list the names");
    refused(cors("max_age = '25h'"), "cors.max_age", "at most \"1d\"");
    refused(cors("max_age = '500ms'"), "cors.max_age", "whole seconds");
    assert!(cors("max_age = '0s', headers = ['*'], expose = ['*'], methods = ['PURGE']").is_ok());
    let own = "methods = ['GET']\ncors = { origins = ['*'], methods = ['GET', 'PUT'] }\n";
    refused(shop(&format!("{PUBLIC}{own}")), "routes[0].cors.methods[1]", "none of the methods here");
}

#[test]
fn an_origin_without_tls_is_worth_a_word() {
    let warned = |origin: &str| {
        let config = shop(&format!("cors = {{ origins = ['{origin}'] }}\n{PUBLIC}")).unwrap();
        warnings(&config).iter().any(|text| text.contains("without TLS"))
    };
    for open in ["http://app.example.com", "http://*.example.com", "http://10.0.0.1:3000", "http://localhost.example"] {
        assert!(warned(open), "{open}");
    }
    for closed in [
        "https://app.example.com",
        "http://localhost:3000",
        "http://a.localhost",
        "http://127.0.0.1:3000",
        "http://[::1]",
        "http://[::1]:3000",
        "app://x",
    ] {
        assert!(!warned(closed), "{closed}");
    }
}
